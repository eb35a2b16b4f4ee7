"""Following a playlist that is loaded again and again: which segments come next, and when to look again.

Numbers alone do not do it. Origins leave EXT-X-MEDIA-SEQUENCE out, start over at 0 when their encoder restarts, let one
node of a CDN count differently from the next, and have nodes that lag behind. So segments are known by what lasts of
their URLs, too.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamproxy.formats import urls
from streamproxy.formats.hls.model import ByteRange, MediaPlaylist, MediaSegment

LIVE_EDGE = 3
"""Segments from the end at which a live stream begins (RFC 8216bis, 6.3.3)."""
SHORTEST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds between two loads, whatever the playlist says."""
USUAL_WAIT = 6.0
"""Seconds between two loads of a playlist that says nothing."""
SHORTEST_PATIENCE = 5.0

_REMEMBERED = 128
"""Segments that are known again."""
_LARGEST_LAG = 3
"""Segments that a node of a CDN lags behind another, at least to be expected."""
_DOUBTS = 2
"""Loads for which a playlist that went back a little is taken for that of a node that lags behind."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a load of the playlist brought.

    Attributes:
        segments: What to play next, in order.
        missed: Segments that were gone before they were seen.
        restarted: Whether the stream began anew; then the first segment is marked as a discontinuity.
    """

    segments: tuple[MediaSegment, ...] = ()
    missed: int = 0
    restarted: bool = False


_Name = tuple[str, ByteRange | None]


