"""Clusters of runs that follow each other: when each block is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.cluster_times import ClusterTimes
from tests.formats.samples import element

HEADER = b"whatever"


def block(at: int, *, group: bool = False) -> bytes:
    """Make a block that is so much later than its cluster."""
    body = b"\x81" + at.to_bytes(2, "big", signed=True) + b"\x80picture"
    return element(0xA0, element(0xA1, body)) if group else element(0xA3, body)


def cluster(at: int, *blocks: bytes, unknown: bool = False, checksum: bool = False) -> bytes:
    inside = element(0xE7, at.to_bytes(4, "big")) + b"".join(blocks)
    inside = element(0xBF, b"crc!") + inside if checksum else inside
    return element(0x1F43B675, unknown=True) + inside if unknown else element(0x1F43B675, inside)


def times(data: bytes) -> list[int]:
    """Find when the clusters in some data are."""
    found, at = [], 0
    while (at := data.find(b"\xe7\x88", at)) >= 0:
        found.append(int.from_bytes(data[at + 2 : at + 10], "big"))
        at += 10
    return found


def test_the_first_run_stays_as_it_is() -> None:
    clock, data = ClusterTimes(), cluster(500, block(0), block(40), checksum=True)
    clock.begin(HEADER)
    assert clock.feed(data) == data


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("group", [False, True])
def test_a_run_begins_a_step_behind_the_newest_block_of_the_one_before(*, unknown: bool, group: bool) -> None:
    clock = ClusterTimes()
    clock.begin(HEADER)
    clock.feed(cluster(0, block(0), block(100, group=group)) + cluster(200, block(0), block(100), block(-20)))
    clock.begin(HEADER)
    moved = clock.feed(cluster(7, block(0), block(50), unknown=unknown) + cluster(107, block(0), unknown=unknown))
    assert times(moved) == [400, 500]
    assert moved.count(b"picture") == 3
    again = ClusterTimes()
    again.begin(HEADER)
    assert again.feed(moved) == moved


def test_a_checksum_of_what_has_changed_is_left_out() -> None:
    clock = ClusterTimes()
    for _ in range(2):
        clock.begin(HEADER)
        data = clock.feed(cluster(0, block(0), checksum=True))
    assert b"crc!" not in data


@given(st.lists(st.lists(st.integers(0, 900), min_size=1, max_size=5), min_size=1, max_size=6))
def test_time_never_goes_back(runs: list[list[int]]) -> None:
    clock, seen = ClusterTimes(), []
    for run in runs:
        clock.begin(HEADER)
        at = 0
        for step in run:
            at += step + 1
            moved = clock.feed(cluster(at, block(0)))
            seen.append((times(moved) or [at])[0])
    assert all(earlier < later for earlier, later in pairwise(seen))


@given(st.binary(max_size=200))
def test_whatever_comes_is_survived(junk: bytes) -> None:
    clock = ClusterTimes()
    for data in (junk, element(0x1F43B675, junk), cluster(5, element(0xA3, junk), element(0xA0, junk))) * 2:
        clock.begin(HEADER)
        clock.feed(data)
