"""Beginning to play two media playlists, picture and sound, at the same moment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from streamproxy.formats.hls.lines import LineKind, content, lines
from streamproxy.formats.hls.model import MediaPlaylist, MediaSegment
from streamproxy.formats.hls.window import LIVE_EDGE

_DATE_TAG = "#EXT-X-PROGRAM-DATE-TIME:"
_DISCONTINUITY_TAG = "#EXT-X-DISCONTINUITY"
_AT_ONCE = 0.1
"""Seconds by which two segments that belong together may begin apart."""
_LARGEST_LAG = 3
"""Segments by which one of two playlists that count alike may be behind the other."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A media playlist, and when its segments were made.

    Attributes:
        playlist: What it lists.
        dates: For each segment the time in seconds since 1970; None where that is not known.
    """

    playlist: MediaPlaylist
    dates: tuple[float | None, ...]


def listing(playlist: MediaPlaylist, text: str) -> Listing:
    """Find out when the segments of a playlist were made (EXT-X-PROGRAM-DATE-TIME, 4.4.4.6).

    Args:
        playlist: What was read.
        text: What it was read from.

    Raises:
        HlsError: The text is too large to be one.
    """
    given = _given_dates(text)
    count = len(playlist.segments)
    if len(given) != count or not any(given):
        return Listing(playlist, (None,) * count)
    return Listing(playlist, tuple(_spread(playlist.segments, given)))


def first_of_picture(playlist: MediaPlaylist) -> int:
    """Return the index of the segment to begin with; a live stream begins near its end."""
    return 0 if playlist.ended else max(0, len(playlist.segments) - LIVE_EDGE)


def first_of_sound(picture: Listing, sound: Listing) -> int:
    """Return the index of the segment to begin with, so that it covers the beginning of the picture.

    Dates tell, if both have them; or else the numbers, if both count alike; or else how far it is to the end.
    """
    first = first_of_picture(picture.playlist)
    if first >= len(picture.dates) or not sound.dates:
        return first_of_picture(sound.playlist)
    found = _by_date(picture.dates[first], sound)
    if found is None and not first and picture.playlist.ended and sound.playlist.ended:
        return 0
    if found is None:
        found = _by_number(picture.playlist, sound.playlist, first)
    return _by_distance(picture.playlist, sound.playlist, first) if found is None else found


def _by_date(date: float | None, sound: Listing) -> int | None:
    known = [(index, each) for index, each in enumerate(sound.dates) if each is not None]
    if date is None or not known:
        return None
    return max((index for index, each in known if each <= date + _AT_ONCE), default=known[0][0])


def _by_number(picture: MediaPlaylist, sound: MediaPlaylist, first: int) -> int | None:
    index = picture.segments[first].sequence - sound.segments[0].sequence
    lag = abs(picture.segments[-1].sequence - sound.segments[-1].sequence)
    if not (picture.has_sequence and sound.has_sequence and lag <= _LARGEST_LAG and 0 <= index < len(sound.segments)):
        return None
    durations = picture.segments[first].duration, sound.segments[index].duration
    return index if max(durations) <= 1.5 * min(durations) else None


def _by_distance(picture: MediaPlaylist, sound: MediaPlaylist, first: int) -> int:
    wanted = math.fsum(segment.duration for segment in picture.segments[first:]) - _AT_ONCE
    index = len(sound.segments) - 1
    covered = sound.segments[index].duration
    while index and covered < wanted:
        index -= 1
        covered += sound.segments[index].duration
    return index


def _given_dates(text: str) -> list[float | None]:
    """Read the date that stands before each segment; one begins anew at each discontinuity, which is NaN."""
    given: list[float | None] = []
    timed, date = False, None
    for kind, line in lines(text):
        if kind is LineKind.EXTINF:
            timed = True
        elif kind is LineKind.URI:
            if timed:
                given.append(date)
            timed, date = False, None
        elif kind is LineKind.TAG:
            tag = content(line)
            if tag.startswith(_DATE_TAG):
                date = _seconds(tag.removeprefix(_DATE_TAG))
            elif tag == _DISCONTINUITY_TAG and date is None:
                date = math.nan
    return given


def _seconds(text: str) -> float | None:
    try:
        date = datetime.fromisoformat(text.strip().strip('"'))
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _spread(segments: Sequence[MediaSegment], given: Sequence[float | None]) -> list[float | None]:
    """Count on from each date to the segments behind it, and from the first back to those before it."""
    dates: list[float | None] = []
    date: float | None = None
    for segment, own in zip(segments, given, strict=True):
        date = own if own is not None else date
        dates.append(None if date is None or math.isnan(date) else date)
        date = None if dates[-1] is None else dates[-1] + segment.duration
    first = next((index for index, each in enumerate(dates) if each is not None), 0)
    if any(each is not None for each in given[1:first]) or not dates:
        return dates
    for index in range(first - 1, -1, -1):
        later = dates[index + 1]
        dates[index] = None if later is None else later - segments[index].duration
    return dates
