"""Which program to follow, by the tables of a stream (ISO/IEC 13818-1, 2.4.4)."""

from dataclasses import dataclass
from itertools import islice

from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.psi import PAT_PID, BadSection, Program, is_current, read_pat, read_pmt
from streamproxy.formats.mpegts.sections import SectionAssembler

_PAT_TABLE, _PMT_TABLE = 0, 2
_MOST_PROGRAMS = 16


@dataclass(slots=True)
class _Table:
    """A PMT: its section, the newest packets that carried it, and what it says."""

    section: bytes
    packets: bytes
    program: Program


class ProgramFollower:
    """Follow the tables of a stream, and choose one program: the first that has video, or else the first with audio.

    Whatever comes, the tables of no more than 16 programs are kept.

    Attributes:
        program: The program chosen; None as long as there is none.
        pids: The PIDs on which tables are expected: what comes on others must not be fed.
    """

    def __init__(self) -> None:
        self.program: Program | None = None
        self.pids: dict[int, SectionAssembler] = {PAT_PID: SectionAssembler()}
        self._pat = b""
        self._pat_packets = b""
        self._pmt_pids: dict[int, int] = {}
        self._pmts: dict[int, _Table] = {}
        self._tables: bytes | None = None

    @property
    def tables(self) -> bytes:
        """The packets of the newest PAT and of the newest PMT of the program; empty as long as there is no program.

        They are as they came, unless something else came on their PIDs since: then their continuity counters are moved
        on, so that the next packets always count on from these.
        """
        if self.program is None:
            return b""
        if self._tables is None:
            pmt = self._pmts[self.program.number]
            self._tables = self._continued(PAT_PID, self._pat_packets)
            self._tables += self._continued(self.program.pmt_pid, pmt.packets)
        return self._tables

    def _continued(self, pid: int, packets: bytes) -> bytes:
        counter = self.pids[pid].counter
        return packets if counter is None else _ending_with(counter, packets)

    def repeats(self, pid: int, packet: bytes) -> bool:
        """Take a packet that says again, as most do, what the last one of its PID said; tell whether it is one."""
        if pid == PAT_PID:
            if not self.pids[pid].repeats(packet, self._pat_packets):
                return False
            self._pat_packets = packet
        else:
            table = next((table for table in self._pmts.values() if table.program.pmt_pid == pid), None)
            if table is None or not self.pids[pid].repeats(packet, table.packets):
                return False
            table.packets = packet
        self._tables = None
        return True

    def feed(self, pid: int, packet: bytes) -> bool:
        """Take a packet of one of the PIDs; return whether the program or the PIDs may have changed."""
        self._tables = None
        assembler = self.pids[pid]
        take = self._take_pat if pid == PAT_PID else self._take_pmt
        news = [take(pid, section, assembler.packets) for section in assembler.feed(packet) if is_current(section)]
        if not any(news):
            return False
        self._choose()
        return True

    def _take_pat(self, pid: int, section: bytes, packets: bytes) -> bool:
        # A network of more than 250 programs has a PAT of more than one section; the first is enough.
        if section[0] != _PAT_TABLE or section[6] != 0:
            return False
        if section == self._pat:
            self._pat_packets = packets
            return False
        try:
            programs = read_pat(section)
        except BadSection:
            return False
        self._pat, self._pat_packets = section, packets
        self._pmt_pids = dict(islice(programs.items(), _MOST_PROGRAMS))
        kept = self.pids
        self.pids = {pid: kept[pid]}
        self.pids |= {pmt_pid: kept.get(pmt_pid) or SectionAssembler() for pmt_pid in self._pmt_pids.values()}
        self._pmts = {
            number: table for number, table in self._pmts.items() if self._pmt_pids.get(number) == table.program.pmt_pid
        }
        return True

    def _take_pmt(self, pid: int, section: bytes, packets: bytes) -> bool:
        number = int.from_bytes(section[3:5], "big")
        if section[0] != _PMT_TABLE or self._pmt_pids.get(number) != pid:
            return False
        known = self._pmts.get(number)
        if known is not None and known.section == section:
            known.packets = packets
            return False
        try:
            program = read_pmt(section, pid)
        except BadSection:
            return False
        self._pmts[number] = _Table(section, packets, program)
        return True

    def _choose(self) -> None:
        programs = [self._pmts[number].program for number in self._pmt_pids if number in self._pmts]
        with_video = (program for program in programs if program.video)
        with_audio = (program for program in programs if program.audio)
        self.program = next(with_video, None) or next(with_audio, None)


def _ending_with(counter: int, packets: bytes) -> bytes:
    """Number packets so that the last has a given continuity counter."""
    if packets[-PACKET_SIZE + 3] & 0x0F == counter:
        return packets
    numbered = bytearray(packets)
    for back, at in enumerate(range(len(packets) - PACKET_SIZE + 3, 0, -PACKET_SIZE)):
        numbered[at] = numbered[at] & 0xF0 | (counter - back) & 0x0F
    return bytes(numbered)
