"""Plain counters; what reads them gives them names and units."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Viewer(Protocol):
    """Somebody who is being served."""

    @property
    def sent(self) -> int:
        """Bytes sent to them so far."""


class Audience:
    """Who is watching, and what has been served since the start.

    Attributes:
        total: Viewers ever.
    """

    def __init__(self) -> None:
        self.total = 0
        self._present: set[Viewer] = set()
        self._sent_before = 0
        self._since = time.monotonic()

    @property
    def present(self) -> int:
        """Viewers now."""
        return len(self._present)

    @property
    def sent(self) -> int:
        """Bytes sent to all viewers, those who left included."""
        return self._sent_before + sum(viewer.sent for viewer in self._present)

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._since

    @contextmanager
    def attend(self, viewer: Viewer) -> Iterator[None]:
        """Count a viewer for the length of a `with` block."""
        self.total += 1
        self._present.add(viewer)
        try:
            yield
        finally:
            self._present.discard(viewer)
            self._sent_before += viewer.sent
