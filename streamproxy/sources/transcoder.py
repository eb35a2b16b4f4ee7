"""How a channel is transcoded, and what remembers over all restarts that the hardware could not do it."""

import asyncio
from collections.abc import Callable, Sequence

from streamproxy.errors import TranscodeFailed
from streamproxy.model import Sink, Source, StreamFormat

SOON = 60.0
"""Seconds within which a second failure is one too many."""

Command = Sequence[str]
"""A program, and what it is told."""


class Transcoder:
    """Makes the sources of a channel, with the first of several commands until that has proved useless.

    A command is given up for the next one, and for good, when it fails before it has produced anything, or twice within
    a minute. The last one is never given up.
    """

    def __init__(
        self,
        commands: Sequence[Command],
        open_source: Callable[[Command], Source],
        *,
        on_fallback: Callable[[str], object],
    ) -> None:
        """Begin with the first command.

        Args:
            commands: At least one, the preferred first: with hardware, say, and then without.
            open_source: Makes a source that runs a command, without starting it.
            on_fallback: Told, when a command is given up, what was wrong.
        """
        self._commands = commands
        self._open_source = open_source
        self._on_fallback = on_fallback
        self._current = 0
        self._failed_at: float | None = None

    @property
    def number(self) -> int:
        """Which command is run next, counted from 0."""
        return self._current

    def source(self) -> Source:
        """Make a source, without starting anything.

        It goes on with the next command itself where one is given up before there was anything of the stream: whoever
        comes first must not be sent away for that.
        """
        return _Run(self)

    def open(self) -> Source:
        """Make the source of the current command. Only its own sources call this."""
        return self._open_source(self._commands[self._current])

    def note(self, number: int, error: TranscodeFailed) -> bool:
        """Take note that a command failed; tell whether it is given up. Only its own sources call this."""
        if number != self._current or number + 1 == len(self._commands):
            return number != self._current
        now = asyncio.get_running_loop().time()
        again = self._failed_at is not None and now - self._failed_at < SOON
        self._failed_at = now
        if error.produced and not again:
            return False
        self._current += 1
        self._failed_at = None
        self._on_fallback(error.reason)
        return True


class _Run:
    """A source that has the transcoder's next command take the place of one that is given up."""

    def __init__(self, transcoder: Transcoder) -> None:
        self._transcoder = transcoder
        self._open()

    def _open(self) -> None:
        self._number = self._transcoder.number
        self._source = self._transcoder.open()

    @property
    def format(self) -> StreamFormat:
        """How the output is packed."""
        return self._source.format

    async def run(self, sink: Sink) -> None:
        """Run one command, and those after it while nothing has come of the stream."""
        while True:
            try:
                await self._source.run(sink)
            except TranscodeFailed as error:
                if not self._transcoder.note(self._number, error) or error.produced:
                    raise
                self._open()
            else:
                return
