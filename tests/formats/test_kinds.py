"""What kind of stream something is."""

import pytest

from streamproxy.formats.kinds import kind_of_bytes, kind_of_url
from streamproxy.model import StreamKind
from tests.helpers.stream import packets

LIVE, HLS, FILE, PAGE = StreamKind


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://h/live/u/p/1.ts", LIVE),
        ("http://h/live/u/p/1.ts?token=a.mp4", LIVE),
        ("http://h/u/p/1", None),
        ("http://h/play.php?id=1", None),
        ("http://h/x.m3u8", HLS),
        ("http://h/X.M3U8?a=b", HLS),
        ("http://h/movie/u/p/1.mkv", FILE),
        ("http://h/a.mp4#t=1", FILE),
        ("http://h/series/u/p/1.ts", FILE),
        ("http://h", None),
        ("http://h.mp4", None),
    ],
)
def test_an_address_tells_the_kind_where_it_shows(url: str, kind: StreamKind | None) -> None:
    assert kind_of_url(url) is kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xef\xbb\xbf#EXTM3U\n", HLS),
        (b"\0\0\0\x20ftypisom", FILE),
        (b"\x1aE\xdf\xa3", FILE),
        (b"<html>", PAGE),
        (b"\r\n <!DOCTYPE html>\n<html lang=en>", PAGE),
        (b"\xef\xbb\xbf<!doctype HTML PUBLIC", PAGE),
        (b"<?xml version='1.0' encoding='UTF-8'?>\n<!DOCTYPE html PUBLIC '-", PAGE),
        (b"<!-- account expired --><b>", PAGE),
        (b"<HEAD\n", PAGE),
        (b"<body", PAGE),
        (b"<header>", None),
        (b"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'>", None),
        (b"<?xml version='1.0'?><!-- by a packager --><MPD>", None),
        (b"<?xml version='1.0'?><error/>", None),
        (b"an <html>", None),
        (b"{}", None),
        (packets(0, 1), None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_what_is_no_transport_stream(head: bytes, kind: StreamKind | None) -> None:
    assert kind_of_bytes(head) is kind
