"""The connections and cookies with which upstreams are asked: each upstream's cookies are its own."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp

from streamproxy.model import Upstream
from streamproxy.sources.guard import guarded_socket
from streamproxy.sources.resolver import Resolver

_HEADER_LINE = 64 << 10
"""Bytes of a header line; providers' cookies and signed locations outgrow the usual 8 KiB."""
_MOST_REMEMBERED = 4096
"""Upstreams whose cookies are kept, besides those that are being asked."""


@dataclass(slots=True)
class _Entry:
    """A session, and how many requests are being made with it."""

    session: aiohttp.ClientSession
    askers: int = 0


class Sessions:
    """One session for each label, in which cookies are kept. Foreign upstreams have theirs apart from all others."""

    def __init__(self) -> None:
        """Prepare, inside the running loop."""
        self._resolver = Resolver()
        # No limit: the default makes the 101st live stream wait for ever. No reuse: a connection that the other side
        # has just given up costs a failed request, and live streams never give theirs back.
        self._connectors = {
            foreign: aiohttp.TCPConnector(
                limit=0,
                force_close=True,
                resolver=self._resolver,
                ttl_dns_cache=30,
                socket_factory=guarded_socket if foreign else None,
            )
            for foreign in (False, True)
        }
        self._entries: OrderedDict[tuple[str, bool], _Entry] = OrderedDict()

    async def close(self) -> None:
        """Close every connection."""
        for entry in self._entries.values():
            entry.session.detach()
        for connector in self._connectors.values():
            await connector.close()
        await self._resolver.close()

    @contextmanager
    def session(self, upstream: Upstream) -> Iterator[aiohttp.ClientSession]:
        """Ask an upstream, for the length of the block; an answer outlives it."""
        key = upstream.label, upstream.foreign
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(_session(self._connectors[upstream.foreign]))
        self._entries.move_to_end(key)
        entry.askers += 1
        try:
            yield entry.session
        finally:
            entry.askers -= 1
            self._forget_some()

    def _forget_some(self) -> None:
        """Forget those that were not asked for longest."""
        while len(self._entries) > _MOST_REMEMBERED:
            key, entry = next(iter(self._entries.items()))
            if entry.askers:
                return
            del self._entries[key]
            entry.session.detach()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        # Providers live at bare IP addresses, whose cookies are dropped otherwise.
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        requote_redirect_url=False,
        max_line_size=_HEADER_LINE,
        max_field_size=_HEADER_LINE,
        max_headers=512,
    )
