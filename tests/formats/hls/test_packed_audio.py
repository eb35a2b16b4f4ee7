"""Packed audio: its frames, its time, and the transport stream that is made of it."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.hls.audio_frames import AudioCodec, AudioFrame, read_frame
from streamproxy.formats.hls.packed_audio import NotPackedAudioError, PackedAudio, is_packed_audio, read_timestamp
from tests.helpers.tscheck import check

OWNER = b"com.apple.streaming.transportStreamTimestamp\0"
WRAP = 1 << 33


def tag(ticks: int, *, more: bytes = b"", owner: bytes = OWNER) -> bytes:
    content = owner + ticks.to_bytes(8, "big")
    body = more + b"PRIV" + len(content).to_bytes(4, "big") + b"\0\0" + content
    return b"ID3\4\0\0" + bytes((len(body) >> shift) & 0x7F for shift in (21, 14, 7, 0)) + body


def adts(size: int = 100, number: int = 0) -> bytes:
    """Make a frame of AAC, 48 kHz, of so many bytes."""
    head = bytes((0xFF, 0xF1, 0x4C, 0x80 | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC))
    return head + bytes([number % 200]) * (size - len(head))


def converted(data: bytes, sequence: int = 0, start: int | None = None, cut: int = 1 << 20) -> bytes:
    sound = PackedAudio(sequence, start)
    return b"".join(sound.feed(data[at : at + cut]) for at in range(0, len(data), cut)) + sound.finish()


def payload(data: bytes) -> bytes:
    """Take the sound out of a transport stream again."""
    found, stuffed = bytearray(), 0
    for at in range(0, len(data), 188):
        packet = data[at : at + 188]
        if (packet[1] & 0x1F, packet[2]) != (1, 1):
            continue
        content = packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]
        if packet[1] & 0x40:
            stuffed = 9 + content[8]
        found += content[stuffed:]
        stuffed = max(0, stuffed - len(content))
    return bytes(found)


# Frames


@pytest.mark.parametrize(
    ("head", "frame"),
    [
        ("fff14c80045ffc00", AudioFrame(AudioCodec.AAC, 34, 1024, 48_000)),
        ("fff15080045ffd00", AudioFrame(AudioCodec.AAC, 34, 2048, 44_100)),
        ("fffb9064000000000000", AudioFrame(AudioCodec.MPEG1, 417, 1152, 44_100)),
        ("fffb9264000000000000", AudioFrame(AudioCodec.MPEG1, 418, 1152, 44_100)),
        ("fff38464000000000000", AudioFrame(AudioCodec.MPEG2, 192, 576, 24_000)),
        ("ffe31864000000000000", AudioFrame(AudioCodec.MPEG2, 72, 576, 8_000)),
        ("fffdc404000000000000", AudioFrame(AudioCodec.MPEG1, 768, 1152, 48_000)),
        ("ffff1400000000000000", AudioFrame(AudioCodec.MPEG1, 32, 384, 48_000)),
        ("0b77000014400000", AudioFrame(AudioCodec.AC3, 768, 1536, 48_000)),
        ("0b77000055400000", AudioFrame(AudioCodec.AC3, 836, 1536, 44_100)),
        ("0b77017f34800000", AudioFrame(AudioCodec.EAC3, 768, 1536, 48_000)),
        ("0b77417f34800000", AudioFrame(AudioCodec.EAC3, 768, 0, 48_000)),
    ],
)
def test_headers_say_how_long_a_frame_is(head: str, frame: AudioFrame) -> None:
    assert read_frame(bytes.fromhex(head)) == frame


@pytest.mark.parametrize(
    "head",
    [
        *("00" * 8, "47400010" * 2, "fff17c80045ffc00", "fff14c80001ffc00"),
        *("fffbf064" * 2, "fffb0064" * 2, "fffb9c64" * 2, "ffeb9064" * 2),
        *("0b770000c0400000", "0b77000026400000", "0b7700003ff80000"),
    ],
)
def test_what_is_no_header_is_none(head: str) -> None:
    assert read_frame(bytes.fromhex(head)) is None


@given(st.binary(min_size=8, max_size=16))
def test_any_bytes_are_a_frame_of_sane_length_or_none(head: bytes) -> None:
    for start in (b"", b"\xff\xf1", b"\xff\xfb", b"\x0b\x77"):
        frame = read_frame(start + head)
        if frame is not None:
            assert 8 < frame.size <= 8191
            assert 0 <= frame.samples <= 4096
            assert 7350 <= frame.rate <= 96_000


@pytest.mark.parametrize("head", [b"ID3\4\0\0\0\0\0\0", adts()[:10], bytes.fromhex("fffb9064000000000000")])
def test_packed_audio_is_known_by_its_beginning(head: bytes) -> None:
    assert is_packed_audio(head)


@pytest.mark.parametrize(
    "head", [b"", b"\xff", b"G@\0\x10\0\0\xb0\x0d\0\1", b"\0\0\0\x18ftypmp", b"#EXTM3U\n\n\n", b"\xff\xd8\xff\xe0JFIF"]
)
def test_other_things_are_not(head: bytes) -> None:
    assert not is_packed_audio(head)


# Time


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=50))
def test_the_time_is_33_bits_wherever_it_stands_in_the_tag(ticks: int, more: bytes) -> None:
    assert read_timestamp(tag(ticks, more=more)) == ticks % WRAP


@pytest.mark.parametrize("content", [b"", tag(1, owner=b"somebody else\0"), tag(1)[:-1]])
def test_a_tag_without_a_time_has_none(content: bytes) -> None:
    assert read_timestamp(content) is None


@pytest.mark.parametrize("first", [0, 12345, WRAP - 1000])
def test_sound_is_heard_when_the_tag_says_and_for_as_long_as_its_frames_last(first: int) -> None:
    data = converted(tag(first) + b"".join(adts(100, number) for number in range(100)))
    report = check(data)
    assert report.faults == []
    assert report.stream_types == {0x101: 0x0F}
    earliest, latest = report.streams[0x101].pts_range or (0, 0)
    assert earliest == first
    # The last time stamp is that of the last group of three frames, or less.
    assert 96 * 1920 <= latest - first < 100 * 1920


def test_a_tag_in_the_middle_sets_the_time_anew() -> None:
    data = converted(tag(1000) + adts() * 10 + tag(91_000) + adts() * 3)
    assert check(data).streams[0x101].pts_range == (1000, 91_000)


def test_without_a_tag_the_start_given_counts_and_without_that_it_is_refused() -> None:
    assert (check(converted(adts() * 10, start=777)).streams[0x101].pts_range or (0,))[0] == 777
    with pytest.raises(NotPackedAudioError, match="when it is to be heard"):
        converted(adts() * 10)


# The stream that is made of it


@given(
    st.lists(st.integers(9, 3000), min_size=1, max_size=40),
    st.integers(1, 2000),
    st.lists(st.integers(0, 40), max_size=3),
)
def test_every_frame_comes_through_however_it_was_cut(sizes: list[int], cut: int, tags: list[int]) -> None:
    frames = [adts(size, number) for number, size in enumerate(sizes)]
    listed = [tag(0) * (number in tags) + frame for number, frame in enumerate(frames)]
    data = converted(tag(90_000) + b"".join(listed), cut=cut)
    assert payload(data) == b"".join(frames)
    assert len(data) % 188 == 0


def test_successive_segments_are_one_stream_without_a_fault() -> None:
    data, first = b"", 90_000
    for sequence in range(30, 60):
        count = 20 + sequence % 7
        data += converted(
            tag(first) + b"".join(adts(50 + 37 * number % 400, number) for number in range(count)), sequence
        )
        first += count * 1920
    assert check(data).faults == []


def test_what_is_cut_short_or_damaged_costs_no_other_frame() -> None:
    frames = [adts(100, number) for number in range(10)]
    assert payload(converted(tag(0) + b"".join(frames)[:-1])) == b"".join(frames[:-1])
    junk = b"\xff\xf1" + bytes(300)
    assert payload(converted(tag(0) + b"".join(frames[:5]) + junk + b"".join(frames[5:]))).endswith(
        b"".join(frames[5:])
    )
    assert payload(converted(tag(0) + junk + b"".join(frames))) == b"".join(frames)
    lie = adts(333)[:50]
    assert payload(converted(tag(0) + lie + b"".join(frames))) == b"".join(frames)


def test_a_tag_that_is_too_large_is_not_waited_for() -> None:
    with pytest.raises(NotPackedAudioError, match="1 MiB"):
        PackedAudio(0, 0).feed(b"ID3\4\0\0\x7f\x7f\x7f\x7f")


@pytest.mark.parametrize(
    "data", [b"", tag(0), tag(0) + bytes(5000), b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"ID3\4\0\0\0\0\x7f\x7f" + bytes(90)]
)
def test_what_holds_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(NotPackedAudioError, match="audio file"):
        converted(data)


def test_what_never_becomes_sound_is_given_up_before_it_is_all_there() -> None:
    sound = PackedAudio(0, 0)
    for _ in range(65):
        assert sound.feed(bytes(1000)) == b""
    with pytest.raises(NotPackedAudioError, match="of a kind"):
        sound.feed(bytes(1000))


@given(st.binary(max_size=3000), st.booleans())
def test_any_bytes_are_converted_or_refused(data: bytes, begun: bool) -> None:
    try:
        made = converted((tag(0) + adts() * 3 if begun else b"") + data, start=0)
    except NotPackedAudioError:
        return
    assert len(made) % 188 == 0


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
@pytest.mark.parametrize(
    ("container", "encoder", "rate"),
    [
        *[("adts", "aac", 44_100), ("mp3", "libmp3lame", 44_100), ("mp3", "libmp3lame", 22_050)],
        *[("mp2", "mp2", 48_000), ("ac3", "ac3", 44_100), ("eac3", "eac3", 48_000)],
    ],
)
def test_what_an_encoder_makes_is_read_by_a_decoder(container: str, encoder: str, rate: int) -> None:
    make = ["-f", "lavfi", "-i", f"sine=d=2:r={rate}", "-c:a", encoder, "-f", container]
    more = ["-id3v2_version", "0", "-write_xing", "0"] if container == "mp3" else []
    sound = subprocess.run(["ffmpeg", "-v", "error", *make, *more, "-"], capture_output=True, check=True).stdout
    data = converted(tag(90_000) + sound)

    report = check(data)
    assert report.faults == []
    first, last = report.streams[0x101].pts_range or (0, 0)
    assert first == 90_000
    assert 1.9 <= (last - first) / 90_000 <= 2.1
    assert payload(data) == sound
    read = ["ffmpeg", "-v", "error", "-f", "mpegts", "-i", "-", "-c", "copy", "-f", container, *more, "-"]
    result = subprocess.run(read, input=data, capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (sound, b"")
