"""Pictures and sound stay together: a flash and a beep in each second, as they come out of a transcoded channel."""

import asyncio
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.origin import origin
from tests.helpers.proxy import Proxy, config, running
from tests.helpers.transcoding import Live, needs_ffmpeg, read_for

pytestmark = [
    needs_ffmpeg,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_factories=["uvloop"]),  # an encoder cannot tell one from the other
]

RATE = 1_000_000 / 8
"""Bytes per second."""
WATCHED = 60.0
"""Seconds."""
NOTICED = 0.04
"""Seconds by which they may be apart, in either direction: a picture."""
BRIGHT, LOUD = 100.0, -30.0

_TIME = re.compile(r"pts_time:(\S+)")
_VALUE = re.compile(r"=(\S+)$")


def flashes_and_beeps(seconds: float) -> bytes:
    """Make a stream that flashes and beeps for a tenth of each second, at a constant bit rate."""
    command = ["ffmpeg", "-v", "error", "-nostdin"]
    command += ["-f", "lavfi", "-i", f"color=black:size=320x180:rate=25:duration={seconds}"]
    command += ["-f", "lavfi", "-i", f"aevalsrc='0.5*sin(6283*t)*lt(mod(t,1),0.1)':s=48000:d={seconds}"]
    command += ["-vf", "drawbox=color=white:thickness=fill:enable='lt(mod(t,1),0.1)'", "-c:v", "mpeg2video"]
    command += ["-b:v", "500k", "-g", "25", "-bf", "2", "-c:a", "mp2", "-b:a", "128k"]
    command += ["-muxrate", str(round(RATE * 8)), "-f", "mpegts", "-"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout


def measured(data: bytes, *filters: str) -> Iterator[tuple[float, float]]:
    """Give what a filter measures, and when."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", "pipe:0", *filters, "-f", "null", "-"]
    lines = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode()
    time = 0.0
    for line in lines.splitlines():
        if found := _TIME.search(line):
            time = float(found[1])
        elif found := _VALUE.search(line):
            yield time, float(found[1])


def onsets(values: Iterator[tuple[float, float]], threshold: float) -> list[float]:
    """List the times at which values rise above a threshold."""
    times, above = [], True
    for time, value in values:
        if value > threshold and not above:
            times.append(time)
        above = value > threshold
    return times


def offsets(data: bytes) -> list[float]:
    """List for each flash how much later it is than the beep that belongs to it."""
    brightness = "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-"
    loudness = (
        "aformat=channel_layouts=mono,asetnsamples=48,astats=metadata=1:reset=1,"
        "ametadata=print:key=lavfi.astats.Overall.RMS_level:file=-"
    )
    flashes = onsets(measured(data, "-map", "0:v", "-vf", brightness), BRIGHT)
    beeps = onsets(measured(data, "-map", "0:a", "-af", loudness), LOUD)
    nearest = ((flash, min(beeps, key=lambda beep: abs(beep - flash))) for flash in flashes[1:-1])
    return [flash - beep for flash, beep in nearest]


async def watched(proxy: Proxy, profile: str) -> bytes:
    async with proxy.open(f"/stream/news?profile={profile}") as viewer:
        return await read_for(viewer, WATCHED)


async def test_pictures_and_sound_stay_together(tmp_path: Path) -> None:
    profiles = ["default", "lowlatency", "vp9", "av1"]
    source = flashes_and_beeps(WATCHED + 10)
    async with origin(Live(source, RATE)) as upstream:
        settings = config(
            tmp_path, streams={"news": upstream.url()}, transcode={"hwaccel": "off", "max_processes": len(profiles)}
        )
        async with running(settings) as proxy:
            outputs = await asyncio.gather(*(watched(proxy, profile) for profile in profiles))
    before = statistics.median(offsets(source))
    for profile, output in zip(profiles, outputs, strict=True):
        apart = [offset - before for offset in offsets(output)]
        print(f"{profile}: {len(apart)} flashes, {min(apart):+.3f} to {max(apart):+.3f} s from their beeps")
        assert len(apart) > WATCHED / 2
        assert -NOTICED < min(apart) <= max(apart) < NOTICED
        assert max(apart) - min(apart) < NOTICED
