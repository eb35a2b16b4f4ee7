"""Packets are found in whatever comes over a wire, however it is cut into pieces."""

import contextlib
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamproxy.formats.mpegts import PACKET_SIZE, NotTransportStreamError, Packetizer, describe
from tests.helpers.stream import Run, packets, runs

WINDOW = 4 * 204 + 1
"""Bytes that must have come before a position is judged: five sync bytes at the widest stride."""

WEB_PAGE = b"<!DOCTYPE html><html><title>403 Forbidden</title>" + b"<p>Your account is GONE. Go away.</p>\n" * 200


class Reading(NamedTuple):
    """What came of a stream."""

    output: bytes
    skipped: int
    resyncs: int


def read(pieces: Iterable[bytes]) -> Reading:
    packetizer = Packetizer()
    output = b"".join([packetizer.feed(piece) for piece in pieces])
    return Reading(output, packetizer.skipped, packetizer.resyncs)


def read_by_the_letter(data: bytes) -> Reading:
    """Do what a packetizer does, byte by byte, with everything at hand and no regard for speed."""
    output, position, stride, skipped, resyncs = b"", 0, 0, 0, 0
    while position + (PACKET_SIZE if stride else WINDOW) <= len(data):
        if not stride:
            fitting = [
                step for step in (188, 192, 204) if set(data[position : position + 4 * step + 1 : step]) == {0x47}
            ]
            stride = fitting[0] if fitting else 0
            skipped += not stride
            position += not stride
        elif data[position] == 0x47:
            output += data[position : position + PACKET_SIZE]
            position += stride
        else:
            stride = 0
            resyncs += 1
    return Reading(output, skipped, resyncs)


