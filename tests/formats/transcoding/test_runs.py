"""What comes out when an ffmpeg is told it."""

import json
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streamproxy.formats.transcoding import (
    BUILT_IN,
    Acceleration,
    Accelerator,
    AudioCodec,
    Container,
    Deinterlace,
    Effort,
    Profile,
    VideoCodec,
    arguments,
    raw_profile,
)
from tests.helpers.ffmpegs import each_ffmpeg, encoders
from tests.helpers.media import transport_stream

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="needs ffmpeg"
)

DEADLINE = 60.0
IN_TS = {
    "h264 in ac3": replace(BUILT_IN["default"], audio=AudioCodec.AC3),
    "h264 in mp3": replace(BUILT_IN["default"], audio=AudioCodec.MP3),
    "copy": Profile("copy", video=VideoCodec.COPY, audio=AudioCodec.COPY),
    "template": raw_profile("template", "-i {input_url} -c:v libx264 -preset ultrafast -c:a aac -f mpegts pipe:1"),
}
ELSEWHERE = {
    "h264 in mp4": replace(BUILT_IN["default"], container=Container.MP4),
    "h264 in mkv": replace(BUILT_IN["default"], container=Container.MATROSKA),
    "hevc in mp4": replace(BUILT_IN["hevc"], container=Container.MP4),
    "av1 in webm": replace(BUILT_IN["av1"], audio=AudioCodec.OPUS, container=Container.WEBM),
    "av1 by quality": replace(BUILT_IN["av1"], video_bitrate=None),
    "vp9 by quality": replace(BUILT_IN["vp9"], video_bitrate=None),
    "ac3 in mp4": replace(BUILT_IN["default"], audio=AudioCodec.AC3, container=Container.MP4),
    "copied pictures in mp4": Profile("copied", video=VideoCodec.COPY, container=Container.MP4),
    "sound in mp4": replace(BUILT_IN["audio"], container=Container.MP4),
    "sound in webm": replace(BUILT_IN["audio"], audio=AudioCodec.OPUS, container=Container.WEBM),
    "mjpeg in mkv": replace(BUILT_IN["mjpeg"], audio=AudioCodec.AAC, container=Container.MATROSKA),
}
FORMATS = {
    Container.MPEGTS: "mpegts",
    Container.MP4: "mov,mp4,m4a,3gp,3g2,mj2",
    Container.WEBM: "matroska,webm",
    Container.MATROSKA: "matroska,webm",
    Container.MJPEG: "mpjpeg",
}


class Seen(NamedTuple):
    """What ffprobe makes of it."""

    format: str
    video: dict[str, Any]
    audio: dict[str, Any]
    key_frames: list[float]
    length: int


def source(height: int = 90, seconds: float = 4.4) -> bytes:
    return transport_stream(seconds=seconds, size=f"{height * 16 // 9 // 2 * 2}x{height}")


def told(ffmpeg: str, profile: Profile) -> list[str]:
    return [ffmpeg, *arguments(profile, Accelerator(Acceleration.SOFTWARE, encoders(ffmpeg)), threads=1)]


