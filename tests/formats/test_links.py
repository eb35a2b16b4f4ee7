"""Links: what is sealed comes back, and nothing else is taken for one of ours."""

import base64
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.hls.rewrite import Kind
from streamproxy.formats.links import (
    KEY_SIZE,
    LONGEST_NAME,
    MEDIA_TYPES,
    Link,
    LinkSealer,
    NotOurLink,
    UrlTooLong,
    content_type,
    extension_of,
    key_from,
)

KEY = bytes(range(KEY_SIZE))
SEALER = LinkSealer(KEY)

SECRET = "topsecret"
URL = f"http://{SECRET}:{SECRET}@provider.example:8080/live/{SECRET}/{SECRET}/segment-5.ts?token={SECRET}"

# Everything but a line break, which no URL has; lone surrogates stand for bytes that are no UTF-8.
urls = st.text(st.characters(exclude_characters="\n"), min_size=1, max_size=400)
links = st.builds(Link, st.sampled_from(Kind), urls, st.dictionaries(st.text(max_size=20), st.text(max_size=20)))


@given(links, st.text(max_size=40))
def test_what_is_sealed_comes_back(link: Link, channel: str) -> None:
    assert SEALER.open(channel, SEALER.seal(channel, link)) == link


@given(links, st.text(max_size=40))
def test_a_link_is_the_same_each_time_and_for_every_worker(link: Link, channel: str) -> None:
    again = Link(link.kind, link.url, dict(reversed(list(link.variables.items()))))

    assert SEALER.seal(channel, link) == LinkSealer(KEY).seal(channel, again)


@given(st.data())
def test_a_link_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    name = SEALER.seal("news", Link(Kind.SEGMENT, URL))
    place = data.draw(st.integers(0, len(name) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != name[place]))

    with pytest.raises(NotOurLink):
        SEALER.open("news", name[:place] + other + name[place + 1 :])


@pytest.mark.parametrize("length", range(1, 4))
def test_every_bit_of_a_link_counts(length: int) -> None:
    """Also those of its last character that hold nothing."""
    name = SEALER.seal("news", Link(Kind.SEGMENT, "http://h/" + "x" * length))
    token, _, extension = name.rpartition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    for character in alphabet.replace(token[-1], ""):
        with pytest.raises(NotOurLink):
            SEALER.open("news", f"{token[:-1]}{character}.{extension}")


@given(st.data())
def test_a_link_that_is_cut_or_lengthened_is_refused(data: st.DataObject) -> None:
    name = SEALER.seal("news", Link(Kind.SEGMENT, URL))
    token, _, extension = name.rpartition(".")
    length = data.draw(st.integers(0, len(token) - 1))
    more = data.draw(st.text("Aa-_=.", min_size=1, max_size=4))

    for other in (
        f"{token[:length]}.{extension}",
        f"{token}{more}.{extension}",
        token,
        f".{extension}",
        f"{name}{more}",
    ):
        with pytest.raises(NotOurLink):
            SEALER.open("news", other)


@given(st.text(max_size=200))
def test_what_somebody_invents_is_refused(text: str) -> None:
    with pytest.raises(NotOurLink):
        SEALER.open("news", text)


@given(st.binary(min_size=18, max_size=200))
def test_what_somebody_invents_in_the_right_form_is_refused(sealed: bytes) -> None:
    with pytest.raises(NotOurLink):
        SEALER.open("news", base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() + ".ts")


@pytest.mark.parametrize("channel", ["new", "newss", "News", "", "news ", "news/"])
def test_a_link_of_one_channel_is_none_of_another(channel: str) -> None:
    name = SEALER.seal("news", Link(Kind.SEGMENT, URL))

    with pytest.raises(NotOurLink):
        SEALER.open(channel, name)


def test_the_extension_belongs_to_the_link() -> None:
    name = SEALER.seal("news", Link(Kind.SEGMENT, URL))

    assert name.endswith(".ts")
    for other in ("m3u8", "key", "mp4", "html"):
        with pytest.raises(NotOurLink):
            SEALER.open("news", name.removesuffix("ts") + other)


def test_channel_and_extension_cannot_be_shifted_into_each_other() -> None:
    name = SEALER.seal("newst", Link(Kind.SEGMENT, "http://h/a.ts"))

    with pytest.raises(NotOurLink):
        SEALER.open("news", name.removesuffix("ts") + "tts")


def test_another_key_makes_other_links() -> None:
    name = SEALER.seal("news", Link(Kind.SEGMENT, URL))
    other = LinkSealer(os.urandom(KEY_SIZE))

    assert other.seal("news", Link(Kind.SEGMENT, URL)) != name
    with pytest.raises(NotOurLink):
        other.open("news", name)


def test_nothing_of_the_provider_can_be_read() -> None:
    name = SEALER.seal("news", Link(Kind.PLAYLIST, URL, {"name": SECRET}))

    sealed = base64.urlsafe_b64decode(name.rpartition(".")[0] + "==")
    for text in (SECRET, "provider", "http", "live"):
        assert text not in name
        assert text.encode() not in sealed
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.m3u8", name)
    assert SECRET not in repr(Link(Kind.PLAYLIST, URL, {"name": SECRET}))


def test_links_are_compact() -> None:
    url = "http://h/" + "x" * 291

    assert len(SEALER.seal("news", Link(Kind.SEGMENT, url))) < 450


