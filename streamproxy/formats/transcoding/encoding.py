"""What each encoder is told, so that a live stream comes out in time, keeps its bit rate, and can be joined anywhere.

Encoders differ in which options they have and in what the same name means; each family has a function of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streamproxy.formats.transcoding.profile import Profile
from streamproxy.formats.transcoding.terms import AudioCodec, Container, Effort, VideoCodec

_QUALITY: Mapping[VideoCodec, int] = {
    VideoCodec.H264: 23,
    VideoCodec.HEVC: 26,
    VideoCodec.VP9: 33,
    VideoCodec.AV1: 35,
    VideoCodec.MJPEG: 5,
}
"""What looks about the same."""

_FAST = 60
"""Pictures per second of fast streams: key frames are forced by the clock, and must not come by the count before."""
_SLOW = 25
"""Pictures per second of slow streams: where the clock may not be heeded, they come by the count, rather too often."""

_AUDIO_ENCODERS: Mapping[AudioCodec, str] = {
    AudioCodec.AAC: "aac",
    AudioCodec.MP3: "libmp3lame",
    AudioCodec.AC3: "ac3",
    AudioCodec.OPUS: "libopus",
    AudioCodec.COPY: "copy",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What an encoder has to do.

    Attributes:
        profile: What comes out.
        threads: How many it may use; 0 for as many as it likes.
        low_power: Whether only the low-power engine works.
    """

    profile: Profile
    threads: int = 0
    low_power: bool = False

    @property
    def quality(self) -> int:
        """On the scale of the codec's usual encoder."""
        assert self.profile.video is not None, "asked by an encoder of pictures"
        return self.profile.quality if self.profile.quality is not None else _QUALITY[self.profile.video]

    @property
    def by_quality(self) -> bool:
        """Whether the quality is what counts, with the bit rate as its limit if there is one."""
        return self.profile.quality is not None or self.profile.video_bitrate is None

    @property
    def ceiling(self) -> list[str]:
        """Options that keep the bit rate within its limit over two seconds; over half a second for low latency."""
        rate = self.profile.video_bitrate
        if rate is None:
            return []
        return ["-maxrate", str(rate), "-bufsize", str(rate // 2 if self.profile.low_latency else 2 * rate)]

    @property
    def bitrate(self) -> list[str]:
        """Options for a bit rate, in the words of most encoders."""
        return ["-b:v", str(self.profile.video_bitrate), *self.ceiling]

    def group(self, fps: int) -> str:
        """Count the pictures from one key frame to the next, where there are so many per second unless said."""
        return str(max(1, round(self.profile.key_frame_interval * (self.profile.fps or fps))))

    def by_effort(self, low: str, medium: str, high: str) -> str:
        """Choose by the effort."""
        return {Effort.LOW: low, Effort.MEDIUM: medium, Effort.HIGH: high}[self.profile.effort]


def video_options(encoder: str, task: Task) -> list[str]:
    """Return what an encoder of pictures is told, its name and the key frames included."""
    family = _FAMILIES.get(encoder) or _FAMILIES[encoder.partition("_")[2]]
    return ["-c:v", encoder, *family(task), *_key_frames(encoder, task), *_tag(task)]


def audio_options(profile: Profile) -> list[str]:
    """Return what the encoder of sound is told, its name included."""
    assert profile.audio is not None, "asked where there is sound"
    encoder = ["-c:a", _AUDIO_ENCODERS[profile.audio]]
    if profile.audio is AudioCodec.COPY:
        return encoder
    # Sound that has drifted, jumped or gone missing is stretched, cut and filled until it fits its time stamps again;
    # a fixed rate and fixed channels stay when those of the source change in the middle.
    fitted = ["-af", "aresample=async=1000:min_hard_comp=0.1", "-ar", "48000"]
    channels = [] if profile.audio is AudioCodec.AC3 else ["-ac", "2"]
    return [*encoder, *fitted, *channels, "-b:a", str(profile.audio_bitrate)]


def _key_frames(encoder: str, task: Task) -> list[str]:
    # SVT-AV1 heeds it in newer versions only, and counts on all the same.
    if encoder in ("mjpeg", "libsvtav1"):
        return []
    interval = task.profile.key_frame_interval
    when = f"n_forced*{interval:g}"
    if task.profile.container in (Container.MP4, Container.WEBM, Container.MATROSKA):
        # Nothing comes out of these before the second key frame: it comes early, for the first viewer.
        when = f"if(lt(n_forced,2),n_forced*{interval / 2:g},(n_forced-1)*{interval:g})"
    return ["-force_key_frames", f"expr:gte(t,{when})"]


def _tag(task: Task) -> list[str]:
    """Name HEVC as Apple's players want it."""
    in_mp4 = task.profile.video is VideoCodec.HEVC and task.profile.container is Container.MP4
    return ["-tag:v", "hvc1"] if in_mp4 else []


def _threads(task: Task) -> list[str]:
    return ["-threads", str(task.threads)] if task.threads else []


def _x264(task: Task) -> list[str]:
    rate = ["-crf", str(task.quality), *task.ceiling] if task.by_quality else task.bitrate
    tune = ["-tune", "zerolatency"] if task.profile.low_latency else []
    preset = task.by_effort("ultrafast", "veryfast", "faster")
    return ["-preset", preset, *tune, *rate, "-g", task.group(_FAST), "-sc_threshold", "0", *_threads(task)]


def _x265(task: Task) -> list[str]:
    rate = ["-crf", str(task.quality), *task.ceiling] if task.by_quality else task.bitrate
    tune = ["-tune", "zerolatency"] if task.profile.low_latency else []
    preset = task.by_effort("ultrafast", "superfast", "veryfast")
    pools = f":pools={task.threads}" if task.threads else ""
    private = f"log-level=error:scenecut=0:open-gop=0:keyint={task.group(_FAST)}:min-keyint=1{pools}"
    return ["-preset", preset, *tune, *rate, "-forced-idr", "1", "-x265-params", private, *_threads(task)]


def _vpx(task: Task) -> list[str]:
    # In real time it keeps a constant rate best, and knows no other well.
    rate = ["-crf", str(task.quality), "-b:v", "0"] if task.by_quality else [*task.bitrate, "-minrate", _rate(task)]
    return [
        *("-deadline", "realtime", "-cpu-used", task.by_effort("8", "8", "6"), "-row-mt", "1", "-tile-columns", "2"),
        *("-lag-in-frames", "0", "-auto-alt-ref", "0", "-aq-mode", "3"),
        *(*rate, "-g", task.group(_FAST), *_threads(task)),
    ]


def _svtav1(task: Task) -> list[str]:
    rate, private = ["-crf", str(task.quality)], "scd=0"
    if not task.by_quality:
        # A constant rate, without looking ahead: otherwise the first picture is seconds late.
        rate, private = ["-b:v", _rate(task)], "scd=0:rc=2:pred-struct=1"
    if task.threads:
        private += f":lp={task.threads}"
    preset = task.by_effort("12", "10", "8")
    return ["-preset", preset, *rate, "-g", task.group(_SLOW), "-svtav1-params", private]


def _mjpeg(task: Task) -> list[str]:
    return ["-q:v", str(task.quality), *_threads(task)]


def _nvenc(task: Task) -> list[str]:
    # Neither -crf nor -tune zerolatency exists here.
    if task.by_quality:
        rate = ["-rc", "vbr", "-cq", str(task.quality), "-b:v", "0", *task.ceiling]
    else:
        rate = ["-rc", "cbr" if task.profile.low_latency else "vbr", *task.bitrate]
    latency = ["-tune", "ll", "-zerolatency", "1", "-delay", "0", "-bf", "0"] if task.profile.low_latency else []
    preset = task.by_effort("p2", "p4", "p6")
    return [
        *("-preset", preset, *latency, *rate, "-g", task.group(_FAST)),
        *("-no-scenecut", "1", "-forced-idr", "1"),
    ]


def _vaapi(task: Task) -> list[str]:
    # With a limit it takes the best mode that the driver has; few have one for quality within a limit.
    rate = task.bitrate if task.profile.video_bitrate else ["-rc_mode", "CQP", "-global_quality", _index(task)]
    latency = ["-bf", "0", "-async_depth", "1"] if task.profile.low_latency else []
    return [*latency, *rate, "-g", task.group(_FAST), *_low_power(task)]


def _qsv(task: Task) -> list[str]:
    rate = task.bitrate if task.profile.video_bitrate else ["-global_quality", _index(task)]
    latency = ["-bf", "0", "-async_depth", "1"] if task.profile.low_latency else []
    # That of VP9 has no forced key frames.
    forced = [] if task.profile.video is VideoCodec.VP9 else ["-forced_idr", "1"]
    group = task.group(_FAST if forced else _SLOW)
    preset = task.by_effort("veryfast", "faster", "medium")
    return ["-preset", preset, *latency, *rate, "-g", group, *forced, *_low_power(task)]


def _amf(task: Task) -> list[str]:
    if task.profile.video_bitrate:
        rate = ["-rc", "cbr" if task.profile.low_latency else "vbr_peak", *task.bitrate]
    else:
        rate = ["-rc", "cqp", "-qp_i", _index(task), "-qp_p", _index(task)]
    usage = "lowlatency" if task.profile.low_latency else "transcoding"
    quality = task.by_effort("speed", "balanced", "quality")
    # Only newer versions can be made to heed pictures that are to be key frames.
    return ["-usage", usage, "-quality", quality, *rate, "-g", task.group(_SLOW)]


def _v4l2m2m(task: Task) -> list[str]:
    # It knows of no quality.
    return ["-b:v", str(task.profile.video_bitrate or 4_000_000), "-g", task.group(_SLOW)]


def _videotoolbox(task: Task) -> list[str]:
    rate = task.bitrate if task.profile.video_bitrate else ["-q:v", str(100 - round(task.quality * 100 / 64))]
    return [*rate, "-realtime", "1", "-g", task.group(_FAST)]


def _rate(task: Task) -> str:
    return str(task.profile.video_bitrate)


def _index(task: Task) -> str:
    """Return the quality as hardware wants it: the quantizer's index, which goes up to 255 for VP9 and AV1."""
    large = task.profile.video in (VideoCodec.VP9, VideoCodec.AV1)
    return str(round(task.quality * 255 / 63) if large else task.quality)


def _low_power(task: Task) -> list[str]:
    return ["-low_power", "1"] if task.low_power else []


_FAMILIES: Mapping[str, Callable[[Task], list[str]]] = {
    "libx264": _x264,
    "libx265": _x265,
    "libvpx-vp9": _vpx,
    "libsvtav1": _svtav1,
    "mjpeg": _mjpeg,
    "nvenc": _nvenc,
    "vaapi": _vaapi,
    "qsv": _qsv,
    "amf": _amf,
    "v4l2m2m": _v4l2m2m,
    "videotoolbox": _videotoolbox,
}
"""By an encoder's name, or by what stands behind the codec in it."""
