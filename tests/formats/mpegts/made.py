"""Transport streams made by hand, packet by packet."""

from streamproxy.formats.mpegts.psi import ElementaryStream, Program, write_pat, write_pmt
from streamproxy.formats.mpegts.sections import packetize
from streamproxy.formats.mpegts.timestamps import write_timestamp

PACKET = 188
VIDEO, AUDIO, PMT = 0x100, 0x101, 0x1000

H264, HEVC, MPEG2, MP2, AAC = 0x1B, 0x24, 0x02, 0x03, 0x0F

IDR = b"\0\0\0\1\x09\x10\0\0\0\1\x67parameters\0\0\0\1\x65picture"
NO_IDR = b"\0\0\0\1\x09\x30\0\0\0\1\x41picture"


def program(*streams: tuple[int, int], number: int = 1, pmt_pid: int = PMT, version: int = 0) -> Program:
    """Describe a program by pairs of PID and stream type."""
    elementary = tuple(ElementaryStream(pid, stream_type) for pid, stream_type in streams)
    return Program(number, pmt_pid, streams[0][0] if streams else 0x1FFF, elementary, version=version)


def pes(
    content: bytes, pts: int | None = None, dts: int | None = None, *, stream_id: int = 0xE0, size: int = 0
) -> bytes:
    """Make a PES packet.

    Args:
        content: What it carries.
        pts: Presentation time, if it has one.
        dts: Decoding time, if that is another.
        stream_id: What its header says it is.
        size: What its header says of its length; -1 for what is true.
    """
    times = bytearray()
    for prefix, value in ((0x20 if dts is None else 0x30, pts), (0x10, dts)):
        if value is not None:
            times += bytes((prefix, 0, 0, 0, 0))
            write_timestamp(times, len(times) - 5, value)
    flags = (pts is not None) << 7 | (dts is not None) << 6
    rest = bytes((0x80, flags, len(times))) + times + content
    return bytes((0, 0, 1, stream_id)) + (len(rest) if size < 0 else size).to_bytes(2, "big") + rest


class Mux:
    """Make packets whose continuity counters go on, PID by PID."""

    def __init__(self) -> None:
        self.counters: dict[int, int] = {}

    def unit(self, pid: int, data: bytes, *, flags: int = 0, start: bool = True, scrambled: bool = False) -> bytes:
        """Put data into packets; the last is filled up with an adaptation field.

        Args:
            pid: Their PID.
            data: A PES packet, or the rest of one.
            flags: Of the adaptation field of the first packet: 0x40 for random access.
            start: Whether a PES packet starts in the first.
            scrambled: Whether they say so.
        """
        packets: list[bytes] = []
        while data or not packets:
            room = 182 if flags else 184
            payload, data = data[:room], data[room:]
            stuffing = 184 - len(payload)
            field = b""
            if stuffing:
                field = bytes((stuffing - 1, flags)[: min(stuffing, 2)]).ljust(stuffing, b"\xff")
            control = (0x30 if stuffing else 0x10) | (0x80 if scrambled else 0) | self._next(pid)
            packets.append(bytes((0x47, (0x40 if start else 0) | pid >> 8, pid & 0xFF, control)) + field + payload)
            start, flags = False, 0
        return b"".join(packets)

    def bare(self, pid: int, flags: int = 0, clock: int = 0) -> bytes:
        """Make a packet without payload, and with a clock if the flag 0x10 is set."""
        head = bytes((0x47, pid >> 8, pid & 0xFF, 0x20 | self.counters.get(pid, 0), 183, flags))
        return (head + (clock << 15).to_bytes(6, "big")).ljust(PACKET, b"\xff")

    def section(self, pid: int, section: bytes) -> bytes:
        """Put a section into packets of its own."""
        packets = packetize(section, pid, self._next(pid))
        for _ in range(PACKET, len(packets), PACKET):
            self._next(pid)
        return packets

    def tables(self, *programs: Program, version: int = 0) -> bytes:
        """Make a PAT, and the PMT of each program."""
        pat = write_pat(1, {found.number: found.pmt_pid for found in programs}, version)
        pmts = [self.section(found.pmt_pid, write_pmt(found)) for found in programs]
        return b"".join([self.section(0, pat), *pmts])

    def _next(self, pid: int) -> int:
        self.counters[pid] = (self.counters.get(pid, -1) + 1) & 0x0F
        return self.counters[pid]


def pids(packets: bytes) -> list[int]:
    """Return the PID of each packet."""
    return [(packets[at + 1] & 0x1F) << 8 | packets[at + 2] for at in range(0, len(packets), PACKET)]


def without_marks(packets: bytes) -> bytes:
    """Clear random_access_indicator wherever it is set."""
    cleared = bytearray(packets)
    for at in range(0, len(cleared), PACKET):
        if cleared[at + 3] & 0x20 and cleared[at + 4]:
            cleared[at + 5] &= ~0x40
    return bytes(cleared)
