"""What ffmpeg would be told, above all for hardware that the machine which runs the tests lacks."""

import re
import subprocess
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from streamproxy.formats.transcoding import (
    BUILT_IN,
    ENCODERS,
    PREFERENCE,
    Acceleration,
    Accelerator,
    AudioCodec,
    Container,
    Deinterlace,
    Profile,
    ProfileError,
    VideoCodec,
    arguments,
    decoding_options,
    probe_arguments,
)
from tests.helpers.ffmpegs import each_ffmpeg, encoders

EVERY = frozenset(name for kinds in ENCODERS.values() for names in kinds.values() for name in names)
NVIDIA, VAAPI, QSV, AMF, V4L2M2M, VIDEOTOOLBOX = (
    Acceleration.NVIDIA,
    Acceleration.VAAPI,
    Acceleration.QSV,
    Acceleration.AMF,
    Acceleration.V4L2M2M,
    Acceleration.VIDEOTOOLBOX,
)


def told(profile: Profile | str, kind: Acceleration = Acceleration.SOFTWARE, **more: object) -> list[str]:
    wanted = BUILT_IN[profile] if isinstance(profile, str) else profile
    return arguments(wanted, Accelerator(kind, EVERY), **more)  # type: ignore[arg-type]


def value(words: list[str], option: str) -> str | None:
    return next((word for before, word in pairwise(words) if before == option), None)


def every_profile_of(kind: Acceleration) -> list[Profile]:
    """All that makes a difference to an encoder, for each codec that there is an encoder for."""
    return [
        replace(
            Profile("x", video=codec, audio=None, container=Container.MATROSKA, max_height=720),
            video_bitrate=bitrate,
            quality=quality,
            low_latency=low_latency,
        )
        for codec in ENCODERS[kind]
        for bitrate, quality in ((2_000_000, None), (None, 30), (2_000_000, 30))
        for low_latency in (False, True)
    ]


@pytest.mark.parametrize("name", BUILT_IN)
def test_input_and_output_are_where_they_are_wanted(name: str) -> None:
    words = told(name, input="pipe:7", output="pipe:9", input_options=("-f", "mpegts"))

    at = words.index("-i")
    assert words[at - 2 : at + 2] == ["-f", "mpegts", "-i", "pipe:7"]
    assert (words[-1], words.count("-i")) == ("pipe:9", 1)


@pytest.mark.parametrize("name", BUILT_IN)
def test_ffmpeg_never_takes_its_input_for_commands(name: str) -> None:
    assert "-nostdin" in told(name)


def test_progress_is_told_where_it_is_wanted() -> None:
    assert value(told("default", progress="pipe:2"), "-progress") == "pipe:2"
    assert "-progress" not in told("default")


def test_only_the_first_picture_and_the_first_sound_are_taken() -> None:
    words = told("default")

    assert [word for before, word in pairwise(words) if before == "-map"] == ["0:V:0?", "0:a:0?"]
    assert {"-sn", "-dn"} <= set(words)


def test_sound_alone_needs_neither_pictures_nor_hardware() -> None:
    words = told("audio", NVIDIA)

    assert [word for before, word in pairwise(words) if before == "-map"] == ["0:a:0?"]
    assert not {"-c:v", "-vf", "-hwaccel", "-init_hw_device"} & set(words)


def test_copied_pictures_pass_no_filter_and_no_hardware() -> None:
    words = told(Profile("x", video=VideoCodec.COPY, audio=AudioCodec.COPY), VAAPI)

    assert (value(words, "-c:v"), value(words, "-c:a")) == ("copy", "copy")
    assert not {"-vf", "-af", "-hwaccel", "-force_key_frames"} & set(words)


def test_number_of_threads_counts_for_decoder_and_encoder() -> None:
    words = told("default", threads=3)

    before, after = words[: words.index("-i")], words[words.index("-i") :]
    assert (value(before, "-threads"), value(after, "-threads")) == ("3", "3")
    assert "-threads" not in told("default")


def test_another_container_can_be_asked_for_if_it_holds_the_codecs() -> None:
    assert value(told("default", container=Container.MP4), "-f") == "mp4"
    with pytest.raises(ProfileError, match="cannot have h264 as video in webm"):
        told("default", container=Container.WEBM)


