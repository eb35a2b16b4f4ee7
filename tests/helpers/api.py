"""The management API of a running program, as its clients use it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
from yarl import URL

from tests.helpers.origin import Origin, Script, endless, origin
from tests.helpers.proxy import Proxy, Viewer, config, running

ROOT = "/m3u-proxy"
METADATA = {"id": "42", "playlist_uuid": "P"}


@dataclass
class Told:
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.text)


@dataclass
class Api:
    """Asks a program.

    Attributes:
        headers: What each request carries besides its own.
    """

    session: aiohttp.ClientSession
    base: str
    headers: Mapping[str, str]

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] = {},
    ) -> Told:
        """Request something, with JSON or with bytes as they are."""
        data = raw if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        url = URL(self.base + path, encoded=True)
        async with self.session.request(
            method, url, data=data, headers={**sent, **self.headers, **headers}, allow_redirects=False
        ) as answer:
            fields = {name.lower(): value for name, value in answer.headers.items()}
            return Told(answer.status, fields, await answer.text())

    async def get(self, path: str) -> Any:
        """Read something that is there."""
        told = await self.call("GET", path)
        assert told.status == 200, told
        return told.json

    async def make(self, url: str, **fields: Any) -> str:
        """Make a stream; return its id."""
        told = await self.call("POST", "/streams", {"url": url} | fields)
        assert told.status == 200, told
        return str(told.json["stream_id"])


@asynccontextmanager
async def api_of(proxy: Proxy, *, prefix: str = "", **headers: str) -> AsyncIterator[Api]:
    """Talk to a program; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session:
        yield Api(session, f"http://127.0.0.1:{proxy.port}{prefix}", named)


@dataclass
class World:
    """A program with a stream that somebody watches, which was made through the API.

    Attributes:
        upstream: Where it comes from: `/1.ts`, and `/2.ts` as its second upstream.
        api: Asks the program.
        live: The stream's id.
        viewer: Who watches: client `me`.
    """

    proxy: Proxy
    upstream: Origin
    api: Api
    live: str
    viewer: Viewer


@asynccontextmanager
async def world(
    folder: Path, *, prefix: str = "", headers: Mapping[str, str] = {}, script: Script = endless, **settings: Any
) -> AsyncIterator[World]:
    """Run it.

    Args:
        folder: The test's.
        prefix: Where the API is asked for.
        headers: What each request to it carries.
        script: What the upstream does.
        settings: The configuration, over what is usual here.
    """
    settings = {"server": {"root_path": ROOT}, "api": {"local_urls": True}} | settings
    async with (
        origin(script) as upstream,
        running(config(folder, **settings)) as proxy,
        api_of(proxy, prefix=prefix, **headers) as api,
    ):
        live = await api.make(upstream.url("/1.ts"), failover_urls=[upstream.url("/2.ts")], metadata=METADATA)
        async with proxy.open(f"/stream/{live}?client_id=me&username=eve", headers={"User-Agent": "VLC"}) as viewer:
            await viewer.reader.readexactly(188)
            yield World(proxy, upstream, api, live, viewer)
