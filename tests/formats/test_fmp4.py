"""Fragmented MP4 is cut between fragments, wherever the network cut it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.fmp4 import Fragments, NotFragmentsError, is_mp4


def box(kind: bytes, payload: bytes = b"", *, long: bool = False) -> bytes:
    if long:
        return b"\0\0\0\1" + kind + (16 + len(payload)).to_bytes(8, "big") + payload
    return (8 + len(payload)).to_bytes(4, "big") + kind + payload


INIT = box(b"ftyp", b"iso6") + box(b"moov", b"x" * 50)
FIRST = box(b"styp", b"msdh") + box(b"sidx", b"i" * 20) + box(b"moof", b"m" * 30) + box(b"mdat", b"1" * 100)
SECOND = box(b"moof", b"m" * 30) + box(b"mdat", b"2" * 70, long=True)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(st.lists(st.integers(0, 60), max_size=12))
def test_fragments_come_whole_however_the_network_cuts_them(sizes: list[int]) -> None:
    fragments = Fragments()
    found = [fragments.feed(piece) for piece in cut(FIRST + SECOND, sizes)]
    assert b"".join(found) == FIRST + SECOND
    assert all(piece in (b"", FIRST, SECOND, FIRST + SECOND) for piece in found)
    assert fragments.finish() == b""


def test_what_has_no_media_comes_at_the_end() -> None:
    fragments = Fragments()
    assert fragments.feed(INIT) == b""
    assert fragments.finish() == INIT


def test_a_fragment_that_is_cut_short_is_dropped() -> None:
    fragments = Fragments()
    assert fragments.feed(FIRST + SECOND[:-1]) == FIRST
    assert fragments.finish() == SECOND[: -len(box(b"mdat", b"2" * 70, long=True))]


def test_media_that_goes_on_to_the_end_of_the_file_ends_there() -> None:
    fragments = Fragments()
    endless = box(b"moof") + b"\0\0\0\0mdat" + b"3" * 1000
    assert fragments.feed(endless) == b""
    assert fragments.finish() == endless


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html>",
        b"#EXTM3U\n#EXT-X-VERSION:3\n",
        b"\0\0\0\7moof",
        b"\0\0\0\1mdat" + (15).to_bytes(8, "big"),
        bytes(100),
        b"\0\0\4\1mdat",
        b"\0\0\0\1mdat" + (1 << 62).to_bytes(8, "big"),
    ],
)
def test_what_is_no_mp4_or_too_large_is_refused(data: bytes) -> None:
    with pytest.raises(NotFragmentsError):
        Fragments(limit=1024).feed(data)


def test_a_fragment_of_many_boxes_is_bounded_too() -> None:
    fragments = Fragments(limit=1080)
    assert fragments.feed(box(b"emsg", bytes(100)) * 10) == b""
    with pytest.raises(NotFragmentsError, match="more than"):
        fragments.feed(b"\0")


@pytest.mark.parametrize(
    ("head", "expected"),
    [(INIT, True), (FIRST, True), (SECOND, True), (b"G" + bytes(187), False), (b"<html><body>", False), (b"", False)],
)
def test_an_mp4_is_known_by_its_first_box(head: bytes, expected: bool) -> None:
    assert is_mp4(head) is expected
