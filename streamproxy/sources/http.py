"""A live transport stream over HTTP: read in large pieces, cut into packets, passed on in chunks."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import aiohttp

from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamStalled
from streamproxy.formats.kinds import kind_of_bytes
from streamproxy.formats.mpegts import NotTransportStreamError, Packetizer, describe
from streamproxy.model import TRANSPORT_STREAM, Sink, StreamFormat, Upstream
from streamproxy.sources.chunker import Chunker
from streamproxy.sources.client import Client
from streamproxy.sources.intake import Intake, can_be_taken_over

_MOST_KNOWN = 16
"""Upstreams of one channel of which it is remembered where they led."""
_WORTH_IT = 1 << 20
"""Bytes that must have come from there."""


class Whereabouts:
    """Remembers where the redirects of upstreams led, from one connection to the next."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, upstream: Upstream) -> str | None:
        """Return where an upstream is; None for its own address."""
        return self._known.get(upstream.url)

    def remember(self, upstream: Upstream, address: str) -> None:
        """Take note of where an upstream is."""
        self.forget(upstream)
        self._known[upstream.url] = address
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def forget(self, upstream: Upstream) -> None:
        """Begin at an upstream's own address the next time."""
        self._known.pop(upstream.url, None)


class HttpSource:
    """Reads one upstream. Whatever way a live stream ends, `run` ends with it: what to do then is for others to say.

    Attributes:
        complete: Whether what was read had a length, and all of it came.
    """

    def __init__(
        self, upstream: Upstream, client: Client, relay: RelayConfig, whereabouts: Whereabouts | None = None
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: Where to read.
            client: What to read with.
            relay: Chunk size, chunk delay and stall timeout.
            whereabouts: Remembers where the upstream was the last time, to begin there; None for beginning at its own
                address.
        """
        self.complete = False
        self._upstream = upstream
        self._client = client
        self._relay = relay
        self._whereabouts = whereabouts
        self._passed = 0

    async def run(self, sink: Sink) -> None:
        """Read until the upstream ends.

        Raises:
            UpstreamError: It failed, was silent for too long, or sent no transport stream.
        """
        at = self._whereabouts.of(self._upstream) if self._whereabouts else None
        try:
            await self._read(sink, at)
        except UpstreamError:
            if at is None or self._passed:
                raise
            await self._read(sink, None)

    async def _read(self, sink: Sink, at: str | None) -> None:
        """Read from the upstream's own address, or from where that led the last time."""
        trail = [at] if at else []
        try:
            await self._read_once(sink, at, trail.append)
        finally:
            # Where little came from is no place to go back to.
            if self._whereabouts and trail and self._passed >= _WORTH_IT:
                self._whereabouts.remember(self._upstream, trail[-1])
            elif self._whereabouts:
                self._whereabouts.forget(self._upstream)

    async def _read_once(self, sink: Sink, at: str | None, moved: Callable[[str], object]) -> None:
        relay = self._relay
        async with self._client.open(self._upstream, at=at, moved=moved) as response:
            packets = Packetizer()
            try:
                async with asyncio.timeout(None) as silence:
                    with (
                        _own_socket(response) as connection,
                        Chunker(sink, relay, self._client.deadlines, connection=connection, silence=silence) as chunker,
                    ):
                        try:
                            await self._pass_on(response, packets, chunker, sink)
                        finally:
                            self._passed = chunker.passed
            except NotTransportStreamError:
                raise self._not_media(packets.head) from None
            except TimeoutError:
                reason = f"the upstream was silent for {relay.stall_timeout:g} s"
                raise UpstreamStalled(self._upstream.label, reason) from None
            if not chunker.passed:
                raise self._not_media(packets.head)

    async def _pass_on(
        self, response: aiohttp.ClientResponse, packets: Packetizer, chunker: Chunker, sink: Sink
    ) -> None:
        """Read to the end.

        Without a length, a reset connection reads as a clean end too: on a live stream both are the same loss.
        """
        size = 2 * self._relay.chunk_size
        if not can_be_taken_over(response):
            while data := await response.content.read(size):
                chunker.add(packets.feed(data))
                await _drain(sink, chunker)
            self.complete = response.content_length is not None
            return

        def take(data: bytes | memoryview) -> bool:
            chunker.add(packets.feed(data))
            return not sink.full

        intake = Intake(response, take, self._client.read_buffer(size))
        chunker.fetch_with(intake.fetch)
        while not await intake.pause_or_end():
            await _drain(sink, chunker)
            intake.resume()
        self.complete = intake.complete

    @property
    def format(self) -> StreamFormat:
        """A transport stream, always."""
        return TRANSPORT_STREAM

    def _not_media(self, head: bytes) -> UpstreamNotMedia | UpstreamBroken:
        if not head:
            return UpstreamBroken(self._upstream.label, "the upstream ended without sending anything")
        return UpstreamNotMedia(
            self._upstream.label, f"the upstream sent {describe(head)}, not MPEG-TS", kind_of_bytes(head)
        )


@contextlib.contextmanager
def _own_socket(response: aiohttp.ClientResponse) -> Iterator[socket.socket | None]:
    """Give a socket for the connection of an answer, if there is one.

    An event loop that is asked for a connection's socket makes one for each thing that is done with it.
    """
    transport = response.connection.transport if response.connection else None
    lent = transport.get_extra_info("socket") if transport and not transport.is_closing() else None
    try:
        connection = lent and socket.fromfd(lent.fileno(), lent.family, lent.type, lent.proto)
    except OSError:
        connection = None
    with connection or contextlib.nullcontext():
        yield connection


async def _drain(sink: Sink, chunker: Chunker) -> None:
    """Wait until a sink can take more."""
    if sink.full:
        chunker.pause()
        await sink.drain()
        chunker.listen()
