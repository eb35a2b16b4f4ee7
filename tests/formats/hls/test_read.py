from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.formats.hls import lines as limits
from streamproxy.formats.hls.errors import HlsError, PlaylistTooLarge, UndefinedVariable
from streamproxy.formats.hls.model import (
    ByteRange,
    Key,
    Map,
    MediaPlaylist,
    MediaSegment,
    MultivariantPlaylist,
    Rendition,
    Variant,
)
from streamproxy.formats.hls.quality import choose_variant
from streamproxy.formats.hls.read import read

URL = "http://origin.example/live/x/index.m3u8?token=a%2Bb"
DIRECTORY = "http://origin.example/live/x/"


def media(*lines: str, url: str = URL) -> MediaPlaylist:
    playlist = read("\n".join(("#EXTM3U", "#EXT-X-TARGETDURATION:6", *lines)), url)
    assert isinstance(playlist, MediaPlaylist)
    return playlist


def segments(*lines: str) -> tuple[MediaSegment, ...]:
    return media(*lines).segments


def multivariant(*lines: str, url: str = URL) -> MultivariantPlaylist:
    playlist = read("\n".join(("#EXTM3U", *lines)), url)
    assert isinstance(playlist, MultivariantPlaylist)
    return playlist


def test_a_media_playlist_is_read() -> None:
    playlist = media(
        "#EXT-X-VERSION:3",
        "#EXT-X-MEDIA-SEQUENCE:2680",
        "#EXT-X-DISCONTINUITY-SEQUENCE:7",
        "#EXTINF:7.975,",
        "a.ts",
        "#EXT-X-DISCONTINUITY",
        "#EXTINF:7.941,Title, with a comma",
        "http://cdn.example:80/b/../b.ts?x=%2b",
        "#EXT-X-GAP",
        "#EXTINF:1",
        "c.ts",
        "#EXT-X-ENDLIST",
    )

    assert playlist == MediaPlaylist(
        url=URL,
        target_duration=6,
        segments=(
            MediaSegment(2680, f"{DIRECTORY}a.ts", 7.975, discontinuity_sequence=7),
            MediaSegment(
                2681,
                "http://cdn.example:80/b/../b.ts?x=%2b",
                7.941,
                discontinuity=True,
                discontinuity_sequence=8,
            ),
            MediaSegment(2682, f"{DIRECTORY}c.ts", 1, discontinuity_sequence=8, gap=True),
        ),
        has_sequence=True,
        ended=True,
    )


