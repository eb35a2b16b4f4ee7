import string
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.formats import urls
from streamproxy.formats.hls import lines as limits
from streamproxy.formats.hls.errors import HlsError, PlaylistTooLarge, UndefinedVariable
from streamproxy.formats.hls.references import References
from streamproxy.formats.hls.rewrite import Kind, Rewriter, Target, rewrite

BASE = "http://origin.example/live/x/index.m3u8?token=a%2Bb&empty="
DIRECTORY = "http://origin.example/live/x/"
FAIRPLAY = 'KEYFORMAT="com.apple.streamingkeydelivery"'


def as_it_stood(target: Target) -> str:
    return target.reference


def opaque(target: Target) -> str:
    return f"/hls/{target.kind}"


def seen(text: str, base_url: str = BASE) -> list[tuple[Kind, str]]:
    """Return what was asked a link for."""
    targets: list[Target] = []

    def link(target: Target) -> str:
        targets.append(target)
        return "/link"

    rewrite(text, base_url, link)
    return [(target.kind, target.url) for target in targets]


def refused(text: str) -> int:
    rewriter = Rewriter(BASE, opaque)
    list(rewriter.slices(text))
    return rewriter.refused


@pytest.mark.parametrize(
    ("line", "rewritten", "kind", "name"),
    [
        ("#EXTINF:4,Title\na.ts", "#EXTINF:4,Title\n/hls/segment", Kind.SEGMENT, "a.ts"),
        (
            "#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8",
            "#EXT-X-STREAM-INF:BANDWIDTH=1\n/hls/playlist",
            Kind.PLAYLIST,
            "a.m3u8",
        ),
        (
            "#EXT-X-STREAM-INF:B=1\n#EXTINF:4,\na.ts",
            "#EXT-X-STREAM-INF:B=1\n#EXTINF:4,\n/hls/segment",
            Kind.SEGMENT,
            "a.ts",
        ),
        ('#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x1', '#EXT-X-KEY:METHOD=AES-128,URI="/hls/key",IV=0x1', Kind.KEY, "k"),
        (
            '#EXT-X-SESSION-KEY:METHOD=AES-128,URI="k"',
            '#EXT-X-SESSION-KEY:METHOD=AES-128,URI="/hls/key"',
            Kind.KEY,
            "k",
        ),
        ('#EXT-X-KEY:URI="k",KEYFORMAT="identity"', '#EXT-X-KEY:URI="/hls/key",KEYFORMAT="identity"', Kind.KEY, "k"),
        ('#EXT-X-MAP:URI="i.mp4",BYTERANGE="9@0"', '#EXT-X-MAP:URI="/hls/map",BYTERANGE="9@0"', Kind.MAP, "i.mp4"),
        (
            '#EXT-X-MEDIA:NAME="a, b",URI="a.m3u8"',
            '#EXT-X-MEDIA:NAME="a, b",URI="/hls/playlist"',
            Kind.PLAYLIST,
            "a.m3u8",
        ),
        ('#EXT-X-I-FRAME-STREAM-INF:URI="i"', '#EXT-X-I-FRAME-STREAM-INF:URI="/hls/playlist"', Kind.PLAYLIST, "i"),
        ('#EXT-X-IMAGE-STREAM-INF:URI="i"', '#EXT-X-IMAGE-STREAM-INF:URI="/hls/playlist"', Kind.PLAYLIST, "i"),
        ('#EXT-X-PART:DURATION=1,URI="p"', '#EXT-X-PART:DURATION=1,URI="/hls/part"', Kind.PART, "p"),
        ('#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p"', '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="/hls/part"', Kind.PART, "p"),
        ('#EXT-X-PRELOAD-HINT:URI="i",TYPE=MAP', '#EXT-X-PRELOAD-HINT:URI="/hls/map",TYPE=MAP', Kind.MAP, "i"),
        ('#EXT-X-RENDITION-REPORT:URI="r"', '#EXT-X-RENDITION-REPORT:URI="/hls/playlist"', Kind.PLAYLIST, "r"),
        ('#EXT-X-SESSION-DATA:URI="d",FORMAT=RAW', '#EXT-X-SESSION-DATA:URI="/hls/data",FORMAT=RAW', Kind.DATA, "d"),
        (
            '#EXT-X-DATERANGE:ID="1",X-ASSET-URI="a"',
            '#EXT-X-DATERANGE:ID="1",X-ASSET-URI="/hls/asset"',
            Kind.ASSET,
            "a",
        ),
        (
            '#EXT-X-DATERANGE:X-ASSET-LIST="l?a=1,2"',
            '#EXT-X-DATERANGE:X-ASSET-LIST="/hls/asset"',
            Kind.ASSET,
            "l?a=1,2",
        ),
        ('#EXT-X-DATERANGE:X-URI="a",CUE="PRE"', '#EXT-X-DATERANGE:X-URI="/hls/asset",CUE="PRE"', Kind.ASSET, "a"),
        ("#EXT-X-TWITCH-PREFETCH:a.ts", "#EXT-X-TWITCH-PREFETCH:/hls/segment", Kind.SEGMENT, "a.ts"),
        ("#EXT-X-PREFETCH: a.ts ", "#EXT-X-PREFETCH: /hls/segment ", Kind.SEGMENT, "a.ts"),
        ('#EXT-X-OTHER:TYPE=MAP,URI="d"', '#EXT-X-OTHER:TYPE=MAP,URI="/hls/data"', Kind.DATA, "d"),
        ('#EXT-X-TILES:LAYOUT=5x2,URI="t.jpg"', '#EXT-X-TILES:LAYOUT=5x2,URI="/hls/data"', Kind.DATA, "t.jpg"),
        (f"#EXT-X-IMAGE:{DIRECTORY}t.jpg", "#EXT-X-IMAGE:/hls/data", Kind.DATA, "t.jpg"),
        ('#EXT-X-OF-TOMORROW:URI="t"', '#EXT-X-OF-TOMORROW:URI="/hls/data"', Kind.DATA, "t"),
    ],
)
def test_every_place_of_a_uri_leads_back_here(line: str, rewritten: str, kind: Kind, name: str) -> None:
    assert rewrite(f"#EXTM3U\n{line}\n", BASE, opaque) == f"#EXTM3U\n{rewritten}\n"
    assert seen(line) == [(kind, DIRECTORY + name)]


