"""Which ffmpeg there is, and what hardware it can code pictures with.

`detect` finds out by trying, which takes up to a few seconds; it is run beside the start, not in it. What it found
holds until the machine is started again, or ffmpeg or the devices change.
"""

from streamproxy.hwaccel.detection import detect, device_nodes
from streamproxy.hwaccel.hardware import Attempt, Hardware
from streamproxy.hwaccel.program import find_ffmpeg
from streamproxy.hwaccel.simple import get_ffmpeg_hwaccel_args, is_hwaccel_available

__all__ = [
    "Attempt",
    "Hardware",
    "detect",
    "device_nodes",
    "find_ffmpeg",
    "get_ffmpeg_hwaccel_args",
    "is_hwaccel_available",
]
