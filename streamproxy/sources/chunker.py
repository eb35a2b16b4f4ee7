"""Packets gathered into chunks that are worth a write, without letting any wait for long."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

from streamproxy.config import RelayConfig
from streamproxy.model import Sink
from streamproxy.sources.deadlines import DeadlinesOf

_SHORTEST_DELAY = 0.01
"""Seconds; less would keep a core busy with looking at the clock."""

Fetch = Callable[[socket.socket], None]
"""Adds what waits in the kernel, by the connection's socket."""


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
        self,
        sink: Sink,
        relay: RelayConfig,
        deadlines: DeadlinesOf,
        *,
        connection: socket.socket | None = None,
        silence: asyncio.Timeout | None = None,
    ) -> None:
        """Prepare.

        Args:
            sink: What takes the chunks.
            relay: Chunk size, chunk delay and stall timeout.
            deadlines: Those of all who wait for the same delay.
            connection: The socket that the bytes come from, if one can be had.
            silence: Made to expire when nothing came for the stall timeout; None for being as patient as it takes.
        """
        self.passed = 0
        self._sink = sink
        self._connection = connection
        self._size = relay.chunk_size
        self._stall_timeout = relay.stall_timeout
        self._silence = silence
        self._deadlines = deadlines(max(_SHORTEST_DELAY, min(relay.chunk_delay, relay.stall_timeout)))
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        # The first bytes go out at once: somebody is looking at a black screen.
        self._hurried = True
        self._fetch: Fetch | None = None
        self._wakes_at = 1
        self._paused = False
        self._failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()

    def __enter__(self) -> Self:
        self._deadlines.add(self, self._heard_at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.remove(self)
        self._fetch = None
        if self._failure:
            raise self._failure
        if error is None:
            self._pass_waiting()

    def add(self, packets: bytes) -> None:
        """Take whole packets; pass them on if they fill a chunk, or if one is overdue.

        Raises:
            Exception: What the sink raised, then or before.
        """
        if self._failure:
            raise self._failure
        self._heard_at = self._loop.time()
        if not self._waiting and self._size <= len(packets) < 2 * self._size:
            self._pass_on(packets)
        elif packets:
            self._waiting.append(packets)
            self._waiting_size += len(packets)
            if self._waiting_size >= self._size or self._hurried:
                self._pass_waiting()

    def fetch_with(self, fetch: Fetch) -> None:
        """Say how what waits in the kernel can be had at once."""
        self._fetch = fetch

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
        self._deadlines.postpone(self, self._heard_at)
        self._sink.write(chunk)
        if self._hurried:
            self._hurried = False
            self._wake_at(self._size)

    def expire(self, now: float) -> None:
        """Hurry what has waited for the delay, here and in the kernel; notice an upstream that is silent."""
        if self._silence and not self._paused and now - self._heard_at >= self._stall_timeout:
            self._deadlines.remove(self)
            self._silence.reschedule(now)
        elif not self._hurried:
            try:
                self._hurry()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is for who fills this
                self._fail(error, now)

    def _hurry(self) -> None:
        self._pass_waiting()
        self._hurried = True
        if self._connection and self._fetch:
            self._fetch(self._connection)
        if self._hurried:
            # There was no packet: the next is not waited for.
            self._wake_at(1)

    def _fail(self, error: Exception, now: float) -> None:
        """Let who fills this know, at once where that is possible."""
        self._failure = error
        self._deadlines.remove(self)
        if self._silence:
            self._silence.reschedule(now)

    def _wake_at(self, size: int) -> None:
        if self._connection is not None and size != self._wakes_at:
            self._wakes_at = size
            # A proxy, a tunnel or another system may not offer it; then reads are smaller, and all else is the same.
            with contextlib.suppress(OSError):
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
