"""How little of the first source is read, and that it makes no difference."""

import random
from collections.abc import Iterator
from functools import cache

import pytest

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.mpegts.psi import ElementaryStream
from streamproxy.formats.splice import Splicer
from tests.formats.splice.playing import Channel, chunks, faults, of_pid, starts
from tests.formats.splice.synthetic import FRAME, STREAMS, VIDEO, Maker, pes

SIZE = 348 * PACKET_SIZE
SUBTITLES = 0x120
WITH_SUBTITLES = (*STREAMS, ElementaryStream(SUBTITLES, 0x06, b"\x59\x08eng\x10\0\1\0\1"))
MARK = 0x40
"""random_access_indicator (ISO/IEC 13818-1, 2.4.3.5)."""
LEARNT = 40
"""Chunks after which enough is known of a stream to leave others unread."""


def pictures(
    maker: Maker,
    first: int,
    last: int,
    *,
    every: int,
    size: int = 20_000,
    mark: int = MARK,
    streams: tuple[ElementaryStream, ...] = STREAMS,
) -> Iterator[bytes]:
    """Yield pictures, each with its sound; tables come every few of them, and not just before entry points."""
    for number in range(first, last):
        key = number % every == 3
        if number % 4 == 0:
            yield maker.tables(streams)
        yield maker.picture(number * FRAME, key=key, size=100_000 if key else size, flags=mark if key else 0)
        yield maker.sound(number * FRAME)


@cache
def long(every: int = 50, mark: int = MARK) -> bytes:
    """Return 9 MB."""
    return b"".join(pictures(Maker(), 0, 400, every=every, mark=mark))


def played(data: bytes, size: int, *, thorough: bool) -> Channel:
    channel = Channel(Splicer(thorough=thorough))
    channel.play(data, size)
    channel.switch(Maker().stream(7, 40))
    channel.finish()
    return channel


def share_read(data: bytes) -> float:
    """Return how much of the stream is read, once that is known."""
    splicer = Splicer()
    pieces = chunks(data, SIZE)
    for piece in pieces[:LEARNT]:
        splicer.feed(piece)
    read = 0
    for piece in pieces[LEARNT:]:
        splicer.feed(piece)
        read += len(splicer.found)
    return read / (len(pieces) - LEARNT)


def test_little_is_read_where_entry_points_are_marked() -> None:
    assert share_read(long()) < 0.4
    assert share_read(long(mark=0)) > 0.9


def test_entry_points_are_told_at_once_although_most_is_not_read() -> None:
    channel = Channel()
    data = long()
    marked = [at for at in starts(data, VIDEO) if data[at + 3] & 0x20 and data[at + 5] & MARK]

    for number, chunk in enumerate(chunks(data, SIZE)):
        channel.pieces += channel.splicer.feed(chunk)
        if number > LEARNT:
            passed = sum(len(piece.data) for piece in channel.pieces)
            assert [entry.position for entry in channel.entries] == [at for at in marked if at < passed]

    assert len(channel.entries) >= len(marked) - 1


def test_tables_of_an_entry_point_count_on_although_most_is_not_read() -> None:
    channel = Channel()
    channel.play(long(), SIZE)
    output = channel.output

    assert len(channel.entries) > 5
    for entry in channel.entries:
        assert entry.tables
        head = entry.tables + output[entry.position :]
        assert [fault for fault in faults(head) if "counter" in fault] == []


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_is_the_same_whether_all_was_read_or_not(seed: int) -> None:
    last = random.Random(seed).randrange(40 * 348, len(long()) // PACKET_SIZE)
    part = long()[: last * PACKET_SIZE]
    hurried, thorough = (played(part, SIZE, thorough=each) for each in (False, True))

    assert hurried.output == thorough.output
    assert faults(hurried.output) == []
    assert hurried.entries == thorough.entries
    positions = [entry.position for entry in hurried.entries]
    assert positions == sorted(set(positions))


def test_sound_that_began_in_what_was_passed_over_is_not_cut() -> None:
    maker = Maker()
    shown = list(pictures(maker, 0, 330, every=50))
    waiting: list[bytes] = []
    parts = []
    for number, part in enumerate(shown):
        if part[1] & 0x1F == 1 and part[2] == 1:
            if not waiting:
                frames = pes(0xC0, number * FRAME, bytes(184 * 12))
                frames = frames[:4] + (len(frames) - 6).to_bytes(2, "big") + frames[6:]
                waiting = chunks(Maker(maker.counters).packets(0x101, frames), PACKET_SIZE)
            parts.append(waiting.pop(0))
        else:
            parts.append(part)
    data = b"".join(parts)
    ends = [at // SIZE * SIZE + SIZE for at in starts(data, VIDEO) if data[at + 3] & 0x20 and data[at + 5] & MARK]

    for end in ends[1:]:
        hurried, thorough = (played(data[:end], SIZE, thorough=each) for each in (False, True))
        assert hurried.output == thorough.output


@pytest.mark.parametrize("size", [20_000, 90_000])
def test_no_more_is_held_back_than_if_all_was_read(size: int) -> None:
    data = b"".join(pictures(Maker(), 0, 8_000_000 // size, every=50, size=size))
    hurried, thorough = Splicer(), Splicer(thorough=True)
    held = [0, 0]

    for chunk in chunks(data, SIZE):
        for place, splicer in enumerate((hurried, thorough)):
            held[place] += len(chunk) - sum(len(piece.data) for piece in splicer.feed(chunk))
        assert held[0] <= held[1]


def test_what_nobody_has_read_does_not_pile_up() -> None:
    splicer = Splicer()
    most = 0
    for chunk in chunks(long(mark=0), SIZE):
        splicer.feed(chunk)
        most = max(most, splicer.indexer.unread)

    assert 4 <= most <= 8


def test_other_tables_are_noticed_where_no_entry_point_is_near() -> None:
    maker = Maker()
    before = b"".join(pictures(maker, 0, 200, every=50))
    after = b"".join(pictures(maker, 204, 330, every=1_000, streams=WITH_SUBTITLES))
    splicer = Splicer()
    for chunk in chunks(before + after, SIZE):
        splicer.feed(chunk)

    assert splicer.indexer.program is not None
    assert SUBTITLES in {stream.pid for stream in splicer.indexer.program.streams}


def test_a_stream_that_was_silent_for_long_may_go_on_with_any_count() -> None:
    maker = Maker()
    subtitle = b"\0\0\1\xbd\0\x20" + bytes(32)
    early = [maker.tables(WITH_SUBTITLES), *(maker.packets(SUBTITLES, subtitle) for _ in range(5))]
    data = b"".join((*early, *pictures(maker, 0, 300, every=50, streams=WITH_SUBTITLES)))
    channel = Channel()
    channel.play(data, SIZE)
    other = Maker()
    stream = other.stream(5, 20, streams=WITH_SUBTITLES) + other.packets(SUBTITLES, subtitle)
    channel.switch(stream + other.stream(5 + 20 * FRAME, 20, streams=WITH_SUBTITLES))
    channel.finish()

    assert faults(channel.output) == []
    announced = [packet for packet in of_pid(channel.output, SUBTITLES) if packet[3] & 0x20 and packet[5] & 0x80]
    assert len(announced) == 1
