import gc
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamproxy.formats import m3u, urls
from streamproxy.formats.m3u import Entry, ViewerRendering, decode, parse, render

BASE = "http://h/dir/list.m3u"
ANY_TEXT = st.text(st.characters())  # lone surrogates included
FRAGMENTS = st.sampled_from(
    [
        "#EXTM3U",
        "#EXTINF:",
        "#EXTINF:-1 ",
        "#extinf:0,",
        "#EXTGRP:",
        "#EXTVLCOPT:",
        "#EXTVLCOPT--",
        "#KODIPROP:",
        "#EXTHTTP:",
        '{"Cookie":"a"}',
        "http-user-agent=",
        "inputstream.adaptive.stream_headers=A-b=",
        "#EXT-X-TARGETDURATION:6",
        "#EXT-X-STREAM-INF:",
        'tvg-id="',
        "x-tvg-url=",
        "catchup-source=http://h/",
        " group-title='",
        '"',
        "'",
        ",",
        "=",
        "|",
        "|User-Agent=",
        "&Referer=%0d",
        "http://h/1.ts",
        "HTTPS://u:pass@h/live/user/pass/1",
        "http://",
        "file:///etc/passwd",
        "pipe:1",
        "//",
        "/a/../b.ts",
        "-----",
        "<html>",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        " ",
        "\t",
        "\ufeff",
        "\xa0",
        "\0",
        "\u2028",
        "\x85",
        "\x0b",
        "é",
        "\U0001f600",
    ]
)
ANY_LIST = ANY_TEXT | st.lists(FRAGMENTS | ANY_TEXT.map(lambda text: text[:3]), max_size=40).map("".join)
SECRET_WORDS = st.text("QXZqxz0123456789", min_size=8, max_size=24)


def only(text: str, base: str = "") -> Entry:
    (entry,) = parse(text, base).entries
    return entry


def titled(extinf: str) -> Entry:
    return only(f"{extinf}\nhttp://h/1.ts\n")


def unchanged(url: str) -> str:
    return url


def shown(text: str, *secrets: str) -> str:
    viewer = ViewerRendering(secrets)
    return "".join(f"{viewer.lines(entry)}URL\n" for entry in parse(text, BASE).entries)


class TestDecoding:
    @pytest.mark.parametrize(
        ("body", "text", "encoding"),
        [
            (b"", "", "utf-8"),
            ("é".encode(), "é", "utf-8"),
            (b"\xef\xbb\xbf#EXTM3U", "\ufeff#EXTM3U", "utf-8"),
            (b"\xff\xfea\0\xe9\0", "\ufeffaé", "utf-16-le"),
            (b"\xfe\xff\0a\0\xe9", "\ufeffaé", "utf-16-be"),
            (b"T\xe9l\xe9", "Télé", "cp1252"),
            (b"\x81\xe9", "\x81é", "latin-1"),
            (b"\xff\xfea", "ÿþa", "cp1252"),
        ],
    )
    def test_the_first_encoding_that_fits_is_taken(self, body: bytes, text: str, encoding: str) -> None:
        decoded = decode(body)

        assert (decoded.text, decoded.encoding) == (text, encoding)
        assert decoded.encode() == body

    def test_the_fallback_may_be_chosen(self) -> None:
        assert decode("Канал".encode("cp1251"), "cp1251").text == "Канал"

    def test_a_fallback_that_does_not_give_the_same_bytes_back_is_not_taken(self) -> None:
        body = b"\xfaT"
        assert body.decode("cp932").encode("cp932") == b"\x81\xca"

        assert decode(body, "cp932").encode() == body

    def test_an_unknown_fallback_is_an_error(self) -> None:
        with pytest.raises(LookupError):
            decode(b"\xe9", "no-such-codec")

    def test_a_title_cut_within_a_character_garbles_no_other(self) -> None:
        body = "Первый\nВторой".encode() + b"\xd0\nA"

        decoded = decode(body)

        assert decoded.text == "Первый\nВторой\uf7d0\nA"
        assert decoded.text.encode()
        assert decoded.encode() == body

    @given(
        st.binary() | ANY_LIST.map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.sampled_from(["cp1252", "cp1251"]),
    )
    @example(("é" * 9).encode() + b"\xff\xef\x9f\xbf", "cp1252")
    def test_any_bytes_come_back_as_they_were(self, body: bytes, fallback: str) -> None:
        decoded = decode(body, fallback)

        assert decoded.encode() == body
        assert decoded.text.encode("utf-8", "strict") is not None

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1251"])
    def test_a_character_may_lie_across_two_pieces(self, encoding: str) -> None:
        text = "a" + "Ж" * 200_000
        body = text.encode(encoding)

        decoded = decode(body, "cp1251")

        assert decoded.text.lstrip("\ufeff") == text
        assert decoded.encode() == body


