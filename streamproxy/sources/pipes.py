"""Ways into a process: each a sink, that knows whether the process has anything to work on."""

import asyncio
import contextlib
import fcntl
import math
import socket
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_INTEGER = struct.Struct("i")


class Pipe:
    """One way in: a sink, of which ffmpeg reads what is written.

    It is a pair of sockets, not a pipe, as uvloop closes the descriptors of pipes twice.

    Attributes:
        name: What ffmpeg knows it by.
        begun: Set when the first bytes are there.
    """

    def __init__(self, writer: asyncio.StreamWriter, other_end: socket.socket, *, stall_timeout: float) -> None:
        self.begun = asyncio.Event()
        self.name = f"pipe:{other_end.fileno()}"
        self._writer = writer
        self._other_end = other_end
        self._longest_pause = stall_timeout / 3
        self._ended = False
        self._unanswered_since: float | None = None
        self._written_at = -math.inf

    @property
    def descriptor(self) -> int:
        """The end that is ffmpeg's."""
        return self._other_end.fileno()

    @property
    def full(self) -> bool:
        """Whether `drain` would wait."""
        transport = self._writer.transport
        return transport.get_write_buffer_size() > transport.get_write_buffer_limits()[1]

    def write(self, data: bytes, /) -> None:
        """Take a piece of the stream, without waiting."""
        self.begun.set()
        self._count()
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        """Wait until more may be written.

        Raises:
            ConnectionError: ffmpeg reads no more.
        """
        await self._writer.drain()

    def end(self) -> None:
        """Say that nothing more will come."""
        self._ended = True
        self._count()
        # It may have closed its end already.
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write_eof()

    def answered(self) -> None:
        """Say that ffmpeg wrote something: from now on, it is waited for anew."""
        self._unanswered_since = _now() if self._ended or self._unread else None

    @property
    def waiting_since(self) -> float | None:
        """Time of the loop since which ffmpeg has had work from here without an answer; None if it has none."""
        flowing = self._ended or self._unread or _now() - self._written_at <= self._longest_pause
        return self._unanswered_since if flowing else None

    def hand_over(self) -> None:
        """Close the other end, which ffmpeg has by now."""
        self._other_end.close()

    def close(self) -> None:
        """Begin to close both ends, whatever was not read yet."""
        self._other_end.close()
        self._writer.transport.abort()

    async def closed(self) -> None:
        """Wait until both are closed."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _count(self) -> None:
        now = _now()
        paused = now - self._written_at > self._longest_pause
        # What ffmpeg keeps of one segment until there is more of the next is no silence.
        if self._unanswered_since is None or (paused and not self._unread):
            self._unanswered_since = now
        self._written_at = now

    @property
    def _unread(self) -> bool:
        """Whether ffmpeg has not taken yet all that was written."""
        if self._writer.is_closing():
            return False
        own: socket.socket = self._writer.get_extra_info("socket")
        waiting = fcntl.ioctl(own.fileno(), termios.TIOCOUTQ, bytes(_INTEGER.size))
        return self._writer.transport.get_write_buffer_size() > 0 or _INTEGER.unpack(waiting) != (0,)


@asynccontextmanager
async def pipes(count: int, *, stall_timeout: float) -> AsyncIterator[tuple[Pipe, ...]]:
    """Open ways into an ffmpeg that is to be started; left with all of them closed.

    Args:
        count: How many.
        stall_timeout: Seconds after which ffmpeg will count as silent.
    """
    opened: list[Pipe] = []
    try:
        for _ in range(count):
            pipe = await _open(stall_timeout)
            opened.append(pipe)
        yield tuple(opened)
    finally:
        for pipe in opened:
            pipe.close()
        for pipe in opened:
            await pipe.closed()


async def _open(stall_timeout: float) -> Pipe:
    own, other_end = socket.socketpair()
    try:
        # What reads strangers' bytes has nothing to say here.
        other_end.shutdown(socket.SHUT_WR)
        _, writer = await asyncio.open_unix_connection(sock=own)
    except BaseException:
        own.close()
        other_end.close()
        raise
    return Pipe(writer, other_end, stall_timeout=stall_timeout)


def _now() -> float:
    return asyncio.get_running_loop().time()
