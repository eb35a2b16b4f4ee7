"""What is wrong with a piece of MPEG-TS: a checker in the manner of ETSI TR 101 290, for tests.

It shares no code with streamproxy, so that a mistake there is not repeated here. References are to ISO/IEC 13818-1.
Not looked at: the elementary streams themselves, arrival times, and buffers of receivers.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

PACKET_SIZE = 188
LONGEST_CLOCK_GAP = 0.5
"""Seconds between two PCRs of a PID that are still right."""
LONGEST_STAMP_GAP = 1.0
"""Seconds between two decoding (or presentation) times of a PID that are still right; too short for subtitles."""

_SYNC = 0x47
_PAT_PID, _CAT_PID, _SDT_PID, _NULL_PID = 0x0000, 0x0001, 0x0011, 0x1FFF
_PAT_TABLE, _PMT_TABLE, _STUFFING_TABLE = 0x00, 0x02, 0xFF
_STAMP_RATE, _STAMP_WRAP = 90_000, 1 << 33
_CLOCK_RATE, _CLOCK_WRAP = 27_000_000, (1 << 33) * 300
_STREAM_IDS_WITHOUT_STAMPS = bytes((0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF))


class FaultKind(StrEnum):
    """What can be wrong."""

    EMPTY = "empty"
    """There is not one packet: a test that checks nothing."""
    LENGTH = "length"
    """The data does not end with a whole packet."""
    SYNC = "sync"
    """There is no sync byte where a packet should begin."""
    TRANSPORT_ERROR = "transport error"
    """A sender marked a packet as damaged."""
    SCRAMBLED = "scrambled"
    MALFORMED = "malformed"
    """A header contradicts itself."""
    CONTINUITY = "continuity"
    """A continuity counter jumps, or a packet comes a third time."""
    CRC = "crc"
    """A section of a table is damaged."""
    PCR = "pcr"
    """A clock stands still, runs backwards, jumps, or never comes."""
    DTS = "dts"
    """A decoding time repeats, runs backwards or jumps. It is the presentation time where a stream gives only that."""
    PTS = "pts"
    """A presentation time jumps, or lies before its decoding time."""


@dataclass(slots=True)
class Stream:
    """What was seen of a PID.

    Attributes:
        packets: How many packets it has.
        stream_type: What the PMT says it is; None if no PMT lists it.
        pcr_range: First and last clock, at 27 MHz; the last is counted on over the wrap. None if it has no clock.
        pts_range: Earliest and latest presentation time, at 90 kHz; counted on over the wrap. None if it has none.
    """

    packets: int = 0
    stream_type: int | None = None
    pcr_range: tuple[int, int] | None = None
    pts_range: tuple[int, int] | None = None


@dataclass(slots=True)
class Report:
    """What was seen in a piece of MPEG-TS.

    Attributes:
        faults: What is wrong, as sentences for people; empty if nothing is.
        counts: How many faults there are of each kind.
        duplicates: Packets that came twice, which is legal, but counted by ffmpeg as damage.
        packets: How many packets there are, null packets included.
        streams: What was seen, by PID.
        programs: PIDs of the PMTs, by program number.
    """

    faults: list[str] = field(default_factory=list)
    counts: Counter[FaultKind] = field(default_factory=Counter)
    duplicates: int = 0
    packets: int = 0
    streams: dict[int, Stream] = field(default_factory=dict)
    programs: dict[int, int] = field(default_factory=dict)

    @property
    def stream_types(self) -> dict[int, int]:
        """Stream types by PID, for those that a PMT lists."""
        types = ((pid, stream.stream_type) for pid, stream in self.streams.items())
        return {pid: stream_type for pid, stream_type in types if stream_type is not None}


def check(data: bytes) -> Report:
    """Check a piece of MPEG-TS that begins with a packet; takes 2 to 3 s for 1,000,000 packets."""
    return _Checker(data).check()


class _Pid:
    """What is remembered of a PID from packet to packet."""

    __slots__ = ("clock", "counter", "dts", "packet", "pts", "repeated", "seen", "unit")

    def __init__(self, seen: Stream) -> None:
        self.seen = seen
        self.counter: int | None = None
        self.packet = b""  # the last one with payload
        self.repeated = False
        self.clock: int | None = None
        self.dts: int | None = None
        self.pts: int | None = None
        self.unit: bytearray | None = None  # sections from the last unit start on; None before it and after a loss


class _Checker:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._report = Report()
        self._pids: dict[int, _Pid] = {}
        self._table_pids = {_PAT_PID, _CAT_PID, _SDT_PID}
        self._clock_pids: dict[int, int] = {}  # by the PID of the stream that they time
        self._sound_sections: set[bytes] = set()

    def check(self) -> Report:
        at = 0
        while at + PACKET_SIZE <= len(self._data):
            if self._data[at] == _SYNC:
                self._check_packet(at)
                at += PACKET_SIZE
            else:
                found = self._next_packet(at)
                self._fault(FaultKind.SYNC, at, f"no packet for {found - at} bytes")
                at = found
        if at < len(self._data):
            self._fault(FaultKind.LENGTH, at, f"{len(self._data) - at} bytes are not a whole packet")
        if not self._report.packets:
            self._fault(FaultKind.EMPTY, 0, "there are no packets")
        self._check_that_clocks_exist()
        return self._report

    def _next_packet(self, at: int) -> int:
        """Return where three packets in a row begin, or as many as are left; the end of the data if nowhere."""
        while (at := self._data.find(_SYNC, at + 1)) >= 0:
            if set(self._data[at : at + 3 * PACKET_SIZE : PACKET_SIZE]) == {_SYNC}:
                return at
        return len(self._data)

    def _check_packet(self, at: int) -> None:
        packet = self._data[at : at + PACKET_SIZE]
        header = int.from_bytes(packet[:4], "big")
        number = header >> 8 & 0x1FFF
        self._report.packets += 1
        pid = self._pids.get(number) or self._new_pid(number)
        pid.seen.packets += 1
        if number == _NULL_PID:
            return
        payload = _payload_position(packet)
        if payload is None:
            self._fault(FaultKind.MALFORMED, at, "the adaptation field has an impossible length", number)
            return
        # The adaptation field's flags, none if it has no room for them.
        flags = packet[5] if header & 0x20 and packet[4] else 0
        if not self._check_continuity(at, number, pid, packet, bool(flags & 0x80)):
            return
        if header & 0x800000:
            self._fault(FaultKind.TRANSPORT_ERROR, at, "a sender marked the packet as damaged", number)
            return
        if flags & 0x90:
            self._check_clock(at, number, pid, packet, flags)
        if header & 0xC0:
            self._fault(FaultKind.SCRAMBLED, at, "the payload is scrambled", number)
        elif number in self._table_pids:
            self._check_tables(at, number, pid, packet[payload:], bool(header & 0x400000))
        elif header & 0x400000 and packet.startswith(b"\0\0\1", payload):
            self._check_stamps(at, number, pid, packet[payload:])

    def _new_pid(self, number: int) -> _Pid:
        seen = self._report.streams.setdefault(number, Stream())
        self._pids[number] = pid = _Pid(seen)
        return pid

    def _check_continuity(self, at: int, number: int, pid: _Pid, packet: bytes, discontinuity: bool) -> bool:
        """Compare the continuity counter with the last one; return whether the packet is to be looked at (2.4.3.3)."""
        counter, last = packet[3] & 0x0F, pid.counter
        has_payload = bool(packet[3] & 0x10)
        expected = None if last is None else (last + has_payload) & 0x0F
        if expected is not None and counter != expected and not discontinuity:
            if has_payload and counter == last and not pid.repeated and _is_repeated(pid.packet, packet):
                self._report.duplicates += 1
                pid.repeated = True
                return False
            self._fault(FaultKind.CONTINUITY, at, f"continuity counter {counter} instead of {expected}", number)
            pid.unit = None
        pid.counter = counter
        if has_payload:
            pid.packet, pid.repeated = packet, False
        return True

    def _check_clock(self, at: int, number: int, pid: _Pid, packet: bytes, flags: int) -> None:
        if flags & 0x80:
            self._forget_times(number)
        if not flags & 0x10:
            return
        if packet[4] < 7:
            self._fault(FaultKind.MALFORMED, at, "the adaptation field is too short for its clock", number)
            return
        bits = int.from_bytes(packet[6:12], "big")
        clock = (bits >> 15) * 300 + (bits & 0x1FF)
        if pid.clock is not None:
            step = _difference(clock, pid.clock, _CLOCK_WRAP) / _CLOCK_RATE
            if not 0 < step <= LONGEST_CLOCK_GAP:
                self._fault(FaultKind.PCR, at, f"the clock moves by {step:.3f} s", number)
        pid.clock = clock
        pid.seen.pcr_range = _extended(pid.seen.pcr_range, clock, _CLOCK_WRAP)

    def _forget_times(self, number: int) -> None:
        """Let a new time base begin: for the clock of a PID, and for the streams that it times (2.4.3.5)."""
        self._pids[number].clock = None
        for timed, clock in self._clock_pids.items():
            if clock == number and timed in self._pids:
                self._pids[timed].dts = self._pids[timed].pts = None

    def _check_stamps(self, at: int, number: int, pid: _Pid, unit: bytes) -> None:
        """Check the time stamps of a PES packet (2.4.3.7)."""
        if len(unit) < 9 or unit[3] in _STREAM_IDS_WITHOUT_STAMPS or not unit[7] & 0xC0:
            return
        has_dts = bool(unit[7] & 0x40)
        pts = _stamp(unit[9:14], 0b0011 if has_dts else 0b0010)
        dts = _stamp(unit[14:19], 0b0001) if has_dts else pts
        if pts is None or dts is None:
            self._fault(FaultKind.MALFORMED, at, "a time stamp lacks its fixed bits", number)
            return
        if pid.dts is not None and pid.pts is not None:
            step = _difference(dts, pid.dts, _STAMP_WRAP) / _STAMP_RATE
            if not 0 < step <= LONGEST_STAMP_GAP:
                self._fault(FaultKind.DTS, at, f"the decoding time moves by {step:.3f} s", number)
            step = _difference(pts, pid.pts, _STAMP_WRAP) / _STAMP_RATE
            if has_dts and abs(step) > LONGEST_STAMP_GAP:
                self._fault(FaultKind.PTS, at, f"the presentation time moves by {step:.3f} s", number)
        if _difference(pts, dts, _STAMP_WRAP) < 0:
            self._fault(FaultKind.PTS, at, "the presentation time is before the decoding time", number)
        pid.dts, pid.pts = dts, pts
        pid.seen.pts_range = _extended(pid.seen.pts_range, pts, _STAMP_WRAP)

    def _check_tables(self, at: int, number: int, pid: _Pid, payload: bytes, starts_unit: bool) -> None:
        """Collect the sections of tables and check those that are complete (2.4.4)."""
        if starts_unit and payload:
            begin = 1 + payload[0]
            if pid.unit is not None:
                pid.unit += payload[1:begin]
                self._check_sections(at, number, pid.unit)
            pid.unit = bytearray(payload[begin:])
        elif pid.unit is not None:
            pid.unit += payload
        if pid.unit is not None:
            self._check_sections(at, number, pid.unit)

    def _check_sections(self, at: int, number: int, unit: bytearray) -> None:
        """Check the complete sections of a unit, and remove them from it."""
        while len(unit) >= 3 and unit[0] != _STUFFING_TABLE:
            length = 3 + ((unit[1] & 0x0F) << 8 | unit[2])
            if len(unit) < length:
                return
            section = bytes(unit[:length])
            del unit[:length]
            self._check_section(at, number, section)

    def _check_section(self, at: int, number: int, section: bytes) -> None:
        has_checksum, is_current = section[1] & 0x80, len(section) >= 12 and section[5] & 0x01
        if not has_checksum or section in self._sound_sections:
            return
        if _crc(section) != 0:
            self._fault(FaultKind.CRC, at, f"the section of table 0x{section[0]:02x} is damaged", number)
            return
        self._sound_sections.add(section)
        if is_current and number == _PAT_PID and section[0] == _PAT_TABLE:
            self._learn_programs(section)
        elif is_current and section[0] == _PMT_TABLE:
            self._learn_streams(section)

    def _learn_programs(self, section: bytes) -> None:
        for at in range(8, len(section) - 7, 4):
            program, pid = int.from_bytes(section[at : at + 2], "big"), _pid(section, at + 2)
            if program:  # 0 is the network's own table
                self._report.programs[program] = pid
                self._table_pids.add(pid)

    def _learn_streams(self, section: bytes) -> None:
        clock_pid = _pid(section, 8)
        for stream_type, pid in _streams(section):
            self._report.streams.setdefault(pid, Stream()).stream_type = stream_type
            self._clock_pids[pid] = clock_pid

    def _check_that_clocks_exist(self) -> None:
        streams = self._report.streams
        for timed, clock in self._clock_pids.items():
            earliest, latest = streams[timed].pts_range or (0, 0)
            has_clock = clock in streams and streams[clock].pcr_range is not None
            if not has_clock and latest - earliest > LONGEST_CLOCK_GAP * _STAMP_RATE:
                self._fault(FaultKind.PCR, len(self._data), "the stream's clock never comes", timed)

    def _fault(self, kind: FaultKind, at: int, text: str, pid: int | None = None) -> None:
        where = f"byte {at}" if pid is None else f"byte {at}, PID 0x{pid:04x}"
        self._report.faults.append(f"{where}: {kind}: {text}")
        self._report.counts[kind] += 1


def _payload_position(packet: bytes) -> int | None:
    """Return where the payload begins; the packet's end if it has none, None if that cannot be (2.4.3.5)."""
    control = packet[3] >> 4 & 0x3
    if control == 0b01:
        return 4
    length = packet[4]
    if control == 0b11 and length <= 182:
        return 5 + length
    return PACKET_SIZE if control == 0b10 and length == 183 else None


