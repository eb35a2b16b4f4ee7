"""From an upstream that is lost to where a channel is to be had next, in the running program."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from tests.broadcast.scene import faults, pictures_in
from tests.formats.splice.synthetic import FRAME, Maker
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import OK, Exchange, Origin, origin
from tests.helpers.pages import answer, redirect
from tests.helpers.proxy import config, running


def seconds(begin: int) -> Iterator[bytes]:
    """Make a stream, second by second, whose clock begins somewhere."""
    maker = Maker()
    for number in count():
        tables = maker.tables()
        times = range(begin + number * 25 * FRAME, begin + (number + 1) * 25 * FRAME, FRAME)
        yield tables + b"".join(maker.picture(time, key=time == times[0]) + maker.sound(time) for time in times)


class Provider:
    """One address that is good for a while, and one that always is; and the service that knows of it."""

    def __init__(self, *, knows: bool) -> None:
        self.knows = knows
        self.asked: list[dict[str, Any]] = []
        self.may_break = asyncio.Event()
        self.seen: Origin

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path == "/next":
            self.asked.append(json.loads(exchange.body))
            url = self.seen.url("/2.ts") if self.knows else None
            await exchange.send(answer(json.dumps({"next_url": url})))
        elif exchange.path == "/2.ts":
            await exchange.send(OK)
            for second in seconds(1 << 32):
                await exchange.send(second)
                await asyncio.sleep(0.01)
        else:
            await exchange.send(OK + b"".join(islice(seconds(0), 4)))
            await self.may_break.wait()


@asynccontextmanager
async def provider(*, knows: bool) -> AsyncIterator[tuple[Provider, Origin]]:
    running = Provider(knows=knows)
    async with origin(running.answer) as seen:
        running.seen = seen
        yield running, seen


@pytest.mark.parametrize("where", ["stream", "all"])
async def test_viewers_stay_where_a_service_knows_another_address(tmp_path: Path, where: str) -> None:
    data = bytearray()
    async with provider(knows=True) as (its, seen):
        resolver = seen.url("/next")
        stream = {"url": seen.url("/1.ts"), "metadata": {"id": 7}}
        settings = config(
            tmp_path,
            streams={"news": stream | ({"failover_resolver_url": resolver} if where == "stream" else {})},
            failover={"watch": False} | ({"resolver_url": resolver} if where == "all" else {}),
        )
        async with running(settings) as proxy, proxy.open("/news") as viewer:
            its.may_break.set()
            while pictures_in(bytes(data)) < 150:
                data += await viewer.reader.readexactly(188)
            assert (viewer.status, seen.open["/1.ts"], seen.open["/2.ts"]) == (200, 0, 1)
    assert faults(bytes(data)) == []
    assert its.asked == [
        {
            "current_url": seen.url("/1.ts"),
            "metadata": {"id": "7"},
            "current_failover_index": 0,
            "status_code": None,
            "reason": "live_stream_silent_close",
        }
    ]


async def test_a_channel_ends_where_the_service_knows_no_other_address(tmp_path: Path) -> None:
    async with provider(knows=False) as (its, seen):
        stream = {"url": seen.url("/1.ts"), "failover_resolver_url": seen.url("/next")}
        async with running(config(tmp_path, streams={"news": stream})) as proxy, proxy.open("/news") as viewer:
            its.may_break.set()
            await viewer.reader.read()
    assert len(its.asked) == 1


@pytest.mark.parametrize(
    ("sticky", "paths"),
    [(True, ["/live.ts", "/edge1", "/edge1"]), (False, ["/live.ts", "/edge1", "/live.ts", "/edge2"])],
)
async def test_who_is_sticky_is_taken_up_where_a_redirect_had_led(
    tmp_path: Path, sticky: bool, paths: list[str]
) -> None:
    plenty = list(islice(seconds(0), 120))
    lost = asyncio.Event()

    async def balance(exchange: Exchange) -> None:
        if exchange.path == "/live.ts":
            await exchange.send(redirect(f"/edge{seen.total['/live.ts']}"))
            return
        await exchange.send(OK + b"".join(plenty))
        if not lost.is_set():
            lost.set()
            return
        for second in plenty:
            await exchange.send(second)
            await asyncio.sleep(0.01)

    pictures = 0
    async with origin(balance) as seen:
        stream = {"url": seen.url("/live.ts"), "use_sticky_session": sticky}
        settings = config(tmp_path, streams={"news": stream}, retry={"attempts": 1}, relay={"queue": 10_000})
        async with running(settings) as proxy, proxy.open("/news") as viewer:
            while pictures < 120 * 25 or len(seen.exchanges) < len(paths):
                pictures += pictures_in(await viewer.reader.readexactly(188 * 1000))
        assert [exchange.path for exchange in seen.exchanges] == paths
