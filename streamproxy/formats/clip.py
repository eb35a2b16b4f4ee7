"""A clip of MPEG-TS, played over and over as one endless stream (ISO/IEC 13818-1)."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, TypeVar

from streamproxy.formats.mpegts import PACKET_SIZE, SYNC_BYTE

_NULL_PID = 0x1FFF
_TICKS_PER_SECOND = 90_000
_WRAP = 1 << 33
_STREAM_IDS_WITHOUT_STAMPS = frozenset((0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF))
"""Program stream map, padding, private stream 2, ECM, EMM, DSM-CC, H.222.1 type E and directory (2.4.3.7)."""


class Clip:
    """An endless stream that repeats a clip.

    Packets are counted from 0 over all repetitions. Each repetition is the clip with its clocks (PCR) and time stamps
    (PTS, DTS) moved on by its duration, modulo 2^33, and its continuity counters carried on, so that no receiver
    notices a seam. Nothing is remembered between calls: a packet is the same bytes whoever asks for it, and whenever.

    Where these fields stand is found once; a read copies the clip's bytes and overwrites nothing else.

    Args:
        data: One program. Its PCR comes with a picture stream of constant frame rate, each frame in a PES packet of its
            own; all streams last equally long, and nothing refers to what is before the beginning or after the end.

    Attributes:
        duration: Length of one repetition in seconds.
        packet_count: Packets in one repetition.

    Raises:
        ValueError: The data is not such a clip.
    """

    def __init__(self, data: bytes) -> None:
        if set(data[::PACKET_SIZE]) != {SYNC_BYTE} or len(data) % PACKET_SIZE:
            raise ValueError("not whole packets of 188 bytes")
        self.packet_count = len(data) // PACKET_SIZE
        self._data = data
        self._counters: list[_Counter] = []
        self._clocks: list[_Time] = []
        self._stamps: list[_Time] = []
        self._counter_steps: Counter[int] = Counter()
        decoding_times = self._find_fields()
        if not self._clocks:
            raise ValueError("no clock (PCR)")
        clock_pid = _pid(data, _packet_of(self._clocks[0]) * PACKET_SIZE)
        self._ticks = _whole_duration(decoding_times[clock_pid])
        self.duration = self._ticks / _TICKS_PER_SECOND
        self._timeline = _timeline(self._clocks, self.packet_count, self._ticks)
        self._timeline_ticks = [ticks for _, ticks in self._timeline]

    def packets_until(self, seconds: float) -> int:
        """Count the packets due in the first seconds of the stream: as its clock says, evenly between two PCRs."""
        loop, ticks = divmod(seconds * _TICKS_PER_SECOND, self._ticks)
        after = bisect_right(self._timeline_ticks, ticks)
        (first, begin), (last, end) = self._timeline[after - 1 : after + 1]
        return int(loop) * self.packet_count + first + int((ticks - begin) * (last - first) / (end - begin))

    def read(self, start: int, stop: int) -> bytes:
        """Return the packets from number `start` up to, but not including, number `stop`; may be none."""
        pieces = []
        while start < stop:
            loop, first = divmod(start, self.packet_count)
            last = min(first + stop - start, self.packet_count)
            pieces.append(self._repetition(loop, first, last))
            start += last - first
        return b"".join(pieces)

    def _repetition(self, loop: int, first: int, last: int) -> bytes:
        begin, end = first * PACKET_SIZE, last * PACKET_SIZE
        piece = bytearray(self._data[begin:end])
        for position, number, pid in _between(self._counters, begin, end):
            at = position - begin
            piece[at] = piece[at] & 0xF0 | (number + loop * self._counter_steps[pid]) & 0x0F
        shift = loop * self._ticks
        for position, ticks in _between(self._clocks, begin, end):
            _write_clock(piece, position - begin, (ticks + shift) % _WRAP)
        for position, ticks in _between(self._stamps, begin, end):
            _write_stamp(piece, position - begin, (ticks + shift) % _WRAP)
        return bytes(piece)

    def _find_fields(self) -> dict[int, list[int]]:
        """Find the fields that differ between repetitions; return the decoding times of each PID."""
        decoding_times: dict[int, list[int]] = defaultdict(list)
        for begin in range(0, len(self._data), PACKET_SIZE):
            packet = self._data[begin : begin + PACKET_SIZE]
            pid = _pid(packet, 0)
            if pid == _NULL_PID:
                continue
            self._clocks += [_Time(begin + at, _read_clock(packet, at)) for at in _clock_positions(packet)]
            stamps = [_Time(begin + at, _read_stamp(packet, at)) for at in _stamp_positions(packet)]
            self._stamps += stamps
            # The decoding time is the second stamp where there are two, and else the same as the first.
            decoding_times[pid] += [stamp.ticks for stamp in stamps[-1:]]
            # Only payload is counted; a packet without it repeats the count (2.4.3.3).
            self._counter_steps[pid] += bool(packet[3] & 0x10)
            self._counters.append(_Counter(begin + 3, self._counter_steps[pid] - 1, pid))
        return decoding_times


class _Counter(NamedTuple):
    """A continuity counter: the position of its byte, its value counted from the beginning of the clip, its PID."""

    position: int
    number: int
    pid: int


class _Time(NamedTuple):
    """A clock or a time stamp: the position of its first byte, and its value at 90 kHz."""

    position: int
    ticks: int


_Field = TypeVar("_Field", _Counter, _Time)


def _between(fields: list[_Field], begin: int, end: int) -> list[_Field]:
    return fields[bisect_left(fields, (begin,)) : bisect_left(fields, (end,))]


def _whole_duration(decoding_times: list[int]) -> int:
    """Return how long the frames last together, the last one included, at 90 kHz."""
    steps = {(later - earlier) % _WRAP for earlier, later in pairwise(decoding_times)}
    if len(steps) != 1 or not 0 < (step := steps.pop()) < _WRAP // 2:
        raise ValueError("the stream that carries the clock (PCR) has no constant frame rate")
    return step * len(decoding_times)


def _timeline(clocks: list[_Time], packet_count: int, duration: int) -> list[tuple[int, int]]:
    """Return when packets are due: pairs of packet number and ticks, from (0, 0) to (packet_count, duration)."""
    origin = clocks[0].ticks
    points = [(_packet_of(clock), (clock.ticks - origin) % _WRAP) for clock in clocks]
    (first, _), (last, last_ticks) = points[0], points[-1]
    if last_ticks >= duration or any(later <= earlier for (_, earlier), (_, later) in pairwise(points)):
        raise ValueError("the clock (PCR) is not steady")
    # The packets before the first clock and those after the last are neighbours, between the same two clocks.
    lead = (duration - last_ticks) * first // (first + packet_count - last)
    start = [(0, 0)] if first else []
    return [*start, *((packet, ticks + lead) for packet, ticks in points), (packet_count, duration)]


def _packet_of(clock: _Time) -> int:
    return clock.position // PACKET_SIZE


def _pid(data: bytes, at: int) -> int:
    return (data[at + 1] & 0x1F) << 8 | data[at + 2]


def _clock_positions(packet: bytes) -> Iterator[int]:
    has_adaptation_field = packet[3] & 0x20
    if has_adaptation_field and packet[4] >= 7 and packet[5] & 0x10:
        yield 6


def _stamp_positions(packet: bytes) -> Iterator[int]:
    """Yield where the PTS and the DTS are, in this order, if a PES packet begins in this one and has them."""
    starts_unit, has_adaptation_field, has_payload = packet[1] & 0x40, packet[3] & 0x20, packet[3] & 0x10
    header = packet[5 + packet[4] :] if has_adaptation_field else packet[4:]
    if not (starts_unit and has_payload and header.startswith(b"\0\0\1")):
        return
    if len(header) < 9:
        raise ValueError("a PES header is split over two packets")
    stream_id, flags = header[3], header[7]
    if stream_id in _STREAM_IDS_WITHOUT_STAMPS:
        return
    positions = [position for flag, position in ((0x80, 9), (0x40, 14)) if flags & flag]
    if positions and len(header) < positions[-1] + 5:
        raise ValueError("a PES header is split over two packets")
    yield from (len(packet) - len(header) + position for position in positions)


def _read_clock(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 5], "big") >> 7


def _write_clock(data: bytearray, at: int, ticks: int) -> None:
    # The last seven bits are the beginning of the extension, which counts 1/300 ticks and stays as it is.
    data[at : at + 5] = (ticks << 7 | data[at + 4] & 0x7F).to_bytes(5, "big")


def _read_stamp(data: bytes, at: int) -> int:
    bits = int.from_bytes(data[at : at + 5], "big")
    return (bits >> 3 & 0x7 << 30) | (bits >> 2 & 0x7FFF << 15) | (bits >> 1 & 0x7FFF)


def _write_stamp(data: bytearray, at: int, ticks: int) -> None:
    # Four bits that say which stamp it is, then 3, 15 and 15 bits of it, each followed by a marker bit.
    bits = (data[at] >> 4) << 36 | (ticks >> 30) << 33 | 1 << 32
    bits |= (ticks >> 15 & 0x7FFF) << 17 | 1 << 16 | (ticks & 0x7FFF) << 1 | 1
    data[at : at + 5] = bits.to_bytes(5, "big")