def test_a_url_too_long_for_a_request_makes_no_link() -> None:
    room = (LONGEST_NAME - len(".ts")) * 3 // 4 - 16 - 1

    name = SEALER.seal("news", Link(Kind.SEGMENT, "x" * room))

    assert LONGEST_NAME - 4 < len(name) <= LONGEST_NAME
    assert SEALER.open("news", name).url == "x" * room
    with pytest.raises(UrlTooLong):
        SEALER.seal("news", Link(Kind.SEGMENT, "x" * (room + 3)))


@pytest.mark.parametrize(
    ("kind", "url", "extension"),
    [
        (Kind.PLAYLIST, "http://h/a.php", "m3u8"),
        (Kind.PLAYLIST, "http://h/a.ts", "m3u8"),
        (Kind.KEY, "http://h/a.php?key=1", "key"),
        (Kind.SEGMENT, "http://h/a.ts?x=b.m3u8", "ts"),
        (Kind.SEGMENT, "http://h/A.TS", "ts"),
        (Kind.SEGMENT, "http://h/a.m4s", "m4s"),
        (Kind.SEGMENT, "http://h/a.aac", "aac"),
        (Kind.SEGMENT, "http://h/a.vtt", "vtt"),
        (Kind.SEGMENT, "http://h/a.cmfv", "cmfv"),
        (Kind.SEGMENT, "http://h/a.jpg", "ts"),
        (Kind.SEGMENT, "http://h/a.html", "ts"),
        (Kind.SEGMENT, "http://h/a.m3u8", "ts"),
        (Kind.SEGMENT, "http://h/a", "ts"),
        (Kind.SEGMENT, "http://h.ts", "ts"),
        (Kind.PART, "http://h/a.m4s", "m4s"),
        (Kind.PART, "http://h/a", "ts"),
        (Kind.MAP, "http://h/init.mp4", "mp4"),
        (Kind.MAP, "http://h/init", "mp4"),
        (Kind.ASSET, "http://h/ad.m3u8", "m3u8"),
        (Kind.ASSET, "http://h/ads.json", "json"),
        (Kind.ASSET, "http://h/ads", "m3u8"),
        (Kind.DATA, "http://h/a.json", "json"),
        (Kind.DATA, "http://h/a.jpg", "jpg"),
        (Kind.DATA, "http://h/a.html", "bin"),
        (Kind.DATA, "http://h/a.svg", "bin"),
        (Kind.DATA, "http://h/a.key", "bin"),
    ],
)
def test_a_link_has_an_extension_that_players_take(kind: Kind, url: str, extension: str) -> None:
    assert extension_of(Link(kind, url)) == extension


FFMPEG_TAKES = {
    *("3gp", "aac", "avi", "ac3", "eac3", "flac", "mkv", "m3u8", "m4a", "m4s", "m4v", "mpg", "mov", "mp2", "mp3"),
    *("mp4", "mpeg", "mpegts", "ogg", "ogv", "oga", "ts", "vob", "vtt", "wav", "webvtt", "cmfv", "cmfa", "ec3", "fmp4"),
}
"""The default of `allowed_segment_extensions` in FFmpeg 7.1.1."""


@given(st.sampled_from([Kind.SEGMENT, Kind.PART, Kind.MAP]), urls)
def test_segments_have_no_other_extension_than_ffmpeg_takes(kind: Kind, url: str) -> None:
    assert extension_of(Link(kind, url)) in FFMPEG_TAKES
    assert MEDIA_TYPES.keys() <= FFMPEG_TAKES


@pytest.mark.parametrize(
    ("kind", "url", "said", "expected"),
    [
        (Kind.PLAYLIST, "http://h/a", "text/html", "application/vnd.apple.mpegurl"),
        (Kind.SEGMENT, "http://h/a.ts", "", "video/mp2t"),
        (Kind.SEGMENT, "http://h/a.ts", "text/html", "video/mp2t"),
        (Kind.SEGMENT, "http://h/a", "video/mp4", "video/mp4"),
        (Kind.SEGMENT, "http://h/a", "Audio/AAC; x=y", "audio/aac"),
        (Kind.SEGMENT, "http://h/a.m4s", "application/octet-stream", "video/mp4"),
        (Kind.SEGMENT, "http://h/a.vtt", "text/plain", "text/vtt; charset=utf-8"),
        (Kind.SEGMENT, "http://h/a.jpg", "image/jpeg", "video/mp2t"),
        (Kind.SEGMENT, "http://h/a.ts", "video/x\r\nSet-Cookie: a=b", "video/mp2t"),
        (Kind.MAP, "http://h/a.mp4", "", "video/mp4"),
        (Kind.KEY, "http://h/a.key", "text/html", "application/octet-stream"),
        (Kind.DATA, "http://h/a.html", "text/html", "application/octet-stream"),
        (Kind.DATA, "http://h/a.json", "text/html", "application/json"),
    ],
)
def test_an_upstream_is_believed_that_it_is_media_and_nothing_else(
    kind: Kind, url: str, said: str, expected: str
) -> None:
    assert content_type(Link(kind, url), said) == expected


def test_a_passphrase_makes_the_same_key_everywhere() -> None:
    key = key_from("correct horse battery staple 12345")

    assert len(key) == KEY_SIZE
    assert key == key_from("correct horse battery staple 12345")
    assert key != key_from("correct horse battery staple 12346")
    with pytest.raises(ValueError, match="32 characters"):
        key_from("x" * 31)