@pytest.mark.parametrize(
    ("written", "rewritten"),
    [
        (
            '#EXT-X-KEY: METHOD = AES-128 , URI = "k" , IV=0x1',
            '#EXT-X-KEY: METHOD = AES-128 , URI = "/hls/key" , IV=0x1',
        ),
        ('#EXT-X-KEY:METHOD=AES-128,URI="k', '#EXT-X-KEY:METHOD=AES-128,URI="/hls/key'),
        ('#EXT-X-KEY:METHOD=AES-128 URI="k"IV=0x1', '#EXT-X-KEY:METHOD=AES-128 URI="/hls/key"IV=0x1'),
        ("#EXT-X-KEY:METHOD=AES-128,URI=k,IV=0x1", "#EXT-X-KEY:METHOD=AES-128,URI=/hls/key,IV=0x1"),
        ('#EXT-X-KEY:method=AES-128,uri="k"', '#EXT-X-KEY:method=AES-128,uri="/hls/key"'),
        ('  #EXT-X-KEY:URI="k"  ', '  #EXT-X-KEY:URI="/hls/key"  '),
        ('#EXT-X-KEY:URI="k",URI="l"', '#EXT-X-KEY:URI="/hls/key",URI="/hls/key"'),
        ('#EXT-X-KEY:NAME="URI=x",URI="k"', '#EXT-X-KEY:NAME="URI=x",URI="/hls/key"'),
        ('#EXT-X-KEY:METHOD=NONE,URI=""', '#EXT-X-KEY:METHOD=NONE,URI=""'),
    ],
)
def test_sloppy_attribute_lists_hide_no_uri(written: str, rewritten: str) -> None:
    assert rewrite(written, BASE, opaque) == rewritten


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#EXTM3U",
        "\ufeff#EXTM3U\r\n#EXTINF:4,a\u2028b\x85c\r\n\t a.ts \r\n\r\n",
        "#EXTM3U\r#EXTINF:4,\ra.ts\r",
        '#EXTM3U\n\r\n#EXTINF:-1 tvg-id="x",Title with \udce9\na\udce9.ts',
        "# http://origin.example/a\n##\n#EXTINF:4,http://origin.example/b\n#EXT-X-PROGRAM-DATE-TIME:2020-01-01T00:00:00Z\n",
        '#EXT-X-STREAM-INF:CODECS="a,b",NAME="{x}"\n../a.m3u8?x#y\n',
        '#EXT-X-RENDITION-REPORT:URI="http://origin.example/r.m3u8"\n',
        "#EXT-X-X::\n#EXT-X-Y:\n#EXT-X-Z: : \n#EXT\n#EXT-X-KEY\n",
    ],
)
def test_what_is_no_uri_stays_as_it_was(text: str) -> None:
    assert rewrite(text, BASE, as_it_stood) == text


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("a.ts", f"{DIRECTORY}a.ts"),
        ("a.ts?x=http://y/#z", f"{DIRECTORY}a.ts?x=http://y/#z"),
        ("?seg=1", "http://origin.example/live/x/index.m3u8?seg=1"),
        ("../up/b.ts", "http://origin.example/live/up/b.ts"),
        ("up/../b.ts", f"{DIRECTORY}b.ts"),
        ("..", "http://origin.example/live/"),
        ("/root/c.ts", "http://origin.example/root/c.ts"),
        ("//cdn2.example/a.ts", "http://cdn2.example/a.ts"),
        ("a:b.ts", f"{DIRECTORY}a:b.ts"),
        ("sub/a:b.ts", f"{DIRECTORY}sub/a:b.ts"),
        (r"C:\HLS\a.ts", rf"{DIRECTORY}C:\HLS\a.ts"),
        ("HTTPS://u:p@h:80/a/../%2b|[1].ts", "HTTPS://u:p@h:80/a/../%2b|[1].ts"),
        ("http://h//a.ts", "http://h//a.ts"),
        ("http://h", "http://h"),
        ("caf\udce9.ts", f"{DIRECTORY}caf%E9.ts"),
        ("é b.ts", f"{DIRECTORY}é b.ts"),
    ],
)
def test_references_become_absolute_without_being_quoted_anew(reference: str, url: str) -> None:
    assert seen(f"#EXTINF:4,\n{reference}\n") == [(Kind.SEGMENT, url)]