def transcoded(ffmpeg: str, profile: Profile, data: bytes) -> bytes:
    done = subprocess.run(told(ffmpeg, profile), input=data, capture_output=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def probed(data: bytes, path: Path) -> Seen:
    path.write_bytes(data)
    shown = ["-show_entries", "format=format_name:stream:packet=pts_time,flags,stream_index", "-of", "json"]
    done = subprocess.run(["ffprobe", "-v", "error", *shown, path], capture_output=True, timeout=DEADLINE, check=True)
    found = json.loads(done.stdout)
    kinds = {stream["codec_type"]: stream for stream in reversed(found["streams"])}
    video = kinds.get("video", {})
    packets = [packet for packet in found["packets"] if packet["stream_index"] == video.get("index")]
    keys = [float(packet["pts_time"]) for packet in packets if "K" in packet["flags"]]
    return Seen(found["format"]["format_name"], video, kinds.get("audio", {}), keys, len(packets))


@each_ffmpeg
@pytest.mark.parametrize("name", [*BUILT_IN, *IN_TS])
def test_profile_gives_what_it_says(ffmpeg: str, name: str, tmp_path: Path) -> None:
    check(ffmpeg, BUILT_IN.get(name) or IN_TS[name], tmp_path)


@pytest.mark.slow
@each_ffmpeg
@pytest.mark.parametrize("name", ELSEWHERE)
def test_codecs_can_be_packed_otherwise(ffmpeg: str, name: str, tmp_path: Path) -> None:
    check(ffmpeg, ELSEWHERE[name], tmp_path)


def check(ffmpeg: str, profile: Profile, folder: Path) -> None:
    seen = probed(transcoded(ffmpeg, profile, source()), folder / "out")

    assert seen.format == FORMATS[profile.container]
    if profile.audio:
        wanted_audio = "aac" if profile.audio is AudioCodec.COPY else str(profile.audio)
        assert seen.audio["codec_name"] == wanted_audio
    else:
        assert not seen.audio
    if profile.video is None:
        assert not seen.video
        return
    copied = profile.video is VideoCodec.COPY
    assert seen.video["codec_name"] == ("h264" if copied else profile.video)
    assert (seen.video["height"], seen.video["pix_fmt"]) == (
        90,
        "yuvj420p" if profile.video is VideoCodec.MJPEG else "yuv420p",
    )
    assert seen.length == pytest.approx(22 if profile.fps else 110, abs=2)
    if not (copied or profile.template or profile.video is VideoCodec.MJPEG):
        gaps = [after - before for before, after in pairwise(seen.key_frames)]
        early = 1.0 if profile.video is not VideoCodec.AV1 and profile.container is not Container.MPEGTS else 2.0
        assert gaps[0] == pytest.approx(early, abs=0.1)
        assert gaps[-1] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("max_height", "height"), [(60, 60), (61, 60), (200, 90), (90, 90)])
@each_ffmpeg
def test_pictures_are_scaled_down_to_even_sizes_and_never_up(
    ffmpeg: str, max_height: int, height: int, tmp_path: Path
) -> None:
    profile = replace(BUILT_IN["default"], max_height=max_height)

    seen = probed(transcoded(ffmpeg, profile, source(seconds=0.5)), tmp_path / "out")

    assert seen.video["height"] == height
    assert seen.video["width"] % 2 == 0
    assert seen.video["width"] / height == pytest.approx(16 / 9, abs=0.06)


@cache
def interlaced() -> bytes:
    """A second of MPEG-2 in 1080i: two fields of different times in each picture, as broadcasters send it."""
    made = ["-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=50:duration=1", "-f", "lavfi", "-i", "sine=duration=1"]
    fields = ["-vf", "tinterlace=interleave_top,fieldorder=tff", "-flags", "+ilme+ildct"]
    coded = ["-c:v", "mpeg2video", "-b:v", "8M", "-g", "12", "-c:a", "mp2", "-f", "mpegts", "pipe:1"]
    command = ["ffmpeg", "-v", "error", "-nostdin", *made, *fields, *coded]
    return subprocess.run(command, capture_output=True, check=True, timeout=DEADLINE).stdout


def combed(data: bytes) -> int:
    """Count the pictures that show two moments at once (by their lines, whatever they are marked as)."""
    looked = ["-i", "pipe:0", "-vf", "setfield=prog,idet", "-f", "null", "-"]
    done = subprocess.run(["ffmpeg", "-hide_banner", *looked], input=data, capture_output=True, timeout=DEADLINE)
    (line,) = [line for line in done.stderr.decode().splitlines() if "Multi frame detection" in line]
    words = line.replace(":", ": ").split()
    return int(words[words.index("TFF:") + 1]) + int(words[words.index("BFF:") + 1])


