"""Transport streams whose every packet is numbered, so that a test sees what is missing, doubled or out of order."""

from dataclasses import dataclass

PACKET = 188
_MAGIC = b"no."


def packets(first: int, count: int, *, channel: int = 0) -> bytes:
    """Make packets, numbered from `first` on.

    Args:
        first: Number of the first.
        count: How many.
        channel: A number that all carry, to tell streams apart.
    """
    head = bytes((0x47, 0x01, channel & 0xFF))
    return b"".join(
        (head + bytes((0x10 | number & 15,)) + _MAGIC + number.to_bytes(8, "big")).ljust(PACKET, b"\xff")
        for number in range(first, first + count)
    )


@dataclass(frozen=True, slots=True)
class Run:
    """Packets without a gap: numbers from `first` to `last`."""

    first: int
    last: int


def runs(data: bytes, *, channel: int = 0) -> list[Run]:
    """Find the gapless runs in what a viewer received; a partial last packet is cut off.

    Raises:
        AssertionError: Something is not one of our packets, is of another channel, or goes back.
    """
    found: list[Run] = []
    for offset in range(0, len(data) - PACKET + 1, PACKET):
        packet = data[offset : offset + PACKET]
        assert packet[:3] == bytes((0x47, 0x01, channel & 0xFF)), f"not a packet of channel {channel} at {offset}"
        assert packet[4:7] == _MAGIC, f"torn packet at {offset}"
        number = int.from_bytes(packet[7:15], "big")
        if found and number == found[-1].last + 1:
            found[-1] = Run(found[-1].first, number)
        else:
            assert not found or number > found[-1].last, f"went back from {found[-1].last} to {number}"
            found.append(Run(number, number))
    return found