@given(
    st.lists(st.text("ab./:?#@", max_size=12), max_size=5), st.sampled_from([BASE, "http://h", "http://h/a/../b?c/d"])
)
@settings(deadline=None)
def test_references_are_resolved_as_if_each_were_the_first(references: list[str], base: str) -> None:
    one_for_all = References(base)

    for reference in references:
        assert one_for_all.resolve(reference) == References(base).resolve(reference)
        if ":" not in reference:
            url = urls.join(base, reference)
            assert one_for_all.resolve(reference) == (url if urls.is_http(url) else None)


def test_a_hint_leads_to_where_the_part_will() -> None:
    hint = '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{}"\n'
    part = '#EXT-X-PART:DURATION=1,URI="{}"\n'

    assert seen(hint.format("../x/p.mp4")) == seen(part.format("../x/p.mp4"))


def test_a_second_uri_after_a_stream_is_no_stream() -> None:
    assert [kind for kind, _ in seen("#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\nb.ts\n")] == [Kind.PLAYLIST, Kind.SEGMENT]


def test_links_may_be_absolute() -> None:
    text = '#EXT-X-MEDIA:URI="{0}"\n#EXT-X-STREAM-INF:\n{0}\n'

    assert rewrite(text.format("a"), BASE, lambda _: "http://proxy/a") == text.format("http://proxy/a")


