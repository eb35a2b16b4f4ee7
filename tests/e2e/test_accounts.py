"""The connections of a provider's account, through the whole program: who gets one, who waits, who is refused."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from streamproxy.server import wiring
from streamproxy.server.app import make_app
from streamproxy.sources.accounts import Account
from streamproxy.web import ACCOUNTS
from tests.formats.splice.synthetic import Maker
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import OK, Exchange, origin
from tests.helpers.provider import BUSY, FILM, on_account, provider, serial_of, short_grace  # noqa: F401 - a fixture
from tests.helpers.proxy import running
from tests.helpers.stream import PACKET, runs
from tests.helpers.tscheck import check


async def test_a_viewer_who_zaps_two_hundred_times_is_served_each_time(tmp_path: Path) -> None:
    async with provider(1) as upstream, running(on_account(tmp_path, upstream, 1)) as proxy:
        for turn in range(200):
            number = turn % 2
            async with proxy.open(f"/stream/c{number}.ts") as viewer:
                assert viewer.status == 200
                (run,) = runs(await viewer.reader.readexactly(PACKET), channel=number)
                assert serial_of(run.first) == turn + 1

        await upstream.empty()
        assert (upstream.peak, upstream.beyond, upstream.served) == (1, 0, 200)


async def test_a_channel_that_nobody_watches_makes_room_at_once(tmp_path: Path) -> None:
    async with provider(1) as upstream:
        configured = on_account(tmp_path, upstream, 1, relay={"linger": 60})
        async with running(configured) as proxy:
            for number in range(4):
                async with asyncio.timeout(2), proxy.open(f"/stream/c{number}.ts") as viewer:
                    assert viewer.status == 200
                    await viewer.reader.readexactly(PACKET)
            assert len(upstream.open) == 1
            async with proxy.open("/stream/c3.ts") as viewer:
                assert viewer.status == 200
        assert (upstream.peak, upstream.served) == (1, 4)


@pytest.mark.usefixtures("short_grace")
async def test_one_channel_too_many_is_refused_and_those_who_watch_notice_nothing(tmp_path: Path) -> None:
    async with (
        provider(1) as upstream,
        running(on_account(tmp_path, upstream, 1)) as proxy,
        proxy.open("/stream/c0.ts") as viewer,
    ):
        before = await viewer.reader.readexactly(PACKET)
        refusals = [await proxy.get(path) for path in ("/stream/c1.ts", "/stream/f0.mp4")]
        after = await viewer.reader.readexactly(50 * PACKET)

        for refusal in refusals:
            assert (refusal.status, refusal.body) == (503, b'{"detail": "%s"}' % BUSY.encode())
            assert refusal.headers["x-streamproxy-error"] == BUSY
        assert (await proxy.get("/stream/f0.mp4", method="HEAD")).status == 503
        assert len(runs(before + after, channel=0)) == 1
        assert upstream.served == 1


async def test_the_grace_is_as_long_as_players_bear(tmp_path: Path) -> None:
    async with (
        provider(1) as upstream,
        running(on_account(tmp_path, upstream, 1)) as proxy,
        proxy.open("/stream/c0.ts") as viewer,
    ):
        assert viewer.status == 200
        start = asyncio.get_running_loop().time()
        assert (await proxy.get("/stream/c1.ts")).status == 503
        assert 2.9 < asyncio.get_running_loop().time() - start < 5


async def test_a_channel_with_a_backup_elsewhere_is_served_from_there(tmp_path: Path) -> None:
    async with provider(1) as upstream, provider(1) as other:
        backup = {"url": upstream.url("/5.ts"), "account": "provider", "failover": [other.url("/6.ts")]}
        async with (
            running(on_account(tmp_path, upstream, 1, streams={"news": backup})) as proxy,
            proxy.open("/stream/c0.ts") as viewer,
            proxy.open("/stream/news.ts") as another,
        ):
            assert (viewer.status, another.status) == (200, 200)
            assert len(runs(await another.reader.readexactly(20 * PACKET), channel=6)) == 1
            assert (upstream.served, other.served) == (1, 1)


@pytest.mark.usefixtures("short_grace")
async def test_a_file_takes_a_connection_for_as_long_as_it_is_sent(tmp_path: Path) -> None:
    async with provider(1) as upstream, running(on_account(tmp_path, upstream, 1)) as proxy:
        async with proxy.open("/stream/f0.mp4") as viewer:
            assert viewer.status == 200
            # Half of it is there, and the other half is long in coming, for whoever waits no longer than this.
            received = await viewer.reader.readexactly(PACKET)
            waiting = asyncio.create_task(proxy.get("/stream/c0.ts", method="HEAD"))
            received += await viewer.reader.readexactly(len(FILM) - PACKET)
            assert (await waiting).status == 200
        async with proxy.open("/stream/c0.ts") as viewer:
            assert viewer.status == 200
        assert received == FILM
        assert (upstream.peak, upstream.served) == (1, 2)


async def playlists(exchange: Exchange) -> None:
    body = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n1.ts\n"
    await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.usefixtures("short_grace")
async def test_hls_that_is_passed_on_takes_a_connection_while_it_is_asked_for(tmp_path: Path) -> None:
    async with provider(1) as upstream, origin(playlists) as pages:
        hls = {name: {"url": pages.url(f"/{name}.m3u8"), "account": "provider"} for name in ("news", "sport")}
        async with running(on_account(tmp_path, upstream, 1, streams=hls)) as proxy:
            for _ in range(3):
                assert (await proxy.get("/hls/news/playlist.m3u8")).status == 200
                for refused in ("/hls/sport/playlist.m3u8", "/stream/c0.ts", "/stream/f0.mp4", "/stream/news.ts"):
                    answer = await proxy.get(refused)
                    assert (answer.status, answer.headers["x-streamproxy-error"]) == (503, BUSY)

            # Nobody asks for it any more; whoever asks for another needs no patience.
            async with asyncio.timeout(3):
                while (await proxy.get("/hls/sport/playlist.m3u8")).status != 200:
                    pass
        assert pages.total["/news.m3u8"] >= 1
        assert upstream.served == 0


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Account]:
    """Find the account in the program that runs."""
    made: list[web.Application] = []

    def make(root_path: str) -> web.Application:
        made.append(make_app(root_path))
        return made[-1]

    monkeypatch.setattr(wiring, "make_app", make)
    return lambda: made[0][ACCOUNTS].of("provider")


class StrictOrigin:
    """Allows one connection at a time, and breaks the first of each path off when it is told to.

    Attributes:
        breaks: Set when the first connections break off.
        refused: How many connections were one too many.
        open: How many there are.
    """

    def __init__(self) -> None:
        self.breaks = asyncio.Event()
        self.refused = self.open = 0
        self._begun: set[str] = set()

    async def answer(self, exchange: Exchange) -> None:
        self.open += 1
        try:
            if self.open > 1:
                self.refused += 1
                await exchange.send(b"HTTP/1.1 403 Too Many\r\nContent-Length: 0\r\n\r\n")
            elif exchange.path in self._begun:
                await exchange.send(OK + Maker().stream(90_000_000, 200))
                await asyncio.Event().wait()
            else:
                self._begun.add(exchange.path)
                await exchange.send(OK + Maker().stream(900_000, 100))
                await self.breaks.wait()
                exchange.reset()
        finally:
            self.open -= 1


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_a_channel_that_breaks_off_is_not_robbed_of_its_connection(
    tmp_path: Path, account: Callable[[], Account], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(wiring, "_GRACE", 0.7)
    strict = StrictOrigin()
    async with origin(strict.answer) as upstream, provider(1) as other:
        streams = {
            name: {"url": upstream.url(f"/{name}.ts"), "account": "provider", "mode": mode}
            for name in ("news", "sport")
        }
        retry = {"attempts": 3, "delay": 0.1, "jitter": 0}
        relay = {"chunk_size": 21 * PACKET, "chunk_delay": 0.01}
        async with (
            running(on_account(tmp_path, other, 1, streams=streams, retry=retry, relay=relay)) as proxy,
            proxy.open("/stream/news.ts") as viewer,
        ):
            received = await viewer.reader.readexactly(400 * PACKET)
            waiting = asyncio.create_task(proxy.get("/stream/sport.ts"))
            while not account().waiting:
                await asyncio.sleep(0.01)

            strict.breaks.set()
            received += await viewer.reader.readexactly(800 * PACKET)

            refusal = await waiting
            assert (refusal.status, refusal.headers["x-streamproxy-error"]) == (503, BUSY)
            assert [exchange.path for exchange in upstream.exchanges] == ["/news.ts", "/news.ts"]
            assert strict.refused == 0
            assert (account().held, account().waiting) == (1, 0)
        assert check(received).faults == []
