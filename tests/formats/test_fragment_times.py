"""Fragments of runs that follow each other: when each is, as the boxes themselves say."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.fragment_times import FragmentTimes
from tests.formats.samples import box


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


def header(units: dict[int, int], durations: dict[int, int] | None = None) -> bytes:
    """Make a header whose tracks have so many units of time in a second, and samples that are so long as a rule."""
    tracks = b"".join(
        box(
            b"trak",
            box(b"tkhd", number(0, 12) + number(track) + bytes(64))
            + box(b"mdia", box(b"mdhd", number(0, 12) + number(unit) + bytes(8))),
        )
        for track, unit in units.items()
    )
    defaults = b"".join(
        box(b"trex", number(0) + number(track) + number(1) + number(duration) + bytes(8))
        for track, duration in (durations or {}).items()
    )
    return box(b"ftyp", b"iso5") + box(b"moov", box(b"mvhd", bytes(100)) + tracks + box(b"mvex", defaults))


def track_fragment(
    track: int, at: int, samples: list[int] | int, *, default: int | None = None, version: int = 1
) -> bytes:
    """Make a track fragment: when it begins, and how long its samples are, or how many there are."""
    head = box(b"tfhd", number(0x8 if default else 0) + number(track) + (number(default) if default else b""))
    time = box(b"tfdt", number(version, 1) + bytes(3) + number(at, 8 if version else 4))
    if isinstance(samples, int):
        run = box(b"trun", number(0x201) + number(samples) + number(0) + bytes(4 * samples))
    else:
        each = b"".join(number(sample) + number(0) for sample in samples)
        run = box(b"trun", number(0x305) + number(len(samples)) + bytes(8) + each)
    return box(b"traf", head + time + run)


def fragment(*tracks: bytes, sequence: int = 1) -> bytes:
    return box(b"moof", box(b"mfhd", number(0) + number(sequence)) + b"".join(tracks)) + box(b"mdat", b"picture")


def times(data: bytes, size: int = 8) -> list[int]:
    """Find when the track fragments in some fragments begin."""
    found, at = [], 0
    while (at := data.find(b"tfdt", at + 1)) >= 0:
        found.append(int.from_bytes(data[at + 8 : at + 8 + size], "big"))
    return found


def sequence(data: bytes) -> int:
    at = data.index(b"mfhd") + 8
    return int.from_bytes(data[at : at + 4], "big")


def test_the_first_run_stays_as_it_is() -> None:
    clock, data = FragmentTimes(), fragment(track_fragment(1, 500, [100, 100]))
    clock.begin(header({1: 1000}))
    assert clock.feed(data) == data


def test_a_run_begins_where_the_longest_track_of_the_one_before_ended() -> None:
    clock = FragmentTimes()
    clock.begin(header({1: 1000, 2: 48_000}, {2: 1024}))
    clock.feed(fragment(track_fragment(1, 0, [1000, 500]), track_fragment(2, 0, 30)))
    clock.begin(header({1: 1000, 2: 48_000}))
    moved = clock.feed(fragment(track_fragment(1, 0, [40]), track_fragment(2, 480, 2, default=1024)))
    assert times(moved) == [1500, 72_480]
    moved = clock.feed(fragment(track_fragment(1, 40, [40]), track_fragment(2, 2528, 2, default=1024)))
    assert times(moved) == [1540, 74_528]


def test_fragments_are_numbered_through() -> None:
    clock = FragmentTimes()
    numbers = []
    for run in range(2):
        clock.begin(header({1: 1000}))
        numbers += [sequence(clock.feed(fragment(track_fragment(1, 0, [40]), sequence=run + 1))) for _ in range(3)]
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_a_time_that_has_no_room_for_more_stays_as_it_is() -> None:
    clock = FragmentTimes()
    clock.begin(header({1: 1}))
    clock.feed(fragment(track_fragment(1, 1 << 33, [1])))
    clock.begin(header({1: 1}))
    assert times(clock.feed(fragment(track_fragment(1, 5, [1], version=0))), 4) == [5]


@given(st.lists(st.lists(st.integers(1, 5000), min_size=1, max_size=5), min_size=1, max_size=6), st.integers(1, 90_000))
def test_nothing_overlaps_and_nothing_is_missing(runs: list[list[int]], unit: int) -> None:
    clock, seen = FragmentTimes(), []
    for run in runs:
        clock.begin(header({1: unit}))
        at = 0
        for duration in run:
            seen.append((times(clock.feed(fragment(track_fragment(1, at, [duration]))))[0], duration))
            at += duration
    assert all(earlier + duration == later for (earlier, duration), (later, _) in pairwise(seen))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_whatever_comes_keeps_its_size(head: bytes, junk: bytes) -> None:
    clock = FragmentTimes()
    clock.begin(head)
    for data in (junk, box(b"moof", junk), box(b"moof", box(b"traf", box(b"tfdt", junk) + box(b"trun", junk)))):
        assert len(clock.feed(data)) == len(data)
        clock.begin(head)