def test_a_rendition_report_stays_relative() -> None:
    report = '#EXT-X-RENDITION-REPORT:URI="{}",LAST-MSN=1'

    assert rewrite(report.format("r"), BASE, lambda _: "https://proxy.example:8080/hls/r?x") == report.format(
        "/hls/r?x"
    )
    assert rewrite(report.format("r"), BASE, lambda _: "https://proxy.example") == report.format("/")


@pytest.mark.parametrize(
    "line",
    [
        f'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://one",{FAIRPLAY}',
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://one"',
        '#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES-CTR,URI="data:text/plain;base64,AAAA",KEYFORMAT="urn:uuid:edef"',
        '#EXT-X-KEY:METHOD=AES-128,URI="URN:x:y"',
        f'#EXT-X-KEY:METHOD=SAMPLE-AES,{FAIRPLAY},URI="https://license.example/x"',
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="opaque",KEYFORMAT="com.example"',
        '#EXT-X-MAP:URI="data:video/mp4;base64,AAAA"',
        '#EXT-X-SESSION-DATA:DATA-ID="x",URI="data:application/json,{}"',
        "data:video/mp2t;base64,AAAA",
    ],
)
def test_what_names_no_place_stays(line: str) -> None:
    assert rewrite(line, BASE, opaque) == line
    assert refused(line) == 0


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "pipe:0",
        "concat:http://h/a|http://h/b",
        "javascript:alert(1)",
        "rtmp://h/a",
        "crypto+http://h/a",
        "http:a.ts",
        "http:///a.ts",
        "http://h:0/a.ts",
        "http://evil\\@127.0.0.1/",
        " file:///etc/passwd",
        "x" * 65_537,
    ],
)
def test_only_http_and_https_are_followed(uri: str) -> None:
    assert seen(f'#EXTINF:4,\n{uri}\n#EXT-X-KEY:METHOD=AES-128,URI="{uri}"\n#EXT-X-PREFETCH:{uri}\n') == []


