import string
from urllib.parse import urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamproxy.formats import urls

ANY_TEXT = st.text(st.characters())  # lone surrogates included
ALPHANUMERIC = string.ascii_letters + string.digits
ACCOUNT_WORDS = st.text("QXZqxz0123456789", min_size=8, max_size=24)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/1.ts",
        "http://h",
        "HTTP://User:p%40ss@Host.Example:80/a/b/../c?x=%2b&y=%7E&z=%41|[1]&e=",
        "http://[2001:db8::1]:8080/1.ts",
        "https://h_1.example.:443/?a=b?c;d",
        "http://h/100%/%zz",
        "http://h:/x",
    ],
)
def test_what_is_fit_for_the_wire_does_not_change(url: str) -> None:
    assert urls.wire(url) == url
    assert urls.is_http(url)


@pytest.mark.parametrize(
    ("url", "wire"),
    [
        ("http://h/a b.ts?x=[1]", "http://h/a%20b.ts?x=[1]"),
        ("http://h/é?q=ж", "http://h/%C3%A9?q=%D0%B6"),
        ("http://пример.рф/1.ts", "http://xn--e1afmkfd.xn--p1ai/1.ts"),
        ("http://h/1.ts#frag", "http://h/1.ts"),
        ("http://h#frag", "http://h"),
        ("http://h/\t\x00\x7f", "http://h/%09%00%7F"),
        ('http://h/"<>\\^`{}', "http://h/%22%3C%3E%5C%5E%60%7B%7D"),
        ("http://us er:p@ss@h/", "http://us%20er:p%40ss@h/"),
        ("http://h/t\udce4glich", "http://h/t%E4glich"),
        ("http://h/\ud800", "http://h/%ED%A0%80"),
    ],
)
def test_only_what_is_illegal_on_the_wire_is_escaped(url: str, wire: str) -> None:
    assert urls.wire(url) == wire


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/1.ts",
        "/1.ts",
        "//h/1.ts",
        "ftp://h/1",
        "file:///etc/passwd",
        "http:/h/1",
        "http:///1",
        "http://",
        "http://?x",
        "http://u:p@/x",
        "http://h:0/",
        "http://h:65536/",
        "http://h:99999999999999999999/",
        "http://h:" + "9" * 5000,
        "http://h:8x/",
        "http://h:1:2/",
        "http://h h/",
        "http://h\n/",
        "http://%31.0.0.1/",
        "http://[::1/",
        "http://[::zz]/",
        "http://[fe80::1%eth0]/",
        "http://[fe80::1%25eth0]/",
        "http://evil\\@127.0.0.1/",
        "http://" + "é" * 300 + "/",
        "http://é..é/",
        " http://h/",
    ],
)
def test_what_is_no_http_url_is_refused_without_being_shown(url: str) -> None:
    assert not urls.is_http(url)
    with pytest.raises(ValueError) as refusal:
        urls.wire(url)
    assert len(url) < 6 or url not in str(refusal.value)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
@example("", "h\u2100x", "")
def test_the_wire_form_is_ascii_and_does_not_change_again(userinfo: str, host: str, rest: str) -> None:
    for url in (f"http://{userinfo}@{host}/{rest}", f"https://{host or 'h'}?{rest}", rest):
        assert urls.is_http(url) == _is_taken(url)
        if urls.is_http(url):
            wire = urls.wire(url)
            assert wire.isascii()
            assert wire.isprintable()
            assert " " not in wire
            assert urls.wire(wire) == wire


def _is_taken(url: str) -> bool:
    try:
        urls.wire(url)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("reference", "result"),
    [
        # RFC 3986, 5.4; fragments stay, they are dropped on the wire
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q#s"),
        ("g#s", "http://a/b/c/g#s"),
        ("g?y#s", "http://a/b/c/g?y#s"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        # what must not be quoted again, and what has its own host
        ("%7Ex/%2b|[1]?%41=é b", "http://a/b/c/%7Ex/%2b|[1]?%41=é b"),
        ("https://h:443/b/../%7e", "https://h:443/b/../%7e"),
        ("//h:80/b/../c", "http://h:80/b/../c"),
        ("g?", "http://a/b/c/g?"),
        ("file:///etc/passwd", "file:///etc/passwd"),
    ],
)
def test_references_are_resolved_as_the_standard_says(reference: str, result: str) -> None:
    assert urls.join("http://a/b/c/d;p?q", reference) == result


