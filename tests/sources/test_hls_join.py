"""HLS whose sound comes in a playlist of its own, as one stream, with a real ffmpeg."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamRefused, UpstreamStalled
from streamproxy.model import TRANSPORT_STREAM, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.hls import HlsSource
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import Answer, HlsOrigin, Jumps, Recorder, Steps, gated, hls_origin, media
from tests.helpers.hls_source import encrypted
from tests.helpers.tscheck import FaultKind, check

pytestmark = pytest.mark.skipif(
    not shutil.which("ffmpeg") or not shutil.which("ffprobe"), reason="needs ffmpeg and ffprobe"
)

MASTER = "/master.m3u8"
SECONDS = 6
FIRST = 100.0
"""Time of the first picture."""
WRAP = 2**33 / 90_000
"""Seconds after which time stamps begin at 0 again."""
WITHIN = 0.005
"""Seconds by which picture and sound may be moved against each other."""


# Media


def ffmpeg(*arguments: str, data: bytes = b"") -> bytes:
    command = ["ffmpeg", "-nostdin" if not data else "-hide_banner", "-y", "-v", "error", *arguments]
    return subprocess.run(command, input=data or None, capture_output=True, check=True, timeout=60).stdout


@cache
def files(kind: str, offset: float = FIRST, seconds: int = SECONDS, size: str = "96x54") -> dict[str, bytes]:
    """Make the files of a stream: `v.m3u8` and `a.m3u8`, and what they list."""
    cut = ["-c", "copy", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0"]
    with tempfile.TemporaryDirectory() as made:
        film = f"{made}/film.mkv"
        ffmpeg(
            *("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={seconds}"),
            *("-f", "lavfi", "-i", f"sine=f=440:d={seconds}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-keyint_min", "25"),
            *("-sc_threshold", "0", "-c:a", "aac", "-b:a", "48k", "-output_ts_offset", str(offset), film),
        )
        source = ["-copyts", "-i", film]
        for stream in "va":
            pack = [*cut, "-hls_segment_filename", f"{made}/{stream}%d.{'m4s' if kind == 'mp4' else 'ts'}"]
            if kind == "mp4":
                pack += ["-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", f"{stream}.mp4"]
            ffmpeg(*source, "-map", f"0:{stream}", *pack, f"{made}/{stream}.m3u8")
        sound = f"{made}/sound.aac"
        ffmpeg(*source, "-map", "0:a", "-c", "copy", "-f", "adts", sound)
        Path(film).unlink()
        return {each.name: each.read_bytes() for each in Path(made).iterdir()}


def packed(sound: bytes, first: float, count: int = SECONDS) -> list[bytes]:
    """Cut ADTS into segments of about a second, each with the time of its first sample."""
    frames = []
    while sound:
        size = (sound[3] & 3) << 11 | sound[4] << 3 | sound[5] >> 5
        frames.append(sound[:size])
        sound = sound[size:]
    each = -(-len(frames) // count)
    return [
        stamped(round((first + start * 1024 / 44100) * 90000)) + b"".join(frames[start : start + each])
        for start in range(0, len(frames), each)
    ]


def stamped(ticks: int) -> bytes:
    """Make an ID3 tag with a time."""
    content = b"com.apple.streaming.transportStreamTimestamp\0" + ticks.to_bytes(8, "big")
    frame = b"PRIV" + len(content).to_bytes(4, "big") + b"\0\0" + content
    return b"ID3\4\0\0\0\0\0" + bytes([len(frame)]) + frame


def master(*, sound: str = "a.m3u8", variant: str = "v.m3u8") -> str:
    return "\n".join(
        [
            "#EXTM3U",
            '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="t",NAME="Text",URI="text.m3u8"',
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="English",DEFAULT=YES,AUTOSELECT=YES,URI="{sound}"',
            '#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=96x54,AUDIO="s",SUBTITLES="t",CODECS="avc1.42c00a,mp4a.40.2"',
            variant,
            "",
        ]
    )


def serve(origin: HlsOrigin, made: dict[str, bytes], folder: str = "/") -> None:
    for name, body in made.items():
        origin.serve(folder + name, body)
    origin.serve(folder + "master.m3u8", master())


def times(data: bytes) -> dict[str, tuple[float, float]]:
    """Tell the earliest and latest presentation time of picture and sound."""
    command = ["ffprobe", "-v", "error", "-show_entries", "packet=codec_type,pts_time", "-of", "json", "-i", "pipe:0"]
    result = subprocess.run(command, input=data, capture_output=True, check=True, timeout=30)
    found: dict[str, list[float]] = {}
    for packet in json.loads(result.stdout)["packets"]:
        found.setdefault(packet["codec_type"], []).append(float(packet["pts_time"]))
    return {kind: (min(each), max(each)) for kind, each in found.items()}


def original(made: dict[str, bytes], suffix: str) -> dict[str, tuple[float, float]]:
    """Tell the times of what the origin has."""
    found = {}
    for stream, kind in (("v", "video"), ("a", "audio")):
        count = sum(name.startswith(stream) and name.endswith(suffix) for name in made)
        body = made.get(f"{stream}.mp4", b"") + b"".join(made[f"{stream}{number}{suffix}"] for number in range(count))
        found[kind] = times(body)[kind]
    return found


def lead(found: dict[str, tuple[float, float]], end: int) -> float:
    """Tell by how many seconds the sound is behind the picture, at the beginning (0) or the end (1)."""
    return found["audio"][end] - found["video"][end]


def assert_plays(data: bytes) -> None:
    """Make sure that it decodes without a complaint, and is a transport stream without a fault."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", "pipe:0", "-f", "null", "-"]
    decoded = subprocess.run(command[:1] + command[2:], input=data, capture_output=True, check=True, timeout=30)
    assert decoded.stderr == b""
    assert check(data).faults == []