@pytest.mark.parametrize(
    ("lines", "remains"),
    [
        (
            "#EXTINF:4,\nfile:///a\r\n#EXTINF:4,\nb.ts",
            "#EXTINF:4,\n#EXT-X-GAP\r\nrefused.ts\r\n#EXTINF:4,\n/hls/segment",
        ),
        ("#EXTINF:4,\nfile:///a", "#EXTINF:4,\n#EXT-X-GAP\nrefused.ts"),
        ("#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///a\n", "#EXT-X-STREAM-INF:BANDWIDTH=1\nrefused.m3u8\n"),
        ("#EXT-X-STREAM-INF:BANDWIDTH=1\ndata:,x\n", "#EXT-X-STREAM-INF:BANDWIDTH=1\nrefused.m3u8\n"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="file:///a"\n', '#EXT-X-KEY:METHOD=AES-128,URI="refused.key"\n'),
        (f'#EXT-X-KEY:METHOD=X,URI="file:///a",{FAIRPLAY}\n', f'#EXT-X-KEY:METHOD=X,URI="refused.key",{FAIRPLAY}\n'),
        ('#EXT-X-MAP:URI="file:///a"\n', '#EXT-X-MAP:URI="refused.mp4"\n'),
        ('#EXT-X-MEDIA:TYPE=AUDIO,URI="file:///a"\n', '#EXT-X-MEDIA:TYPE=AUDIO,URI="refused.m3u8"\n'),
        ('#EXT-X-PART:URI="file:///a",DURATION=1\n', '#EXT-X-PART:URI="refused.ts",DURATION=1\n'),
        ('#EXT-X-SESSION-KEY:METHOD=AES-128,URI="file:///a"\n', ""),
        ('#EXT-X-I-FRAME-STREAM-INF:URI="file:///a"\n', ""),
        ('#EXT-X-PRELOAD-HINT:TYPE=PART,URI="file:///a"\n', ""),
        ('#EXT-X-RENDITION-REPORT:URI="file:///a"\n', ""),
        ('#EXT-X-SESSION-DATA:URI="file:///a"\n', ""),
        ('#EXT-X-DATERANGE:ID="1",X-ASSET-URI="file:///a"\n', ""),
        ("#EXT-X-TWITCH-PREFETCH:file:///a\r\n", ""),
    ],
)
def test_a_refused_uri_leaves_a_playlist_that_players_can_live_with(lines: str, remains: str) -> None:
    assert rewrite(lines, BASE, opaque) == remains
    assert refused(lines) == 1


def test_the_caller_may_refuse_a_uri_too() -> None:
    rewriter = Rewriter(BASE, lambda target: None if "evil" in target.url else "/ok")

    assert "".join(rewriter.slices("#EXTINF:4,\nhttp://evil/a.ts\n#EXTINF:4,\nb.ts\n")).count("/ok") == 1
    assert rewriter.refused == 1


def test_nothing_is_followed_from_a_base_that_is_not_http() -> None:
    assert seen("#EXTINF:4,\na.ts\n#EXTINF:4,\nhttp://h/b.ts\n", "file:///etc/") == [(Kind.SEGMENT, "http://h/b.ts")]


def test_content_steering_is_left_out() -> None:
    text = '#EXTM3U\r\n#EXT-X-CONTENT-STEERING:SERVER-URI="/steer"\r\n#EXT-X-CONTENT-STEERING\n#EXTINF:1,\r\n'

    assert rewrite(text, BASE, opaque) == "#EXTM3U\r\n#EXTINF:1,\r\n"


def test_variables_are_expanded_and_their_definitions_left_out() -> None:
    text = (
        '#EXT-X-DEFINE:NAME="host",VALUE="http://cdn.example"\r\n'
        '#EXT-X-DEFINE:NAME="dir",VALUE="{$host}/x"\n'
        '#EXT-X-DEFINE:QUERYPARAM="token"\n'
        '#EXT-X-DEFINE:IMPORT="iv"\n'
        '#EXT-X-KEY:METHOD=AES-128,URI="{$dir}/k?{$token}",IV=0x{$iv}\n'
        '#EXT-X-MEDIA:NAME="{$iv}, {$token}"\n'
        "#EXTINF:4,{$title}\n"
        "{$dir}/a.ts?{$token}\n"
        "#EXT-X-PREFETCH:{$dir}/b.ts\n"
        "# {$comment}\n"
    )

    assert rewrite(text, BASE, as_it_stood, variables={"iv": "1f"}) == (
        '#EXT-X-KEY:METHOD=AES-128,URI="http://cdn.example/x/k?a+b",IV=0x1f\n'
        '#EXT-X-MEDIA:NAME="1f, a+b"\n'
        "#EXTINF:4,{$title}\n"
        "http://cdn.example/x/a.ts?a+b\n"
        "#EXT-X-PREFETCH:http://cdn.example/x/b.ts\n"
        "# {$comment}\n"
    )


def test_a_link_can_be_made_of_the_variables_defined_above_it() -> None:
    rewriter = Rewriter(BASE, lambda _: ",".join(rewriter.variables))

    text = '#EXT-X-DEFINE:NAME="a",VALUE="1"\n#EXT-X-DEFINE:QUERYPARAM="token"\n#EXT-X-STREAM-INF:\nx.m3u8\n'
    assert "".join(rewriter.slices(text)) == "#EXT-X-STREAM-INF:\na,token\n"


@pytest.mark.parametrize(
    "text",
    [
        "#EXTINF:4,\n{$x}/a.ts\n",
        '#EXTINF:4,\n{$x}/a.ts\n#EXT-X-DEFINE:NAME="x",VALUE="late"\n',
        '#EXT-X-KEY:URI="{$x}"\n',
        '#EXT-X-DEFINE:NAME="y",VALUE="{$x}"\n',
        '#EXT-X-DEFINE:IMPORT="x"\n',
        '#EXT-X-DEFINE:QUERYPARAM="x"\n',
        '#EXT-X-DEFINE:QUERYPARAM="empty"\n',
    ],
)
def test_a_variable_that_nobody_defined_is_an_error(text: str) -> None:
    with pytest.raises(UndefinedVariable):
        rewrite(text, BASE, opaque)


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ('#EXT-X-DEFINE:NAME="x",VALUE="1"\n#EXT-X-DEFINE:QUERYPARAM="x"\n', "http://h/?x=2"),
        ('#EXT-X-DEFINE:QUERYPARAM="x"\n', "http://h/?x=a%0A%23EXTINF"),
        ('#EXT-X-DEFINE:QUERYPARAM="x"\n', "http://h/?x=a%22,URI=%22"),
    ],
)
def test_a_variable_cannot_be_defined_twice_or_write_tags(text: str, base: str) -> None:
    with pytest.raises(HlsError):
        rewrite(text, base, opaque)


