"""Segments fetched several at once and handed on in order, with a bound on what is held meanwhile."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Self

from streamproxy.errors import UpstreamError
from streamproxy.formats.hls.model import MediaSegment
from streamproxy.tasks import until_over

Fetch = Callable[[MediaSegment], AsyncGenerator[bytes, None]]
"""Fetches a segment, piece by piece. Raises UpstreamError."""

_OWN_ROOM = 1 << 20
"""Bytes that the segment being handed on may hold, whatever the others hold: it never waits for them."""


class Segments:
    """Fetches what is added to it, and gives it back in the order it was added.

    An async context manager: leaving it ends every connection. Iterating gives one download after the other; each is
    over when the next is asked for. It arrives while it is being read, as those behind it do, up to the limits.
    """

    def __init__(self, fetch: Fetch, *, threads: int, limit: int) -> None:
        """Start empty.

        Args:
            fetch: Fetches one.
            threads: How many are fetched at once, the one being handed on included.
            limit: Bytes held at once, give or take a piece of each.
        """
        self._fetch = fetch
        self._threads = threads
        self._room = _Room(limit)
        self._waiting: deque[MediaSegment] = deque()
        self._running: deque[Download] = deque()
        self._finished = False
        self._leading = False
        self._changed = asyncio.Event()
        self._all_begun = asyncio.Event()
        self._all_begun.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        await asyncio.gather(*(download.close() for download in self._running))

    def add(self, segments: Iterable[MediaSegment]) -> None:
        """Fetch more, as soon as it is their turn."""
        self._waiting.extend(segments)
        self._begin()

    def finish(self) -> None:
        """Say that nothing will be added any more."""
        self._finished = True
        self._changed.set()

    async def all_begun(self) -> None:
        """Wait until none is left whose turn has not come."""
        await self._all_begun.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "Download":
        if self._leading:
            self._leading = False
            await self._running[0].close()
            self._running.popleft()
            self._begin()
        while not self._running:
            if self._finished:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        self._leading = True
        self._running[0].lead()
        return self._running[0]

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._threads:
            segment = self._waiting.popleft()
            self._running.append(Download(segment, self._fetch, self._room))
            self._changed.set()
        if self._waiting:
            self._all_begun.clear()
        else:
            self._all_begun.set()


class Download:
    """One segment on its way.

    Attributes:
        segment: Which.
    """

    def __init__(self, segment: MediaSegment, fetch: Fetch, room: "_Room") -> None:
        """Begin to fetch it."""
        self.segment = segment
        self._room = room
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._received = 0
        self._leads = False
        self._failure: UpstreamError | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run(fetch), name=f"segment {segment.sequence}")
        self._task.add_done_callback(lambda _: self._changed.set())

    @property
    def size(self) -> int | None:
        """Bytes it has; None while it is not known to be complete."""
        return self._received if self._task.done() and not self._failure else None

    async def take(self, size: int, *, within: float) -> bytes:
        """Wait for some of it.

        Args:
            size: Bytes that are worth taking; nearly as much again may come.
            within: Seconds to wait for so many, once there are any.

        Returns:
            What came; nothing at the end.

        Raises:
            UpstreamError: The rest cannot be had. What was not taken before is lost.
        """
        await self._until(1)
        if 0 < self._held < size and within > 0:
            try:
                async with asyncio.timeout(within):
                    await self._until(size)
            except TimeoutError:
                pass
        if self._failure:
            raise self._failure
        if not self._pieces:
            self._task.result()
            return b""
        taken = [self._pieces.popleft()]
        length = len(taken[0])
        while self._pieces and length < size:
            taken.append(self._pieces.popleft())
            length += len(taken[-1])
        self._hold(-length)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def lead(self) -> None:
        """Say that it is this one's turn to be handed on."""
        self._leads = True
        self._room.changed()

    async def close(self) -> None:
        """Stop, and wait until the connection is closed."""
        self._task.cancel()
        try:
            await until_over(self._task)
        finally:
            self._drop()

    async def _run(self, fetch: Fetch) -> None:
        try:
            async with aclosing(fetch(self.segment)) as pieces:
                await self._room.wait(self._may_read)
                async for piece in pieces:
                    self._pieces.append(piece)
                    self._received += len(piece)
                    self._hold(len(piece))
                    self._changed.set()
                    await self._room.wait(self._may_read)
        except UpstreamError as error:
            self._failure = error
            self._drop()

    def _may_read(self) -> bool:
        return self._leads and self._held < _OWN_ROOM

    def _drop(self) -> None:
        self._pieces.clear()
        self._hold(-self._held)

    def _hold(self, size: int) -> None:
        self._held += size
        self._room.hold(size)

    async def _until(self, size: int) -> None:
        """Wait until so many bytes are there, or nothing more will come."""
        while self._held < size and not self._task.done():
            self._changed.clear()
            await self._changed.wait()


class _Room:
    """What all downloads of a channel may hold together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = asyncio.Event()

    def hold(self, size: int) -> None:
        self._held += size
        if size < 0:
            self.changed()

    def changed(self) -> None:
        self._changed.set()

    async def wait(self, exempt: Callable[[], bool]) -> None:
        """Wait until more may be held."""
        while self._held >= self._limit and not exempt():
            self._changed.clear()
            await self._changed.wait()
