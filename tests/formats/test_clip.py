"""The looped clip is one sound, endless stream, whoever reads it in whatever pieces."""

import json
import shutil
import subprocess
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.clip import Clip
from streamproxy.formats.mpegts import PACKET_SIZE
from tests.helpers.tscheck import check

DATA = files("streamproxy").joinpath("data", "demo.ts").read_bytes()
CLIP = Clip(DATA)
VIDEO, AUDIO = 0x0100, 0x0101
CLOCK_WRAP = 1 << 33
LOOPS_BEFORE_WRAP = CLOCK_WRAP // 1_152_000

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
needs_ffprobe = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed")


def loops(first: int, last: int) -> bytes:
    return CLIP.read(first * CLIP.packet_count, last * CLIP.packet_count)


def packet(pid: int, counter: int, *, pcr: int | None = None, pts: int | None = None, payload: bool = True) -> bytes:
    """Return a packet with what is asked for, times at 90 kHz; a PES packet in it takes the last 19 bytes."""
    clock = b"" if pcr is None else b"\x10" + (pcr << 15 | 0x7E00).to_bytes(6, "big")
    unit = b"" if pts is None else b"\0\0\1\xe0\0\0\x80\x80\x05" + stamp(pts, 0b0010)
    unit += b"\xff" * 5 if payload else b""
    adaptation = (clock or b"\0").ljust(183 - len(unit), b"\xff")
    start = 0x40 if pts is not None else 0
    control = 0x20 | (0x10 if payload else 0) | counter & 0x0F
    return bytes((0x47, start | pid >> 8, pid & 0xFF, control, len(adaptation))) + adaptation + unit


def stamp(ticks: int, prefix: int) -> bytes:
    bits = prefix << 36 | (ticks >> 30) << 33 | (ticks >> 15 & 0x7FFF) << 17 | (ticks & 0x7FFF) << 1 | 0x1_0001_0001
    return bits.to_bytes(5, "big")


def frames(*pts: int) -> list[bytes]:
    return [packet(VIDEO, counter, pcr=time - 3600, pts=time) for counter, time in enumerate(pts)]


def test_the_demo_clip_is_small() -> None:
    assert len(DATA) <= 250_000
    assert len(DATA) == CLIP.packet_count * PACKET_SIZE


def test_the_demo_clip_lasts_as_long_as_its_pictures_and_its_sound() -> None:
    assert CLIP.duration == 12.8
    assert CLIP.duration == 320 / 25 == 600 * 1024 / 48_000


def test_the_demo_clip_names_itself() -> None:
    assert b"\x0bstreamproxy\x10streamproxy demo" in DATA


