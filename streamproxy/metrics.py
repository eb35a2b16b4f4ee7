"""Plain counters; what reads them gives them names and units."""

from bisect import bisect_left

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How often something took how long.

    Attributes:
        bounds: Upper bounds of the classes, in seconds; above the last there is one more.
        counts: How often, by class.
        total: Seconds in all.
    """

    def __init__(self, bounds: tuple[float, ...] = _BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds
