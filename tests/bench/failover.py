"""How long viewers wait: for a backup when an upstream is lost, and for a picture when they come in the middle."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

from tests.bench.processes import Server
from tests.helpers.media import transport_stream
from tests.helpers.origin import OK, Exchange, Origin, origin

PACKET = 188
GROUP = 10
"""Seconds from one key frame to the next."""

_SHARE = 0.37
"""Of such a group is over when viewers come, and when an upstream is lost."""
_SECONDS = 2 * GROUP
_BURST = 25
"""Pictures that a backup sends at once."""
_INTERVAL = 0.04
"""Seconds from one send to the next, of what is sent as it is played."""
_PATIENCE = 10.0
"""Seconds for anything to happen; many times what it takes."""
_SETTLE = 0.3
"""Seconds after which what was sent has been passed on."""

STREAMS: dict[str, dict[str, Any]] = {
    "h264": {"b_frames": 3},
    "hevc": {"video": "libx265", "b_frames": 2},
    "mpeg2": {"video": "mpeg2video", "audio": "mp2"},
    "interlaced": {"encoder": ("-flags", "+ilme+ildct")},
}
"""What is joined, by name: the arguments of `transport_stream`."""


def why_not() -> str | None:
    """Say why nothing can be measured on this machine; None if it can."""
    return None if shutil.which("ffmpeg") else "there is no ffmpeg to make streams with"


class Provider:
    """Channels whose upstreams are lost when this says so.

    Paths: /lost/N ends when it is told to, /backup/N begins with a key frame, and /NAME is a stream of `STREAMS` at the
    place where viewers come.
    """

    def __init__(self) -> None:
        stream = _stream(**STREAMS["h264"])
        begin, end = _key_frames(stream)
        self.beginning = stream[: _packets(begin + _SHARE * (end - begin))]
        self.backup = stream[end - 3 * PACKET :]
        # A packet without adaptation field passes with all its payload as it is.
        plain = next(at for at in range(end + PACKET, len(stream), PACKET) if stream[at + 3] & 0x30 == 0x10)
        self.mark = stream[plain + 4 : plain + PACKET]
        self.lost_at: dict[str, float] = {}
        self._losses: dict[str, asyncio.Event] = {}

    async def answer(self, exchange: Exchange) -> None:
        """Serve a connection."""
        kind, _, number = exchange.path.lstrip("/").partition("/")
        if kind == "lost":
            await exchange.send(OK + self.beginning)
            await self._losses.setdefault(number, asyncio.Event()).wait()
            self.lost_at[number] = asyncio.get_running_loop().time()
            return
        await (
            _play(exchange, self.backup, _pictures(self.backup)[_BURST])
            if kind == "backup"
            else _play(exchange, *_joined(kind))
        )

    def lose(self, number: str) -> None:
        """Lose an upstream."""
        self._losses.setdefault(number, asyncio.Event()).set()


@asynccontextmanager
async def providing() -> AsyncIterator[tuple[Provider, Origin]]:
    """Run the provider."""
    provider = await asyncio.to_thread(Provider)
    for name in STREAMS:
        await asyncio.to_thread(_joined, name)
    async with origin(provider.answer) as seen:
        yield provider, seen


def streams(seen: Origin, switches: int) -> dict[str, Any]:
    """Make the configuration of the channels."""
    switching = {
        f"c{number}": {"url": seen.url(f"/lost/{number}"), "failover": [seen.url(f"/backup/{number}")]}
        for number in range(switches)
    }
    return switching | {name: seen.url(f"/{name}") for name in STREAMS}


async def switch(server: Server, provider: Provider, number: int) -> float:
    """Lose an upstream, and tell the seconds from then until a viewer gets the first of the backup."""
    reader, writer = await _ask(server, f"/stream/c{number}.ts")
    try:
        await asyncio.sleep(_SETTLE)
        provider.lose(str(number))
        await _read_until(reader, lambda data: provider.mark in data)
        return asyncio.get_running_loop().time() - provider.lost_at[str(number)]
    finally:
        writer.close()


@asynccontextmanager
async def on_air(server: Server, name: str) -> AsyncIterator[None]:
    """Watch a stream, until so much of it has come that others may."""
    _, begun = _joined(name)
    reader, writer = await _ask(server, f"/stream/{name}.ts")
    try:
        await _read_until(reader, lambda data: len(data) >= begun)
        await asyncio.sleep(_SETTLE)
        yield
    finally:
        writer.close()


async def join(server: Server, name: str) -> float:
    """Come to a running stream, and tell the seconds from the request until a key frame is complete."""
    begin = asyncio.get_running_loop().time()
    reader, writer = await _ask(server, f"/stream/{name}.ts")
    try:
        await _read_until(reader, _has_picture)
        return asyncio.get_running_loop().time() - begin
    finally:
        writer.close()


async def _ask(server: Server, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(_PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"the proxy answered {head[:40]!r}")
    return reader, writer


async def _read_until(reader: asyncio.StreamReader, condition: Callable[[bytes], bool]) -> None:
    data = b""
    async with asyncio.timeout(_PATIENCE):
        while not condition(data):
            more = await reader.read(1 << 16)
            if not more:
                raise RuntimeError("the proxy ended the stream")
            data += more


def _stream(**what: Any) -> bytes:
    return transport_stream(seconds=_SECONDS, size="640x360", group=25 * GROUP, **what)


def _joined(name: str) -> tuple[bytes, int]:
    """Return a stream, and the position in it of the place where viewers come, shortly after its second key frame."""
    stream = _stream(**STREAMS[name])
    _, end = _key_frames(stream)
    return stream, _packets(end + _SHARE * (len(stream) - end))


async def _play(exchange: Exchange, stream: bytes, begun: int) -> None:
    """Send a stream up to a position at once, and the rest as it is played."""
    await exchange.send(OK + stream[:begun])
    piece = _packets(len(stream) / _SECONDS * _INTERVAL)
    for at in range(begun, len(stream), piece):
        await exchange.send(stream[at : at + piece])
        await asyncio.sleep(_INTERVAL)
    await asyncio.Event().wait()


def _packets(position: float) -> int:
    return int(position) // PACKET * PACKET


def _key_frames(stream: bytes) -> list[int]:
    """Return where the key frames of the video begin, whose PID is 0x100."""
    return [at for at in _pictures(stream) if stream[at + 3] & 0x20 and stream[at + 4] and stream[at + 5] & 0x40]


def _pictures(data: bytes) -> list[int]:
    return [at for at in range(0, len(data) - PACKET + 1, PACKET) if data[at : at + 3] == b"\x47\x41\x00"]


def _has_picture(data: bytes) -> bool:
    """Tell whether a key frame is complete, which shows when the next picture begins."""
    keys = set(_key_frames(data))
    return any(first in keys for first, _ in pairwise(_pictures(data)))
