"""What the statistics say is what viewers counted themselves, to the byte."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from tests.api.test_metrics import told
from tests.helpers.origin import Exchange, origin
from tests.helpers.pages import Site, answer
from tests.helpers.proxy import Proxy, config, running

_SERIAL = "/hls/serial/playlist.m3u8"
_FILE = bytes(range(256)) * 400


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Proxy]:
    """Run a proxy with ten live channels, ten films and a channel of HLS."""
    live = origin()
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + "".join(f"#EXTINF:1,\n{n}.ts\n" for n in range(5))
    site = Site({"/hls/index.m3u8": playlist, **{f"/hls/{number}.ts": answer(_FILE) for number in range(5)}})
    async with live as upstream, origin(_film) as films, origin(site.answer) as segments:
        streams = {f"c{number}": upstream.url(f"/{number}.ts") for number in range(10)}
        streams |= {f"f{number}": films.url(f"/{number}.mp4") for number in range(10)}
        streams["serial"] = segments.url("/hls/index.m3u8")
        async with running(config(folder, streams=streams, hls={"viewer_timeout": 1})) as proxy:
            yield proxy


async def _film(exchange: Exchange) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {len(_FILE)}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop's word for a connection that is closed
        await exchange.send(head.encode() + _FILE)


async def read(proxy: Proxy, path: str) -> Any:
    got = await proxy.get(path)
    assert got.status == 200, got
    return json.loads(got.body)


async def watch(proxy: Proxy, name: str, client: str, stay: float) -> int:
    """Watch for a while, hang up, and count what comes until the connection has ended."""
    count = 0
    async with proxy.open(f"/stream/{name}?client_id={client}") as viewer:
        try:
            async with asyncio.timeout(stay):
                while data := await viewer.reader.read(1 << 16):
                    count += len(data)
        except TimeoutError:
            viewer.writer.write_eof()
        while data := await viewer.reader.read(1 << 16):
            count += len(data)
    return count


async def until_nobody_watches(proxy: Proxy) -> Any:
    async with asyncio.timeout(10):
        while (stats := await read(proxy, "/stats"))["clients"]:
            await asyncio.sleep(0.05)
    return stats


@pytest.mark.parametrize("seed", [1])
async def test_a_thousand_viewers_who_come_and_go_are_counted_to_the_byte(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    counted: Counter[str] = Counter()
    async with watched(tmp_path) as proxy:
        waiting = asyncio.Semaphore(60)

        async def visit(number: int) -> None:
            name = f"{chance.choice('ccf')}{chance.randrange(10)}"
            async with waiting:
                got = await watch(proxy, name, f"v{number}", chance.random() * 0.3)
            counted[name] += got

        async def ask() -> None:
            while True:
                stats = await read(proxy, "/stats")
                assert stats["active_clients"] == len(stats["clients"]) <= 60
                assert stats["total_bytes_served"] == sum(stream["total_bytes_served"] for stream in stats["streams"])
                await asyncio.sleep(0.1)

        asking = asyncio.create_task(ask())
        await asyncio.gather(*(visit(number) for number in range(1000)))
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        stats = await until_nobody_watches(proxy)

        served = {stream["stream_id"]: stream["total_bytes_served"] for stream in stats["streams"]}
        assert served == dict(counted)
        assert stats["total_bytes_served"] == counted.total() > 0
        assert (stats["active_clients"], stats["active_streams"], stats["clients"]) == (0, 0, [])
        assert await read(proxy, "/clients") == {"total_clients": 0, "clients": []}
        metrics = await told(proxy)
        for name, count in counted.items():
            assert metrics[f"streamproxy_channel_sent_bytes_total{{channel={name}}}"] == count
            assert metrics[f"streamproxy_channel_viewers{{channel={name}}}"] == 0
        assert metrics["streamproxy_sent_bytes_total{}"] == counted.total()
        assert (metrics["streamproxy_viewers{}"], metrics["streamproxy_viewers_seen_total{}"]) == (0, 1000)


async def test_what_viewers_of_hls_get_is_counted_with_its_segments(tmp_path: Path) -> None:
    async with watched(tmp_path) as proxy:
        playlist = await proxy.get(_SERIAL)
        links = [line for line in playlist.body.decode().splitlines() if line and not line.startswith("#")]
        got = len(playlist.body) + sum([len((await proxy.get(urljoin(_SERIAL, link))).body) for link in links])

        stats = await read(proxy, "/stats")
        assert (stats["active_clients"], stats["total_segments_served"], stats["total_bytes_served"]) == (1, 5, got)
        assert stats["clients"][0]["client_id"] == playlist.headers["x-client-id"]
        stats = await until_nobody_watches(proxy)
        assert (stats["total_segments_served"], stats["total_bytes_served"]) == (5, got)


async def test_who_leaves_is_gone_within_a_second_and_the_stream_has_stopped(tmp_path: Path) -> None:
    async with watched(tmp_path) as proxy, proxy.open("/events?events=stream_stopped") as events:
        async with proxy.open("/stream/c1") as viewer:
            await viewer.reader.readexactly(1000)
        async with asyncio.timeout(1):
            assert b'"last_client_disconnected"' in await events.reader.readuntil(b'"metadata"')
        assert (await read(proxy, "/clients"))["clients"] == []


async def test_whoever_is_ended_through_the_api_is_cut_off_and_others_are_not(tmp_path: Path) -> None:
    async with (
        watched(tmp_path) as proxy,
        proxy.open("/stream/c1?client_id=one") as one,
        proxy.open("/stream/c1?client_id=two") as two,
    ):
        await one.reader.readexactly(1000)
        await two.reader.readexactly(1000)

        assert (await proxy.get("/clients/one", method="DELETE")).status == 200
        async with asyncio.timeout(2):
            while await one.reader.read(1 << 16):
                pass
        assert [client["client_id"] for client in (await read(proxy, "/clients"))["clients"]] == ["two"]
        await two.reader.readexactly(1000)


async def test_a_viewer_of_hls_who_is_ended_gets_nothing_more(tmp_path: Path) -> None:
    async with watched(tmp_path) as proxy:
        playlist = await proxy.get(_SERIAL)

        await proxy.get(f"/clients/{playlist.headers['x-client-id']}", method="DELETE")

        assert (await proxy.get(_SERIAL)).status == 410
        assert (await read(proxy, "/clients"))["clients"] == []
