"""Slates: what viewers see while there is nothing else to show."""

from enum import StrEnum

from streamproxy.formats.clip import Clip
from streamproxy.sources.clip import LEAD, ClipSource, packaged_clip


class Slate(StrEnum):
    """What a slate says."""

    UNAVAILABLE = "unavailable"
    """No upstream of the channel can be had."""
    BUSY = "busy"
    """The provider's account has no connection to spare."""


class SlateSource(ClipSource):
    """Feed a slate for ever, in real time."""

    def __init__(self, slate: Slate, *, lead: float = LEAD) -> None:
        """Prepare.

        Args:
            slate: What it says.
            lead: Seconds sent at once in the beginning; more than 0.
        """
        super().__init__(slate_clip(slate), lead=lead)


def slate_clip(slate: Slate) -> Clip:
    """Return the clip that a slate repeats: 640x360, 25 frames a second, H.264 and silent AAC."""
    return packaged_clip(slate.value)
