"""What a channel sends: one transport stream, out of one source after another (ISO/IEC 13818-1)."""

from collections.abc import Sequence
from itertools import islice

from streamproxy.formats.mpegts import Entry, Indexed, Indexer
from streamproxy.formats.mpegts.packets import PACKET_SIZE, SYNC_BYTE
from streamproxy.formats.mpegts.psi import NULL_PID
from streamproxy.formats.splice.candidate import Candidate
from streamproxy.formats.splice.chunks import Chunk, Piece, Recent
from streamproxy.formats.splice.ending import read_ending
from streamproxy.formats.splice.hold import Hold
from streamproxy.formats.splice.layout import Layout
from streamproxy.formats.splice.passage import Passage
from streamproxy.formats.splice.replay import Former
from streamproxy.formats.splice.rewriter import Rewriter
from streamproxy.formats.splice.timing import shift_onto

_REMEMBERED_BYTES, _REMEMBERED_CHUNKS = 3 << 19, 2_048
"""Of the output: all that a following source has to go on from must be in it."""
_RECOGNISED_BYTES = 1 << 18
"""Of the source in force: enough to recognise it by."""

_NULL_PACKET = bytes((SYNC_BYTE, NULL_PID >> 8, NULL_PID & 0xFF, 0x10)).ljust(PACKET_SIZE, b"\xff")
_IDLE = 7 * _NULL_PACKET


