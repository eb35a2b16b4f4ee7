"""One HLS upstream played from an origin on a real socket, and what such an origin lists."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC

from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.errors import UpstreamStalled
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.hls import HlsSource
from tests.helpers.hls_origin import HlsOrigin, Jumps, Recorder, media, segment

LIVE = "/live.m3u8"
MASTER = "/master.m3u8"
KEY = bytes(range(16))
KEY_TAG = '#EXT-X-KEY:METHOD=AES-128,URI="/key"'


class Time(Protocol):
    """What passes."""

    def clock(self) -> float:
        """Return the time in seconds."""

    def sleep(self, seconds: float, /) -> Awaitable[None]:
        """Wait."""


@asynccontextmanager
async def source_of(
    origin: HlsOrigin,
    path: str = LIVE,
    *,
    time: Time | None = None,
    threads: int = 4,
    timeout: float = 2,
    headers: dict[str, str] | None = None,
    relay: RelayConfig | None = None,
    **settings: Any,
) -> AsyncIterator[HlsSource]:
    """Make the source that reads a playlist, with a time of its own."""
    time = time or Jumps()
    options = OptionsConfig(timeout=timeout, threads=threads, user_agent="agent/1")
    async with Client(options) as client:
        upstream = Upstream(origin.url(path), "tv", headers or {})
        relay = relay or RelayConfig(chunk_delay=0.05)
        yield HlsSource(upstream, client, options, relay, clock=time.clock, sleep=time.sleep, **settings)


@asynccontextmanager
async def running(
    origin: HlsOrigin, path: str = LIVE, *, sink: Recorder | None = None, **settings: Any
) -> AsyncIterator[Recorder]:
    """Play for as long as the block takes."""
    sink = sink or Recorder()
    async with source_of(origin, path, **settings) as source:
        task = asyncio.create_task(source.run(sink))
        try:
            yield sink
        finally:
            task.cancel()
            await asyncio.wait([task])


async def play(origin: HlsOrigin, path: str = LIVE, **settings: Any) -> bytes:
    """Play to the end of the playlist; return what was written."""
    sink = Recorder()
    async with source_of(origin, path, **settings) as source:
        await source.run(sink)
    return sink.data


async def play_until_stalled(origin: HlsOrigin, path: str = LIVE, **settings: Any) -> bytes:
    """Play until nothing new comes; return what was written."""
    sink = Recorder()
    async with source_of(origin, path, **settings) as source:
        with pytest.raises(UpstreamStalled, match="nothing new"):
            await source.run(sink)
    return sink.data


def names(first: int, count: int, suffix: str = ".ts") -> list[str]:
    """Name segments by their numbers."""
    return [f"{number}{suffix}" for number in range(first, first + count)]


def serve_segments(origin: HlsOrigin, first: int = 0, count: int = 20) -> None:
    """Serve segments under the names that `names` gives them."""
    for number in range(first, first + count):
        origin.serve(f"/{number}.ts", segment(number))


def live(first: int, count: int = 3, **more: Any) -> str:
    """List segments, of which the first has this number, and more will come."""
    return media(names(first, count), first=first, **more)


def film(count: int, **more: Any) -> str:
    """List segments to which nothing will be added."""
    return media(names(0, count), ended=True, **more)


def asked_for(origin: HlsOrigin) -> list[int]:
    """Tell the numbers of the segments that were asked for, ascending."""
    return sorted(int(path[1:-3]) for path in origin.paths if path.endswith(".ts"))


async def opened(origin: HlsOrigin, *paths: str) -> None:
    """Wait until these paths are open, and no others."""
    await origin.socket.until(lambda seen: set(+seen.open) == set(paths))


async def answered(origin: HlsOrigin, *paths: str) -> None:
    """Wait until these paths were asked for, and none of them is open any more."""
    await origin.socket.until(lambda seen: all(seen.total[path] and not seen.open[path] for path in paths))


async def at_rest(origin: HlsOrigin, requests: int) -> None:
    """Wait until there were so many requests, and none is open any more."""
    await origin.socket.until(lambda seen: len(seen.exchanges) == requests and not +seen.open)


def encrypted(plain: bytes, *, sequence: int = 0, key: bytes = KEY) -> bytes:
    """Encrypt a segment of this number, for which the playlist gives no vector."""
    missing = 16 - len(plain) % 16
    encryptor = Cipher(AES128(key), CBC(sequence.to_bytes(16, "big"))).encryptor()
    return encryptor.update(plain + bytes([missing]) * missing)


def multivariant(*variants: str, more: str = "") -> str:
    """Write a multivariant playlist; each variant is `NAME ATTRIBUTES`."""
    lines = ["#EXTM3U", *([more] if more else [])]
    for variant in variants:
        name, _, attributes = variant.partition(" ")
        lines += [f"#EXT-X-STREAM-INF:{attributes}", name]
    return "\n".join([*lines, ""])
