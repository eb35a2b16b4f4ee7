"""What a stream is told to suffer from, and what it is not; on a clock that only the tests move."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.formats.clip import Clip
from streamproxy.formats.health import Ailment, Vitals, VitalTerms
from streamproxy.formats.mpegts import PACKET_SIZE, Entry, Indexed, Indexer
from streamproxy.formats.mpegts.psi import NULL_PID, PAT_PID, ElementaryStream, Program, write_pat, write_pmt
from streamproxy.formats.mpegts.sections import packetize
from streamproxy.formats.mpegts.timestamps import WRAP, write_timestamp
from streamproxy.sources.demo import demo_clip

PMT_PID, VIDEO_PID, AUDIO_PID = 0x100, 0x101, 0x102
VIDEO, AUDIO = ElementaryStream(VIDEO_PID, 0x1B), ElementaryStream(AUDIO_PID, 0x0F)
TV = Program(1, PMT_PID, VIDEO_PID, (VIDEO, AUDIO))
RADIO = Program(1, PMT_PID, AUDIO_PID, (AUDIO,))
SECOND = 90_000


def tables(program: Program = TV) -> bytes:
    pat = packetize(write_pat(1, {program.number: program.pmt_pid}, 0), PAT_PID, 0)
    return pat + packetize(write_pmt(program), PMT_PID, 0)


def packets(pid: int, count: int) -> bytes:
    """Make packets in which nothing begins."""
    return (bytes((0x47, pid >> 8, pid & 0xFF, 0x10)) + bytes(PACKET_SIZE - 4)) * count


def picture(content: bytes, time: int = 0, *, counter: int = 0, entry: bool = True) -> bytes:
    """Make a picture of seven packets that one can start at.

    Args:
        content: What is in it, over and over.
        time: Its PTS, and nearly its PCR.
        counter: The continuity counter of its first packet.
        entry: Whether it says that one can start at it.
    """
    pcr = (time % WRAP << 15).to_bytes(6, "big")
    header = bytearray(b"\0\0\1\xe0\0\0\x80\x80\x05\x21\0\0\0\0")
    write_timestamp(header, 9, time)
    data = bytes(header) + content * (1200 // len(content) + 1)
    adaptation = bytes((7, 0x50 if entry else 0x10)) + pcr
    first = bytes((0x47, 0x40 | VIDEO_PID >> 8, VIDEO_PID & 0xFF, 0x30 | counter & 0x0F)) + adaptation
    found = first + data[: PACKET_SIZE - len(first)]
    at = PACKET_SIZE - len(first)
    for number in range(1, 7):
        head = bytes((0x47, VIDEO_PID >> 8, VIDEO_PID & 0xFF, 0x10 | (counter + number) & 0x0F))
        found += head + data[at : at + PACKET_SIZE - 4]
        at += PACKET_SIZE - 4
    return found


def pictures(contents: Iterable[bytes]) -> list[bytes]:
    """Make pictures, two seconds apart, whose clocks and counters go on."""
    return [
        picture(content, 7000 + number * 2 * SECOND, counter=number * 7 + number % 3)
        for number, content in enumerate(contents)
    ]


@dataclass
class KnownStream:
    """An index of a stream whose pieces the test describes itself."""

    program: Program | None = TV
    position: int = 0


def found(decode_time: int | None = None) -> Indexed:
    return Indexed((), 0, decode_time)


class Watch:
    """Watches a real stream with a real index, piece by piece, each an equal time after the last."""

    def __init__(self, terms: VitalTerms, *, step: float = 2) -> None:
        self._indexer = Indexer()
        self.vitals = Vitals(terms, self._indexer)
        self._step = step
        self.now = 0.0

    def feed(self, piece: bytes) -> Ailment | None:
        ailment = self.vitals.feed(self.now, piece, self._indexer.feed(piece))
        self.now += self._step
        return ailment

    def feed_all(self, pieces: Sequence[bytes]) -> list[Ailment | None]:
        return [self.feed(piece) for piece in pieces]


def test_what_is_not_asked_for_is_no_ailment() -> None:
    watch = Watch(VitalTerms(), step=30)

    assert set(watch.feed_all([packets(NULL_PID, 9)] * 20)) == {None}
    assert set(watch.feed_all([tables(), *[packets(AUDIO_PID, 1), picture(b"same")] * 20])) == {None}


# Few bytes


def rates(terms: VitalTerms, sizes: Sequence[int]) -> list[Ailment | None]:
    """Feed a piece of so many packets each second."""
    vitals = Vitals(terms, KnownStream())
    return [vitals.feed(now, packets(VIDEO_PID, size), found()) for now, size in enumerate(sizes)]


def test_three_poor_windows_after_the_grace_are_a_low_bitrate() -> None:
    terms = VitalTerms(min_bitrate=10 * PACKET_SIZE)

    ailments = rates(terms, [9] * 30)

    assert ailments.index(Ailment.LOW_BITRATE) == 25


def test_a_bitrate_that_is_just_enough_is_none() -> None:
    assert set(rates(VitalTerms(min_bitrate=10 * PACKET_SIZE), [10] * 60)) == {None}


def test_the_rate_of_the_first_seconds_is_not_judged() -> None:
    assert set(rates(VitalTerms(min_bitrate=10 * PACKET_SIZE), [0] * 10 + [10] * 50)) == {None}


def test_a_burst_in_the_beginning_is_no_credit() -> None:
    ailments = rates(VitalTerms(min_bitrate=10 * PACKET_SIZE), [500] * 10 + [9] * 20)

    assert ailments.index(Ailment.LOW_BITRATE) == 25


def test_a_good_window_begins_the_count_anew() -> None:
    sizes = [0] * 10 + [0] * 10 + [10] * 5 + [0] * 10 + [10] * 5

    assert set(rates(VitalTerms(min_bitrate=10 * PACKET_SIZE), sizes)) == {None}


def test_a_rate_that_has_recovered_is_no_ailment_any_more() -> None:
    ailments = rates(VitalTerms(min_bitrate=10 * PACKET_SIZE), [0] * 25 + [10] * 10)

    assert ailments[25:] == [Ailment.LOW_BITRATE] * 5 + [None] * 5


def test_a_drip_is_noticed_although_no_packet_is_ever_complete() -> None:
    vitals = Vitals(VitalTerms(min_bitrate=1), KnownStream())
    vitals.feed(0, packets(VIDEO_PID, 1), found())

    assert [vitals.elapse(now) for now in (12, 20, 24.9, 25)] == [None, None, None, Ailment.LOW_BITRATE]


def test_windows_without_a_piece_were_empty() -> None:
    vitals = Vitals(VitalTerms(min_bitrate=1), KnownStream())
    vitals.feed(0, packets(VIDEO_PID, 1), found())
    vitals.feed(10, packets(VIDEO_PID, 1), found())

    assert vitals.feed(29.9, packets(VIDEO_PID, 9), found()) is None
    assert vitals.feed(44.9, packets(VIDEO_PID, 9), found()) is None
    assert vitals.feed(59.9, packets(VIDEO_PID, 9), found()) is None
    assert vitals.feed(75, packets(VIDEO_PID, 9), found()) is Ailment.LOW_BITRATE


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 50)), max_size=60), st.integers(1, 5000))
def test_a_low_bitrate_is_three_poor_windows(pieces: list[tuple[float, int]], least: int) -> None:
    vitals = Vitals(VitalTerms(min_bitrate=least), KnownStream())
    now, windows = -pieces[0][0] if pieces else 0, [0] * 600
    for after, size in pieces:
        now += after
        ailment = vitals.feed(now, packets(VIDEO_PID, size), found())
        current = int((now - 10) // 5)
        if current >= 0:
            windows[current] += size * PACKET_SIZE
        last = windows[max(0, current - 3) : max(0, current)]
        expected = len(last) == 3 and all(window < least * 5 for window in last)
        assert (ailment is Ailment.LOW_BITRATE) == expected


# Nothing that is a program


def test_a_stream_without_a_program_is_no_media() -> None:
    watch = Watch(VitalTerms(media_within=5), step=1)

    assert watch.feed_all([packets(VIDEO_PID, 1)] * 6) == [None] * 5 + [Ailment.NO_MEDIA]


def test_many_bytes_without_a_program_are_no_media() -> None:
    watch = Watch(VitalTerms(media_within_bytes=10 * PACKET_SIZE), step=0)

    assert watch.feed_all([packets(VIDEO_PID, 3)] * 4) == [None] * 3 + [Ailment.NO_MEDIA]


def test_silence_is_no_media_either() -> None:
    vitals = Vitals(VitalTerms(media_within=5), KnownStream(program=None))

    assert [vitals.elapse(now) for now in (7, 11.9, 12)] == [None, None, Ailment.NO_MEDIA]


def test_a_program_found_in_time_is_media() -> None:
    watch = Watch(VitalTerms(media_within=5, media_within_bytes=10 * PACKET_SIZE), step=4)

    assert set(watch.feed_all([packets(VIDEO_PID, 3), tables(), *[packets(VIDEO_PID, 9)] * 9])) == {None}


# No picture


def test_video_that_stays_away_while_sound_goes_on_is_missing() -> None:
    watch = Watch(VitalTerms(video_within=10), step=1)
    watch.feed_all([tables(), *[picture(b"x")] * 20])

    ailments = watch.feed_all([packets(AUDIO_PID, 3)] * 20)

    assert 9 <= ailments.index(Ailment.NO_VIDEO) <= 11


def test_video_that_never_came_is_missing() -> None:
    watch = Watch(VitalTerms(video_within=10), step=1)

    assert watch.feed_all([tables(), *[packets(AUDIO_PID, 3)] * 20]).index(Ailment.NO_VIDEO) == 10


def test_video_that_comes_in_time_is_not_missing() -> None:
    watch = Watch(VitalTerms(video_within=10), step=1)
    pieces = [*[packets(AUDIO_PID, 1)] * 8, packets(AUDIO_PID, 1) + picture(b"x")] * 10

    assert set(watch.feed_all([tables(), *pieces])) == {None}


def test_silence_of_all_is_not_the_video_that_is_missing() -> None:
    watch = Watch(VitalTerms(video_within=10), step=60)

    assert set(watch.feed_all([tables() + picture(b"x"), *[packets(AUDIO_PID, 1), picture(b"x")] * 5])) == {None}


def test_a_piece_of_nothing_is_silence_too() -> None:
    watch = Watch(VitalTerms(video_within=10), step=1)
    watch.feed_all([tables(), picture(b"x"), packets(AUDIO_PID, 1), packets(AUDIO_PID, 1), packets(AUDIO_PID, 1)])

    assert set(watch.feed_all([b""] * 40)) == {None}


def test_radio_misses_no_video() -> None:
    watch = Watch(VitalTerms(video_within=10), step=1)

    assert set(watch.feed_all([tables(RADIO), *[packets(AUDIO_PID, 3)] * 40])) == {None}


def test_video_is_back_as_soon_as_it_comes() -> None:
    watch = Watch(VitalTerms(video_within=10), step=1)
    watch.feed_all([tables(), *[packets(AUDIO_PID, 3)] * 20])

    assert watch.feed(picture(b"x")) is None


# No motion


def motion(times: Iterable[int | None], *, step: float = 1, frozen_after: float = 10) -> list[Ailment | None]:
    """Feed pieces with these decoding times."""
    vitals = Vitals(VitalTerms(frozen_after=frozen_after), KnownStream())
    return [vitals.feed(number * step, packets(VIDEO_PID, 1), found(time)) for number, time in enumerate(times)]


def test_decoding_times_that_stand_still_are_a_frozen_stream() -> None:
    assert motion([5, *[9] * 20]).index(Ailment.FROZEN) == 11


@pytest.mark.parametrize("again", [[5, 9, SECOND], [WRAP - 9, 9]])
def test_the_same_moment_over_and_over_is_a_frozen_stream(again: list[int]) -> None:
    assert Ailment.FROZEN in motion(again * 10)


def test_times_that_go_forward_are_not_frozen() -> None:
    assert set(motion(range(0, 100 * SECOND, SECOND))) == {None}


def test_times_that_wrap_go_forward() -> None:
    assert set(motion([(WRAP - 9 * SECOND + number * SECOND) % WRAP for number in range(60)])) == {None}


def test_a_still_picture_that_is_sent_again_and_again_is_not_frozen() -> None:
    assert set(motion(number // 3 * 3 * SECOND for number in range(100))) == {None}


def test_pictures_of_a_slide_show_are_far_apart_and_not_frozen() -> None:
    pieces: list[int | None] = []
    for number in range(5):
        pieces += [number * 40 * SECOND, *[None] * 39]

    assert set(motion(pieces)) == {None}


def test_a_new_timeline_is_not_frozen() -> None:
    times = [*range(1000 * SECOND, 1050 * SECOND, SECOND), *range(0, 50 * SECOND, SECOND)]

    assert set(motion(times)) == {None}


def test_a_small_step_back_is_caught_up_with() -> None:
    times = [*range(1000 * SECOND, 1050 * SECOND, SECOND), *range(1046 * SECOND, 1090 * SECOND, SECOND)]

    assert set(motion(times)) == {None}


def test_silence_is_not_a_frozen_stream() -> None:
    assert set(motion([5, 5, 6, 6, 7, 7], step=60)) == {None}


def test_a_stream_whose_times_cannot_be_read_is_not_frozen() -> None:
    assert set(motion([None] * 100)) == {None}


def test_a_stream_moves_again_as_soon_as_it_does() -> None:
    assert motion([*[9] * 20, 10])[-1] is None


# A loop

LOOPS = VitalTerms(loops=True)


def test_a_clip_is_a_loop_when_it_has_been_seen_three_times() -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())

    ailments = watch.feed_all(pictures([b"one", b"two", b"three", b"four"] * 4))

    assert ailments.index(Ailment.LOOP) == 11
    assert set(ailments[11:]) == {Ailment.LOOP}


@pytest.mark.parametrize(
    ("terms", "thorough"),
    [
        (VitalTerms(), False),
        (VitalTerms(media_within=1, media_within_bytes=1, video_within=1, frozen_after=1), False),
        (VitalTerms(loops=True), True),
        (VitalTerms(min_bitrate=1), True),
    ],
)
def test_loops_and_bitrates_take_every_piece(terms: VitalTerms, *, thorough: bool) -> None:
    assert terms.thorough is thorough


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("cut", [1, 3, 20])
def test_a_loop_is_found_however_many_pieces_are_read_together(size: int, cut: int) -> None:
    clip = pictures([b"one", b"two", b"three", b"four"] * 4)
    stream = tables() + b"".join(each.ljust(7 * PACKET_SIZE, b"\xff") + packets(AUDIO_PID, 20) for each in clip)
    pieces = [stream[at : at + cut * PACKET_SIZE] for at in range(0, len(stream), cut * PACKET_SIZE)]
    indexer = Indexer()
    vitals = Vitals(LOOPS, indexer)
    told = []

    for number in range(0, len(pieces), size):
        for piece in pieces[number : number + size]:
            indexer.note(piece)
        told.append(vitals.look_through(number * 0.4 / size, indexer.read()))

    assert told[0] is None
    assert told[-1] is Ailment.LOOP


def test_pictures_that_differ_are_no_loop() -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())

    assert set(watch.feed_all(pictures(b"%d" % number for number in range(100)))) == {None}


@pytest.mark.parametrize("contents", [[b"logo"], [b"even", b"odd"]])
def test_a_still_picture_is_no_loop(contents: list[bytes]) -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())

    assert set(watch.feed_all(pictures(contents * 100))) == {None}


def test_a_clip_that_begins_twice_with_the_same_is_a_loop() -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())

    ailments = watch.feed_all(pictures([b"black", b"black", b"one", b"two", b"black"] * 6))

    assert Ailment.LOOP in ailments


def test_what_comes_back_after_more_than_a_minute_is_no_loop() -> None:
    watch = Watch(LOOPS, step=21)
    watch.feed(tables())

    assert set(watch.feed_all(pictures([b"one", b"two", b"three"] * 10))) == {None}


def test_a_loop_that_goes_on_to_something_else_is_none_any_more() -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())
    watch.feed_all(pictures([b"one", b"two", b"three"] * 5))

    assert watch.feed(picture(b"news")) is None


def test_two_rounds_are_no_loop() -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())

    assert set(watch.feed_all(pictures([b"one", b"two", b"three"] * 2 + [b"four", b"five"]))) == {None}


def test_rounds_count_only_if_each_picture_is_the_same() -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())
    contents: list[bytes] = []
    for number in range(20):
        contents += [b"one", b"two", b"three", b"%d" % number]

    assert set(watch.feed_all(pictures(contents))) == {None}


def test_a_picture_is_told_by_its_content_even_where_packets_of_others_stand_between() -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())
    sound = cycle((0, 1, 2, 0, 3))
    pieces = []
    for whole in pictures([b"one", b"two", b"three"] * 4):
        cut = [whole[at : at + PACKET_SIZE] for at in range(0, len(whole), PACKET_SIZE)]
        pieces.append(b"".join(packet + packets(AUDIO_PID, next(sound)) for packet in cut))

    assert Ailment.LOOP in watch.feed_all(pieces)


def test_radio_is_no_loop() -> None:
    watch = Watch(LOOPS)
    silence = picture(b"silence").replace(bytes((VIDEO_PID & 0xFF,)), bytes((AUDIO_PID & 0xFF,)))

    assert set(watch.feed_all([tables(RADIO), *[silence] * 40])) == {None}


def test_a_picture_of_few_packets_is_told_by_those() -> None:
    watch = Watch(LOOPS)
    watch.feed(tables())
    pieces = [whole[:PACKET_SIZE] + packets(AUDIO_PID, 300) for whole in pictures([b"one", b"two", b"three"] * 3)]

    assert watch.feed_all(pieces)[-1] is Ailment.LOOP


def test_pictures_that_reach_into_each_other_are_a_loop_all_the_same() -> None:
    watch = Watch(LOOPS)
    tiny = b"".join(whole[:PACKET_SIZE] for whole in pictures([b"one", b"two", b"three"] * 20))

    assert watch.feed_all([tables(), tiny])[-1] is Ailment.LOOP


@dataclass
class LateIndex:
    """An index that tells pictures so many pieces after that in which they begin, by turns; a piece is one packet."""

    late: Sequence[int]
    program: Program | None = TV
    position: int = 0

    def watch(self, stream: list[bytes]) -> set[Ailment | None]:
        vitals = Vitals(LOOPS, self)
        told = set()
        for whole, late in zip(stream, cycle(self.late), strict=False):
            begin = self.position
            for number in range(len(whole) // PACKET_SIZE):
                piece = whole[number * PACKET_SIZE : (number + 1) * PACKET_SIZE]
                self.position += PACKET_SIZE
                entries = (Entry(begin, b""),) if number == late else ()
                told.add(vitals.feed(0, piece, Indexed(entries, 0, None)))
        return told


def test_a_picture_may_be_told_after_the_piece_it_begins_in() -> None:
    assert LateIndex(late=(0, 1)).watch(pictures([b"one", b"two", b"three"] * 4)) == {None, Ailment.LOOP}


def test_a_picture_that_is_told_too_late_is_left_out() -> None:
    assert LateIndex(late=(2,)).watch(pictures([b"one", b"two", b"three"] * 4)) == {None}


def rounds_of(clip: Clip, count: int) -> bytes:
    return clip.read(0, clip.packet_count * count)


@given(st.data())
@settings(deadline=None, max_examples=30)
def test_a_loop_is_found_however_the_stream_is_cut_into_pieces(data: st.DataObject) -> None:
    stream = rounds_of(demo_clip(), 4)
    whole = len(stream) // PACKET_SIZE
    cuts = sorted(data.draw(st.sets(st.integers(1, whole - 1), max_size=60)))
    watch = Watch(LOOPS, step=0)

    ailments = [
        (stop, watch.feed(stream[start * PACKET_SIZE : stop * PACKET_SIZE]))
        for start, stop in pairwise([0, *cuts, whole])
    ]

    found_at = min(stop for stop, ailment in ailments if ailment is Ailment.LOOP)
    assert found_at > 2 * demo_clip().packet_count
    assert all(ailment is None for stop, ailment in ailments if stop < 2.5 * demo_clip().packet_count)


def test_the_embedded_clip_is_a_loop_only_to_who_looks_for_loops() -> None:
    stream = rounds_of(demo_clip(), 5)
    terms = VitalTerms(min_bitrate=1, media_within=5, media_within_bytes=1 << 20, video_within=10, frozen_after=10)
    watch = Watch(terms, step=0.5)

    assert set(watch.feed_all([stream[at : at + 20 * PACKET_SIZE] for at in range(0, len(stream), 20 * 188)])) == {None}


# Hostile streams

BYTES = st.one_of(
    st.binary(max_size=40),
    st.builds(packets, st.sampled_from((PAT_PID, PMT_PID, VIDEO_PID, AUDIO_PID)), st.integers(0, 3)),
    st.builds(lambda content, time: picture(content + b"x", time), st.binary(max_size=3), st.integers(0, WRAP - 1)),
    st.just(tables()),
)


@given(st.lists(st.tuples(st.floats(0, 100), st.lists(BYTES, max_size=4)), max_size=20))
def test_whatever_comes_is_judged(pieces: list[tuple[float, list[bytes]]]) -> None:
    indexer = Indexer()
    vitals = Vitals(VitalTerms(1000, 5, 1 << 16, 5, 5, loops=True), indexer)
    now = 0.0
    for after, parts in pieces:
        now += after
        raw = b"".join(parts)
        whole = b"".join(b"\x47" + raw[at + 1 : at + PACKET_SIZE] for at in range(0, len(raw), PACKET_SIZE))
        piece = whole[: len(whole) // PACKET_SIZE * PACKET_SIZE]
        assert vitals.feed(now, piece, indexer.feed(piece)) in {None, *Ailment}


def test_a_flood_of_different_pictures_is_not_remembered_for_ever() -> None:
    watch = Watch(LOOPS, step=0)
    watch.feed(tables())

    contents = [b"%d" % number for number in range(1000)]

    assert set(watch.feed_all(pictures(islice(cycle(contents), 3500)))) == {None}
    rounds = watch.vitals._loop._rounds
    assert max(len(rounds._past), len(rounds._newest)) <= 512
