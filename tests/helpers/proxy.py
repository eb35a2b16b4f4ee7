"""The program itself, running inside a test, and viewers on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamproxy.config import Config
from streamproxy.server.service import Service


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        service: The program.
        port: Where it listens on 127.0.0.1.
    """

    service: Service
    port: int

    async def get(self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> "Answer":
        """Request something, and read the whole answer."""
        async with self.open(path, method=method, headers=headers) as viewer:
            body = await viewer.reader.read()
            return Answer(viewer.status, viewer.headers, body)

    @asynccontextmanager
    async def open(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["Viewer"]:
        """Request something, and read the head of the answer; the connection is closed at the end of the block."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        try:
            sent = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"} | dict(headers or {})
            lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
            writer.write("\r\n".join(lines).encode("latin-1"))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = [line.split(": ", 1) for line in head[1:] if line]
            yield Viewer(int(head[0].split(" ")[1]), {name.lower(): value for name, value in fields}, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@dataclass
class Answer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Viewer:
    """An answer whose body is still to be read; header names are in lower case."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def config(folder: Path, **settings: Any) -> Config:
    """Make a configuration that listens on a free local port and keeps its cache in a folder of the test.

    A channel ends with its upstream, unless `retry` says otherwise; and numbered packets, in which there is no program,
    will do.
    """
    defaults: dict[str, Any] = {"retry": {"attempts": 0}, "slate": {"enabled": False}, "failover": {"watch": False}}
    settings = defaults | settings
    server = {"host": "127.0.0.1", "port": 0} | settings.pop("server", {})
    folders = {"cache_dir": str(folder / "cache"), "state_dir": str(folder / "state")}
    return Config.model_validate({"server": server, **folders, **settings})


@asynccontextmanager
async def running(settings: Config) -> AsyncIterator[Proxy]:
    """Run the program for the length of the block."""
    service = Service(lambda: settings)
    ready = asyncio.Event()
    task = asyncio.create_task(service.run(lambda _: ready.set()))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if task.done():
            task.result()
        yield Proxy(service, service.addresses[0][1])
    finally:
        service.stop()
        await task