@each_ffmpeg
def test_broadcast_in_1080i_becomes_720_lines_of_whole_pictures(ffmpeg: str, tmp_path: Path) -> None:
    seen = probed(transcoded(ffmpeg, replace(BUILT_IN["720p"], effort=Effort.LOW), interlaced()), tmp_path / "out")

    assert (seen.video["height"], seen.video["codec_name"], seen.audio["codec_name"]) == (720, "h264", "aac")
    assert seen.video.get("field_order", "progressive") == "progressive"
    assert seen.length == pytest.approx(25, abs=2)


@pytest.mark.parametrize(("deinterlace", "whole"), [(Deinterlace.AUTO, True), (Deinterlace.OFF, False)])
@each_ffmpeg
def test_interlaced_pictures_are_made_whole_unless_that_is_not_wanted(
    ffmpeg: str, deinterlace: Deinterlace, whole: bool
) -> None:
    profile = replace(BUILT_IN["1080p"], deinterlace=deinterlace, effort=Effort.LOW)

    # The detector itself needs a few pictures before it is sure.
    assert (combed(transcoded(ffmpeg, profile, interlaced())) < 8) is whole


@each_ffmpeg
def test_sound_keeps_to_its_time_stamps_when_the_source_drifts(ffmpeg: str) -> None:
    steady = transport_stream(seconds=60, video=None)
    drift = ["-c", "copy", "-bsf:a", "setts=ts=TS*1.002", "-f", "mpegts"]
    drifting = piped(["ffmpeg", "-i", "pipe:0", *drift, "pipe:1"], steady)

    lengths = [heard(transcoded(ffmpeg, BUILT_IN["audio"], data)) for data in (steady, drifting)]

    # It would be as long as before, were it not stretched.
    assert lengths[1] - lengths[0] == pytest.approx(0.12, abs=0.04)


def heard(data: bytes) -> float:
    """Tell how many seconds of sound there are, whatever the time stamps say."""
    samples = piped(["ffmpeg", "-i", "pipe:0", "-f", "s16le", "-ac", "1", "-ar", "48000", "pipe:1"], data)
    return len(samples) / 2 / 48_000


def piped(command: list[str], data: bytes) -> bytes:
    return subprocess.run(
        [*command, "-v", "error"], input=data, capture_output=True, check=True, timeout=DEADLINE
    ).stdout


def boxes(data: bytes) -> list[str]:
    found = []
    while data:
        found.append(data[4:8].decode())
        data = data[int.from_bytes(data[:4], "big") :]
    return found


@each_ffmpeg
def test_mp4_can_be_sent_while_it_is_made(ffmpeg: str) -> None:
    profile = replace(BUILT_IN["default"], container=Container.MP4, key_frame_interval=1)

    kinds = boxes(transcoded(ffmpeg, profile, source(seconds=2.4)))

    assert kinds[:2] == ["ftyp", "moov"]
    assert kinds[2:-1] == ["moof", "mdat"] * 4, "at 0, 0.5, 1 and 2 s"


@pytest.mark.slow
@each_ffmpeg
@pytest.mark.parametrize("name", BUILT_IN)
def test_something_to_see_comes_well_within_four_seconds_of_a_live_stream(ffmpeg: str, name: str) -> None:
    data = source(height=180, seconds=6)
    with subprocess.Popen(
        told(ffmpeg, BUILT_IN[name]),
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin
        assert process.stdout
        feeding = threading.Thread(target=feed, args=(process, data, 6.0))
        begun = time.monotonic()
        feeding.start()
        try:
            got = 0
            # More than a header.
            while got < 4000:
                piece = process.stdout.read(4096)
                assert piece
                got += len(piece)
            assert time.monotonic() - begun < 3.7
        finally:
            process.kill()
            feeding.join()


def feed(process: subprocess.Popen[bytes], data: bytes, seconds: float) -> None:
    """Write as a live source does, until that is refused."""
    assert process.stdin
    begun, sent = time.monotonic(), 0
    try:
        while sent < len(data):
            due = int(len(data) * (time.monotonic() - begun) / seconds)
            sent += process.stdin.write(data[sent:due])
            time.sleep(0.04)
    except OSError:
        pass
