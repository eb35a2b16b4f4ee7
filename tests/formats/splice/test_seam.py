"""What a player sees and hears of a switch: nothing."""

import itertools
import random
import re

import pytest

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.mpegts.timestamps import difference
from tests.formats.splice import sources
from tests.formats.splice.playing import (
    CHUNK,
    Channel,
    chunks,
    decode,
    entries,
    faults,
    of_pid,
    packets,
    pid_at,
    starts,
    times,
)
from tests.formats.splice.synthetic import FRAME, Maker
from tests.helpers.tscheck import check

VIDEO_TYPES = {0x02, 0x1B, 0x24}
AUDIO_TYPES = {0x03, 0x0F}


def pid_of(data: bytes, types: set[int]) -> int | None:
    return next((pid for pid, stream_type in check(data).stream_types.items() if stream_type in types), None)


def complete_pictures(part: bytes, whole: bytes, *, first: bool) -> int:
    """Count the pictures that a channel shows of a part of a source: from its entry point to the last complete one.

    What is decoded after the entry point but seen before it refers to what is not there.
    """
    video = pid_of(whole, VIDEO_TYPES)
    if video is None:
        return 0
    shown = [presentation for presentation, _ in times(part[0 if first else entries(part, video)[0] :], video)]
    return sum(first or difference(time, shown[0]) >= 0 for time in shown[:-1])


def without_pauses(found: list[str]) -> list[str]:
    """Leave out what the checker says of a PID that was not in use for some time, since it looks at each alone."""
    return [fault for fault in found if not re.search(r" time moves by \d|: the clock moves by \d", fault)]


def about_a_seam(complaints: str, sequence: str) -> list[str]:
    """Leave out what a player says of its own doing.

    It tells of streams that are new. And if a stream that began with 44.1 kHz goes on with 48 kHz, ffmpeg spaces the
    frames of a PES packet as before, and finds the next PES packet too early, however long after the seam.
    """
    own = [r"^\[mpegts @ \w+\] New \w+ stream 0:"]
    if sequence.startswith("F"):
        own.append(r"Non-monotonous DTS in output stream 0:1;")
    return [line for line in complaints.splitlines() if not any(re.search(each, line) for each in own)]


def played(sequence: str, seed: int, size: int = CHUNK) -> tuple[Channel, int]:
    """Play parts of sources one after another; return the channel, and how many pictures it should show."""
    chance = random.Random(seed)
    channel, pictures = Channel(), 0
    for place, letter in enumerate(sequence):
        whole = sources.BY_LETTER[letter]()
        part = sources.cut(whole, chance.uniform(0, 0.15) if place else 0, chance.uniform(0.75, 1))
        pictures += complete_pictures(part, whole, first=not place)
        if place:
            channel.switch(part, size)
        else:
            # The first two chunks are never held back.
            channel.play(part[: 2 * PACKET_SIZE], PACKET_SIZE)
            channel.play(part[2 * PACKET_SIZE :], size)
    channel.finish()
    return channel, pictures


def test_without_a_splicer_there_are_faults() -> None:
    # What all the other tests rest on: the checker and the player do see a seam.
    naive = sources.cut(sources.usual(), 0, 0.8) + sources.cut(sources.foreign(), 0.05, 1)
    same_pids = sources.cut(sources.usual(), 0, 0.8) + sources.cut(sources.usual(), 0.05, 1)

    assert decode(naive).complaints
    assert faults(same_pids)
    assert decode(same_pids).complaints


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "sequence", ["AF", "FA", "AFA", "AA", "WA", "AW", "FW", "TA", "AT", "SA", "AS", "MO", "OM", "AR", "RA", "RR"]
)
def test_sources_of_the_same_kind_become_one_stream_without_a_seam(sequence: str, seed: int) -> None:
    channel, pictures = played(sequence, seed)

    assert faults(channel.output) == []
    player = decode(channel.output)
    assert about_a_seam(player.complaints, sequence) == []
    assert player.frames["video"] == pictures


@pytest.mark.parametrize("sequence", ["AH", "HA", "AHA", "FHF", "AM", "AMA", "AFHMRWA"])
def test_sources_of_other_kinds_become_one_stream_without_a_seam(sequence: str) -> None:
    channel, pictures = played(sequence, len(sequence))

    assert without_pauses(faults(channel.output)) == []
    player = decode(channel.output)
    assert about_a_seam(player.complaints, sequence) == []
    assert player.frames["video"] == pictures


