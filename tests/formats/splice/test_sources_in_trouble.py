"""Sources that are not as they should be, and sources that change."""

import itertools

import pytest

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.mpegts.psi import NULL_PID, ElementaryStream
from streamproxy.formats.mpegts.timestamps import WRAP, difference, read_pcr_base
from streamproxy.formats.splice import Candidate, Splicer
from tests.formats.splice import sources
from tests.formats.splice.playing import CHUNK, Channel, chunks, decode, entries, faults, of_pid, times
from tests.formats.splice.synthetic import AUDIO, FRAME, IDR, INTER, STREAMS, VIDEO, Maker, pes
from tests.helpers.tscheck import check


def clocks(data: bytes, pid: int = VIDEO) -> list[int]:
    found = (read_pcr_base(packet) for packet in of_pid(data, pid))
    return [clock for clock in found if clock is not None]


def begun(data: bytes | None = None) -> Channel:
    """Return a channel whose first source has ended."""
    channel = Channel()
    channel.play(Maker().stream(100_000, 60) if data is None else data)
    channel.finish()
    return channel


def test_a_source_whose_streams_change_is_followed() -> None:
    changing = Channel()
    changing.play(sources.foreign())
    changing.switch(sources.mpeg2())
    channel = Channel()
    channel.play(sources.usual())
    channel.switch(changing.output)
    channel.finish()

    assert faults(channel.output) == []
    assert list(check(channel.output).stream_types.values()) == [0x1B, 0x0F, 0x02, 0x03]
    player = decode(channel.output)
    assert [line for line in player.complaints.splitlines() if "New " not in line] == []


def test_a_pid_that_changes_its_codec_becomes_another() -> None:
    maker = Maker()
    other = (STREAMS[0], ElementaryStream(AUDIO, 0x03))
    source = maker.stream(5_000_000, 20) + maker.stream(5_000_000 + 20 * FRAME, 20, streams=other)
    source += maker.stream(5_000_000 + 40 * FRAME, 20)
    channel = begun()
    channel.switch(source)
    channel.finish()

    assert [fault for fault in faults(channel.output) if "0x0101: dts" not in fault] == []
    types = check(channel.output).stream_types
    assert sorted(types.values()) == [0x03, 0x0F, 0x1B]
    assert types[AUDIO] == 0x0F
    other_pid = next(pid for pid, stream_type in types.items() if stream_type == 0x03)
    assert len(times(channel.output, other_pid)) == 20


def test_a_stream_that_comes_and_goes_within_a_source_keeps_its_pid() -> None:
    maker = Maker()
    source = maker.stream(5_000_000, 20) + maker.stream(5_000_000 + 20 * FRAME, 20, streams=STREAMS[:1])
    source += maker.stream(5_000_000 + 40 * FRAME, 20)
    channel = begun()
    channel.switch(source)
    channel.finish()

    assert [fault for fault in faults(channel.output) if "0x0101: dts" not in fault] == []
    assert set(check(channel.output).streams) == {0, VIDEO, AUDIO, 0x1000}
    assert len(times(channel.output, AUDIO)) == 59 + 20 + 19


def test_a_table_of_several_packets_is_replaced_by_one_of_several() -> None:
    descriptors = b"".join(bytes((0x80 + number, 50)) + bytes(50) for number in range(8))
    maker = Maker()
    source = b""
    for number in range(40):
        if number % 10 == 0:
            source += maker.tables(descriptors=descriptors)
        source += maker.picture(number * FRAME, key=number % 10 == 0) + maker.sound(number * FRAME)
    for size in (PACKET_SIZE, CHUNK):
        channel = begun()
        before = len(channel.output)
        channel.switch(source, size)
        channel.finish(whole=True)

        assert faults(channel.output) == []
        after = channel.output[before:]
        assert len(of_pid(after, 0x1000)) == 3 * len(of_pid(after, 0))
        entry = channel.entries[-1]
        assert faults(entry.tables + channel.output[entry.position :]) == []


def test_what_a_source_loses_stays_lost() -> None:
    maker = Maker()
    source = chunks(maker.stream(5_000_000, 40), PACKET_SIZE)
    lost = next(at for at in range(60, len(source)) if not source[at][1] & 0x40)
    channel = begun()
    channel.switch(b"".join(source[:lost] + source[lost + 1 :]))
    channel.finish()

    assert [fault.partition(": ")[2][:10] for fault in faults(channel.output)] == ["continuity"]


