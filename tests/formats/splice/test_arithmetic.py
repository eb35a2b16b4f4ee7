"""The arithmetic of splicing: how a stream ends, by how much the next is moved, and what becomes of each packet."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.mpegts.psi import PAT_PID, ElementaryStream, Program
from streamproxy.formats.mpegts.timestamps import WRAP, difference
from streamproxy.formats.splice.ending import Ending, read_ending
from streamproxy.formats.splice.gates import Gate, Verdict
from streamproxy.formats.splice.layout import Layout
from streamproxy.formats.splice.routes import Route, Routes
from streamproxy.formats.splice.sheet import Sheet
from streamproxy.formats.splice.timing import Beginning, shift_onto
from tests.formats.splice.playing import chunks
from tests.formats.splice.synthetic import AUDIO, FRAME, STREAMS, VIDEO, Maker, pes

PROGRAM = Program(1, 0x1000, VIDEO, STREAMS)
SECOND = 90_000

moments = st.integers(0, WRAP - 1)
delays = st.integers(0, 5 * SECOND)


@given(moments, moments, delays, delays, delays, delays)
def test_time_goes_on_on_both_scales(
    end: int, begin: int, old_delay: int, new_delay: int, old_order: int, new_order: int
) -> None:
    ending = Ending({}, end, (end + old_order) % WRAP, {}, (end - old_delay) % WRAP)
    beginning = Beginning(begin, (begin + new_order) % WRAP, (begin - new_delay) % WRAP, has_video=True)

    shift = shift_onto(ending, beginning)

    decode_time, presentation_time = begin + shift.stamps, begin + new_order + shift.stamps
    clock = begin - new_delay + shift.clock
    assert difference(decode_time, end) >= 0
    assert difference(presentation_time, end + old_order) >= 0
    assert difference(clock, end - old_delay) == 0
    # It gets all the delay that it needs, and not more than one of the three conditions asks for.
    assert difference(decode_time, clock) >= new_delay
    assert 0 in {
        difference(decode_time, end),
        difference(presentation_time, end + old_order),
        difference(decode_time, clock) - new_delay,
    }


@given(moments, moments)
def test_without_pictures_it_is_the_sound_that_goes_on(end: int, begin: int) -> None:
    ending = Ending({}, (end - SECOND) % WRAP, (end - SECOND) % WRAP, {AUDIO: end, 0x102: (end - 7) % WRAP}, None)

    shift = shift_onto(ending, Beginning(begin, begin, None, has_video=False))

    assert (begin + shift.stamps) % WRAP == end


@given(moments, moments)
def test_without_any_time_stamps_the_clock_goes_on(end: int, begin: int) -> None:
    shift = shift_onto(Ending(clock=end), Beginning(None, None, begin, has_video=True))

    assert (begin + shift.clock) % WRAP == end


def test_what_goes_on_from_nothing_stays_as_it_is() -> None:
    shift = shift_onto(Ending(), Beginning(1, 2, 3, has_video=True))

    assert (shift.stamps, shift.clock) == (0, 0)


@given(moments, moments)
def test_a_clock_that_has_nothing_to_do_with_the_pictures_does_not_move_them(end: int, begin: int) -> None:
    ending = Ending({}, end, end, {}, (end + WRAP // 3) % WRAP)

    shift = shift_onto(ending, Beginning(begin, begin, begin, has_video=True))

    assert (begin + shift.stamps) % WRAP == end
    assert not shift.continuous


@given(moments, st.integers(1, 60), st.integers(1, 40))
def test_an_ending_is_what_would_come_next(begin: int, count: int, size: int) -> None:
    ending = read_ending(chunks(Maker().stream(begin, count), size * PACKET_SIZE), PROGRAM)

    assert ending.decode_time == ending.presentation_time == (begin + count * FRAME) % WRAP
    assert ending.counters.keys() == {PAT_PID, 0x1000, VIDEO, AUDIO}
    if count > 1:
        assert ending.clock == (begin + count * FRAME - 45_000) % WRAP
        assert ending.sound == {AUDIO: (begin + count * FRAME) % WRAP}


@given(moments)
def test_pictures_out_of_order_end_with_the_one_that_is_seen_last(begin: int) -> None:
    maker = Maker()
    order = [3, 1, 2, 6, 4, 5, 9, 7, 8]
    stream = b"".join(
        maker.packets(VIDEO, pes(0xE0, begin + (place + 2) * FRAME, b"", begin + number * FRAME))
        for number, place in enumerate(order)
    )

    ending = read_ending([stream], PROGRAM)

    assert ending.decode_time == (begin + 9 * FRAME) % WRAP
    assert ending.presentation_time == (begin + 12 * FRAME) % WRAP


def test_what_is_scrambled_has_no_times() -> None:
    maker = Maker()

    ending = read_ending([b"".join(maker.picture(number * FRAME, scrambled=True) for number in range(9))], PROGRAM)

    assert (ending.decode_time, ending.clock) == (None, (9 * FRAME - 45_000) % WRAP)


def test_pictures_without_times_of_their_own_count() -> None:
    maker = Maker()
    timed = [0, None, None, 3, None, None, 6, None]
    stream = b"".join(
        maker.packets(VIDEO, pes(0xE0, None if number is None else number * FRAME, b"")) for number in timed
    )

    assert read_ending([stream], PROGRAM).decode_time == 8 * FRAME


def test_times_before_a_jump_are_forgotten() -> None:
    maker = Maker()
    stream = maker.stream(50_000_000, 20) + maker.stream(1_000_000, 20)

    assert read_ending([stream], PROGRAM).presentation_time == 1_000_000 + 20 * FRAME


def test_sound_ends_late_rather_than_early() -> None:
    maker = Maker()
    times = [0, 11_520, 23_040, 32_640, 44_160]
    stream = b"".join(maker.sound(time) for time in times)

    assert read_ending([stream], PROGRAM).sound == {AUDIO: 44_160 + 11_520}


def test_a_hole_in_the_sound_is_not_how_long_it_lasts() -> None:
    stream = b"".join(Maker().sound(time) for time in [0, 2_000, 4_000, 34_000, 36_000, 38_000])

    assert read_ending([stream], PROGRAM).sound == {AUDIO: 40_000}


@pytest.mark.parametrize(
    ("since", "time", "verdict"),
    [
        (None, 5, Verdict.OPEN),
        (1_000, None, Verdict.OPEN),
        (1_000, 1_001, Verdict.OPEN),
        (1_000, 1_000, Verdict.PASS),
        (1_000, 999, Verdict.SHUT),
        (5, WRAP - 5, Verdict.SHUT),
        (WRAP - 5, 5, Verdict.OPEN),
        (90_000_000, 5, Verdict.OPEN),
    ],
)
def test_a_gate_opens_with_what_begins_in_time(since: int | None, time: int | None, verdict: Verdict) -> None:
    packet = Maker().packets(AUDIO, pes(0xC0, time, b"sound"))

    assert Gate(since).judge(packet, 0) is verdict


def test_a_gate_does_not_read_what_is_scrambled() -> None:
    packet = Maker().packets(AUDIO, pes(0xC0, 5, b"sound"), scrambled=True)

    assert Gate(1_000).judge(packet, 0) is Verdict.OPEN
    assert Gate(1_000, strict=True).judge(packet, 0) is Verdict.SHUT


def test_a_strict_gate_stays_shut_for_whatever_may_be_too_early() -> None:
    gate = Gate(90_000_000, strict=True)

    assert gate.judge(Maker().packets(AUDIO, pes(0xC0, None, b"sound")), 0) is Verdict.SHUT
    assert gate.judge(Maker().packets(AUDIO, pes(0xC0, 5, b"sound")), 0) is Verdict.SHUT


def test_a_gate_does_not_judge_the_middle_of_something() -> None:
    packets = Maker().packets(AUDIO, pes(0xC0, 7, bytes(300)))

    assert Gate(1).judge(packets, PACKET_SIZE) is None


pids = st.integers(0, 0x1FFF) | st.sampled_from([0x100, 0x200, 0x201, 0x1FFF])
routes = st.dictionaries(pids, st.builds(Route, pids, st.integers(0, 15)), max_size=6)


@given(st.lists(routes, min_size=1, max_size=3), st.integers(1, 60), st.integers(0, 1 << 32))
def test_packets_take_their_routes(sections: list[dict[int, Route]], count: int, seed: int) -> None:
    chance = random.Random(seed)
    known = [pid for section in sections for pid in section] or [1]
    source = [bytearray(chance.randbytes(PACKET_SIZE)) for _ in range(count)]
    for packet in source:
        if chance.random() < 0.8:
            pid = chance.choice(known)
            packet[1:3] = (pid | packet[1] >> 5 << 13).to_bytes(2, "big")
    borders = [*sorted(chance.randrange(count + 1) for _ in sections[1:]), count]
    inserted = {chance.randrange(count): bytes(chance.randbytes(PACKET_SIZE)) for _ in range(chance.randrange(3))}
    sheet = Sheet(b"".join(source), bytearray(b"what was there"))
    for number, other in inserted.items():
        sheet.insert(number, other)
    for border, section in zip(borders, sections, strict=True):
        sheet.route_until(border, Routes(section))

    expected: list[bytes] = []
    positions: list[int] = []
    for number, packet in enumerate(source):
        if number in inserted:
            expected.append(inserted[number])
        positions.append(len(expected) * PACKET_SIZE)
        section = next(section for border, section in zip(borders, sections, strict=True) if number < border)
        if route := section.get((packet[1] & 0x1F) << 8 | packet[2]):
            head = (packet[1] & 0xE0) << 8 | route.pid
            control = packet[3] & 0xF0 | (packet[3] + route.step) & 0x0F
            expected.append(bytes(packet[:1]) + head.to_bytes(2, "big") + bytes((control,)) + bytes(packet[4:]))

    printed = sheet.print()
    assert printed.data == b"".join(expected)
    assert [printed.position(number) for number in range(count)] == positions


def test_a_packet_replaced_by_one_stays_where_it_is() -> None:
    source = b"".join(Maker().sound(time, size=10) for time in range(3))
    sheet = Sheet(source, bytearray())
    sheet.replace(1, b"x" * PACKET_SIZE)
    sheet.route_until(3, Routes({AUDIO + 1: Route(7, 0)}))

    assert sheet.print().data == b"x" * PACKET_SIZE


def program(*streams: tuple[int, int], pcr_pid: int | None = None, pmt_pid: int = 0x30) -> Program:
    found = tuple(ElementaryStream(pid, stream_type) for pid, stream_type in streams)
    return Program(9, pmt_pid, streams[0][0] if pcr_pid is None else pcr_pid, found)


@pytest.fixture
def layout() -> Layout:
    return Layout(Maker().tables())


def test_a_layout_gives_the_same_pid_to_the_same_kind_in_the_same_codec(layout: Layout) -> None:
    assert layout.admit(program((0x40, 0x1B), (0x41, 0x0F)), {}, ()) == {0x40: VIDEO, 0x41: AUDIO}
    assert layout.program == PROGRAM


def test_a_layout_gives_another_codec_a_pid_that_nobody_has_had(layout: Layout) -> None:
    mapping = layout.admit(program((0x40, 0x24), (0x100, 0x0F), (0x1000, 0x0F)), {}, {0x40})

    assert mapping[0x100] == AUDIO
    assert not {mapping[0x40], mapping[0x1000]} & {0x40, VIDEO, AUDIO, 0x1000}
    assert layout.program is not None
    assert layout.program.version == 1
    assert (layout.program.number, layout.program.pmt_pid) == (1, 0x1000)


def test_a_layout_counts_versions_modulo_32(layout: Layout) -> None:
    versions = []
    for number in range(40):
        layout.admit(program((0x40, 0x24 if number % 2 == 0 else 0x1B)), {}, ())
        assert layout.program is not None
        versions.append(layout.program.version)

    assert versions == [number % 32 for number in range(1, 41)]


def test_a_layout_keeps_the_pids_of_a_source_whose_streams_change_their_order(layout: Layout) -> None:
    first = layout.admit(program((0x40, 0x1B), (0x41, 0x0F), (0x42, 0x0F)), {}, ())
    second = layout.admit(program((0x42, 0x0F), (0x41, 0x0F), (0x40, 0x1B), pcr_pid=0x40), first, ())

    assert first == second


def test_a_layout_has_a_pid_for_a_clock_alone(layout: Layout) -> None:
    mapping = layout.admit(program((0x40, 0x1B), pcr_pid=0x45), {}, ())
    again = layout.admit(program((0x40, 0x1B), pcr_pid=0x46), {}, ())

    assert mapping[0x45] == again[0x46]
    assert len({*mapping.values()}) == 2
    assert layout.program is not None
    assert layout.program.pcr_pid == mapping[0x45]


@pytest.mark.parametrize("pcr_pid", [0, 0x11, 0x30, 0x1FFF])
def test_a_layout_has_no_clock_where_none_can_be(layout: Layout, pcr_pid: int) -> None:
    assert layout.admit(program((0x40, 0x1B), pcr_pid=pcr_pid), {}, ()) == {0x40: VIDEO}
    assert layout.program is not None
    assert layout.program.pcr_pid == 0x1FFF


def test_private_data_are_told_apart_by_their_descriptors(layout: Layout) -> None:
    def private(descriptors: bytes) -> Program:
        return Program(1, 0x30, 0x1FFF, (ElementaryStream(0x40, 0x06, descriptors),))

    ac3 = layout.admit(private(b"\x6a\x01\x00\x0a\x04deu\x00"), {}, ())
    assert layout.admit(private(b"\x6a\x01\x00\x0a\x04eng\x00"), {}, ()) == ac3
    assert layout.admit(private(b"\x7a\x01\x00"), {}, ()) != ac3
    assert layout.admit(private(b"\x05\x04AC-3"), {}, ()) != layout.admit(private(b"\x05\x04Opus"), {}, ())


def test_a_layout_remembers_a_limited_number_of_streams(layout: Layout) -> None:
    for number in range(2_000):
        layout.admit(program((0x40, number % 0xFF + 1), pcr_pid=0x40), {}, ())
        layout.admit(
            program(*((0x40 + place, (number + place) % 0xFF + 1) for place in range(50)), pcr_pid=0x40), {}, ()
        )

    assert len(layout.pids) <= 256 + 60
