"""Byte ranges, against a file that is simply a list of positions."""

from email.parser import BytesParser
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamproxy.formats.byterange import (
    ByteRange,
    ContentRange,
    Multipart,
    RangeNotSatisfiable,
    Span,
    parse_content_range,
    parse_ranges,
    resolve,
)

POSITIONS = st.integers(0, 20)
RANGES = st.one_of(
    st.builds(ByteRange, POSITIONS, st.none()),
    st.builds(lambda first, more: ByteRange(first, first + more), POSITIONS, POSITIONS),
    st.builds(ByteRange, st.none(), POSITIONS),
)


def positions(one: ByteRange, size: int) -> set[int]:
    """Say what a range is, in the words of RFC 9110, 14.1.2."""
    if one.first is None:
        assert one.last is not None
        return set(list(range(size))[-one.last :] if one.last else [])
    return {place for place in range(size) if place >= one.first and (one.last is None or place <= one.last)}


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("bytes=0-0", [(0, 0)]),
        ("bytes=0-", [(0, None)]),
        ("bytes=9500-", [(9500, None)]),
        ("bytes=-500", [(None, 500)]),
        ("bytes=-0", [(None, 0)]),
        ("BYTES=1-2", [(1, 2)]),
        ("bytes=0-0,-1", [(0, 0), (None, 1)]),
        ("bytes=500-600, 601-999", [(500, 600), (601, 999)]),
        ("bytes= 0-1 ,\t4-5", [(0, 1), (4, 5)]),
        ("bytes=,0-1,,4-5,", [(0, 1), (4, 5)]),
        ("bytes=007-08", [(7, 8)]),
        ("bytes=0-99999999999999999999999999", [(0, 10**18)]),
    ],
)
def test_ranges_are_read(value: str, ranges: list[tuple[int | None, int | None]]) -> None:
    assert parse_ranges(value) == ranges


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=abc",
        "bytes=5-4",
        "bytes=1-2-3",
        "bytes=--5",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1 -2",
        "bytes=1- 2",
        "bytes =0-1",
        " bytes=0-1",
        "bytes:0-1",
        "bytes=0-1;2-3",
        "bytes=0-1,x",
        "bytes=0-1,9-8",
        "bytes=0-1\n",
        "bytes=0-1, bytes=2-3",
        "items=0-5",
        "bytes=٠-٩",
        "bytes=１-２",
        "bytes=¹-²",
        "bytes=0-1_0",
    ],
)
def test_what_is_no_range_of_bytes_is_ignored(value: str) -> None:
    assert parse_ranges(value) == []


def test_a_number_of_thousands_of_digits_is_just_beyond_the_file() -> None:
    (one,) = parse_ranges(f"bytes={'9' * 8000}-")

    assert one.resolve(10**12) is None
    assert parse_ranges(f"bytes=5-{'9' * 8000}")[0].resolve(10) == Span(5, 9)


@given(st.text())
def test_no_text_makes_reading_fail(text: str) -> None:
    for value in (text, f"bytes={text}", f"bytes 0-{text}/9"):
        parse_ranges(value)
        parse_content_range(value)


@given(st.lists(RANGES, min_size=1))
def test_ranges_survive_being_written_and_read(ranges: list[ByteRange]) -> None:
    assert parse_ranges("bytes=" + ",".join(str(one).removeprefix("bytes=") for one in ranges)) == ranges


@given(RANGES, st.integers(0, 16))
def test_one_range_is_what_the_standard_says_it_is(one: ByteRange, size: int) -> None:
    span = one.resolve(size)

    assert set(range(span.first, span.last + 1) if span else ()) == positions(one, size)
    assert span is None or 0 < span.size <= size


