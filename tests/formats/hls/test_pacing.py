"""What has ended is written about as fast as it is played: a little ahead, and never late because of the pacing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.hls.model import MediaPlaylist, MediaSegment
from streamproxy.formats.hls.pacing import LONGEST, Pacing

PLENTY = 1 << 40


def playlist(*durations: float) -> MediaPlaylist:
    segments = (MediaSegment(number, "http://origin/x", duration) for number, duration in enumerate(durations))
    return MediaPlaylist("http://origin/", 6.0, tuple(segments), ended=True)


def times(
    durations: list[float], sizes: list[int], *, most: int = PLENTY, pieces: int = 4, known: bool = True
) -> list[float]:
    """Write segments in pieces as soon as they are due; return when each piece was."""
    pacing, now, written = Pacing(playlist(*durations), most=most), 0.0, []
    for duration, size in zip(durations, sizes, strict=True):
        pacing.begin(duration)
        for _ in range(pieces):
            now += pacing.wait(size // pieces, now, of=size if known else None)
            written.append(now)
    return written


def test_two_segments_are_written_at_once_and_the_rest_as_it_is_played() -> None:
    assert times([6.0] * 5, [4000] * 5) == [
        *[0.0] * 8,
        *[1.5, 3.0, 4.5, 6.0],
        *[7.5, 9.0, 10.5, 12.0],
        *[13.5, 15.0, 16.5, 18.0],
    ]


def test_the_longest_segment_says_what_two_segments_are() -> None:
    assert times([2.0, 6.0, 2.0, 6.0], [1000] * 4, pieces=1) == [0.0, 0.0, 0.0, 4.0]


def test_no_more_bytes_are_ahead_than_a_viewer_may_lag_behind() -> None:
    # 1,000 bytes a second: of the 12 seconds that may be ahead only 4 are.
    assert times([6.0] * 3, [6000] * 3, most=4000, pieces=6)[:9] == [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_segment_whose_size_is_not_known_is_taken_to_be_as_dense_as_the_one_before() -> None:
    assert times([6.0] * 3, [4000] * 3, known=False) == [*[0.0] * 8, 1.5, 3.0, 4.5, 6.0]


def test_a_first_segment_whose_size_is_not_known_does_not_leave_viewers_behind_either() -> None:
    # It has 6,000 bytes, of which 2,000 may be ahead: the rest is not written before it is known to be a rest.
    assert times([6.0], [6000], most=2000, pieces=6, known=False) == pytest.approx([0.0, 0.0, 2.0, 3.0, 3.6, 4.0])


def test_a_segment_of_which_nothing_was_written_takes_no_time() -> None:
    pacing = Pacing(playlist(6.0, 6.0, 6.0, 6.0), most=PLENTY)
    for size in (6000, 0, 0, 6000):
        pacing.begin(6.0)
        assert not size or pacing.wait(size, 0.0, of=size) == 0.0


def test_what_comes_late_is_not_made_up_for_in_a_rush() -> None:
    pacing = Pacing(playlist(*[6.0] * 20), most=PLENTY)
    pacing.begin(6.0)
    assert pacing.wait(6000, 0.0, of=6000) == 0.0
    due = []
    for _ in range(4):
        pacing.begin(6.0)
        due.append(pacing.wait(6000, 100.0, of=6000))
    assert due == [0.0, 0.0, 6.0, 12.0]


@pytest.mark.parametrize("duration", [0.0, 1e-6])
def test_where_durations_say_nothing_nothing_waits(duration: float) -> None:
    assert times([duration] * 50, [6000] * 50)[-1] < 1


def test_a_lie_about_a_duration_makes_nobody_wait_for_longer_than_a_minute() -> None:
    pacing, now = Pacing(playlist(*[86_400.0] * 5), most=PLENTY), 0.0
    for _ in range(5):
        pacing.begin(86_400.0)
        wait = pacing.wait(1000, now, of=1000)
        assert wait <= LONGEST
        now += wait


SEGMENTS = st.lists(st.tuples(st.floats(0.1, 20), st.integers(4, 10**8)), min_size=1, max_size=30)


@given(SEGMENTS, st.integers(1, 10**8), st.booleans())
def test_it_never_takes_longer_than_playing_does(segments: list[tuple[float, int]], most: int, known: bool) -> None:
    durations, sizes = [list(each) for each in zip(*segments, strict=True)]
    assert times(durations, [size // 4 * 4 for size in sizes], most=most, known=known)[-1] <= sum(durations) + 1e-6


@given(SEGMENTS, st.integers(1, 10**8))
def test_whoever_plays_from_the_first_byte_on_never_waits_and_never_gets_more_than_two_segments_ahead(
    segments: list[tuple[float, int]], most: int
) -> None:
    durations, sizes = [list(each) for each in zip(*segments, strict=True)]
    written = times(durations, [size // 4 * 4 for size in sizes], most=PLENTY)
    for number, at in enumerate(written):
        segment, part = divmod(number, 4)
        before = sum(durations[:segment]) + durations[segment] * part / 4
        behind = before + durations[segment] / 4
        assert at <= before + 1e-6
        assert behind - at <= 2 * max(durations) + 1e-6
