"""A transport stream becomes segments of HLS, and nothing of it is lost on the way."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamproxy.formats.hls.cutting import Cutter
from streamproxy.formats.hls.published import Segment
from tests.formats.mpegts.made import AAC, AUDIO, H264, HEVC, IDR, NO_IDR, PACKET, PMT, VIDEO, Mux, pes, pids, program
from tests.helpers.tscheck import FaultKind, check

TELEVISION = program((VIDEO, H264), (AUDIO, AAC))
RADIO = program((AUDIO, AAC))

NOON = 1_800_000_000.0
SECOND = 90_000
FRAME = SECOND // 25
WRAP = 1 << 33
CAPACITY = 64 << 20


def group(mux: Mux, start: int, frames: int, *, tables: int = 0, size: int = 50, marked: bool = True) -> bytes:
    """Make pictures at 25 per second, of which only the first can be started with, and sound.

    Args:
        mux: Counts.
        start: Time of the first.
        frames: How many.
        tables: Pictures from one repetition of the tables to the next; 0 for none.
        size: Bytes of each.
        marked: Whether the first one can be started with, too.
    """
    packets = []
    for number in range(frames):
        if tables and number % tables == 0:
            packets.append(mux.tables(TELEVISION))
        time = (start + number * FRAME) % WRAP
        picture = IDR if number == 0 and marked else NO_IDR
        packets.append(mux.unit(VIDEO, pes(picture + bytes(size), time), flags=0x40 if picture is IDR else 0))
        packets.append(mux.unit(AUDIO, pes(bytes(50), time, stream_id=0xC0, size=-1)))
    return b"".join(packets)


def film(lengths: Iterable[int], *, mux: Mux | None = None, start: int = 0, tables: int = 0, size: int = 50) -> bytes:
    """Make groups of pictures of so many pictures each, behind tables."""
    mux = mux or Mux()
    packets = [] if tables else [mux.tables(TELEVISION)]
    for length in lengths:
        packets.append(group(mux, start, length, tables=tables, size=size))
        start += length * FRAME
    return b"".join(packets)


def feed(cutter: Cutter, stream: bytes, size: int = 7 * PACKET, *, now: float = NOON) -> Cutter:
    for start in range(0, len(stream), size):
        cutter.feed(stream[start : start + size], now)
    return cutter


def cut(stream: bytes, size: int = 7 * PACKET, *, capacity: int = CAPACITY) -> Cutter:
    cutter = feed(Cutter(capacity=capacity), stream, size)
    cutter.finish()
    return cutter


def all_of(cutter: Cutter) -> list[Segment]:
    found = (cutter.published.find(number) for number in range(cutter.published.next_number))
    return [segment for segment in found if segment]


def body(segment: Segment) -> bytes:
    return b"".join(segment.read(0, segment.size - 1))


def durations(cutter: Cutter) -> list[float]:
    return [round(segment.duration, 2) for segment in all_of(cutter)]


def listed(cutter: Cutter) -> list[int]:
    return [int(number) for number in re.findall(r"^x-(\d+)\.ts$", cutter.published.playlist("x-"), re.MULTILINE)]


def tag(cutter: Cutter, name: str) -> str | None:
    found = re.search(rf"^#EXT-X-{name}(?::(.*))?$", cutter.published.playlist("x-"), re.MULTILINE)
    return found and (found[1] or "")


def uncounted(packets: bytes) -> bytes:
    """Clear the counters of tables, which change where tables are put in."""
    cleared = bytearray(packets)
    for number, pid in enumerate(pids(packets)):
        if pid in (0, PMT):
            cleared[number * PACKET + 3] &= 0xF0
    return bytes(cleared)


def without_what_was_put_in(segments: Sequence[Segment], stream: bytes) -> bytes:
    """Join segments, and leave the tables at their beginnings out that are not in the stream there."""
    joined = b""
    for segment in segments:
        data = uncounted(body(segment))
        assert pids(data)[:2] == [0, PMT]
        there = uncounted(stream[len(joined) : len(joined) + len(data)]) == data
        joined += data if there else data[2 * PACKET :]
    return joined


groups = st.lists(st.integers(1, 200), min_size=1, max_size=7)


@given(
    lengths=groups,
    start=st.one_of(st.integers(0, WRAP - 1), st.integers(WRAP - 20 * SECOND, WRAP - 1)),
    tables=st.sampled_from([0, 1, 7, 1000]),
    size=st.integers(1, 300).map(lambda packets: packets * PACKET),
)
@settings(deadline=None, max_examples=60)
def test_segments_are_the_stream_from_its_first_entry_on(
    lengths: list[int], start: int, tables: int, size: int
) -> None:
    mux = Mux()
    lost = group(mux, start, 3, marked=False)
    stream = film(lengths, mux=mux, start=start, tables=tables)
    cutter = cut(lost + stream, size)
    segments = all_of(cutter)

    assert len(segments) == cutter.published.next_number
    assert without_what_was_put_in(segments, stream) == uncounted(stream)
    assert sum(segment.duration for segment in segments) == pytest.approx(sum(lengths) / 25)
    assert all(segment.duration < 6.5 for segment in segments)
    assert not any(segment.discontinuous for segment in segments)


@given(
    lengths=groups, tables=st.sampled_from([0, 1, 7]), size=st.integers(1, 300).map(lambda packets: packets * PACKET)
)
@settings(deadline=None, max_examples=30)
def test_segments_one_after_the_other_are_one_stream(lengths: list[int], tables: int, size: int) -> None:
    report = check(b"".join(map(body, all_of(cut(film(lengths, tables=tables), size)))))

    assert not report.counts.keys() & {FaultKind.CONTINUITY, FaultKind.CRC}
    # Tables that are put in must not count like those before or after them.
    assert report.duplicates == 0


@example([10, 148], (1, 37))
@given(lengths=groups, sizes=st.tuples(st.integers(1, 300), st.integers(1, 300)))
@settings(deadline=None, max_examples=30)
def test_it_does_not_matter_how_the_stream_comes_in_pieces(lengths: list[int], sizes: tuple[int, int]) -> None:
    stream = film(lengths, tables=7)
    one, other = (all_of(cut(stream, size * PACKET)) for size in sizes)

    assert [body(segment) for segment in one] == [body(segment) for segment in other]


def test_the_first_segments_are_short_so_that_playing_starts_soon() -> None:
    assert durations(cut(film([50] * 12))) == [2, 2, 2, 4, 4, 4, 4, 2]


def test_a_group_a_little_shorter_than_the_goal_is_enough() -> None:
    assert durations(cut(film([48] * 5))) == [1.92, 1.92, 1.92, 3.84]


def test_a_segment_ends_early_where_the_next_entry_would_come_too_late() -> None:
    # As soon as the entry is there, and not only when the next fails to come.
    cutter = feed(Cutter(capacity=CAPACITY), film([*[85] * 5, 5]))

    assert durations(cutter) == [3.4] * 5


def test_tables_that_are_there_are_not_put_in_again() -> None:
    stream = film([50] * 4, tables=50)

    assert sum(segment.size for segment in all_of(cut(stream))) == len(stream)


def test_a_picture_may_come_in_pieces_before_it_tells_that_it_can_be_started_with() -> None:
    mux = Mux()
    message = b"\0\0\1\x06\x05\xc8" + bytes((0xAA,)) * 200 + b"\x80"
    stream = mux.tables(TELEVISION)
    for number in range(5):
        stream += mux.unit(VIDEO, pes(message + IDR, 2 * number * SECOND)) + mux.unit(AUDIO, pes(bytes(300)))
    cutter = cut(stream, PACKET)

    assert durations(cutter)[:3] == [2, 2, 2]
    assert all(segment.independent for segment in all_of(cutter))


def test_groups_of_many_lengths_are_never_too_long() -> None:
    # What cannot be foreseen is put right afterwards: the first entry is cut at, when the next does not come.
    cutter = cut(film([50, 50, 50, 45, 150, 50]))

    assert durations(cutter) == [2, 2, 2, 1.8, 6, 2]
    assert tag(cutter, "INDEPENDENT-SEGMENTS") == ""


def test_where_entries_are_too_far_apart_it_is_cut_between() -> None:
    cutter = cut(film([250, 250]))

    assert durations(cutter) == [6, 4, 6, 4]
    assert [segment.independent for segment in all_of(cutter)] == [True, False, True, False]
    assert tag(cutter, "INDEPENDENT-SEGMENTS") is None


def test_a_stream_without_entries_begins_anywhere_in_the_end_and_is_cut_by_time() -> None:
    mux, cutter = Mux(), Cutter(capacity=CAPACITY)
    cutter.feed(mux.tables(TELEVISION), NOON)
    for second in range(20):
        cutter.feed(group(mux, second * SECOND, 25, marked=False), NOON + second)
    cutter.finish()

    assert 9 < sum(durations(cutter)) < 13
    assert durations(cutter)[:2] == [2, 2]
    assert tag(cutter, "INDEPENDENT-SEGMENTS") is None


def test_radio_is_cut_at_its_sounds() -> None:
    mux = Mux()
    sounds = [mux.unit(AUDIO, pes(bytes(50), number * 4500, stream_id=0xC0, size=-1)) for number in range(400)]
    cutter = cut(mux.tables(RADIO) + b"".join(sounds))

    # Nine tenths of what a segment should have are enough.
    assert durations(cutter) == [1.8, 1.8, 1.8, 3.6, 3.6, 3.6, 3.6, 0.2]
    assert tag(cutter, "INDEPENDENT-SEGMENTS") == ""


def test_what_has_no_times_is_cut_by_those_at_which_it_comes() -> None:
    mux, cutter = Mux(), Cutter(capacity=CAPACITY)
    cutter.feed(mux.tables(TELEVISION), NOON)
    for number in range(20):
        cutter.feed(mux.unit(VIDEO, pes(IDR), flags=0x40, scrambled=True), NOON + number / 2)

    assert durations(cutter) == [2, 2, 2]


def test_where_times_jump_a_discontinuity_is_marked() -> None:
    mux = Mux()
    stream = film([50, 20], mux=mux) + group(mux, 5000 * SECOND, 50) + group(mux, 100 * SECOND, 50)
    cutter = cut(stream)

    assert durations(cutter) == [2, 0.8, 2, 2]
    assert [segment.discontinuous for segment in all_of(cutter)] == [False, False, True, True]
    assert cutter.published.playlist("x-").count("#EXT-X-DISCONTINUITY\n") == 2
    assert without_what_was_put_in(all_of(cutter), stream) == uncounted(stream)


def test_a_hole_is_no_discontinuity() -> None:
    mux = Mux()
    cutter = cut(film([50, 45], mux=mux) + group(mux, 860 * SECOND // 100, 50))

    assert not any(segment.discontinuous for segment in all_of(cutter))
    assert durations(cutter) == [2, 1.76, 4.84, 2]


def test_other_streams_are_a_discontinuity_and_another_version_of_the_tables_is_not() -> None:
    mux = Mux()
    newer = program((VIDEO, H264), (AUDIO, AAC), version=1)
    other = program((VIDEO, HEVC), (AUDIO, AAC), version=2)
    picture = bytes((0, 0, 1, 19 << 1, 1)) + bytes(50)
    stream = film([50], mux=mux) + mux.tables(newer) + group(mux, 2 * SECOND, 25) + mux.tables(other)
    stream += mux.unit(VIDEO, pes(picture, 3 * SECOND), flags=0x40)
    cutter = cut(stream)

    assert durations(cutter)[:2] == [2, 1]
    assert [segment.discontinuous for segment in all_of(cutter)] == [False, False, True]


def test_what_comes_after_the_end_goes_on_with_the_numbers_behind_a_discontinuity() -> None:
    cutter = Cutter(capacity=CAPACITY, first_number=7)
    feed(cutter, film([50, 50])).finish()
    feed(cutter, film([50, 50], start=777)).finish()

    assert listed(cutter) == [7, 8, 9, 10]
    found = [cutter.published.find(number) for number in listed(cutter)]
    assert [segment and segment.discontinuous for segment in found] == [False, False, True, False]


def test_the_window_slides_and_what_left_it_stays_for_a_while() -> None:
    cutter = Cutter(capacity=CAPACITY)
    mux = Mux()
    feed(cutter, film([100], mux=mux))
    previous: list[int] = []
    for number in range(1, 30):
        feed(cutter, group(mux, number * 4 * SECOND, 100))
        numbers = listed(cutter)
        assert len(numbers) == min(number, 7)
        assert not previous or numbers[0] >= previous[0]
        assert tag(cutter, "MEDIA-SEQUENCE") == str(numbers[0])
        # RFC 8216bis, 6.2.2: for its duration and that of the longest playlist it was in.
        assert all(cutter.published.find(old) for old in range(max(0, numbers[0] - 8), numbers[-1] + 1))
        previous = numbers
    assert cutter.published.find(previous[0] - 10) is None
    assert cutter.published.find(previous[-1] + 1) is None


def test_a_discontinuity_that_left_the_window_is_counted() -> None:
    mux, cutter = Mux(), Cutter(capacity=CAPACITY)
    feed(cutter, film([100, 100], mux=mux))
    for number in range(100, 120):
        feed(cutter, group(mux, number * 4 * SECOND, 100))

    assert tag(cutter, "DISCONTINUITY-SEQUENCE") == "1"
    assert tag(cutter, "DISCONTINUITY") is None


@pytest.mark.parametrize("frozen", [False, True])
def test_no_more_is_kept_than_may_be(frozen: bool) -> None:
    capacity, mux = 1 << 20, Mux()
    cutter = Cutter(capacity=capacity)
    feed(cutter, film([25], mux=mux))
    for number in range(1, 200):
        feed(cutter, group(mux, SECOND if frozen else number * SECOND, 25, size=1000, marked=not frozen), 1 << 14)
        assert cutter.published.held <= capacity * 3 / 4
        assert all(segment.size <= capacity / 4 + (1 << 14) for segment in all_of(cutter))
    assert len(listed(cutter)) >= 3


def test_of_what_cannot_be_played_nothing_is_kept() -> None:
    cutter = Cutter(capacity=1 << 20)
    mux = Mux()
    for _ in range(100):
        cutter.feed(mux.unit(0x200, bytes(1 << 14)), NOON)

    assert sum(len(chunk) for _, chunk in cutter._chunks) <= 3 << 14
    assert cutter.published.next_number == 0


@given(st.binary(max_size=4000), st.integers(0, 5000))
@settings(deadline=None, max_examples=60)
def test_whatever_comes_nothing_fails(noise: bytes, place: int) -> None:
    stream = bytearray(film([30, 30, 30], tables=5))
    start = place % (len(stream) // PACKET) * PACKET
    for at in range(len(noise) // 187):
        stream[start + at * PACKET + 1 : start + (at + 1) * PACKET] = noise[at * 187 : (at + 1) * 187]
    stream = stream[: len(stream) // PACKET * PACKET]
    cut(bytes(stream)).published.playlist("")


def test_dates_are_those_at_which_a_part_of_the_stream_was_live() -> None:
    mux, cutter = Mux(), Cutter(capacity=CAPACITY)
    # The first two groups are of the past, and come at once.
    feed(cutter, film([50, 50], mux=mux), now=NOON)
    feed(cutter, group(mux, 4 * SECOND, 50), now=NOON + 2)
    dates = re.findall(r"DATE-TIME:(.*)Z", cutter.published.playlist(""))

    assert [date[-9:] for date in dates] == ["59:56.040", "59:58.040"]


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_any_part_of_a_segment_can_be_read(first: int, size: int) -> None:
    segment = all_of(cut(film([3], tables=1)))[0]
    whole = body(segment)
    first, last = first % len(whole), min(len(whole) - 1, first % len(whole) + size)

    assert b"".join(segment.read(first, last)) == whole[first : last + 1]


def test_segments_refer_to_what_came_and_copy_little_of_it() -> None:
    stream = film([50] * 4, tables=10, size=5000)
    chunks = [stream[start : start + 350 * PACKET] for start in range(0, len(stream), 350 * PACKET)]
    cutter = Cutter(capacity=CAPACITY)
    for chunk in chunks:
        cutter.feed(chunk, NOON)
    cutter.finish()
    buffers = [buffer for segment in all_of(cutter) for buffer in segment.buffers]
    known = {id(chunk) for chunk in chunks}
    own = [len(buffer) for buffer in buffers if id(buffer if isinstance(buffer, bytes) else buffer.obj) not in known]

    assert sum(own) < len(stream) / 3
    assert all(first is not second for first, second in pairwise(buffers))
