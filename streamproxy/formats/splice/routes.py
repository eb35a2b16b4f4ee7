"""Where the packets of each PID go (ISO/IEC 13818-1, 2.4.3.2).

What is done to every packet is done to whole columns of bytes; see `streamproxy.formats.mpegts.fields`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from streamproxy.formats.mpegts.fields import Columns

_NO_HIGH = 0x20
_LOWER_FIVE = bytes(byte & 0x1F for byte in range(256))
_NOT_ZERO = b"\0" + b"\xff" * 255


@dataclass(frozen=True, slots=True)
class Route:
    """Where the packets of a PID go.

    Attributes:
        pid: Their PID in the output.
        step: What is added to their continuity counters: 0 to 15.
    """

    pid: int
    step: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The columns of packets that have taken their routes; see `Columns`.

    Attributes:
        flags: Byte 1 of each.
        pid_low: Byte 2 of each.
        control: Byte 3 of each.
        unrouted: Numbers of the packets without a route; what the columns say of them means nothing.
    """

    flags: bytes
    pid_low: bytes
    control: bytes
    unrouted: list[int]


class Routes:
    """The routes of all PIDs that have one; they do not change, but others can be made from them.

    Attributes:
        by_pid: The routes, by the PIDs in the source.
    """

    def __init__(self, by_pid: Mapping[int, Route]) -> None:
        self.by_pid = by_pid

    def adding(self, pid: int, route: Route) -> "Routes":
        """Return these routes and another."""
        return Routes({**self.by_pid, pid: route})

    def without(self, pid: int) -> "Routes":
        """Return these routes without that of a PID."""
        return Routes({other: route for other, route in self.by_pid.items() if other != pid})

    @cached_property
    def table(self) -> "RouteTable | None":
        """The routes by the lower eight bits of PIDs; None if they are not enough to tell the PIDs apart."""
        lows = {pid & 0xFF for pid in self.by_pid}
        return RouteTable(self.by_pid) if len(lows) == len(self.by_pid) else None


class RouteTable:
    """Routes of PIDs that differ in their lower eight bits: these tell for all packets at once what is to be done."""

    def __init__(self, routes: Mapping[int, Route]) -> None:
        highs, flips, lows, steps = bytearray((_NO_HIGH,)) * 256, bytearray(256), bytearray(range(256)), bytearray(256)
        for pid, route in routes.items():
            low = pid & 0xFF
            highs[low] = pid >> 8
            flips[low] = pid >> 8 ^ route.pid >> 8
            lows[low] = route.pid & 0xFF
            steps[low] = route.step
        self._highs, self._lows = bytes(highs), bytes(lows)
        self._flips = bytes(flips) if any(flips) else None
        self._steps = bytes(steps) if any(steps) else None

    def rewrite(self, columns: Columns) -> Rewritten:
        """Let packets take their routes."""
        expected, found = columns.pid_low.translate(self._highs), columns.flags.translate(_LOWER_FIVE)
        unrouted = [] if expected == found else numbers(_xor(expected, found).translate(_NOT_ZERO))
        flags = _xor(columns.flags, columns.pid_low.translate(self._flips)) if self._flips else columns.flags
        return Rewritten(flags, columns.pid_low.translate(self._lows), self._counted_on(columns), unrouted)

    def _counted_on(self, columns: Columns) -> bytes:
        if not self._steps:
            return columns.control
        count = columns.count
        counters = ((1 << 8 * count) - 1) // 0xFF * 0x0F
        control = int.from_bytes(columns.control, "little")
        steps = int.from_bytes(columns.pid_low.translate(self._steps), "little")
        # The sum of two counters fits into a byte, so that none reaches the next.
        counted = (control & counters) + steps & counters
        return (control & ~counters | counted).to_bytes(count, "little")


def numbers(flags: bytes) -> list[int]:
    """Return where a column is 0xFF, ascending."""
    result = []
    at = flags.find(0xFF)
    while at >= 0:
        result.append(at)
        at = flags.find(0xFF, at + 1)
    return result


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(len(one), "little")