def test_a_multivariant_playlist_is_read() -> None:
    playlist = multivariant(
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-DEFINE:NAME="host",VALUE="https://cdn.example"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aud",NAME="English, main",LANGUAGE="en",DEFAULT=YES,BIT-DEPTH=16,'
        'URI="{$host}/a.m3u8"',
        '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="CC1",INSTREAM-ID="CC1"',
        '#EXT-X-STREAM-INF:BANDWIDTH=1280000,CODECS="avc1.4d401f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE="29.970",'
        'AVERAGE-BANDWIDTH=12.5,AUDIO="aud",CLOSED-CAPTIONS="cc",SCORE=1.5,REQ-VIDEO-LAYOUT="CH-STEREO"',
        "{$host}/v1.m3u8",
        "#EXT-X-STREAM-INF:PROGRAM-ID=1, BANDWIDTH=640000.7 ,CLOSED-CAPTIONS=NONE",
        "",
        "# a comment",
        "v2.m3u8",
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=86000,URI="ifr.m3u8"',
        '#EXT-X-SESSION-DATA:DATA-ID="x",URI="m.json",FORMAT=JSON',
    )

    assert playlist == MultivariantPlaylist(
        url=URL,
        variants=(
            Variant("https://cdn.example/v1.m3u8", 1_280_000, 720, "aud", "avc1.4d401f,mp4a.40.2"),
            Variant(f"{DIRECTORY}v2.m3u8", 640_000),
        ),
        renditions=(
            Rendition("AUDIO", "aud", "English, main", "en", True, "https://cdn.example/a.m3u8"),
            Rendition("CLOSED-CAPTIONS", "cc", "CC1", "", False, None),
        ),
        variables={"host": "https://cdn.example"},
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty"),
        (" \r\n\ufeff", "empty"),
        ("<!DOCTYPE html><html>secret</html>", "HTML"),
        ("\n<HTML>", "HTML"),
        ("<MPD xmlns=''>", "DASH"),
        ("<?xml version='1.0'?>", "XML"),
        ('{"error": "secret"}', "JSON"),
        ("secret.ts", "#EXTM3U"),
        ("#EXTINF:4,\na.ts\n", "#EXTM3U"),
        ("G\x40\x11\x10", "#EXTM3U"),
    ],
)
def test_what_is_no_playlist_is_called_what_it_is(text: str, what: str) -> None:
    with pytest.raises(HlsError, match=what) as caught:
        read(text, URL)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("extinf", "duration"),
    [
        ("#EXTINF:4.5,Title", 4.5),
        ("#EXTINF:4", 4),
        ("#EXTINF: 4.50 ,", 4.5),
        ("#EXTINF:.5,", 0.5),
        ("#EXTINF:5.,", 5),
        ("#EXTINF:0,", 0),
        ("#EXTINF:6.00600600600600600600,", 6.006006006),
        ('#EXTINF:-1 tvg-id="a,b" tvg-logo="http://h/x",Name', 6),
        ('#EXTINF:3 tvg-id="a,b",Name', 3),
        ("#EXTINF:,", 6),
        ("#EXTINF:", 6),
        ("#EXTINF:nan,", 6),
        ("#EXTINF:inf,", 6),
        ("#EXTINF:x,", 6),
        ("#EXTINF:99999999999999999999,", 86_400),
        ("#EXTINF:4,a\u2028b\u0085c\x0bd\x1ce", 4),
    ],
)
def test_a_duration_is_read_however_it_is_written(extinf: str, duration: float) -> None:
    assert segments(extinf, "a.ts") == (MediaSegment(0, f"{DIRECTORY}a.ts", duration),)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("#EXT-X-TARGETDURATION:10", 10),
        ("#EXT-X-TARGETDURATION:9.1", 10),
        ('#EXT-X-TARGETDURATION: "10"', 10),
        ("#EXT-X-TARGETDURATION:0", None),
        ("#EXT-X-TARGETDURATION:-5", None),
        ("#EXT-X-TARGETDURATION:", None),
        ("#EXT-X-TARGETDURATION:ten", None),
        ("#EXT-X-TARGETDURATION:999999999", 86_400),
        ("#EXT-X-ENDLIST", None),
    ],
)
def test_the_target_duration_is_read_however_it_is_written(text: str, duration: float | None) -> None:
    playlist = read(f"#EXTM3U\n{text}\n#EXTINF:,\na.ts\n", URL)

    assert isinstance(playlist, MediaPlaylist)
    assert playlist.target_duration == duration
    assert playlist.segments[0].duration == (duration or 0)


@pytest.mark.parametrize(
    "line",
    [
        "#EXT-X-VERSION:3.0",
        "#EXT-X-VERSION:",
        "#EXT-X-PLAYLIST-TYPE",
        "#EXT-X-ALLOW-CACHE",
        "#EXT-X-PROGRAM-DATE-TIME:yesterday",
        '#EXT-X-DATERANGE:START-DATE="2026",CUE="PRE"',
        '#EXT-X-DATERANGE:DURATION=x,"',
        '#EXT-X-PART:DURATION=x,URI="p",UNKNOWN=1',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p",UNKNOWN=1',
        '#EXT-X-RENDITION-REPORT:URI="r"',
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,UNKNOWN=1",
        "#EXT-X-START:TIME-OFFSET=x,UNKNOWN=1",
        "#EXT-X-BITRATE:x",
        "#EXT-X-CUE-OUT-CONT:6/30",
        '#EXT-X-TILES:DURATION=x,URI="t"',
        '#EXT-X-CONTENT-STEERING:SERVER-URI="/s",UNKNOWN=1',
        '#EXT-X-SESSION-KEY:METHOD=AES-128,URI="k"',
        "#EXT-X-DISCONTINUITY-SEQUENCE:x",
        "#EXT-X-DISCONTINUITY-SEQUENCE:-1",
        "#EXTVLCOPT:http-user-agent=x",
        "#EXT-OATCLS-SCTE35:x",
        "#EXT",
        "#",
        "no-duration.ts",
    ],
)
def test_what_is_not_needed_to_play_does_not_matter(line: str) -> None:
    playlist = media(
        "#EXT-X-MEDIA-SEQUENCE:3", line, "#EXTINF:4,", line if line.startswith("#") else "# x", "a.ts", line
    )

    assert playlist.segments == (MediaSegment(3, f"{DIRECTORY}a.ts", 4),)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_lines_may_end_as_they_like(end: str) -> None:
    text = end.join(("\ufeff#EXTM3U", "#EXT-X-MEDIA-SEQUENCE:3", "#EXTINF:4,", " a.ts\t", "#EXT-X-ENDLIST"))
    playlist = read(text, URL)

    assert isinstance(playlist, MediaPlaylist)
    assert playlist.segments == (MediaSegment(3, f"{DIRECTORY}a.ts", 4),)
    assert playlist.ended


