"""SIGHUP: configuration and lists are read again, and nobody who is watching notices."""

import asyncio
from pathlib import Path

import pytest

from streamproxy.config import Config
from streamproxy.errors import ConfigError
from streamproxy.server.service import Service
from tests.helpers.origin import Exchange, origin
from tests.helpers.proxy import Proxy, config
from tests.helpers.stream import runs


class Settings:
    """What the service reads, and reads again."""

    def __init__(self, current: Config) -> None:
        self.current = current
        self.failure: Exception | None = None
        self.read = 0

    def __call__(self) -> Config:
        self.read += 1
        if self.failure:
            raise self.failure
        return self.current

    async def until_read(self, times: int) -> None:
        async with asyncio.timeout(5):
            while self.read < times:
                await asyncio.sleep(0.01)


async def channels(proxy: Proxy) -> int:
    return (await proxy.get("/playlist.m3u")).body.count(b"/stream/")


async def until_there_are(proxy: Proxy, count: int) -> None:
    async with asyncio.timeout(5):
        while await channels(proxy) != count:
            await asyncio.sleep(0.01)


async def test_a_reload_changes_the_channels_and_disturbs_no_viewer(tmp_path: Path) -> None:
    async with origin() as upstream:
        settings = Settings(config(tmp_path, streams={"a": upstream.url("/1.ts")}))
        service = Service(settings)
        ready = asyncio.Event()
        task = asyncio.create_task(service.run(lambda _: ready.set()))
        await ready.wait()
        proxy = Proxy(service, service.addresses[0][1])
        async with proxy.open("/stream/a.ts") as viewer:
            before = await viewer.reader.readexactly(18_800)
            settings.current = config(tmp_path, streams={"b": upstream.url("/2.ts"), "c": upstream.url("/3.ts")})
            service.reload()
            await until_there_are(proxy, 2)
            after = await viewer.reader.readexactly(188_000)

        assert len(runs(before + after, channel=1)) == 1
        assert upstream.total["/1.ts"] == 1
        service.stop()
        await task


@pytest.mark.parametrize("failure", [ConfigError(["config.yml:1:1: nonsense"]), RuntimeError("a mistake of ours")])
async def test_what_cannot_be_read_leaves_the_old_configuration_in_force_and_is_not_the_last_that_is_read(
    tmp_path: Path, failure: Exception
) -> None:
    settings = Settings(config(tmp_path, streams={"a": "http://h/1.ts"}))
    service = Service(settings)
    ready = asyncio.Event()
    task = asyncio.create_task(service.run(lambda _: ready.set()))
    await ready.wait()
    proxy = Proxy(service, service.addresses[0][1])

    settings.failure = failure
    service.reload()
    await settings.until_read(2)
    assert await channels(proxy) == 1
    settings.failure = None
    settings.current = config(tmp_path, streams={"a": "http://h/1.ts", "b": "http://h/2.ts"})
    service.reload()
    await until_there_are(proxy, 2)

    service.stop()
    await task


async def test_it_can_be_stopped_while_a_provider_keeps_it_waiting(tmp_path: Path) -> None:
    async def silent(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with origin(silent) as upstream:
        service = Service(Settings(config(tmp_path, playlists=[upstream.url("/list.m3u")])))
        task = asyncio.create_task(service.run())
        await upstream.until(lambda seen: seen.open["/list.m3u"] == 1)

        service.stop()

        async with asyncio.timeout(2):
            await task
        await upstream.until(lambda seen: not +seen.open, within=1)