def test_fragments_begin_with_key_frames() -> None:
    flags = value(told("default", container=Container.MP4), "-movflags")

    assert flags is not None
    assert {"frag_keyframe", "empty_moov", "default_base_moof"} <= set(flags.split("+"))


def test_header_of_fragments_waits_for_sound_that_is_known_by_its_first_packet_only() -> None:
    surround = replace(BUILT_IN["default"], audio=AudioCodec.AC3, container=Container.MP4)

    assert "delay_moov" in (value(told(surround), "-movflags") or "")


def test_key_frames_come_by_the_clock_and_not_at_new_scenes() -> None:
    words = told(replace(BUILT_IN["default"], key_frame_interval=4))

    assert value(words, "-force_key_frames") == "expr:gte(t,n_forced*4)"
    assert (value(words, "-sc_threshold"), value(words, "-g")) == ("0", "240")


def test_key_frames_are_counted_where_the_number_of_pictures_is_known() -> None:
    assert value(told(replace(BUILT_IN["default"], fps=25)), "-g") == "50"


@pytest.mark.parametrize("name", ["default", "720p", "1080p", "lowlatency", "hevc", "vp9", "av1"])
def test_bit_rate_is_told(name: str) -> None:
    assert value(told(name), "-b:v") == str(BUILT_IN[name].video_bitrate)


def test_quality_takes_the_bit_rate_as_its_limit() -> None:
    words = told("hq")

    assert (value(words, "-crf"), value(words, "-b:v")) == ("20", None)
    assert (value(words, "-maxrate"), value(words, "-bufsize")) == ("10000000", "20000000")


@pytest.mark.parametrize("kind", PREFERENCE)
def test_no_hardware_is_told_what_only_software_understands(kind: Acceleration) -> None:
    for profile in every_profile_of(kind):
        words = told(profile, kind)
        assert not {"-crf", "-sc_threshold", "-x264-params"} & set(words)
        assert value(words, "-tune") != "zerolatency"


def test_low_latency_of_nvidia_has_a_tune_of_its_own_and_no_b_frames() -> None:
    words = told("lowlatency", NVIDIA)

    assert (value(words, "-tune"), value(words, "-bf"), value(words, "-rc")) == ("ll", "0", "cbr")


def test_quality_of_nvidia_is_its_own() -> None:
    words = told("hq", NVIDIA)

    assert (value(words, "-rc"), value(words, "-cq"), value(words, "-b:v")) == ("vbr", "20", "0")
    assert value(words, "-maxrate") == "10000000"


def test_quality_of_va_api_without_a_limit_is_an_index_on_the_scale_of_its_codec() -> None:
    vp9 = Profile("x", video=VideoCodec.VP9, quality=63, audio=None, container=Container.WEBM)

    assert value(told(Profile("x", quality=21), VAAPI), "-global_quality") == "21"
    assert (value(told(vp9, VAAPI), "-rc_mode"), value(told(vp9, VAAPI), "-global_quality")) == ("CQP", "255")


@pytest.mark.parametrize(
    ("kind", "chain"),
    [
        (
            Acceleration.SOFTWARE,
            r"bwdif=mode=send_frame:deint=interlaced,"
            r"scale=w=2*trunc(iw*min(ih\,720)/ih/2):h=2*trunc(min(ih\,720)/2),format=yuv420p",
        ),
        (
            NVIDIA,
            r"format=nv12|cuda,hwupload,yadif_cuda=mode=send_frame:deint=interlaced,"
            r"scale_cuda=w=2*trunc(iw*min(ih\,720)/ih/2):h=2*trunc(min(ih\,720)/2):format=nv12",
        ),
        (
            VAAPI,
            r"format=nv12|vaapi,hwupload,deinterlace_vaapi=rate=frame:auto=1,"
            r"scale_vaapi=w=2*trunc(iw*min(ih\,720)/ih/2):h=2*trunc(min(ih\,720)/2):format=nv12",
        ),
        (
            QSV,
            r"format=nv12|qsv,hwupload=extra_hw_frames=64,vpp_qsv=deinterlace=advanced,"
            r"vpp_qsv=w=2*trunc(iw*min(ih\,720)/ih/2):h=2*trunc(min(ih\,720)/2):format=nv12",
        ),
    ],
)
def test_pictures_stay_in_the_device_from_decoder_to_encoder(kind: Acceleration, chain: str) -> None:
    assert value(told("720p", kind), "-vf") == chain


