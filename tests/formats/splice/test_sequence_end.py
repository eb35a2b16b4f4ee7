"""A video that another one follows is said to have ended where decoders would mix the two up: in HEVC."""

import random
import shutil
import subprocess
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.mpegts.psi import NULL_PID, ElementaryStream, Program
from streamproxy.formats.splice.ending import Ending, read_ending
from streamproxy.formats.splice.sequence_end import sequence_end
from tests.formats.splice import sources
from tests.formats.splice.playing import CHUNK, Channel, decode, entries, faults, of_pid, pid_at, starts, times
from tests.formats.splice.synthetic import AUDIO, FRAME, VIDEO, Maker, pes

UNIT = b"\0\0\1\x48\1"
HEVC = (ElementaryStream(VIDEO, 0x24), ElementaryStream(AUDIO, 0x0F))
PROGRAM = Program(1, 0x1000, VIDEO, HEVC, b"", 0)
CRA, TRAIL = b"\0\0\1\x2a\1\xaf", b"\0\0\1\x02\1\xd0"


# What is put in


def test_a_picture_without_a_length_goes_on_with_the_end() -> None:
    ending = Ending({VIDEO: 15}, last_picture=b"\0\0\1\xe0\0\0")

    end = sequence_end(PROGRAM, ending)

    assert end == (VIDEO, bytes((0x47, 0x01, 0x00, 0x30, 178, 0)) + b"\xff" * 177 + UNIT)


def test_behind_a_picture_with_a_length_the_end_has_a_pes_packet_of_its_own() -> None:
    ending = Ending({VIDEO: 3}, last_picture=b"\0\0\1\xe5\x12\x34")

    end = sequence_end(PROGRAM, ending)

    unit = b"\0\0\1\xe5\0\x08\x80\0\0" + UNIT
    assert end == (VIDEO, bytes((0x47, 0x41, 0x00, 0x34, 169, 0)) + b"\xff" * 168 + unit)


@given(st.integers(0x20, NULL_PID - 1), st.integers(0, 15), st.binary(min_size=3, max_size=3))
def test_the_end_is_one_packet_that_counts_on(pid: int, counter: int, rest: bytes) -> None:
    program = Program(1, 0x1000, pid, (ElementaryStream(pid, 0x24),), b"", 0)

    end = sequence_end(program, Ending({pid: counter}, last_picture=b"\0\0\1" + rest))

    assert end is not None
    assert end[0] == pid == pid_at(end[1], 0)
    assert len(end[1]) == PACKET_SIZE
    assert end[1][3] == 0x30 | (counter + 1) % 16
    assert end[1].endswith(UNIT)


@pytest.mark.parametrize("stream_type", [0x02, 0x1B, 0x06, 0x33, 0xEA])
def test_nothing_is_said_of_other_codecs(stream_type: int) -> None:
    program = Program(1, 0x1000, VIDEO, (ElementaryStream(VIDEO, stream_type),), b"", 0)

    assert sequence_end(program, Ending({VIDEO: 0}, last_picture=b"\0\0\1\xe0\0\0")) is None


def test_nothing_is_said_of_what_is_not_known() -> None:
    radio = Program(1, 0x1000, AUDIO, HEVC[1:], b"", 0)

    assert sequence_end(None, Ending({VIDEO: 0}, last_picture=b"\0\0\1\xe0\0\0")) is None
    assert sequence_end(radio, Ending({VIDEO: 0}, last_picture=b"\0\0\1\xe0\0\0")) is None
    assert sequence_end(PROGRAM, Ending({VIDEO: 0})) is None
    assert sequence_end(PROGRAM, Ending({AUDIO: 0}, last_picture=b"\0\0\1\xe0\0\0")) is None


# What the last picture is


def picture(maker: Maker, time: int, *, key: bool = False, scrambled: bool = False, size: int = 400) -> bytes:
    data = pes(0xE0, time, (CRA if key else TRAIL) + bytes(size))
    return maker.packets(VIDEO, data, clock=time - 45_000, scrambled=scrambled)


def hevc(begin: int, count: int) -> bytes:
    """Return pictures of HEVC with sound; every tenth is one to begin with."""
    maker, parts = Maker(), []
    for number in range(count):
        time = begin + number * FRAME
        parts += [maker.tables(HEVC)] if number % 10 == 0 else []
        parts += [picture(maker, time, key=number % 10 == 0), maker.sound(time)]
    return b"".join(parts)


def last_picture(*chunks: bytes) -> bytes:
    return read_ending(chunks, PROGRAM).last_picture


def test_the_last_picture_is_the_one_that_began_last() -> None:
    maker = Maker()
    first = maker.packets(VIDEO, b"\0\0\1\xe1\0\0\x80\0\0" + bytes(300))
    last = maker.packets(VIDEO, b"\0\0\1\xe2\x01\x37\x80\0\0" + bytes(300))

    assert last_picture(first, last[:PACKET_SIZE], last[PACKET_SIZE:], maker.sound(0)) == b"\0\0\1\xe2\x01\x37"
    assert last_picture(first + last) == b"\0\0\1\xe2\x01\x37"
    assert last_picture(last[PACKET_SIZE:]) == b""
    assert read_ending([first], None).last_picture == b""


