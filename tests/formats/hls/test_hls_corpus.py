"""Playlists as others write them, kept beside the checkout."""

import re
from pathlib import Path

import pytest

from streamproxy.formats.hls.errors import HlsError
from streamproxy.formats.hls.model import MediaPlaylist, MultivariantPlaylist
from streamproxy.formats.hls.read import read
from streamproxy.formats.hls.rewrite import Rewriter, Target, rewrite

CORPUS = Path(__file__).resolve().parents[3].parent / "shared" / "corpus"
FOLDERS = ("globocom-m3u8", "gohlslib-fuzz", "videojs-m3u8-parser")
FILES = sorted(
    path
    for path in (
        *(path for folder in FOLDERS for path in CORPUS.glob(f"{folder}/**/*")),
        *CORPUS.glob("synthetic/hls_*"),
    )
    if path.is_file()
)
BASE = "http://origin.example/live/x/index.m3u8?token=t"

pytestmark = pytest.mark.skipif(not FILES, reason="the corpus of playlists is not beside the checkout")
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def as_it_stood(target: Target) -> str:
    return target.reference


def without_what_is_left_out(text: str) -> str:
    """Leave out steering and definitions, and expand the variables of the one playlist that has some."""
    text = re.sub(r"#EXT-X-(?:DEFINE|CONTENT-STEERING):[^\r\n]*(?:\r\n|\r|\n)", "", text)
    return text.replace("{$host}", "https://cdn.example").replace("{$token}", "t")


def test_the_corpus_is_whole() -> None:
    assert len(FILES) == 235


@every_file
def test_the_identity_keeps_every_byte(path: Path) -> None:
    rewriter = Rewriter(BASE, as_it_stood)
    rewritten = "".join(rewriter.slices(text_of(path), 7))

    expected = without_what_is_left_out(text_of(path))
    assert rewritten.encode("utf-8", "surrogateescape") == expected.encode("utf-8", "surrogateescape")
    assert rewriter.refused == 0


@every_file
def test_only_lines_with_uris_change(path: Path) -> None:
    before = without_what_is_left_out(text_of(path)).splitlines(keepends=True)
    after = rewrite(text_of(path), BASE, lambda _: "/link").splitlines(keepends=True)

    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert old == new or "/link" in new


@every_file
def test_every_playlist_is_read(path: Path) -> None:
    text = text_of(path)
    if not text.lstrip("\ufeff\r\n\t ").startswith("#EXTM3U") or "#EXT-X-SKIP" in text:
        with pytest.raises(HlsError):
            read(text, BASE)
        return

    playlist = read(text, BASE)

    if isinstance(playlist, MediaPlaylist):
        assert len(playlist.segments) == number_of_uris(text, "#EXTINF:")
    else:
        assert isinstance(playlist, MultivariantPlaylist)
        assert len(playlist.variants) == number_of_uris(text, "#EXT-X-STREAM-INF")


def number_of_uris(text: str, tag: str) -> int:
    """Count URIs with a tag before them, naively."""
    count, pending = 0, False
    for line in filter(None, map(str.strip, re.split(r"[\r\n]+", text))):
        if line.startswith(tag):
            pending = True
        elif not line.startswith("#"):
            count += pending
            pending = False
    return count