@pytest.mark.parametrize("size", [7 * PACKET_SIZE, 70 * PACKET_SIZE, 348 * PACKET_SIZE])
def test_how_a_source_is_cut_into_chunks_makes_no_difference(size: int) -> None:
    sequence = "AFA"
    channel, pictures = played(sequence, 5, size)

    assert faults(channel.output) == []
    player = decode(channel.output)
    assert about_a_seam(player.complaints, sequence) == []
    assert player.frames["video"] == pictures


@pytest.mark.parametrize("share", [0.4, 0.55, 0.7, 0.85])
@pytest.mark.parametrize("sample_rate", [48_000, 44_100])
@pytest.mark.parametrize("size", [PACKET_SIZE, CHUNK])
def test_sound_goes_on_within_a_frame(share: float, sample_rate: int, size: int) -> None:
    channel = Channel()
    channel.play(sources.cut(sources.fine_sound(), 0, share))
    channel.switch(sources.cut(sources.fine_sound(sample_rate=sample_rate, clock=500), 0.1, 1), size)

    presentation_times = [presentation for presentation, _ in times(channel.output, 0x101)]
    frame = 90_000 * 1024 / min(sample_rate, 48_000)
    steps = [difference(later, earlier) for earlier, later in itertools.pairwise(presentation_times)]
    assert min(steps) >= 1920 - 180
    assert max(steps) <= 2 * frame


def test_pictures_go_on_in_step() -> None:
    channel = Channel()
    channel.play(sources.cut(sources.usual(), 0, 0.8))
    channel.switch(sources.cut(sources.usual(), 0.1, 1))

    decode_times = [decode for _, decode in times(channel.output, 0x100)]
    steps = {difference(later, earlier) for earlier, later in itertools.pairwise(decode_times)}
    assert steps == {3600}


