"""What hardware is found here codes pictures; where there is none, the reason is told."""

import asyncio
import json
import subprocess
from functools import cache

import pytest

from streamproxy.config import TranscodeConfig
from streamproxy.errors import FfmpegMissing
from streamproxy.formats.transcoding import BUILT_IN, PREFERENCE, Acceleration, arguments
from streamproxy.hwaccel import Hardware, detect
from tests.helpers.media import transport_stream


@cache
def hardware_here() -> Hardware:
    try:
        return asyncio.run(detect(TranscodeConfig()))
    except FfmpegMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", PREFERENCE, ids=str)
@pytest.mark.parametrize("name", ["default", "720p", "hevc"])
def test_hardware_makes_what_a_profile_says(kind: Acceleration, name: str) -> None:
    profile = BUILT_IN[name]
    hardware = hardware_here()
    attempt = next(attempt for attempt in hardware.attempts if attempt.acceleration is kind)
    if not attempt.works or profile.video is None or attempt.accelerator.encoder(profile.video) is None:
        pytest.skip(f"{kind} is of no use here: {attempt.reason or f'it has no {profile.video}'}")
    command = [hardware.ffmpeg, *arguments(profile, attempt.accelerator)]

    made = subprocess.run(command, input=transport_stream(), capture_output=True, timeout=60, check=True).stdout

    probe = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", "-"]
    told = json.loads(subprocess.run(probe, input=made, capture_output=True, timeout=60, check=True).stdout)
    assert profile.video in {stream["codec_name"] for stream in told["streams"]}
