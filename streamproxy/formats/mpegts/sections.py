"""How sections travel in packets (ISO/IEC 13818-1, 2.4.4)."""

import zlib

from streamproxy.formats.mpegts.packets import PACKET_SIZE, SYNC_BYTE
from streamproxy.formats.mpegts.timestamps import payload_position

HEADER_SIZE = 8
"""Bytes of a section before its content, in the syntax that has a CRC."""

_STUFFING_TABLE = 0xFF
_LONGEST_SECTION = 4096
"""Bytes of any section (2.4.4.10)."""
_MOST_PACKETS = 32
"""Packets that one section may be spread over: the longest needs 23 if they are full."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc32(data: bytes) -> int:
    """Return the CRC-32 of annex A, which is 0 over a section that ends with its own."""
    # zlib's has the same polynomial but reads and writes bits the other way round, and inverts the result.
    mirrored = zlib.crc32(data.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")


def section_length(data: bytes, at: int) -> int:
    """Return the 12 bits of a length, after 4 bits that are no part of it."""
    return (data[at] & 0x0F) << 8 | data[at + 1]


def packetize(section: bytes, pid: int, counter: int) -> bytes:
    """Put a section into packets of its own.

    Args:
        section: The whole section.
        pid: The PID of the packets.
        counter: The continuity counter of the first; the others count on from there, modulo 16.
    """
    payload = b"\0" + section
    size = PACKET_SIZE - 4
    return b"".join(
        bytes((SYNC_BYTE, (0 if at else 0x40) | pid >> 8, pid & 0xFF, 0x10 | (counter + at // size) & 0x0F))
        + payload[at : at + size].ljust(size, b"\xff")
        for at in range(0, len(payload), size)
    )


class SectionAssembler:
    """Put the sections on one PID together (2.4.4).

    A section that is damaged, longer than 4096 bytes, or not complete when packets are lost, is left out. What is kept
    is bounded: one section, and the packets that carried it.

    Attributes:
        packets: The packets that carried the sections last returned, verbatim: all of them, from the one in which the
            first of the sections begins.
        counter: The continuity counter of the last packet with payload; None before the first.
    """

    def __init__(self) -> None:
        self.packets = b""
        self.counter: int | None = None
        self._last_payload = b""
        self._alone = False
        self._unit = b""
        self._carriers: list[bytes] = []

    @property
    def pending(self) -> bool:
        """Whether a section has begun, and the next packets of this PID are needed to complete it."""
        return bool(self._unit)

    def repeats(self, packet: bytes, before: bytes) -> bool:
        """Take a packet if it is the one before it once more, which carried one section, whole and alone.

        Args:
            packet: A packet of this PID.
            before: The packets that carried a section.

        Returns:
            Whether it was taken; else it is to be fed.
        """
        if self.counter is None or not self._alone or packet[4:] != before[4:] or before != self.packets:
            return False
        if packet[:3] != before[:3] or packet[3] != before[3] & 0xF0 | (self.counter + 1) & 0x0F:
            return False
        self.counter = packet[3] & 0x0F
        self.packets = packet
        self._carriers = [packet]
        return True

    def feed(self, packet: bytes) -> list[bytes]:
        """Take a packet of this PID, and return the sections that are complete with it, their CRCs right."""
        start = payload_position(packet, 0)
        if start is None:
            return []
        self._alone = False
        if packet[1] & 0x80 or packet[3] & 0xC0:
            self._drop()
            return []
        payload, counter = packet[start:], packet[3] & 0x0F
        if counter == self.counter and payload == self._last_payload:
            return []  # A packet may be sent twice (2.4.3.3).
        if self.counter is not None and counter != (self.counter + 1) & 0x0F:
            self._drop()
        self.counter, self._last_payload = counter, payload
        if packet[1] & 0x40:
            return self._start(packet, payload)
        return self._continue(packet, payload) if self._unit else []

    def _start(self, packet: bytes, payload: bytes) -> list[bytes]:
        """Take a payload in which a section starts: its first byte says where, before it the last section ends."""
        start = 1 + payload[0]
        ended = self._continue(packet, payload[1:start]) if self._unit else []
        started, self._unit = _split(payload[start:])
        if started and not ended:
            self.packets = packet
            self._alone = len(started) == 1 and not self._unit
        self._carriers = [packet]
        return ended + started

    def _continue(self, packet: bytes, payload: bytes) -> list[bytes]:
        sections, self._unit = _split(self._unit + payload)
        self._carriers.append(packet)
        if sections:
            self.packets = b"".join(self._carriers)
            self._carriers = [packet]
        elif len(self._carriers) >= _MOST_PACKETS:
            self._drop()
        return sections

    def _drop(self) -> None:
        """Give up the section that is not complete."""
        self._unit = b""
        self._carriers = []


def _split(unit: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete sections whose CRC is right, and the beginning of the next; stuffing and nonsense end it."""
    sections: list[bytes] = []
    at = 0
    while at < len(unit) and unit[at] != _STUFFING_TABLE:
        if len(unit) - at < 3:
            return sections, unit[at:]
        size = 3 + section_length(unit, at + 1)
        if size > _LONGEST_SECTION:
            break
        if len(unit) - at < size:
            return sections, unit[at:]
        section = unit[at : at + size]
        if section[1] & 0x80 and size > HEADER_SIZE and crc32(section) == 0:
            sections.append(section)
        at += size
    return sections, b""