@pytest.mark.parametrize(
    ("tag", "first", "has_sequence"),
    [
        ("#EXT-X-MEDIA-SEQUENCE:0", 0, True),
        ("#EXT-X-MEDIA-SEQUENCE: 12 ", 12, True),
        ("#EXT-X-MEDIA-SEQUENCE:12.0", 12, True),
        ("#EXT-X-MEDIA-SEQUENCE:123456789012345678", 123_456_789_012_345_678, True),
        ("# none", 0, False),
        ("#EXT-X-MEDIA-SEQUENCE:", 0, False),
        ("#EXT-X-MEDIA-SEQUENCE:-1", 0, False),
        ("#EXT-X-MEDIA-SEQUENCE:9999999999999999999", 0, False),
    ],
)
def test_a_missing_media_sequence_is_told_from_one_of_0(tag: str, first: int, has_sequence: bool) -> None:
    playlist = media(tag, "#EXTINF:4,", "a.ts", "#EXTINF:4,", "b.ts")

    assert [segment.sequence for segment in playlist.segments] == [first, first + 1]
    assert playlist.has_sequence is has_sequence


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("?seg=1", "http://origin.example/live/x/index.m3u8?seg=1"),
        ("//cdn2.example/a.ts", "http://cdn2.example/a.ts"),
        ("../up/b.ts", "http://origin.example/live/up/b.ts"),
        ("/root/c.ts", "http://origin.example/root/c.ts"),
        ("a:b.ts", f"{DIRECTORY}a:b.ts"),
        ("a\u2028\u0085b.ts", f"{DIRECTORY}a%E2%80%A8%C2%85b.ts"),
        ("caf\udce9.ts", f"{DIRECTORY}caf%E9.ts"),
        ("a b'c'.ts", f"{DIRECTORY}a b'c'.ts"),
    ],
)
def test_references_become_absolute(reference: str, url: str) -> None:
    assert segments("#EXTINF:4,", reference)[0].url == url


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "pipe:0", "concat:a|b", "data:,x", "rtmp://h/a", "http://h:0/"])
def test_a_segment_that_is_not_at_http_is_broken_and_keeps_its_number(uri: str) -> None:
    refused, following = segments("#EXTINF:4,", uri, "#EXTINF:4,", "b.ts")

    assert refused.broken
    assert refused.url == ""
    assert (following.sequence, following.broken) == (1, "")


