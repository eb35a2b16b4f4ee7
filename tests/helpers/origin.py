"""An upstream on a real socket that does what a test tells it, byte for byte, and remembers what was asked of it."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.helpers.stream import packets

OK = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"


@dataclass
class Exchange:
    """One request, and the connection to answer it on."""

    path: str
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    raw: bytes = b""
    body: bytes = b""
    over: bool = False

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the other side has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    def reset(self) -> None:
        """Break the connection off with a reset instead of an end."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class Origin:
    """What tests see of the upstream.

    Attributes:
        scheme: What its addresses begin with.
        port: Where it listens on 127.0.0.1.
        open: Connections now, by path.
        peak: The most at one time, by path.
        total: Connections ever, by path.
        exchanges: Every request in order.
    """

    script: Script
    scheme: str = "http"
    port: int = 0
    open: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    exchanges: list[Exchange] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/live.ts") -> str:
        """Return the address of a path."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    async def until(self, condition: Callable[["Origin"], bool], *, within: float = 5) -> None:
        """Wait until something holds of the connections."""
        async with asyncio.timeout(within), self.changed:
            await self.changed.wait_for(lambda: condition(self))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        path = ""
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
            lines = raw.decode("latin-1").split("\r\n")
            path = lines[0].split(" ")[1]
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            body = await reader.readexactly(int(headers.get("Content-Length", 0)))
            exchange = Exchange(path, headers, reader, writer, raw, body)
            self.exchanges.append(exchange)
            await self._count(path, 1)
            watch = asyncio.create_task(self._watch(exchange))
            script = asyncio.ensure_future(self.script(exchange))
            try:
                await asyncio.wait((watch, script), return_when=asyncio.FIRST_COMPLETED)
            finally:
                watch.cancel()
                script.cancel()
                results = await asyncio.gather(watch, script, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                    raise result
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            if path and not exchange.over:
                await self._leave(exchange)

    async def _watch(self, exchange: Exchange) -> None:
        """Count a connection as gone at the moment that shows, however long its script takes to end."""
        await exchange.gone()
        await self._leave(exchange)

    async def _leave(self, exchange: Exchange) -> None:
        exchange.over = True
        await self._count(exchange.path, -1)

    async def _count(self, path: str, change: int) -> None:
        self.open[path] += change
        self.total[path] += max(0, change)
        self.peak[path] = max(self.peak[path], self.open[path])
        async with self.changed:
            self.changed.notify_all()


async def endless(exchange: Exchange) -> None:
    """Stream numbered packets, 100 kB/s in small pieces, until the other side closes; `/5.ts` is channel 5."""
    channel = int("".join(filter(str.isdigit, exchange.path.partition("?")[0])) or 0)
    await exchange.send(OK)
    number = 0
    while True:
        await exchange.send(packets(number, 7, channel=channel))
        number += 7
        await asyncio.sleep(0.013)


@asynccontextmanager
async def origin(script: Script = endless, *, context: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Run an upstream.

    Args:
        script: Answers each request; the connection is closed when it returns, or when the other side closes.
        context: For one that speaks TLS.
    """
    running = Origin(script, "https" if context else "http")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(running.answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        pending = list(tasks)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
