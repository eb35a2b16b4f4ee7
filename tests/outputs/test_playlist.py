"""The list of channels over HTTP."""

import gzip
from pathlib import Path

import pytest

from tests.helpers.proxy import config, running

STREAMS = {"a": {"url": "http://h/1.ts", "group": "News"}, "b": "http://h/2.ts"}


@pytest.mark.parametrize("path", ["/playlist.m3u", "/playlist.m3u8", "//playlist.m3u"])
async def test_the_list_names_every_channel_at_the_address_the_client_used(tmp_path: Path, path: str) -> None:
    async with running(config(tmp_path, streams=STREAMS)) as proxy:
        answer = await proxy.get(path, headers={"Host": "tv.local:8080"})

    assert answer.status == 200
    assert answer.headers["content-type"] == "audio/x-mpegurl; charset=utf-8"
    assert answer.body.decode().splitlines()[2::2] == [
        "http://tv.local:8080/stream/a.ts",
        "http://tv.local:8080/stream/b.ts",
    ]


async def test_head_says_what_get_would(tmp_path: Path) -> None:
    async with running(config(tmp_path, streams=STREAMS)) as proxy:
        got = await proxy.get("/playlist.m3u")
        asked = await proxy.get("/playlist.m3u", method="HEAD")

    assert (asked.status, asked.body) == (200, b"")
    assert asked.headers["content-length"] == str(len(got.body))
    assert asked.headers["etag"] == got.headers["etag"]


async def test_an_unchanged_list_is_not_sent_again(tmp_path: Path) -> None:
    async with running(config(tmp_path, streams=STREAMS)) as proxy:
        tag = (await proxy.get("/playlist.m3u")).headers["etag"]
        same = await proxy.get("/playlist.m3u", headers={"If-None-Match": f'"other", {tag}'})
        elsewhere = await proxy.get("/playlist.m3u", headers={"If-None-Match": tag, "Host": "other"})

    assert (same.status, same.body) == (304, b"")
    assert elsewhere.status == 200


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip, deflate", True), ("gzip;q=0.5", True), ("identity", False), ("gzip;q=0", False), ("", False)],
)
async def test_a_long_list_is_packed_for_those_who_take_it(tmp_path: Path, accepted: str, packed: bool) -> None:
    streams = {f"channel-{number}": f"http://h/{number}.ts" for number in range(100)}
    async with running(config(tmp_path, streams=streams)) as proxy:
        plain = await proxy.get("/playlist.m3u")
        answer = await proxy.get("/playlist.m3u", headers={"Accept-Encoding": accepted})

    assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
    assert (gzip.decompress(answer.body) if packed else answer.body) == plain.body


async def test_a_group_can_be_asked_for(tmp_path: Path) -> None:
    async with running(config(tmp_path, streams=STREAMS)) as proxy:
        answer = await proxy.get("/playlist.m3u?group=News")

    assert b"/stream/a.ts" in answer.body
    assert b"/stream/b.ts" not in answer.body


async def test_everything_is_also_under_the_root_path_and_links_carry_it(tmp_path: Path) -> None:
    async with running(config(tmp_path, streams=STREAMS, server={"root_path": "/m3u-proxy"})) as proxy:
        for path in ("/playlist.m3u", "/m3u-proxy/playlist.m3u"):
            assert b"/m3u-proxy/stream/a.ts\n" in (await proxy.get(path)).body
        for path in ("/", "/health", "/m3u-proxy", "/m3u-proxy/", "/m3u-proxy/health"):
            assert (await proxy.get(path)).status == 200