def test_a_base_without_a_path_is_its_root() -> None:
    assert urls.join("http://user:pw@h:8080", "x.ts") == "http://user:pw@h:8080/x.ts"


SEGMENTS = st.lists(st.text("ab.", min_size=1, max_size=3), max_size=6).map("/".join)


@given(SEGMENTS, SEGMENTS, st.sampled_from(["", "/"]), st.sampled_from(["", "/"]))
def test_joining_agrees_with_the_standard_library(path: str, reference: str, before: str, after: str) -> None:
    base = f"http://h/{path}{after if path else ''}"
    reference = f"{before if reference else ''}{reference}{after if reference else ''}"

    assert urls.join(base, reference) == urljoin(base, reference)


@given(ANY_TEXT, ANY_TEXT)
def test_any_two_texts_can_be_joined(base: str, reference: str) -> None:
    urls.join(base, reference)


@pytest.mark.parametrize(
    ("line", "url", "headers"),
    [
        ("http://h/1", "http://h/1", {}),
        (
            "http://h/1.mpd|User-Agent=UA 1&Referer=http%3A%2F%2Fr%2F",
            "http://h/1.mpd",
            {"User-Agent": "UA 1", "Referer": "http://r/"},
        ),
        ("http://h/1 | user-agent=a", "http://h/1 | user-agent=a", {}),
        ("http://h/1 |user-agent=a", "http://h/1", {"user-agent": "a"}),
        ("http://h/1|Referer=r|X-Token=t", "http://h/1", {"Referer": "r", "X-Token": "t"}),
        ("http://h/1?a=1|2", "http://h/1?a=1|2", {}),
        ("http://h/1?a=1|b=2", "http://h/1?a=1|b=2", {}),
        ("http://h/1?a=1|b=2|Cookie=c%3D1", "http://h/1?a=1|b=2", {"Cookie": "c=1"}),
        ("http://h/1|seekable=0&verifypeer=false", "http://h/1", {}),
        ("http://h/1|Host=evil&Content-Length=5&User-Agent=a%0d%0aX:1&Cookie=", "http://h/1", {}),
    ],
)
def test_headers_behind_a_bar_are_taken_off_the_url(line: str, url: str, headers: dict[str, str]) -> None:
    assert urls.split_options(line) == (url, headers)


@given(ANY_TEXT)
@example("http://h/|A-b=c|\u010a")
def test_a_line_begins_with_its_url_and_its_headers_are_fit_to_be_sent(line: str) -> None:
    url, headers = urls.split_options(line)

    assert line.startswith(url)
    assert all(urls.is_header(name, value) for name, value in headers.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("X Inj", "x"),
        ("X:", "x"),
        (":authority", "x"),
        ("X\n", "x"),
        ("É", "x"),
        ("host", "x"),
        ("HOST", "x"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("TE", "x"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "x"),
        ("Range", "bytes=0-"),
        ("Accept-Encoding", "gzip"),
        ("X", ""),
        ("X", "a\r\nB: c"),
        ("X", "a\rb"),
        ("X", "a\nb"),
        ("X", "a\0b"),
        ("X", "a\x85b"),
        ("X", "a\u2028b"),
        ("X", "a\ud800b"),
        ("X", "a" * 65_536),
    ],
)
def test_a_header_that_could_harm_the_request_is_refused(name: str, value: str) -> None:
    assert not urls.is_header(name, value)


@pytest.mark.parametrize(
    ("name", "value"), [("User-Agent", "VLC/3 (a; b)"), ("x-token", "a=b, c\té"), ("Cookie", "a=b; c=d")]
)
def test_an_ordinary_header_may_be_sent(name: str, value: str) -> None:
    assert urls.is_header(name, value)