def test_deinterlacing_is_for_marked_pictures_for_all_or_for_none() -> None:
    profile = BUILT_IN["default"]

    auto, on, off = (
        value(told(replace(profile, deinterlace=how)), "-vf") or ""
        for how in (Deinterlace.AUTO, Deinterlace.ON, Deinterlace.OFF)
    )

    assert "deint=interlaced" in auto
    assert "deint=all" in on
    assert "bwdif" not in off


@pytest.mark.parametrize(
    ("kind", "device", "opened"),
    [
        (NVIDIA, "1", "cuda=hw:1"),
        (NVIDIA, None, "cuda=hw:0"),
        (VAAPI, "/dev/dri/renderD129", "vaapi=hw:/dev/dri/renderD129"),
        (QSV, "/dev/dri/renderD129", "vaapi=va:/dev/dri/renderD129"),
    ],
)
def test_the_device_that_works_is_opened(kind: Acceleration, device: str | None, opened: str) -> None:
    accelerator = Accelerator(kind, EVERY, device)

    for words in (
        arguments(BUILT_IN["default"], accelerator),
        decoding_options(accelerator),
        probe_arguments(accelerator, "x"),
    ):
        assert value(words, "-init_hw_device") == opened


@pytest.mark.parametrize("kind", [VAAPI, QSV])
def test_low_power_engine_is_asked_for_where_only_that_works(kind: Acceleration) -> None:
    accelerator = Accelerator(kind, EVERY, low_power=True)

    assert value(arguments(BUILT_IN["default"], accelerator), "-low_power") == "1"
    assert value(probe_arguments(accelerator, "x"), "-low_power") == "1"
    assert "-low_power" not in told("default", kind)


def test_encoder_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(ProfileError, match="libsvtav1; install an ffmpeg with it"):
        arguments(BUILT_IN["av1"], Accelerator(Acceleration.SOFTWARE, frozenset({"libx264"})))
    with pytest.raises(ProfileError, match="vp9 for nvidia"):
        told("vp9", NVIDIA)


@pytest.mark.parametrize("kind", Acceleration)
def test_every_encoder_of_every_kind_can_be_told_something(kind: Acceleration) -> None:
    for profile in every_profile_of(kind):
        words = told(profile, kind, threads=2)
        assert all(word and "None" not in word and "{" not in word for word in words)


@cache
def known_options(ffmpeg: str, what: str) -> frozenset[str]:
    """Options of an encoder or a filter, as an ffmpeg tells them; empty if it lacks it, or if it has none."""
    text = subprocess.run([ffmpeg, "-hide_banner", "-h", what], capture_output=True, text=True, timeout=20).stdout
    return frozenset(re.findall(r"^ +-?([A-Za-z0-9_-]+) +<", text, re.MULTILINE))


GENERIC = {
    *("b:v", "bf", "bufsize", "c:v", "force_key_frames", "g", "global_quality", "maxrate", "minrate", "q:v", "threads"),
}
"""Options that all encoders have."""


@each_ffmpeg
@pytest.mark.parametrize("kind", Acceleration)
def test_every_option_exists_in_the_encoder_that_is_told(ffmpeg: str, kind: Acceleration) -> None:
    for profile in every_profile_of(kind):
        words = told(profile, kind)
        encoder = value(words, "-c:v") or ""
        if encoder in encoders(ffmpeg):
            start, end = words.index("-c:v"), words.index("-max_interleave_delta")
            options = {word[1:] for word in words[start:end] if re.match("-[a-z]", word)}
            assert options <= known_options(ffmpeg, f"encoder={encoder}") | GENERIC, encoder


@each_ffmpeg
@pytest.mark.parametrize("kind", Acceleration)
def test_every_filter_knows_the_options_that_it_is_told(ffmpeg: str, kind: Acceleration) -> None:
    for how in Deinterlace:
        profile = replace(BUILT_IN["720p"], deinterlace=how, fps=25)
        for one in re.split(r"(?<!\\),", value(told(profile, kind), "-vf") or ""):
            name, _, options = one.partition("=")
            if known := known_options(ffmpeg, f"filter={name}"):
                named = {option.partition("=")[0] for option in options.split(":") if "=" in option}
                assert named <= known | {"extra_hw_frames"}
