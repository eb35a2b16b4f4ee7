"""By how much the times of a source are moved, so that it goes on where another ended."""

from dataclasses import dataclass

from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND, WRAP, difference
from streamproxy.formats.splice.ending import Ending

_LONGEST_DELAY = 10 * TICKS_PER_SECOND
"""Ticks by which sources may differ in how far time stamps are ahead of clocks; beyond that the clock is wrong."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The times with which a source begins, in ticks of 90 kHz; None for what it does not have.

    Attributes:
        decode_time: Of the first picture, or the first sound if there are no pictures.
        presentation_time: Of the same.
        clock: The clock (PCR) at that place.
        has_video: Whether there are pictures.
    """

    decode_time: int | None
    presentation_time: int | None
    clock: int | None
    has_video: bool


@dataclass(frozen=True, slots=True)
class Shift:
    """Ticks to add, modulo 2^33.

    Attributes:
        stamps: To presentation and decoding times.
        clock: To clocks (PCR).
        continuous: Whether the clock goes on without a jump.
    """

    stamps: int = 0
    clock: int = 0
    continuous: bool = True


def shift_onto(ending: Ending, beginning: Beginning) -> Shift:
    """Find by how much to move the times of a source so that it goes on where the output ends.

    Clock and time stamps are moved by different numbers, since sources differ in how far decoding is behind their
    clocks: so both go on without a jump. Only where the new source needs more of that delay, its pictures come later.
    """
    stamps = _stamps(ending, beginning)
    clock = None
    if ending.clock is not None and beginning.clock is not None:
        clock = ending.clock - beginning.clock
    if stamps is None or clock is None:
        only = stamps if stamps is not None else clock or 0
        return Shift(only % WRAP, only % WRAP)
    ahead = difference(stamps, clock)
    if abs(ahead) > _LONGEST_DELAY:
        return Shift(stamps % WRAP, stamps % WRAP, continuous=False)
    if ahead < 0:
        stamps = clock
    return Shift(stamps % WRAP, clock % WRAP)


def _stamps(ending: Ending, beginning: Beginning) -> int | None:
    if beginning.decode_time is None or beginning.presentation_time is None:
        return None
    sound = ending.sound_time
    if (
        ending.decode_time is None
        or ending.presentation_time is None
        or (not beginning.has_video and sound is not None)
    ):
        return None if sound is None else sound - beginning.presentation_time
    by_presentation = ending.presentation_time - beginning.presentation_time
    if not beginning.has_video:
        return by_presentation
    by_decoding = ending.decode_time - beginning.decode_time
    # Behind pictures out of order, the first to be decoded next is not the first to be seen next.
    return by_presentation if difference(by_presentation, by_decoding) > 0 else by_decoding