@given(st.lists(RANGES, max_size=12), st.integers(0, 16))
@example([ByteRange(5, 6), ByteRange(3, 4)], 10)
@example([ByteRange(3, 4), ByteRange(5, 6)], 10)
@example([ByteRange(0, 1), ByteRange(8, 9), ByteRange(1, 8)], 10)
def test_several_ranges_become_what_was_asked_for_and_nothing_twice(ranges: list[ByteRange], size: int) -> None:
    spans = resolve(ranges, size)

    wanted = set[int]().union(*(positions(one, size) for one in ranges))
    assert sorted(place for span in spans for place in range(span.first, span.last + 1)) == sorted(wanted)
    ordered = sorted(spans)
    assert all(after.first > before.last + 1 for before, after in pairwise(ordered))


@given(st.lists(RANGES, max_size=12), st.integers(0, 16))
def test_several_ranges_keep_the_order_in_which_they_were_first_asked_for(ranges: list[ByteRange], size: int) -> None:
    spans = resolve(ranges, size)

    asked = [places for one in ranges if (places := positions(one, size))]
    first_asked = [min(i for i, places in enumerate(asked) if places & set(range(*_ends(span)))) for span in spans]
    assert first_asked == sorted(first_asked)


def _ends(span: Span) -> tuple[int, int]:
    return span.first, span.last + 1


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("bytes 0-99/1000", ContentRange(Span(0, 99), 1000)),
        ("bytes 0-99/*", ContentRange(Span(0, 99), None)),
        ("bytes */1000", ContentRange(None, 1000)),
        ("Bytes 999-999/1000", ContentRange(Span(999, 999), 1000)),
        ("bytes=0-99/1000", ContentRange(Span(0, 99), 1000)),
        ("bytes */*", None),
        ("bytes 0-1000/1000", None),
        ("bytes 9-8/1000", None),
        ("bytes -8/1000", None),
        ("bytes 0-99", None),
        ("bytes 0-99/1000 ", ContentRange(Span(0, 99), 1000)),
        ("bytes ٠-٩/1000", None),
        ("items 0-99/1000", None),
        ("", None),
    ],
)
def test_what_a_part_is_of_its_file_is_read_if_it_makes_sense(value: str, meaning: ContentRange | None) -> None:
    assert parse_content_range(value) == meaning


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.one_of(st.none(), st.integers(1, 10**12)))
def test_what_a_part_is_of_its_file_survives_being_written_and_read(first: int, more: int, rest: int | None) -> None:
    span = Span(first, first + more)
    size = None if rest is None else span.last + rest

    assert parse_content_range(span.content_range(size)) == ContentRange(span, size)


def test_nothing_of_a_file_is_said_with_its_size_if_that_is_known() -> None:
    assert RangeNotSatisfiable(47022).content_range == "bytes */47022"
    assert RangeNotSatisfiable(None).content_range == "bytes */*"


@given(st.binary(min_size=1, max_size=60), st.lists(RANGES, min_size=1, max_size=8))
def test_several_parts_are_put_such_that_any_reader_of_mime_finds_them(data: bytes, ranges: list[ByteRange]) -> None:
    spans = resolve(ranges, len(data))
    frame = Multipart(spans, len(data), "video/mp4", "b" * 32)

    body = b"".join(head + data[span.first : span.last + 1] for head, span in frame.parts) + frame.end

    assert len(body) == frame.size
    mime = BytesParser().parsebytes(f"Content-Type: {frame.content_type}\r\n\r\n".encode() + body)
    found = [part for part in mime.walk() if part is not mime]
    assert [part["Content-Range"] for part in found] == [span.content_range(len(data)) for span in spans]
    assert {part["Content-Type"] for part in found} <= {"video/mp4"}


def test_the_bytes_of_several_parts_stand_between_their_boundaries() -> None:
    data = b"0123456789"
    frame = Multipart([Span(0, 1), Span(8, 9)], 10, "video/mp4", "limit")

    body = b"".join(head + data[span.first : span.last + 1] for head, span in frame.parts) + frame.end

    assert body == (
        b"\r\n--limit\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-1/10\r\n\r\n01"
        b"\r\n--limit\r\nContent-Type: video/mp4\r\nContent-Range: bytes 8-9/10\r\n\r\n89"
        b"\r\n--limit--\r\n"
    )