def test_a_picture_that_is_scrambled_or_damaged_is_not_known() -> None:
    maker = Maker()
    clear, scrambled = picture(maker, 0), picture(maker, FRAME, scrambled=True)
    damaged = maker.packets(VIDEO, bytes(300))
    short = maker.packets(VIDEO, b"\0\0\1\xe0")

    assert last_picture(clear, scrambled) == b""
    assert last_picture(clear, scrambled[PACKET_SIZE:]) == b""
    assert last_picture(clear, damaged) == b""
    assert last_picture(clear, short) == b""
    assert last_picture(scrambled, clear) == b"\0\0\1\xe0\0\0"


# At a seam


def ends(data: bytes) -> list[int]:
    """Return where packets with an end stand."""
    return [at for at in range(0, len(data), PACKET_SIZE) if data[at : at + PACKET_SIZE].endswith(UNIT)]


@pytest.mark.parametrize("size", [PACKET_SIZE, CHUNK])
def test_the_end_stands_between_the_last_picture_and_what_comes_next(size: int) -> None:
    channel = Channel()
    channel.play(hevc(900_000, 25))
    channel.finish()
    seam = len(channel.output)
    channel.switch(hevc(5_000_000, 25), size)
    channel.finish(whole=True)

    assert ends(channel.output) == [seam]
    assert starts(channel.output[seam:], VIDEO)[0] > 0
    assert faults(channel.output) == []
    assert len(times(channel.output, VIDEO)) >= 48


def test_the_end_is_said_before_null_packets_and_pictures_of_another_codec_too() -> None:
    channel = Channel()
    channel.play(hevc(900_000, 25))
    channel.finish()
    channel.idle()
    seam = len(channel.output)
    channel.switch(Maker().stream(0, 25))
    channel.switch(hevc(5_000_000, 25))

    assert ends(channel.output) == [seam]


def test_what_goes_on_exactly_has_no_end() -> None:
    whole = hevc(900_000, 200)
    channel = Channel()
    channel.play(sources.cut(whole, 0, 0.6))
    channel.switch(sources.cut(whole, 0.3, 1), replay=True)
    channel.finish(whole=True)

    assert channel.output == whole


def test_a_seam_of_other_codecs_has_no_end() -> None:
    channel = Channel()
    channel.play(Maker().stream(0, 25))
    channel.switch(hevc(0, 25))
    channel.finish(whole=True)

    assert ends(channel.output) == []


# What a player makes of it


@cache
def has_encoder() -> bool:
    if shutil.which("ffmpeg") is None:
        return False
    listing = subprocess.run(["ffmpeg", "-v", "quiet", "-encoders"], capture_output=True, check=False, timeout=60)
    return b"libx265" in listing.stdout


def units(data: bytes, pid: int) -> list[int]:
    """Return the types of the NAL units of a video, as far as their packets show them."""
    payload = b"".join(packet[4 if packet[3] & 0x20 == 0 else 5 + packet[4] :] for packet in of_pid(data, pid))
    return [part[0] >> 1 & 0x3F for part in payload.split(b"\0\0\1")[1:] if part]


WAITING = 2
"""Pictures that a decoder has yet to show when a random access picture comes behind an end: it is told not to
(H.265, C.5.2.2)."""


@pytest.mark.skipif(not has_encoder(), reason="the streams are made by ffmpeg with libx265")
@pytest.mark.parametrize("muxer", [(), ("-omit_video_pes_length", "0")], ids=["without lengths", "with lengths"])
@pytest.mark.parametrize("seed", range(3))
def test_open_groups_of_hevc_follow_each_other_without_a_complaint(seed: int, muxer: tuple[str, ...]) -> None:
    chance = random.Random(seed)
    wholes = [sources.open_groups_of_hevc(0x100, 0, muxer), sources.open_groups_of_hevc(0x140, 700, muxer)]
    channel, pictures = Channel(), 0
    for place, whole in enumerate((*wholes, wholes[0])):
        pid = 0x140 if place == 1 else 0x100
        part = sources.cut(whole, chance.uniform(0.05, 0.15) if place else 0, chance.uniform(0.75, 1))
        assert 21 in units(part, pid)  # the encoder made what is to be tested
        pictures += shown(part, pid) if place else len(times(part, pid)) - 1
        if place:
            channel.switch(part)
        else:
            channel.play(part)
    channel.finish()

    assert len(ends(channel.output)) == 2
    assert faults(channel.output) == []
    player = decode(channel.output)
    assert player.complaints == ""
    assert pictures - 2 * WAITING <= player.frames["video"] <= pictures


def shown(part: bytes, pid: int) -> int:
    """Count the complete pictures from the first entry point on, but for those that are seen before it."""
    decoded = [presentation for presentation, _ in times(part[entries(part, pid)[0] :], pid)]
    assert any(time < decoded[0] for time in decoded)
    return sum(time >= decoded[0] for time in decoded[:-1])
