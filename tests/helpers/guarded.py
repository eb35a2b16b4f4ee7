"""The program's doors without what is behind them: one route of each kind, and the guard before all of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from streamproxy.config import Config
from streamproxy.server.app import make_app
from streamproxy.server.service import Service
from streamproxy.web import FACES, SETTINGS, Face, base_url, is_authenticated, shown
from tests.helpers.proxy import Answer, Proxy, config

API_TOKEN = "api-s3cret"
STREAM_TOKEN = "watch/s3cret%?#"
"""With all that an address gives a meaning to."""
IN_AN_ADDRESS = "watch%2Fs3cret%25%3F%23"

PROVIDER_URL = "http://origin.example/live/me/word/1.ts"

HERE = {"X-Forwarded-For": "127.0.0.1"}
ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}
"""Where a client is, as a reverse proxy says that is trusted."""


@dataclass
class Settings:
    config: Config


@dataclass
class Doors:
    """What is knocked at.

    Attributes:
        proxy: Where.
        opened: Names of the handlers that ran, in order.
    """

    proxy: Proxy
    opened: list[str] = field(default_factory=list)

    async def knock(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return await self.knock_with(path, method, {name.replace("_", "-"): value for name, value in headers.items()})

    async def knock_with(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        return await self.proxy.get(path, method=method, headers=headers)

    async def send(self, request: bytes, *, host: str = "127.0.0.1") -> int:
        """Send bytes as they are; return the status, or 0 if there was none."""
        reader, writer = await asyncio.open_connection(host, self.proxy.port)
        try:
            writer.write(request)
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
        return int(answer[9:12]) if answer else 0


def said(answer: Answer) -> str:
    """Return what a refusal says."""
    assert answer.headers["content-type"].startswith("application/json")
    return str(json.loads(answer.body)["detail"])


def _tables(opened: list[str]) -> list[tuple[Face, web.RouteTableDef]]:
    def answering(name: str) -> Any:
        async def answer(request: web.Request) -> web.Response:
            opened.append(name)
            told = {
                "served": name,
                "base": base_url(request),
                "authenticated": is_authenticated(request),
                "shown": shown(request)(PROVIDER_URL),
                "query": request.query_string,
            }
            return web.json_response(told | dict(request.match_info))

        return answer

    api, public, media = web.RouteTableDef(), web.RouteTableDef(), web.RouteTableDef()
    api.get("/streams")(answering("look"))
    api.get("/")(answering("look"))
    api.post("/streams")(answering("change"))
    api.delete("/streams/{id}")(answering("change"))
    api.delete("/hls/{id}/clients/{client}")(answering("change"))
    public.get("/docs")(answering("read"))
    media.options("/hls/{id}/{name}")(answering("ask"))
    media.get("/hls/{id}/{name}")(answering("watch"))
    media.get("/stream/{id}")(answering("watch"))
    media.get("/broken/{id}")(_fail)
    media.get("/{name}")(answering("watch"))
    return [(Face.API, api), (Face.PUBLIC, public), (Face.MEDIA, media)]


async def _fail(_: web.Request) -> web.StreamResponse:
    raise RuntimeError("broken")


@asynccontextmanager
async def doors(
    folder: Path, *, address: str = "127.0.0.1", api_open: bool = False, forget: Face | None = None, **server: Any
) -> AsyncIterator[Doors]:
    """Run the doors.

    Args:
        folder: The test's.
        address: Where they are.
        api_open: What `api.open` is.
        forget: A face whose routes are not told of; None for none.
        server: The section of this name.
    """
    settings = config(folder, server=server, api={"open": api_open})
    opened: list[str] = []
    app = make_app(settings.server.root_path, _tables(opened))
    app[SETTINGS] = Settings(settings)
    if forget:
        app[FACES] = {route: face for route, face in app[FACES].items() if face is not forget}
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    try:
        yield Doors(Proxy(cast(Service, None), runner.addresses[0][1]), opened)
    finally:
        await runner.cleanup()