@pytest.mark.parametrize(
    ("url", "remains"),
    [
        ("http://h/live/alice/hunter2/123.ts", "123"),
        ("http://other:8080/alice/hunter2/123", "123"),
        ("http://h/x/live/alice/hunter2/123.m3u8?token=abc", "123"),
        ("http://h/movie/alice/hunter2/9.mkv", "movie/9"),
        ("http://h/timeshift/alice/hunter2/60/2024-01-01:10-00/123.ts", "timeshift/60/2024-01-01:10-00/123"),
        ("http://u:p@h:80/stream/bbc.ts", "/stream/bbc.ts"),
        ("http://h/stream/bbc/7", "/stream/bbc/7"),
        ("http://h/p.php?username=u&ch=5&password=p&TOKEN=t&q=hd", "/p.php?ch=5&q=hd"),
        ("http://h/a?e=1&st=2&wmsAuthSign=c2VydmVy&hdnts=x", "/a"),
        ("http://h/a?x=0123456789abcdef0123456789abcdef&b=1", "/a?b=1"),
        ("http://h/a?id=0123456789abcdef0123456789abcdef", "/a?id=0123456789abcdef0123456789abcdef"),
        ("http://h/a#b", "/a"),
        ("", ""),
    ],
)
def test_the_identity_of_a_url_is_what_no_new_account_or_token_changes(url: str, remains: str) -> None:
    assert urls.identity(url) == remains


@given(ACCOUNT_WORDS, ACCOUNT_WORDS, st.sampled_from(["", "live/"]), st.sampled_from(["", ".ts", ".m3u8"]))
def test_an_xtream_channel_keeps_its_identity_with_any_account(
    user: str, password: str, kind: str, suffix: str
) -> None:
    assert urls.identity(f"http://h/{kind}{user}/{password}/42{suffix}") == "42"


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("http://h/live/alice/hunter2/123.ts", {"alice", "hunter2"}),
        ("http://h/alice/hunter2/123", {"alice", "hunter2"}),
        ("http://h/SERIES/alice/hunter2/1.mkv", {"alice", "hunter2"}),
        ("http://h/timeshift/alice/hunter2/60/2024-01-01:10-00/1.ts", {"alice", "hunter2"}),
        ("http://alice:p%40ss:word@h/1.ts", {"alice", "p%40ss:word", "p@ss:word"}),
        ("http://h/get.php?Username=alice&password=hun%20ter&type=m3u_plus", {"alice", "hun%20ter", "hun ter"}),
        ("http://h/live/bob/pw/1.ts", set()),
        ("http://h/live/live/movie/1.ts", set()),
        ("http://h/live/news/bbc-one/index.m3u8", set()),
        ("http://h/stream/bbc-one/7", set()),
        ("http://h/1.ts?channel=five", set()),
        ("not a URL", set()),
    ],
)
def test_the_secrets_of_a_url_are_what_opens_an_account(url: str, secrets: set[str]) -> None:
    assert urls.secrets_of(url) == secrets


@pytest.mark.parametrize(
    "text",
    [
        "http://u:p@h/logo.png",
        "see //u@h/",
        "http://h/epg?username=u",
        "http://h/epg?x=1&Password=p",
        "http://h/epg?x=1&amp;password=p",
        "http://h/x?url=http%3A%2F%2Fh%2F%3Ftoken%3Dt",
        "#EXTX:password=p",
        'token="t"',
        'x="password=p"',
    ],
)
def test_credentials_in_a_text_are_noticed(text: str) -> None:
    assert urls.carries_credentials(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://h/logo.png?w=100&h=100",
        "a@b",
        "http://h/@handle",
        'tvg-id="a" user-agent="x"',
        "#KODIPROP:inputstream.adaptive.license_key=0011:2233",
        "The Password",
        "100 %",
    ],
)
def test_a_text_without_credentials_is_let_through(text: str) -> None:
    assert not urls.carries_credentials(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET http://u:p@h:80/live/u/p/1.ts failed", "GET http://h:80… failed"),
        ("http://h", "http://h"),
        ("http://h?password=p", "http://h…"),
        ("rtsp://u:p@h:554/x and https://[::1]:80/y", "rtsp://h:554… and https://[::1]:80…"),
        ("1http://u:p@h/x", "1http://h…"),
        ("http://u:p/w@h/x", "://…"),
        ("http://u:12/w@h/x", "://…"),
        ("url='http://h/x'", "url='http://h…"),
        ("x password=secret token=t&a=1", "x password=… token=…&a=1"),
        ("GET /live/alice/hunter2/1.ts", "GET /live/…/…/1.ts"),
        ("http://пример.рф/секрет", "http://пример.рф…"),
        ("nothing: here", "nothing: here"),
    ],
)
def test_of_urls_a_log_shows_the_host_at_most(text: str, shown: str) -> None:
    assert urls.redact(text).removeprefix("http") == shown.removeprefix("http")