def test_a_key_is_in_force_until_the_next() -> None:
    first = Key("AES-128", f"{DIRECTORY}k1", bytes(15) + b"\x1f")
    second = Key("AES-128", "https://keys.example/k,2")

    assert [
        segment.key
        for segment in segments(
            "#EXTINF:4,",
            "clear.ts",
            '#EXT-X-KEY:METHOD=AES-128, URI="k1" , IV=0x1F',
            "#EXTINF:4,",
            "a.ts",
            "#EXTINF:4,",
            "b.ts",
            "#EXTINF:4,",
            '#EXT-X-KEY:METHOD=AES-128,URI="https://keys.example/k,2",KEYFORMAT="identity",KEYFORMATVERSIONS="1"',
            "c.ts",
            "#EXT-X-KEY:METHOD=NONE",
            "#EXTINF:4,",
            "clear.ts",
        )
    ] == [None, first, first, second, None]


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_keys_that_of_identity_counts(order: int) -> None:
    keys = (
        '#EXT-X-KEY:METHOD=AES-128,URI="k"',
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://one",KEYFORMAT="com.apple.streamingkeydelivery"',
    )
    (segment,) = segments(*keys[::order], "#EXTINF:4,", "a.ts")

    assert segment.key == Key("AES-128", f"{DIRECTORY}k")
    assert segment.broken == ""


@pytest.mark.parametrize(
    ("attributes", "key"),
    [
        ('METHOD=AES-128,URI="file:///etc/passwd"', Key("AES-128", "")),
        ('METHOD=AES-128,URI="data:,0123456789abcdef"', Key("AES-128", "")),
        ("METHOD=AES-128", Key("AES-128", "")),
        ('URI="k"', Key("UNKNOWN", f"{DIRECTORY}k")),
        ('METHOD=AES-128,URI="k",IV=0xZZ', Key("AES-128", f"{DIRECTORY}k")),
        ('METHOD=AES-128,URI="k",IV=0x' + "1" * 33, Key("AES-128", f"{DIRECTORY}k")),
        (
            'METHOD=SAMPLE-AES,URI="skd://one",KEYFORMAT="com.apple"',
            Key("SAMPLE-AES", "", key_format="com.apple"),
        ),
    ],
)
def test_segments_never_pass_as_clear_where_their_key_is_unusable(attributes: str, key: Key) -> None:
    clear, *encrypted = segments(
        "#EXTINF:4,", "a.ts", f"#EXT-X-KEY:{attributes}", "#EXTINF:4,", "b.ts", "#EXTINF:4,", "c.ts"
    )

    assert not clear.broken
    assert [segment.key for segment in encrypted] == [key, key]
    assert all(segment.broken for segment in encrypted) or key.method == "UNKNOWN"


def test_a_map_stays_across_a_discontinuity_with_the_key_in_force_where_it_stood() -> None:
    clear, encrypted = (
        Map(f"{DIRECTORY}1.mp4"),
        Map(f"{DIRECTORY}2.mp4", ByteRange(9, 0), Key("AES-128", f"{DIRECTORY}k")),
    )

    assert [
        (segment.map, segment.key is not None)
        for segment in segments(
            "#EXTINF:4,",
            "0.ts",
            '#EXT-X-MAP:URI="1.mp4"',
            '#EXT-X-KEY:METHOD=AES-128,URI="k"',
            "#EXTINF:4,",
            "1.m4s",
            "#EXT-X-DISCONTINUITY",
            "#EXTINF:4,",
            "2.m4s",
            '#EXT-X-MAP:URI="2.mp4",BYTERANGE="9@0"',
            "#EXT-X-KEY:METHOD=NONE",
            "#EXTINF:4,",
            "3.m4s",
        )
    ] == [(None, False), (clear, True), (clear, True), (encrypted, False)]


def test_a_map_without_an_offset_begins_its_file() -> None:
    first, second = segments(
        *('#EXT-X-MAP:URI="i.mp4",BYTERANGE=720', "#EXTINF:4,", "a.m4s"),
        *('#EXT-X-MAP:URI=" i.mp4",BYTERANGE=" 9@5 "', "#EXTINF:4,", "b.m4s"),
    )

    assert not first.broken
    assert first.map == Map(f"{DIRECTORY}i.mp4", ByteRange(720, 0))
    assert second.map == Map(f"{DIRECTORY}i.mp4", ByteRange(9, 5))


