"""A source as it goes on where the output ends: other PIDs, counters, times and tables (ISO/IEC 13818-1)."""

from collections import deque

from streamproxy.formats.mpegts import Entry
from streamproxy.formats.mpegts.fields import unit_starts
from streamproxy.formats.mpegts.packets import PACKET_SIZE, SYNC_BYTE
from streamproxy.formats.mpegts.psi import NULL_PID, PAT_PID, ElementaryStream, Program
from streamproxy.formats.mpegts.sections import packetize
from streamproxy.formats.mpegts.timestamps import (
    TICKS_PER_SECOND,
    WRAP,
    difference,
    payload_position,
    read_timestamp,
    shift_pcr,
    times_positions,
    write_timestamp,
)
from streamproxy.formats.splice.chunks import Chunk, Piece
from streamproxy.formats.splice.ending import Ending
from streamproxy.formats.splice.gates import Gate, Verdict
from streamproxy.formats.splice.layout import Layout, follow
from streamproxy.formats.splice.routes import Route, Routes, numbers
from streamproxy.formats.splice.sequence_end import sequence_end
from streamproxy.formats.splice.sheet import Printed, Sheet
from streamproxy.formats.splice.timing import Shift

_HAS_ADAPTATION_FIELD = bytes(0xFF if byte & 0x20 else 0 for byte in range(256))
_TOLERANCE = TICKS_PER_SECOND // 500
"""Ticks by which sound may repeat: what clocks that count in milliseconds are wrong by."""
_LONGEST_WITHOUT_TABLES = 9 * TICKS_PER_SECOND // 20
"""Ticks after which tables are put in where a source has none."""


