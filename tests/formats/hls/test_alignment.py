"""Where to begin with the sound of a picture."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.hls.alignment import Listing, first_of_picture, first_of_sound, listing
from streamproxy.formats.hls.model import MediaPlaylist
from streamproxy.formats.hls.read import read

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


def listed(*lines: str, first: int | None = 0, ended: bool = False) -> Listing:
    """Write segments: `4` for four seconds, `4@12:00:08Z` for four with a date, `-` for a discontinuity."""
    text = ["#EXTM3U", "#EXT-X-TARGETDURATION:10"]
    if first is not None:
        text.append(f"#EXT-X-MEDIA-SEQUENCE:{first}")
    for number, line in enumerate(lines):
        if line == "-":
            text.append("#EXT-X-DISCONTINUITY")
            continue
        duration, _, date = line.partition("@")
        if date:
            text.append(f"#EXT-X-PROGRAM-DATE-TIME:2026-01-01T{date}")
        text += [f"#EXTINF:{duration},", f"{number}.ts"]
    if ended:
        text.append("#EXT-X-ENDLIST")
    playlist = read("\n".join([*text, ""]), "http://host/")
    assert isinstance(playlist, MediaPlaylist)
    return listing(playlist, "\n".join([*text, ""]))


@pytest.mark.parametrize(
    ("lines", "dates"),
    [
        (["4@12:00:00Z", "4", "4"], [0, 4, 8]),
        (["4", "4", "4@12:00:08Z"], [0, 4, 8]),
        (["4@12:00:00Z", "4@12:00:05Z", "4"], [0, 5, 9]),
        (["4@13:00:00+01:00", "4"], [0, 4]),
        (["4@12:00:00.250Z"], [0.25]),
        (["4@12:00:00"], [0]),
        (["4@12:00:00Z", "-", "4", "4@12:01:00Z"], [0, None, 60]),
        (["4", "-", "4", "4@12:01:00Z"], [None, None, 60]),
        (["4@12:00:00Z", "-", "4@12:01:00Z"], [0, 60]),
        (["4@nonsense", "4"], [None, None]),
        (["4", "4"], [None, None]),
        ([], []),
    ],
)
def test_dates_count_on_and_back_but_not_over_a_discontinuity(lines: list[str], dates: list[float | None]) -> None:
    found = listed(*lines).dates
    assert found == tuple(None if date is None else NOON + date for date in dates)


@pytest.mark.parametrize(
    ("picture", "sound", "index"),
    [
        (listed("4@12:00:00Z", *"4444"), listed("4@12:00:00Z", *"4444", first=70), 2),
        (listed("4@12:00:00Z", *"4444"), listed("4@12:00:04Z", *"4444", first=70), 1),
        (listed("4@12:00:00Z", *"4444"), listed("9@12:00:00Z", "9", "9", first=70), 0),
        (listed("4@12:00:00Z", *"4444"), listed("4@12:00:20Z", "4", first=70), 0),
        (listed("4@12:00:00Z", *"4444"), listed("4@11:59:00Z", "4", first=70), 1),
        (listed("4@12:00:00Z", *"4444"), listed("4@12:00:00.08Z", *"4444", first=70), 2),
    ],
    ids=["the same", "a window of its own", "longer segments", "only later", "only earlier", "nearly the same"],
)
def test_dates_tell_before_all_else(picture: Listing, sound: Listing, index: int) -> None:
    assert first_of_sound(picture, sound) == index


@pytest.mark.parametrize(
    ("picture", "sound", "index"),
    [
        (listed(*"44444", first=10), listed(*"44444", first=10), 2),
        (listed(*"44444", first=10), listed(*"4444", first=10), 2),
        (listed(*"44444", first=10), listed(*"444444", first=10), 2),
        (listed(*"44444", first=10), listed(*"44444", first=500), 2),
        (listed(*"44444", first=10), listed("8", "8", "8", first=10), 1),
        (listed(*"44444", first=10), listed(*"2222222222", first=10), 4),
        (listed(*"44444", first=None), listed(*"4444", first=None), 1),
        (listed("4@12:00:00Z", *"4444", first=10), listed(*"44444", first=10), 2),
        (listed(*"44444", first=10), listed("4", first=10), 0),
        (listed(*"44444", first=10), listed(first=10), 0),
        (listed(first=10), listed(*"44444", first=10), 2),
    ],
    ids=[
        "same",
        "lags",
        "leads",
        "counts differently",
        "longer",
        "shorter",
        "no numbers",
        "one has dates",
        "short",
        "no sound",
        "no picture",
    ],
)
def test_without_dates_numbers_tell_or_the_distance_from_the_end(picture: Listing, sound: Listing, index: int) -> None:
    assert first_of_sound(picture, sound) == index


def test_what_has_ended_begins_at_its_beginning() -> None:
    picture = listed(*"44444", ended=True)
    assert first_of_picture(picture.playlist) == 0
    assert first_of_sound(picture, listed(*"4444443", ended=True)) == 0


SEGMENTS = st.lists(st.sampled_from(["4", "6.006", "0", "4@12:00:08Z", "9@11:00:00Z", "-"]), max_size=12)


@given(SEGMENTS, SEGMENTS, st.integers(0, 9), st.integers(0, 9), st.booleans(), st.booleans())
def test_the_beginning_is_always_a_segment_that_is_there(
    picture: list[str], sound: list[str], first: int, other: int, ended: bool, also: bool
) -> None:
    found = listed(*sound, first=other, ended=also)
    index = first_of_sound(listed(*picture, first=first, ended=ended), found)
    assert 0 <= index < max(1, len(found.playlist.segments))