def _is_repeated(first: bytes, second: bytes) -> bool:
    """Return whether two packets are the same but for their clocks (2.4.3.3)."""
    has_clock = second[3] & 0x20 and second[4] >= 7 and second[5] & 0x10
    return first == second or bool(has_clock and first[:6] == second[:6] and first[12:] == second[12:])


def _difference(later: int, earlier: int, wrap: int) -> int:
    """Return the shorter way from one time to another on the circle."""
    return (later - earlier + wrap // 2) % wrap - wrap // 2


def _extended(times: tuple[int, int] | None, time: int, wrap: int) -> tuple[int, int]:
    if times is None:
        return time, time
    earliest, latest = times
    time = latest + _difference(time, latest % wrap, wrap)
    return min(earliest, time), max(latest, time)


def _stamp(field_bytes: bytes, prefix: int) -> int | None:
    """Return a time stamp; None if its fixed bits are wrong."""
    bits = int.from_bytes(field_bytes, "big")
    if len(field_bytes) < 5 or bits >> 36 != prefix or bits & 0x1_0001_0001 != 0x1_0001_0001:
        return None
    return (bits >> 33 & 0x7) << 30 | (bits >> 17 & 0x7FFF) << 15 | (bits >> 1 & 0x7FFF)


def _pid(data: bytes, at: int) -> int:
    return (data[at] & 0x1F) << 8 | data[at + 1]


def _streams(section: bytes) -> Iterator[tuple[int, int]]:
    """Yield the stream type and PID of each stream in a PMT section (2.4.4.8)."""
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    while at + 5 <= len(section) - 4:
        yield section[at], _pid(section, at + 1)
        at += 5 + ((section[at + 3] & 0x0F) << 8 | section[at + 4])


def _crc(data: bytes) -> int:
    """Return the CRC-32 of annex A, which is 0 over a section that ends with its own."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register & 0x80000000 else 0)) & 0xFFFFFFFF
    return register
