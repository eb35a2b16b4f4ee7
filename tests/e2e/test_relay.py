"""The main job, over real sockets: one upstream connection per channel, whoever watches."""

import asyncio
import random
from pathlib import Path

from tests.helpers.origin import origin
from tests.helpers.proxy import Proxy, config, running
from tests.helpers.stream import runs


async def test_any_number_of_viewers_share_one_upstream_connection(tmp_path: Path) -> None:
    async with origin() as upstream, running(config(tmp_path, streams={"news": upstream.url("/1.ts")})) as proxy:

        async def watch() -> bytes:
            async with proxy.open("/stream/news.ts") as viewer:
                return await viewer.reader.readexactly(20_000)

        received = await asyncio.gather(*(watch() for _ in range(30)))

        assert all(len(runs(data, channel=1)) == 1 for data in received)
        assert upstream.total["/1.ts"] == 1
        await upstream.until(lambda seen: not seen.open["/1.ts"], within=1)


async def test_a_thousand_random_joins_leaves_and_kills_keep_every_promise(tmp_path: Path) -> None:
    chance = random.Random(20)
    async with origin() as upstream:
        streams = {f"c{number}": upstream.url(f"/{number}.ts") for number in range(20)}
        async with running(config(tmp_path, streams=streams)) as proxy:
            waiting = asyncio.Semaphore(60)

            async def visit(number: int, stay: float, kill: bool) -> None:
                async with waiting:
                    await _watch(proxy, number, stay, kill=kill)

            await asyncio.gather(
                *(visit(chance.randrange(20), chance.random() * 0.4, chance.random() < 0.3) for _ in range(1000))
            )

            await upstream.until(lambda seen: not +seen.open, within=1)
            assert set(upstream.peak.values()) == {1}


async def _watch(proxy: Proxy, number: int, stay: float, *, kill: bool) -> None:
    """Watch for a while and leave, at any moment: in the middle of a packet, or before the first byte."""
    received = bytearray()
    try:
        async with asyncio.timeout(stay), proxy.open(f"/stream/c{number}.ts") as viewer:
            try:
                assert viewer.status == 200
                while data := await viewer.reader.read(1 << 16):
                    received += data
            finally:
                if kill:
                    viewer.writer.transport.abort()
    except TimeoutError:
        pass
    assert len(runs(bytes(received), channel=number)) <= 1
