"""Where pictures begin in a transport stream, and at which times: the places at which it can be cut."""

from dataclasses import dataclass

from streamproxy.formats.hls.published import TARGET_DURATION
from streamproxy.formats.mpegts import PACKET_SIZE, Indexed
from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.psi import Program
from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND, difference, payload_position, pes_times

_LONGEST_HOLE, _FURTHEST_BACK = TARGET_DURATION * TICKS_PER_SECOND, 2 * TICKS_PER_SECOND
"""How far times may jump, forward or back, in one timeline. Some senders give no decoding times, and the times of
presentation go to and fro."""
_USUAL_STEP = TICKS_PER_SECOND // 25


@dataclass(slots=True, eq=False)
class Unit:
    """The beginning of a picture, or of sound where there are no pictures: a place to cut at.

    Attributes:
        position: Of its first packet: bytes since the beginning of all that was fed.
        at: Its time, in ticks on a line without wraps and jumps.
        came: When it came, in seconds.
        jumps: Whether its time has nothing to do with the one before.
        tables: What a decoder needs to start with it; None where it cannot start with it, or that is not known yet.
    """

    position: int
    at: int
    came: float
    jumps: bool = False
    tables: bytes | None = None


class UnitFinder:
    """Finds the units of a stream, and puts their times on one line. Where there are none, those of their coming count.

    Attributes:
        at: The time of the last unit.
        step: How much later a unit usually is than the one before it.
    """

    def __init__(self) -> None:
        self.at = 0
        self.step = _USUAL_STEP
        self._time: int | None = None
        self._came: float | None = None

    def find(self, indexed: Indexed, program: Program | None, came: float) -> list[Unit]:
        """Return the units that begin in the next piece of the stream.

        Args:
            indexed: The piece.
            program: What it belongs to.
            came: When it came, in seconds.
        """
        tables = {entry.position: entry.tables for entry in indexed.entries}
        units = []
        for at in _places(indexed, program):
            jumps = self._go_on(_time(indexed.packets, at), came)
            position = indexed.start + at
            units.append(Unit(position, self.at, came, jumps, tables.get(position)))
        return units

    def _go_on(self, time: int | None, came: float) -> bool:
        """Go on to the next unit; return whether its time jumps."""
        step, jumps = 0, False
        if time is None:
            if self._time is None and self._came is not None:
                step = round((came - self._came) * TICKS_PER_SECOND)
        else:
            step = 0 if self._time is None else difference(time, self._time)
            self._time = time
            jumps = not -_FURTHEST_BACK <= step <= _LONGEST_HOLE
            if jumps:
                step = self.step
            elif step > 0:
                self.step = min(step, TICKS_PER_SECOND)
        self._came = came
        self.at += step
        return jumps


def _places(indexed: Indexed, program: Program | None) -> list[int]:
    """Return where in a piece pictures begin, or sounds where there are no pictures."""
    places = {entry.position - indexed.start for entry in indexed.entries if entry.position >= indexed.start}
    lead = (program.video or next(iter(program.audio), None)) if program else None
    if lead:
        columns = Columns(indexed.packets)
        mask = columns.of_pid(lead.pid) & columns.unit_starts()
        places |= {number * PACKET_SIZE for number in columns.indices(mask)}
    return sorted(places)


def _time(packets: bytes, at: int) -> int | None:
    """Return the decoding time of the PES packet that begins with the packet at `at`."""
    payload = payload_position(packets, at)
    if payload is None or packets[at + 3] & 0xC0:
        return None
    return pes_times(packets, payload)[1]
