"""Which streams the output has, and on which PIDs (ISO/IEC 13818-1, 2.4.4)."""

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.programs import ProgramFollower
from streamproxy.formats.mpegts.psi import (
    NULL_PID,
    PAT_PID,
    ElementaryStream,
    Program,
    read_descriptors,
    write_pat,
    write_pmt,
)
from streamproxy.formats.mpegts.sections import SectionAssembler

_LOWEST_PID, _FIRST_PID = 0x20, 0x100
_PAT_TABLE = 0
_PRIVATE_DATA = 0x06
_REGISTRATION = 0x05
_TELLING_NOTHING = frozenset((0x0A, 0x0E, 0x52))
"""Descriptors that say nothing of how a stream is coded: language, bit rate, stream identifier."""
_MOST_REMEMBERED = 256
"""Streams whose PIDs are remembered while no source has them."""


def table_packets(tables: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the packets of tables, each with its PID."""
    for at in range(0, len(tables), PACKET_SIZE):
        yield (tables[at + 1] & 0x1F) << 8 | tables[at + 2], tables[at : at + PACKET_SIZE]


def follow(tables: bytes) -> ProgramFollower:
    """Return what follows the program of these tables."""
    follower = ProgramFollower()
    for pid, packet in table_packets(tables):
        if pid in follower.pids:
            follower.feed(pid, packet)
    return follower


class Layout:
    """The PIDs of the output, which stay what they are from source to source.

    A stream gets the PID of the one that it continues: the first audio stream that of the first audio stream before.
    Only where it is coded in another way it gets another, since a decoder is chosen once for a PID; when the first way
    comes back, so does its PID.

    Attributes:
        program: The program as the output has it.
        pat: The section that announces it.
        pmt: The section that says what it consists of.
    """

    def __init__(self, tables: bytes) -> None:
        """Start with what the output has had so far.

        Args:
            tables: The packets of its PAT and PMT; empty if it has had none.
        """
        self.program = follow(tables).program
        self.pmt = b""
        self._streams: dict[Hashable, int] = {}
        self._ways: dict[int, Hashable] = {}
        self._transport_stream_id, self._pat_version, self.pat = _read_pat(tables)
        if self.program:
            for key, stream in _keys(self.program):
                self._remember(key, stream.pid, _way(stream))
            if self.program.stream(self.program.pcr_pid) is None and self.program.pcr_pid != NULL_PID:
                self._remember(_CLOCK, self.program.pcr_pid, _CLOCK)
            self.pmt = write_pmt(self.program)

    @property
    def pids(self) -> Collection[int]:
        """All PIDs that the output has had, as far as they are remembered, with those of its tables."""
        return {*self._ways, *((PAT_PID, self.program.pmt_pid) if self.program else ())}

    def admit(self, source: Program, current: Mapping[int, int], taken: Collection[int]) -> dict[int, int]:
        """Take over the streams of a source, and announce them.

        Args:
            source: The program of the source.
            current: The PIDs that its streams have had so far, if any: they keep them.
            taken: PIDs that are in use for something else.

        Returns:
            The PIDs of the output by those of the source, that of its clock included.
        """
        number, pmt_pid = (
            (self.program.number, self.program.pmt_pid) if self.program else (source.number, source.pmt_pid)
        )
        # What had no tables was not seen by any player.
        used = {*taken, pmt_pid} if self.program else {pmt_pid}
        mapping = {
            stream.pid: current[stream.pid]
            for stream in source.streams
            if stream.pid in current and self._ways.get(current[stream.pid]) == _way(stream)
        }
        for key, stream in _keys(source):
            if stream.pid not in mapping:
                mapping[stream.pid] = self._pid_for(key, stream, {*mapping.values()}, used)
        pcr_pid = mapping.get(source.pcr_pid, NULL_PID)
        if pcr_pid == NULL_PID and _LOWEST_PID <= source.pcr_pid < NULL_PID and source.pcr_pid != source.pmt_pid:
            clock = ElementaryStream(source.pcr_pid, 0)
            mapping[source.pcr_pid] = pcr_pid = self._pid_for(_CLOCK, clock, {*mapping.values()}, used)
        streams = tuple(replace(stream, pid=mapping[stream.pid]) for stream in source.streams)
        self._announce(Program(number, pmt_pid, pcr_pid, streams, source.descriptors, source.version))
        return mapping

    def _pid_for(self, key: Hashable, stream: ElementaryStream, assigned: set[int], used: set[int]) -> int:
        pid = self._streams.get(key)
        if pid is None or pid in assigned:
            closed = assigned | used | self._ways.keys()
            # More PIDs than there are can only have been used up on purpose.
            pid = _free_pid(stream.pid, closed) or _free_pid(stream.pid, assigned) or stream.pid
        self._remember(key, pid, _CLOCK if key == _CLOCK else _way(stream))
        return pid

    def _remember(self, key: Hashable, pid: int, way: Hashable) -> None:
        # The newest is the last.
        self._streams.pop(key, None)
        self._streams[key] = pid
        self._ways[pid] = way
        if len(self._streams) > _MOST_REMEMBERED:
            del self._streams[next(iter(self._streams))]
            kept = set(self._streams.values())
            self._ways = {pid: way for pid, way in self._ways.items() if pid in kept}

    def _announce(self, program: Program) -> None:
        if self.program is not None:
            version = self.program.version
            changed = replace(program, version=version) != self.program
            program = replace(program, version=(version + changed) % 32)
        self.program = program
        self.pmt = write_pmt(program)
        programs = {program.number: program.pmt_pid}
        pat = write_pat(self._transport_stream_id, programs, self._pat_version)
        if self.pat and pat != self.pat:
            self._pat_version = (self._pat_version + 1) % 32
            pat = write_pat(self._transport_stream_id, programs, self._pat_version)
        self.pat = pat


_CLOCK = "clock"


def _free_pid(wanted: int, closed: Collection[int]) -> int | None:
    """Return a PID that is not closed, if there is one: that which is wanted, or one from 0x100 on."""
    candidates = chain((wanted,), range(_FIRST_PID, NULL_PID), range(_LOWEST_PID, _FIRST_PID))
    return next((pid for pid in candidates if pid >= _LOWEST_PID and pid not in closed), None)


def _way(stream: ElementaryStream) -> Hashable:
    """Return what must be the same for a decoder to go on with another stream."""
    if stream.stream_type != _PRIVATE_DATA:
        return stream.stream_type, stream.codec
    descriptors = tuple(
        (tag, content[:4] if tag == _REGISTRATION else b"")
        for tag, content in read_descriptors(stream.descriptors)
        if tag not in _TELLING_NOTHING
    )
    return stream.stream_type, descriptors


def _keys(program: Program) -> Iterator[tuple[Hashable, ElementaryStream]]:
    """Yield each stream with what names it from source to source: its kind, its place among those, and its way."""
    counts: dict[Hashable, int] = {}
    for stream in program.streams:
        counts[stream.kind] = counts.get(stream.kind, -1) + 1
        yield (stream.kind, counts[stream.kind], _way(stream)), stream


def _read_pat(tables: bytes) -> tuple[int, int, bytes]:
    """Return the transport_stream_id and the version of the PAT, and the PAT itself; 1, 0 and nothing without one."""
    assembler = SectionAssembler()
    for pid, packet in table_packets(tables):
        for section in assembler.feed(packet) if pid == PAT_PID else ():
            if section[0] == _PAT_TABLE:
                return int.from_bytes(section[3:5], "big"), section[5] >> 1 & 0x1F, section
    return 1, 0, b""
