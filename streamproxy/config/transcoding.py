"""How streams are transcoded, and into what."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from streamproxy.config import values
from streamproxy.config.section import Line, Section, Switch, folder_of
from streamproxy.config.values import Number, Seconds, Whole
from streamproxy.formats.transcoding import (
    BUILT_IN,
    AudioCodec,
    Container,
    Deinterlace,
    Effort,
    Profile,
    ProfileError,
    UnknownProfile,
    VideoCodec,
    WhenFull,
    raw_profile,
)

NONE = "none"
"""What stands for no pictures, or no sound."""

_BITRATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([kKmM]?)")
_FACTORS = {"": 1, "k": 1000, "m": 1_000_000}
_DEVICE = re.compile(r"/dev/[A-Za-z0-9_./:-]{1,100}|[0-9]{1,2}")


@dataclasses.dataclass(frozen=True, slots=True)
class Bitrate:
    """Bits per second within limits, both included; 2500k and 2.5M are the same."""

    minimum: int
    maximum: int

    def __call__(self, value: object) -> int:
        """Read it.

        Raises:
            PydanticCustomError: It is no such number.
        """
        found = _BITRATE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
        bits = round(float(found[1]) * _FACTORS[found[2].lower()]) if found else -1
        if not self.minimum <= bits <= self.maximum:
            limits = f"between {self.minimum} and {self.maximum}"
            raise values.mistake(f"must be bits per second such as 2500k or 2.5M, {limits}")
        return bits


def _profile_name(value: str) -> str:
    values.label(value)
    if set("/?#&") & set(value) or value.startswith("-"):
        raise values.mistake("must be a name without '/', '?', '#' and '&' that does not begin with '-'")
    return value


def _device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise values.mistake("must be a device such as /dev/dri/renderD128, or the number of a graphics card")
    return value


class ProfileConfig(Section):
    """What a stream is turned into; a bare text is its template."""

    short_form = "template"

    description: Line | None = None
    """What it is for, in a line."""
    video: (
        Annotated[Literal["h264", "hevc", "vp9", "av1", "mjpeg", "copy", "none"], BeforeValidator(values.lower_case)]
        | None
    ) = None
    """How pictures are coded: h264, hevc, vp9, av1, mjpeg, copy for as they come in, or none."""
    video_bitrate: Annotated[int, BeforeValidator(Bitrate(10_000, 200_000_000))] | None = None
    """Bits per second of the pictures; with a quality, at most."""
    quality: Annotated[int, BeforeValidator(Whole(1, 63))] | None = None
    """Quality on the scale of the codec's usual encoder (CRF; less is better), in place of a steady bit rate."""
    max_height: Annotated[int, BeforeValidator(Whole(16, 8192))] | None = None
    """Lines of a picture, at most; smaller ones stay as they are."""
    fps: Annotated[float, BeforeValidator(Number(0.1, 240))] | None = None
    """Pictures per second; otherwise as many as there are."""
    audio: (
        Annotated[Literal["aac", "mp3", "ac3", "opus", "copy", "none"], BeforeValidator(values.lower_case)] | None
    ) = None
    """How sound is coded: aac, mp3, ac3, opus, copy for as it comes in, or none."""
    audio_bitrate: Annotated[int, BeforeValidator(Bitrate(8_000, 640_000))] | None = None
    """Bits per second of the sound."""
    deinterlace: Annotated[Literal["auto", "on", "off"], BeforeValidator(values.lower_case)] | None = None
    """Which interlaced pictures are made whole: auto for those marked as such, on for all, or off."""
    container: (
        Annotated[Literal["mpegts", "mp4", "webm", "matroska", "mjpeg"], BeforeValidator(values.lower_case)] | None
    ) = None
    """What it is packed in: mpegts, mp4 (in fragments), webm, matroska or mjpeg."""
    key_frame_interval: Annotated[float, BeforeValidator(Seconds(0.1, 60))] | None = None
    """Seconds from one picture at which viewers can start to the next."""
    effort: Annotated[Literal["low", "medium", "high"], BeforeValidator(values.lower_case)] | None = None
    """How much work a picture is worth: low, medium or high."""
    low_latency: Switch | None = None
    """Whether pictures come out at once, at the cost of looks."""
    template: Line | None = None
    """What ffmpeg is told, as in m3u-proxy; then only description and when_full mean anything besides."""
    when_full: Annotated[Literal["refuse", "raw"], BeforeValidator(values.lower_case)] | None = None
    """What viewers get when no more ffmpeg may run: refuse for status 503, raw for the stream as it comes in."""


