"""How little of the first source is read, and that it makes no difference."""

import random
from collections.abc import Iterator
from functools import cache

import pytest

from streamproxy.formats.mpegts import PACKET_SIZE, Entry, Indexer
from streamproxy.formats.mpegts.psi import ElementaryStream
from streamproxy.formats.splice import Splicer
from streamproxy.formats.splice.chunks import Recent
from streamproxy.formats.splice.passage import Passage
from tests.formats.splice.playing import Channel, chunks, faults, of_pid, starts
from tests.formats.splice.synthetic import FRAME, STREAMS, VIDEO, Maker, pes

SIZE = 348 * PACKET_SIZE
SUBTITLES = 0x120
WITH_SUBTITLES = (*STREAMS, ElementaryStream(SUBTITLES, 0x06, b"\x59\x08eng\x10\0\1\0\1"))
MARK = 0x40
"""random_access_indicator (ISO/IEC 13818-1, 2.4.3.5)."""
LARGEST = 110_000
"""Bytes of a picture to start at, with its sound, in packets."""
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


# What is read, chunk by chunk, once it is known where entry points have marks.

SHORT = 24 * PACKET_SIZE
"""Bytes of a chunk here."""
LEARNING = 32
"""Chunks of which each is read."""
NULL = b"\x47\x1f\xff\x10" + bytes(PACKET_SIZE - 4)