class TestReading:
    @given(ANY_LIST)
    @example(" \r")
    @example("#EXTINF:0,\na.ts|\n")
    def test_the_identity_gives_any_text_back(self, text: str) -> None:
        for base in ("", BASE):
            assert render(parse(text, base), unchanged) == text

    @given(ANY_LIST)
    def test_everything_can_be_asked_of_any_entry(self, text: str) -> None:
        playlist = parse(text, BASE)

        for entry in playlist.entries:
            assert urls.is_http(entry.url)
            assert entry.title
            assert isinstance(entry.attributes, dict)
            assert isinstance(entry.duration, float)
            assert isinstance(entry.group + entry.tvg_id, str)
            assert all(urls.is_header(name, value) for name, value in entry.headers.items())
        assert all(count > 0 for count in playlist.skipped.values())

    @given(ANY_LIST)
    def test_a_mapping_changes_the_urls_and_nothing_else(self, text: str) -> None:
        playlist = parse(text, BASE)

        rendered = render(playlist, lambda url: f"http://p/{url.encode('utf-8', 'surrogatepass').hex()}")

        again = parse(rendered, BASE)
        assert [entry.before for entry in again.entries] == [entry.before for entry in playlist.entries]
        assert [entry.headers for entry in again.entries] == [entry.headers for entry in playlist.entries]
        assert [bytes.fromhex(entry.url[9:]).decode("utf-8", "surrogatepass") for entry in again.entries] == [
            entry.reference for entry in playlist.entries
        ]

    def test_only_line_feeds_and_carriage_returns_end_a_line(self) -> None:
        title = "a\u2028b\x85c\x0bd\x0ce\x1cf"

        assert titled(f"#EXTINF:-1,{title}").title == title

    @pytest.mark.parametrize(("end", "more"), [("\n", ""), ("\r", ""), ("\r\n", ""), ("\n", "\n"), ("\r\n", "\r\n")])
    def test_all_line_ends_are_known(self, end: str, more: str) -> None:
        text = (end + more).join(["\ufeff#EXTM3U a=1", "#EXTINF:-1,A", "http://h/1", "#EXTINF:-1,B", "http://h/2", ""])

        playlist = parse(text)

        assert [(entry.title, entry.url) for entry in playlist.entries] == [("A", "http://h/1"), ("B", "http://h/2")]
        assert playlist.header == {"a": "1"}
        assert playlist.entries[0].line == f"http://h/1{end}"

    def test_blanks_around_lines_do_not_count(self) -> None:
        entry = only("\ufeff \t#EXTINF:-1 tvg-id=x , A \t\n \xa0 http://h/1.ts\t \n")

        assert (entry.title, entry.tvg_id, entry.url) == ("A", "x", "http://h/1.ts")

    @pytest.mark.parametrize(
        "line",
        [
            "-----",
            "===",
            "---UHD | 4K Channels",
            "Some prose. With a dot",
            "Word",
            "Note: prose",
            "<a href='http://h/1.ts'>",
            "a<b>.ts",
            "C:\\videos\\1.ts",
            "http://",
            "http:///1.ts",
            "http://h:99999/1.ts",
            "http:1.ts",
            "...",
            "///",
            "//",
            "//:1/x.ts",
        ],
    )
    def test_text_that_is_no_url_is_no_channel_but_is_kept(self, line: str) -> None:
        text = f"#EXTM3U\n#EXTINF:-1,A\n{line}\n"

        playlist = parse(text, BASE)

        assert playlist.entries == ()
        assert playlist.skipped == {m3u.NOT_A_URL: 1}
        assert render(playlist, unchanged) == text

    @pytest.mark.parametrize(
        "line",
        [
            "udp://@239.0.0.1:1234",
            "rtp://239.0.0.1:1234",
            "rtsp://u:p@h:554/x",
            "rtmp://h/app playpath=x live=1",
            "mmsh://h/x",
            "plugin://plugin.video/?x=1",
            "pipe:///usr/bin/ffmpeg -i x pipe:1",
            "pipe:1",
            "file:///etc/passwd",
            "FILE:/etc/passwd",
            "concat:a.ts|b.ts",
            "data:text/html,x",
            "javascript:alert(1)",
        ],
    )
    def test_other_schemes_are_no_channels(self, line: str) -> None:
        playlist = parse(f"#EXTINF:-1,A\n{line}\n", BASE)

        assert playlist.entries == ()
        assert playlist.skipped == {m3u.UNUSABLE_SCHEME: 1}

    @pytest.mark.parametrize(
        ("line", "url"),
        [
            ("sub/1.ts", "http://h/dir/sub/1.ts"),
            ("/1.ts?x=%2b", "http://h/1.ts?x=%2b"),
            ("../a", "http://h/a"),
            ("?ch=1", "http://h/dir/list.m3u?ch=1"),
            ("//other:80/1", "http://other:80/1"),
            ("a.ts|User-Agent=x", "http://h/dir/a.ts"),
        ],
    )
    def test_a_relative_path_after_an_extinf_is_a_channel_of_a_list_with_an_address(self, line: str, url: str) -> None:
        assert only(f"#EXTINF:-1,A\n{line}\n", BASE).url == url
        for base in ("", "/var/lib/list.m3u", "file:///list.m3u"):
            assert parse(f"#EXTINF:-1,A\n{line}\n", base).skipped == {m3u.NO_BASE: 1}

    def test_a_relative_path_without_an_extinf_is_no_channel(self) -> None:
        assert parse("#EXTINF:-1,A\nhttp://h/1\nsub/1.ts\n", BASE).skipped == {m3u.NOT_A_URL: 1}

    def test_a_page_instead_of_a_list_holds_no_channels(self) -> None:
        playlist = parse("\n<!DOCTYPE html>\n<p>Pay here:\nhttp://h/pay\n</p>\n")

        assert (playlist.entries, playlist.skipped) == ((), {m3u.NOT_A_URL: 4})

    def test_a_url_alone_is_a_channel_named_by_its_path(self) -> None:
        assert only("http://u:pw@h/live/alice/hunter2/42.ts").title == "42"
        assert only("http://u:pw@h/").title == m3u.UNNAMED

    def test_a_second_extinf_replaces_the_first(self) -> None:
        entry = only('#EXTINF:1 tvg-id="a" x="1",A\n#EXTINF:2 tvg-id="b",B\nhttp://h/1\n')

        assert (entry.title, entry.tvg_id, entry.duration, dict(entry.attributes)) == ("B", "b", 2.0, {"tvg-id": "b"})

    def test_a_line_of_prose_does_not_part_a_channel_from_its_title(self) -> None:
        assert only("#EXTINF:-1,A\nwrapped title\nhttp://h/1\n").title == "A"

    def test_what_belongs_to_an_unusable_url_does_not_reach_the_next_channel(self) -> None:
        entry = only("#EXTINF:-1 x=1,A\n#EXTVLCOPT:http-user-agent=a\nudp://@1.2.3.4:5\nhttp://h/1.ts\n")

        assert (entry.title, entry.attributes, entry.headers) == ("1", {}, {})

    def test_an_extgrp_stays_in_force_until_the_next(self) -> None:
        playlist = parse(
            "#EXTINF:-1,A\nhttp://h/1\n#EXTINF:-1,B\n#EXTGRP: G1 \nhttp://h/2\n"
            '#EXTINF:-1 group-title="T",C\nhttp://h/3\n#EXTINF:-1 group-title="",D\nhttp://h/4\n'
            "#EXTGRP:G2\n#EXTINF:-1,E\nudp://x\n#EXTINF:-1,F\nhttp://h/5\n#EXTGRP:\nhttp://h/6\n"
        )

        assert [entry.group for entry in playlist.entries] == ["", "G1", "T", "G1", "G2", ""]

    @pytest.mark.parametrize(
        ("line", "title"),
        [
            ('#EXTINF:-1 a="b",Title, more', "Title, more"),
            ('#EXTINF:-1 a="b, c",T', "T"),
            ('#EXTINF:-1 a="b, c"', "1"),
            ('#EXTINF:-1 a="b" c=d,T', "T"),
            ('#EXTINF:-1,He said "hi"', 'He said "hi"'),
            ("#EXTINF:-1,a,b", "b"),
            ("#EXTINF:-1", "1"),
            ("#EXTINF", "1"),
            ('#EXTINF:-1 tvg-name=" N ",', "N"),
            ("#extinf:-1,lower", "lower"),
            ("#EXTINF:-1,", "1"),
        ],
    )
    def test_the_title_follows_the_comma_behind_the_last_quote_or_else_the_last_comma(
        self, line: str, title: str
    ) -> None:
        assert titled(line).title == title

    def test_attributes_are_kept_in_order_however_they_are_quoted(self) -> None:
        entry = titled('#EXTINF:-1 b="1"a=\'2 "x"\' c=3 é="4" b="5" TVG-ID="6" d=,T')

        assert list(entry.attributes.items()) == [
            ("b", "1"),
            ("a", '2 "x"'),
            ("c", "3"),
            ("é", "4"),
            ("TVG-ID", "6"),
            ("d", ""),
        ]
        assert entry.tvg_id == "6"

    @pytest.mark.parametrize(
        ("line", "duration"),
        [
            ("-1", -1),
            ("0 a=b", 0),
            ("12.5", 12.5),
            (" 7", 7),
            ("x", -1),
            ("", -1),
            ("1e5", 1),
            ("٣", -1),
            ("9" * 5000, 999_999_999),
        ],
    )
    def test_the_duration_is_a_number_or_endless(self, line: str, duration: float) -> None:
        assert titled(f"#EXTINF:{line},T").duration == duration

    def test_headers_are_read_wherever_a_list_may_give_them(self) -> None:
        assert only(
            "#EXTINF:-1,A\n"
            "#EXTVLCOPT:http-user-agent=VLC/3 (a; b)\n"
            "#EXTVLCOPT--http-referrer=http://r/?a=b=c\n"
            "#KODIPROP:http-origin=http://o\n"
            '#EXTHTTP:{"cookie":"a=b; c=d","X-A":1,"Host":"evil"}\n'
            "#KODIPROP:inputstream.adaptive.common_headers=X-B=1%2F2&X-C=3\n"
            "http://h/1|x-b=4\n"
        ).headers == {
            "User-Agent": "VLC/3 (a; b)",
            "Referer": "http://r/?a=b=c",
            "Origin": "http://o",
            "cookie": "a=b; c=d",
            "x-b": "4",
            "X-C": "3",
        }

    @pytest.mark.parametrize(
        "line",
        [
            "#EXTVLCOPT:http-user-agent=",
            "#EXTVLCOPT:http-user-agent=a\x00b",
            "#EXTVLCOPT:program=5",
            "#EXTVLCOPT:",
            "#EXTHTTP:",
            "#EXTHTTP:[]",
            "#EXTHTTP:" + "[" * 60_000,
            "#EXTHTTP:" + '{"a":"b"' + " " * 70_000 + "}",
            '#EXTHTTP:{"Cookie":"a\\r\\nHost: evil"}',
            "#KODIPROP:inputstream.adaptive.stream_headers=Connection=close&=x&y&Content-Length=5&X-A=%0d%0aB: c",
            "#KODIPROP:inputstream.adaptive.license_key=X-A=b",
        ],
    )
    def test_what_is_no_header_or_a_harmful_one_is_not_sent(self, line: str) -> None:
        assert only(f"{line}\nhttp://h/1\n").headers == {}

    @pytest.mark.parametrize(
        ("text", "is_hls"),
        [
            ("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6.0,\nhttp://h/1.ts\n", True),
            ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://h/1.m3u8\n", True),
            ("#EXTM3U\n#EXT-X-SESSION-DATA:DATA-ID=x\n#EXTINF:-1,A\nhttp://h/1.m3u8\n", False),
            ("#EXTM3U\n#EXTINF:0,A\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://h/1.m3u8\n", False),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:-1,A\nhttp://h/1.m3u8\n", False),
            ("#EXTINF:5,#EXT-X-TARGETDURATION:6\nhttp://h/1.m3u8\n", False),
            ("", False),
        ],
    )
    def test_an_hls_playlist_is_told_from_a_list_of_channels(self, text: str, is_hls: bool) -> None:
        assert parse(text).is_hls is is_hls

    def test_the_header_unites_the_addresses_of_guides_and_keeps_the_first_of_all_else(self) -> None:
        playlist = parse('#EXTM3U X-tvg-url=\'a,b\' m="1" n\nhttp://h/1\n#EXTM3U x-tvg-url="b,c" m=2 o=3\n')

        assert list(playlist.header.items()) == [("X-tvg-url", "a,b,c"), ("m", "1"), ("o", "3")]

    def test_nothing_secret_is_in_a_repr(self) -> None:
        playlist = parse(
            "#EXTM3U x-tvg-url=secret\n#EXTGRP:secret\n#EXTINF:-1,secret\nhttp://u:secret@h/\n#secret", "http://secret/"
        )

        assert "secret" not in repr(playlist) + repr(playlist.entries) + repr(decode(b"secret"))

    def test_an_entry_costs_one_object_to_the_garbage_collector(self) -> None:
        text = "".join(f'#EXTGRP:G\n#EXTINF:-1 a="{number}",T\nhttp://h/{number}\n' for number in range(1000))
        gc.collect()
        gc.disable()
        try:
            before = len(gc.get_objects())
            playlist = parse(text)
            after = len(gc.get_objects())
        finally:
            gc.enable()

        assert len(playlist.entries) == 1000
        assert after - before < 1100

    @pytest.mark.parametrize(
        "piece", ['"', "'", ",", " ", "a", "=", 'a="', "a='", "a=", "|", "\r", "\0", "#", "<", "%", "{", "://", "é"]
    )
    def test_very_long_lines_are_read_in_linear_time(self, piece: str) -> None:
        junk = piece * (200_000 // len(piece))

        for text in (
            junk,
            f"#EXTM3U {junk}\nhttp://h/1",
            f"#EXTINF:{junk}\nhttp://h/1",
            f"#EXTINF:-1 {junk},T\nhttp://h/1?password=abcdef",
            f"#EXTINF:-1,T\nhttp://h/{junk}",
            f"#EXTINF:-1,T\n{junk}",
            f"#EXTVLCOPT:{junk}\n#EXTHTTP:{junk}\n#KODIPROP:{junk}\n#{junk}\nhttp://h/1",
        ):
            playlist = parse(text, BASE)
            assert render(playlist, unchanged) == text
            viewer = ViewerRendering(["secret"])
            viewer.header([playlist])
            for entry in playlist.entries:
                viewer.lines(entry)
                assert entry.headers is not None

    def test_very_many_lines_of_one_kind_are_read_in_linear_time(self) -> None:
        for line in (
            "#EXTM3U x-tvg-url=http://e/{}\n",
            "#EXTINF:-1,{}\n",
            "<p>{}\n",
            "\n",
            "udp://{}\n",
            "#EXTGRP:{}\n",
            " \r",
        ):
            text = "".join(line.format(number) for number in range(50_000))
            playlist = parse(text + "http://h/1\n")
            assert sum(len(ViewerRendering().lines(entry)) for entry in playlist.entries) >= 0
            assert ViewerRendering().header([playlist]).startswith("#EXTM3U")


class TestWhatViewersSee:
    def test_lines_are_kept_in_order_and_http_options_are_not(self) -> None:
        assert shown(
            "#EXTM3U x=1\r\n# comment \r\n\r\n#EXTM3U\r\n---\r\n"
            '#EXTINF:-1 tvg-id="a"  b=c,T, \u2028\r\n'
            "#EXTVLCOPT:http-user-agent=UA\r\n#EXTVLCOPT:http-Referer=R\r\n#EXTVLCOPT:network-caching=1\r\n"
            '#EXTHTTP:{"a":"b"}\r\n#EXTHTTP:broken\r\n'
            "#KODIPROP:inputstream.adaptive.stream_headers=a=b\r\n#KODIPROP:a=b\r\n"
            "#EXTGRP:G\r\n#UNKNOWN:x\r\nhttp://h/1.ts|Referer=x\r\n"
        ).split("\n") == [
            "# comment",
            '#EXTINF:-1 tvg-id="a"  b=c,T, \u2028',
            "#EXTVLCOPT:network-caching=1",
            "#KODIPROP:a=b",
            "#EXTGRP:G",
            "#UNKNOWN:x",
            "URL",
            "",
        ]

    def test_an_entry_has_one_extinf(self) -> None:
        assert shown("#EXTINF:-1,A\n#x\n#EXTINF:-1,B\n#y\nhttp://h/1\n") == "#x\n#EXTINF:-1,B\n#y\nURL\n"
        assert shown("#x\nhttp://h/BBC%20One.ts\n") == "#x\n#EXTINF:-1,BBC One\nURL\n"

    def test_a_group_set_before_a_channel_that_is_not_shown_is_told_again(self) -> None:
        text = "#EXTGRP:G\n#EXTINF:-1,A\nudp://x\n#EXTINF:-1,B\nhttp://h/1\n#EXTINF:-1,C\nhttp://h/2\n"

        assert shown(text) == "#EXTGRP:G\n#EXTINF:-1,B\nURL\n#EXTINF:-1,C\nURL\n"

    def test_a_group_ends_with_its_list(self) -> None:
        viewer = ViewerRendering()

        viewer.lines(only("#EXTGRP:G\n#EXTINF:-1,A\nhttp://h/1\n"))

        assert viewer.lines(only("#EXTINF:-1,B\nhttp://h/2\n")) == "#EXTGRP:\n#EXTINF:-1,B\n"

    @pytest.mark.parametrize(
        "attribute",
        [
            'a="http://u:p@h/x.png"',
            'a="http://h/x?username=u"',
            "a=http://h/x?v=1&Token=u",
            'a="alice-99"',
            'a="http://h/alice-99/x.png"',
            "a='known-secret'",
            'token="x"',
            'catchup-source="http://H:81/x?utc={utc}"',
            'a="http://h:80/live/alice-99/pw/1.ts"',
            'a="x%3Fpassword%3Dy"',
        ],
    )
    def test_an_attribute_that_gives_an_account_away_is_withheld(self, attribute: str) -> None:
        viewer = ViewerRendering(["known-secret"])

        lines = viewer.lines(
            only(
                f'#EXTINF:-1 tvg-id="i" {attribute} tvg-logo="http://l/x.png?w=1",T, t\nhttp://h:80/live/alice-99/pw/1.ts'
            )
        )

        assert lines == '#EXTINF:-1 tvg-id="i" tvg-logo="http://l/x.png?w=1",T, t\n'
        assert viewer.withheld == {"attributes": 1}

    @pytest.mark.parametrize(
        "attribute",
        [
            'catchup-source="http://other/x?utc={utc}"',
            'catchup-source="?utc={utc}"',
            'tvg-logo="http://h/x.png"',
            'key-id="x"',
        ],
    )
    def test_an_attribute_that_gives_nothing_away_stays(self, attribute: str) -> None:
        viewer = ViewerRendering(["known-secret"])
        line = f"#EXTINF:-1  {attribute} b='c' ,T"

        assert viewer.lines(only(f"{line}\nhttp://h/live/alice-99/pw/1.ts")) == f"{line}\n"
        assert not viewer.withheld

    @pytest.mark.parametrize(
        "line",
        [
            "# account alice-99",
            "#KODIPROP:inputstream.adaptive.license_key=http://l/?token=t",
            "#EXTVLCOPT:sout=http://u:p@h/",
            "#known-secret",
            "#EXTGRP:known-secret",
            "#EXTX:password=x",
            "#see http://h/live/alice-99/pw/1.ts",
        ],
    )
    def test_a_line_that_gives_an_account_away_is_withheld(self, line: str) -> None:
        viewer = ViewerRendering(["known-secret"])

        assert viewer.lines(only(f"#EXTINF:-1,T\n{line}\nhttp://h/live/alice-99/pw/1.ts")).startswith("#EXTINF:-1,T\n")
        assert viewer.withheld["lines"] >= 1

    def test_the_secrets_of_very_many_accounts_are_found(self) -> None:
        viewer = ViewerRendering(f"password-{number}" for number in range(100_000))

        lines = viewer.lines(
            only('#EXTINF:-1 a="http://l/password-99/x.png" b="x",password-7\n#password-77777\nhttp://h/1')
        )

        assert lines == '#EXTINF:-1 b="x",1\n'
        assert viewer.withheld == {"attributes": 1, "lines": 1, "titles": 1}

    def test_an_empty_secret_is_none(self) -> None:
        assert ViewerRendering([""]).lines(only("#EXTINF:-1 a=b,T\nhttp://h/1")) == "#EXTINF:-1 a=b,T\n"

    def test_the_own_url_is_not_shown_even_without_an_account_in_it(self) -> None:
        assert shown('#EXTINF:-1 u="http://h/x/1.ts",T\n# http://h/x/1.ts\nhttp://h/x/1.ts') == "#EXTINF:-1,T\nURL\n"

    @pytest.mark.parametrize("title", ["User alice-99 until May", "known-secret", "http://u:p@h/", "x?password=y"])
    def test_a_title_that_gives_an_account_away_is_replaced(self, title: str) -> None:
        viewer = ViewerRendering(["known-secret"])
        entry = only(f'#EXTINF:-1 a="b",{title}\nhttp://h/live/alice-99/pw/1.ts')

        assert viewer.title(entry) == "1"
        assert viewer.lines(entry) == '#EXTINF:-1 a="b",1\n'
        assert viewer.withheld == {"titles": 1}

    def test_a_name_made_of_the_url_is_not_shown_when_it_is_a_secret_of_another(self) -> None:
        assert ViewerRendering(["known-secret"]).title(only("http://h/x/known-secret.ts")) == m3u.UNNAMED

    def test_a_short_user_name_does_not_spoil_titles(self) -> None:
        assert shown("#EXTINF:-1 a=b,Eurosport\nhttp://euro:spor@h/1\n") == "#EXTINF:-1 a=b,Eurosport\nURL\n"

    def test_what_stands_between_attributes_is_withheld_with_a_secret_in_it(self) -> None:
        assert shown('#EXTINF:-1 alice-99 a="b",T\nhttp://h/live/alice-99/pw/1.ts') == '#EXTINF:-1 a="b",T\nURL\n'
        assert shown('#EXTINF:12345678 a="b",T\nhttp://h/live/12345678/pw/1.ts') == '#EXTINF:-1 a="b",T\nURL\n'

    def test_headers_of_several_lists_are_merged(self) -> None:
        first = parse('#EXTM3U url-tvg="http://e/1,http://e/2?password=x" m="1" q=\'a "b"\'\n')
        second = parse(
            '#EXTM3U url-tvg="http://e/1,http://e/3" M="2" x-tvg-url="http://e/?token=x" s="known-secret" n="3"\n'
        )
        viewer = ViewerRendering(["known-secret"])

        assert viewer.header([first, second]) == '#EXTM3U url-tvg="http://e/1,http://e/3" m="1" q=\'a "b"\' n="3"\n'
        assert viewer.withheld == {"attributes": 3}
        assert viewer.header([]) == "#EXTM3U\n"

    def test_a_catchup_source_of_a_header_does_not_lead_around_us(self) -> None:
        header = '#EXTM3U catchup-source="http://h:8080/x?utc={utc}"\n'

        assert ViewerRendering().header([parse(f"{header}http://H/1.ts\n")]) == "#EXTM3U\n"
        assert ViewerRendering().header([parse(f"{header}http://other/1.ts\n")]) == header

    @given(ANY_LIST, st.lists(ANY_TEXT, max_size=3) | st.just([f"secret{number}" for number in range(70)]))
    def test_any_list_can_be_shown(self, text: str, secrets: list[str]) -> None:
        playlist = parse(text, BASE)
        viewer = ViewerRendering(secrets)

        text = viewer.header([playlist]) + "".join(f"{viewer.lines(entry)}http://p/1\n" for entry in playlist.entries)

        again = parse(text)
        assert len(again.entries) == len(playlist.entries)
        assert again.skipped == {}
        assert "\r" not in text
        assert "pass@" not in text
        extinfs = [line for line in text.split("\n") if line[:7].upper() == "#EXTINF"]
        assert len(extinfs) == len(playlist.entries)

    @given(
        user=SECRET_WORDS,
        password=SECRET_WORDS,
        where=st.sampled_from(
            [
                "http://h/live/{u}/{p}/1.ts",
                "http://h/{u}/{p}/1",
                "http://h/movie/{u}/{p}/1.mkv",
                "http://{u}:{p}@h/1.ts",
                "http://h/play.php?username={u}&password={p}&ch=1",
                "http://h/timeshift/{u}/{p}/60/2024-01-01:10-00/1.ts",
            ]
        ),
        around=st.lists(
            st.sampled_from(
                [
                    "#EXTINF:-1 a={u} b='{p}',T",
                    '#EXTINF:-1 tvg-logo="http://l/{u}.png" c="x{p}y",{u} {p}',
                    '#EXTINF:-1 {u} tvg-name="{p}, {u}',
                    "#EXTINF:{u},{p}",
                    "#EXTM3U x-tvg-url=http://h/xmltv.php?username={u}&password={p},http://{u}@h catchup-source={p}",
                    "#EXTGRP:{u}",
                    "#EXTVLCOPT:http-user-agent={u}",
                    "#EXTVLCOPT:x={u}",
                    '#EXTHTTP:{{"Authorization":"{p}"}}',
                    "#KODIPROP:x={p}",
                    "# {u}:{p}",
                    "{u} {p}",
                    "udp://{u}:{p}@h",
                ]
            )
            | st.text(string.printable, max_size=20).map(lambda text: text.replace("{", "").replace("}", "")),
            max_size=8,
        ),
        many=st.booleans(),
    )
    def test_no_secret_of_a_url_is_shown(
        self, user: str, password: str, where: str, around: list[str], many: bool
    ) -> None:
        url = where.format(u=user, p=password)
        lines = [line.format(u=user, p=password) for line in around]
        text = "\n".join(["#EXTM3U", *lines, url, *lines, url, ""])
        playlist = parse(text)
        secrets = urls.secrets_of(url) | ({f"other-{number}" for number in range(70)} if many else set())
        viewer = ViewerRendering(secrets)

        shown = viewer.header([playlist]) + "".join(
            viewer.lines(entry) + viewer.title(entry) for entry in playlist.entries
        )

        assert playlist.entries
        assert user not in shown
        assert password not in shown