class Window:
    """Follows one media playlist.

    Segments are counted on a line of our own, on which one is never played twice. How far a playlist's numbers are from
    that line is found anew whenever they contradict what is known.

    Attributes:
        ended: Whether the playlist says that nothing will follow.
    """

    def __init__(self, *, live_edge: int = LIVE_EDGE) -> None:
        """Begin with the first load.

        Args:
            live_edge: Segments from the end at which a live stream begins; what has ended begins at its beginning.
        """
        self.ended = False
        self._live_edge = live_edge
        self._next = 0
        self._begun = False
        self._offset = 0
        self._known: dict[int, _Name] = {}
        self._doubts = 0
        self._names_last = True

    def advance(self, playlist: MediaPlaylist) -> Step:
        """Take in what was loaded; say what is new in it."""
        segments = playlist.segments
        if not segments:
            self.ended = playlist.ended
            return Step()
        recent = segments[-_REMEMBERED:]
        names = self._names(recent)
        offset = self._find_offset(playlist, recent, names) if self._begun else None
        if offset is None:
            if self._begun and self._may_be_stale(playlist):
                return Step()
            return self._begin(playlist, recent, names)
        self._doubts = 0
        self.ended = playlist.ended
        if recent[-1].sequence + offset < self._next - 1:
            # It lies behind: what an old node numbers says nothing of the numbers to come.
            return Step()
        self._offset = offset
        fresh = segments[max(0, self._next - offset - segments[0].sequence) :]
        missed = max(0, segments[0].sequence + offset - self._next)
        if missed:
            if len(fresh) > _REMEMBERED:
                # Numbers that jump in a list of hours: whoever wants the present would get all of the past.
                return self._begin(playlist, recent, names)
            fresh = self._without_known(fresh, recent, names)
        self._remember(recent, names)
        return Step(fresh, missed)

    def _begin(self, playlist: MediaPlaylist, recent: Sequence[MediaSegment], names: Sequence[_Name]) -> Step:
        segments = playlist.segments if playlist.ended else playlist.segments[-self._live_edge :]
        restarted = self._begun
        if restarted:
            segments = self._without_known(segments, recent, names)
            if not segments:
                return Step()
            segments = (replace(segments[0], discontinuity=True), *segments[1:])
            # What stands before them in the list would take the places of what was played.
            count = recent[-1].sequence - segments[0].sequence + 1
            recent, names = recent[-count:], names[-count:]
        self._begun = True
        self._doubts = 0
        self.ended = playlist.ended
        self._offset = self._next - segments[0].sequence
        self._remember(recent, names)
        return Step(segments, restarted=restarted)

    def _without_known(
        self, segments: Sequence[MediaSegment], recent: Sequence[MediaSegment], names: Sequence[_Name]
    ) -> tuple[MediaSegment, ...]:
        """Leave out what was listed before: where numbers jump, an old encoder and a new one may take turns."""
        known = set(self._known.values())
        again = {segment.sequence for segment, name in zip(recent, names, strict=True) if name in known}
        return tuple(segment for segment in segments if segment.sequence not in again)

    def _find_offset(
        self, playlist: MediaPlaylist, recent: Sequence[MediaSegment], names: Sequence[_Name]
    ) -> int | None:
        """Find where a playlist lies on our line; None if it is not to be found there."""
        if playlist.has_sequence and self._agrees(recent, names, self._offset):
            return self._offset
        numbers: dict[_Name, list[int]] = {}
        for number, name in self._known.items():
            numbers.setdefault(name, []).append(number)
        # Each segment known again votes for one offset. A slate shown again and again votes for many.
        votes = Counter(
            number - segment.sequence
            for segment, name in zip(recent, names, strict=True)
            for number in numbers.get(name, ())
        )
        if votes:
            offset = max(votes, key=lambda offset: (votes[offset], offset))
            if self._agrees(recent, names, offset):
                return offset
        # Nothing is known again: a gap, or a token in each path. It is no reason to distrust numbers that go forward.
        if playlist.has_sequence and recent[-1].sequence + self._offset >= self._next - 1:
            return self._offset
        return None

    def _agrees(self, recent: Sequence[MediaSegment], names: Sequence[_Name], offset: int) -> bool:
        """Tell whether most of the segments that stand where known ones do are these."""
        there = [
            self._known[segment.sequence + offset] == name
            for segment, name in zip(recent, names, strict=True)
            if segment.sequence + offset in self._known
        ]
        return sum(there) * 2 > len(there)

    def _may_be_stale(self, playlist: MediaPlaylist) -> bool:
        """Tell whether a playlist that went back may be that of a node that lags behind, and will soon catch up."""
        if not playlist.has_sequence:
            return False
        behind = self._next - 1 - (playlist.segments[-1].sequence + self._offset)
        self._doubts += 1
        return behind <= max(_LARGEST_LAG, len(playlist.segments)) and self._doubts <= _DOUBTS

    def _remember(self, recent: Sequence[MediaSegment], names: Sequence[_Name]) -> None:
        self._known.update((segment.sequence + self._offset, name) for segment, name in zip(recent, names, strict=True))
        self._next = max(self._next, recent[-1].sequence + self._offset + 1)
        self._known = {
            number: name for number, name in self._known.items() if self._next - _REMEMBERED <= number < self._next
        }

    def _names(self, segments: Sequence[MediaSegment]) -> list[_Name]:
        """Name segments by what lasts of their URLs, unless that is the same for several."""
        exact = [(segment.url, segment.byte_range) for segment in segments]
        if self._names_last:
            lasting = [(urls.identity(url), byte_range) for url, byte_range in exact]
            if len(set(lasting)) == len(set(exact)):
                return lasting
            self._names_last = False
        return exact


def reload_wait(playlist: MediaPlaylist, *, changed: bool) -> float:
    """Return how many seconds after a load was begun the next one begins (RFC 8216bis, 6.3.4).

    Args:
        playlist: The newest there is.
        changed: Whether it brought anything new; one that did not, or that could not be had, is due sooner.
    """
    wait = _usual_wait(playlist) * (1 if changed else 0.5)
    listed = math.fsum(segment.duration for segment in playlist.segments[-_REMEMBERED:])
    if listed:
        # Where the target is far above what is listed, all of that would be replaced between two loads.
        wait = min(wait, listed / 2)
    return min(max(SHORTEST_WAIT, wait), LONGEST_WAIT)


def _usual_wait(playlist: MediaPlaylist) -> float:
    if playlist.target_duration is not None:
        return playlist.target_duration
    return math.fsum(segment.duration for segment in playlist.segments[1 - LIVE_EDGE :]) or USUAL_WAIT


def patience(playlist: MediaPlaylist) -> float:
    """Return for how many seconds a playlist may bring nothing new before it counts as dead."""
    return max(SHORTEST_PATIENCE, 3 * min(_usual_wait(playlist), LONGEST_WAIT))
