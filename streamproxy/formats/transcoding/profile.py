"""What a stream is turned into."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from streamproxy.formats.transcoding.errors import ProfileError
from streamproxy.formats.transcoding.terms import AudioCodec, Container, Deinterlace, Effort, VideoCodec, WhenFull

QUALITY_LIMITS: Mapping[VideoCodec, tuple[int, int]] = MappingProxyType(
    {
        VideoCodec.H264: (1, 51),
        VideoCodec.HEVC: (1, 51),
        VideoCodec.VP9: (1, 63),
        VideoCodec.AV1: (1, 63),
        VideoCodec.MJPEG: (2, 31),
    }
)
"""Best and worst on the scale of each codec's usual encoder."""

_VIDEO: Mapping[Container, frozenset[VideoCodec]] = {
    Container.MPEGTS: frozenset({VideoCodec.H264, VideoCodec.HEVC, VideoCodec.COPY}),
    Container.MP4: frozenset({VideoCodec.H264, VideoCodec.HEVC, VideoCodec.VP9, VideoCodec.AV1, VideoCodec.COPY}),
    Container.WEBM: frozenset({VideoCodec.VP9, VideoCodec.AV1}),
    Container.MATROSKA: frozenset(VideoCodec),
    Container.MJPEG: frozenset({VideoCodec.MJPEG}),
}
_AUDIO: Mapping[Container, frozenset[AudioCodec]] = {
    Container.MPEGTS: frozenset(AudioCodec),
    # Sound of a transport stream is copied into a transport stream only: AAC is framed otherwise elsewhere.
    Container.MP4: frozenset(AudioCodec) - {AudioCodec.COPY},
    Container.WEBM: frozenset({AudioCodec.OPUS}),
    Container.MATROSKA: frozenset(AudioCodec) - {AudioCodec.COPY},
    Container.MJPEG: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What a stream is turned into.

    Attributes:
        name: What it is asked for by.
        description: What it is for, in a line.
        video: How pictures are coded; None for none.
        video_bitrate: Bits per second of the pictures, at most; None for as many as the quality takes.
        quality: On the scale of the codec's usual encoder (CRF), less is better; None for the bit rate, or 23 for H.264
            and what looks like it for the others.
        max_height: Lines of a picture, at most; smaller ones stay as they are. None for any.
        fps: Pictures per second; None for as many as there are.
        audio: How sound is coded; None for none.
        audio_bitrate: Bits per second of the sound.
        deinterlace: What becomes of pictures that were made of two fields.
        container: What it is packed in.
        key_frame_interval: Seconds from one picture at which a decoder can start to the next.
        effort: How much work a picture is worth.
        low_latency: Whether pictures come out at once, at the cost of looks.
        template: What ffmpeg is told, in m3u-proxy's way; all but container and when_full then means nothing. None for
            what follows from the rest.
        when_full: What viewers get when no further ffmpeg may be started.

    Raises:
        ProfileError: There is no such thing.
    """

    name: str
    description: str = ""
    video: VideoCodec | None = VideoCodec.H264
    video_bitrate: int | None = None
    quality: int | None = None
    max_height: int | None = None
    fps: float | None = None
    audio: AudioCodec | None = AudioCodec.AAC
    audio_bitrate: int = 128_000
    deinterlace: Deinterlace = Deinterlace.AUTO
    container: Container = Container.MPEGTS
    key_frame_interval: float = 2.0
    effort: Effort = Effort.MEDIUM
    low_latency: bool = False
    template: str | None = None
    when_full: WhenFull = WhenFull.REFUSE

    def __post_init__(self) -> None:
        if self.template is None:
            _check_streams(self.video, self.audio, self.container)
            self._check_copy()
            self._check_numbers()

    def _check_copy(self) -> None:
        if self.video is not VideoCodec.COPY:
            return
        wanted = {
            "video_bitrate": self.video_bitrate,
            "quality": self.quality,
            "max_height": self.max_height,
            "fps": self.fps,
            "deinterlace": self.deinterlace is Deinterlace.ON or None,
        }
        named = [name for name, value in wanted.items() if value is not None]
        if named:
            raise ProfileError(
                f"copies the pictures, which cannot change them: leave out {', '.join(named)}, or set video to h264"
            )

    def _check_numbers(self) -> None:
        if self.quality is not None and self.video is not None:
            best, worst = QUALITY_LIMITS[self.video]
            if not best <= self.quality <= worst:
                raise ProfileError(f"needs a quality between {best} (best) and {worst} for {self.video}")
        limits: Mapping[str, tuple[float | None, float, float]] = {
            "video_bitrate": (self.video_bitrate, 10_000, 200_000_000),
            "max_height": (self.max_height, 16, 8192),
            "fps": (self.fps, 0.1, 240),
            "audio_bitrate": (self.audio_bitrate, 8_000, 640_000),
            "key_frame_interval": (self.key_frame_interval, 0.1, 60),
        }
        for name, (value, least, most) in limits.items():
            if value is not None and not least <= value <= most:
                raise ProfileError(f"needs a {name} between {least:.15g} and {most:.15g}")


def _check_streams(video: VideoCodec | None, audio: AudioCodec | None, container: Container) -> None:
    if video is None and audio is None:
        raise ProfileError("has neither pictures nor sound: set video or audio")
    if container is Container.MJPEG and (video is not VideoCodec.MJPEG or audio is not None):
        raise ProfileError("is packed as mjpeg, which is pictures alone: set video to mjpeg, and audio to none")
    if video is not None:
        _check_stream("video", video, container, _VIDEO)
    if audio is not None:
        _check_stream("audio", audio, container, _AUDIO)


_Codec = TypeVar("_Codec", VideoCodec, AudioCodec)


def _check_stream(key: str, codec: _Codec, container: Container, held: Mapping[Container, frozenset[_Codec]]) -> None:
    if codec not in held[container]:
        others = [other for other in Container if codec in held[other]]
        remedy = f"set container to {_either(others)}, or {key} to {_either(sorted(held[container]))}"
        raise ProfileError(f"cannot have {codec} as {key} in {container}: {remedy}")


def _either(names: Iterable[str]) -> str:
    *first, last = map(str, names)
    return f"{', '.join(first)} or {last}" if first else last


_PROFILES = (
    Profile("default", "H.264 of 2 Mbit/s in the size it comes in", video_bitrate=2_000_000),
    Profile(
        "hq",
        "H.264 that looks like the source, of at most 10 Mbit/s",
        quality=20,
        video_bitrate=10_000_000,
        audio_bitrate=192_000,
        effort=Effort.HIGH,
    ),
    Profile(
        "lowlatency",
        "H.264 of 1 Mbit/s that comes out at once",
        video_bitrate=1_000_000,
        audio_bitrate=96_000,
        low_latency=True,
    ),
    Profile("720p", "H.264 of 2.5 Mbit/s, at most 720 lines", video_bitrate=2_500_000, max_height=720),
    Profile("1080p", "H.264 of 5 Mbit/s, at most 1080 lines", video_bitrate=5_000_000, max_height=1080),
    Profile("hevc", "HEVC (H.265) of 2 Mbit/s", video=VideoCodec.HEVC, video_bitrate=2_000_000),
    Profile("audio", "the sound alone", video=None, audio_bitrate=192_000),
    Profile(
        "vp9",
        "VP9 and Opus in WebM, of 2 Mbit/s and at most 720 lines",
        video=VideoCodec.VP9,
        video_bitrate=2_000_000,
        max_height=720,
        audio=AudioCodec.OPUS,
        container=Container.WEBM,
    ),
    Profile(
        "av1",
        "AV1 and AAC in MP4, of 1.5 Mbit/s and at most 720 lines",
        video=VideoCodec.AV1,
        video_bitrate=1_500_000,
        max_height=720,
        container=Container.MP4,
    ),
    Profile(
        "mjpeg",
        "five JPEG pictures per second, at most 360 lines, without sound",
        video=VideoCodec.MJPEG,
        quality=7,
        max_height=360,
        fps=5,
        audio=None,
        container=Container.MJPEG,
    ),
)

BUILT_IN: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _PROFILES})
"""Profiles that are there without being configured, by name; the first seven are called as m3u-proxy's are."""
