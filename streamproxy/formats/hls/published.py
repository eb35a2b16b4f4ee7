"""Segments that were cut from a stream, and the live playlist of the newest of them (RFC 8216bis, 6.2.2)."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

TARGET_DURATION = 6
"""Seconds that a segment has at most, rounded; it never changes (EXT-X-TARGETDURATION)."""

_WINDOW = 30.0
"""Seconds that are listed; also those for which a segment can be had after it was."""
_LEAST_LISTED = 3
_MOST_LISTED, _MOST_KEPT = 32, 64
"""Segments, however short they are."""
_READ_SIZE = 1 << 18


class Timeline:
    """Tells what time of day it was when a part of a stream was live.

    Who joins a stream gets some of its past at once. So what has come with the least delay counts, until the first
    segment is dated; from then on dates are as far apart as segments are long.
    """

    __slots__ = ("_origin", "_settled")

    def __init__(self) -> None:
        self._origin = math.inf
        self._settled = False

    def came(self, at: float, now: float) -> None:
        """Take note that a place in the stream came.

        Args:
            at: The place, in seconds of the stream.
            now: The time of day, in seconds since 1970.
        """
        if not self._settled:
            self._origin = min(self._origin, now - at)

    def date(self, at: float) -> datetime:
        """Return the time of day of a place in the stream."""
        self._settled = True
        return datetime.fromtimestamp(self._origin + at, UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A segment.

    Attributes:
        number: Its media sequence number.
        begins: Its place in the stream, in seconds.
        duration: Seconds.
        timeline: Tells the time of day of its place.
        discontinuous: Whether what it contains does not go on from the one before.
        independent: Whether a decoder can begin with it.
        buffers: What it consists of.
        size: Bytes of that.
    """

    number: int
    begins: float
    duration: float
    timeline: Timeline
    discontinuous: bool
    independent: bool
    buffers: Sequence[bytes | memoryview] = field(repr=False)
    size: int

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """Yield a part of it, in pieces that are worth a write each.

        Args:
            first: Position of the first byte.
            last: Position of the last.
        """
        gathered: list[memoryview] = []
        gathered_size = start = 0
        for buffer in self.buffers:
            piece = memoryview(buffer)[max(0, first - start) : max(0, last + 1 - start)]
            start += len(buffer)
            gathered.append(piece)
            gathered_size += len(piece)
            if gathered_size >= _READ_SIZE:
                yield b"".join(gathered)
                gathered, gathered_size = [], 0
        if gathered_size:
            yield b"".join(gathered)


class Published:
    """The newest segments of a stream: those that are listed, and those that were listed a while ago.

    Attributes:
        next_number: The number of the next segment.
        held: Bytes of all segments.
    """

    def __init__(self, *, capacity: int, first_number: int) -> None:
        """Start with none.

        Args:
            capacity: Bytes that are kept at most, but for a single segment that is larger.
            first_number: The number of the first segment.
        """
        self.next_number = first_number
        self.held = 0
        self._capacity = capacity
        self._listed: deque[Segment] = deque()
        self._unlisted: deque[Segment] = deque()
        self._discontinuities = 0
        self._independent = True

    def add(self, segment: Segment) -> None:
        """Take the next segment, and forget what is too old, or too much."""
        self.next_number = segment.number + 1
        self.held += segment.size
        self._listed.append(segment)
        # Once it was untrue it stays away: a playlist may not come to say more of segments that it lists already.
        self._independent = self._independent and segment.independent
        while self._is_too_long():
            self._unlist()
        while len(self._unlisted) > _MOST_KEPT - _MOST_LISTED or _seconds(self._unlisted) > _WINDOW + TARGET_DURATION:
            self.held -= self._unlisted.popleft().size
        while self.held > self._capacity and len(self._listed) > 1:
            if not self._unlisted:
                self._unlist()
            self.held -= self._unlisted.popleft().size

    def find(self, number: int) -> Segment | None:
        """Return a segment, listed or not; None if it is gone, or yet to come."""
        for segments in (self._listed, self._unlisted):
            if segments and segments[0].number <= number <= segments[-1].number:
                return segments[number - segments[0].number]
        return None

    def playlist(self, prefix: str) -> str:
        """Write the playlist.

        Args:
            prefix: What the names of segments begin with, before their number and `.ts`.
        """
        first = self._listed[0].number if self._listed else self.next_number
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            f"#EXT-X-TARGETDURATION:{TARGET_DURATION}",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{self._discontinuities}",
        ]
        if self._independent:
            lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
        for segment in self._listed:
            if segment.discontinuous:
                lines.append("#EXT-X-DISCONTINUITY")
            date = segment.timeline.date(segment.begins).isoformat(timespec="milliseconds")
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{date.removesuffix('+00:00')}Z")
            lines += [f"#EXTINF:{segment.duration:.3f},", f"{prefix}{segment.number}.ts"]
        return "\n".join([*lines, ""])

    def _is_too_long(self) -> bool:
        if len(self._listed) <= _LEAST_LISTED:
            return False
        return len(self._listed) > _MOST_LISTED or _seconds(self._listed) > _WINDOW

    def _unlist(self) -> None:
        segment = self._listed.popleft()
        self._discontinuities += segment.discontinuous
        self._unlisted.append(segment)


def _seconds(segments: deque[Segment]) -> float:
    return sum(segment.duration for segment in segments)
