"""Transport streams, HLS and files through the whole program, whatever their addresses look like."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from tests.helpers.origin import Exchange, origin
from tests.helpers.proxy import config, running
from tests.helpers.stream import packets, runs

SEGMENT = 100
"""Packets in a segment."""

FILM = bytes([0, 0, 0, 0x18]) + b"ftypisom" + hashlib.sha256(b"film").digest() * 5000


async def provider(exchange: Exchange) -> None:
    """A finished HLS stream of five segments and a film, under names that tell, and names that do not."""
    name = exchange.path.partition("?")[0].rpartition("/")[2]
    if name in ("tv.m3u8", "playlist", "odd.ts"):
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1"]
        for number in range(5):
            lines += ["#EXTINF:0.4,", f"segments/{number}.ts?token=hunter22"]
        body = "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode()
    elif name in ("film.mp4", "film"):
        body = FILM
    elif name.removesuffix(".ts").isdigit():
        body = packets(int(name.removesuffix(".ts")) * SEGMENT, SEGMENT)
    else:
        await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return
    await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize("name", ["tv.m3u8", "playlist", "odd.ts"])
async def test_hls_comes_out_as_one_stream_whatever_its_address(tmp_path: Path, name: str) -> None:
    stream = {"url": f"/{name}", "kind": "hls" if name == "odd.ts" else "auto"}
    async with origin(provider) as upstream:
        settings = config(tmp_path, streams={"tv": {**stream, "url": upstream.url(f"/{name}")}})
        async with running(settings) as proxy:
            answer = await proxy.get("/stream/tv.ts")

    assert (answer.status, answer.headers["content-type"]) == (200, "video/mp2t")
    (run,) = runs(answer.body)
    assert (run.first, run.last) == (0, 5 * SEGMENT - 1)


async def test_viewers_of_an_hls_stream_share_its_segments(tmp_path: Path) -> None:
    async with origin(provider) as upstream:
        settings = config(tmp_path, streams={"tv": upstream.url("/tv.m3u8")}, relay={"linger": 5})
        async with running(settings) as proxy:
            answers = await asyncio.gather(*(proxy.get("/stream/tv.ts") for _ in range(20)))

        assert {hashlib.sha256(answer.body).hexdigest() for answer in answers} == {
            hashlib.sha256(packets(0, 5 * SEGMENT)).hexdigest()
        }
        segments = [exchange.path for exchange in upstream.exchanges if "/segments/" in exchange.path]
        assert len(segments) == len(set(segments)) == 5


async def test_hls_is_listed_and_passed_on_with_every_address_replaced(tmp_path: Path) -> None:
    async with (
        origin(provider) as upstream,
        running(config(tmp_path, streams={"tv": upstream.url("/tv.m3u8")})) as proxy,
    ):
        listed = (await proxy.get("/playlist.m3u")).body.decode().splitlines()[2]
        playlist = await proxy.get(listed.partition(str(proxy.port))[2])
        links = [line for line in playlist.body.decode().splitlines() if line.startswith("/hls/tv/")]
        segments = [await proxy.get(link) for link in links]
        health = json.loads((await proxy.get("/health")).body)

    assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert "hunter22" not in playlist.body.decode()
    assert b"".join(segment.body for segment in segments) == packets(0, 5 * SEGMENT)
    assert health["stats"]["total_segments_served"] == 5


async def test_hls_can_be_listed_as_streams(tmp_path: Path) -> None:
    streams = {"a": "http://h/a.m3u8", "b": "http://h/b.ts", "c": "http://h/c.mkv"}
    async with running(config(tmp_path, streams=streams)) as proxy:
        as_hls = (await proxy.get("/playlist.m3u")).body.decode().splitlines()[2::2]
        as_ts = (await proxy.get("/playlist.m3u?output=ts")).body.decode().splitlines()[2::2]

    base = f"http://127.0.0.1:{proxy.port}"
    assert as_hls == [f"{base}/hls/a/playlist.m3u8", f"{base}/stream/b.ts", f"{base}/stream/c.mkv"]
    assert as_ts == [f"{base}/stream/a.ts", f"{base}/stream/b.ts", f"{base}/stream/c.mkv"]


@pytest.mark.parametrize("name", ["film.mp4", "film"])
async def test_a_file_is_served_as_one_whatever_its_address(tmp_path: Path, name: str) -> None:
    async with (
        origin(provider) as upstream,
        running(config(tmp_path, streams={"film": upstream.url(f"/{name}")})) as proxy,
    ):
        whole = await proxy.get("/stream/film")
        part = await proxy.get("/stream/film.mp4", headers={"Range": "bytes=1000-1999"})

    assert (whole.status, whole.body) == (200, FILM)
    assert (part.status, part.body) == (206, FILM[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(FILM)}"


async def test_a_head_request_opens_nothing_live(tmp_path: Path) -> None:
    async with origin(provider) as upstream:
        streams = {"tv": upstream.url("/tv.m3u8"), "odd": upstream.url("/playlist"), "live": upstream.url("/1.ts")}
        async with running(config(tmp_path, streams=streams)) as proxy:
            for path in ("/stream/tv.ts", "/stream/odd", "/stream/live", "/hls/tv/playlist.m3u8", "/tv"):
                assert (await proxy.get(path, method="HEAD")).status == 200

        assert upstream.exchanges == []
