"""The words in which a profile is written."""

from enum import StrEnum


class VideoCodec(StrEnum):
    """How pictures are coded."""

    H264 = "h264"
    HEVC = "hevc"
    VP9 = "vp9"
    AV1 = "av1"
    MJPEG = "mjpeg"
    COPY = "copy"
    """As they come in."""


class AudioCodec(StrEnum):
    """How sound is coded."""

    AAC = "aac"
    MP3 = "mp3"
    AC3 = "ac3"
    OPUS = "opus"
    COPY = "copy"
    """As it comes in."""


class Container(StrEnum):
    """What pictures and sound are packed in."""

    MPEGTS = "mpegts"
    MP4 = "mp4"
    """In fragments, so that it can be sent while it is made."""
    WEBM = "webm"
    MATROSKA = "matroska"
    MJPEG = "mjpeg"
    """One JPEG after the other, as web cameras send them."""

    @property
    def media_type(self) -> str:
        """What a response of it is called (`Content-Type`)."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Container.MPEGTS: "video/mp2t",
    Container.MP4: "video/mp4",
    Container.WEBM: "video/webm",
    Container.MATROSKA: "video/x-matroska",
    Container.MJPEG: "multipart/x-mixed-replace;boundary=ffmpeg",
}


class Deinterlace(StrEnum):
    """What becomes of pictures that were made of two fields."""

    OFF = "off"
    AUTO = "auto"
    """Those that are marked as such are made whole."""
    ON = "on"
    """All are taken for such."""


class Effort(StrEnum):
    """How much work a picture is worth."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class WhenFull(StrEnum):
    """What viewers get who come when no further ffmpeg may be started."""

    REFUSE = "refuse"
    """Status 503."""
    RAW = "raw"
    """The stream as it comes in."""
