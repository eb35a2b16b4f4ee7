"""What a machine can code pictures with, and how they get into it and out of it.

Nothing here was learnt by trial on every device: how frames move follows ffmpeg's documentation of each filter and
encoder, and `probe_arguments` makes ffmpeg try the whole way on the device at hand before anything relies on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from streamproxy.formats.transcoding.errors import ProfileError
from streamproxy.formats.transcoding.terms import Deinterlace, VideoCodec


class Acceleration(StrEnum):
    """A way of coding pictures."""

    SOFTWARE = "software"
    NVIDIA = "nvidia"
    """NVENC and NVDEC, frames in CUDA."""
    VAAPI = "vaapi"
    """Intel and AMD under Linux."""
    QSV = "qsv"
    """Intel Quick Sync Video."""
    AMF = "amf"
    """AMD's own library."""
    V4L2M2M = "v4l2m2m"
    """The codecs of small boards under Linux."""
    VIDEOTOOLBOX = "videotoolbox"
    """Apple."""


PREFERENCE = (
    Acceleration.NVIDIA,
    # Before Quick Sync: what a VA-API driver cannot decode, ffmpeg decodes itself; with Quick Sync it gives up.
    Acceleration.VAAPI,
    Acceleration.QSV,
    Acceleration.VIDEOTOOLBOX,
    Acceleration.AMF,
    Acceleration.V4L2M2M,
)
"""Devices, the best first."""

_H264, _HEVC, _VP9, _AV1 = VideoCodec.H264, VideoCodec.HEVC, VideoCodec.VP9, VideoCodec.AV1

ENCODERS: Mapping[Acceleration, Mapping[VideoCodec, tuple[str, ...]]] = {
    Acceleration.SOFTWARE: {
        _H264: ("libx264",),
        _HEVC: ("libx265",),
        _VP9: ("libvpx-vp9",),
        _AV1: ("libsvtav1",),
        VideoCodec.MJPEG: ("mjpeg",),
    },
    Acceleration.NVIDIA: {_H264: ("h264_nvenc",), _HEVC: ("hevc_nvenc",), _AV1: ("av1_nvenc",)},
    Acceleration.VAAPI: {
        _H264: ("h264_vaapi",),
        _HEVC: ("hevc_vaapi",),
        _VP9: ("vp9_vaapi",),
        _AV1: ("av1_vaapi",),
    },
    Acceleration.QSV: {_H264: ("h264_qsv",), _HEVC: ("hevc_qsv",), _VP9: ("vp9_qsv",), _AV1: ("av1_qsv",)},
    Acceleration.AMF: {_H264: ("h264_amf",), _HEVC: ("hevc_amf",), _AV1: ("av1_amf",)},
    Acceleration.V4L2M2M: {_H264: ("h264_v4l2m2m",), _HEVC: ("hevc_v4l2m2m",)},
    Acceleration.VIDEOTOOLBOX: {_H264: ("h264_videotoolbox",), _HEVC: ("hevc_videotoolbox",)},
}
"""Names of encoders in ffmpeg, the better first."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What pictures are coded with here.

    Attributes:
        kind: Which way.
        encoders: ffmpeg's encoders of this way that work here.
        device: Which one: a path for VA-API and Quick Sync, a number for NVIDIA; None where there is no choice.
        low_power: Whether only the encoders of the low-power engine work, as on newer graphics of Intel.
    """

    kind: Acceleration
    encoders: frozenset[str] = field(default_factory=frozenset)
    device: str | None = None
    low_power: bool = False

    def encoder(self, codec: VideoCodec) -> str | None:
        """Return the name of the encoder for a codec; None if there is none that works."""
        names = ENCODERS[self.kind].get(codec, ())
        return next((name for name in names if name in self.encoders), None)


@dataclass(frozen=True, slots=True)
class _Way:
    """How pictures get through a device; filters are empty where there is nothing to do.

    Attributes:
        opening: Options that open the device, in which {device} stands for it.
        decoding: Options that make it decode.
        upload: Filter that brings pictures into it, unless they were decoded there.
        auto, on: Filters that deinterlace.
        scale: Filter that scales, in which {size} stands for how it is told the size; makes 8 bit 4:2:0 of all.
        format: Filter that comes last.
    """

    opening: tuple[str, ...] = ()
    decoding: tuple[str, ...] = ()
    upload: str = ""
    auto: str = "bwdif=mode=send_frame:deint=interlaced"
    on: str = "bwdif=mode=send_frame:deint=all"
    scale: str = "scale={size}"
    format: str = "format=yuv420p"