# Playing


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as running:
        yield running


@asynccontextmanager
async def source_of(
    origin: HlsOrigin, path: str = MASTER, *, time: Jumps | Steps | None = None, stall: float = 15, **settings: Any
) -> AsyncIterator[HlsSource]:
    time = time or Jumps()
    options = OptionsConfig(timeout=2, user_agent="agent/1")
    async with Client(options) as client:
        relay = RelayConfig(chunk_delay=0.05, stall_timeout=stall)
        upstream = Upstream(origin.url(path), "tv")
        yield HlsSource(upstream, client, options, relay, clock=time.clock, sleep=time.sleep, **settings)


async def play(origin: HlsOrigin, path: str = MASTER, **settings: Any) -> bytes:
    sink = Recorder()
    async with source_of(origin, path, **settings) as source:
        await source.run(sink)
        assert source.format == TRANSPORT_STREAM
    return sink.data


def children() -> set[int]:
    """Tell the processes that run below this one, or wait to be buried."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.update(map(int, (task / "children").read_text().split()))
    return found


@pytest.mark.parametrize(
    ("kind", "suffix", "first"),
    [("ts", ".ts", FIRST), ("mp4", ".m4s", FIRST), ("ts", ".ts", WRAP - 3), ("mp4", ".m4s", 0.0)],
    ids=["transport streams", "mp4", "time that wraps", "mp4 from zero"],
)
async def test_picture_and_sound_are_joined_and_stay_together(
    origin: HlsOrigin, kind: str, suffix: str, first: float
) -> None:
    made = files(kind, first)
    serve(origin, made)
    before = children()
    data = await play(origin)

    found, expected = times(data), original(made, suffix)
    assert_plays(data)
    for end in (0, 1):
        assert abs(lead(found, end) - lead(expected, end)) <= WITHIN
    for stream in ("video", "audio"):
        assert abs((found[stream][1] - found[stream][0]) - (expected[stream][1] - expected[stream][0])) <= WITHIN
    assert origin.requests("/text.m3u8") == []
    assert children() == before


async def test_packed_audio_is_heard_at_its_time(origin: HlsOrigin) -> None:
    made = files("ts")
    first = original(made, ".ts")["audio"][0]
    serve(origin, made)
    # The segment of sound that is missing must not move those behind it.
    segments = packed(made["sound.aac"], first)
    listed = []
    for number, body in enumerate(segments):
        origin.serve(f"/{number}.aac", 404 if number == 2 else body)
        listed.append(f"{number}.aac")
    origin.serve("/a.m3u8", media(listed, target=1, ended=True))
    data = await play(origin)

    found, expected = times(data), original(made, ".ts")
    assert check(data).counts == {FaultKind.DTS: 1}
    for end in (0, 1):
        assert abs(lead(found, end) - lead(expected, end)) <= WITHIN


async def test_packed_audio_without_a_time_is_refused(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    origin.serve("/0.aac", made["sound.aac"])
    origin.serve("/a.m3u8", media(["0.aac"], target=1, ended=True))
    with pytest.raises(UpstreamNotMedia, match="when it is to be heard"):
        await play(origin)


@pytest.mark.parametrize("timed", [True, False])
async def test_radio_is_played_without_ffmpeg(origin: HlsOrigin, timed: bool) -> None:
    sound = files("ts")["sound.aac"]
    segments = packed(sound, WRAP - 2)
    listed = [f"{number}.aac" for number in range(len(segments))]
    for name, body in zip(listed, segments, strict=True):
        origin.serve("/" + name, body if timed else body[body.index(b"\xff\xf1") :])
    origin.serve(MASTER, media(listed, target=1, ended=True))
    data = await play(origin, ffmpeg="no-such-program")

    assert_plays(data)
    first, last = times(data)["audio"]
    assert SECONDS - 0.1 <= last - first <= SECONDS + (0.1 if timed else 1.1)
    wrote = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", "pipe:0", "-c", "copy", "-f", "adts", "pipe:1"], input=data, capture_output=True
    ).stdout
    assert wrote == sound


@pytest.mark.parametrize("clue", ["dates", "numbers", "distance"])
async def test_a_live_stream_begins_with_the_sound_of_its_first_picture(origin: HlsOrigin, clue: str) -> None:
    made = files("ts")
    serve(origin, made)

    def listed(stream: str, first: int, end: int, number: int) -> str:
        names = [f"{stream}{each}.ts" for each in range(first, end)]
        if clue == "dates":
            names = [
                f"#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:{int(name[1:-3]):02}Z\n#EXTINF:1,\n{name}" for name in names
            ]
        return media(names, first=number, target=1)

    # Pictures 1 to 5 are there, and begin at 3; the sound is a window of its own.
    lag = 0 if clue == "distance" else 1
    numbers = {"dates": 70, "numbers": 0, "distance": 500}
    origin.serve("/v.m3u8", listed("v", 1, 6, 1), listed("v", 2, 6, 2) + "#EXT-X-ENDLIST\n")
    origin.serve(
        "/a.m3u8",
        listed("a", 0, 6 - lag, numbers[clue]),
        listed("a", 0, 6, numbers[clue]) + "#EXT-X-ENDLIST\n",
    )
    data = await play(origin)

    assert [path for path in origin.paths if path in ("/v2.ts", "/a1.ts", "/a2.ts")] == []
    assert "/v3.ts" in origin.paths
    assert "/a3.ts" in origin.paths
    found = times(data)
    assert abs(found["audio"][0] - found["video"][0]) < 0.1
    assert abs(found["audio"][1] - found["video"][1]) < 0.1


async def test_sound_in_shorter_segments_begins_with_the_picture(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    for number in range(3):
        origin.serve(f"/p{number}.ts", made[f"v{2 * number}.ts"] + made[f"v{2 * number + 1}.ts"])
    for stream, seconds in (("p", 2), ("a", 1)):
        listed = media([f"{stream}{number}.ts" for number in range(6 // seconds)], target=seconds)
        origin.serve("/v.m3u8" if stream == "p" else "/a.m3u8", listed, listed + "#EXT-X-ENDLIST\n")
    found = times(await play(origin))
    assert abs(lead(found, 0)) < 0.1
    assert abs(lead(found, 1)) < 0.1


async def test_each_stretch_between_discontinuities_keeps_its_own_time(origin: HlsOrigin) -> None:
    programme, advert = files("ts"), files("mp4", 500.0, 2)
    serve(origin, programme)
    for name, body in advert.items():
        origin.serve("/ad/" + name, body)
    for stream in "va":
        lines = [f"{stream}{number}.ts" for number in range(2)]
        lines += [f'#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="ad/{stream}.mp4"\n#EXTINF:1,\nad/{stream}0.m4s']
        lines += [f"ad/{stream}1.m4s"]
        origin.serve(f"/{stream}.m3u8", media(lines, target=1, ended=True))
    data = await play(origin)

    stamps = {pid: stream.pts_range for pid, stream in check(data).streams.items() if stream.pts_range}
    assert set(check(data).counts) <= {FaultKind.CONTINUITY, FaultKind.PCR, FaultKind.DTS, FaultKind.PTS}
    assert len(stamps) == 2
    found = times(data)
    assert FIRST <= found["video"][0] < FIRST + 3
    assert 501 < found["video"][1] < 505
    assert abs(found["audio"][0] - found["video"][0]) < 0.1
    assert abs(found["audio"][1] - found["video"][1]) < 0.1


@pytest.mark.parametrize("stream", ["v", "a"])
async def test_a_discontinuity_of_one_of_the_two_does_not_stop_the_other(origin: HlsOrigin, stream: str) -> None:
    made = files("ts")
    serve(origin, made)
    lines = [f"{stream}{number}.ts" for number in range(SECONDS)]
    lines[3] = f"#EXT-X-DISCONTINUITY\n#EXTINF:1,\n{lines[3]}"
    origin.serve(f"/{stream}.m3u8", media(lines, target=1, ended=True))
    found = times(await play(origin))
    assert found.keys() == {"video", "audio"}


@pytest.mark.parametrize(("short", "long"), ["va", "av"])
async def test_when_one_of_the_two_has_ended_the_other_does_not_go_on_for_ever(
    origin: HlsOrigin, short: str, long: str
) -> None:
    made = files("ts")
    serve(origin, made)
    origin.serve(f"/{short}.m3u8", media([f"{short}{number}.ts" for number in range(2)], target=1, ended=True))
    names = [f"{long}0.ts?{number}" for number in range(40)]
    for name in names:
        origin.serve(f"/{name}", made[f"{long}0.ts"])
    origin.serve(f"/{long}.m3u8", media(names[:40], target=1, ended=True))
    await play(origin)
    assert f"/{names[10]}" in origin.paths
    assert f"/{names[-1]}" not in origin.paths


async def test_when_the_sound_fails_the_picture_does_not_go_on(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    for stream in "va":
        count = 7 if stream == "a" else 6
        origin.serve(f"/{stream}.m3u8", media([f"{stream}{number}.ts" for number in range(count)], target=1))
    for number in range(4, 7):
        origin.serve(f"/a{number}.ts", b"nothing")
    async with source_of(origin, time=Steps()) as source:
        with pytest.raises(UpstreamNotMedia):
            await source.run(Recorder())


async def test_what_came_whole_does_not_go_on_without_its_sound(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    whole = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=16x9\nw.m3u8\n"
    origin.serve(MASTER, whole, master())
    origin.serve("/w.m3u8", media(["v0.ts", "v1.ts", "v2.ts"], target=4), 403)
    async with source_of(origin) as source:
        with pytest.raises(UpstreamStalled):
            await source.run(Recorder())
    assert len(origin.requests(MASTER)) > 1
    assert origin.requests("/v.m3u8") == []


async def test_encrypted_sound_is_decrypted_before_it_is_joined(origin: HlsOrigin) -> None:
    made = files("mp4")
    serve(origin, made)
    key, count = bytes(range(16)), sum(name.endswith(".m4s") and name.startswith("a") for name in made)
    for number in range(count):
        origin.serve(f"/a{number}.m4s", encrypted(made[f"a{number}.m4s"], sequence=number, key=key))
    origin.serve("/key", key)
    key_tag = '#EXT-X-MAP:URI="a.mp4"\n#EXT-X-KEY:METHOD=AES-128,URI="/key"'
    origin.serve("/a.m3u8", media([f"a{number}.m4s" for number in range(count)], target=1, ended=True, more=key_tag))
    data = await play(origin)
    assert_plays(data)
    assert abs(lead(times(data), 1) - lead(original(made, ".m4s"), 1)) <= WITHIN


async def test_sound_that_cannot_be_had_is_an_error(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    for number in range(SECONDS + 2):
        origin.serve(f"/a{number}.ts", 403)
    sink = Recorder()
    async with source_of(origin) as source:
        with pytest.raises(UpstreamRefused):
            await source.run(sink)
    assert sink.chunks == []


async def test_a_variant_whose_sound_is_not_listed_is_left_for_the_next(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    origin.serve(MASTER, master(sound="gone.m3u8") + "#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=16x9\nw.m3u8\n")
    origin.serve("/w.m3u8", made["v.m3u8"])
    assert times(await play(origin)).keys() == {"video"}


async def test_a_better_variant_with_its_sound_apart_beats_a_worse_one_that_is_whole(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    origin.serve(MASTER, master() + "#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=16x9\nw.m3u8\n")
    origin.serve("/w.m3u8", made["a.m3u8"])
    assert times(await play(origin)).keys() == {"video", "audio"}
    assert "/w.m3u8" not in origin.paths
    assert times(await play(origin, ffmpeg="no-such-program")).keys() == {"audio"}


async def test_without_ffmpeg_it_is_said_what_is_missing(origin: HlsOrigin) -> None:
    serve(origin, files("ts"))
    with pytest.raises(UpstreamNotMedia, match=r"needs ffmpeg.*apt install ffmpeg"):
        await play(origin, ffmpeg="no-such-program")
    assert origin.paths == [MASTER]


async def test_an_address_of_the_sound_that_expired_is_found_again(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)

    def listed(stream: str, end: int, **more: Any) -> str:
        return media([f"{stream}{number}.ts" for number in range(end)], target=1, **more)

    origin.serve(MASTER, master(), master(sound="new.m3u8"))
    origin.serve("/v.m3u8", listed("v", 3), *[listed("v", 3)] * 3, listed("v", 6, ended=True))
    origin.serve("/a.m3u8", listed("a", 3), 403)
    origin.serve("/new.m3u8", listed("a", 6, ended=True))
    found = times(await play(origin))
    assert abs(lead(found, 1)) < 0.1
    assert found["audio"][1] - found["audio"][0] > SECONDS - 1


async def test_a_sink_that_is_full_stops_it_all_within_bounds(origin: HlsOrigin) -> None:
    made = files("ts")
    body = made["v0.ts"]
    serve(origin, made)
    count = 400
    for stream in "va":
        origin.serve(
            f"/{stream}.m3u8", media([f"{stream}0.ts?{number}" for number in range(count)], target=1, ended=True)
        )
        for number in range(count):
            origin.serve(f"/{stream}0.ts?{number}", made[f"{stream}0.ts"])
    sink = Recorder()
    sink.may_go_on.clear()
    before = children()
    async with source_of(origin, in_flight=4 * len(body)) as source:
        task = asyncio.create_task(source.run(sink))
        await sink.holds(1)
        seen = -1
        while seen != len(origin.paths):
            seen = len(origin.paths)
            await asyncio.sleep(0.3)
        assert seen < count
        task.cancel()
        await asyncio.wait([task])
    assert children() == before


# Ending


async def test_what_is_cancelled_is_gone_at_once_and_with_it_ffmpeg(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    for stream in "va":
        origin.serve(f"/{stream}.m3u8", media([f"{stream}{number}.ts" for number in range(5)], target=1))
    before, sink = children(), Recorder()
    async with source_of(origin, time=Steps()) as source:
        task = asyncio.create_task(source.run(sink))
        await sink.holds(1)
        assert len(children() - before) == 1
        with structlog.testing.capture_logs() as logs:
            task.cancel()
            await asyncio.wait([task])
        assert children() == before
    assert logs == []


async def test_what_is_cancelled_before_the_first_byte_leaves_nothing(origin: HlsOrigin) -> None:
    serve(origin, files("ts"))
    origin.serve("/a0.ts", gated(asyncio.Event(), 404))
    before = children()
    async with source_of(origin) as source:
        task = asyncio.create_task(source.run(Recorder()))
        await origin.socket.until(lambda seen: seen.total["/a0.ts"] > 0 and seen.total["/v1.ts"] > 0)
        assert children() == before
        task.cancel()
        await asyncio.wait([task])
    assert children() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_an_ffmpeg_that_dies_is_an_error(origin: HlsOrigin, number: signal.Signals) -> None:
    made = files("ts")
    serve(origin, made)
    for stream in "va":
        origin.serve(f"/{stream}.m3u8", media([f"{stream}{number}.ts" for number in range(5)], target=1))
    before, sink = children(), Recorder()
    async with source_of(origin, time=Steps()) as source:
        task = asyncio.create_task(source.run(sink))
        await sink.holds(1)
        (process,) = children() - before
        with structlog.testing.capture_logs() as logs:
            os.kill(process, number)
            with pytest.raises(UpstreamBroken, match="ffmpeg"):
                await task
    assert children() == before
    assert [entry["event"] for entry in logs] == ["ffmpeg_failed"]


async def test_an_ffmpeg_that_hangs_is_an_error(origin: HlsOrigin) -> None:
    made = files("ts", size="640x360")
    count = 400
    serve(origin, made)
    gate = asyncio.Event()
    for stream in "va":
        origin.serve(
            f"/{stream}.m3u8", media([f"{stream}0.ts?{number}" for number in range(count)], target=1, ended=True)
        )
        for number in range(count):
            body: Answer = made[f"{stream}0.ts"]
            origin.serve(f"/{stream}0.ts?{number}", body if number < 3 else gated(gate, body))
    before, sink = children(), Recorder()
    async with source_of(origin, stall=0.4) as source:
        task = asyncio.create_task(source.run(sink))
        await sink.holds(1)
        (process,) = children() - before
        os.kill(process, signal.SIGSTOP)
        gate.set()
        with structlog.testing.capture_logs() as logs, pytest.raises(UpstreamStalled, match="ffmpeg was silent"):
            await task
    assert children() == before
    assert logs == []


async def test_a_pause_of_the_upstream_is_not_held_against_ffmpeg(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    gate = asyncio.Event()
    for stream in "va":
        origin.serve(f"/{stream}3.ts", gated(gate, made[f"{stream}3.ts"]))
    async with source_of(origin, stall=0.2) as source:
        sink = Recorder()
        task = asyncio.create_task(source.run(sink))
        await sink.holds(1)
        done, _ = await asyncio.wait([task], timeout=0.9)
        assert not done
        gate.set()
        await task
    assert times(sink.data)["video"][1] - FIRST > SECONDS - 1


CHILD = """
import asyncio, sys
from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.hls import HlsSource

