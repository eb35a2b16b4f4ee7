from pathlib import Path

import pytest
from pydantic import ValidationError

from streamproxy.config import Config, TranscodeConfig, profile_names, profile_of
from streamproxy.formats.transcoding import (
    BUILT_IN,
    AudioCodec,
    Container,
    Deinterlace,
    UnknownProfile,
    VideoCodec,
    WhenFull,
)


def config(**profiles: object) -> TranscodeConfig:
    return TranscodeConfig.model_validate({"profiles": profiles})


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_profiles_are_there_without_configuration(name: str) -> None:
    assert profile_of(TranscodeConfig(), name) is BUILT_IN[name]


def test_unknown_profile_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownProfile, match=r"must be one of default, .*, mjpeg, own$") as caught:
        profile_of(config(own={}), "nope")

    assert caught.value.known == (*BUILT_IN, "own")


def test_own_profile_changes_the_built_in_one_of_its_name() -> None:
    profile = profile_of(config(**{"720p": {"video_bitrate": "3.5M", "deinterlace": "off"}}), "720p")

    assert (profile.video_bitrate, profile.deinterlace) == (3_500_000, Deinterlace.OFF)
    assert (profile.max_height, profile.description) == (720, BUILT_IN["720p"].description)


def test_own_profile_of_another_name_is_as_default_besides() -> None:
    profile = profile_of(config(radio={"video": "none", "audio": "mp3", "audio_bitrate": "96k"}), "radio")

    assert (profile.name, profile.description) == ("radio", "")
    assert (profile.video, profile.audio, profile.audio_bitrate) == (None, AudioCodec.MP3, 96_000)
    assert profile.container is BUILT_IN["default"].container


def test_every_key_of_a_profile_has_its_effect() -> None:
    told = {
        "description": "all of it",
        "video": "VP9",
        "video_bitrate": 1_000_000,
        "quality": "40",
        "max_height": "480",
        "fps": "25",
        "audio": "opus",
        "audio_bitrate": "64k",
        "deinterlace": "on",
        "container": "webm",
        "key_frame_interval": "4",
        "effort": "low",
        "low_latency": "true",
        "when_full": "raw",
    }

    profile = profile_of(config(all=told), "all")

    assert all(getattr(profile, key) != getattr(BUILT_IN["default"], key) for key in told)
    assert (profile.video, profile.container, profile.when_full) == (VideoCodec.VP9, Container.WEBM, WhenFull.RAW)


def test_bare_text_is_a_template() -> None:
    template = "-i {input_url} -c:v libvpx-vp9 -c:a libopus -f webm {output_args|pipe:1}"

    profile = profile_of(config(own=template), "own")

    assert (profile.template, profile.container) == (template, Container.WEBM)


def test_names_are_listed_once_built_in_ones_first() -> None:
    assert profile_names(config(own={}, hq={})) == [*BUILT_IN, "own"]


@pytest.mark.parametrize(
    "profile",
    [
        {"video": "vp9"},
        {"video": "none", "audio": "none"},
        {"container": "webm"},
        {"video": "copy", "max_height": "720"},
        "-i {input_url} -f tee out.ts",
        "-i {input_url} -i /etc/passwd -f mpegts pipe:1",
        {"template": "-i {input_url}", "video": "h264"},
    ],
)
def test_profile_that_cannot_be_is_refused(profile: object) -> None:
    with pytest.raises(ValidationError):
        config(own=profile)
    with pytest.raises(ValidationError):
        Config.model_validate({"transcode": {"profiles": {"own": profile}}})


@pytest.mark.parametrize("name", ["", " a", "a/b", "a?b", "a#b", "a&b", "-i x", "a\nb"])
def test_names_of_profiles_never_break_an_address(name: str) -> None:
    with pytest.raises(ValidationError):
        config(**{name: {}})


@pytest.mark.parametrize(
    ("written", "bits"), [("10000", 10_000), (10_000, 10_000), ("2.5M", 2_500_000), ("90K", 90_000)]
)
def test_bit_rates_may_have_a_unit(written: object, bits: int) -> None:
    assert config(own={"video_bitrate": written}).profiles["own"].video_bitrate == bits


@pytest.mark.parametrize("written", ["9999", "201M", "2 M", "2Mbit", "-1", "1e6", True, 2.5, "", "9" * 50])
def test_bit_rates_stay_within_their_limits(written: object) -> None:
    with pytest.raises(ValidationError):
        config(own={"video_bitrate": written})


@pytest.mark.parametrize(
    ("written", "path"), [("ffmpeg", "ffmpeg"), ("bin/ffmpeg", "/folder/bin/ffmpeg"), ("/opt/ffmpeg", "/opt/ffmpeg")]
)
def test_name_of_ffmpeg_stays_a_name_and_a_path_starts_at_the_folder(written: str, path: str) -> None:
    assert TranscodeConfig.model_validate({"ffmpeg": written}, context=Path("/folder")).ffmpeg == path


@pytest.mark.parametrize("device", ["/dev/dri/renderD128", "/dev/dri/by-path/pci-0000:00:02.0-render", "0", "12"])
def test_device_is_a_path_or_a_number(device: str) -> None:
    assert TranscodeConfig(device=device).device == device


@pytest.mark.parametrize("device", ["", "gpu", "-1", "dri/renderD128", "/etc/passwd", "/dev/x,driver=y", "/dev/a b"])
def test_device_is_nothing_else(device: str) -> None:
    with pytest.raises(ValidationError):
        TranscodeConfig(device=device)
