"""How fast a stream that has ended is passed on to viewers who share it: as fast as it is played, and a little ahead.

Its segments are all there at once. Whoever writes them as fast as they come leaves every viewer behind who watches.
"""

from streamproxy.formats.hls.model import MediaPlaylist

LONGEST = 60.0
"""Seconds that a segment counts for, at most: where its duration is a lie, viewers do not wait for longer."""

_SEGMENTS_AHEAD = 2
"""Segments of the longest duration listed, which is what a target duration is (RFC 8216bis, 4.4.3.1)."""


class Pacing:
    """Tells when the next bytes of a stream are due.

    Viewers play from its first byte on. What is written is ahead of them by no more than two of its longest segments,
    and by no more bytes than given. If it comes too late, they have waited: from then on they play that much later.
    """

    def __init__(self, playlist: MediaPlaylist, *, most: int) -> None:
        """Begin.

        Args:
            playlist: What is played.
            most: Bytes that may be written ahead.
        """
        longest = max((segment.duration for segment in playlist.segments), default=0.0)
        self._ahead = _SEGMENTS_AHEAD * min(longest, LONGEST)
        self._most = most
        self._begun_at: float | None = None
        self._before = 0.0
        self._duration = 0.0
        self._size = 0
        self._rate = 0.0

    def begin(self, duration: float) -> None:
        """Say that what is written from now on is of the next segment, which lasts so many seconds."""
        if self._size:
            self._before += self._duration
            self._rate = self._size / self._duration if self._duration else self._rate
        self._duration = min(duration, LONGEST)
        self._size = 0

    def wait(self, size: int, now: float, *, of: int | None) -> float:
        """Return for how many seconds so many bytes more have to wait.

        Args:
            size: Bytes that are to be written next.
            now: The time in seconds.
            of: Bytes of the whole segment. None where that is not known yet: then it is taken to be as dense as the one
                before, until it proves to be denser.
        """
        if self._begun_at is None:
            self._begun_at = now
        self._begun_at = max(self._begun_at, now - self._written())
        self._size += size
        if not self._duration:
            return 0.0
        self._rate = of / self._duration if of else max(self._rate, self._size / self._duration)
        ahead = min(self._ahead, self._most / self._rate)
        return max(0.0, self._written() - (now - self._begun_at) - ahead)

    def _written(self) -> float:
        """Return how many seconds of the stream were written."""
        return self._before + (min(self._duration, self._size / self._rate) if self._rate else 0.0)
