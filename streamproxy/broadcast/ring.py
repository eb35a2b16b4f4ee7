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
        position: Bytes that were appended so far.
    """

    def __init__(self, history: int) -> None:
        """Start empty.

        Args:
            history: Bytes of the past to keep; more, as far back as the newest entry point lies.
        """
        self.closed = False
        self.position = 0
        self._history = history
        self._longest_way_back = max(history, _LONGEST_WAY_BACK)
        self._kept: deque[bytes] = deque()
        self._start = self._behind_oldest = 0
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
        if not self.closed and entries[-1].position >= self._start:
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
        if not self._kept:
            self._behind_oldest = self._start + len(chunk)
        self._kept.append(chunk)
        self.position += len(chunk)
        if self._opening is not None:
            self._opening.append(chunk)
        if entries:
            self.note(entries)
        if self.position - self._start > self._history:
            self._forget()
        behind = [reader for reader in self._readers if not reader.offer(chunk)]
        for reader in behind:
            self._readers.discard(reader)
            self._lapped[reader] = self.position - len(chunk) - reader.drop()
        if self._lapped:
            self._resume_lapped(chunk)

    def close(self) -> None:
        """End every reader, once it has taken what it has yet to take."""
        self.closed = True
        for reader, position in self._lapped.items():
            reader.resume((), skipped=self.position - position)
        self._readers.update(self._lapped)
        self._lapped.clear()
        self._kept.clear()
        self._start = self.position
        self._entry = self._opening = None
        for reader in self._readers:
            reader.end()

    def _forget(self) -> None:
        """Drop what lies further back than the history and the newest entry point."""
        if self._entry and self.position - self._entry.position > self._longest_way_back:
            self._entry = self._opening = None
        needed = self._entry.position if self._entry else self.position
        # What is oldest is far to fetch, so it is not looked at before it is dropped.
        while self.position - self._start > self._history and self._behind_oldest <= needed:
            self._start = self._behind_oldest
            self._kept.popleft()
            self._behind_oldest += len(self._kept[0]) if self._kept else 0

    def _resume_lapped(self, chunk: bytes) -> None:
        """Let readers that had no room for a chunk continue where a decoder can, even if that is yet to come."""
        entry = self._entry
        for reader, position in list(self._lapped.items()):
            if entry is None:
                reader.resume([chunk], skipped=self.position - len(chunk) - position)
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
        start = self.position
        chunks: list[bytes] = []
        for chunk in reversed(self._kept):
            start -= len(chunk)
            chunks.append(chunk if start >= position else chunk[position - start :])
            if start <= position:
                break
        return chunks[::-1]
