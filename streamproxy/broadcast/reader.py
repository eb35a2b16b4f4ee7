"""One viewer's place in a ring: a bounded queue of references to the chunks it has yet to take."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from streamproxy.model import TRANSPORT_STREAM

END = b""
"""What `Reader.get` returns when there is no more; as with `asyncio.StreamReader`."""


class Outlet(Protocol):
    """A viewer's connection, as a reader fills it."""

    @property
    def full(self) -> bool:
        """Whether the viewer is behind: nothing more should be written before `drain`."""

    def write(self, data: bytes, /) -> bool:
        """Send, without waiting and without raising; tell whether there is room for more."""

    async def drain(self) -> None:
        """Wait until the viewer has caught up."""


class Reader:
    """Takes chunks from a ring, at its own pace.

    The ring never waits. A reader whose queue is full has been lapped: what it had not taken is dropped, it continues
    where the ring says, and that is counted.

    Attributes:
        format: How what it takes is packed.
        decodable: Whether it begins where a decoder can.
        overruns: Times it was lapped.
        skipped: Bytes it lost that way.
    """

    __slots__ = (
        "_behind",
        "_capacity",
        "_ended",
        "_kept",
        "_outlet",
        "_queue_size",
        "decodable",
        "format",
        "overruns",
        "skipped",
    )

    def __init__(self, queue_size: int, backlog: Sequence[bytes] = (), *, decodable: bool = False) -> None:
        """Begin with a backlog.

        Args:
            queue_size: Chunks it may lag behind.
            backlog: What it starts with. Where that is much, it may lag behind by half a queue more.
            decodable: Whether a decoder can start with it.
        """
        self.decodable = decodable
        self.format = TRANSPORT_STREAM
        self.overruns = 0
        self.skipped = 0
        self._queue_size = queue_size
        self._capacity = queue_size
        self._kept: asyncio.Queue[bytes] | None = None
        self._ended = False
        self._outlet: Outlet | None = None
        self._behind: asyncio.Future[None] | None = None
        self._fill(backlog)

    @property
    def lag(self) -> int:
        """Chunks not yet taken."""
        return self._kept.qsize() if self._kept else 0

    @property
    def _queue(self) -> asyncio.Queue[bytes]:
        """The queue, made when it is needed: an empty one takes 3 kB, and a viewer who keeps up never needs it."""
        if self._kept is None:
            # Its bound is the capacity, which may change while somebody waits for the queue.
            self._kept = asyncio.Queue()
        return self._kept

    async def get(self) -> bytes:
        """Wait for the next chunk; `END` when there is no more."""
        if self._ended and not self.lag:
            return END
        return await self._queue.get()

    async def feed(self, outlet: Outlet) -> None:
        """Send everything to a viewer, until the ring is closed and the last chunk is sent.

        As long as the viewer keeps up, the ring writes to it directly, with no queue and no task in between: that is
        a third of the cost of a broadcast to many. Once the viewer is behind, its chunks are queued and sent from
        here.
        """
        try:
            while await self._catch_up(outlet):
                self._behind = asyncio.get_running_loop().create_future()
                self._outlet = outlet
                await self._behind
        finally:
            self._outlet = None

    async def _catch_up(self, outlet: Outlet) -> bool:
        """Send what is queued; tell whether more will come."""
        while True:
            while self.lag and not outlet.full:
                if chunk := self._queue.get_nowait():
                    outlet.write(chunk)
            if not outlet.full:
                self._kept = None
                return not self._ended
            await outlet.drain()

    def offer(self, chunk: bytes) -> bool:
        """Take a chunk from the ring; tell whether there was room for it. Only the ring calls this."""
        outlet = self._outlet
        if outlet is not None:
            if not outlet.write(chunk):
                self._stop_direct()
        elif self.lag >= self._capacity:
            return False
        else:
            self._queue.put_nowait(chunk)
        return True

    def drop(self) -> int:
        """Drop what was not taken, as the reader has been lapped; return its bytes. Only the ring calls this."""
        self.overruns += 1
        dropped = 0
        while self.lag:
            dropped += len(self._queue.get_nowait())
        return dropped

    def resume(self, backlog: Sequence[bytes], *, skipped: int) -> None:
        """Continue after a lap. Only the ring calls this.

        Args:
            backlog: What it continues with.
            skipped: Bytes of the stream that are lost to it.
        """
        self.skipped += skipped
        self._fill(backlog)

    def _fill(self, backlog: Sequence[bytes]) -> None:
        self._capacity = max(self._queue_size, len(backlog) + self._queue_size // 2)
        for chunk in backlog:
            self._queue.put_nowait(chunk)

    def end(self) -> None:
        """Say that no more will come. Only the ring calls this."""
        self._ended = True
        if self._outlet is not None:
            self._stop_direct()
        elif not self.lag:
            self._queue.put_nowait(END)

    def _stop_direct(self) -> None:
        self._outlet = None
        if self._behind is not None and not self._behind.done():
            self._behind.set_result(None)
