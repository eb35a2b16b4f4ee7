"""What goes into a splicer, what comes out of it, and what it remembers of both."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from streamproxy.formats.mpegts import Entry


class Piece(NamedTuple):
    """A piece of the output.

    Attributes:
        data: Whole packets.
        entries: Entry points found with it, by their positions in the output; one that could not be told before may
            stand before the piece.
    """

    data: bytes
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a source.

    Attributes:
        data: Whole packets.
        start: Its position in all that came from the source.
        entries: Entry points found with it, by their positions in all that came from the source.
        decode_time: The newest decoding time in it, at 90 kHz; None if there is none.
    """

    data: bytes
    start: int
    entries: tuple[Entry, ...] = ()
    decode_time: int | None = None

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.start + len(self.data)

    def before(self, position: int) -> "Chunk":
        """Return what of it stands before a position within it; the same object if that is all."""
        if position >= self.end:
            return self
        entries = tuple(entry for entry in self.entries if entry.position < position)
        return Chunk(self.data[: max(0, position - self.start)], self.start, entries, self.decode_time)

    def behind(self, position: int) -> "Chunk":
        """Return what of it stands at a position within it and behind; the same object if that is all."""
        if position <= self.start:
            return self
        entries = tuple(entry for entry in self.entries if entry.position >= position)
        return Chunk(self.data[position - self.start :], position, entries, self.decode_time)

    def parted(self, position: int) -> "tuple[Chunk, ...]":
        """Part it at a position; there is but itself if that is not within it."""
        return (self.before(position), self.behind(position)) if self.start < position < self.end else (self,)


class Recent:
    """The newest of the bytes that passed: references, not copies."""

    __slots__ = ("_chunks", "_most_bytes", "_most_chunks", "_size")

    def __init__(self, *, most_bytes: int, most_chunks: int) -> None:
        """Start empty.

        Args:
            most_bytes: Bytes to keep at most; the newest chunk is kept whatever its size.
            most_chunks: Chunks to keep at most.
        """
        self._chunks: deque[bytes] = deque()
        self._most_bytes = most_bytes
        self._most_chunks = most_chunks
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the chunks, oldest first."""
        return iter(self._chunks)

    def __reversed__(self) -> Iterator[bytes]:
        """Iterate over the chunks, newest first."""
        return reversed(self._chunks)

    def append(self, data: bytes) -> None:
        """Add the newest chunk."""
        self._chunks.append(data)
        self._size += len(data)
        while len(self._chunks) > 1 and (self._size > self._most_bytes or len(self._chunks) > self._most_chunks):
            self._size -= len(self._chunks.popleft())
