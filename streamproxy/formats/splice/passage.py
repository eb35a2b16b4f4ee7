"""The first source of a stream on its way through: untouched, and looked at as little as possible."""

from collections import deque
from collections.abc import Sequence

from streamproxy.formats.mpegts import Entry, Indexed, Indexer
from streamproxy.formats.splice.chunks import Chunk, Piece

_BATCH = 8
"""Chunks that are read together."""
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
    batches, and it is not looked at each of them how far it can be passed on.

    Attributes:
        complete: Position up to which all video and audio is complete, in what was read.
        timed: The newest piece in which something begins that has a time.
        found: What was found since the feed before.
    """

    def __init__(self, indexer: Indexer, *, clean_cut: bool) -> None:
        """Start empty.

        Args:
            indexer: That of the source.
            clean_cut: Whether to hold anything back at all.
        """
        self.complete = 0
        self.timed = Indexed((), 0)
        self.found: Sequence[Indexed] = ()
        self._indexer = indexer
        self._clean_cut = clean_cut
        self._held: deque[bytes] = deque()
        self._held_size = 0
        self._passed = 0
        self._prompt = _PROMPT
        self._depth = 0
        self._depths: deque[int] = deque(maxlen=_REMEMBERED)
        self._entries: list[Entry] = []

    def feed(self, packets: bytes) -> list[Piece]:
        """Take the next chunk, and return what may pass."""
        self.found = ()
        self._indexer.note(packets)
        self._held.append(packets)
        self._held_size += len(packets)
        if self._indexer.unread >= _BATCH or not self._is_known:
            self._read()
        pieces = []
        while self._held and (self._may_pass(self._held[0]) or len(self._held) > _MOST_HELD):
            pieces.append(self._pass_one())
        return pieces

    def look(self) -> tuple[Entry, ...]:
        """Read what has not been read, and return the entry points in what has passed."""
        self._read()
        return self._entries_before(self._passed)

    def end(self) -> list[Chunk]:
        """Read what has not been read, and return what is held back."""
        self._read()
        chunks = []
        for data in self._held:
            start = self._passed
            self._passed += len(data)
            chunks.append(Chunk(data, start, self._entries_before(self._passed)))
        self._held.clear()
        return chunks

    @property
    def _is_known(self) -> bool:
        """Whether enough has been read to go by it."""
        return len(self._depths) >= _LEARNING and self._indexer.program is not None

    def _may_pass(self, oldest: bytes) -> bool:
        """Tell whether the oldest chunk is complete: for certain in the beginning, later by experience."""
        if self._prompt or not self._clean_cut or self._indexer.program is None or self._held_size > _DEEPEST:
            return True
        if self._is_known:
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

    def _read(self) -> None:
        found = self._indexer.read()
        self.found = (*self.found, *found)
        for indexed in found:
            self._entries += indexed.entries
            self.complete = indexed.complete
            # What is incomplete at the end of a chunk has been a little more somewhere within it.
            self._depths.append(indexed.start + 2 * len(indexed.packets) - indexed.complete)
            if indexed.timed:
                self.timed = indexed
        if found:
            self._depth = min(max(self._depths), _DEEPEST)
