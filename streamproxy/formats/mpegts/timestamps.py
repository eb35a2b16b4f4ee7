"""Clocks and time stamps: 33 bits at 90 kHz that wrap every 26.5 hours (ISO/IEC 13818-1, 2.4.3.5 and 2.4.3.7).

What is called data or buffer here is one packet, or whole packets that begin at its start.
"""

from streamproxy.formats.mpegts.packets import PACKET_SIZE

Buffer = bytes | bytearray | memoryview

TICKS_PER_SECOND = 90_000
WRAP = 1 << 33

_HALF = WRAP >> 1
_LOWEST_STREAM_ID = 0xBC
_STREAM_IDS_WITHOUT_TIMES = frozenset((0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF))
"""Program stream map, padding, private stream 2, ECM, EMM, DSM-CC, H.222.1 type E and directory (2.4.3.7)."""


def difference(later: int, earlier: int) -> int:
    """Return the shorter way from one time to another on the circle, in ticks: from -2^32 up to 2^32 - 1."""
    return (later - earlier + _HALF) % WRAP - _HALF


def read_timestamp(data: Buffer, at: int) -> int:
    """Read a PTS or DTS, whose five bytes begin at `at`."""
    bits = int.from_bytes(data[at : at + 5], "big")
    return (bits >> 3 & 0x7 << 30) | (bits >> 2 & 0x7FFF << 15) | (bits >> 1 & 0x7FFF)


def write_timestamp(buffer: bytearray, at: int, value: int) -> None:
    """Overwrite a PTS or DTS, modulo 2^33; the four bits that say which of them it is stay as they are."""
    value %= WRAP
    # 3, 15 and 15 bits, each followed by a marker bit.
    bits = (buffer[at] >> 4) << 36 | (value >> 30) << 33 | 1 << 32
    bits |= (value >> 15 & 0x7FFF) << 17 | 1 << 16 | (value & 0x7FFF) << 1 | 1
    buffer[at : at + 5] = bits.to_bytes(5, "big")


def payload_position(data: Buffer, at: int) -> int | None:
    """Return where the payload of the packet at `at` begins; None if it has none, or an impossible adaptation field."""
    control = data[at + 3] & 0x30
    if control == 0x10:
        return at + 4
    if control == 0x30 and data[at + 4] <= 182:
        return at + 5 + data[at + 4]
    return None


def read_pcr_base(data: Buffer, at: int = 0) -> int | None:
    """Return the clock that the packet at `at` carries, in ticks of 90 kHz; None if it carries none."""
    if not (data[at + 3] & 0x20 and 7 <= data[at + 4] <= 183 and data[at + 5] & 0x10):
        return None
    return int.from_bytes(data[at + 6 : at + 11], "big") >> 7


def shift_pcr(buffer: bytearray, at: int, ticks: int) -> None:
    """Move the clocks (PCR and OPCR) of the packet at `at`, if it has any, modulo 2^33."""
    if not buffer[at + 3] & 0x20 or buffer[at + 4] > 183:
        return
    clock, end = at + 6, at + 5 + buffer[at + 4]
    for flag in (0x10, 0x08):
        if clock + 6 <= end and buffer[at + 5] & flag:
            _shift_clock(buffer, clock, ticks)
            clock += 6


def _shift_clock(buffer: bytearray, at: int, ticks: int) -> None:
    # The last seven bits are the beginning of the extension, which counts 1/300 ticks and stays as it is.
    bits = int.from_bytes(buffer[at : at + 5], "big")
    buffer[at : at + 5] = (((bits >> 7) + ticks) % WRAP << 7 | bits & 0x7F).to_bytes(5, "big")


def times_positions(data: Buffer, at: int) -> tuple[int | None, int | None]:
    """Find the PTS and the DTS of the PES packet that begins at `at`.

    Returns:
        Where their five bytes begin. None for what is not there, or not wholly in the same packet.
    """
    end = min(len(data), at - at % PACKET_SIZE + PACKET_SIZE)
    if end < at + 9 or data[at : at + 3] != b"\0\0\1":
        return None, None
    stream_id, flags, header_end = data[at + 3], data[at + 7], min(end, at + 9 + data[at + 8])
    if stream_id < _LOWEST_STREAM_ID or stream_id in _STREAM_IDS_WITHOUT_TIMES:
        return None, None
    if not flags & 0x80 or header_end < at + 14:
        return None, None
    return at + 9, at + 14 if flags & 0x40 and header_end >= at + 19 else None


def pes_times(data: Buffer, at: int) -> tuple[int | None, int | None]:
    """Return the presentation and the decoding time of the PES packet that begins at `at`, in ticks.

    Args:
        data: Whole packets, or a payload alone if `at` is 0.
        at: Where the payload begins.

    Returns:
        PTS and DTS, the same where only the PTS is given; None for both where there is none.
    """
    pts_at, dts_at = times_positions(data, at)
    if pts_at is None:
        return None, None
    pts = read_timestamp(data, pts_at)
    return pts, pts if dts_at is None else read_timestamp(data, dts_at)