class Splicer:
    """Makes one stream out of sources that come one after another, so that a player notices no seam.

    The first source passes untouched: what comes out are the objects that went in. All others are rewritten to go on
    with PIDs, continuity counters, clocks and time stamps where the output ended. A source ends where its video and
    audio is complete, and the next begins at an entry point.

    The newest chunks are held back until no picture and no sound in them could be cut. That delays a stream by a
    picture or a PES packet of sound, by no more than 8 chunks or 1 MiB, and the beginning of the first source not at
    all.

    No input makes it fail. It keeps the last 1.5 MiB of its output, and what is held back.
    """

    def __init__(self, *, thorough: bool = False) -> None:
        """Start with the first source in force.

        Args:
            thorough: Whether to find something in every piece: else most of the first source is not read, where entry
                points are marked. They are found all the same, but for some where the video moves to another PID.
        """
        self._found: Sequence[Indexed] = ()
        self._indexer = Indexer()
        self._output = Recent(most_bytes=_REMEMBERED_BYTES, most_chunks=_REMEMBERED_CHUNKS)
        self._passage: Passage | None = Passage(self._indexer, self._output, thorough=thorough)
        self._hold = Hold()
        self._in_force = True
        self._complete = 0
        self._timed = Indexed((), 0)
        self._left: list[Chunk] = []
        self._fed = Recent(most_bytes=_RECOGNISED_BYTES, most_chunks=_REMEMBERED_CHUNKS)
        self._layout: Layout | None = None
        self._rewriter: Rewriter | None = None
        self._position = 0
        self._offset = 0

    def feed(self, packets: bytes) -> list[Piece]:
        """Take the next packets of the source in force.

        Args:
            packets: Whole packets, 188 bytes each; best 32 to 128 KiB at a time.

        Returns:
            What may be published now. Nothing while no source is in force.
        """
        if not self._in_force or not packets:
            return []
        if self._passage:
            return self._passage.feed(packets)
        indexed = self._indexer.feed(packets)
        self._found = (indexed,)
        self._fed.append(packets)
        self._complete = indexed.complete
        if indexed.timed:
            self._timed = indexed
        chunk = Chunk(packets, indexed.start, indexed.entries)
        complete = indexed.complete if self._indexer.program else None
        return [self._publish(passed) for passed in self._hold.add(chunk, complete)]

    @property
    def found(self) -> Sequence[Indexed]:
        """What was found since the feed before, piece by piece.

        It may take some pieces until they are read, and unless it is thorough, of many it is never known.
        """
        return self._passage.found if self._passage else self._found

    def newest(self, count: int) -> list[bytes]:
        """Return the newest pieces that were fed of the source in force, at most so many, oldest first."""
        fed = self._passage.newest() if self._passage else reversed(self._fed)
        return list(islice(fed, count))[::-1]

    def look(self) -> tuple[Entry, ...]:
        """Return the entry points in what was published that are not known yet: somebody wants to start at one."""
        return self._passage.look() if self._passage else ()

    def finish(self, *, whole: bool = False) -> list[Piece]:
        """End the source in force, if there is one.

        Args:
            whole: Whether it ended by itself where nothing is cut, like an HLS segment: then all of it is published.

        Returns:
            What is complete of what was held back; the rest is dropped.
        """
        if not self._in_force:
            return []
        self._in_force = False
        if self._passage:
            self._leave(self._passage)
        if whole:
            passed, self._left = self._hold.release(), []
        else:
            passed, self._left = self._hold.cut(self._complete, self._indexer.program)
        return [self._publish(chunk) for chunk in passed]

    def _leave(self, passage: Passage) -> None:
        """Go on without the passage, from now on for good."""
        self._position = passage.position
        held = passage.end()
        self._passage = None
        self._complete, self._timed = passage.complete, passage.timed
        for data in (*self._output, *(chunk.data for chunk in held)):
            self._fed.append(data)
        self._hold.restore(held)

    def former(self) -> Former:
        """Return what the source that was in force last is recognised by, if it begins with what it sent already.

        While one is in force, nothing recognises it: what it will have sent is not known.
        """
        if self._in_force:
            return Former()
        return Former.of(self._fed, self._timed.decode_time)

    @property
    def indexer(self) -> Indexer:
        """The index of the source in force; another one once another source is entered."""
        return self._indexer

    def idle(self) -> bytes:
        """Return 7 null packets, 1316 bytes, to hold the line while nothing plays: they are part of the output."""
        if self._passage:
            self._leave(self._passage)
        self._position += len(_IDLE)
        return _IDLE

    def enter(self, candidate: Candidate) -> list[Piece]:
        """Go on with another source; the one in force is finished if that was not done.

        Args:
            candidate: A source that is ready. From now on its packets are fed here, and no more to it.

        Returns:
            What may be published now.

        Raises:
            ValueError: It is not ready.
        """
        if not candidate.ready:
            raise ValueError("the candidate is not ready")
        pieces = self.finish()
        self._in_force = True
        continuation = candidate.continuation()
        if continuation is None:
            return pieces + self._join(candidate)
        self._hold.restore(self._left)
        self._left = []
        for packets in continuation:
            pieces += self.feed(packets)
        return pieces

    def _join(self, candidate: Candidate) -> list[Piece]:
        """Go on at the entry point of another source."""
        entry = candidate.entry
        assert entry is not None
        layout = self._layout = self._layout or Layout(self._indexer.tables)
        ending = read_ending(self._output, layout.program)
        beginning = candidate.beginning()
        rewriter = self._rewriter = Rewriter(layout, ending, entry.tables, shift_onto(ending, beginning))
        head = Piece(rewriter.begin(candidate.before_entry()))
        rewriter.open(beginning.presentation_time)
        self._indexer, self._complete = candidate.indexer, candidate.complete
        self._timed = Indexed((), 0, candidate.decode_time)
        self._hold = Hold()
        self._left = []
        self._fed = Recent(most_bytes=_RECOGNISED_BYTES, most_chunks=_REMEMBERED_CHUNKS)
        self._note(head)
        pieces = [head]
        for chunk in candidate.from_entry():
            self._fed.append(chunk.data)
            # The next chunk may take a while, and somebody waits for what is complete.
            for part in chunk.parted(candidate.complete):
                pieces += [self._publish(passed) for passed in self._hold.add(part, candidate.complete)]
        return pieces

    def _publish(self, chunk: Chunk) -> Piece:
        piece = self._rewriter.rewrite(chunk, self._position) if self._rewriter is not None else self._untouched(chunk)
        self._note(piece)
        return piece

    def _untouched(self, chunk: Chunk) -> Piece:
        before, self._offset = self._offset, self._position - chunk.start
        # Null packets may stand between an entry that was found late and its chunk.
        entries = (entry for entry in chunk.entries if entry.position >= chunk.start or before == self._offset)
        moved = (Entry(entry.position + self._offset, entry.tables) for entry in entries)
        return Piece(chunk.data, chunk.entries if not self._offset else tuple(moved))

    def _note(self, piece: Piece) -> None:
        self._position += len(piece.data)
        self._output.append(piece.data)
