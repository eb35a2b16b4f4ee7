"""Somebody who plays a stream from its first byte on, by a clock, and sees it stall."""

import math


class Player:
    """Plays what has come.

    Attributes:
        least: Seconds of the stream that were left when the fewest were; infinite before it is playing.
        stalls: How often none was left.
    """

    def __init__(self) -> None:
        self.least = math.inf
        self.stalls = 0
        self._came = 0.0
        self._began: float | None = None

    def look(self, came: float, now: float) -> None:
        """Take notice.

        Args:
            came: Seconds of the stream that have come by now.
            now: The time in seconds.
        """
        if self._began is None:
            self._began = now if came else None
        else:
            left = self._came - (now - self._began)
            self.least = min(self.least, left)
            if left < 0:
                self.stalls += 1
                self._began = now - self._came
        self._came = came