@given(ACCOUNT_WORDS, ACCOUNT_WORDS, st.text(ALPHANUMERIC + " :'\"(,"))
def test_no_credential_of_a_url_survives_redaction(user: str, password: str, around: str) -> None:
    for url in (
        f"http://{user}:{password}@h/x",
        f"http://{user}:{password}/@h/x",
        f"https://h:8080/live/{user}/{password}/1.ts",
        f"udp://h/{user}/{password}/1",
        f"http://h/get.php?username={user}&password={password}",
        f"/live/{user}/{password}/1.ts",
        f"/get.php?username={user}&password={password}",
    ):
        shown = urls.redact(f"{around} {url} {around}")
        assert user not in shown.replace(around, "")
        assert password not in shown.replace(around, "")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://h/a.m3u8", "http://h/a.m3u8"),
        ("hls://h/a.m3u8", "http://h/a.m3u8"),
        ("hls://https://h/a.m3u8", "https://h/a.m3u8"),
        ("hlsvariant://http://h/a.m3u8 name=best start_offset=30", "http://h/a.m3u8"),
        ("HTTPSTREAM://h:8080/a.ts?u=http://x", "http://h:8080/a.ts?u=http://x"),
        ("hls://file:///etc/passwd", "file:///etc/passwd"),
        ("http://h/a b.ts  key=value", "http://h/a b.ts"),
        ("http://h/a?b= c", "http://h/a?b= c"),
        ("", ""),
    ],
)
def test_prefixes_and_parameters_of_streamlink_are_cut_off(address: str, url: str) -> None:
    assert urls.plain(address) == url


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://u:p@Host.Example:80/x", "host.example"),
        ("http://[2001:DB8::1]:80/x", "[2001:db8::1]"),
        ("http://h", "h"),
        ("/x", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_url_has_no_port_and_no_credentials(url: str, name: str) -> None:
    assert urls.host(url) == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/live/alice/hunter2/123.ts", "123"),
        ("http://h/x/BBC%20One.m3u8?token=t", "BBC One"),
        ("http://u:secret@h/x/secret", ""),
        ("http://h/p/0123456789abcdef0123456789abcdef.ts", ""),
        ("http://h/", ""),
        ("http://h", ""),
        ("http://h/a%00b", ""),
    ],
)
def test_a_url_is_named_by_its_last_segment_unless_that_is_a_secret(url: str, name: str) -> None:
    assert urls.last_segment(url) == name


@given(ANY_TEXT)
def test_every_text_can_be_looked_at_as_a_url(text: str) -> None:
    for look in (
        urls.identity,
        urls.secrets_of,
        urls.redact,
        urls.plain,
        urls.host,
        urls.last_segment,
        urls.is_http,
        urls.carries_credentials,
        urls.header_pairs,
    ):
        look(text)


@pytest.mark.parametrize(
    "piece", ["|", "|a-b=", "a", "/", "://", "//", "@", "=", "&a=", "%", " ", "x=", "/live/", "/timeshift/a", "[", "."]
)
def test_a_very_long_text_is_looked_at_in_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))

    for url in (text, f"http://h/{text}", f"http://{text}"):
        urls.split_options(url)
        urls.join("http://h/a/b", url)
        urls.identity(url)
        urls.secrets_of(url)
        urls.carries_credentials(url)
        urls.redact(url)
        urls.plain(url)
        urls.last_segment(url)
        urls.is_http(url)


@pytest.mark.parametrize(
    "url", ["https://h.example/x?token=1", "http://u:p@h:80/live/u/p/1.ts", "http://h", "http://[::1]/x"]
)
def test_what_was_masked_once_stays_as_it_is(url: str) -> None:
    masked = urls.redact(f"{url} and {url}")

    assert urls.redact(masked) == masked
