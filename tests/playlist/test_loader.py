"""Lists as they come: from files and addresses, packed, damaged, and not lists at all."""

import gzip
from pathlib import Path

import pytest

from streamproxy.config import PlaylistConfig
from streamproxy.errors import PlaylistError, UpstreamRefused
from streamproxy.model import Upstream
from streamproxy.playlist.loader import LoadedList, load, read

LIST = b'#EXTM3U\n#EXTINF:-1 tvg-id="a",A\nhttp://h/1.ts\n'


def settings(**values: object) -> PlaylistConfig:
    return PlaylistConfig.model_validate({"url": "http://h/list.m3u", "name": "provider", **values})


async def loaded(body: bytes, **values: object) -> LoadedList:
    async def fetch(upstream: Upstream, timeout: float) -> bytes:
        assert upstream.label == "provider"
        assert timeout == 60
        return body

    return await load(settings(**values), fetch)


async def test_a_list_is_read_from_an_address() -> None:
    assert [entry.title for entry in (await loaded(LIST)).playlist.entries] == ["A"]


@pytest.mark.parametrize("body", [gzip.compress(LIST), gzip.compress(gzip.compress(LIST))], ids=["once", "twice"])
async def test_a_packed_list_is_unpacked(body: bytes) -> None:
    assert (await loaded(body)).body == LIST


async def test_a_list_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my.m3u"
    file.write_bytes(LIST)

    async def fetch(upstream: Upstream, timeout: float) -> bytes:
        raise AssertionError("nothing to fetch")

    result = await load(settings(url=str(file)), fetch)

    assert result.playlist.entries[0].url == "http://h/1.ts"


async def test_relative_entries_are_resolved_against_the_list() -> None:
    body = b"#EXTM3U\n#EXTINF:-1,A\nlive/1.ts\n"

    assert (await loaded(body, url="http://h/lists/x.m3u")).playlist.entries[0].url == "http://h/lists/live/1.ts"


async def test_a_legacy_encoding_is_taken_from_the_settings() -> None:
    body = "#EXTM3U\n#EXTINF:-1,Первый\nhttp://h/1.ts\n".encode("cp1251")

    assert (await loaded(body, encoding="cp1251")).playlist.entries[0].title == "Первый"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no channel in it"),
        (b"<html><body>Account expired</body></html>", "no channel in it"),
        (b"\x1f\x8b damaged", "damaged gzip data"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nseg1.ts\n", "one HLS stream, not a list"),
        (gzip.compress(bytes(65 << 20)), "more than 64 MiB"),
    ],
    ids=["empty", "web page", "damaged", "HLS", "gzip bomb"],
)
def test_what_is_no_list_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(PlaylistError, match=reason):
        read(settings(), body)


async def test_a_failure_names_the_list_and_not_its_address() -> None:
    async def fetch(upstream: Upstream, timeout: float) -> bytes:
        raise UpstreamRefused(upstream.label, 404)

    with pytest.raises(PlaylistError) as caught:
        await load(settings(url="http://h/get.php?username=me&password=hunter22"), fetch)

    assert str(caught.value) == "provider: the upstream answered with status 404"


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    async def fetch(upstream: Upstream, timeout: float) -> bytes:
        raise AssertionError("nothing to fetch")

    with pytest.raises(PlaylistError, match=r"No such file or directory: .*gone\.m3u"):
        await load(settings(url=str(tmp_path / "gone.m3u")), fetch)