@pytest.mark.parametrize("pid", [0x0000, 0x1000])
def test_the_demo_clip_has_its_tables_twice_a_second(pid: int) -> None:
    data = loops(0, 2)
    places = [at // PACKET_SIZE for at in range(0, len(data), PACKET_SIZE) if data[at + 1 : at + 3] == tables(pid)]

    assert max(gaps(places)) <= 0.5


def test_the_demo_clip_has_a_clock_ten_times_a_second() -> None:
    data = loops(0, 2)
    headers = ((at // PACKET_SIZE, data[at + 3 : at + 6]) for at in range(0, len(data), PACKET_SIZE))
    places = [place for place, (control, length, flags) in headers if control & 0x20 and length and flags & 0x10]

    assert max(gaps(places)) <= 0.1


@needs_ffprobe
def test_the_demo_clip_has_a_key_frame_every_two_seconds() -> None:
    packets = probe(DATA, "-select_streams", "v", "-show_packets")["packets"]

    assert [number for number, each in enumerate(packets) if "K" in each["flags"]] == [0, 50, 100, 150, 200, 250, 300]


def test_the_first_repetition_is_the_clip_itself() -> None:
    assert loops(0, 1) == DATA


def test_five_repetitions_are_one_sound_stream() -> None:
    report = check(loops(0, 5))

    assert report.faults == []
    assert report.duplicates == 0
    assert report.stream_types == {VIDEO: 0x1B, AUDIO: 0x0F}
    earliest, latest = report.streams[VIDEO].pts_range or (0, 0)
    assert latest - earliest == (5 * 320 - 1) * 3600
    first, last = report.streams[VIDEO].pcr_range or (0, 0)
    assert last - first == (5 * 320 - 1) * 3600 * 300


@needs_ffprobe
def test_every_picture_and_every_sound_follows_the_one_before() -> None:
    packets = probe(loops(0, 3), "-show_packets")["packets"]
    video = [int(each["dts"]) for each in packets if each["codec_type"] == "video"]
    audio = [int(each["dts"]) for each in packets if each["codec_type"] == "audio"]

    assert (len(video), len(audio)) == (3 * 320, 3 * 600)
    assert {later - earlier for earlier, later in pairwise(video)} == {3600}
    assert {later - earlier for earlier, later in pairwise(audio)} == {1920}


def test_the_stream_is_sound_where_its_clocks_wrap() -> None:
    report = check(loops(LOOPS_BEFORE_WRAP - 2, LOOPS_BEFORE_WRAP + 3))

    assert report.faults == []
    earliest, latest = report.streams[VIDEO].pts_range or (0, 0)
    assert earliest < CLOCK_WRAP < latest


@given(st.integers(min_value=0, max_value=10**12))
def test_the_stream_is_sound_at_every_seam(loop: int) -> None:
    seam = loop * CLIP.packet_count

    assert (
        check(CLIP.read(seam, seam + CLIP.packet_count) + CLIP.read(seam + CLIP.packet_count, seam + 700)).faults == []
    )


@given(start=st.integers(0, 10**9), sizes=st.lists(st.integers(0, 1200), max_size=8))
def test_a_read_in_pieces_is_the_same_as_a_read_at_once(start: int, sizes: list[int]) -> None:
    places = [start]
    for size in sizes:
        places.append(places[-1] + size)
    pieces = [CLIP.read(first, last) for first, last in pairwise(places)]

    assert b"".join(pieces) == CLIP.read(start, places[-1])
    assert [len(piece) for piece in pieces] == [size * PACKET_SIZE for size in sizes]


def test_a_read_of_no_packets_is_empty() -> None:
    assert CLIP.read(7, 7) == b""
    assert CLIP.read(7, 3) == b""


@given(st.integers(0, 10**7))
def test_a_repetition_is_due_after_each_duration(loop: int) -> None:
    # A hair before and after, since seconds are floating-point numbers.
    assert CLIP.packets_until(loop * CLIP.duration + 1e-4) == loop * CLIP.packet_count
    assert CLIP.packets_until((loop + 1) * CLIP.duration - 1e-4) == (loop + 1) * CLIP.packet_count - 1


@given(st.floats(0, 10**6), st.floats(0, 60))
def test_no_packet_is_taken_back(seconds: float, more: float) -> None:
    assert CLIP.packets_until(seconds) <= CLIP.packets_until(seconds + more)


def test_packets_are_due_when_the_clock_says_so() -> None:
    clip = Clip(b"".join([packet(AUDIO, 0), packet(AUDIO, 1), *frames(3600, 7200, 10_800), packet(AUDIO, 2)]))

    due = {ticks: clip.packets_until((ticks + 0.5) / 90_000) for ticks in range(0, 10_800, 900)}

    # The clocks are at ticks 1800, 5400 and 9000: between the last and the first are 3600 ticks and four packets.
    assert list(due.values()) == [0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 5]


def test_a_packet_without_payload_repeats_the_counter() -> None:
    first, second, third = frames(3600, 7200, 10_800)
    bare = packet(VIDEO, 0, payload=False)
    clip = Clip(bare + first + bare + second + third + packet(0x1FFF, 7) + bare)

    data = clip.read(0, 20 * clip.packet_count)

    assert check(data).faults == []
    counters = [data[at + 3] & 0x0F for at in range(0, len(data), PACKET_SIZE)]
    assert counters[:14] == [15, 0, 0, 1, 2, 7, 2, 2, 3, 3, 4, 5, 7, 5]


def test_presentation_and_decoding_times_keep_their_distance() -> None:
    header = b"\0\0\1\xe0\0\0\x80\xc0\x0a"
    delays = [3600, 10_800, 0]  # the third picture is shown before the second
    units = [header + stamp(3600 * n + delay, 0b0011) + stamp(3600 * n, 0b0001) for n, delay in enumerate(delays)]
    begins = [packet(VIDEO, n, pcr=3600 * n, pts=0)[: -len(unit)] for n, unit in enumerate(units)]
    clip = Clip(b"".join(begin + unit for begin, unit in zip(begins, units, strict=True)))

    data = clip.read(0, 100)

    assert clip.duration == 0.12
    for n in range(100):
        unit = header + stamp(3600 * n + delays[n % 3], 0b0011) + stamp(3600 * n, 0b0001)
        assert data[: (n + 1) * PACKET_SIZE].endswith(unit)


def test_units_without_time_stamps_stay_as_they_are() -> None:
    unit = b"\0\0\1\xbf\0\0\x80\x80\x05" + stamp(7200, 0b0010)
    private = b"\x47\x41\x02\x10" + unit.ljust(184, b"\xff")
    clip = Clip(b"".join(frames(3600, 7200)) + private)

    assert clip.read(5, 6)[4:] == private[4:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "whole packets"),
        (DATA[:-1], "whole packets"),
        (b"\x48" + DATA[1:], "whole packets"),
        (packet(VIDEO, 0, pts=0) * 3, "no clock"),
        (b"\x47\x41\x00\x20\x01\x10".ljust(PACKET_SIZE, b"\0"), "no clock"),
        (packet(VIDEO, 0, pcr=0, pts=0), "frame rate"),
        (b"".join(frames(3600, 7200, 10_801)), "frame rate"),
        (b"".join(frames(7200, 3600)), "frame rate"),
        (packet(VIDEO, 0, pcr=0, pts=3600) + packet(VIDEO, 1, pcr=7200, pts=7200), "not steady"),
        (packet(VIDEO, 0, pcr=9, pts=3600) + packet(VIDEO, 1, pcr=9, pts=7200), "not steady"),
        (b"\x47\x41\x00\x30\xb0".ljust(181, b"\0") + b"\0\0\1\xe0\0\0\x80", "split"),
        (b"\x47\x41\x00\x30\xab".ljust(176, b"\0") + b"\0\0\1\xe0\0\0\x80\x80\x05\0\0\0", "split"),
    ],
)
def test_what_cannot_be_looped_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Clip(data)


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), max_size=30))
def test_a_damaged_clip_is_refused_or_read(changes: list[tuple[int, int]]) -> None:
    data = bytearray(DATA)
    for at, value in changes:
        data[at] = value

    try:
        clip = Clip(bytes(data))
    except ValueError:
        return
    assert len(clip.read(500, 600)) == 100 * PACKET_SIZE