def test_variables_made_of_variables_do_not_grow_without_limit() -> None:
    doubling = "".join(
        f'#EXT-X-DEFINE:NAME="v{number + 1}",VALUE="{{$v{number}}}{{$v{number}}}"\n' for number in range(60)
    )

    with pytest.raises(PlaylistTooLarge):
        rewrite(f'#EXT-X-DEFINE:NAME="v0",VALUE="0123456789"\n{doubling}', BASE, opaque)


@pytest.mark.parametrize(
    "text",
    [
        "#" * (limits.MOST_CHARACTERS + 1),
        "#" * (limits.LONGEST_LINE + 1),
        "\n" * (limits.MOST_LINES + 1),
        "a\n" * (limits.MOST_SEGMENTS + 1),
        '#EXT-X-KEY:URI="a"' + ",A=1" * 1001,
    ],
)
def test_a_playlist_beyond_the_limits_is_refused(text: str) -> None:
    with pytest.raises(PlaylistTooLarge):
        rewrite(text, BASE, opaque)


def test_a_playlist_at_the_limits_is_rewritten() -> None:
    text = "a\n" * limits.MOST_SEGMENTS + "#" * (limits.LONGEST_LINE - 1) + "\n"

    assert rewrite(text, BASE, as_it_stood) == text


