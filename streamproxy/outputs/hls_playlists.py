"""HLS playlists of upstreams: fetched once for all who watch, and rewritten once for each address they know us by."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

import aiohttp
import structlog

from streamproxy.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamNotMedia,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamUnreachable,
)
from streamproxy.formats.hls.errors import HlsError
from streamproxy.formats.hls.lines import MOST_CHARACTERS, require_playlist
from streamproxy.formats.hls.rewrite import Kind
from streamproxy.formats.links import Link, LinkSealer
from streamproxy.model import Channel
from streamproxy.outputs.hls_playlist import USUAL_TARGET_DURATION, Directives, Playlist, is_asset_list
from streamproxy.outputs.relay import NoRoom, read_body
from streamproxy.outputs.singleflight import SingleFlight
from streamproxy.sources.client import Client

_log = structlog.stdlib.get_logger("streamproxy")

_GONE = frozenset({403, 404, 410})
_MOST = 10_000
"""Playlists of which it is remembered where they moved, and what was refused in them."""
_REMEMBERED = 120.0
"""Seconds that a playlist is remembered after it was last used, for who only asks what it is."""

_MOST_AT_ONCE = 16
"""Requests for one playlist, each waiting for something else in it, that an upstream has to hold at one time."""

_HEAD = 1024
"""Bytes by which a playlist is told from something else, before more of it is read."""

_Value = TypeVar("_Value")
_Place = tuple[str, str, tuple[tuple[str, str], ...]]


def hold_time(target_duration: float) -> float:
    """Tell how long an upstream may hold a request: three target durations (RFC 8216bis, 6.2.5.2), and some."""
    return 3 * target_duration + 5


class SharedPlaylists:
    """The playlists of all channels as they were last fetched.

    Where an upstream redirects, later requests go where that led, since the server there knows the session. When it no
    longer does, they begin again where the first one did.

    Attributes:
        held: Bytes of memory taken by those that are remembered, more or less.
        capacity: Bytes that this may be at most.
        stall_timeout: Seconds that a playlist may take from its headers to its end.
    """

    def __init__(
        self,
        client: Client,
        sealer: LinkSealer,
        *,
        capacity: int = 64 << 20,
        stall_timeout: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            client: What to fetch with.
            sealer: Makes the links.
            capacity: See above.
            stall_timeout: See above.
            clock: Tells the time in seconds.
        """
        self.held = 0
        self.capacity = capacity
        self.stall_timeout = stall_timeout
        self._client = client
        self._sealer = sealer
        self._clock = clock
        self._known: OrderedDict[_Place, Playlist] = OrderedDict()
        self._moved: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._warned: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._fetches: SingleFlight[_Place, Playlist] = SingleFlight()
        self._writings: SingleFlight[tuple[int, str], bytes] = SingleFlight()

    def age(self, playlist: Playlist) -> float:
        """Tell how many seconds ago the origin made a playlist."""
        return playlist.age + self._clock() - playlist.arrived

    def known(self, channel: Channel, link: Link) -> Playlist | None:
        """Return a playlist as it was last fetched, however old; None if it is not remembered."""
        return self._known.get(self._place(channel, link, Directives()))

    async def get(self, channel: Channel, link: Link, directives: Directives) -> Playlist:
        """Get a playlist, from memory if that is new enough.

        Args:
            channel: Whose headers it is requested with.
            link: Where it is.
            directives: What to pass on to the upstream; not, if its playlist is known not to understand.

        Raises:
            NoRoom: Too many already wait for what is to come.
            UpstreamError: It cannot be had, or is no playlist.
        """
        last = self.known(channel, link)
        if last:
            directives = directives.understood_by(last)
        place = self._place(channel, link, directives)
        playlist = self._known.get(place)
        if playlist and self._clock() < playlist.arrived + playlist.lifetime:
            self._known.move_to_end(place)
            return playlist
        hold = None
        if directives.blocking:
            hold = hold_time((last and last.target_duration) or USUAL_TARGET_DURATION)

        if directives.blocking and place not in self._fetches.keys:
            others = sum(1 for other in self._fetches.keys if other[:2] == place[:2])
            if others >= _MOST_AT_ONCE:
                raise NoRoom(channel.upstreams[0].label, "too many requests are being held at this moment")

        async def fetch() -> Playlist:
            try:
                fetched = await self._fetch(channel, link, directives, hold)
            except UpstreamError as error:
                _log.warning("playlist_failed", channel=channel.id, reason=error.reason)
                raise
            self._remember(place, fetched)
            return fetched

        return await self._fetches.do(place, fetch, name=f"playlist of {channel.id}")

    async def write(self, channel: Channel, link: Link, playlist: Playlist, base: str) -> bytes:
        """Rewrite a playlist, without keeping others waiting.

        Args:
            channel: The channel it belongs to.
            link: What it was fetched for.
            playlist: The playlist.
            base: Under which URL its viewers reach this program, without a slash at its end.

        Raises:
            UpstreamBroken: It cannot be used.
        """
        view = playlist.view(base)
        if view in playlist.written:
            return playlist.written[view]

        async def rewrite() -> bytes:
            pieces: list[bytes] = []
            try:
                for piece in playlist.rewrite(link, self._sealer, channel.id, base):
                    pieces.append(piece)
                    await asyncio.sleep(0)
            except HlsError as error:
                reason = f"the upstream's playlist cannot be used: {error}"
                _log.warning("playlist_failed", channel=channel.id, reason=reason)
                raise UpstreamBroken(channel.upstreams[0].label, reason) from None
            return playlist.keep(view, b"".join(pieces))

        body = await self._writings.do((id(playlist), view), rewrite, name=f"playlist of {channel.id}")
        if playlist.refused:
            self._warn(channel, link, playlist.refused)
        return body

    def _place(self, channel: Channel, link: Link, directives: Directives) -> _Place:
        return channel.id, self._sealer.seal(channel.id, link), tuple(directives.items())

    def _remember(self, place: _Place, playlist: Playlist) -> None:
        self._forget(place)
        self._known[place] = playlist
        self.held += playlist.weight
        while self._known and (self.held > self.capacity or self._is_old(next(iter(self._known.values())))):
            self._forget(next(iter(self._known)))

    def _is_old(self, playlist: Playlist) -> bool:
        return self._clock() > playlist.arrived + playlist.lifetime + _REMEMBERED

    def _forget(self, place: _Place) -> None:
        playlist = self._known.pop(place, None)
        if playlist:
            self.held -= playlist.weight

    def _warn(self, channel: Channel, link: Link, refused: int) -> None:
        """Log what was refused, when it is not what was refused the last time."""
        if self._warned.get((channel.id, link.url)) != refused:
            _log.warning("uris_refused", channel=channel.id, count=refused)
            _put(self._warned, (channel.id, link.url), refused)

    async def _fetch(self, channel: Channel, link: Link, directives: Directives, hold: float | None) -> Playlist:
        source = channel.id, link.url
        moved = self._moved.get(source)
        if moved:
            try:
                return await self._download(channel, link, moved, directives, hold)
            except UpstreamRefused as error:
                if error.status not in _GONE:
                    raise
            except UpstreamUnreachable:
                pass
            self._moved.pop(source, None)
        playlist = await self._download(channel, link, link.url, directives, hold)
        # What a redirect made of the directives belongs to this one request.
        if playlist.url != link.url and not directives:
            _put(self._moved, source, playlist.url)
        return playlist

    async def _download(
        self, channel: Channel, link: Link, url: str, directives: Directives, hold: float | None
    ) -> Playlist:
        upstream = replace(channel.upstreams[0], url=directives.added_to(url))
        trail = [url]
        async with self._client.open(
            upstream, headers={"Accept-Encoding": "gzip"}, timeout=hold, moved=trail.append
        ) as response:
            age = response.headers.get("Age", "")
            arrived = self._clock()
            try:
                async with asyncio.timeout(self.stall_timeout):
                    text = await self._read(response, upstream.label, link)
            except TimeoutError:
                late = f"the upstream's playlist was not complete within {self.stall_timeout:g} s"
                raise UpstreamStalled(upstream.label, late) from None
        return Playlist.of(
            text,
            trail[-1],
            age=float(age) if age.isdecimal() and age.isascii() and len(age) < 10 else 0.0,
            arrived=arrived,
            awaited=directives.blocking,
        )

    async def _read(self, response: aiohttp.ClientResponse, label: str, link: Link) -> str:
        body = bytearray()
        checked = False
        async with aclosing(read_body(response, label, stall_timeout=self.stall_timeout)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > MOST_CHARACTERS:
                    raise UpstreamBroken(label, f"the upstream's playlist has more than {MOST_CHARACTERS} bytes")
                # A live stream in the place of a playlist has no end to wait for.
                if not checked and len(body) >= _HEAD:
                    _check(body, label, link)
                    checked = True
        _check(body, label, link)
        return body.decode("utf-8", "surrogateescape")


def _check(body: bytearray, label: str, link: Link) -> None:
    head = body[:_HEAD].decode("utf-8", "replace")
    if link.kind is Kind.ASSET and is_asset_list(head):
        return
    try:
        require_playlist(head)
    except HlsError as error:
        raise UpstreamNotMedia(label, f"the upstream sent {error}") from None


def _put(table: OrderedDict[tuple[str, str], _Value], key: tuple[str, str], value: _Value) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > _MOST:
        table.popitem(last=False)
