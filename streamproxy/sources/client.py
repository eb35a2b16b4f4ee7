"""The one way out: connections to upstreams, their redirects followed by hand, their failures named."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import aiohttp
from yarl import URL

from streamproxy.config import OptionsConfig
from streamproxy.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamUnreachable,
)
from streamproxy.formats import urls
from streamproxy.model import Upstream, merged_headers
from streamproxy.sources.deadlines import Deadlines
from streamproxy.sources.guard import ForbiddenAddressError
from streamproxy.sources.sessions import Sessions

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_HOPS = 10
_BODY = frozenset({200, 203, 206})
_OWN_TO_AN_ORIGIN = frozenset({"authorization", "cookie"})
"""Request headers that a redirect to another origin does not get."""


class Client:
    """Opens upstreams, one cookie jar per provider.

    Where an upstream is foreign, no connection for it leads to this machine or its neighbourhood, whatever its address,
    a redirect or a name server says. An async context manager: leaving it closes every connection.
    """

    def __init__(self, options: OptionsConfig) -> None:
        """Prepare, inside the running loop.

        Args:
            options: User agent, timeout and read-ahead.
        """
        self._options = options
        self._sessions = Sessions()
        self._read_buffer = bytearray()
        self._deadlines: WeakValueDictionary[float, Deadlines] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sessions.close()

    def read_buffer(self, size: int) -> bytearray:
        """Return the buffer into which connections of this event loop read, by turns.

        Args:
            size: Bytes that it has to have at least.
        """
        if len(self._read_buffer) < size:
            # Another one: what reads into the old one goes on to do so.
            self._read_buffer = bytearray(size)
        return self._read_buffer

    def deadlines(self, delay: float) -> Deadlines:
        """Return those that all connections of this event loop share.

        Args:
            delay: Seconds.
        """
        deadlines = self._deadlines.get(delay)
        if deadlines is None:
            deadlines = self._deadlines[delay] = Deadlines(delay)
        return deadlines

    def configure(self, options: OptionsConfig) -> None:
        """Use other settings for what is opened from now on."""
        self._options = options

    @asynccontextmanager
    async def open(
        self,
        upstream: Upstream,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        also: Collection[int] = (),
        read_ahead: int | None = None,
        timeout: float | None = None,
        at: str | None = None,
        moved: Callable[[str], object] | None = None,
        body: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request an upstream; entered with its headers, left with its connection closed.

        Args:
            upstream: What to request.
            method: How.
            headers: More request headers, which count before the upstream's own.
            also: Statuses that are no failure, besides those that come with a body.
            read_ahead: Bytes kept for a block that reads slowly, give or take as many; None as the settings say.
            timeout: Seconds for it to answer, redirects included; None as the settings say.
            at: Where a redirect of the upstream led, to go there at once; None for its own address.
            moved: Called with each address that a redirect leads to. The last is what references are relative to.
            body: What is sent; None for nothing.

        Raises:
            UpstreamError: What went wrong, before the headers or while the block reads the body.
        """
        response = None
        if timeout is None:
            timeout = self._options.timeout
        ahead = max(1 << 16, self._options.buffer_size // 2) if read_ahead is None else read_ahead
        try:
            try:
                async with asyncio.timeout(timeout):
                    with self._sessions.session(upstream) as session:
                        send = partial(session.request, method, allow_redirects=False, read_bufsize=ahead, data=body)
                        response = await self._follow(upstream, headers or {}, send, at, moved)
            except TimeoutError as error:
                reason = f"the upstream did not answer within {timeout:g} s"
                raise UpstreamStalled(upstream.label, reason) from error
            except OSError as error:
                raise _name(error, upstream.label) from error
            except aiohttp.InvalidURL:
                raise
            except ValueError:
                # Not "from": it may hold them.
                reason = "the user name or password in its address, or where it redirects to, cannot be sent"
                raise UpstreamUnreachable(upstream.label, reason) from None
            if response.status not in _BODY and response.status not in also:
                raise UpstreamRefused(upstream.label, response.status)
            yield response
        except aiohttp.ClientError as error:
            raise _name(error, upstream.label) from error
        finally:
            if response is not None:
                await _shut(response)

    async def fetch(self, upstream: Upstream, *, timeout: float, limit: int) -> bytes:
        """Download something whole.

        Args:
            upstream: What to get.
            timeout: Seconds for all of it.
            limit: Bytes it may have at most.

        Raises:
            UpstreamError: It failed, was too slow or too large.
        """
        try:
            async with asyncio.timeout(timeout), self.open(upstream) as response:
                body = bytearray()
                async for data in response.content.iter_any():
                    body += data
                    if len(body) > limit:
                        raise UpstreamBroken(upstream.label, f"more than {limit >> 20} MiB")
                return bytes(body)
        except TimeoutError as error:
            raise UpstreamStalled(upstream.label, f"not complete within {timeout:g} s") from error

    async def _follow(
        self,
        upstream: Upstream,
        more: Mapping[str, str],
        send: Callable[..., Awaitable[aiohttp.ClientResponse]],
        at: str | None,
        moved: Callable[[str], object] | None,
    ) -> aiohttp.ClientResponse:
        """Send the request, and again where a redirect points: byte for byte, as no library does it."""
        headers = {"User-Agent": self._options.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        headers = merged_headers(merged_headers(headers, upstream.headers), more)
        address = _checked(upstream.url, upstream.label)
        if at is not None:
            headers = _headers_at(at, address, headers)
            address = at
        for _ in range(_MAX_HOPS + 1):
            response = await send(URL(address, encoded=True), headers=_headers_for(address, headers))
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return response
            await _shut(response)
            target = _checked(urls.join(address, location), upstream.label)
            if _origin(target) == _origin(address):
                target = _with_userinfo_of(address, target)
            headers = _headers_at(target, address, headers)
            address = target
            if moved:
                moved(address)
        raise UpstreamBroken(upstream.label, f"the upstream redirected more than {_MAX_HOPS} times")


def _checked(address: str, label: str) -> str:
    """Make an address fit for the wire, if it is one that may be opened at all."""
    try:
        return urls.wire(address)
    except ValueError:
        raise UpstreamUnreachable(label, "the upstream's address is not an http or https URL") from None


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()


def _headers_for(address: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers that are sent to an address: credentials in it count before an Authorization of their own."""
    if "@" not in urlsplit(address).netloc:
        return headers
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


def _headers_at(target: str, address: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a redirect may take along."""
    left = frozenset[str]() if _origin(target) == _origin(address) else _OWN_TO_AN_ORIGIN
    return {name: value for name, value in headers.items() if name.lower() not in left}


def _with_userinfo_of(address: str, target: str) -> str:
    """Take the credentials in an address along to another of the same origin, unless that has its own."""
    userinfo, at, _ = urlsplit(address).netloc.rpartition("@")
    if not at or "@" in urlsplit(target).netloc:
        return target
    scheme, _, rest = target.partition("://")
    return f"{scheme}://{userinfo}@{rest}"


async def _shut(response: aiohttp.ClientResponse) -> None:
    """Close the connection, and return when it is closed: a provider must never see two where one was agreed."""
    connection = response.connection
    protocol = connection.protocol if connection else None
    transport = connection.transport if connection else None
    # Not its truth: it has the length of a queue of its own, which is empty.
    closed = protocol.closed if protocol is not None else None
    if transport is not None:
        transport.abort()
    response.close()
    if closed is not None:
        ended, _ = await asyncio.wait([closed], timeout=1)
        for future in ended:
            future.exception()  # what the connection ended with was reported where it mattered


def _name(error: aiohttp.ClientError | OSError, label: str) -> UpstreamError:
    """Translate what the library raised. The text is the class of the error: its message may hold the URL."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ForbiddenAddressError):
        reason = "the address leads to this machine or its neighbourhood, which api.local_urls forbids"
        return UpstreamUnreachable(label, reason)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UpstreamUnreachable(label, "the upstream's host name is not known")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = "the upstream's certificate is not trusted; SSL_CERT_FILE can name a file of those that are"
        return UpstreamUnreachable(label, reason)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return UpstreamUnreachable(label, "no secure connection to the upstream: its certificate or TLS failed")
    if isinstance(error, aiohttp.ClientConnectorError):
        # Not its strerror: asyncio writes the address into that.
        code = error.os_error.errno
        return UpstreamUnreachable(label, f"no connection to the upstream: {os.strerror(code) if code else 'refused'}")
    if isinstance(error, aiohttp.InvalidURL):
        return UpstreamUnreachable(label, "the upstream's address is not an http or https URL")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return UpstreamBroken(label, "the upstream closed the connection without an answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return UpstreamBroken(label, "the upstream's answer was cut short")
    if isinstance(error, aiohttp.ClientResponseError):
        return UpstreamBroken(label, "the upstream's answer is not HTTP")
    return UpstreamBroken(label, f"the connection to the upstream broke: {type(error).__name__}")