def test_a_discontinuity_of_the_source_is_said_where_it_is_and_not_at_the_seam() -> None:
    maker = Maker()
    source = maker.tables() + maker.picture(0, key=True, flags=0x80) + maker.sound(0)
    source += b"".join(maker.picture(number * FRAME) + maker.sound(number * FRAME) for number in range(1, 10))
    source += maker.picture(9_000_000, key=True, flags=0x80) + maker.picture(9_000_000 + FRAME)
    channel = begun()
    before = len(channel.output)
    channel.switch(source)
    channel.finish(whole=True)

    flagged = [packet for packet in of_pid(channel.output[before:], VIDEO) if packet[3] & 0x20 and packet[5] & 0x80]
    assert len(flagged) == 1
    assert faults(channel.output) == []


def test_clocks_are_moved_with_their_originals() -> None:
    channel = begun()
    before = len(channel.output)
    channel.switch(Maker().stream(7_000_000, 30))
    channel.finish()

    for packet in of_pid(channel.output[before:], VIDEO):
        if packet[1] & 0x40:
            clock, original = (int.from_bytes(packet[at : at + 6], "big") for at in (6, 12))
            assert (original - clock) >> 15 == 9
            assert clock & 0x7FFF == 0x7E00


def test_scrambled_pictures_are_passed_as_they_are_but_for_their_clock() -> None:
    maker = Maker()
    source = maker.tables() + b"".join(
        maker.picture(7_000_000 + number * FRAME, key=True, flags=0x40, scrambled=True) for number in range(20)
    )
    channel = begun()
    before = len(channel.output)
    channel.switch(source)
    channel.finish(whole=True)

    after = of_pid(channel.output[before:], VIDEO)
    assert [packet[18:] for packet in after] == [packet[18:] for packet in of_pid(source, VIDEO)]
    steps = {difference(b, a) for a, b in zip(clocks(channel.output), clocks(channel.output)[1:], strict=False)}
    assert steps == {FRAME}


def test_a_clock_on_a_pid_of_its_own_goes_on() -> None:
    maker = Maker()
    source = b""
    for number in range(40):
        if number % 10 == 0:
            source += maker.tables(pcr_pid=0x1F0)
        time = 6_000_000 + number * FRAME
        clock = bytes((0x47, 0x01, 0xF0, 0x20, 183, 0x10)) + ((time - 45_000) << 15).to_bytes(6, "big")
        source += clock.ljust(PACKET_SIZE, b"\xff") + maker.picture(time, key=number % 10 == 0)
    channel = begun()
    channel.switch(source)
    channel.switch(Maker().stream(0, 30))
    channel.switch(source)
    channel.finish()

    assert [fault for fault in faults(channel.output) if " moves by 1." not in fault] == []
    assert len(clocks(channel.output, 0x1F0)) > 60


def test_the_first_source_may_have_no_tables_at_all() -> None:
    channel = begun(b"".join(Maker().picture(number * FRAME, key=True) for number in range(50)))
    channel.switch(Maker().stream(7_000_000, 30))
    channel.finish()

    assert check(channel.output).stream_types == {VIDEO: 0x1B, AUDIO: 0x0F}
    assert [fault for fault in faults(channel.output) if ": continuity: " in fault and "0x0100" not in fault] == []


def test_a_splicer_may_begin_with_a_candidate() -> None:
    source = Maker().stream(7_000_000, 30)
    channel = Channel()
    channel.switch(source)
    channel.finish(whole=True)

    assert channel.output == source


def test_a_candidate_without_tables_cannot_be_entered() -> None:
    splicer = Splicer()
    candidate = Candidate()
    candidate.feed(b"".join(Maker().picture(number * FRAME, key=True) for number in range(50)))

    assert not candidate.ready
    assert not candidate.settle()
    with pytest.raises(ValueError, match="not ready"):
        splicer.enter(candidate)


def test_a_candidate_without_an_entry_point_is_entered_anywhere_when_patience_is_up() -> None:
    source = Maker()
    source.stream(0, 1)
    channel = begun()
    candidate = Candidate()
    candidate.feed(source.tables() + b"".join(source.picture(number * FRAME) for number in range(50)))

    assert not candidate.ready
    assert candidate.settle()
    before = len(channel.output)
    channel.pieces += channel.splicer.enter(candidate)
    channel.finish()
    assert len(times(channel.output[before:], VIDEO)) == 49
    assert faults(channel.output) == []


def test_a_candidate_keeps_a_limited_amount_and_begins_at_its_newest_entry_point() -> None:
    maker = Maker()
    group = maker.tables() + maker.picture(0, key=True, size=1 << 18) + maker.picture(FRAME, size=1 << 18)
    candidate = Candidate()
    for _ in range(40):
        candidate.feed(group)
        assert candidate.ready

    assert 40 * len(group) > 20 << 20
    assert candidate.ready
    assert candidate.entry is not None
    assert candidate.entry.position % len(group) == 2 * PACKET_SIZE
    assert candidate.indexer.position - candidate.entry.position <= 8 << 20
    kept = sum(len(chunk.data) for chunk in candidate.from_entry()) + len(candidate.before_entry())
    assert kept <= 8 << 20