class Stage:
    """A passage that has learnt from its first chunks, and knows the marks.

    Attributes:
        passage: What is tested.
        maker: Makes what goes on.
        count: Chunks that were fed.
        read: Numbers of the chunks that were read since it has learnt, in the order in which they were.
        entries: Entry points that were told since then.
    """

    def __init__(self, *, remembered: int = 64, mark: int = MARK) -> None:
        recent = Recent(most_bytes=1 << 20, most_chunks=remembered)
        self.indexer = Indexer()
        self.passage = Passage(self.indexer, recent)
        self.maker = Maker()
        self.count = 0
        self.read: list[int] = []
        self.entries: list[Entry] = []
        for number in range(LEARNING):
            self.feed(self.maker.tables(), self.picture(key=number % 4 == 0, flags=mark if number % 4 == 0 else 0))
            assert self.read == [number]
            self.read = []
        self.entries = []

    def picture(self, *, key: bool = False, flags: int = 0) -> bytes:
        """Make a picture with its sound."""
        time = self.count * FRAME
        return self.maker.picture(time, key=key, size=300, flags=flags) + self.maker.sound(time)

    def marked(self) -> bytes:
        """Make a picture that is marked, with its sound."""
        return self.picture(key=True, flags=MARK)

    def feed(self, *parts: bytes) -> None:
        """Feed a chunk, filled up with null packets."""
        chunk = b"".join(parts)
        chunk += NULL * ((SHORT - len(chunk)) // PACKET_SIZE)
        assert len(chunk) == SHORT
        self.count += 1
        for piece in self.passage.feed(chunk):
            self.entries += piece.entries
        self.read += [found.start // SHORT for found in self.passage.found]

    def feed_plain(self, count: int) -> None:
        """Feed chunks in which nothing stands but pictures and sound."""
        for _ in range(count):
            self.feed(self.picture())

    def end(self) -> None:
        """End, and take note of all entry points."""
        for chunk in self.passage.end():
            self.entries += chunk.entries

    @property
    def newest(self) -> int:
        """The number of the newest chunk."""
        return self.count - 1


def test_of_chunks_without_marks_some_are_read_now_and_then() -> None:
    stage = Stage()

    stage.feed_plain(27)
    assert stage.read == []
    stage.feed_plain(1)
    assert stage.read == [LEARNING + number for number in (24, 25, 26, 27)]
    stage.feed_plain(28)
    assert stage.read[4:] == [LEARNING + 28 + number for number in (24, 25, 26, 27)]


@pytest.mark.parametrize("before", [True, False])
def test_a_chunk_with_its_tables_before_its_mark_is_read_alone(before: bool) -> None:
    stage = Stage()
    stage.feed_plain(5)
    tables = stage.maker.tables()

    stage.feed(stage.picture() if before else b"", tables, stage.marked())

    assert stage.read == [stage.newest]


@pytest.mark.parametrize(("pat", "pmt"), [(0, 1), (1, 0), (1, 1), (2, 2), (0, 3), (3, 1), (2, 5), (7, 7), (7, 0)])
def test_what_is_read_reaches_back_to_both_tables(pat: int, pmt: int) -> None:
    stage = Stage()
    stage.feed_plain(9)
    for back in range(max(pat, pmt), 0, -1):
        tables = stage.maker.tables()
        # At the end of their chunks, further on than the mark in its own.
        stage.feed(
            stage.picture(),
            NULL * 10,
            tables[:PACKET_SIZE] if back == pat else b"",
            tables[PACKET_SIZE:] if back == pmt else b"",
        )
    tables = stage.maker.tables()
    own = (tables[:PACKET_SIZE] if pat == 0 else b"", tables[PACKET_SIZE:] if pmt == 0 else b"")

    stage.feed(*own, stage.marked())

    assert stage.read == list(range(stage.newest - max(pat, pmt), stage.newest + 1))


def test_tables_that_are_far_are_not_searched_for() -> None:
    stage = Stage()
    stage.feed(stage.maker.tables())
    stage.feed_plain(8)

    stage.feed(stage.marked())

    assert stage.read == list(range(stage.newest - 7, stage.newest + 1))


def test_tables_behind_the_mark_are_not_its_own() -> None:
    stage = Stage()
    stage.feed_plain(3)
    own = stage.maker.tables()
    stage.feed(stage.picture(), own)
    stage.feed_plain(1)
    marked = stage.marked()

    stage.feed(marked, stage.maker.tables())

    assert stage.read == [stage.newest - 2, stage.newest - 1, stage.newest]
    stage.end()
    assert stage.entries == [Entry(stage.newest * SHORT, own)]


def test_an_entry_point_at_the_very_beginning_of_a_chunk_is_found() -> None:
    stage = Stage()
    stage.feed_plain(1)

    stage.feed(stage.marked())

    stage.end()
    assert [entry.position for entry in stage.entries] == [stage.newest * SHORT]


def test_nothing_is_read_again_to_find_tables() -> None:
    stage = Stage()
    stage.feed(stage.maker.tables(), stage.marked())
    stage.feed_plain(2)

    stage.feed(stage.marked())

    assert stage.read == [LEARNING, LEARNING + 1, LEARNING + 2, LEARNING + 3]


def test_what_is_open_at_the_end_of_a_chunk_is_still_so_in_the_next_that_is_read() -> None:
    stage = Stage()
    sound = pes(0xC0, 0, bytes(184 * 6))
    sound = sound[:4] + (len(sound) - 6).to_bytes(2, "big") + sound[6:]
    packets = chunks(stage.maker.packets(0x101, sound), PACKET_SIZE)
    stage.feed(stage.maker.tables(), stage.marked(), *packets[:3])
    start = stage.newest * SHORT + (stage.passage.complete - stage.newest * SHORT)
    tables = stage.maker.tables()
    picture = stage.maker.picture(0, key=True, size=300, flags=MARK)

    stage.feed(tables, picture, packets[3])

    assert stage.read == [stage.newest - 1, stage.newest]
    assert stage.passage.complete < stage.newest * SHORT
    assert stage.passage.complete >= start


def test_behind_one_of_four_marks_more_is_read() -> None:
    stage = Stage()
    for _ in range(8):
        stage.feed(stage.maker.tables(), stage.marked())
        stage.feed_plain(6)

    offsets = [number - LEARNING for number in stage.read]
    fourth = [21, *range(22, 26)]
    assert offsets == [0, 7, 14, *fourth, 28, 35, 42, *(28 + number for number in fourth)]


def test_entry_points_are_the_same_wherever_their_tables_are() -> None:
    chance = random.Random(3)
    stage = Stage()
    expected = []
    newest = stage.indexer.tables
    for _ in range(60):
        stage.feed_plain(chance.randrange(4))
        tables = stage.maker.tables()
        match chance.randrange(4):
            case 0:
                expected.append(Entry((stage.count * SHORT) + len(tables), tables))
                stage.feed(tables, stage.marked())
            case 1:
                stage.feed(stage.picture(), tables)
                stage.feed_plain(chance.randrange(6))
                expected.append(Entry(stage.count * SHORT, tables))
                stage.feed(stage.marked())
            case 2:
                stage.feed(tables)
                expected.append(Entry(stage.count * SHORT, tables))
                picture = stage.marked()
                stage.feed(picture, stage.maker.tables())
            case _:
                stage.feed(tables)
                stage.feed_plain(1)
    stage.end()

    assert newest
    assert stage.entries == expected


def test_where_nothing_is_marked_chunks_are_read_in_batches() -> None:
    stage = Stage(mark=0)

    stage.feed_plain(7)
    assert stage.read == []
    stage.feed_plain(1)
    assert stage.read == list(range(LEARNING, LEARNING + 8))


def test_what_was_only_noted_is_read_once_at_the_end() -> None:
    stage = Stage(mark=0, remembered=1)
    while stage.indexer.unread < len(list(stage.passage.newest())):
        stage.feed_plain(1)
    unread = range(stage.count - stage.indexer.unread, stage.count)
    assert stage.read == []

    stage.passage.end()

    assert [found.start // SHORT for found in stage.passage.found] == list(unread)
    assert stage.indexer.position == stage.count * SHORT


@pytest.mark.parametrize("mark", [MARK, 0])
@pytest.mark.parametrize("seed", range(4))
def test_what_passes_is_complete_wherever_chunks_end_and_no_more_is_held_than_that_takes(seed: int, mark: int) -> None:
    chance, data = random.Random(seed), long(mark=mark)
    size = chance.choice((SIZE // 2, SIZE, 2 * SIZE))
    indexer, splicer = Indexer(), Splicer()
    fed = passed = count = 0
    while fed < len(data):
        chunk = data[fed : fed + chance.randrange(size // 2, size * 3 // 2) // PACKET_SIZE * PACKET_SIZE]
        fed += len(chunk)
        passed += sum(len(piece.data) for piece in splicer.feed(chunk))
        complete = indexer.feed(chunk).complete
        count += 1
        if count > LEARNT:
            assert passed <= complete
            # The largest picture, and the chunk that it ends in.
            assert fed - passed < LARGEST * 9 // 8 + size * 3 // 2
