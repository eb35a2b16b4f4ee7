"""What can be wrong with what is asked of ffmpeg."""

from collections.abc import Sequence


class ProfileError(ValueError):
    """This cannot be made, or not by this ffmpeg; the text completes "the profile ...", and names the remedy."""


class UnknownProfile(ProfileError):
    """There is no profile of this name.

    Attributes:
        known: The names that there are.
    """

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__(f"must be one of {', '.join(known)}")
        self.known = tuple(known)