def framed(stream: bytes, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """Put something before and after each packet: M2TS puts a time stamp before it, DVB parity bytes after it."""
    starts = range(0, len(stream), PACKET_SIZE)
    return b"".join(before + stream[start : start + PACKET_SIZE] + after for start in starts)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut at places counted from the start, and on from the start again where one is beyond the end."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def noise(size: int, seed: int, *, of: bytes) -> bytes:
    return bytes(random.Random(seed).choices(of, k=size))


ANY_BYTE = bytes(range(256))
ANY_BYTE_BUT_SYNC = ANY_BYTE.replace(b"\x47", b"")

alphabets = st.sampled_from([ANY_BYTE, b"\x47\x00", b"\x47\x47\x47\x00", b"\x47"])
bodies = st.builds(noise, st.just(PACKET_SIZE - 1), st.integers(0, 1 << 16), of=alphabets)
whole_packets = st.lists(bodies, max_size=11).map(lambda found: b"".join(b"\x47" + body for body in found))
extras = st.sampled_from([b"", bytes(4), b"\x47" * 4, bytes(16), b"\x47" * 16, bytes(7)])
junk = st.builds(noise, st.integers(0, 1200), st.integers(0, 1 << 16), of=alphabets)
junk_without_sync = st.builds(noise, st.integers(1, 1200), st.integers(0, 1 << 16), of=st.just(ANY_BYTE_BUT_SYNC))
sections = st.one_of(
    whole_packets,
    st.builds(framed, whole_packets, before=extras),
    st.builds(framed, whole_packets, after=extras),
    st.builds(lambda stream, size: stream[: -size or None], whole_packets, st.integers(0, 400)),
    junk,
)
streams = st.lists(sections, max_size=5).map(b"".join)
cuts = st.lists(st.integers(0, 20_000), max_size=12)


def two_streams_in_one(first: int, wide: int, second: int, narrow: int) -> bytes:
    """Make something in which two rows of five sync bytes begin, of different strides."""
    places = {first + wide * number for number in range(5)} | {second + narrow * number for number in range(5)}
    return bytes(0x47 if place in places else 0 for place in range(2000))


@given(streams, cuts)
@example(two_streams_in_one(190, 192, 200, 188), [955])
@settings(deadline=None, max_examples=200)
def test_it_does_not_matter_how_a_stream_is_cut(stream: bytes, places: list[int]) -> None:
    assert read(cut(stream, places)) == read([stream]) == read_by_the_letter(stream)


@given(streams)
@settings(deadline=None, max_examples=20)
def test_a_stream_may_come_byte_by_byte(stream: bytes) -> None:
    assert read(stream[at : at + 1] for at in range(len(stream))) == read_by_the_letter(stream)


@given(streams, cuts)
@settings(deadline=None)
def test_only_whole_packets_ever_come_out(stream: bytes, places: list[int]) -> None:
    packetizer = Packetizer()

    for output in map(packetizer.feed, cut(stream, places)):
        assert len(output) % PACKET_SIZE == 0
        assert set(output[::PACKET_SIZE]) <= {0x47}


@given(streams, cuts)
@settings(deadline=None, max_examples=50)
def test_no_packet_is_held_back_once_it_can_be_told_as_one(stream: bytes, places: list[int]) -> None:
    packetizer = Packetizer()
    fed = passed = 0

    for piece in cut(stream, places):
        fed += len(piece)
        passed += len(packetizer.feed(piece))
        assert passed == len(read_by_the_letter(stream[:fed]).output)


@given(st.integers(5, 40), cuts)
@settings(deadline=None)
def test_a_clean_stream_is_not_changed(count: int, places: list[int]) -> None:
    stream = packets(0, count)

    assert read(cut(stream, places)) == (stream, 0, 0)


@given(st.sampled_from([0, 5, 6, 11]), junk_without_sync, st.integers(5, 12), cuts)
@example(5, b"x", 5, [])
@settings(deadline=None)
def test_nothing_is_lost_behind_junk(before: int, between: bytes, after: int, places: list[int]) -> None:
    first, second = packets(0, before), packets(before, after)

    reading = read(cut(first + between + second, places))

    assert reading == (first + second, len(between), 1 if before else 0)


@pytest.mark.parametrize("stride", [188, 192, 204])
@pytest.mark.parametrize("size", [1, 100, 188, 1_000, 4_096])
def test_what_is_read_into_may_be_overwritten_at_once(size: int, stride: int) -> None:
    clean = packets(0, 60)
    stream = b"junk" + b"".join(
        clean[at : at + PACKET_SIZE] + bytes(stride - PACKET_SIZE) for at in range(0, len(clean), PACKET_SIZE)
    )
    packetizer = Packetizer()
    buffer = bytearray(size)
    output = []

    for at in range(0, len(stream), size):
        piece = stream[at : at + size]
        buffer[: len(piece)] = piece
        output.append(packetizer.feed(memoryview(buffer)[: len(piece)]))
        buffer[:] = bytes(size)

    assert b"".join(output) == clean


def test_aligned_pieces_pass_as_the_very_same_objects() -> None:
    packetizer = Packetizer()
    packetizer.feed(packets(0, 5))
    piece = packets(5, 7)

    assert packetizer.feed(piece) is piece


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(packets(0, 20), id="plain, 188"),
        pytest.param(framed(packets(0, 20), before=b"time"), id="with time stamps, 192"),
        pytest.param(framed(packets(0, 20), after=b"GGGGGGGGGGGGGGGG"), id="with parity bytes, 204"),
        pytest.param(packets(99, 1)[50:] + packets(0, 20), id="from the middle of a packet on"),
        pytest.param(b"\r\n" + packets(0, 20), id="behind a line end"),
        pytest.param(b"GGGGG" + packets(0, 20), id="behind sync bytes that are none"),
        pytest.param(bytes(100_000) + packets(0, 20), id="behind 100 kB of nothing"),
    ],
)
@pytest.mark.parametrize("size", [1, 100, 188, 1316, 1 << 20])
def test_all_packets_of_a_stream_are_found(stream: bytes, size: int) -> None:
    packetizer = Packetizer()

    output = b"".join([packetizer.feed(stream[at : at + size]) for at in range(0, len(stream), size)])

    assert output == packets(0, 20)
    assert packetizer.resyncs == 0


@pytest.mark.parametrize(("stride", "extra"), [(192, b"time"), (204, b"0123456789abcdef")])
def test_what_stands_between_packets_does_not_count_as_skipped(stride: int, extra: bytes) -> None:
    stream = framed(packets(0, 20), after=extra)
    assert len(stream) == 20 * stride

    reading = read([stream])

    assert reading == (packets(0, 20), 0, 0)


def test_a_packet_is_passed_on_before_the_parity_bytes_behind_it_come() -> None:
    stream = framed(packets(0, 10), after=bytes(16))
    packetizer = Packetizer()

    assert packetizer.feed(stream[:-16]) == packets(0, 10)
    assert packetizer.feed(bytes(9)) == b""
    assert packetizer.feed(bytes(7) + packets(10, 1)) == packets(10, 1)


def test_sync_bytes_in_the_payload_do_not_mislead() -> None:
    stream = b"".join(b"\x47" + noise(187, seed, of=b"\x47\x00") for seed in range(50))

    assert read([b"\x00" + stream]).output == stream


