"""Cutting a transport stream into segments of HLS, at the places where a decoder can start (RFC 8216bis, 3.1.1)."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from streamproxy.formats.hls.cut_tables import CountedTables, Layout, uncounted
from streamproxy.formats.hls.cut_units import Unit, UnitFinder
from streamproxy.formats.hls.published import TARGET_DURATION, Published, Segment, Timeline
from streamproxy.formats.mpegts import Indexed, Indexer
from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND

_GOAL, _FIRST_GOAL = 4.0, 2.0
"""Seconds that a segment should have; the first ones less, so that there is soon something to play."""
_FIRST_SEGMENTS = 3
_NEARLY = 0.9
"""Share of the goal that is enough: two seconds of pictures are often 48 or 49 of them."""
_SHORTEST = 0.5
"""Seconds from an entry to the next that may be cut at: there are streams in which each picture is one."""

_PATIENCE = 8.0
"""Seconds to wait for an entry to begin at; then it begins anywhere."""


class Cutter:
    """Cuts a stream into segments, each of which begins with its tables.

    They are cut at entry points, and only where these are too far apart, or none is found, at any picture; a stream
    without pictures can be cut at any PES packet of its sound. No segment is longer than the target duration, except
    by what is rounded off. Whatever comes, no more is kept than the capacity and the newest chunk.

    Attributes:
        published: The segments.
    """

    def __init__(self, *, capacity: int, first_number: int = 0) -> None:
        """Start with no segment.

        Args:
            capacity: Bytes that are kept at most.
            first_number: The media sequence number of the first segment.
        """
        self._largest = capacity // 4
        self.published = Published(capacity=capacity - self._largest, first_number=first_number)
        self._goes_on = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._indexer = Indexer()
        self._tables = CountedTables()
        self._finder = UnitFinder()
        self._timeline = Timeline()
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._units: deque[Unit] = deque()
        self._began: float | None = None
        self._cuts = 0
        self._open: _Opening | None = None
        self._previous: Unit | None = None
        self._last_entry: Unit | None = None
        self._entry_gap = 0
        self._layout = Layout()

    def feed(self, packets: bytes, now: float) -> None:
        """Take the next piece of the stream.

        Args:
            packets: Whole packets, 188 bytes each.
            now: The time of day, in seconds since 1970.
        """
        self._began = now if self._began is None else self._began
        indexed = self._indexer.feed(packets)
        self._chunks.append((indexed.start, packets))
        self._note_units(indexed, now)
        while self._units and (self._units[0].tables is not None or len(self._units) > 1):
            self._pass(self._units.popleft())
        self._bound(indexed.start, now)

    def finish(self) -> None:
        """Publish what there is: the stream has ended. What is fed next is another, and goes on with the numbers."""
        while self._units:
            self._pass(self._units.popleft())
        if self._open and self._indexer.position > self._open.position:
            self._publish(self._open, self._indexer.position, self._finder.at + self._finder.step)
        self._begin_anew()

    def _note_units(self, indexed: Indexed, now: float) -> None:
        tables = {entry.position: entry.tables for entry in indexed.entries}
        for unit in self._units:
            # It may take more than one piece to tell whether a decoder can start with a picture.
            unit.tables = tables.pop(unit.position, unit.tables)
        for unit in self._finder.find(indexed, self._indexer.program, now):
            self._units.append(unit)
            self._timeline.came(_seconds(unit.at), now)

    def _pass(self, unit: Unit) -> None:
        """Go on to a unit, and cut where that is due."""
        if self._open is None:
            self._consider_beginning(unit)
        elif unit.jumps or (unit.tables is not None and self._layout.is_other(unit.tables)):
            self._cut(unit, discontinuous=True)
        else:
            while self._elapsed(unit) >= self._limit:
                self._cut(self._overdue_place(unit))
            if unit is not self._open.unit and unit.tables is not None and self._is_due(unit):
                self._cut(unit)
        if unit.tables is not None:
            self._note_entry(unit)
        self._previous = unit

    def _consider_beginning(self, unit: Unit) -> None:
        has_waited = self._began is not None and unit.came - self._began >= _PATIENCE
        if unit.tables is not None or (has_waited and self._indexer.tables):
            self._open = self._opening(unit, discontinuous=self._goes_on)
            self._drop_before(self._open.position)

    def _note_entry(self, unit: Unit) -> None:
        if self._last_entry:
            self._entry_gap = unit.at - self._last_entry.at
        self._last_entry = unit
        assert unit.tables is not None
        self._layout.take(unit.tables)

    def _elapsed(self, unit: Unit) -> int:
        assert self._open
        return unit.at - self._open.unit.at

    @property
    def _goal(self) -> float:
        return _FIRST_GOAL if self._cuts < _FIRST_SEGMENTS else _GOAL

    @property
    def _limit(self) -> int:
        """Ticks after which a segment is cut anywhere."""
        return _ticks(TARGET_DURATION if self._last_entry else self._goal)

    def _is_due(self, entry: Unit) -> bool:
        """Tell whether to cut at an entry: because it is time, or because the next one would be too late."""
        elapsed = self._elapsed(entry)
        if elapsed >= _ticks(_NEARLY * self._goal):
            return True
        return elapsed >= _ticks(_SHORTEST) and elapsed + self._entry_gap > _ticks(TARGET_DURATION)

    def _overdue_place(self, unit: Unit) -> Unit:
        """Find where to cut what is too long with this unit: at an entry, if there is one, or at any unit."""
        if self._last_entry and self._lies_within(self._last_entry):
            return self._last_entry
        is_hole = self._elapsed(unit) >= _ticks(TARGET_DURATION + 0.4)
        return self._previous if is_hole and self._previous and self._lies_within(self._previous) else unit

    def _lies_within(self, unit: Unit) -> bool:
        assert self._open
        return unit.position > self._open.unit.position and self._elapsed(unit) >= _ticks(_SHORTEST)

    def _bound(self, newest: int, now: float) -> None:
        """Keep no more than may be kept: not even of a stream in which nothing begins, or time stands still.

        Args:
            newest: Position of the newest chunk.
            now: When it came.
        """
        if self._open is None:
            self._bound_before_beginning()
            return
        while self._open and self._indexer.position - self._open.position > self._largest:
            place = next(
                (unit for unit in (self._last_entry, self._previous) if unit and self._lies_within(unit)), None
            )
            if place is None:
                elapsed = min(_ticks(now - self._open.unit.came), _ticks(TARGET_DURATION))
                place = Unit(newest, max(self._finder.at, self._open.unit.at + elapsed), now)
            if place.position <= self._open.position:
                break
            self._cut(place)

    def _bound_before_beginning(self) -> None:
        if self._units and self._indexer.position - self._units[0].position > self._largest:
            self._units.clear()
        needed = self._units[0].position if self._units else self._indexer.position
        # What is before them may be the tables that they begin with.
        while len(self._chunks) > 2 and self._chunks[2][0] <= needed:
            self._chunks.popleft()

    def _cut(self, place: Unit, *, discontinuous: bool = False) -> None:
        assert self._open
        opening = self._opening(place, discontinuous=discontinuous)
        self._publish(self._open, opening.position, place.at)
        if discontinuous:
            self._timeline = Timeline()
            self._timeline.came(_seconds(place.at), place.came)
        self._open = opening

    def _publish(self, opened: "_Opening", end: int, end_time: int) -> None:
        chunks = list(self._take_until(end))
        buffers = self._tables.write(opened.tables, chunks, inserted=opened.inserted)
        duration = min(max(_seconds(end_time - opened.unit.at), 0.04), TARGET_DURATION + 0.499)
        self.published.add(
            Segment(
                self.published.next_number,
                _seconds(opened.unit.at),
                duration,
                self._timeline,
                opened.discontinuous,
                opened.unit.tables is not None,
                buffers,
                sum(map(len, buffers)),
            )
        )
        self._cuts += 1
        self._goes_on = True

    def _opening(self, unit: Unit, *, discontinuous: bool) -> "_Opening":
        """Find where a segment has to begin for a unit: with the tables before it, where these are there."""
        tables = unit.tables or self._indexer.tables or (self._open.tables if self._open else b"")
        before = unit.position - len(tables)
        earliest = self._open.position if self._open else self._chunks[0][0] - 1
        if before > earliest and self._holds(tables, before):
            return _Opening(unit, before, tables, inserted=False, discontinuous=discontinuous)
        return _Opening(unit, unit.position, tables, inserted=True, discontinuous=discontinuous)

    def _holds(self, tables: bytes, position: int) -> bool:
        """Tell whether tables are what came at a position."""
        end = position + len(tables)
        pieces = [
            chunk[max(0, position - start) : max(0, end - start)]
            for start, chunk in self._chunks
            if start < end and start + len(chunk) > position
        ]
        return uncounted(b"".join(pieces)) == uncounted(tables)

    def _take_until(self, position: int) -> Iterator[bytes]:
        while self._chunks and self._chunks[0][0] < position:
            start, chunk = self._chunks.popleft()
            if start + len(chunk) > position:
                self._chunks.appendleft((position, chunk[position - start :]))
                chunk = chunk[: position - start]
            yield chunk

    def _drop_before(self, position: int) -> None:
        for _ in self._take_until(position):
            pass


@dataclass(frozen=True, slots=True)
class _Opening:
    """How a segment begins.

    Attributes:
        unit: With which unit.
        position: Where in the stream.
        tables: With which tables.
        inserted: Whether these are not in the stream there.
        discontinuous: Whether it does not go on from what was before.
    """

    unit: Unit
    position: int
    tables: bytes
    inserted: bool
    discontinuous: bool


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _seconds(ticks: int) -> float:
    return ticks / TICKS_PER_SECOND
