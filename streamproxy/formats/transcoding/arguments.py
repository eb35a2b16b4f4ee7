"""What ffmpeg is told as a whole."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from streamproxy.formats.transcoding.acceleration import (
    Accelerator,
    decoding_options,
    filters,
    needed_encoder,
)
from streamproxy.formats.transcoding.encoding import Task, audio_options, video_options
from streamproxy.formats.transcoding.profile import Profile
from streamproxy.formats.transcoding.template import expand
from streamproxy.formats.transcoding.terms import AudioCodec, Container, VideoCodec

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})

_ANALYSIS = 1.0
"""Seconds of the stream that are looked at before the first picture is decoded; ffmpeg itself takes up to seven."""
_PROBE = 5_000_000
"""Bytes that are looked at, at most."""
_PATIENCE = 3.0
"""Seconds for which pictures wait for sound, and sound for pictures; ffmpeg itself waits for ten."""
_MUX_DELAY = 0.2
"""Seconds from when the clock says that a picture has arrived to when it is decoded (MPEG-TS)."""


def arguments(
    profile: Profile,
    accelerator: Accelerator,
    *,
    input: str = "pipe:0",
    output: str = "pipe:1",
    threads: int = 0,
    container: Container | None = None,
    input_options: Sequence[str] = (),
    progress: str | None = None,
    variables: Mapping[str, str] = NO_VARIABLES,
) -> list[str]:
    """Return all that follows the program's name.

    Args:
        profile: What comes out.
        accelerator: What pictures are coded with.
        input: Where it reads.
        output: Where it writes.
        threads: How many the decoder and the encoder may use each; 0 for as many as they like.
        container: What it is packed in, if not as the profile says.
        input_options: Further options for the input, such as ("-f", "mpegts").
        progress: Where it tells how far it is, once a second, such as pipe:2; None for nowhere.
        variables: What stands for the variables of a raw template.

    Raises:
        ProfileError: This cannot be made, or not by this ffmpeg.
    """
    # Its input may be where commands would come from, were it not forbidden.
    begin = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"]
    if progress is not None:
        begin += ["-progress", progress, "-stats_period", "1"]
    if profile.template is not None:
        given = {**variables, "format": container} if container else variables
        return [*begin, *expand(profile.template, given, input=input, output=output, input_options=input_options).words]
    if container is not None:
        profile = dataclasses.replace(profile, container=container)
    return [
        *begin,
        *_input(profile, accelerator, input, threads, input_options),
        *_streams(profile),
        *_video(profile, accelerator, threads),
        *(audio_options(profile) if profile.audio else []),
        *_packing(profile),
        output,
    ]


def _input(profile: Profile, accelerator: Accelerator, address: str, threads: int, further: Sequence[str]) -> list[str]:
    decodes = profile.video not in (None, VideoCodec.COPY)
    return [
        *(decoding_options(accelerator) if decodes else []),
        *("-fflags", "+genpts+discardcorrupt", "-analyzeduration", _microseconds(_ANALYSIS), "-probesize", str(_PROBE)),
        *(["-threads", str(threads)] if threads else []),
        *(*further, "-i", address),
    ]


def _streams(profile: Profile) -> list[str]:
    # One of each, however many there are; V leaves out the pictures of an album.
    video = ["-map", "0:V:0?"] if profile.video else []
    audio = ["-map", "0:a:0?"] if profile.audio else []
    return [*video, *audio, "-sn", "-dn", "-map_chapters", "-1"]


def _video(profile: Profile, accelerator: Accelerator, threads: int) -> list[str]:
    if profile.video is None:
        return []
    if profile.video is VideoCodec.COPY:
        return ["-c:v", "copy"]
    encoder = needed_encoder(accelerator, profile.video)
    chain = filters(accelerator, deinterlace=profile.deinterlace, fps=profile.fps, max_height=profile.max_height)
    if profile.video is VideoCodec.MJPEG:
        # JPEG uses the full range of brightness.
        chain = [*chain[:-2], chain[-2] + ":out_range=pc", "format=yuvj420p"]
    task = Task(profile, threads, accelerator.low_power)
    return ["-vf", ",".join(chain), *video_options(encoder, task)]


def _packing(profile: Profile) -> list[str]:
    return [
        *("-max_interleave_delta", _microseconds(_PATIENCE), "-flush_packets", "1"),
        *_PACKING[profile.container](profile),
    ]


def _mpegts(profile: Profile) -> list[str]:
    delay = "0" if profile.low_latency else f"{_MUX_DELAY:g}"
    return ["-muxdelay", delay, "-muxpreload", delay, "-pcr_period", "20", "-f", "mpegts"]


def _mp4(profile: Profile) -> list[str]:
    flags = "+frag_keyframe+empty_moov+default_base_moof"
    if profile.video is VideoCodec.COPY or profile.audio is AudioCodec.AC3:
        # What the header says of these is known when their first packet is there.
        flags += "+delay_moov"
    # Without pictures there are no key frames to cut at.
    cut = [] if profile.video else ["-frag_duration", _microseconds(1.0)]
    # Left to itself, it repeats and drops pictures here (before ffmpeg 6), for a rate that a live stream does not keep.
    return ["-fps_mode", "vfr", "-movflags", flags, *cut, "-f", "mp4"]


def _matroska(profile: Profile) -> list[str]:
    # A cluster ends when the next picture is a key frame, so that each can be begun with, unless a limit comes first.
    limit = 10 * profile.key_frame_interval if profile.video else 1.0
    return [
        # Every run begins with the same header, so that one can follow another; else it has random numbers in it.
        *("-fflags", "+bitexact"),
        *("-live", "1", "-cluster_time_limit", str(round(1000 * limit)), "-cluster_size_limit", str(1 << 26)),
        *("-f", "webm" if profile.container is Container.WEBM else "matroska"),
    ]


def _mpjpeg(_: Profile) -> list[str]:
    return ["-boundary_tag", "ffmpeg", "-f", "mpjpeg"]


_PACKING = {
    Container.MPEGTS: _mpegts,
    Container.MP4: _mp4,
    Container.WEBM: _matroska,
    Container.MATROSKA: _matroska,
    Container.MJPEG: _mpjpeg,
}


def _microseconds(seconds: float) -> str:
    return str(round(seconds * 1_000_000))
