"""The fan-out: one producer, the recent past, and any number of readers that all get the same bytes objects."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from streamproxy.broadcast.reader import Reader
from streamproxy.formats.mpegts import Entry, Indexer, opening

_LONGEST_WAY_BACK = 32 << 20
"""Bytes kept at most for the sake of an entry point: 10 s at 25 Mbit/s."""


class Ring:
    """Keep the newest chunks for those who join, and hand each new one to every reader.

    Appending never waits and costs one reference per reader. Chunks are whole packets, so whoever starts at a chunk
    starts at a packet. Where it is known at which packets a decoder can start, whoever joins, and whoever was lapped,
    starts at the newest of these.

    Attributes:
        closed: Whether the end has come; nothing can be appended any more.
    """

    def __init__(self, history: int) -> None:
        """Start empty.

        Args:
            history: Bytes of the past to keep; more, as far back as the newest entry point lies.
        """
        self.closed = False
        self._history = history
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._end = 0
        self._entry: Entry | None = None
        self._opening: list[bytes] | None = None
        self._readers: set[Reader] = set()
        self._lapped: dict[Reader, int] = {}

    @property
    def readers(self) -> int:
        """How many read from it."""
        return len(self._readers) + len(self._lapped)

    def newest(self, count: int) -> list[bytes]:
        """Return the newest chunks, at most so many, oldest first."""
        return list(islice(reversed(self._kept), count))[::-1]

    def join(self, queue_size: int) -> Reader:
        """Add a reader that begins at the newest entry point.

        Where none is known, it begins with the recent past, but with no more of it than fills half its queue.

        Args:
            queue_size: Chunks it may lag behind before it is moved forward.
        """
        if self._entry:
            reader = Reader(queue_size, self._from_entry(self._entry), decodable=True)
        else:
            newest = islice(reversed(self._kept), queue_size // 2)
            reader = Reader(queue_size, list(newest)[::-1])
        if self.closed:
            reader.end()
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Remove a reader; it gets nothing more."""
        self._readers.discard(reader)
        self._lapped.pop(reader, None)

    def note(self, entries: Sequence[Entry]) -> None:
        """Learn of entry points in what was appended; those in what is not kept any more are of no use."""
        if not self.closed and entries[-1].position >= self._end - self._kept_bytes:
            self._entry = entries[-1]
            self._opening = None

    def append(self, chunk: bytes, entries: Sequence[Entry] = ()) -> None:
        """Hand a chunk to every reader; a source that is being shut may still try.

        Args:
            chunk: The next piece of the stream.
            entries: Entry points that were found with it, by their positions in all that was appended. They may lie
                before it.
        """
        if self.closed:
            return
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        self._end += len(chunk)
        if self._opening is not None:
            self._opening.append(chunk)
        if entries:
            self.note(entries)
        self._forget()
        behind = [reader for reader in self._readers if not reader.offer(chunk)]
        for reader in behind:
            self._readers.discard(reader)
            self._lapped[reader] = self._end - len(chunk) - reader.drop()
        if self._lapped:
            self._resume_lapped(chunk)

    def close(self) -> None:
        """End every reader, once it has taken what it has yet to take."""
        self.closed = True
        for reader, position in self._lapped.items():
            reader.resume((), skipped=self._end - position)
        self._readers.update(self._lapped)
        self._lapped.clear()
        self._kept.clear()
        self._kept_bytes = 0
        self._entry = self._opening = None
        for reader in self._readers:
            reader.end()

    def _forget(self) -> None:
        """Drop what lies further back than the history and the newest entry point."""
        while self._kept_bytes > self._history:
            start = self._end - self._kept_bytes
            if self._entry and start + len(self._kept[0]) > self._entry.position:
                if self._kept_bytes <= _LONGEST_WAY_BACK:
                    return
                self._entry = self._opening = None
            self._kept_bytes -= len(self._kept.popleft())

    def _resume_lapped(self, chunk: bytes) -> None:
        """Let readers that had no room for a chunk continue where a decoder can, even if that is yet to come."""
        entry = self._entry
        for reader, position in list(self._lapped.items()):
            if entry is None:
                reader.resume([chunk], skipped=self._end - len(chunk) - position)
            elif entry.position >= position:
                reader.resume(self._from_entry(entry, resumed=True), skipped=entry.position - position)
            else:
                # It is past the newest one already: it waits for the next.
                continue
            del self._lapped[reader]
            self._readers.add(reader)

    def _from_entry(self, entry: Entry, *, resumed: bool = False) -> list[bytes]:
        """Return what a reader begins with at an entry point; kept, for those who come together."""
        if resumed or self._opening is None:
            index = Indexer()
            index.feed(entry.tables)
            begun = opening(entry.tables, self._since(entry.position), index.program, resumed=resumed)
            if resumed:
                return begun
            self._opening = begun
        return self._opening

    def _since(self, position: int) -> list[bytes]:
        """Return what was appended from a position on."""
        start = self._end
        chunks: list[bytes] = []
        for chunk in reversed(self._kept):
            start -= len(chunk)
            chunks.append(chunk if start >= position else chunk[position - start :])
            if start <= position:
                break
        return chunks[::-1]
