"""The fan-out: one producer, the recent past, and any number of readers that all get the same bytes objects."""

from collections import deque
from itertools import islice

from streamproxy.broadcast.reader import Reader


class Ring:
    """Keep the newest chunks for those who join, and hand each new one to every reader.

    Appending never waits and costs one reference per reader. Chunks are whole packets, so whoever starts at a chunk
    starts at a packet.

    Attributes:
        closed: Whether the end has come; nothing can be appended any more.
    """

    def __init__(self, history: int) -> None:
        """Start empty.

        Args:
            history: Bytes of the past to keep, at most; 0 for none.
        """
        self.closed = False
        self._history = history
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._readers: set[Reader] = set()

    @property
    def readers(self) -> int:
        """How many read from it."""
        return len(self._readers)

    def join(self, queue_size: int) -> Reader:
        """Add a reader that begins with the recent past, but with no more of it than fills half its queue.

        Args:
            queue_size: Chunks it may lag behind before it is moved forward.
        """
        newest = islice(reversed(self._kept), queue_size // 2)
        reader = Reader(queue_size, reversed(list(newest)))
        if self.closed:
            reader.end()
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Remove a reader; it gets nothing more."""
        self._readers.discard(reader)

    def append(self, chunk: bytes) -> None:
        """Hand a chunk to every reader; a source that is being shut may still try."""
        if self.closed:
            return
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        while self._kept_bytes > self._history:
            self._kept_bytes -= len(self._kept.popleft())
        for reader in self._readers:
            reader.offer(chunk)

    def close(self) -> None:
        """End every reader, once it has taken what it has yet to take."""
        self.closed = True
        self._kept.clear()
        self._kept_bytes = 0
        for reader in self._readers:
            reader.end()