@needs_ffmpeg
@needs_ffprobe
def test_ffmpeg_decodes_three_repetitions_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "three.ts"
    path.write_bytes(loops(0, 3))

    command = ["ffmpeg", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"]
    result = subprocess.run(command, capture_output=True, check=False, timeout=50)

    assert (result.returncode, result.stderr, result.stdout) == (0, b"", b"")
    streams = probe(path.read_bytes(), "-show_streams")["streams"]
    assert [(each["codec_type"], each["codec_name"]) for each in streams] == [("video", "h264"), ("audio", "aac")]


def tables(pid: int) -> bytes:
    """Return the second and third byte of a packet in which a table begins."""
    return bytes((0x40 | pid >> 8, pid & 0xFF))


def gaps(places: list[int]) -> list[float]:
    """Return the seconds between packets of the stream, by bisection, since a clip says only what is due when."""
    times = [when(place) for place in places]
    return [later - earlier for earlier, later in pairwise(times)]


def when(place: int) -> float:
    early, late = 0.0, 3 * CLIP.duration
    while late - early > 1e-6:
        middle = (early + late) / 2
        early, late = (middle, late) if CLIP.packets_until(middle) < place else (early, middle)
    return late


def probe(data: bytes, *options: str) -> dict[str, list[dict[str, str]]]:
    command = ["ffprobe", "-v", "error", "-of", "json", *options, "-"]
    result = subprocess.run(command, input=data, capture_output=True, check=True, timeout=50)
    answer: dict[str, list[dict[str, str]]] = json.loads(result.stdout)
    return answer