@pytest.mark.parametrize(
    "tags",
    [
        ['#EXT-X-MAP:URI="file:///etc/passwd"'],
        ['#EXT-X-MAP:BYTERANGE="9@0"'],
        ['#EXT-X-MAP:URI="i.mp4",BYTERANGE="x"'],
        ['#EXT-X-KEY:METHOD=AES-128,URI="file:///k"', '#EXT-X-MAP:URI="i.mp4"', "#EXT-X-KEY:METHOD=NONE"],
    ],
)
def test_segments_are_broken_where_their_map_is(tags: list[str]) -> None:
    (segment,) = segments(*tags, "#EXTINF:4,", "a.m4s")

    assert segment.broken
    assert segment.map is not None
    assert segment.map.url in {"", f"{DIRECTORY}i.mp4"}


@pytest.mark.parametrize("bad", range(4))
def test_one_thing_wrong_makes_a_segment_broken_whatever_else_is_right(bad: int) -> None:
    key, section, byte_range, uri = (
        "file:///x" if bad == number else good for number, good in enumerate(("k", "i", "7@0", "a"))
    )
    (segment,) = segments(
        f'#EXT-X-MAP:URI="{section}",BYTERANGE="7@0"',
        f'#EXT-X-KEY:METHOD=AES-128,URI="{key}",IV=0x1',
        f"#EXT-X-BYTERANGE:{byte_range}",
        "#EXTINF:4,",
        uri,
    )

    assert segment.broken


def test_byte_ranges_follow_on_each_other() -> None:
    ranges = [
        (segment.byte_range, bool(segment.broken))
        for segment in segments(
            *("#EXT-X-BYTERANGE:100@20", "#EXTINF:4,", "a.ts"),
            *("#EXTINF:4,", "#EXT-X-BYTERANGE:50", "a.ts"),
            *("#EXTINF:4,", '#EXT-X-BYTERANGE:"7"', f"{DIRECTORY}a.ts"),
            *("#EXTINF:4,", "#EXT-X-BYTERANGE:7", "b.ts"),
            *("#EXTINF:4,", "#EXT-X-BYTERANGE:7", "b.ts"),
            *("#EXTINF:4,", "#EXT-X-BYTERANGE:7@0", "b.ts"),
            *("#EXTINF:4,", "b.ts"),
            *("#EXTINF:4,", "#EXT-X-BYTERANGE:7", "b.ts"),
            *("#EXTINF:4,", "#EXT-X-BYTERANGE:0@7", "b.ts"),
            *("#EXTINF:4,", "#EXT-X-BYTERANGE:-7@7", "b.ts"),
            *("#EXTINF:4,", "#EXT-X-BYTERANGE:", "b.ts"),
        )
    ]

    assert ranges == [
        (ByteRange(100, 20), False),
        (ByteRange(50, 120), False),
        (ByteRange(7, 170), False),
        (None, True),
        (None, True),
        (ByteRange(7, 0), False),
        (None, False),
        (None, True),
        (None, True),
        (None, True),
        (None, True),
    ]
    assert ByteRange(50, 120).header == "bytes=120-169"


def test_what_stands_before_a_uri_that_is_no_segment_is_not_for_the_next() -> None:
    (segment,) = segments("#EXT-X-BYTERANGE:7@0", "#EXT-X-GAP", "stray.ts", "#EXTINF:4,", "a.ts")

    assert segment == MediaSegment(0, f"{DIRECTORY}a.ts", 4)


def test_the_last_extinf_before_a_uri_counts() -> None:
    assert segments("#EXTINF:1,", "#EXTINF:2,", "a.ts", "b.ts", "#EXTINF:3,") == (
        MediaSegment(0, f"{DIRECTORY}a.ts", 2),
    )


def test_parts_are_left_out_and_whole_segments_remain() -> None:
    playlist = media(
        "#EXT-X-PART-INF:PART-TARGET=0.33334",
        "#EXT-X-MEDIA-SEQUENCE:269",
        '#EXT-X-PART:DURATION=0.33334,URI="fs269.0.mp4",INDEPENDENT=YES',
        "#EXTINF:4.00008,",
        "fs269.mp4",
        '#EXT-X-PART:DURATION=0.33334,URI="fs270.0.mp4",INDEPENDENT=YES',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="fs270.1.mp4"',
    )

    assert playlist.segments == (MediaSegment(269, f"{DIRECTORY}fs269.mp4", 4.00008),)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["#EXT-X-SKIP:SKIPPED-SEGMENTS=3", "#EXTINF:4,", "a.ts"], "delta update"),
        (["#EXT-X-STREAM-INF:BANDWIDTH=1", "a.m3u8", "#EXTINF:4,", "a.ts"], "streams and segments"),
    ],
)
def test_what_cannot_be_played_is_refused(lines: list[str], what: str) -> None:
    with pytest.raises(HlsError, match=what):
        media(*lines)


