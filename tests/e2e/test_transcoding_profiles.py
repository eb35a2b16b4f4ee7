"""Every profile, through the whole program: what viewers get is what was asked for, whenever they come."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from streamproxy.formats.transcoding import BUILT_IN, Profile
from tests.helpers.ffmpegs import each_ffmpeg
from tests.helpers.origin import origin
from tests.helpers.proxy import Proxy, config, running
from tests.helpers.transcoding import INTERLACED_RATE, Live, Recording, interlaced, needs_ffmpeg, read_for, record

pytestmark = [needs_ffmpeg, pytest.mark.asyncio(loop_factories=["uvloop"])]  # the stages below are tested under both

CODECS = {"h264": "h264", "hevc": "hevc", "vp9": "vp9", "av1": "av1", "mjpeg": "mjpeg", "aac": "aac", "opus": "opus"}
FORMATS = {"mpegts": "mpegts", "mp4": "mov,mp4,m4a,3gp,3g2,mj2", "webm": "matroska,webm", "mjpeg": "mpjpeg"}


# Sound has no pictures at which one could begin: it has tests of its own.
each_profile = pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "audio"])


def looks_as_asked(recording: Recording, profile: Profile, *, height: int, rate: str) -> None:
    """Hold what a viewer got against the profile."""
    assert recording.media_type == profile.container.media_type
    assert recording.complaints() == ""
    probed = recording.probe()
    assert probed["format"]["format_name"] == FORMATS[profile.container]
    assert probed.keys() - {"format"} == {
        kind for kind, codec in {"video": profile.video, "audio": profile.audio}.items() if codec
    }
    if profile.audio:
        assert (probed["audio"]["codec_name"], probed["audio"]["sample_rate"]) == (CODECS[profile.audio], "48000")
    if profile.video:
        video = probed["video"]
        tall = min(height, profile.max_height or height)
        assert (video["codec_name"], video["height"], video["width"]) == (CODECS[profile.video], tall, tall * 16 // 9)
        assert profile.fps or video["r_frame_rate"] == rate
        assert video.get("field_order", "progressive") == "progressive"


def has_key_frames_in_time(recording: Recording, profile: Profile) -> None:
    """Make sure that there is a key frame every two seconds; in some containers, one comes early."""
    times = recording.key_frames()
    steps = [round(later - earlier, 2) for earlier, later in pairwise(times)]
    if profile.container == "mpegts":
        assert times[0] == min(time for time, _ in recording.pictures())
        assert set(steps) == {2.0}
    else:
        assert 2.0 <= max(steps) <= 2.1


async def watched_early_and_late(proxy: Proxy, channel: str, profile: Profile, *, pieces: int) -> list[Recording]:
    """Record what two viewers get, the second of whom comes while the first watches."""

    async def later() -> Recording:
        await record(proxy, path, 2)
        return await record(proxy, path, 2)

    path = f"/stream/{channel}?profile={profile.name}"
    return list(await asyncio.gather(record(proxy, path, pieces), later()))


async def hold_against_profiles(proxy: Proxy, names: Sequence[str], channel: str, *, height: int, rate: str) -> None:
    """Watch some profiles at once, and look at what came of each."""
    profiles = [BUILT_IN[name] for name in names]
    pieces = [20 if profile.container == "mjpeg" else 4 for profile in profiles]
    watching = (
        watched_early_and_late(proxy, channel, profile, pieces=count)
        for profile, count in zip(profiles, pieces, strict=True)
    )
    for profile, recordings in zip(profiles, await asyncio.gather(*watching), strict=True):
        for recording in recordings:
            looks_as_asked(recording, profile, height=height, rate=rate)
        if profile.video and profile.container != "mjpeg":
            has_key_frames_in_time(recordings[0], profile)


async def hold_the_sound_against_its_profile(proxy: Proxy, channel: str) -> None:
    """Listen early and late to the profile that is nothing but sound."""
    profile = BUILT_IN["audio"]
    for seconds in (3, 2):
        async with proxy.open(f"/stream/{channel}?profile=audio") as viewer:
            assert viewer.status == 200
            data = await read_for(viewer, seconds)
        recording = Recording(viewer.headers["content-type"], data[: len(data) // 188 * 188], 0)
        looks_as_asked(recording, profile, height=0, rate="")
        assert len(recording.sounds()) > seconds * 10


@each_ffmpeg
async def test_sound_alone_is_made_of_the_demo(tmp_path: Path, ffmpeg: str) -> None:
    settings = config(tmp_path, streams={"news": "demo:"}, transcode={"hwaccel": "off", "ffmpeg": ffmpeg})
    async with running(settings) as proxy, proxy.open("/stream/news?profile=audio") as before:
        await read_for(before, 1)
        await hold_the_sound_against_its_profile(proxy, "news")


@pytest.mark.slow
@each_ffmpeg
async def test_sound_alone_is_made_of_interlaced_television(tmp_path: Path, ffmpeg: str) -> None:
    live = Live(interlaced(40), INTERLACED_RATE)
    async with origin(live) as upstream:
        settings = config(tmp_path, streams={"news": upstream.url()}, transcode={"hwaccel": "off", "ffmpeg": ffmpeg})
        async with running(settings) as proxy:
            await hold_the_sound_against_its_profile(proxy, "news")


@each_ffmpeg
async def test_profiles_make_what_they_say_for_whoever_joins_when(tmp_path: Path, ffmpeg: str) -> None:
    transcode = {"hwaccel": "off", "max_processes": 9, "ffmpeg": ffmpeg}
    settings = config(tmp_path, streams={"news": "demo:"}, transcode=transcode)
    async with running(settings) as proxy:
        await hold_against_profiles(proxy, ["720p", "vp9", "mjpeg"], "news", height=360, rate="25/1")


@pytest.mark.slow
@each_ffmpeg
@each_profile
async def test_each_profile_makes_what_it_says_of_the_demo(tmp_path: Path, name: str, ffmpeg: str) -> None:
    settings = config(tmp_path, streams={"news": "demo:"}, transcode={"hwaccel": "off", "ffmpeg": ffmpeg})
    async with running(settings) as proxy:
        await hold_against_profiles(proxy, [name], "news", height=360, rate="25/1")


@pytest.mark.slow
@each_ffmpeg
@each_profile
async def test_each_profile_makes_what_it_says_of_interlaced_television(tmp_path: Path, name: str, ffmpeg: str) -> None:
    live = Live(interlaced(40), INTERLACED_RATE)
    async with origin(live) as upstream:
        settings = config(tmp_path, streams={"news": upstream.url()}, transcode={"hwaccel": "off", "ffmpeg": ffmpeg})
        async with running(settings) as proxy:
            await hold_against_profiles(proxy, [name], "news", height=1080, rate="25/1")
        assert live.connections.total() == 1
