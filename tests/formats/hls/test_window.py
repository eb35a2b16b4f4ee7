"""Which segments of successive playlists are played: each once, in order, whatever the origin does to its numbers."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamproxy.formats.hls.model import MediaPlaylist, MediaSegment
from streamproxy.formats.hls.window import (
    LONGEST_WAIT,
    SHORTEST_WAIT,
    USUAL_WAIT,
    Step,
    Window,
    patience,
    reload_wait,
)

HOST = "http://origin/live"


def playlist(
    names: Sequence[str],
    *,
    first: int | None = 0,
    ended: bool = False,
    target: float | None = 4.0,
    duration: float | None = None,
) -> MediaPlaylist:
    """List segments by name, from number `first` on; None leaves numbers out."""
    return MediaPlaylist(
        url=f"{HOST}/index.m3u8",
        target_duration=target,
        segments=tuple(
            MediaSegment(
                sequence=number,
                url=name if "://" in name else f"{HOST}/{name}",
                duration=(target or 4.0) if duration is None else duration,
            )
            for number, name in enumerate(names, first or 0)
        ),
        has_sequence=first is not None,
        ended=ended,
    )


def live(first: int, count: int = 6, *, numbered: bool = True, prefix: str = "s") -> MediaPlaylist:
    """List what an origin does whose segments are called by their numbers."""
    names = [f"{prefix}{number}.ts" for number in range(first, first + count)]
    return playlist(names, first=first if numbered else None)


def names(step: Step) -> list[str]:
    return [segment.url.removeprefix(f"{HOST}/") for segment in step.segments]


def played(*playlists: MediaPlaylist) -> list[list[str]]:
    """Say what is played after each of several loads."""
    window = Window()
    return [names(window.advance(each)) for each in playlists]


def test_a_live_stream_begins_three_segments_from_its_end() -> None:
    assert played(live(100)) == [["s103.ts", "s104.ts", "s105.ts"]]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_live_stream_of_fewer_segments_begins_with_the_first(count: int) -> None:
    assert played(live(100, count)) == [[f"s{100 + number}.ts" for number in range(count)]]


def test_what_has_ended_is_played_from_its_beginning() -> None:
    window = Window()
    step = window.advance(playlist(["a", "b", "c", "d", "e"], ended=True))
    assert names(step) == ["a", "b", "c", "d", "e"]
    assert window.ended


def test_each_load_brings_what_was_not_there_before() -> None:
    assert played(live(0, 3), live(1, 3), live(1, 3), live(3, 3)) == [
        ["s0.ts", "s1.ts", "s2.ts"],
        ["s3.ts"],
        [],
        ["s4.ts", "s5.ts"],
    ]


def test_an_end_that_comes_with_nothing_new_is_an_end() -> None:
    window = Window()
    window.advance(playlist(["a", "b"]))
    assert not window.ended
    assert window.advance(playlist(["a", "b"], ended=True)).segments == ()
    assert window.ended


def test_an_end_that_comes_with_segments_brings_them() -> None:
    window = Window()
    window.advance(playlist(["a", "b"]))
    assert names(window.advance(playlist(["a", "b", "c"], ended=True))) == ["c"]
    assert window.ended


def test_a_playlist_without_segments_brings_nothing_until_it_has_some() -> None:
    assert played(playlist([]), playlist([]), live(7, 4), live(8, 4)) == [
        [],
        [],
        ["s8.ts", "s9.ts", "s10.ts"],
        ["s11.ts"],
    ]


def test_a_playlist_that_ends_without_segments_has_ended() -> None:
    window = Window()
    assert window.advance(playlist([], ended=True)) == Step()
    assert window.ended


@pytest.mark.parametrize("missed", [1, 2, 50])
def test_what_was_missed_is_counted_and_all_that_is_there_is_played(missed: int) -> None:
    window = Window()
    window.advance(live(10, 3))
    step = window.advance(live(13 + missed, 5))
    assert names(step) == [f"s{13 + missed + number}.ts" for number in range(5)]
    assert step.missed == missed
    assert not step.restarted


def test_a_playlist_without_numbers_slides() -> None:
    loads = [live(first, 3, numbered=False) for first in (5, 6, 6, 8, 9)]
    assert played(*loads) == [["s5.ts", "s6.ts", "s7.ts"], ["s8.ts"], [], ["s9.ts", "s10.ts"], ["s11.ts"]]


def test_a_playlist_without_numbers_that_has_nothing_in_common_goes_on_at_its_live_edge() -> None:
    assert played(live(5, 6, numbered=False), live(50, 6, numbered=False)) == [
        ["s8.ts", "s9.ts", "s10.ts"],
        ["s53.ts", "s54.ts", "s55.ts"],
    ]


def test_numbers_may_come_late_and_go_again() -> None:
    loads = [live(5, 3, numbered=False), live(6, 3), live(7, 3, numbered=False), live(8, 3)]
    assert played(*loads) == [["s5.ts", "s6.ts", "s7.ts"], ["s8.ts"], ["s9.ts"], ["s10.ts"]]


def test_an_encoder_that_began_anew_is_played_from_its_live_edge_with_a_discontinuity() -> None:
    window = Window()
    window.advance(live(5002, 6))
    step = window.advance(live(0, 4, prefix="n"))
    assert names(step) == ["n1.ts", "n2.ts", "n3.ts"]
    assert step.restarted
    assert [segment.discontinuity for segment in step.segments] == [True, False, False]
    assert names(window.advance(live(1, 4, prefix="n"))) == ["n4.ts"]


@pytest.mark.parametrize("reused", [True, False])
def test_an_encoder_that_began_anew_may_use_its_names_again(reused: bool) -> None:
    window = Window()
    window.advance(live(5002, 6))
    fresh = live(0, 3, prefix="s" if reused else "n")
    assert len(window.advance(fresh).segments) == 3


def test_an_encoder_that_began_anew_shortly_after_its_start_is_noticed_in_the_end() -> None:
    window = Window()
    window.advance(live(1, 3))
    steps = [window.advance(live(0, count, prefix="n")) for count in (1, 2, 3, 4)]
    assert [names(step) for step in steps] == [[], [], ["n0.ts", "n1.ts", "n2.ts"], ["n3.ts"]]


def test_after_a_new_beginning_what_the_old_encoder_still_lists_is_not_played_again() -> None:
    window = Window()
    window.advance(live(5000, 6))
    window.advance(live(0, 6, prefix="n"))
    assert names(window.advance(live(5000, 6))) == []
    assert names(window.advance(live(1, 6, prefix="n"))) == ["n6.ts"]


def test_a_new_beginning_among_what_was_listed_before_is_played_without_that() -> None:
    assert played(playlist(["a", "b", "c"], first=5000), playlist(["n0", "b", "n1"])) == [["a", "b", "c"], ["n0", "n1"]]


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("lag", [1, 2, 3])
@pytest.mark.parametrize("count", [4, 6, 10])
def test_a_node_that_lags_behind_is_not_a_new_beginning(count: int, lag: int, numbered: bool) -> None:
    loads = [live(first, count, numbered=numbered) for first in (100, 100 - lag, 101, 101 - lag, 102)]
    window = Window()
    steps = [window.advance(each) for each in loads]
    assert [names(step) for step in steps[1:]] == [[], [f"s{100 + count}.ts"], [], [f"s{101 + count}.ts"]]
    assert not any(step.restarted or step.missed for step in steps)


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_a_node_that_lags_behind_by_all_that_is_listed_is_not_a_new_beginning(lag: int) -> None:
    assert played(live(100, 3), live(100 - lag, 3), live(100 - lag, 3), live(101, 3)) == [
        ["s100.ts", "s101.ts", "s102.ts"],
        [],
        [],
        ["s103.ts"],
    ]


def test_a_segment_under_another_number_is_not_played_again() -> None:
    loads = [
        playlist(["a", "b", "c"], first=10),
        playlist(["a", "b", "c"], first=11),
        playlist(["a", "b", "c", "d"], first=12),
        playlist(["b", "c", "d", "e"], first=40),
    ]
    assert played(*loads) == [["a", "b", "c"], [], ["d"], ["e"]]


def test_nodes_may_count_differently() -> None:
    loads = [
        playlist(["a", "b", "c"], first=100),
        playlist(["b", "c", "d"], first=51),
        playlist(["c", "d", "e"], first=102),
        playlist(["d", "e", "f"], first=53),
        playlist(["d", "e", "f"], first=103),
    ]
    assert played(*loads) == [["a", "b", "c"], ["d"], ["e"], ["f"], []]


def test_a_slate_that_is_listed_again_and_again_is_played_each_time() -> None:
    loads = [playlist(["slate"] * 3, first=first) for first in (0, 1, 1, 3)]
    assert played(*loads) == [["slate"] * 3, ["slate"], [], ["slate"] * 2]


def test_a_slate_that_stays_is_not_played_again_where_there_are_no_numbers() -> None:
    assert played(playlist(["slate"] * 3, first=None), playlist(["slate"] * 3, first=None)) == [["slate"] * 3, []]


def test_a_loop_of_files_is_played_again_and_again() -> None:
    files = ["a", "b", "c", "d"] * 10
    loads = [playlist(files[first : first + 6], first=first) for first in range(20)]
    assert [name for names in played(*loads) for name in names] == files[3:25]


def test_tokens_in_the_query_do_not_make_a_segment_new() -> None:
    loads = [
        playlist([f"{HOST}/{name}.ts?token=secret{load}" for name in names], first=None)
        for load, names in enumerate(("abc", "abc", "bcd"))
    ]
    assert [len(step) for step in played(*loads)] == [3, 0, 1]


def test_tokens_in_the_path_do_not_make_a_segment_new_if_there_are_numbers() -> None:
    loads = [
        playlist([f"{HOST}/token{load}/{number}.ts" for number in range(first, first + 3)], first=first)
        for load, first in enumerate((10, 10, 11, 9, 12))
    ]
    assert [len(step) for step in played(*loads)] == [3, 0, 1, 0, 1]


def test_segments_told_apart_only_by_what_looks_like_a_token_are_told_apart() -> None:
    urls = [f"{HOST}/get?data={number:x}{'0123456789abcdef' * 3}" for number in range(16, 22)]
    assert [len(step) for step in played(*(playlist(urls[first : first + 4], first=None) for first in range(3)))] == [
        3,
        1,
        1,
    ]


def test_a_window_of_hours_begins_at_its_live_edge_and_is_read_fast() -> None:
    window = Window()
    loads = [live(first, 10_000) for first in range(20)]
    assert names(window.advance(loads[0])) == ["s9997.ts", "s9998.ts", "s9999.ts"]
    started = time.perf_counter()
    assert [names(window.advance(each)) for each in loads[1:]] == [[f"s{9999 + load}.ts"] for load in range(1, 20)]
    assert time.perf_counter() - started < 0.2


@pytest.mark.parametrize("first", [1_000_000, 0])
def test_a_window_of_hours_whose_numbers_jump_is_not_played_as_a_whole(first: int) -> None:
    window = Window()
    window.advance(live(20_000, 10_000))
    assert names(window.advance(live(first, 10_000, prefix="n"))) == [f"n{first + 9997 + n}.ts" for n in range(3)]


@st.composite
def origins(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int]]]:
    """How many segments are listed, and for each load: how many more there are, its node's lag, and where it counts."""
    count = draw(st.integers(4, 12))
    load = st.tuples(st.integers(0, count), st.integers(0, 3), st.sampled_from([0, 0, 0, 1, -1, 7, -50, 1000]))
    return count, draw(st.lists(load, max_size=30))


