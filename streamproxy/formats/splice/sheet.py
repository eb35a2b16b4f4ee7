"""Packets while they are rewritten: what is left out, what is put in, and where everything then stands."""

from bisect import bisect_right
from dataclasses import dataclass

from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.splice.routes import Rewritten, Routes

_WITH_HIGH = tuple(bytes(byte & 0xE0 | high for byte in range(256)) for high in range(32))
_COUNTED_ON = tuple(bytes(byte & 0xF0 | (byte + step) & 0x0F for byte in range(256)) for step in range(16))


@dataclass(frozen=True, slots=True)
class Printed:
    """What became of the packets of a sheet.

    Attributes:
        data: The packets of the output.
        numbers: Numbers of packets of the sheet at which something was left out or put in, ascending.
        positions: For each of them, where in the output it stands, or would stand.
    """

    data: bytes
    numbers: tuple[int, ...] = (0,)
    positions: tuple[int, ...] = (0,)

    def position(self, number: int) -> int:
        """Return where a packet of the sheet stands in the output."""
        before = bisect_right(self.numbers, number) - 1
        return self.positions[before] + (number - self.numbers[before]) * PACKET_SIZE


class Sheet:
    """Packets while they are rewritten.

    Attributes:
        buffer: The packets; whatever is not a PID or a continuity counter may be overwritten in it.
        columns: Their header fields as they came.
    """

    def __init__(self, packets: bytes, buffer: bytearray) -> None:
        """Take packets.

        Args:
            packets: Whole packets, 188 bytes each.
            buffer: Where they are rewritten; what it holds is overwritten.
        """
        buffer[:] = packets
        self.buffer = buffer
        self.columns = Columns(packets)
        self._sections: list[tuple[int, int, Routes]] = []
        self._routed = 0
        self._inserted: dict[int, bytes] = {}
        self._replaced: dict[int, bytes] = {}

    def replace(self, number: int, packets: bytes) -> None:
        """Put packets in the place of one that has no route; before it comes what is inserted there."""
        if len(packets) == PACKET_SIZE:
            self._replaced[number] = packets
        else:
            self.insert(number, packets)

    def insert(self, number: int, packets: bytes) -> None:
        """Put packets before the packet of a number, behind what was put there already."""
        self._inserted[number] = self._inserted.get(number, b"") + packets

    def route_until(self, number: int, routes: Routes) -> None:
        """Route the packets before that of a number which have not been routed; without a route they are left out."""
        if number > self._routed:
            self._sections.append((self._routed, number, routes))
            self._routed = number

    def print(self) -> Printed:
        """Return what was routed and put in."""
        rewritten = self._rewritten()
        self.buffer[1::PACKET_SIZE] = rewritten.flags
        self.buffer[2::PACKET_SIZE] = rewritten.pid_low
        self.buffer[3::PACKET_SIZE] = rewritten.control
        for number, packet in self._replaced.items():
            self.buffer[number * PACKET_SIZE : (number + 1) * PACKET_SIZE] = packet
        dropped = {number for number in rewritten.unrouted if number not in self._replaced}
        if not dropped and not self._inserted:
            return Printed(bytes(self.buffer))
        return self._assembled(dropped)

    def _rewritten(self) -> Rewritten:
        if len(self._sections) == 1:
            ((_, _, routes),) = self._sections
            if routes.table is not None:
                return routes.table.rewrite(self.columns)
        return self._rewritten_by_sections()

    def _rewritten_by_sections(self) -> Rewritten:
        """Let the packets of each section and PID take their route, wherever routes change."""
        count = self.columns.count
        flags = pid_low = control = kept = 0
        for start, stop, routes in self._sections:
            within = (1 << 8 * stop) - (1 << 8 * start)
            for pid, route in routes.by_pid.items():
                if mask := self.columns.of_pid(pid) & within:
                    kept |= mask
                    flags |= mask & _number(self.columns.flags.translate(_WITH_HIGH[route.pid >> 8]))
                    pid_low |= mask & _number(bytes((route.pid & 0xFF,)) * count)
                    control |= mask & _number(self.columns.control.translate(_COUNTED_ON[route.step]))
        unrouted = self.columns.indices((1 << 8 * count) - 1 & ~kept)
        flags_column, low_column, control_column = (
            number.to_bytes(count, "little") for number in (flags, pid_low, control)
        )
        return Rewritten(flags_column, low_column, control_column, unrouted)

    def _assembled(self, dropped: set[int]) -> Printed:
        numbers, positions = [0], [0]
        parts: list[bytes | memoryview] = []
        size = begin = 0
        view = memoryview(self.buffer)
        for number in sorted({*dropped, *self._inserted}):
            inserted = self._inserted.get(number, b"")
            parts += (view[begin * PACKET_SIZE : number * PACKET_SIZE], inserted)
            size += (number - begin) * PACKET_SIZE + len(inserted)
            begin = number + (number in dropped)
            numbers += [number, begin]
            positions += [size, size]
        parts.append(view[begin * PACKET_SIZE :])
        return Printed(b"".join(parts), tuple(numbers), tuple(positions))


def _number(column: bytes) -> int:
    return int.from_bytes(column, "little")
