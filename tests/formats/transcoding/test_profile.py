from typing import Any

import pytest

from streamproxy.formats.transcoding import (
    BUILT_IN,
    AudioCodec,
    Container,
    Deinterlace,
    Profile,
    ProfileError,
    VideoCodec,
)

V, A, C = VideoCodec, AudioCodec, Container


def test_profiles_of_m3u_proxy_are_there_and_some_more() -> None:
    assert list(BUILT_IN) == [
        *("default", "hq", "lowlatency", "720p", "1080p", "hevc", "audio"),
        *("vp9", "av1", "mjpeg"),
    ]
    assert all(profile.name == name and profile.description for name, profile in BUILT_IN.items())


@pytest.mark.parametrize(
    ("container", "media_type"),
    [
        (C.MPEGTS, "video/mp2t"),
        (C.MP4, "video/mp4"),
        (C.WEBM, "video/webm"),
        (C.MATROSKA, "video/x-matroska"),
        (C.MJPEG, "multipart/x-mixed-replace;boundary=ffmpeg"),
    ],
)
def test_container_knows_what_its_responses_are_called(container: Container, media_type: str) -> None:
    assert container.media_type == media_type


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"video": V.VP9}, "cannot have vp9 as video in mpegts: set container to mp4, webm or matroska, or video to "),
        ({"video": V.AV1}, "set container to mp4, webm or matroska"),
        ({"video": V.HEVC, "audio": A.OPUS, "container": C.WEBM}, "video to av1 or vp9"),
        ({"video": V.COPY, "audio": A.OPUS, "container": C.WEBM}, "video to av1 or vp9"),
        ({"video": V.VP9, "container": C.WEBM}, "cannot have aac as audio in webm: .* or audio to opus"),
        ({"audio": A.COPY, "container": C.MP4}, "set container to mpegts, or audio to aac, ac3, mp3 or opus"),
        ({"video": V.MJPEG}, "set container to matroska or mjpeg"),
        ({"video": V.MJPEG, "container": C.MJPEG}, "audio to none"),
        ({"audio": None, "container": C.MJPEG}, "set video to mjpeg"),
        ({"video": None, "audio": None}, "set video or audio"),
        ({"video": V.COPY, "max_height": 720, "fps": 25}, "leave out max_height, fps, or set video to h264"),
        ({"video": V.COPY, "deinterlace": Deinterlace.ON}, "leave out deinterlace"),
        ({"quality": 52}, "quality between 1 .* and 51 for h264"),
        ({"video": V.MJPEG, "audio": None, "container": C.MJPEG, "quality": 1}, "between 2 .* and 31 for mjpeg"),
        ({"max_height": 8}, "max_height between 16 and 8192"),
        ({"fps": float("nan")}, "fps between 0.1 and 240"),
        ({"key_frame_interval": 0}, "key_frame_interval between"),
        ({"video_bitrate": 1}, "video_bitrate between 10000 and 200000000"),
    ],
)
def test_profile_that_cannot_be_names_the_remedy(wrong: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ProfileError, match=remedy):
        Profile("x", **wrong)


def test_quality_of_vp9_has_a_scale_of_its_own() -> None:
    assert Profile("x", video=V.VP9, audio=A.OPUS, container=C.WEBM, quality=63).quality == 63


def test_copies_may_leave_interlaced_pictures_to_the_player() -> None:
    assert Profile("x", video=V.COPY, audio=A.COPY).deinterlace is Deinterlace.AUTO