def test_a_candidate_without_any_entry_point_keeps_a_limited_amount() -> None:
    maker = Maker()
    picture = maker.tables() + maker.picture(0, size=1 << 18)
    candidate = Candidate()
    for _ in range(60):
        candidate.feed(picture)

    assert candidate.settle()
    assert 7 << 20 < sum(len(chunk.data) for chunk in candidate.from_entry()) <= 8 << 20


def test_a_candidate_whose_only_entry_point_is_too_long_ago_has_none() -> None:
    maker = Maker()
    candidate = Candidate()
    candidate.feed(maker.tables() + maker.picture(0, key=True))
    assert candidate.ready
    picture = maker.picture(FRAME, size=1 << 20)
    for _ in range(9):
        candidate.feed(picture)

    assert not candidate.ready
    assert candidate.settle()
    assert len(candidate.before_entry()) < PACKET_SIZE


def test_nothing_is_taken_while_no_source_is_in_force() -> None:
    channel = begun()
    before = len(channel.output)
    channel.play(sources.usual())
    channel.finish()

    assert len(channel.output) == before


def test_idle_is_seven_null_packets() -> None:
    idle = Splicer().idle()

    assert len(idle) == 1316
    assert len(of_pid(idle, NULL_PID)) == 7


@pytest.mark.parametrize("begin", [WRAP - 20 * FRAME, WRAP - 1, WRAP // 2 - 10 * FRAME, 0])
def test_times_may_wrap_anywhere(begin: int) -> None:
    channel = begun(Maker().stream(begin, 60))
    channel.switch(Maker().stream(WRAP - 10 * FRAME, 40))
    channel.switch(Maker().stream(begin + WRAP // 2, 40))
    channel.finish()

    decode_times = [decode for _, decode in times(channel.output, VIDEO)]
    assert {difference(b, a) for a, b in itertools.pairwise(decode_times)} == {FRAME}
    assert faults(channel.output) == []


@pytest.mark.parametrize(("needed", "given"), [(9_000, 45_000), (45_000, 45_000), (90_000, 90_000)])
def test_a_source_gets_the_delay_before_decoding_that_it_needs(needed: int, given: int) -> None:
    maker = Maker()
    source = maker.tables()
    for number in range(30):
        time = 3_000_000 + number * FRAME
        source += maker.packets(VIDEO, pes(0xE0, time, IDR), clock=time - needed)
    channel = begun()
    channel.switch(source)
    channel.finish()

    delays = [a - b for (a, _), b in zip(times(channel.output, VIDEO)[-20:], clocks(channel.output)[-20:], strict=True)]
    assert set(delays) == {given}
    steps = {difference(b, a) for a, b in itertools.pairwise(clocks(channel.output))}
    assert steps == {FRAME}


def test_sound_from_before_the_entry_point_does_not_set_the_clock_back() -> None:
    maker = Maker()
    source = b""
    for number in range(40):
        if number % 10 == 0:
            source += maker.tables(pcr_pid=AUDIO)
        time = 3_000_000 + number * FRAME
        # The sound is a quarter of a second ahead of the pictures, and some of it would be of use.
        source += maker.packets(AUDIO, pes(0xC0, time + 22_500, bytes(200)), clock=time - 45_000)
        source += maker.packets(VIDEO, pes(0xE0, time, (IDR if number % 10 == 0 else INTER) + bytes(300)))
    channel = begun()
    channel.switch(source[30 * PACKET_SIZE :])
    channel.finish()

    assert faults(channel.output) == []
    assert difference(clocks(channel.output, AUDIO)[0], clocks(channel.output, VIDEO)[-1]) > 0


def test_null_packets_of_later_sources_pass() -> None:
    channel = begun()
    maker = Maker()
    channel.switch(maker.stream(0, 10) + Splicer().idle() + maker.stream(10 * FRAME, 5))
    channel.finish(whole=True)

    assert len(of_pid(channel.output, NULL_PID)) == 7


@pytest.mark.parametrize("size", [PACKET_SIZE, 2 * PACKET_SIZE, 348 * PACKET_SIZE])
def test_a_change_told_by_a_table_of_several_packets_is_followed(size: int) -> None:
    descriptors = b"".join(bytes((0x80 + number, 50)) + bytes(50) for number in range(8))
    other = (STREAMS[0], ElementaryStream(AUDIO, 0x03))
    maker = Maker()
    source = b""
    for number in range(30):
        streams = other if 10 <= number < 20 else STREAMS
        if number % 10 == 0:
            source += maker.tables(streams, descriptors=descriptors)
        source += maker.picture(number * FRAME, key=number % 10 == 0) + maker.sound(number * FRAME)
    channel = begun()
    channel.switch(source, size)
    channel.finish(whole=True)

    types = check(channel.output).stream_types
    assert sorted(types.values()) == [0x03, 0x0F, 0x1B]
    changed = next(pid for pid, stream_type in types.items() if stream_type == 0x03)
    assert len(times(channel.output, changed)) == 10
    assert [fault for fault in faults(channel.output) if "0x0101: dts" not in fault] == []


def test_a_program_whose_table_moves_and_comes_back_is_followed() -> None:
    maker = Maker()
    source = b""
    for part, (pmt_pid, audio) in enumerate([(0x1000, 0x0F), (0x1000, 0x0F), (0x1001, 0x03), (0x1000, 0x0F)]):
        streams = (STREAMS[0], ElementaryStream(AUDIO, audio))
        source += maker.tables(streams, pmt_pid=pmt_pid)
        for number in range(part * 10, part * 10 + 10):
            source += maker.picture(number * FRAME, key=number % 10 == 0) + maker.sound(number * FRAME)
    channel = begun()
    before = len(channel.output)
    channel.switch(source)
    channel.finish(whole=True)

    assert len(times(channel.output[before:], AUDIO)) == 30


def test_an_entry_point_that_is_told_by_a_later_packet_is_where_it_begins() -> None:
    maker = Maker()
    source = maker.tables()
    for number in range(30):
        # What tells is in the second packet: before it comes a long message for nobody.
        message = b"\0\0\1\x06\x05\xc8" + b"\xee" * 200
        picture = message + (IDR if number % 10 == 0 else INTER) + bytes(300)
        source += maker.packets(VIDEO, pes(0xE0, number * FRAME, picture), clock=number * FRAME)
    channel = begun()
    before = len(channel.entries)
    channel.switch(source, PACKET_SIZE)
    channel.finish(whole=True)

    positions = [entry.position for entry in channel.entries[before:]]
    # The first is found only by the candidate.
    assert len(positions) == 3
    assert [times(channel.output[position:], VIDEO)[0] for position in positions] == [
        times(channel.output, VIDEO)[-place] for place in (30, 20, 10)
    ]


def test_an_entry_point_that_is_found_when_it_has_left_is_said_where_it_is_or_not_at_all() -> None:
    picture = b"\0\0\1\x06\x05\xc8" + b"\xee" * 200 + IDR
    maker = Maker()
    tables = maker.tables()
    halves = chunks(maker.packets(VIDEO, pes(0xE0, 0, picture)), PACKET_SIZE)
    for idle, position in ((False, [len(tables)]), (True, [])):
        channel = Channel()
        channel.play(tables + halves[0])
        if idle:
            channel.idle()
        channel.play(halves[1])

        assert [entry.position for entry in (*channel.entries, *channel.splicer.look())] == position


def test_a_candidate_keeps_all_since_its_first_entry_point() -> None:
    channel = begun()
    candidate = Candidate()
    for chunk in chunks(Maker().stream(0, 100)):
        candidate.feed(chunk)
    before = len(channel.output)
    channel.pieces += channel.splicer.enter(candidate)
    channel.finish(whole=True)

    assert len(times(channel.output[before:], VIDEO)) == 100


def test_entering_ends_the_source_in_force() -> None:
    finished, entered = Channel(), Channel()
    for channel in (finished, entered):
        channel.play(sources.usual())
        candidate = Candidate()
        candidate.feed(sources.foreign())
        if channel is finished:
            channel.finish()
        channel.pieces += channel.splicer.enter(candidate)

    assert entered.output == finished.output


def test_entries_of_the_first_source_are_its_own() -> None:
    source = sources.usual()
    channel = Channel()
    channel.play(source)
    channel.finish()

    assert [entry.position for entry in channel.entries] == entries(source, 0x100)


def test_a_clock_that_has_nothing_to_do_with_the_pictures_jumps_and_that_is_said() -> None:
    maker = Maker()
    source = maker.tables()
    for number in range(30):
        source += maker.packets(VIDEO, pes(0xE0, number * FRAME, IDR), clock=5_000_000 + number * FRAME)
    channel = begun(source)
    channel.switch(Maker().stream(7_000_000, 30))
    channel.finish()

    assert faults(channel.output) == []
    decode_times = [decode for _, decode in times(channel.output, VIDEO)]
    assert {difference(b, a) for a, b in itertools.pairwise(decode_times)} == {FRAME}


def test_small_chunks_tell_as_much_as_large_ones() -> None:
    channel = Channel()
    channel.play(Maker().stream(0, 40), PACKET_SIZE)
    channel.switch(Maker().stream(7_000_000, 30), PACKET_SIZE)
    channel.finish(whole=True)

    decode_times = [decode for _, decode in times(channel.output, VIDEO)]
    assert {difference(b, a) for a, b in itertools.pairwise(decode_times)} == {FRAME}
    assert len(decode_times) == 39 + 30
