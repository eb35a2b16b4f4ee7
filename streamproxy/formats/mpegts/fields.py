"""Header fields of many packets at once (ISO/IEC 13818-1, 2.4.3.2).

A column is the same byte of every packet; a mask is an integer with one byte for each packet, the first one lowest:
0xFF where something is true, and 0 elsewhere. Both are made and combined without a step of Python per packet, so a
chunk of 64 KiB costs a few microseconds.
"""

from collections.abc import Iterator

from streamproxy.formats.mpegts.packets import PACKET_SIZE

_IS_LOW = tuple(bytes(low) + b"\xff" + bytes(255 - low) for low in range(256))
_IS_HIGH = tuple((bytes(high) + b"\xff" + bytes(31 - high)) * 8 for high in range(32))
_HAS_BIT = {
    bit: bytes(0xFF if byte & bit else 0 for byte in range(256)) for bit in (1 << number for number in range(8))
}
_IS_START_OF_HIGH = tuple(bytes(0xFF if byte & 0x5F == 0x40 | high else 0 for byte in range(256)) for high in range(32))
_NOT_ZERO = b"\0" + b"\xff" * 255


def indices(mask: int, count: int) -> Iterator[int]:
    """Yield the numbers of the packets that are in a mask, ascending.

    Args:
        mask: The mask.
        count: Packets it was made of.
    """
    flags = mask.to_bytes(count, "little")
    at = flags.find(0xFF)
    while at >= 0:
        yield at
        at = flags.find(0xFF, at + 1)


def unit_starts(packets: bytes) -> bytes:
    """Return a byte for each packet: 0xFF where a PES packet or section starts (payload_unit_start_indicator)."""
    return starts_among(packets[1::PACKET_SIZE])


def starts_among(flags: bytes) -> bytes:
    """Return the same as `unit_starts`, out of byte 1 of each packet."""
    return flags.translate(_HAS_BIT[0x40])


def unit_starts_of(pid: int, packets: bytes) -> Iterator[int]:
    """Yield the numbers of the packets of a PID in which something starts, ascending."""
    low = pid & 0xFF
    column = packets[1::PACKET_SIZE].translate(_IS_START_OF_HIGH[pid >> 8])
    number = column.find(0xFF)
    while number >= 0:
        if packets[number * PACKET_SIZE + 2] == low:
            yield number
        number = column.find(0xFF, number + 1)


class Columns:
    """The header fields of whole packets, column by column.

    Attributes:
        count: How many packets there are.
        flags: Byte 1 of each: transport error, unit start, priority, and the upper five bits of the PID.
        pid_low: Byte 2 of each: the lower eight bits of the PID.
        control: Byte 3 of each: scrambling, adaptation field, payload, and the continuity counter.
    """

    __slots__ = ("_packets", "control", "count", "flags", "pid_low")

    def __init__(self, packets: bytes | bytearray) -> None:
        """Take whole packets, 188 bytes each; they are looked at again when a mask needs more of them."""
        self._packets = packets
        self.count = len(packets) // PACKET_SIZE
        self.flags = bytes(packets[1::PACKET_SIZE])
        self.pid_low = bytes(packets[2::PACKET_SIZE])
        self.control = bytes(packets[3::PACKET_SIZE])

    def of_pid(self, pid: int) -> int:
        """Return the mask of the packets of a PID."""
        low = self.pid_low.translate(_IS_LOW[pid & 0xFF])
        high = self.flags.translate(_IS_HIGH[pid >> 8])
        return int.from_bytes(low, "little") & int.from_bytes(high, "little")

    def unit_starts(self) -> int:
        """Return the mask of the packets in which a PES packet or section starts (payload_unit_start_indicator)."""
        return int.from_bytes(self.flags.translate(_HAS_BIT[0x40]), "little")

    def with_payload(self) -> int:
        """Return the mask of the packets that have payload: those whose continuity counters count."""
        return int.from_bytes(self.control.translate(_HAS_BIT[0x10]), "little")

    def scrambled(self) -> int:
        """Return the mask of the packets whose payload is scrambled."""
        odd_or_even = int.from_bytes(self.control.translate(_HAS_BIT[0x80]), "little")
        return odd_or_even | int.from_bytes(self.control.translate(_HAS_BIT[0x40]), "little")

    def with_adaptation_flag(self, flag: int) -> int:
        """Return the mask of the packets that have an adaptation field in which a flag is set.

        Args:
            flag: 0x80 discontinuity, 0x40 random access, 0x10 PCR, 0x08 OPCR (2.4.3.5).
        """
        has_field = int.from_bytes(self.control.translate(_HAS_BIT[0x20]), "little")
        if not has_field:
            return 0
        # An adaptation field of no length has no flags: the byte belongs to the payload.
        has_flags = int.from_bytes(self._packets[4::PACKET_SIZE].translate(_NOT_ZERO), "little")
        flags = int.from_bytes(self._packets[5::PACKET_SIZE].translate(_HAS_BIT[flag]), "little")
        return has_field & has_flags & flags

    def indices(self, mask: int) -> list[int]:
        """Return the numbers of the packets that are in a mask, ascending."""
        return list(indices(mask, self.count))

    def first(self, pid: int) -> int | None:
        """Return the number of the first packet of a PID, if there is one."""
        mask = self.of_pid(pid)
        # The lowest bit that is set stands at the beginning of its byte.
        return (mask & -mask).bit_length() >> 3 if mask else None

    def last(self, pid: int) -> int | None:
        """Return the number of the last packet of a PID, if there is one."""
        mask = self.of_pid(pid)
        return (mask.bit_length() - 1) >> 3 if mask else None