class Sink:
    full = False
    def write(self, data):
        print("begun", flush=True)
    async def drain(self):
        pass

async def main():
    options = OptionsConfig()
    async with Client(options) as client:
        await HlsSource(Upstream(sys.argv[1], "tv"), client, options, RelayConfig()).run(Sink())

asyncio.run(main())
"""


async def test_ffmpeg_does_not_outlive_a_proxy_that_is_killed(origin: HlsOrigin) -> None:
    made = files("ts")
    serve(origin, made)
    for stream in "va":
        origin.serve(f"/{stream}.m3u8", media([f"{stream}{number}.ts" for number in range(5)], target=60))
    proxy = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, origin.url(MASTER), stdout=asyncio.subprocess.PIPE
    )
    assert proxy.stdout is not None
    assert await proxy.stdout.readline() == b"begun\n"
    tasks = Path(f"/proc/{proxy.pid}/task").iterdir()
    (child,) = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    os.kill(proxy.pid, signal.SIGKILL)
    await proxy.wait()
    async with asyncio.timeout(10):
        while is_alive(child):
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("body", [b"\0" * 20_000, b"G" + bytes(187), b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"])
async def test_sound_that_is_none_is_an_error_that_shows_no_address(origin: HlsOrigin, body: bytes) -> None:
    made = files("ts")
    serve(origin, made)
    for number in range(SECONDS + 2):
        origin.serve(f"/a{number}.ts", body * 100)
    with structlog.testing.capture_logs() as logs, pytest.raises(UpstreamError) as caught:
        await play(origin)
    assert "127.0.0.1" not in repr(logs) + repr(caught.value)