def test_a_playlist_of_key_frames_says_so() -> None:
    assert media("#EXT-X-I-FRAMES-ONLY", "#EXTINF:4,", "a.ts").i_frames_only
    assert not media("#EXTINF:4,", "a.ts").i_frames_only


def test_a_playlist_without_segments_is_a_media_playlist() -> None:
    assert media().segments == ()


def test_a_stray_rendition_makes_no_multivariant_playlist() -> None:
    assert len(segments('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x"', "#EXTINF:4,", "a.ts")) == 1


def test_the_last_tag_before_a_uri_says_what_it_is() -> None:
    assert len(multivariant("#EXTINF:4,", "#EXT-X-STREAM-INF:", "a.m3u8").variants) == 1
    assert len(segments("#EXT-X-STREAM-INF:", "#EXTINF:4,", "a.ts")) == 1


def test_media_and_key_frames_alone_make_a_multivariant_playlist() -> None:
    renditions = multivariant('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="a.m3u8"')
    key_frames = multivariant('#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i.m3u8"')

    assert [rendition.url for rendition in renditions.renditions] == [f"{DIRECTORY}a.m3u8"]
    assert (renditions.variants, key_frames.variants, key_frames.renditions) == ((), (), ())


def test_streams_and_renditions_that_are_not_at_http_are_left_out() -> None:
    playlist = multivariant(
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="file:///etc/passwd"',
        "#EXT-X-STREAM-INF:BANDWIDTH=1",
        "file:///etc/passwd",
        "#EXT-X-STREAM-INF:",
        "a.m3u8",
        "stray.m3u8",
    )

    assert playlist.variants == (Variant(f"{DIRECTORY}a.m3u8", 0),)
    assert playlist.renditions == ()


@pytest.mark.parametrize(
    ("attributes", "bandwidth", "height"),
    [
        ("BANDWIDTH=12.5", 12, None),
        ('BANDWIDTH="300"', 300, None),
        ("BANDWIDTH=12345678901", 12_345_678_901, None),
        ("BANDWIDTH=x", 0, None),
        ("BANDWIDTH=-1", 0, None),
        ("RESOLUTION=1280", 0, None),
        ("RESOLUTION=1280X720", 0, 720),
        ('RESOLUTION="1280x720"', 0, 720),
        ("bandwidth=1,Resolution=2x3", 1, 3),
        ('BANDWIDTH=1,AUDIO="",CODECS=""', 1, None),
        ('NAME="unclosed,BANDWIDTH=1', 0, None),
    ],
)
def test_a_stream_is_read_however_it_is_described(attributes: str, bandwidth: int, height: int | None) -> None:
    playlist = multivariant(f"#EXT-X-STREAM-INF:{attributes}", "a.m3u8")

    assert playlist.variants == (Variant(f"{DIRECTORY}a.m3u8", bandwidth, height),)


def test_a_media_playlist_takes_variables_from_the_multivariant_one() -> None:
    above = multivariant('#EXT-X-DEFINE:NAME="iv",VALUE="1f"', '#EXT-X-DEFINE:QUERYPARAM="token"', "#EXT-X-STREAM-INF:")
    playlist = read(
        '#EXTM3U\n#EXT-X-DEFINE:IMPORT="iv"\n#EXT-X-DEFINE:IMPORT="token"\n'
        '#EXT-X-KEY:METHOD=AES-128,URI="k?{$token}",IV=0x{$iv}\n#EXTINF:4,\na.ts?{$token}\n',
        URL,
        variables=above.variables,
    )

    assert isinstance(playlist, MediaPlaylist)
    assert playlist.segments == (
        MediaSegment(0, f"{DIRECTORY}a.ts?a+b", 4, key=Key("AES-128", f"{DIRECTORY}k?a+b", bytes(15) + b"\x1f")),
    )