@pytest.mark.parametrize(
    "piece",
    [
        '"',
        "=",
        ",",
        " ",
        '="',
        "a",
        "a=",
        'URI="',
        "{$",
        "{$a",
        "/",
        "./",
        "../",
        ":",
        "a:",
        "//",
        "?",
        "#",
        "é",
        "\udce9",
    ],
)
@pytest.mark.parametrize(
    "before", ["", "#EXTINF:4,\n", "#EXT-X-KEY:URI=", '#EXT-X-KEY:URI="', "#EXT-X-DEFINE:NAME=", "#EXT"]
)
def test_a_very_long_line_is_rewritten_in_linear_time(before: str, piece: str) -> None:
    with suppress(HlsError):
        rewrite(before + piece * ((limits.LONGEST_LINE - 100) // len(piece)), BASE, opaque)


def test_a_long_playlist_is_rewritten_in_slices() -> None:
    text = "#EXTM3U\n" + "#EXTINF:6.006,\nseg/a.ts\n" * 10_000
    slices = list(Rewriter(BASE, opaque).slices(text))

    assert len(slices) >= 20
    assert max(piece.count("\n") for piece in slices) <= 1000


def test_only_long_lines_make_short_slices() -> None:
    text = ("#" * 99_999 + "\n") * 20 + "a\n" * 2000

    assert 20 <= len(list(Rewriter(BASE, opaque).slices(text))) <= 25


def test_a_target_does_not_show_its_url() -> None:
    target = Target(Kind.KEY, "http://u:secret@h/k", "http://u:secret@h/k")

    assert "secret" not in f"{target} {target!r}"


ANY_TEXT = st.text(st.characters())
FOREIGN = st.builds(
    str.__add__,
    st.sampled_from(
        ["http://foreign.example/", "HTTPS://u:p@foreign.example:80/", "//foreign.example/", "http://foreign.example"]
    ),
    st.text(string.ascii_letters + "0123456789/?&=%.,'~ é", max_size=8),
)
URI_TAGS = st.sampled_from(
    [
        "KEY:METHOD=AES-128,",
        "SESSION-KEY:METHOD=AES-128,",
        "MAP:",
        "MEDIA:TYPE=AUDIO,",
        "I-FRAME-STREAM-INF:",
        "IMAGE-STREAM-INF:",
        "PART:DURATION=1,",
        "PRELOAD-HINT:TYPE=PART,",
        "PRELOAD-HINT:TYPE=MAP,",
        "RENDITION-REPORT:",
        "SESSION-DATA:FORMAT=JSON,",
        "TILES:LAYOUT=1x1,",
        'DATERANGE:ID="1",X-ASSET-',
        "DATERANGE:X-",
        "OF-TOMORROW:",
    ]
)
LINES = st.one_of(
    FOREIGN,
    st.builds('#EXT-X-{}URI="{}{}'.format, URI_TAGS, FOREIGN, st.sampled_from(["", '"', '",A=1', '" B="2'])),
    st.builds('#EXT-X-DATERANGE:X-ASSET-LIST="{}"'.format, FOREIGN),
    st.builds("#EXT-X-{}PREFETCH:{}".format, st.sampled_from(["", "TWITCH-"]), FOREIGN),
    st.builds('#EXT-X-CONTENT-STEERING:SERVER-URI="{}"'.format, FOREIGN),
    st.builds('#EXT-X-DEFINE:NAME="foreign{}",VALUE="{}"'.format, st.integers(), FOREIGN),
    st.sampled_from(["#EXTM3U", "#EXTINF:4,", "#EXT-X-STREAM-INF:BANDWIDTH=1", "", "#EXT-X-ENDLIST", "# a comment"]),
)
PLAYLISTS = st.builds(lambda lines, end: end.join(lines) + end, st.lists(LINES), st.sampled_from(["\n", "\r\n", "\r"]))


@given(PLAYLISTS)
@settings(deadline=None)
def test_no_url_of_a_provider_remains(text: str) -> None:
    try:
        rewritten = rewrite(text, BASE, opaque)
    except HlsError:
        assert "DEFINE" in text  # of one name twice
        return

    assert "foreign" not in rewritten


TAGS_WITH_ANYTHING = st.builds(
    "#EXT-X-{}:{}URI={}".format, st.sampled_from(["KEY", "MAP", "X", "DATERANGE", "STREAM-INF"]), ANY_TEXT, ANY_TEXT
)


@given(st.lists(st.one_of(ANY_TEXT, LINES, TAGS_WITH_ANYTHING)).map("\n".join))
@settings(deadline=None, max_examples=300)
def test_the_identity_changes_nothing_in_any_text(text: str) -> None:
    rewriter = Rewriter(BASE, as_it_stood)
    try:
        rewritten = "".join(rewriter.slices(text))
    except HlsError:
        return

    if not rewriter.refused and "#EXT-X-DEFINE" not in text and "#EXT-X-CONTENT-STEERING" not in text:
        assert rewritten == text


@given(PLAYLISTS, st.integers(1, 9))
@settings(deadline=None)
def test_slices_do_not_change_the_result(text: str, slice_lines: int) -> None:
    try:
        whole = rewrite(text, BASE, opaque)
    except HlsError:
        return

    assert "".join(Rewriter(BASE, opaque).slices(text, slice_lines)) == whole


@given(PLAYLISTS)
@settings(deadline=None)
def test_the_same_playlist_is_always_rewritten_to_the_same(text: str) -> None:
    def link(target: Target) -> str:
        return f"/{target.kind}/{hash(target)}"

    try:
        assert rewrite(text, BASE, link) == rewrite(text, BASE, link)
    except HlsError:
        return
