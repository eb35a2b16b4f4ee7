"""ffmpeg as a part of a stream: bytes in through its pipes, MPEG-TS out, and nothing else.

It is given neither files nor addresses, and is allowed to open none: what it reads comes from strangers.
"""

import asyncio
import contextlib
import fcntl
import math
import os
import shutil
import signal
import socket
import struct
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import structlog

from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamStalled
from streamproxy.formats.mpegts import NotTransportStreamError, Packetizer
from streamproxy.model import Sink
from streamproxy.sources.http import Chunker

GRACE = 3.0
"""Seconds that it has to end when it is asked to, unless said otherwise; then it is killed."""

LAST_WORDS = 4096
"""Bytes kept of what it complains of."""

_ENVIRONMENT = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "LIBVA_DRIVERS_PATH",
    "LIBVA_DRIVER_NAME",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
)
"""What it is told of the environment; the rest may hold secrets."""

_READ = 1 << 16
_INTEGER = struct.Struct("i")

_log = structlog.stdlib.get_logger("streamproxy")


def find_ffmpeg(program: str) -> str | None:
    """Find it: a path, or a name that is looked for on $PATH. None if there is nothing that can be run."""
    return shutil.which(program)


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

    async def close(self) -> None:
        """Close both ends, whatever was not read yet."""
        self._other_end.close()
        await _shut(self._writer)

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
            own, other_end = socket.socketpair()
            # What reads strangers' bytes has nothing to say here.
            other_end.shutdown(socket.SHUT_WR)
            _, writer = await asyncio.open_unix_connection(sock=own)
            opened.append(Pipe(writer, other_end, stall_timeout=stall_timeout))
        yield tuple(opened)
    finally:
        for pipe in opened:
            await pipe.close()


class Ffmpeg:
    """One run of ffmpeg.

    An async context manager: it is entered with ffmpeg running, and left with it gone, and all that it started.
    """

    def __init__(
        self, program: str, arguments: Sequence[str], inputs: Sequence[Pipe], label: str, *, grace: float = GRACE
    ) -> None:
        """Prepare, without starting anything.

        Args:
            program: Path of the program.
            arguments: What it is told. Its inputs are the names of pipes, its output is `pipe:1`.
            inputs: What it reads.
            label: The name of the upstream.
            grace: Seconds that it has to end when it is asked to.
        """
        self._grace = grace
        self._command = [program, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", *arguments]
        self._inputs = inputs
        self._label = label
        self._last_words = b""
        self._process: asyncio.subprocess.Process
        self._output: asyncio.StreamReader
        self._ways_out: list[asyncio.StreamWriter] = []
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            UpstreamBroken: It cannot be started.
        """
        output, output_end = await self._way_out()
        complaints, complaints_end = await self._way_out()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output_end.fileno(),
                stderr=complaints_end.fileno(),
                pass_fds=[pipe.descriptor for pipe in self._inputs],
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                start_new_session=True,
            )
        except OSError as error:
            await self._close()
            raise UpstreamBroken(self._label, f"ffmpeg cannot be started: {type(error).__name__}") from None
        except BaseException:
            await self._close()
            raise
        finally:
            output_end.close()
            complaints_end.close()
        for pipe in self._inputs:
            pipe.hand_over()
        self._output = output
        self._listening = asyncio.create_task(self._listen(complaints), name=f"what ffmpeg says of {self._label}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._stop()
        finally:
            # What it started may have outlived it, and would hold on to the pipes.
            self._signal(signal.SIGKILL)
            await self._close()

    async def relay(self, sink: Sink, relay: RelayConfig) -> None:
        """Pass on what it writes until it has ended.

        Args:
            sink: Gets whole packets, in chunks.
            relay: Chunk size, chunk delay and stall timeout.

        Raises:
            UpstreamBroken: It failed, or wrote no transport stream.
            UpstreamStalled: It wrote nothing for the stall timeout, though there was something for it to work on.
        """
        packets = Packetizer()
        try:
            async with asyncio.timeout(None) as deadline:
                with Chunker(sink, None, relay, deadline) as chunker:
                    # Whether it is silent is judged by what it was given, not by time alone.
                    chunker.add(b"")
                    while data := await self._read(2 * relay.chunk_size, relay.stall_timeout):
                        for pipe in self._inputs:
                            pipe.answered()
                        chunker.add(packets.feed(data))
                        await sink.drain()
        except NotTransportStreamError:
            raise UpstreamBroken(self._label, "ffmpeg wrote something that is no MPEG-TS") from None
        await self._check_end()

    async def _way_out(self) -> tuple[asyncio.StreamReader, socket.socket]:
        # Not pipes of the subprocess module: with those, its end is not seen before all is read.
        own, other_end = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=own, limit=_READ)
        self._ways_out.append(writer)
        return reader, other_end

    async def _read(self, size: int, stall_timeout: float) -> bytes:
        due = _now() + stall_timeout
        while True:
            try:
                async with asyncio.timeout_at(due):
                    return await self._output.read(size)
            except TimeoutError:
                due = self._silent_at(stall_timeout)
                if due <= _now():
                    raise UpstreamStalled(self._label, f"ffmpeg was silent for {stall_timeout:g} s") from None
            except ConnectionError:
                return b""

    def _silent_at(self, stall_timeout: float) -> float:
        """Return when to look again, or when it should have answered: one that waits for an input is not to blame."""
        since = [pipe.waiting_since for pipe in self._inputs]
        waiting = [time for time in since if time is not None]
        return (max(waiting) if waiting and len(waiting) == len(since) else _now()) + stall_timeout

    async def _check_end(self) -> None:
        """Make sure that it ended well.

        Raises:
            UpstreamBroken: It did not.
        """
        try:
            async with asyncio.timeout(self._grace):
                status = await self._process.wait()
        except TimeoutError:
            raise UpstreamBroken(self._label, "ffmpeg closed its output without an end") from None
        if status:
            await self._complain(status)
            how = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
            raise UpstreamBroken(self._label, f"ffmpeg {how}")

    async def _complain(self, status: int) -> None:
        if self._listening:
            await asyncio.wait([self._listening], timeout=1)
        text = self._last_words.decode(errors="replace")
        said = " | ".join("".join(filter(str.isprintable, line)) for line in text.splitlines() if line.strip())
        _log.warning("ffmpeg_failed", upstream=self._label, status=status, said=said)

    async def _listen(self, complaints: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await complaints.read(_READ):
                self._last_words = (self._last_words + data)[-LAST_WORDS:]

    async def _stop(self) -> None:
        if self._process.returncode is not None:
            return
        # Asked to end, it first waits for what it is about to read, and for somebody to take what it writes.
        for pipe in self._inputs:
            await pipe.close()
        await _shut(self._ways_out[0])
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(self._grace):
                await self._process.wait()
        except TimeoutError:
            _log.warning("ffmpeg_killed", upstream=self._label)
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _close(self) -> None:
        if self._listening:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        for writer in self._ways_out:
            await _shut(writer)


async def _shut(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _now() -> float:
    return asyncio.get_running_loop().time()