def test_pictures_that_refer_to_what_is_not_there_are_left_out() -> None:
    source = sources.open_groups()
    part = packets(source, entries(source, 0x100)[1] // PACKET_SIZE - 10)
    entry = entries(part, 0x100)[0]
    entry_time = times(part[entry:], 0x100)[0][0]
    leading = [presentation for presentation, _ in times(part[entry:], 0x100) if presentation < entry_time]
    assert leading  # the encoder made what is to be tested

    channel = Channel()
    channel.play(sources.cut(sources.mpeg2(), 0, 0.8))
    channel.finish()
    before = len(times(channel.output, 0x400))
    channel.switch(part)
    channel.finish(whole=True)

    after = [presentation for presentation, _ in times(channel.output, 0x400)][before:]
    assert len(after) == len(times(part[entry:], 0x100)) - len(leading)
    assert faults(channel.output) == []
    assert decode(channel.output).complaints == ""


def test_a_stream_of_another_codec_gets_a_pid_of_its_own_and_the_old_one_comes_back() -> None:
    channel = Channel()
    channel.play(sources.usual())
    channel.switch(sources.hevc())
    channel.switch(sources.usual())
    channel.finish()

    versions = [packet[10] >> 1 & 0x1F for packet in of_pid(channel.output, 0x1000)]
    assert sorted(set(versions)) == [0, 1, 2]
    assert check(channel.output).stream_types == {0x100: 0x1B, 0x101: 0x0F, 0x120: 0x24}


def test_a_stream_of_the_same_codec_changes_no_table() -> None:
    channel = Channel()
    channel.play(sources.usual())
    channel.switch(sources.foreign())

    tables = {packet[4:] for pid in (0, 0x1000) for packet in of_pid(channel.output, pid)}
    assert len(tables) == 2


def test_a_lost_audio_track_is_announced_and_so_is_its_return() -> None:
    channel = Channel()
    channel.play(sources.two_tracks())
    channel.switch(sources.usual())
    channel.switch(sources.two_tracks())
    channel.finish()

    assert [fault for fault in faults(channel.output) if "0x0212" not in fault] == []
    versions = [packet[10] >> 1 & 0x1F for packet in of_pid(channel.output, 0x1000)]
    assert sorted(set(versions)) == [0, 1, 2]
    assert set(check(channel.output).stream_types) == {0x210, 0x211, 0x212}


def test_tables_of_later_sources_other_than_of_programs_are_left_out() -> None:
    channel = Channel()
    channel.play(sources.usual())
    before = len(channel.output)
    channel.switch(sources.foreign())

    assert of_pid(channel.output[:before], 0x11)
    assert of_pid(channel.output[before:], 0x11) == []


def test_tables_are_put_in_where_a_source_has_them_too_seldom() -> None:
    channel = Channel()
    channel.play(sources.usual())
    before = len(channel.output)
    channel.switch(sources.rare_tables())
    channel.finish()

    tables = 0, 0x1000
    after = channel.output[before:]
    pictures = starts(after, 0x100)
    since = [sum(at < table for at in pictures) for pid in tables for table in starts(after, pid)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(since)]
    assert len(starts(sources.rare_tables(), 0)) == 3
    assert 5 <= max(gaps) <= 0.5 * 25


def test_counters_that_nobody_saw_lately_are_said_to_jump() -> None:
    source = Maker()
    long = source.tables() + b"".join(source.picture(time * FRAME, key=not time, size=1 << 20) for time in range(6))
    channel = Channel()
    channel.play(long, 348 * PACKET_SIZE)
    channel.switch(Maker().stream(0, 30))
    channel.finish()

    assert faults(channel.output) == []
    assert sum(packet[3] & 0x30 == 0x20 and packet[5] == 0x80 for packet in of_pid(channel.output, 0)) == 1


def test_null_packets_hold_the_line_between_two_sources() -> None:
    channel = Channel()
    channel.play(sources.cut(sources.usual(), 0, 0.8))
    channel.finish()
    for _ in range(3):
        channel.idle()
    channel.switch(sources.foreign())
    channel.finish()

    assert len(of_pid(channel.output, 0x1FFF)) == 21
    assert faults(channel.output) == []
    assert decode(channel.output).complaints == ""


def test_a_source_that_ends_by_itself_is_published_to_its_last_picture() -> None:
    channel = Channel()
    channel.play(sources.usual())
    channel.finish(whole=True)
    channel.switch(sources.foreign())
    channel.finish(whole=True)

    assert faults(channel.output) == []
    player = decode(channel.output)
    assert player.complaints == ""
    assert player.frames["video"] == 75 + 90


@pytest.mark.parametrize("sequence", ["AF", "SFS", "AHA", "RR"])
def test_entry_points_are_where_they_are_said_to_be(sequence: str) -> None:
    chance = random.Random(3)
    channel = Channel()
    for place, letter in enumerate(sequence):
        part = sources.cut(sources.BY_LETTER[letter](), 0.1 if place else 0, chance.uniform(0.75, 1))
        channel.idle()
        if place:
            channel.switch(part)
        else:
            channel.play(part)
    channel.finish()
    output = channel.output

    assert len(channel.entries) >= 2 * len(sequence)
    positions = [entry.position for entry in channel.entries]
    assert positions == sorted(set(positions))
    for entry in channel.entries:
        assert output[entry.position + 1] & 0x40
        if sequence != "RR":
            assert entry.position in entries(output, pid_at(output, entry.position))
        head = entry.tables + output[entry.position :]
        assert [fault for fault in without_pauses(faults(head)) if "the stream's clock never comes" not in fault] == []


def test_the_chosen_one_of_several_programs_is_kept() -> None:
    several = sources.two_programs()
    channel = Channel()
    channel.play(sources.usual())
    before = len(channel.output)
    channel.switch(several)
    channel.finish()

    assert {pid_at(channel.output, at) for at in range(before, len(channel.output), PACKET_SIZE)} == {
        0,
        0x100,
        0x101,
        0x1000,
    }
    assert faults(channel.output) == []
    assert decode(channel.output).complaints == ""


def test_after_several_programs_the_table_says_that_there_is_one() -> None:
    channel = Channel()
    channel.play(sources.two_programs())
    channel.finish()
    channel.switch(sources.usual())
    channel.finish()

    versions = [packet[10] >> 1 & 0x1F for packet in of_pid(channel.output, 0)]
    assert sorted(set(versions)) == [0, 1]
    assert faults(channel.output) == []


def test_before_the_first_switch_what_comes_out_is_what_went_in() -> None:
    fed = chunks(sources.usual())
    channel = Channel()
    for chunk in fed:
        channel.pieces += channel.splicer.feed(chunk)
    channel.finish(whole=True)

    assert len(channel.pieces) == len(fed)
    assert all(piece.data is chunk for piece, chunk in zip(channel.pieces, fed, strict=True))