@pytest.mark.parametrize("value", ["{$x}", "#EXT-X-ENDLIST", " ", ""])
def test_the_value_of_a_variable_is_nothing_but_a_piece_of_a_uri(value: str) -> None:
    playlist = read(
        '#EXTM3U\n#EXT-X-DEFINE:IMPORT="v"\n#EXTINF:4,\n{$v}\n#EXTINF:4,\nb.ts\n', URL, variables={"v": value}
    )

    assert isinstance(playlist, MediaPlaylist)
    assert playlist.segments[-1].url == f"{DIRECTORY}b.ts"
    assert not playlist.ended


def test_a_stream_without_an_address_is_left_out() -> None:
    playlist = multivariant('#EXT-X-DEFINE:NAME="x",VALUE=""', "#EXT-X-STREAM-INF:", "{$x}", "#EXT-X-STREAM-INF:", "a")

    assert [variant.url for variant in playlist.variants] == [f"{DIRECTORY}a"]


def test_a_variable_that_nobody_defined_is_an_error() -> None:
    with pytest.raises(UndefinedVariable):
        media("#EXTINF:4,", "{$x}.ts")


@pytest.mark.parametrize(
    "text",
    [
        "#" * limits.MOST_CHARACTERS,
        "#" * limits.LONGEST_LINE,
        "\n" * limits.MOST_LINES,
        "#EXTINF:4,\na\n" * (limits.MOST_SEGMENTS + 1),
        "#EXT-X-KEY:" + "A=1," * 1001,
    ],
)
def test_a_playlist_beyond_the_limits_is_refused(text: str) -> None:
    with pytest.raises(PlaylistTooLarge):
        read(f"#EXTM3U\n{text}\n", URL)


def test_a_key_for_every_segment_is_read_in_linear_time() -> None:
    playlist = media(*(f'#EXT-X-KEY:METHOD=AES-128,URI="{n}"\n#EXTINF:4,\n{n}.ts' for n in range(20_000)))

    assert len({segment.key for segment in playlist.segments}) == 20_000


def test_no_url_is_shown() -> None:
    for text in (
        '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="secret"\n#EXT-X-MAP:URI="secret"\n#EXTINF:4,\nsecret\n#EXTINF:4,\nfile:secret',
        '#EXTM3U\n#EXT-X-DEFINE:NAME="x",VALUE="secret"\n#EXT-X-MEDIA:URI="secret"\n#EXT-X-STREAM-INF:\nsecret',
    ):
        assert "secret" not in repr(read(text, "http://h/secret/?secret=1"))


PIECES = st.one_of(
    st.text(st.characters()),
    st.sampled_from(
        ['"', ",", "=", "a.ts", "0x1", "1@2", "5", "-1", "1.5", "{$a}", "'", "YES", "http://h/a", "#EXTM3U"]
    ),
)
TAGS = st.sampled_from(
    [
        "EXTINF",
        "TARGETDURATION",
        "MEDIA-SEQUENCE",
        "DISCONTINUITY-SEQUENCE",
        "DISCONTINUITY",
        "GAP",
        "BYTERANGE",
        "KEY",
        "MAP",
        "STREAM-INF",
        "MEDIA",
        "DEFINE",
        "ENDLIST",
        "I-FRAMES-ONLY",
        "I-FRAME-STREAM-INF",
        "PART",
        "SKIP",
        "DATERANGE",
    ]
)
NAMES = st.sampled_from(
    [
        "METHOD",
        "URI",
        "IV",
        "KEYFORMAT",
        "BYTERANGE",
        "BANDWIDTH",
        "RESOLUTION",
        "CODECS",
        "AUDIO",
        "NAME",
        "VALUE",
        "TYPE",
    ]
)
LINES = st.one_of(
    PIECES,
    st.builds("#EXTINF:{},{}".format, PIECES, PIECES),
    st.builds("#EXT-X-{}:{}".format, TAGS, PIECES),
    st.builds('#EXT-X-{}:{}="{}",{}={}'.format, TAGS, NAMES, PIECES, NAMES, PIECES),
)