_WAYS: Mapping[Acceleration, _Way] = {
    Acceleration.SOFTWARE: _Way(),
    Acceleration.NVIDIA: _Way(
        opening=("-init_hw_device", "cuda=hw:{device}", "-filter_hw_device", "hw"),
        # Without spare frames, the decoder runs out of them while a filter and the encoder hold some.
        decoding=(
            *("-hwaccel", "cuda", "-hwaccel_device", "hw", "-hwaccel_output_format", "cuda"),
            *("-extra_hw_frames", "8"),
        ),
        upload="format=nv12|cuda,hwupload",
        auto="yadif_cuda=mode=send_frame:deint=interlaced",
        on="yadif_cuda=mode=send_frame:deint=all",
        scale="scale_cuda={size}:format=nv12",
        format="",
    ),
    Acceleration.VAAPI: _Way(
        opening=("-init_hw_device", "vaapi=hw:{device}", "-filter_hw_device", "hw"),
        decoding=("-hwaccel", "vaapi", "-hwaccel_device", "hw", "-hwaccel_output_format", "vaapi"),
        upload="format=nv12|vaapi,hwupload",
        auto="deinterlace_vaapi=rate=frame:auto=1",
        on="deinterlace_vaapi=rate=frame:auto=0",
        scale="scale_vaapi={size}:format=nv12",
        format="",
    ),
    Acceleration.QSV: _Way(
        opening=(
            *("-init_hw_device", "vaapi=va:{device}", "-init_hw_device", "qsv=hw@va"),
            *("-filter_hw_device", "hw"),
        ),
        decoding=("-hwaccel", "qsv", "-hwaccel_device", "hw", "-hwaccel_output_format", "qsv", "-extra_hw_frames", "8"),
        upload="format=nv12|qsv,hwupload=extra_hw_frames=64",
        # It leaves frames alone that are not marked, whatever it is told.
        auto="vpp_qsv=deinterlace=advanced",
        on="vpp_qsv=deinterlace=advanced",
        scale="vpp_qsv={size}:format=nv12",
        format="",
    ),
    Acceleration.AMF: _Way(format="format=nv12"),
    Acceleration.V4L2M2M: _Way(),
    Acceleration.VIDEOTOOLBOX: _Way(decoding=("-hwaccel", "videotoolbox"), format="format=nv12"),
}

_DEFAULT_DEVICE: Mapping[Acceleration, str] = {
    Acceleration.NVIDIA: "0",
    Acceleration.VAAPI: "/dev/dri/renderD128",
    Acceleration.QSV: "/dev/dri/renderD128",
}


def decoding_options(accelerator: Accelerator) -> list[str]:
    """Return the options before the input that open the device and decode on it; none for software."""
    return [*_opening(accelerator), *_WAYS[accelerator.kind].decoding]


def filters(
    accelerator: Accelerator, *, deinterlace: Deinterlace, fps: float | None, max_height: int | None
) -> list[str]:
    """Return the filters between decoder and encoder, in order.

    Sizes come out even, as 4:2:0 needs it, in the same shape, and never larger than they come in.
    """
    way = _WAYS[accelerator.kind]
    chain = [way.upload]
    if deinterlace is not Deinterlace.OFF:
        chain.append(way.auto if deinterlace is Deinterlace.AUTO else way.on)
    if fps is not None:
        chain.append(f"fps={fps:g}")
    chain += [way.scale.format(size=_size(max_height)), way.format]
    return [one for one in chain if one]


def probe_arguments(accelerator: Accelerator, encoder: str) -> list[str]:
    """Return what makes ffmpeg encode one picture with an encoder, the whole way through its device.

    It writes a line about each packet that was made (the format framecrc), and opens no file.
    """
    low_power = ["-low_power", "1"] if accelerator.low_power else []
    chain = ",".join(filters(accelerator, deinterlace=Deinterlace.OFF, fps=None, max_height=240))
    return [
        *("-hide_banner", "-nostdin", "-loglevel", "error"),
        *_opening(accelerator),
        *("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=0.04"),
        *("-vf", chain, "-frames:v", "1", "-c:v", encoder, *low_power, "-b:v", "1M"),
        *("-f", "framecrc", "pipe:1"),
    ]


def needed_encoder(accelerator: Accelerator, codec: VideoCodec) -> str:
    """Return the name of the encoder for a codec.

    Raises:
        ProfileError: There is none that works.
    """
    name = accelerator.encoder(codec)
    if name is None:
        wanted = " or ".join(ENCODERS[accelerator.kind].get(codec, ())) or f"{codec} for {accelerator.kind}"
        raise ProfileError(
            f"needs an encoder that this ffmpeg lacks: {wanted}; install an ffmpeg with it, or take h264"
        )
    return name


def _opening(accelerator: Accelerator) -> list[str]:
    device = accelerator.device or _DEFAULT_DEVICE.get(accelerator.kind, "")
    return [option.format(device=device) for option in _WAYS[accelerator.kind].opening]


def _size(max_height: int | None) -> str:
    # A comma would part filters, were it not escaped.
    height = "ih" if max_height is None else rf"min(ih\,{max_height})"
    return f"w=2*trunc(iw*{height}/ih/2):h=2*trunc({height}/2)"