@given(origins(), st.booleans(), st.integers(1000, 10_000), st.sampled_from(["none", "query", "path"]))
@settings(max_examples=500, deadline=None)
def test_every_segment_is_played_once_and_in_order(
    origin: tuple[int, list[tuple[int, int, int]]], numbered: bool, start: int, tokens: str
) -> None:
    count, loads = origin
    if tokens == "path":
        # Then there is nothing but numbers to go by.
        numbered, loads = True, [(more, 0, 0) for more, _, _ in loads]
    window, first, end = Window(), start + 3, start + 3 + count
    found = []
    for load, (more, lag, shift) in enumerate([(0, 0, 0), *loads, (0, 0, 0)]):
        # Half of what is listed at least was listed before, by some node.
        first = min(first + more, end - (count + 1) // 2)
        end = max(end, first - lag + count)
        listed = [
            {"none": f"{n}.ts", "query": f"{n}.ts?token=t{load}", "path": f"{load}/{n}.ts"}[tokens]
            for n in range(first - lag, first - lag + count)
        ]
        step = window.advance(playlist(listed, first=first - lag + shift if numbered else None))
        assert not step.restarted
        found += [int(name.partition(".ts")[0].rpartition("/")[2]) for name in names(step)]
    assert found == list(range(start + count, first + count))


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 8), st.booleans()), max_size=25))
@example(
    loads=[(1, 4, False), (0, 1, False), (1, 1, False), (82, 5, False), (0, 1, False), (74, 8, False), (78, 7, False)]
)
@settings(max_examples=500, deadline=None)
def test_between_new_beginnings_nothing_is_played_twice(loads: list[tuple[int, int, bool]]) -> None:
    window = Window()
    found: list[str] = []
    for first, count, ended in loads:
        step = window.advance(playlist([f"{n}.ts" for n in range(first, first + count)], first=first, ended=ended))
        if step.restarted:
            found.clear()
        found += names(step)
        assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("changed", "target", "duration", "count", "wait"),
    [
        (True, 4, None, 6, 4),
        (False, 4, None, 6, 2),
        (True, 1, None, 6, 1),
        (False, 1, None, 6, SHORTEST_WAIT),
        (True, None, 3, 6, 6),
        (False, None, 3, 6, 3),
        (True, None, 3, 0, USUAL_WAIT),
        (True, 4, None, 0, 4),
        (True, 4, 4, 1, 2),
        (True, 10, 2, 3, 3),
        (True, 4, 0, 3, 4),
        (True, 0.001, 0.001, 3, SHORTEST_WAIT),
        (True, None, 0.001, 3, SHORTEST_WAIT),
        (True, 86_400, 86_400, 3, LONGEST_WAIT),
        (False, 86_400, 86_400, 3, LONGEST_WAIT),
    ],
)
def test_a_playlist_is_due_again_when_it_has_probably_changed(
    changed: bool, target: float | None, duration: float | None, count: int, wait: float
) -> None:
    listed = playlist(["s"] * count, target=target, duration=duration)
    assert reload_wait(listed, changed=changed) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("target", "duration", "seconds"), [(1, 1, 5), (2, 2, 6), (10, 10, 30), (None, 4, 24), (86_400, 4, 180)]
)
def test_a_playlist_counts_as_dead_after_three_target_durations(
    target: float | None, duration: float, seconds: float
) -> None:
    assert patience(playlist(["a", "b", "c"], target=target, duration=duration)) == pytest.approx(seconds)
