"""What is wrong with a sample of a stream: packets that are missing, and clocks that jump."""

from dataclasses import dataclass

from streamproxy.formats.mpegts.packets import PACKET_SIZE, SYNC_BYTE
from streamproxy.formats.mpegts.psi import NULL_PID
from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND, WRAP, difference

_LONGEST_PCR_INTERVAL = TICKS_PER_SECOND // 10
"""Ticks of the 90 kHz part of the clock; ISO/IEC 13818-1, 2.7.2."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    Attributes:
        packets: How many were looked at.
        cc_errors: Packets whose continuity counter is not what it should be (2.4.3.3).
        pcr_gaps: Clock references that are more than 100 ms after the one before, or before it, without saying so.
    """

    packets: int
    cc_errors: int
    pcr_gaps: int


def inspect(packets: bytes) -> Inspection:
    """Look through whole packets that follow each other, one by one: half a microsecond each.

    What was before them is not known, so the first packet of each PID is taken as it is.
    """
    counters: dict[int, int] = {}
    clocks: dict[int, int] = {}
    cc_errors = pcr_gaps = 0
    for at in range(0, len(packets) - PACKET_SIZE + 1, PACKET_SIZE):
        pid = (packets[at + 1] & 0x1F) << 8 | packets[at + 2]
        if packets[at] != SYNC_BYTE or pid == NULL_PID:
            continue
        flags = packets[at + 3]
        adaptation = packets[at + 5] if flags & 0x20 and packets[at + 4] else 0
        if adaptation & 0x80:
            # It says that the counter, and the clock if there is one, may jump (discontinuity_indicator).
            counters.pop(pid, None)
            clocks.pop(pid, None)
        counter = flags & 0x0F
        before = counters.get(pid)
        # Without payload it stands still; with payload, a packet may be sent twice.
        if before is not None and counter != (before + bool(flags & 0x10)) & 0x0F and counter != before:
            cc_errors += 1
        counters[pid] = counter
        if adaptation & 0x10:
            clock = int.from_bytes(packets[at + 6 : at + 11], "big") >> 7
            if pid in clocks and not 0 <= difference(clock, clocks[pid]) <= _LONGEST_PCR_INTERVAL:
                pcr_gaps += 1
            clocks[pid] = clock % WRAP
    return Inspection(len(packets) // PACKET_SIZE, cc_errors, pcr_gaps)