ProfileName = Annotated[str, AfterValidator(_profile_name)]


class TranscodeConfig(Section):
    """How streams are transcoded."""

    ffmpeg: Line | None = None
    """Path or name of ffmpeg; null takes that on $PATH, else that of streamproxy[ffmpeg]."""
    hwaccel: Annotated[
        Literal["auto", "off", "nvidia", "vaapi", "qsv", "amf", "v4l2m2m", "videotoolbox"],
        BeforeValidator(values.lower_case),
    ] = "auto"
    """Which hardware codes pictures: auto for the best that works, off for none, or one of those that there are."""
    device: Annotated[str, AfterValidator(_device)] | None = None
    """Which device does: a path such as /dev/dri/renderD128, or the number of a graphics card; null for the first."""
    max_processes: Annotated[int, BeforeValidator(Whole(1, 1000))] | None = None
    """Streams transcoded at one time; null for as many as there are processors."""
    nice: Annotated[int, BeforeValidator(Whole(0, 19))] = 5
    """How much ffmpeg stands back behind other programs; 19 is most."""
    threads: Annotated[int, BeforeValidator(Whole(0, 64))] = 0
    """Threads of each decoder and encoder; 0 lets ffmpeg choose."""
    stall_timeout: Annotated[float, BeforeValidator(Seconds(1))] = 15.0
    """Seconds for which ffmpeg may take and give nothing before it counts as stuck."""
    linger: Annotated[float, BeforeValidator(Seconds(0))] = 0.0
    """Seconds that ffmpeg goes on after its last viewer left."""
    raw_templates: Switch = False
    """Whether templates may be given through the API too."""
    profiles: dict[ProfileName, ProfileConfig] = Field(default_factory=dict)
    """Profiles by name; what they leave out is as in the built-in one of that name, or else as in default."""

    @field_validator("ffmpeg")
    @classmethod
    def _path(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        is_name = value and Path(value).name == value and not value.startswith("~")
        return value if is_name else str(values.file_path(value, folder_of(info)))

    @field_validator("profiles")
    @classmethod
    def _profiles_can_be(cls, value: dict[str, ProfileConfig]) -> dict[str, ProfileConfig]:
        for name, own in value.items():
            try:
                merged(name, own)
            except ProfileError as error:
                raise PydanticCustomError("impossible_profile", "{reason}", {"reason": str(error)}) from None
        return value


def profile_of(config: TranscodeConfig, name: str) -> Profile:
    """Return the profile of a name: the configured one over the built-in one. What begins with `-` is a template.

    Raises:
        UnknownProfile: There is none, or templates are not allowed.
        ProfileError: The template is none.
    """
    if name.startswith("-") and config.raw_templates:
        return raw_profile("custom", name)
    if name in config.profiles:
        return merged(name, config.profiles[name])
    if name in BUILT_IN:
        return BUILT_IN[name]
    raise UnknownProfile(profile_names(config))


def profile_names(config: TranscodeConfig) -> list[str]:
    """List the profiles that there are: the built-in ones first."""
    return list(dict.fromkeys([*BUILT_IN, *config.profiles]))


def merged(name: str, own: ProfileConfig) -> Profile:
    """Lay a configured profile over the built-in one of its name, or over the default one.

    Raises:
        ProfileError: What comes out cannot be.
    """
    told = {key: value for key, value in own.model_dump().items() if value is not None}
    if own.template is not None:
        base = raw_profile(name, own.template)
        idle = sorted(told.keys() - {"template", "description", "when_full"})
        if idle:
            raise ProfileError(f"is a template, in which nothing else counts: leave out {', '.join(idle)}")
    else:
        base = BUILT_IN.get(name) or dataclasses.replace(BUILT_IN["default"], description="")
    return dataclasses.replace(base, **{key: _meant(key, value) for key, value in told.items()}, name=name)


_TERMS = {
    "video": VideoCodec,
    "audio": AudioCodec,
    "deinterlace": Deinterlace,
    "container": Container,
    "effort": Effort,
    "when_full": WhenFull,
}


def _meant(key: str, value: Any) -> Any:
    return value if key not in _TERMS else None if value == NONE else _TERMS[key](value)
