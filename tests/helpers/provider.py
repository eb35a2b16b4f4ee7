"""A provider that allows so many connections at one time, and whose channels have every kind of trouble."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import pytest

from streamproxy.config import Config
from streamproxy.server import wiring
from tests.helpers.origin import OK
from tests.helpers.proxy import config
from tests.helpers.stream import packets

BUSY = "all connections of the provider are in use"

CHANNELS = 10
FILMS = 2

FILM = packets(0, 1000)
"""What every file is."""

_ESTABLISHED = 1
_CHUNK = 7
"""Packets of a write."""
_INTERVAL = 0.01
"""Seconds between writes."""
_SERIAL = 1 << 32


class Trouble(StrEnum):
    """What becomes of a connection."""

    NONE = "none"
    REFUSED = "refused"
    CLOSED = "closed"
    RESET = "reset"
    SILENT = "silent"
    BLACK_HOLE = "black hole"
    HUNG_UP = "hung up"


_AT_ONCE = {Trouble.REFUSED, Trouble.HUNG_UP, Trouble.BLACK_HOLE}


class Provider:
    """Streams channels `/0.ts`, `/1.ts` and so on, with numbered packets, and files `/0.mp4` and so on.

    The numbers of each connection begin with `serial << 32`, so that they tell which one they came over.

    Attributes:
        limit: Connections that it allows; one beyond is answered with 403 and counted.
        open: Connections now.
        peak: The most there were.
        beyond: How many were beyond the limit.
        served: How many there were ever.
        lost: Serials of those that it ended, or let fall silent, itself.
        troubles: What becomes of the next connection, drawn from these by chance; nothing where there are none.
        port: Where it listens on 127.0.0.1.
    """

    def __init__(self, limit: int, troubles: tuple[Trouble, ...] = (), *, chance: random.Random | None = None) -> None:
        self.limit = limit
        self.open: set[_Connection] = set()
        self.peak = 0
        self.beyond = 0
        self.served = 0
        self.lost: set[int] = set()
        self.troubles = troubles
        self.port = 0
        self._chance = chance or random.Random(0)
        self._changed = asyncio.Event()

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def empty(self, *, within: float = 2) -> None:
        """Wait until no connection is open."""
        async with asyncio.timeout(within):
            while self.open:
                self._changed.clear()
                await self._changed.wait()

    def draw(self) -> tuple[Trouble, int]:
        """Say what becomes of a connection, and after how many writes."""
        trouble = self._chance.choice(self.troubles) if self.troubles else Trouble.NONE
        return trouble, self._chance.randrange(1, 12)

    def enter(self, connection: "_Connection") -> bool:
        """Count a connection in; tell whether it is one too many."""
        # What the other side has closed may be waiting to be read as such: the kernel knows better.
        now = 1 + sum(other.is_established for other in self.open)
        self.open.add(connection)
        self.served += 1
        self.peak = max(self.peak, now)
        self.beyond += now > self.limit
        return now > self.limit

    def leave(self, connection: "_Connection") -> None:
        """Count a connection out."""
        self.open.discard(connection)
        self._changed.set()


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._serial = 0
        self._written = 0
        self._refused = False
        self._request = b""
        self._channel = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_established(self) -> bool:
        """Whether both sides have it open."""
        raw = self.transport.get_extra_info("socket")
        try:
            return bool(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED)
        except OSError:
            return False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._refused = self._provider.enter(self)
        self._serial = self._provider.served

    def data_received(self, data: bytes) -> None:
        self._request += data
        if not self._request.endswith(b"\r\n\r\n"):
            return
        path = self._request.split(b" ")[1].decode()
        number, _, kind = path.strip("/").partition(".")
        self._channel = int(number)
        self._trouble, self._writes = self._provider.draw()
        if self._refused:
            self.transport.write(b"HTTP/1.1 403 Too Many\r\nContent-Length: 0\r\n\r\n")
        elif self._trouble in _AT_ONCE:
            self._end()
        elif kind == "mp4":
            head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % len(FILM) + FILM[: len(FILM) // 2])
            self._timer = asyncio.get_running_loop().call_later(0.1, self.transport.write, FILM[len(FILM) // 2 :])
        else:
            self.transport.write(OK)
            self._stream()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._provider.leave(self)

    def _stream(self) -> None:
        first = self._serial * _SERIAL + self._written * _CHUNK
        self.transport.write(packets(first, _CHUNK, channel=self._channel))
        self._written += 1
        if self._trouble is not Trouble.NONE and self._written >= self._writes:
            self._end()
        elif not self.transport.is_closing():
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._stream)

    def _end(self) -> None:
        self._provider.lost.add(self._serial)
        match self._trouble:
            case Trouble.REFUSED:
                self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                self.transport.close()
            case Trouble.CLOSED | Trouble.HUNG_UP:
                self.transport.close()
            case Trouble.RESET:
                raw = self.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.transport.abort()
            case _:
                pass  # silent from here on


def serial_of(number: int) -> int:
    """Tell which connection a packet came over."""
    return number // _SERIAL


@asynccontextmanager
async def provider(
    limit: int, troubles: tuple[Trouble, ...] = (), *, chance: random.Random | None = None
) -> AsyncIterator[Provider]:
    """Run a provider; see `Provider`."""
    running = Provider(limit, troubles, chance=chance)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(running), "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        for connection in list(running.open):
            connection.transport.abort()
        await running.empty()


def on_account(folder: Path, provider: Provider, limit: int, **settings: Any) -> Config:
    """Make a configuration with channels `c0`, `c1` and so on, and files `f0` and so on, all of one account.

    Args:
        folder: Where to put what it needs.
        provider: Whose they are.
        limit: Connections that the account allows.
        settings: More of it, further streams included.
    """
    urls = {f"c{number}": provider.url(f"/{number}.ts") for number in range(CHANNELS)}
    urls |= {f"f{number}": provider.url(f"/{number}.mp4") for number in range(FILMS)}
    streams = {name: {"url": url, "account": "provider"} for name, url in urls.items()} | settings.pop("streams", {})
    (folder / "list.m3u").write_text("#EXTM3U\n#EXTINF:-1,Other\nhttp://127.0.0.1:9/other.ts\n")
    account = {"url": str(folder / "list.m3u"), "name": "provider", "max_connections": limit}
    return config(folder, playlists=[account], streams=streams, **settings)


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a free connection for moments instead of seconds."""
    monkeypatch.setattr(wiring, "_GRACE", 0.2)
    monkeypatch.setattr(wiring, "_SHORT_GRACE", 0.1)
