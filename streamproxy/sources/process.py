"""ffmpeg as a process: started, heard and ended, so that whatever happens nothing of it is left behind.

It leads a group of its own, which is killed with it. It dies when this program does, even if that is killed: more
exactly, when the thread ends that runs the loop, as it is that thread which starts it.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import structlog

from streamproxy.formats.transcoding.environment import environment
from streamproxy.formats.urls import redact
from streamproxy.sources.pipes import Pipe

GRACE = 3.0
"""Seconds that it has to end when it is asked to, unless said otherwise; then it is killed."""

LAST_WORDS = 4096
"""Bytes kept of what it complains of."""

_LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")))
_READ = 1 << 16
_MOST_LEFT_UNHEARD = 64
"""Reads of what a process said before it ended: more than a socket holds."""
_LONGEST_DEATH = 5.0
"""Seconds to wait for what was killed. Only what hangs in a driver takes as long; the system is left to bury it."""
_LOOK_AGAIN = 0.05
"""Seconds from one look at a process to the next, where the system does not tell of its end."""
_ADDRESS = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://\S*")

_log = structlog.stdlib.get_logger("streamproxy")


class NotStartedError(Exception):
    """The process cannot be started; the text says why, in words for people."""


class Process:
    """One run of ffmpeg.

    An async context manager: it is entered with ffmpeg running, and left with it gone, and all that it started. However
    often that is cancelled on the way out, it is not left before; a cancellation only spares the time for a kind end.
    """

    def __init__(
        self,
        command: Sequence[str],
        label: str,
        *,
        inputs: Sequence[Pipe] = (),
        stdin: Pipe | None = None,
        nice: int = 0,
        grace: float = GRACE,
    ) -> None:
        """Prepare, without starting anything.

        Args:
            command: The program, and what it is told.
            label: The name of the upstream.
            inputs: What it reads.
            stdin: The one of them that is its standard input; None if that is empty.
            nice: How much it stands back for other processes, from 0 to 19.
            grace: Seconds that it has to end when it is asked to.
        """
        self._command = command
        self._label = label
        self._inputs = inputs
        self._stdin = stdin
        self._nice = nice
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._output: socket.socket
        self._complaints: socket.socket
        self._opened: list[socket.socket] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._watching: int | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._last_words = b""
        self._spoke_on = False

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            NotStartedError: It cannot be started.
        """
        try:
            await self._begin()
        except OSError as error:
            await self._end()
            raise NotStartedError(f"ffmpeg cannot be started: {type(error).__name__}") from None
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def read(self, size: int, patience: float) -> bytes:
        """Wait for what it writes; nothing is the end of that.

        Args:
            size: Bytes to take at most.
            patience: Seconds that it may be silent while there is something for it to work on.

        Raises:
            TimeoutError: It was.
        """
        due = self._loop.time() + patience
        while (data := _received(self._output, size)) is None:
            try:
                async with asyncio.timeout_at(due):
                    await _readable(self._output)
            except TimeoutError:
                due = self._silent_at(patience)
                if due <= self._loop.time():
                    raise
        for pipe in self._inputs:
            pipe.answered()
        return data

    async def ended(self) -> str | None:
        """Wait for its end, once its output has ended; tell what is wrong with that, or None if it ended well."""
        await asyncio.wait([self._exited], timeout=self._grace)
        if not self._exited.done():
            return "ffmpeg closed its output without an end"
        status = self._exited.result()
        if not status:
            return None
        return f"ffmpeg was ended by signal {-status}" if status < 0 else f"ffmpeg failed with status {status}"

    @property
    def said(self) -> str:
        """Its last words in one line, without addresses and what stands in them."""
        text = self._last_words.decode(errors="replace")
        if self._spoke_on:
            # The rest of a line may be the rest of a secret.
            text = "".join(text.splitlines(keepends=True)[1:])
        text = _without_secrets(text, self._command)
        return " | ".join("".join(filter(str.isprintable, line)) for line in text.splitlines() if line.strip())

    def complain(self, reason: str) -> None:
        """Log what became of it, and its last words."""
        _log.warning("ffmpeg_failed", upstream=self._label, reason=reason, said=self.said)

    async def _begin(self) -> None:
        with self._start() as report:
            await _readable(report)
            if error := _received(report, _READ):
                raise OSError(int(error), "")

    def _start(self) -> socket.socket:
        """Start it; return where it is told whether that went well. Nothing here waits, so nothing can come between."""
        with contextlib.ExitStack() as theirs:
            self._output, output = self._way_out(theirs)
            self._complaints, complaints = self._way_out(theirs)
            report, reported = self._way_out(theirs)
            told = [str(reported), str(os.getpid()), str(self._nice)]
            self._process = subprocess.Popen(  # noqa: S603 - no shell, and no words of strangers
                [*_LAUNCHER, *told, *self._command],
                stdin=self._stdin.descriptor if self._stdin else subprocess.DEVNULL,
                stdout=output,
                stderr=complaints,
                pass_fds=[reported, *(pipe.descriptor for pipe in self._inputs)],
                env=environment(os.environ),
                start_new_session=True,
            )
        for pipe in self._inputs:
            pipe.hand_over()
        self._loop.add_reader(self._complaints, self._listen)
        self._watch(self._process.pid)
        return report

    def _way_out(self, theirs: contextlib.ExitStack) -> tuple[socket.socket, int]:
        own, other_end = socket.socketpair()
        self._opened.append(own)
        theirs.enter_context(other_end)
        own.setblocking(False)
        return own, other_end.fileno()

    def _watch(self, pid: int) -> None:
        try:
            self._watching = os.pidfd_open(pid)
        except (AttributeError, OSError):
            self._look()
        else:
            self._loop.add_reader(self._watching, self._reap)

    def _look(self) -> None:
        assert self._process
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self._reap()
        else:
            self._looking = self._loop.call_later(_LOOK_AGAIN, self._look)

    def _reap(self) -> None:
        """Bury what has ended; until then its id is its own, so the rest of its group is killed before."""
        assert self._process
        self._stop_watching()
        self._signal(signal.SIGKILL)
        for _ in range(_MOST_LEFT_UNHEARD):
            if not self._listen():
                break
        self._exited.set_result(self._process.wait())

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._loop.remove_reader(self._watching)
            os.close(self._watching)
            self._watching = None
        if self._looking:
            self._looking.cancel()

    def _listen(self) -> bool:
        """Hear what it has said meanwhile; tell whether that was anything."""
        data = _received(self._complaints, _READ)
        if data == b"":
            self._loop.remove_reader(self._complaints)
        if not data:
            return False
        self._spoke_on = self._spoke_on or len(self._last_words) + len(data) > LAST_WORDS
        self._last_words = (self._last_words + data)[-LAST_WORDS:]
        return True

    def _silent_at(self, patience: float) -> float:
        """Return when to look again, or when it should have answered: one that waits for an input is not to blame."""
        if not self._inputs:
            return self._loop.time()
        since = [pipe.waiting_since for pipe in self._inputs]
        waiting = [time for time in since if time is not None]
        return (max(waiting) if len(waiting) == len(since) else self._loop.time()) + patience

    async def _end(self) -> None:
        try:
            if self._process and not self._exited.done():
                await self._ask_to_end()
        finally:
            self._signal(signal.SIGKILL)
            try:
                if self._process:
                    await _outwait(self._exited, _LONGEST_DEATH)
            finally:
                self._close()

    async def _ask_to_end(self) -> None:
        # Asked to end, it first waits for what it is about to read, and for somebody to take what it writes.
        for pipe in self._inputs:
            pipe.close()
        self._output.close()
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        await asyncio.wait([self._exited], timeout=self._grace)
        if not self._exited.done():
            _log.warning("ffmpeg_killed", upstream=self._label)

    def _signal(self, number: signal.Signals) -> None:
        if self._process and not self._exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _close(self) -> None:
        self._stop_watching()
        if self._process:
            self._loop.remove_reader(self._complaints)
        for own in self._opened:
            own.close()


