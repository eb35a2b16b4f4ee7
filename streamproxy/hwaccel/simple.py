"""The same for those who only want to know, and can wait: found out once per process, without a configuration."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from streamproxy.config import TranscodeConfig
from streamproxy.config.folders import default_state_dir
from streamproxy.errors import FfmpegMissing
from streamproxy.formats.transcoding import VideoCodec, decoding_options
from streamproxy.hwaccel.detection import detect
from streamproxy.hwaccel.hardware import Hardware

_OTHER_NAMES = {"h265": "hevc", "x264": "h264", "x265": "hevc", "avc": "h264"}


def is_hwaccel_available() -> bool:
    """Tell whether some hardware codes pictures here. The first call may take a few seconds."""
    hardware = _hardware()
    return hardware is not None and bool(hardware.working)


def get_ffmpeg_hwaccel_args(codec: str = "h264") -> list[str]:
    """Return the options before ffmpeg's input with which pictures are decoded in the hardware that encodes a codec.

    Args:
        codec: h264, hevc (or h265), vp9 or av1.

    Returns:
        Nothing where no hardware encodes it, or where it needs none. The first call may take a few seconds.
    """
    name = codec.lower()
    name = _OTHER_NAMES.get(name, name)
    hardware = _hardware()
    if hardware is None or name not in frozenset(VideoCodec):
        return []
    able = (one for one in hardware.working if one.encoder(VideoCodec(name)))
    return next((decoding_options(one) for one in able), [])


@cache
def _hardware() -> Hardware | None:
    # In a thread, as the caller's may run a loop already.
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: asyncio.run(detect(TranscodeConfig(), default_state_dir(os.environ))))
        try:
            return found.result()
        except FfmpegMissing:
            return None
