"""The first source of a stream on its way through: untouched, and looked at as little as possible."""

from collections import deque
from collections.abc import Iterable, Sequence

from streamproxy.formats.mpegts import Entry, Indexed, Indexer
from streamproxy.formats.splice.chunks import Chunk, Piece

_BATCH = 8
"""Chunks that are read together."""
_AFTER_ENTRY = 4
"""Chunks that are read behind one of a few entry points: pictures that need no other are the largest."""
_ENTRIES = 3
"""Entry points in a row behind which nothing is read."""
_MOST_SKIPPED = 24
"""Chunks after which some are read that have no entry point: tables may have changed."""
_PROMPT = 2
"""Chunks that pass at once: somebody waits for the first of them."""
_DEEPEST, _MOST_HELD = 1 << 20, 8
"""Bytes and chunks that are held back at most."""
_LEARNING = 32
"""Chunks of which each is read at once, to learn how much is incomplete at a time."""
_REMEMBERED = 256
"""Chunks whose experience counts: a picture that needs no other is much larger than those between, and comes now and
then."""


class Passage:
    """Passes chunks on as they are, behind a distance at which video and audio has been complete lately.

    Almost all of what a channel ever sends goes this way, and a hundred channels take turns. So chunks are read in
    batches, and it is not looked at each of them how far it can be passed on. Where entry points have marks, most are
    not read at all: of them it is only looked for the marks, and what stands around those is read.

    Attributes:
        complete: Position up to which all video and audio is complete, in what was read.
        timed: The newest piece in which something begins that has a time.
        found: What was found since the feed before.
    """

    def __init__(self, indexer: Indexer, *, clean_cut: bool, thorough: bool = False) -> None:
        """Start empty.

        Args:
            indexer: That of the source.
            clean_cut: Whether to hold anything back at all.
            thorough: Whether to read every chunk.
        """
        self.complete = 0
        self.timed = Indexed((), 0)
        self.found: Sequence[Indexed] = ()
        self._indexer = indexer
        self._clean_cut = clean_cut
        self._thorough = thorough
        self._held: deque[bytes] = deque()
        self._held_size = 0
        self._passed = 0
        self._skipped = 0
        self._entries_until_more = _ENTRIES
        self._prompt = _PROMPT
        self._known = False
        self._depth = 0
        self._depths: deque[int] = deque(maxlen=_REMEMBERED)
        self._entries: list[Entry] = []
        self._newest_entry = -1

    def feed(self, packets: bytes) -> list[Piece]:
        """Take the next chunk, and return what may pass."""
        self.found = ()
        marked = self._indexer.note(packets)
        self._held.append(packets)
        self._held_size += len(packets)
        self._read_if_due(marked)
        pieces = []
        while self._held and (self._may_pass(self._held[0]) or len(self._held) > _MOST_HELD):
            pieces.append(self._pass_one())
        return pieces

    def look(self) -> tuple[Entry, ...]:
        """Read what has not been read, and return the entry points in what has passed."""
        self._read()
        return self._entries_before(self._passed)

    def end(self, recent: Iterable[bytes]) -> list[Chunk]:
        """Read what has not been read, and return what is held back.

        Args:
            recent: The newest chunks that were passed on, oldest first: what is open at the end must have begun in
                them.
        """
        self._learn(self._indexer.reread((*recent, *self._held)))
        chunks = []
        for data in self._held:
            start = self._passed
            self._passed += len(data)
            chunks.append(Chunk(data, start, self._entries_before(self._passed)))
        self._held.clear()
        return chunks

    def _may_pass(self, oldest: bytes) -> bool:
        """Tell whether the oldest chunk is complete: for certain in the beginning, later by experience."""
        if self._prompt or not self._clean_cut or self._indexer.program is None or self._held_size > _DEEPEST:
            return True
        if self._known:
            return self._held_size - len(oldest) >= self._depth
        return self._passed + len(oldest) <= self.complete

    def _pass_one(self) -> Piece:
        data = self._held.popleft()
        self._held_size -= len(data)
        self._passed += len(data)
        self._prompt = max(0, self._prompt - 1)
        return Piece(data, self._entries_before(self._passed) if self._entries else ())

    def _entries_before(self, position: int) -> tuple[Entry, ...]:
        """Take the entry points before a position."""
        entries = tuple(entry for entry in self._entries if entry.position < position)
        self._entries = [entry for entry in self._entries if entry.position >= position]
        return entries

    def _read_if_due(self, marked: bool | None) -> None:
        """Read all that has not been read, pass over the oldest of it, or leave it for later."""
        unread = self._indexer.unread
        if not self._known or marked is None or self._thorough:
            if unread >= _BATCH or not self._known:
                self._read()
        elif marked:
            self._indexer.skip_to_tables()
            self._read()
            self._entries_until_more -= 1
        elif self._skipped >= _MOST_SKIPPED or (self._entries_until_more < 0 and unread >= _AFTER_ENTRY):
            self._read()
            self._entries_until_more = _ENTRIES
        elif unread > _BATCH:
            self._indexer.skip()
            self._skipped += 1

    def _read(self) -> None:
        self._skipped = 0
        self._learn(self._indexer.read())

    def _learn(self, found: Sequence[Indexed]) -> None:
        self.found = (*self.found, *found)
        for indexed in found:
            self._enter(indexed.entries)
            self.complete = indexed.complete
            # What is incomplete at the end of a chunk has been a little more somewhere within it.
            self._depths.append(indexed.start + 2 * len(indexed.packets) - indexed.complete)
            if indexed.timed:
                self.timed = indexed
        if found:
            self._known = len(self._depths) >= _LEARNING and self._indexer.program is not None
            self._depth = min(max(self._depths), _DEEPEST)

    def _enter(self, entries: Iterable[Entry]) -> None:
        """Take note of entry points, save those that were found before."""
        for entry in entries:
            if entry.position > self._newest_entry:
                self._entries.append(entry)
                self._newest_entry = entry.position
