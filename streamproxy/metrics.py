"""Plain counters; what reads them gives them names and units."""

import time
from types import TracebackType
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
        segments: HLS segments sent, to all viewers.
    """

    def __init__(self) -> None:
        self.total = 0
        self.segments = 0
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

    def attend(self, viewer: Viewer) -> "Attendance":
        """Count a viewer for the length of a `with` block."""
        return Attendance(self, viewer)

    def enter(self, viewer: Viewer) -> None:
        """Count a viewer in. Only attendances call this."""
        self.total += 1
        self._present.add(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Count a viewer out. Only attendances call this."""
        self._present.discard(viewer)
        self._sent_before += viewer.sent


class Attendance:
    """One viewer's stay; written out, since there is one for each: a generator would take twice the memory."""

    __slots__ = ("_audience", "_viewer")

    def __init__(self, audience: Audience, viewer: Viewer) -> None:
        self._audience = audience
        self._viewer = viewer

    def __enter__(self) -> None:
        self._audience.enter(self._viewer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._audience.leave(self._viewer)
