"""Packets made by hand, for what ffmpeg does not make."""

from collections import Counter
from dataclasses import dataclass, field

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.mpegts.psi import PAT_PID, ElementaryStream, Program, write_pat, write_pmt
from streamproxy.formats.mpegts.sections import packetize
from streamproxy.formats.mpegts.timestamps import WRAP

VIDEO, AUDIO = 0x100, 0x101
STREAMS = (ElementaryStream(VIDEO, 0x1B), ElementaryStream(AUDIO, 0x0F))
FRAME = 3_600
IDR = b"\0\0\1\x65\x88\x84"
"""The beginning of a picture of H.264 that needs no other."""
INTER = b"\0\0\1\x41\x9a\x02"


def stamp(prefix: int, time: int) -> bytes:
    time %= WRAP
    bits = prefix << 36 | time >> 30 << 33 | 1 << 32 | (time >> 15 & 0x7FFF) << 17 | 1 << 16 | (time & 0x7FFF) << 1 | 1
    return bits.to_bytes(5, "big")


def pes(stream_id: int, time: int | None, payload: bytes, decode_time: int | None = None) -> bytes:
    """Return a PES packet of unknown length."""
    if time is None:
        header = b"\x80\x00\x00"
    elif decode_time is None:
        header = b"\x80\x80\x05" + stamp(2, time)
    else:
        header = b"\x80\xc0\x0a" + stamp(3, time) + stamp(1, decode_time)
    return b"\0\0\1" + bytes((stream_id, 0, 0)) + header + payload


@dataclass
class Maker:
    """Makes packets whose continuity counters go on."""

    counters: Counter[int] = field(default_factory=Counter)

    def packets(
        self,
        pid: int,
        data: bytes,
        *,
        clock: int | None = None,
        original_clock: int | None = None,
        flags: int = 0,
        scrambled: bool = False,
    ) -> bytes:
        """Put a PES packet into packets; clocks and flags are for the first."""
        result = []
        first, left = True, memoryview(data)
        while left or first:
            adaptation = b""
            if first and (clock is not None or original_clock is not None or flags):
                flags |= (0x10 if clock is not None else 0) | (0x08 if original_clock is not None else 0)
                fields = b"".join(
                    (each % WRAP << 15 | 0x7E00).to_bytes(6, "big")
                    for each in (clock, original_clock)
                    if each is not None
                )
                adaptation = bytes((flags,)) + fields
            room = PACKET_SIZE - 4 - (len(adaptation) + 1 if adaptation else 0)
            part, left = bytes(left[:room]), left[room:]
            if len(part) < room:
                stuffing = room - len(part)
                if not adaptation and stuffing == 1:
                    field_bytes = b"\0"
                else:
                    adaptation = adaptation or b"\0"
                    adaptation += b"\xff" * (PACKET_SIZE - 5 - len(part) - len(adaptation))
                    field_bytes = bytes((len(adaptation),)) + adaptation
            else:
                field_bytes = bytes((len(adaptation),)) + adaptation if adaptation else b""
            control = (0x80 if scrambled else 0) | (0x20 if field_bytes else 0) | 0x10 | self.counters[pid] % 16
            self.counters[pid] += 1
            head = bytes((0x47, (0x40 if first else 0) | pid >> 8, pid & 0xFF, control))
            result.append(head + field_bytes + part)
            first = False
        return b"".join(result)

    def tables(
        self,
        streams: tuple[ElementaryStream, ...] = STREAMS,
        *,
        pcr_pid: int = VIDEO,
        pmt_pid: int = 0x1000,
        version: int = 0,
        descriptors: bytes = b"",
    ) -> bytes:
        """Return a PAT and a PMT."""
        program = Program(1, pmt_pid, pcr_pid, streams, descriptors, version)
        result = b""
        for pid, section in ((PAT_PID, write_pat(1, {1: pmt_pid}, 0)), (pmt_pid, write_pmt(program))):
            made = packetize(section, pid, self.counters[pid] % 16)
            self.counters[pid] += len(made) // PACKET_SIZE
            result += made
        return result

    def picture(
        self, time: int, *, key: bool = False, size: int = 400, flags: int = 0, scrambled: bool = False
    ) -> bytes:
        """Return a picture with its clock, half a second before it."""
        data = pes(0xE0, time, (IDR if key else INTER) + bytes(size))
        clock = time - 45_000
        return self.packets(VIDEO, data, clock=clock, original_clock=clock + 9, flags=flags, scrambled=scrambled)

    def sound(self, time: int, pid: int = AUDIO, *, size: int = 250) -> bytes:
        """Return a frame of sound."""
        return self.packets(pid, pes(0xC0, time, b"\xff\xf1" + bytes(size)))

    def stream(
        self, begin: int, count: int, *, every: int = 10, streams: tuple[ElementaryStream, ...] = STREAMS
    ) -> bytes:
        """Return pictures, each with its sound; tables and an entry point every so many of them."""
        result = []
        for number in range(count):
            time = begin + number * FRAME
            if number % every == 0:
                result.append(self.tables(streams))
            result += [self.picture(time, key=number % every == 0), self.sound(time)]
        return b"".join(result)
