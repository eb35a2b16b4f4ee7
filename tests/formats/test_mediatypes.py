"""What kind of file something is."""

import pytest

from streamproxy.formats.mediatypes import BY_EXTENSION, extension, is_page, media_type


@pytest.mark.parametrize(
    ("said", "url", "kind"),
    [
        ("video/mp4", "http://x/film.mkv", "video/mp4"),
        ("Video/MP4; codecs=avc1", "http://x/film", "video/mp4"),
        ("audio/mpeg", "http://x/1", "audio/mpeg"),
        ("application/octet-stream", "http://x/film.mkv", "video/x-matroska"),
        ("text/plain", "http://x/film.MKV?token=a.b", "video/x-matroska"),
        ("text/html; charset=UTF-8", "http://x/film.avi#t", "video/x-msvideo"),
        ("", "http://x/film.ts", "video/mp2t"),
        ("video/mp4\r\nX: y", "http://x/film.webm", "video/webm"),
        ("video/", "http://x/film.webm", "video/webm"),
        ("", "http://x/film", "application/octet-stream"),
        ("multipart/byteranges; boundary=x", "http://x/film.mp4", "video/mp4"),
    ],
)
def test_the_server_is_believed_if_it_names_a_kind_of_media_and_else_the_name(said: str, url: str, kind: str) -> None:
    assert media_type(said, url) == kind


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://x/a.b/film.Mp4", "mp4"),
        ("http://x/a.mp4/film", ""),
        ("http://host.mp4", ""),
        ("http://host.mp4/", ""),
        ("http://x/film.mkv?file=other.avi", "mkv"),
        ("http://x/film?file=other.avi", ""),
        ("film.flac", "flac"),
        ("", ""),
    ],
)
def test_the_extension_is_the_paths(url: str, expected: str) -> None:
    assert extension(url) == expected


def test_every_type_in_the_table_would_be_believed_of_a_server() -> None:
    assert all(media_type(kind, "") == kind for kind in BY_EXTENSION.values())


@pytest.mark.parametrize(
    "head", [b"<!doctype html>", b" \r\n<html>", b"\xef\xbb\xbf<?xml", b'{"error": 1}', b"#EXTM3U\n"]
)
def test_text_that_stands_in_for_media_is_recognised(head: bytes) -> None:
    assert is_page(head)


@pytest.mark.parametrize(
    "head", [b"", b"\0\0\0 ftypisom", b"\x1aE\xdf\xa3", b"RIFF", b"FLV\1", b"ID3\4", b"OggS", b"G@\0", b"\0\0\1\xba"]
)
def test_media_is_not_taken_for_text(head: bytes) -> None:
    assert not is_page(head)