def test_lost_bytes_cost_the_packets_around_the_gap_and_no_others() -> None:
    stream = packets(0, 40)
    lossy = stream[: 20 * PACKET_SIZE + 100] + stream[20 * PACKET_SIZE + 150 :]

    reading = read([lossy])

    assert runs(reading.output[: 20 * PACKET_SIZE]) == [Run(0, 19)]
    assert runs(reading.output[21 * PACKET_SIZE :]) == [Run(22, 39)]
    assert (reading.skipped, reading.resyncs) == (PACKET_SIZE - 50, 1)


def test_junk_in_the_middle_is_cut_out_and_counted() -> None:
    stream = packets(0, 10) + b"<html>504 Gateway Time-out</html>" + packets(10, 10)

    assert read([stream]) == (packets(0, 20), 33, 1)


def test_a_change_of_packet_size_costs_one_packet_at_most() -> None:
    wider = packets(0, 10) + framed(packets(10, 10), before=b"time")
    narrower = framed(packets(0, 10), before=b"time") + packets(10, 10)

    assert runs(read([wider]).output) == [Run(0, 19)]
    assert runs(read([narrower]).output) == [Run(0, 9), Run(11, 19)]


def test_it_is_locked_only_while_packets_come() -> None:
    packetizer = Packetizer()
    assert not packetizer.locked

    packetizer.feed(packets(0, 5))
    assert packetizer.locked

    packetizer.feed(bytes(PACKET_SIZE))
    assert not packetizer.locked

    packetizer.feed(packets(5, 5))
    assert packetizer.locked


def test_four_packets_are_not_enough_to_be_sure() -> None:
    assert read([packets(0, 4)]) == (b"", 0, 0)


def test_nothing_comes_of_nothing() -> None:
    assert read([b"", b""]) == (b"", 0, 0)


def test_a_web_page_is_no_stream() -> None:
    packetizer = Packetizer()

    assert packetizer.feed(WEB_PAGE) == b""
    assert not packetizer.locked


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_the_search_ends_at_its_limit(size: int) -> None:
    vain = bytes(2000 + WINDOW - 1)
    packetizer = Packetizer(search_limit=2000)
    for at in range(0, len(vain), size):
        packetizer.feed(vain[at : at + size])

    with pytest.raises(NotTransportStreamError):
        packetizer.feed(b"\x00")


def test_by_default_the_search_ends_after_256_kib() -> None:
    packetizer = Packetizer()
    packetizer.feed(bytes((1 << 18) + WINDOW - 1))

    with pytest.raises(NotTransportStreamError):
        packetizer.feed(b"\x00")


def test_each_loss_of_sync_has_the_whole_limit_to_search() -> None:
    packetizer = Packetizer(search_limit=2000)

    for start in range(0, 50, 10):
        assert packetizer.feed(bytes(2500)) == b""
        assert packetizer.feed(packets(start, 10)) == packets(start, 10)

    assert packetizer.resyncs == 4
    assert packetizer.skipped == 5 * 2500


def test_a_stream_that_turns_into_something_else_is_given_up() -> None:
    packetizer = Packetizer(search_limit=2000)
    packetizer.feed(packets(0, 10))

    with pytest.raises(NotTransportStreamError):
        packetizer.feed(WEB_PAGE)


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_the_head_of_what_is_no_stream_is_kept(size: int) -> None:
    packetizer = Packetizer(search_limit=2000)

    with contextlib.suppress(NotTransportStreamError):
        for at in range(0, len(WEB_PAGE), size):
            packetizer.feed(WEB_PAGE[at : at + size])

    assert describe(packetizer.head) == "a web page or XML"


def test_of_what_is_no_stream_no_more_is_kept_than_its_head() -> None:
    packetizer = Packetizer()

    packetizer.feed(WEB_PAGE)

    assert WEB_PAGE.startswith(packetizer.head)
    assert 16 <= len(packetizer.head) <= 1024


@pytest.mark.parametrize(
    ("head", "description"),
    [
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", "a playlist"),
        (b"\xef\xbb\xbf\r\n#EXTM3U\n", "a playlist"),
        (WEB_PAGE, "a web page or XML"),
        (b"\n<?xml version='1.0'?><MPD/>", "a web page or XML"),
        (b'{"error": "expired"}', "JSON"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x1aE\xdf\xa3\x01", "Matroska or WebM"),
        (b"FLV\x01\x05", "FLV"),
        (b"ID3\x04\x00", "an audio file"),
        (b"\x00\x00\x00\x18ftypisom", "an MP4 file"),
        (b"Not found", "something else"),
        (b"", "something else"),
    ],
)
def test_what_came_instead_of_a_stream_has_a_name(head: bytes, description: str) -> None:
    assert describe(head) == description
