"""A provider never sees more connections than its account allows, whoever comes, goes, zaps or fails."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.provider import (  # noqa: F401 - one is a fixture
    BUSY,
    CHANNELS,
    FILM,
    FILMS,
    Provider,
    Trouble,
    on_account,
    provider,
    serial_of,
    short_grace,
)
from tests.helpers.proxy import Proxy, running
from tests.helpers.stream import runs


class Storm:
    """Viewers of ten channels and two films, of which two can be open at one time.

    Attributes:
        events: What has happened so far: whoever came, left, zapped or vanished.
        seen: How that ended, by status.
    """

    def __init__(self, proxy: Proxy, upstream: Provider, most: int, chance: random.Random) -> None:
        self.events = 0
        self.seen: Counter[int] = Counter()
        self._proxy = proxy
        self._upstream = upstream
        self._most = most
        self._chance = chance

    async def rage(self, viewers: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(viewers):
                group.create_task(self._watch())

    async def _watch(self) -> None:
        while self.events < self._most:
            if self._chance.random() < 0.3:
                await asyncio.sleep(self._chance.random() * 0.03)
            await self._visit()

    def _choose(self) -> str:
        """Some channels are watched by many, and others by hardly anybody; that changes."""
        if self._chance.random() < 0.1:
            return f"f{self._chance.randrange(FILMS)}.mp4"
        popular = self.events // 50
        many = self._chance.random() < 0.4
        return f"c{(popular + self._chance.randrange(2 if many else CHANNELS)) % CHANNELS}.ts"

    async def _visit(self) -> None:
        name = self._choose()
        received = bytearray()
        status, ended = 0, False
        stay = self._chance.choice((0.005, 0.02, 0.05, 0.2))
        self.events += 1
        try:
            async with asyncio.timeout(stay * self._chance.random()), self._proxy.open(f"/stream/{name}") as viewer:
                status = viewer.status
                try:
                    while data := await viewer.reader.read(1 << 16):
                        received += data
                    ended = True
                finally:
                    if self._chance.random() < 0.4:
                        viewer.writer.transport.abort()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        self.events += 1
        self.seen[status] += 1
        self._judge(name, status, bytes(received), ended=ended)

    def _judge(self, name: str, status: int, received: bytes, *, ended: bool) -> None:
        if status == 503:
            assert BUSY in received.decode()
        elif status == 200 and name.startswith("f"):
            assert FILM.startswith(received)
        elif status == 200:
            self._judge_stream(int(name[1:-3]), received, ended=ended)
        else:
            assert status in (0, 502, 504), received

    def _judge_stream(self, channel: int, received: bytes, *, ended: bool) -> None:
        found = runs(received, channel=channel)
        assert len(found) <= 1, "disturbed, or fed from two connections"
        if ended:
            assert found, "ended without a packet"
            assert serial_of(found[0].first) in self._upstream.lost, "shut under a viewer"


TROUBLES = (Trouble.NONE,) * 6 + tuple(Trouble)


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("linger", [0, 0.5])
async def test_in_a_storm_the_provider_never_sees_too_many(tmp_path: Path, linger: float) -> None:
    await _storm(tmp_path, 400, linger=linger, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("linger", [0, 0.5])
async def test_in_a_storm_of_ten_thousand_events_the_provider_never_sees_too_many(
    tmp_path: Path, linger: float
) -> None:
    await _storm(tmp_path, 10_000, linger=linger, seed=2)


async def _storm(folder: Path, events: int, *, linger: float, seed: int) -> None:
    chance = random.Random(seed)
    times = {"options": {"timeout": 1}, "relay": {"linger": linger, "stall_timeout": 1}}
    async with asyncio.timeout(events / 20), provider(2, TROUBLES, chance=chance) as upstream:
        async with running(on_account(folder, upstream, 2, **times)) as proxy:
            storm = Storm(proxy, upstream, events, chance)
            await storm.rage(6)
            await upstream.empty(within=3)
            upstream.troubles = ()
            async with proxy.open("/stream/c0.ts") as one, proxy.open("/stream/c1.ts") as other:
                assert (one.status, other.status) == (200, 200), "a connection was not given back"

        assert (upstream.peak, upstream.beyond) == (2, 0)
        assert storm.seen[200] > events // 10