@given(st.lists(LINES), PIECES)
@settings(deadline=None, max_examples=500)
def test_no_text_breaks_the_reading(lines: list[str], url: str) -> None:
    for base in (URL, url):
        with suppress(HlsError):
            read("\n".join(("#EXTM3U", *lines)), base)


@given(st.text())
@settings(deadline=None)
def test_no_other_text_is_a_playlist(text: str) -> None:
    if "#EXTM3U" not in text:
        with pytest.raises(HlsError):
            read(text, URL)


@given(st.lists(LINES))
@settings(deadline=None, max_examples=300)
def test_whatever_is_read_is_at_http_or_marked_as_broken(lines: list[str]) -> None:
    try:
        playlist = read("\n".join(("#EXTM3U", *lines)), URL)
    except HlsError:
        return

    if isinstance(playlist, MediaPlaylist):
        for segment in playlist.segments:
            places = [segment, segment.key, segment.map, segment.map and segment.map.key]
            assert segment.broken or all(place.url.lower().startswith("http") for place in places if place)
            assert 0 <= segment.duration <= 86_400
    else:
        assert all(variant.url.lower().startswith("http") for variant in playlist.variants)


LOW, MIDDLE, HIGH = (
    Variant("low", 500_000, 360),
    Variant("middle", 3_000_000, 720),
    Variant("high", 6_000_000, 1080),
)
SOUND = Variant("sound", 9_000_000, codecs="mp4a.40.2, ac-3")


@pytest.mark.parametrize(
    ("quality", "chosen"),
    [
        ("best", HIGH),
        ("worst", LOW),
        ("1080p", HIGH),
        ("1079p", MIDDLE),
        ("720P", MIDDLE),
        ("240p", LOW),
        ("6000000", HIGH),
        ("5999999", MIDDLE),
        ("3000k", MIDDLE),
        ("2.9m", LOW),
        ("1", LOW),
    ],
)
def test_a_variant_is_chosen_by_quality(quality: str, chosen: Variant) -> None:
    playlist = MultivariantPlaylist(URL, (MIDDLE, SOUND, HIGH, LOW), ())

    assert choose_variant(playlist, quality) == chosen


def test_of_equal_height_the_higher_bandwidth_is_better() -> None:
    small, large = Variant("small", 1_000_000, 720), Variant("large", 2_000_000, 720)
    playlist = MultivariantPlaylist(URL, (small, large), ())

    assert (choose_variant(playlist, "720p"), choose_variant(playlist, "worst")) == (large, small)


def test_lines_count_more_than_bandwidth() -> None:
    efficient, wasteful = Variant("efficient", 2_000_000, 1080), Variant("wasteful", 3_000_000, 720)
    playlist = MultivariantPlaylist(URL, (wasteful, efficient), ())

    assert choose_variant(playlist, "best") == efficient
    assert choose_variant(playlist, "2500k") == efficient


def test_without_heights_bandwidth_decides() -> None:
    unknown = Variant("unknown", 7_000_000)

    assert choose_variant(MultivariantPlaylist(URL, (LOW, unknown, HIGH), ()), "best") == unknown
    assert choose_variant(MultivariantPlaylist(URL, (LOW, unknown), ()), "720p") == LOW
    assert choose_variant(MultivariantPlaylist(URL, (Variant("x", 1), unknown), ()), "720p") == unknown


def test_sound_alone_is_chosen_where_there_is_nothing_else() -> None:
    assert choose_variant(MultivariantPlaylist(URL, (SOUND,), ()), "720p") == SOUND


@pytest.mark.parametrize("quality", ["", "good", "p", "-1", "720px", "3000x", "1e6"])
def test_a_quality_that_means_nothing_is_an_error(quality: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        choose_variant(MultivariantPlaylist(URL, (LOW,), ()), quality)


def test_there_is_nothing_to_choose_without_variants() -> None:
    with pytest.raises(ValueError, match="no streams"):
        choose_variant(MultivariantPlaylist(URL, (), ()), "best")
