"""What ffmpeg is told, so that it turns one stream into another.

A `Profile` says what comes out, an `Accelerator` what makes it, and `arguments` puts the two into ffmpeg's words.
"""

from streamproxy.formats.transcoding.acceleration import (
    ENCODERS,
    PREFERENCE,
    Acceleration,
    Accelerator,
    decoding_options,
    probe_arguments,
)
from streamproxy.formats.transcoding.arguments import arguments
from streamproxy.formats.transcoding.errors import ProfileError, UnknownProfile
from streamproxy.formats.transcoding.profile import BUILT_IN, Profile
from streamproxy.formats.transcoding.template import Expanded, expand, raw_profile
from streamproxy.formats.transcoding.terms import AudioCodec, Container, Deinterlace, Effort, VideoCodec, WhenFull

__all__ = [
    "BUILT_IN",
    "ENCODERS",
    "PREFERENCE",
    "Acceleration",
    "Accelerator",
    "AudioCodec",
    "Container",
    "Deinterlace",
    "Effort",
    "Expanded",
    "Profile",
    "ProfileError",
    "UnknownProfile",
    "VideoCodec",
    "WhenFull",
    "arguments",
    "decoding_options",
    "expand",
    "probe_arguments",
    "raw_profile",
]
