"""The first source of a stream on its way through: untouched, and looked at as little as possible."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

from streamproxy.formats.mpegts import Entry, Indexed, Indexer
from streamproxy.formats.mpegts.fields import unit_starts_of
from streamproxy.formats.mpegts.index import find_mark
from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.psi import PAT_PID
from streamproxy.formats.splice.chunks import Chunk, Piece, Recent
from streamproxy.formats.splice.hold import MOST_BYTES, MOST_CHUNKS

_BATCH = 8
"""Chunks that are read together, where all are read; those that are searched for the tables of an entry point."""
_AFTER_ENTRY = 4
"""Chunks that are read behind one of a few entry points: pictures that need no other are the largest."""
_ENTRIES = 3
"""Entry points in a row behind which nothing is read."""
_MOST_UNREAD = 28
"""Chunks in a row of which none has an entry point, until the newest are read: tables may have changed."""
_PROMPT = 2
"""Chunks that pass at once: somebody waits for the first of them."""
_LEARNING = 32
"""Chunks of which each is read at once, to learn how much is incomplete at a time."""
_REMEMBERED = 256
"""Chunks whose experience counts: a picture that needs no other is much larger than those between, and comes now and
then."""


class Passage:
    """Passes chunks on as they are, behind a distance at which video and audio has been complete lately.

    Almost all of what a channel ever sends goes this way, and a hundred channels take turns: whatever is touched here
    has to be fetched from far. So it is not looked at each chunk how far it can be passed on. Where entry points have
    marks, most chunks are not read at all: they are only searched for marks, and what stands around those is read. All
    others are read in batches.

    Attributes:
        complete: Position up to which all video and audio is complete, in what was read.
        timed: The newest piece in which something begins that has a time.
        found: What was found since the feed before.
    """

    def __init__(self, indexer: Indexer, passed: Recent, *, thorough: bool = False) -> None:
        """Start empty.

        Args:
            indexer: That of the source.
            passed: Remembers what has passed.
            thorough: Whether to read every chunk.
        """
        self.complete = 0
        self.timed = Indexed((), 0)
        self.found: Sequence[Indexed] = ()
        self._looked_at: Sequence[Indexed] = ()
        self._indexer = indexer
        self._thorough = thorough
        self._passed = passed
        self._end = 0
        self._held: deque[bytes] = deque()
        self._held_size = 0
        self._marked_pid: int | None = None
        self._unread = 0
        self._most_unread = _MOST_UNREAD
        self._entries_until_more = _ENTRIES
        self._prompt = _PROMPT
        self._known = False
        self._depth = 0
        # Where the newest picture begins that was read, if what is read next goes on from there.
        self._unit: int | None = None
        self._depths: deque[int] = deque(maxlen=_REMEMBERED)
        self._entries: list[Entry] = []
        self._newest_entry = -1

    @property
    def position(self) -> int:
        """Bytes that have passed."""
        return self._end - self._held_size

    def newest(self) -> Iterable[bytes]:
        """Return the newest chunks that came, newest first."""
        return chain(reversed(self._held), reversed(self._passed))

    def feed(self, packets: bytes) -> list[Piece]:
        """Take the next chunk, and return what may pass."""
        self.found, self._looked_at = self._looked_at, ()
        self._end += len(packets)
        self._held.append(packets)
        self._held_size += len(packets)
        self._read_if_due(packets)
        pieces = []
        while self._held and self._may_pass(self._held[0]):
            pieces.append(self._pass_one())
        return pieces

    def look(self) -> tuple[Entry, ...]:
        """Read what has been left for later, and return the entry points in what has passed."""
        found = self._indexer.read()
        self._learn(found)
        self._looked_at = (*self._looked_at, *found)
        return self._entries_before(self.position)

    def end(self) -> list[Chunk]:
        """Read what has not been read, and return what is held back."""
        # What is open at the end must have begun in what is remembered.
        self._read_newest(tuple(self.newest()))
        chunks = []
        for data in self._held:
            start = self.position
            self._held_size -= len(data)
            chunks.append(Chunk(data, start, self._entries_before(self.position)))
        self._held.clear()
        return chunks

    def _may_pass(self, oldest: bytes) -> bool:
        """Tell whether the oldest chunk is complete: for certain in the beginning, later by experience."""
        if self._known:
            return self._held_size - len(oldest) >= self._depth or len(self._held) > MOST_CHUNKS
        if self._prompt or self._indexer.program is None:
            return True
        too_much = self._held_size > MOST_BYTES or len(self._held) > MOST_CHUNKS
        return too_much or self.position + len(oldest) <= self.complete

    def _pass_one(self) -> Piece:
        data = self._held.popleft()
        self._held_size -= len(data)
        self._passed.append(data)
        if self._prompt:
            self._prompt -= 1
        return Piece(data, self._entries_before(self.position) if self._entries else ())

    def _entries_before(self, position: int) -> tuple[Entry, ...]:
        """Take the entry points before a position."""
        entries = tuple(entry for entry in self._entries if entry.position < position)
        self._entries = [entry for entry in self._entries if entry.position >= position]
        return entries

    def _read_if_due(self, packets: bytes) -> None:
        """Read the newest chunks, or leave them for later, or for good."""
        if self._marked_pid is None:
            self._indexer.note(packets)
            if not self._known or self._indexer.unread >= _BATCH:
                self._learn(self._indexer.read())
            return
        self._unread += 1
        mark = find_mark(packets, self._marked_pid)
        if mark >= 0:
            self._read_with_tables(mark)
        elif self._unread >= self._most_unread:
            self._read_newest(self._newest_unread(_AFTER_ENTRY))

    def _read_with_tables(self, mark: int) -> None:
        """Read the newest chunk, and of those before it what it takes to know the tables of its first entry point."""
        program = self._indexer.program
        wanted = {PAT_PID, program.pmt_pid} if program else {PAT_PID}
        chunks: list[bytes] = []
        for packets in self._newest_unread(_BATCH):
            before = len(packets) if chunks else mark
            wanted = {pid for pid in wanted if not _begins(pid, packets, before)}
            chunks.append(packets)
            if not wanted:
                break
        self._read_newest(chunks)
        self._entries_until_more -= 1
        if self._entries_until_more < 0:
            self._entries_until_more = _ENTRIES
            self._most_unread = _AFTER_ENTRY

    def _newest_unread(self, most: int) -> list[bytes]:
        """Return the newest chunks that have not been read, at most so many, newest first."""
        return [packets for packets, _ in zip(self.newest(), range(min(self._unread, most)), strict=False)]

    def _read_newest(self, chunks: Sequence[bytes]) -> None:
        """Read the newest chunks, newest first."""
        start = self._end - sum(len(packets) for packets in chunks)
        if start != self._indexer.position or self._indexer.unread:
            self._indexer.go_to(start)
            self._unit = None
        self._unread = 0
        self._most_unread = _MOST_UNREAD
        self._learn([self._indexer.feed(packets) for packets in reversed(chunks)])

    def _learn(self, found: Sequence[Indexed]) -> None:
        if not found:
            return
        self.found = (*self.found, *found)
        for indexed in found:
            self._enter(indexed.entries)
            self.complete = indexed.complete
            self._depths.append(
                max(self._largest_unit(indexed), indexed.start + len(indexed.packets) - indexed.complete)
            )
            if indexed.timed:
                self.timed = indexed
        self._known = len(self._depths) >= _LEARNING and self._indexer.program is not None
        # What comes may be a little larger than all that was seen.
        self._depth = min(max(self._depths) * 9 // 8, MOST_BYTES)
        self._marked_pid = self._indexer.marked_pid if self._known and not self._thorough else None

    def _largest_unit(self, indexed: Indexed) -> int:
        """Return the bytes from one picture to the next, of those that are complete with a chunk: the most."""
        largest = 0
        for start in indexed.starts:
            begins = indexed.start + start
            largest = max(largest, begins - (begins if self._unit is None else self._unit))
            self._unit = begins
        return largest

    def _enter(self, entries: Iterable[Entry]) -> None:
        """Take note of entry points, save those that were found before."""
        for entry in entries:
            if entry.position > self._newest_entry:
                self._entries.append(entry)
                self._newest_entry = entry.position


def _begins(pid: int, packets: bytes, before: int) -> bool:
    """Tell whether something of a PID begins before a place."""
    first = next(unit_starts_of(pid, packets), None)
    return first is not None and first * PACKET_SIZE < before
