"""From where on the packets of a stream belong to the output (ISO/IEC 13818-1, 2.4.3.6)."""

from dataclasses import dataclass
from enum import Enum, auto

from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND, Buffer, difference, payload_position, pes_times

_LONGEST_WAIT = 10 * TICKS_PER_SECOND
"""Ticks by which a PES packet is too early that would be the right one later; what is earlier has other times."""
_LONGEST_LEAD = TICKS_PER_SECOND
"""Ticks by which pictures may be seen before the entry point that they come after."""


class Verdict(Enum):
    """What is to be done from a packet on."""

    SHUT = auto()
    """Leave out what comes, for now."""
    PASS = auto()
    """Let through what comes, for now."""
    OPEN = auto()
    """Let through all that comes."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Stands before a stream until the first PES packet that belongs to the output.

    Attributes:
        since: The presentation time of that, in ticks; None for whichever comes first.
        longest: Ticks before `since` that are waited for; what is earlier still is let through.
        strict: Whether a PES packet without a time is left out, and one that is too early however much it is.
    """

    since: int | None = None
    longest: int = _LONGEST_WAIT
    strict: bool = False

    @classmethod
    def for_pictures(cls, since: int | None) -> "Gate":
        """Make the gate of the video, of which `since` is the time of the entry point.

        Pictures that come after it but are seen before it may refer to what came before it, and so are left out.
        """
        return cls(since, _LONGEST_LEAD)

    def judge(self, buffer: Buffer, at: int) -> Verdict | None:
        """Judge the packet at `at`; None if nothing starts in it that could be judged."""
        payload = payload_position(buffer, at)
        if payload is None or not buffer[at + 1] & 0x40:
            return None
        if self.since is None:
            return Verdict.OPEN
        scrambled = buffer[at + 3] & 0xC0
        presentation_time = None if scrambled else pes_times(buffer, payload)[0]
        if presentation_time is None:
            return Verdict.SHUT if self.strict else Verdict.OPEN
        ahead = difference(presentation_time, self.since)
        if ahead > 0:
            return Verdict.OPEN
        if ahead == 0:
            return Verdict.PASS
        return Verdict.SHUT if self.strict or -ahead <= self.longest else Verdict.OPEN