class Rewriter:
    """Rewrites the packets of one source, as they come.

    Once every stream has begun, what is done to the packets of a PID is always the same: its number, its counter and
    its times are moved by constants, so that what is lost or damaged in the source stays so. Tables are replaced one
    for one, and put in where the source is short of them; what is on PIDs that its tables do not list is left out.
    """

    def __init__(self, layout: Layout, ending: Ending, tables: bytes, shift: Shift) -> None:
        """Take a source over into the output.

        Args:
            layout: The layout of the output, which takes in the streams of the source.
            ending: The end of the output.
            tables: The packets of the source's PAT and PMT.
            shift: What is added to its times.

        Raises:
            ValueError: The tables do not tell of a program.
        """
        self._layout = layout
        self._ending = ending
        self._shift = shift
        self._counters = dict(ending.counters)
        self._farewell = self._end(layout.program)
        self._programs = follow(tables)
        if self._programs.program is None:
            raise ValueError("tables without a program")
        self._program = self._programs.program
        self._broken = {pid for pid in layout.pids if pid not in self._counters}
        self._mapping = layout.admit(self._program, {}, self._counters)
        self._buffer = bytearray()
        self._read: dict[int, bytes] = {}
        self._gates: dict[int, Gate] = {}
        self._routes = Routes({})
        self._lead = _lead(self._program)
        self._tables_time: int | None = None
        self._decode_time: int | None = None
        self._tables: dict[int, bytes] = {}
        self._entry_tables: dict[int, bytes] = {}

    @property
    def tables(self) -> bytes:
        """The packets of the newest PAT and PMT of the output."""
        return b"".join(self._tables.values())

    def begin(self, before: bytes) -> bytes:
        """Return tables to begin with, and of the sound before the entry point what the output lacks.

        Args:
            before: The packets before the entry point.
        """
        tables = self._farewell + self._table(PAT_PID) + self._table(self._pmt_pid)
        if not self._shift.continuous:
            tables += self._clock_jump()
        # A clock of before the entry point would be before the clock that the output has reached.
        if self._program.video is None or self._program.pcr_pid in {stream.pid for stream in self._program.audio}:
            return tables
        for stream in self._program.audio:
            if (since := self._silent_since(stream.pid)) is not None:
                self._gates[stream.pid] = Gate(since, strict=True)
        return tables + self._rewrite(before, with_tables=False).data

    def _end(self, program: Program | None) -> bytes:
        """Return what ends the video of the output as it was."""
        end = sequence_end(program, self._ending)
        if end is None:
            return b""
        pid, packet = end
        self._counters[pid] = packet[3] & 0x0F
        return packet

    def _clock_jump(self) -> bytes:
        """Return what announces a clock that does not go on from the one before."""
        pid = self._mapping.get(self._program.pcr_pid)
        if pid is None:
            return b""
        self._broken.discard(pid)
        return _discontinuity(pid, self._counters.setdefault(pid, 0))

    def open(self, entry_time: int | None) -> None:
        """Go on at the entry point.

        Args:
            entry_time: The presentation time at the entry point in the source; None if it has none.
        """
        video = self._program.video
        audio = {stream.pid for stream in self._program.audio}
        self._gates = {
            pid: Gate(self._silent_since(pid) if pid in audio else None)
            for pid in self._mapping
            if pid not in self._routes.by_pid
        }
        if video:
            self._gates[video.pid] = Gate.for_pictures(entry_time)
        self._routes = self._routes.adding(NULL_PID, Route(NULL_PID, 0))

    def _silent_since(self, pid: int) -> int | None:
        """Return from which time of the source on the output has no sound that an audio stream would repeat."""
        end = self._ending.sound.get(self._mapping[pid], self._ending.sound_time)
        return None if end is None else (end - _TOLERANCE - self._shift.stamps) % WRAP

    def rewrite(self, chunk: Chunk, position: int) -> Piece:
        """Rewrite packets.

        Args:
            chunk: The packets.
            position: Where in the output they will stand.
        """
        # One that stands before the chunk has left, and where it is now is not known any more.
        places = [(entry.position - chunk.start) // PACKET_SIZE for entry in chunk.entries]
        self._entry_tables = {number: b"" for number in places if number >= 0}
        printed = self._rewrite(chunk.data, with_tables=True)
        entries = (
            Entry(position + printed.position(number), tables)
            for number, tables in self._entry_tables.items()
            if tables
        )
        return Piece(printed.data, tuple(entries))

    @property
    def _pmt_pid(self) -> int:
        program = self._layout.program
        return program.pmt_pid if program else NULL_PID

    def _rewrite(self, packets: bytes, *, with_tables: bool) -> Printed:
        sheet = Sheet(packets, self._buffer)
        waiting = self._notable(sheet, packets)
        while waiting:
            number = waiting.popleft()
            at = number * PACKET_SIZE
            pid = (packets[at + 1] & 0x1F) << 8 | packets[at + 2]
            if (assembler := self._programs.pids.get(pid)) is not None:
                if with_tables:
                    self._replace_table(sheet, number, pid)
                if assembler.pending and packets[at + 1] & 0x40:
                    waiting = _with_rest(waiting, sheet, number, pid)
                continue
            if pid in self._gates:
                self._pass_gate(sheet, number, pid)
            if pid in self._routes.by_pid:
                self._shift_times(sheet, number, pid)
                if number in self._entry_tables:
                    self._entry_tables[number] = self.tables
        sheet.route_until(sheet.columns.count, self._routes)
        return sheet.print()

    def _notable(self, sheet: Sheet, packets: bytes) -> deque[int]:
        """Return the numbers of the packets to look at one by one: where something starts, clocks, rests of tables."""
        found = set(numbers(unit_starts(packets)))
        for number in numbers(sheet.columns.control.translate(_HAS_ADAPTATION_FIELD)):
            if packets[number * PACKET_SIZE + 5] & 0x10:
                found.add(number)
        for pid, assembler in self._programs.pids.items():
            if assembler.pending:
                found |= {*sheet.columns.indices(sheet.columns.of_pid(pid))}
        return deque(sorted(found))

    def _replace_table(self, sheet: Sheet, number: int, pid: int) -> None:
        at = number * PACKET_SIZE
        packet = bytes(sheet.buffer[at : at + PACKET_SIZE])
        # Nearly always it says what the last one said, and that was read already.
        if self._read.get(pid) != packet[4:]:
            if self._programs.feed(pid, packet):
                self._read.clear()
                if self._programs.program not in {None, self._program}:
                    self._change_program(sheet, number)
            self._read[pid] = packet[4:]
        if not packet[1] & 0x40:
            return
        if pid == PAT_PID:
            sheet.replace(number, self._table(PAT_PID))
        elif pid == self._program.pmt_pid:
            sheet.replace(number, self._table(self._pmt_pid))
            self._tables_time = self._decode_time

    def _change_program(self, sheet: Sheet, number: int) -> None:
        """Take other streams into the output from a packet on."""
        sheet.route_until(number, self._routes)
        assert self._programs.program is not None
        self._program = self._programs.program
        self._lead = _lead(self._program)
        before = self._mapping
        self._mapping = self._layout.admit(self._program, before, self._counters)
        for pid, output_pid in before.items():
            if self._mapping.get(pid) != output_pid:
                if pid in self._routes.by_pid:
                    self._routes = self._routes.without(pid)
                    self._broken.add(output_pid)
                    self._counters.pop(output_pid, None)
                self._gates.pop(pid, None)
        for pid in self._mapping:
            if pid not in self._routes.by_pid:
                self._gates.setdefault(pid, Gate())

    def _table(self, pid: int) -> bytes:
        """Return the packets of a table of the output, that counts on."""
        section = self._layout.pat if pid == PAT_PID else self._layout.pmt
        counter = self._counters.get(pid)
        announcement = _discontinuity(pid, 0x0F) if counter is None and pid in self._broken else b""
        self._broken.discard(pid)
        packets = packetize(section, pid, 0 if counter is None else (counter + 1) & 0x0F)
        self._counters[pid] = packets[-PACKET_SIZE + 3] & 0x0F
        self._tables[pid] = packets
        return announcement + packets

    def _pass_gate(self, sheet: Sheet, number: int, pid: int) -> None:
        at = number * PACKET_SIZE
        gate = self._gates[pid]
        verdict = gate.judge(sheet.buffer, at)
        if verdict is None and self._program.stream(pid) is None:
            verdict = Verdict.OPEN  # Nothing but a clock.
        if verdict is Verdict.SHUT:
            self._shut(sheet, number, pid)
        elif verdict is not None:
            if pid not in self._routes.by_pid:
                self._open(sheet, number, pid)
            if verdict is Verdict.OPEN:
                del self._gates[pid]

    def _open(self, sheet: Sheet, number: int, pid: int) -> None:
        sheet.route_until(number, self._routes)
        output_pid, control = self._mapping[pid], sheet.buffer[number * PACKET_SIZE + 3]
        counts = control >> 4 & 1
        last = self._counters.get(output_pid)
        if last is None and output_pid in self._broken:
            self._broken.discard(output_pid)
            sheet.insert(number, _discontinuity(output_pid, (control - counts) & 0x0F))
        step = 0 if last is None else (last + counts - control) & 0x0F
        self._routes = self._routes.adding(pid, Route(output_pid, step))
        self._clear_discontinuity(sheet, number)

    def _clear_discontinuity(self, sheet: Sheet, number: int) -> None:
        """Let the first packet say nothing of a discontinuity: here there is none."""
        at = number * PACKET_SIZE
        if sheet.buffer[at + 3] & 0x20 and sheet.buffer[at + 4]:
            sheet.buffer[at + 5] &= 0x7F

    def _shut(self, sheet: Sheet, number: int, pid: int) -> None:
        if route := self._routes.by_pid.get(pid):
            sheet.route_until(number, self._routes)
            self._routes = self._routes.without(pid)
            self._counters[route.pid] = (sheet.buffer[number * PACKET_SIZE + 3] - 1 + route.step) & 0x0F

    def _shift_times(self, sheet: Sheet, number: int, pid: int) -> None:
        buffer, at = sheet.buffer, number * PACKET_SIZE
        shift_pcr(buffer, at, self._shift.clock)
        payload = payload_position(buffer, at)
        if payload is None or not buffer[at + 1] & 0x40 or buffer[at + 3] & 0xC0:
            return
        positions = [position for position in times_positions(buffer, payload) if position is not None]
        for position in positions:
            write_timestamp(buffer, position, read_timestamp(buffer, position) + self._shift.stamps)
        if positions and pid == self._lead:
            self._decode_time = read_timestamp(buffer, positions[-1])
            self._complete_tables(sheet, number)

    def _complete_tables(self, sheet: Sheet, number: int) -> None:
        """Put tables in if the last have been too long ago."""
        assert self._decode_time is not None
        if self._tables_time is None:
            self._tables_time = self._decode_time
        elif not 0 <= difference(self._decode_time, self._tables_time) < _LONGEST_WITHOUT_TABLES:
            sheet.insert(number, self._table(PAT_PID) + self._table(self._pmt_pid))
            self._tables_time = self._decode_time


def _lead(program: Program) -> int:
    """Return the PID of the stream by which time is told."""
    streams: tuple[ElementaryStream | None, ...] = (program.video, *program.audio)
    return next((stream.pid for stream in streams if stream), NULL_PID)


def _with_rest(waiting: deque[int], sheet: Sheet, number: int, pid: int) -> deque[int]:
    """Add the later packets of a PID to those that wait to be looked at."""
    columns = sheet.columns
    return deque(sorted({*waiting, *(later for later in columns.indices(columns.of_pid(pid)) if later > number)}))


def _discontinuity(pid: int, counter: int) -> bytes:
    """Make a packet without payload that permits the counter of its PID to jump (2.4.3.5)."""
    head = bytes((SYNC_BYTE, pid >> 8, pid & 0xFF, 0x20 | counter, PACKET_SIZE - 5, 0x80))
    return head.ljust(PACKET_SIZE, b"\xff")
