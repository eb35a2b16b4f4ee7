"""Real lists, and lists made to be awkward: those of the corpus that lies next to the checkout, where there is one."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from streamproxy.formats import m3u

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus"
LISTS = sorted(
    path for folder in ("synthetic", "jamesnetherton-m3u", "threadfin") for path in CORPUS.glob(f"{folder}/*.m3u")
)
EVERYTHING = sorted(path for path in CORPUS.glob("*/*") if path.suffix in {".m3u", ".m3u8"})

pytestmark = pytest.mark.skipif(not LISTS, reason="the corpus of lists does not lie next to this checkout")


def read(name: str, base: str = "", fallback: str = "cp1252") -> m3u.Playlist:
    return m3u.parse(m3u.decode((CORPUS / name).read_bytes(), fallback).text, base)


def titles(playlist: m3u.Playlist) -> list[str]:
    return [entry.title for entry in playlist.entries]


def addresses(playlist: m3u.Playlist) -> list[str]:
    return [entry.url for entry in playlist.entries]


def test_there_are_lists_in_the_corpus() -> None:
    assert len(LISTS) >= 18
    assert len(EVERYTHING) >= 200


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_survives_the_identity_byte_for_byte(path: Path) -> None:
    body = path.read_bytes()

    decoded = m3u.decode(body)
    playlist = m3u.parse(decoded.text, "http://h/list.m3u")
    rendered = m3u.render(playlist, lambda url: url)

    assert rendered == decoded.text
    assert decoded.encode() == body


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_every_list_can_be_shown_to_viewers_and_read_again(path: Path) -> None:
    playlist = read(f"{path.parent.name}/{path.name}", "http://h/list.m3u")
    viewer = m3u.ViewerRendering()

    shown = viewer.header([playlist]) + "".join(
        f"{viewer.lines(entry)}http://p/{entry.start}\n" for entry in playlist.entries
    )

    again = m3u.parse(shown)
    for shown_entry, entry in zip(again.entries, playlist.entries, strict=True):
        assert shown_entry.extinf == (entry.extinf if "#EXTINF" in entry.own else (-1.0, {}, entry.title))
    assert [entry.group for entry in again.entries] == [entry.group for entry in playlist.entries]
    assert again.skipped == {}


@pytest.mark.parametrize(
    ("name", "fallback", "titled", "skipped"),
    [
        ("synthetic/bom_crlf.m3u", "cp1252", ["A"], {}),
        ("synthetic/cp1251.m3u", "cp1251", ["Первый канал"], {}),
        ("synthetic/cr_only.m3u", "cp1252", ["A"], {}),
        ("synthetic/latin1.m3u", "cp1252", ["Télé Fé"], {}),
        ("synthetic/no_header.m3u", "cp1252", ["A"], {}),
        ("synthetic/nul_longline.m3u", "cp1252", ["L\0ogo"], {}),
        ("synthetic/utf16le.m3u", "cp1252", ["A"], {}),
        ("synthetic/options.m3u", "cp1252", ["R", "EXTGRP still applies"], {}),
        ("synthetic/quotes_commas.m3u", "cp1252", ["and = signs", "T2", "T3", "4", "here", "spaced comma"], {}),
        ("synthetic/separators_dups.m3u", "cp1252", ["### NEWS ###", "B", "2", "A"], {"not a URL": 1}),
        (
            "synthetic/schemes.m3u",
            "cp1252",
            ["yt", "twitch", "hash", "ipv6", "userinfo", "space", "idn"],
            {"scheme": 8, "relative": 1},
        ),
        ("jamesnetherton-m3u/playlist.m3u", "cp1252", [], {"relative": 5}),
        ("jamesnetherton-m3u/playlist_missing_inf.m3u", "cp1252", [], {"not a URL": 1}),
        ("jamesnetherton-m3u/playlist_with_separators.m3u", "cp1252", ["Example 1", "Example 2"], {"not a URL": 1}),
        (
            "threadfin/test_list_1.m3u",
            "cp1252",
            ["Channel 1", "Channel 2", "Sample artist - Sample title", "Example Artist - Example title"],
            {},
        ),
    ],
)
def test_lists_hold_the_channels_that_kodi_would_show(
    name: str, fallback: str, titled: list[str], skipped: Mapping[str, int]
) -> None:
    playlist = read(name, fallback=fallback)

    assert titles(playlist) == titled
    assert playlist.skipped == skipped
    assert not playlist.is_hls


def test_relative_lines_are_resolved_against_the_address_of_the_list() -> None:
    playlist = read("jamesnetherton-m3u/playlist.m3u", "https://u:p@h/a/list.m3u?x=1")

    assert addresses(playlist) == [f"https://u:p@h/a/Track{number}.mp4" for number in range(1, 6)]
    assert [entry.duration for entry in playlist.entries] == [1, 2, 3, 4, 5]
    assert {entry.group for entry in playlist.entries} == {"Album1"}


def test_a_multivariant_playlist_is_recognised() -> None:
    assert read("jamesnetherton-m3u/playlist_stream_info.m3u").is_hls


def test_media_playlists_are_recognised() -> None:
    bodies = [path.read_bytes() for path in EVERYTHING if path.suffix == ".m3u8"]
    media = [body for body in bodies if b"\n#EXT-X-TARGETDURATION:" in body and b"#EXTINF:-1" not in body]

    assert len(media) > 100
    assert all(m3u.parse(m3u.decode(body).text).is_hls for body in media)


def test_options_become_headers_that_viewers_do_not_see() -> None:
    playlist = read("synthetic/options.m3u")
    first, second = playlist.entries

    assert first.headers == {"User-Agent": "UA 1", "Referer": "http://r/", "cookie": "a=b; c=d"}
    assert (first.url, first.group, second.group) == ("http://h/1.mpd", "Group A", "Group A")
    assert first.attributes == {
        "tvg-chno": "10.1",
        "radio": "true",
        "catchup": "xc",
        "catchup-days": "7",
        "timeshift": "3",
        "tvg-rec": "7",
    }
    viewer = m3u.ViewerRendering()
    assert viewer.header([playlist]) == (
        '#EXTM3U url-tvg="http://e/1.xml,http://e/2.xml.gz" catchup="append" catchup-source="?utc={utc}&lutc={lutc}"'
        ' tvg-shift="+1.5" refresh="3600" max-conn="2"\n'
    )
    assert viewer.lines(first).splitlines() == [
        "#EXTGRP:Group A",
        '#EXTINF:-1 tvg-chno="10.1" radio="true" catchup="xc" catchup-days="7" timeshift="3" tvg-rec="7",R',
        "#EXTVLCOPT--http-reconnect=true",
        "#KODIPROP:inputstream=inputstream.adaptive",
        "#KODIPROP:inputstream.adaptive.license_type=clearkey",
        "#KODIPROP:inputstream.adaptive.license_key=00112233445566778899aabbccddeeff:ffeeddccbbaa99887766554433221100",
    ]
    assert viewer.lines(second) == '#EXTINF:-1 provider="P" media="true",EXTGRP still applies\n'
    assert not viewer.withheld


def test_quotes_of_every_kind_are_read() -> None:
    assert [dict(entry.attributes) for entry in read("synthetic/quotes_commas.m3u").entries] == [
        {"tvg-name": "A, 'B'", "group-title": "News; UK, HD"},
        {"tvg-name": "bad ", "tvg-id": "unquoted", "group-title": "single"},
        {"tvg-name": "unterminated"},
        {"tvg-logo": ""},
        {},
        {"tvg-id": "x"},
    ]
