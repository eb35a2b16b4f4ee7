"""A live transport stream over HTTP: read in large pieces, cut into packets, passed on in chunks."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import aiohttp

from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamStalled
from streamproxy.formats.kinds import kind_of_bytes
from streamproxy.formats.mpegts import NotTransportStreamError, Packetizer, describe
from streamproxy.model import TRANSPORT_STREAM, Sink, StreamFormat, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.intake import Intake, can_be_taken_over

_MOST_KNOWN = 16
"""Upstreams of one channel of which it is remembered where they led."""
_WORTH_IT = 1 << 20
"""Bytes that must have come from there."""
_SHORTEST_DELAY = 0.01
"""Seconds; less would keep a core busy with looking at the clock."""


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
        stall = self._relay.stall_timeout
        async with self._client.open(self._upstream, at=at, moved=moved) as response:
            packets = Packetizer()
            try:
                async with asyncio.timeout(None) as deadline:
                    with (
                        _own_socket(response) as connection,
                        Chunker(sink, connection, self._relay, deadline) as chunker,
                    ):
                        try:
                            await self._pass_on(response, packets, chunker, sink)
                        finally:
                            self._passed = chunker.passed
            except NotTransportStreamError:
                raise self._not_media(packets.head) from None
            except TimeoutError:
                raise UpstreamStalled(self._upstream.label, f"the upstream was silent for {stall:g} s") from None
            if not chunker.passed:
                raise self._not_media(packets.head)

    async def _pass_on(
        self, response: aiohttp.ClientResponse, packets: Packetizer, chunker: "Chunker", sink: Sink
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


class Chunker:
    """Gather packets into chunks large enough to be worth a write, but let none wait longer than the delay.

    What is gathered waits in the kernel where that is possible (SO_RCVLOWAT): one wake-up, one read and one bytes
    object per chunk, instead of one per segment that arrives. Measured on 100 channels, it is a third of the whole
    cost of a relay.

    Chunks have at least the size set, unless the delay has passed, and less than twice as much.

    Attributes:
        passed: Bytes handed to the sink.
    """

    def __init__(
        self, sink: Sink, connection: socket.socket | None, relay: RelayConfig, deadline: asyncio.Timeout
    ) -> None:
        """Prepare.

        Args:
            sink: What takes the chunks.
            connection: The socket that the bytes come from, if one can be had.
            relay: Chunk size, chunk delay and stall timeout.
            deadline: Made to expire when nothing came for the stall timeout: one timer serves all that is timed here,
                instead of one per read.
        """
        self.passed = 0
        self._sink = sink
        self._connection = connection
        self._size = relay.chunk_size
        self._delay = max(_SHORTEST_DELAY, min(relay.chunk_delay, relay.stall_timeout))
        self._stall_timeout = relay.stall_timeout
        self._deadline = deadline
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        # The first bytes go out at once: somebody is looking at a black screen.
        self._hurried = True
        self._paused = False
        self._loop = asyncio.get_running_loop()
        self._passed_at = self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(self._delay, self._check)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if error is None:
            self._pass_waiting()

    def add(self, packets: bytes) -> None:
        """Take whole packets; pass them on if they fill a chunk, or if one is overdue."""
        self._heard_at = self._loop.time()
        if not self._waiting and self._size <= len(packets) < 2 * self._size:
            self._pass_on(packets)
        elif packets:
            self._waiting.append(packets)
            self._waiting_size += len(packets)
            if self._waiting_size >= self._size or self._hurried:
                self._pass_waiting()

    def pause(self) -> None:
        """Say that nothing more is being waited for: from now on, silence is a slow sink's, not the upstream's."""
        self._paused = True

    def listen(self) -> None:
        """Say that more is being waited for again."""
        self._paused = False
        self._heard_at = self._loop.time()

    def _pass_waiting(self) -> None:
        if not self._waiting:
            return
        chunk = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting = []
        self._waiting_size = 0
        whole = len(chunk) // self._size - 1
        for start in range(0, whole * self._size, self._size):
            self._pass_on(chunk[start : start + self._size])
        self._pass_on(chunk[whole * self._size :] if whole > 0 else chunk)

    def _pass_on(self, chunk: bytes) -> None:
        self.passed += len(chunk)
        self._passed_at = self._heard_at
        self._sink.write(chunk)
        if self._hurried:
            self._hurried = False
            self._wake_at(self._size)

    def _check(self) -> None:
        """Hurry what has waited for the delay, here and in the kernel; notice an upstream that is silent."""
        now = self._loop.time()
        if not self._paused and now - self._heard_at >= self._stall_timeout:
            self._deadline.reschedule(now)
            return
        due = self._passed_at + self._delay
        if now >= due:
            due = now + self._delay
            if not self._hurried:
                self._pass_waiting()
                self._hurried = True
                self._wake_at(1)
        self._timer = self._loop.call_at(due, self._check)

    def _wake_at(self, size: int) -> None:
        if self._connection is not None:
            # A proxy, a tunnel or another system may not offer it; then reads are smaller, and all else is the same.
            with contextlib.suppress(OSError):
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


@contextlib.contextmanager
def _own_socket(response: aiohttp.ClientResponse) -> Iterator[socket.socket | None]:
    """Give a socket for the connection of an answer, if there is one.

    An event loop that is asked for a connection's socket makes one for each thing that is done with it.
    """
    transport = response.connection.transport if response.connection else None
    lent = transport.get_extra_info("socket") if transport and not transport.is_closing() else None
    try:
        connection = lent and socket.socket(fileno=os.dup(lent.fileno()))
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
