"""The part of the program that passes HLS on, running inside a test."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from streamproxy.audience import Audience
from streamproxy.config import Config
from streamproxy.model import Upstream
from streamproxy.outputs import hls
from streamproxy.outputs.hls import HLS, HlsRelay
from streamproxy.playlist.library import Library
from streamproxy.server.service import Service
from streamproxy.sources.client import Client
from streamproxy.tasks import Tasks
from streamproxy.web import LIBRARY, SETTINGS, answer_errors
from tests.helpers.origin import Origin, origin
from tests.helpers.pages import Clock, Page, Site
from tests.helpers.proxy import Answer, Proxy, config

KEY = bytes(range(64))

SECRET = "topsecret"
"""A canary: it stands in every URL of the provider."""

ENTRY = f"/live/{SECRET}/{SECRET}/1.m3u8"


@dataclass
class Stage:
    """What a test works with."""

    proxy: Proxy
    seen: Origin
    site: Site
    relay: HlsRelay
    audience: Audience
    clock: Clock

    def paths(self) -> list[str]:
        """List what was requested of the upstream, in order."""
        return [exchange.path for exchange in self.seen.exchanges]

    async def get(self, path: str = "/hls/news/playlist.m3u8", **options: Any) -> Answer:
        return await self.proxy.get(path, **options)

    async def links(self, path: str = "/hls/news/playlist.m3u8") -> list[str]:
        """List the links in a playlist, in order."""
        answer = await self.get(path)
        assert answer.status == 200, answer
        return links_of(answer.body.decode())


def links_of(playlist: str) -> list[str]:
    return [found[1] or found[2] for found in re.finditer(r'URI="([^"]*)"|^([^#\n].*)$', playlist, re.MULTILINE)]


@dataclass
class Settings:
    config: Config


async def no_list(_: Upstream, __: float) -> bytes:
    raise AssertionError("no list is fetched here")


@asynccontextmanager
async def passing_on(
    folder: Path, pages: dict[str, Page], *, stream: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Stage]:
    """Run an upstream, and a proxy with its streams `news` and `other`."""
    relay_settings = {name: settings.pop(name) for name in ("accounts", "raw_urls", "cache_size") if name in settings}
    site, clock, audience = Site(dict(pages)), Clock(), Audience()
    async with origin(site.answer) as seen:
        upstream = {"url": seen.url(ENTRY)} | (stream or {})
        settings.setdefault("options", {"timeout": 2})
        settled = config(folder, streams={"news": upstream, "other": upstream, "a b%ü": upstream}, **settings)
        async with Tasks() as tasks, Client(settled.options) as client:
            library = Library(no_list, tasks)
            await library.load(settled)
            app = web.Application(middlewares=[answer_errors])
            for route in hls.routes:
                assert isinstance(route, web.RouteDef)
                for prefix in ("", settled.server.root_path) if settled.server.root_path else ("",):
                    app.router.add_route(route.method, prefix + route.path, route.handler)
                    if route.method == "GET":
                        app.router.add_route("HEAD", prefix + route.path, route.handler)
            relay = HlsRelay(client, tasks, audience, key=KEY, clock=clock, **relay_settings)
            app[SETTINGS], app[LIBRARY], app[HLS] = Settings(settled), library, relay
            runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
            await runner.setup()
            address = web.TCPSite(runner, "127.0.0.1", 0)
            await address.start()
            try:
                port = runner.addresses[0][1]
                yield Stage(Proxy(cast(Service, None), port), seen, site, relay, audience, clock)
            finally:
                await runner.cleanup()