def _received(connection: socket.socket, size: int) -> bytes | None:
    """Return what has come; nothing at the end, None if there is nothing yet."""
    try:
        return connection.recv(size)
    except BlockingIOError:
        return None
    except ConnectionError:
        return b""


async def _readable(connection: socket.socket) -> None:
    """Wait until something has come. That it is not taken yet means that no cancellation can lose it."""
    loop = asyncio.get_running_loop()
    come = asyncio.Event()
    loop.add_reader(connection, come.set)
    try:
        await come.wait()
    finally:
        loop.remove_reader(connection)


async def _outwait(future: asyncio.Future[int], longest: float) -> None:
    """Wait for a future, and let a cancellation wait too."""
    loop = asyncio.get_running_loop()
    due = loop.time() + longest
    cancelled = False
    while not future.done() and loop.time() < due:
        try:
            await asyncio.wait([future], timeout=due - loop.time())
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def _without_secrets(text: str, command: Sequence[str]) -> str:
    """Mask the addresses in a text, and their parts where they stand alone."""
    for address in (part for part in command if "://" in part):
        for secret in _parts(address):
            text = text.replace(secret, "…")
    return redact(_ADDRESS.sub("…", text))


def _parts(address: str) -> list[str]:
    """Return an address and what of it is secret by itself, the longest first."""
    try:
        split = urlsplit(address)
        parts = {address, split.username, split.password, split.hostname, split.path, split.query}
    except ValueError:
        parts = {address}
    return sorted((part for part in parts if part and len(part) > 1), key=len, reverse=True)
