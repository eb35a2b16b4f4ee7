"""Providers that speak TLS, as the program asks them by itself: whom it trusts is settled when it starts."""

import asyncio
import os
import random
import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest
import yaml

from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import send
from tests.helpers.hls_proxy import links_of
from tests.helpers.origin import OK, Exchange, Origin
from tests.helpers.stream import PACKET, packets
from tests.helpers.tls import certify, tls_origin

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # the program is a process of its own

CHUNK_DELAY = 0.02
SLOW = packets(0, 120)
FAST = packets(0, 30_000)
FILM = random.Random(0).randbytes(1 << 20)
SEGMENTS = [packets(1000 * number, 900) for number in range(3)]


async def slowly(exchange: Exchange) -> None:
    """Send pieces of all sizes but large ones, so slowly that each is overdue before there is enough for a chunk."""
    chance = random.Random(0)
    exchange.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await exchange.send(OK + SLOW[: 7 * PACKET])
    position = 7 * PACKET
    while position < len(SLOW):
        size = chance.choice((50, PACKET, 1000, 7 * PACKET))
        await asyncio.sleep(chance.choice((0, CHUNK_DELAY / 2, 2 * CHUNK_DELAY)))
        await exchange.send(SLOW[position : position + size])
        position += size


async def fast(exchange: Exchange) -> None:
    await exchange.send(OK)
    for start in range(0, len(FAST), 100_000):
        await exchange.send(FAST[start : start + 100_000])


def serves(body: bytes) -> Callable[[Exchange], Awaitable[None]]:
    async def answer(exchange: Exchange) -> None:
        await send(exchange, body)

    return answer


def playlist() -> bytes:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:0"]
    for number in range(len(SEGMENTS)):
        lines += ["#EXTINF:2,", f"segment{number}.ts"]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode()


class Provider:
    """Answers whatever is asked of it."""

    def __init__(self) -> None:
        self.origin: Origin | None = None

    async def answer(self, exchange: Exchange) -> None:
        answers = {
            "/list.m3u": serves(self._list()),
            "/slow.ts": slowly,
            "/fast.ts": fast,
            "/channel/index.m3u8": serves(playlist()),
            "/film.mp4": serves(FILM),
        } | {f"/channel/segment{number}.ts": serves(body) for number, body in enumerate(SEGMENTS)}
        await answers[exchange.path](exchange)

    def _list(self) -> bytes:
        assert self.origin
        lines = ["#EXTM3U"]
        for name, path in (
            ("Slow", "/slow.ts"),
            ("Fast", "/fast.ts"),
            ("Channel", "/channel/index.m3u8"),
            ("Film", "/film.mp4"),
        ):
            lines += [f'#EXTINF:-1 tvg-id="{name}",{name}', self.origin.url(path)]
        return "\n".join([*lines, ""]).encode()


@dataclass
class Program:
    """The program, running.

    Attributes:
        base: The address that it is asked at.
        session: Who asks.
        process: Its process.
    """

    base: str
    session: aiohttp.ClientSession
    process: asyncio.subprocess.Process

    async def get(self, url: str, **headers: str) -> tuple[int, bytes]:
        """Ask for something; return the status and the whole body."""
        async with self.session.get(urljoin(self.base, url), headers=headers) as response:
            return response.status, await response.read()

    async def links(self) -> dict[str, str]:
        """Return where its list says that the channels are, by their names."""
        _, body = await self.get("/playlist.m3u")
        lines = body.decode().splitlines()
        return {
            line.rpartition(",")[2]: lines[number + 1]
            for number, line in enumerate(lines)
            if line.startswith("#EXTINF")
        }

    async def said(self) -> str:
        """End it, and return what it has said since it was ready."""
        self.process.terminate()
        assert self.process.stderr
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def program(folder: Path, url: str, trusted: Path) -> AsyncIterator[Program]:
    """Run the program.

    Args:
        folder: Where it works.
        url: Of the list of its provider.
        trusted: The certificates that it trusts.
    """
    settings = {
        "server": {"host": "127.0.0.1", "port": 0},
        "playlists": [{"url": url, "name": "provider"}],
        "streams": {"direct": url.replace("list.m3u", "slow.ts")},
        "relay": {"chunk_delay": CHUNK_DELAY},
        "retry": {"attempts": 0},
        "slate": {"enabled": False},
        "failover": {"watch": False},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "SSL_CERT_FILE": str(trusted)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamproxy", cwd=folder, env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    try:
        async for line in process.stderr:
            if match := re.match(rb"Playlist: http://[^:/]+(:\d+)/playlist\.m3u", line):
                break
        else:
            pytest.fail("it ended without saying where its playlist is")
        async with aiohttp.ClientSession() as session:
            yield Program(f"http://127.0.0.1{match[1].decode()}", session, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def trusting(folder: Path) -> AsyncIterator[tuple[Program, dict[str, str]]]:
    """Run a provider and the program; give that, and where its channels are."""
    certificate, provider = certify(folder / "upstream.pem"), Provider()
    async with (
        tls_origin(provider.answer, certificate) as provider.origin,
        program(folder, provider.origin.url("/list.m3u"), certificate) as running,
    ):
        yield running, await running.links()


async def test_a_list_is_read(tmp_path: Path) -> None:
    async with trusting(tmp_path) as (running, links):
        assert {"Slow", "Fast", "Channel", "Film"} <= links.keys()
        assert all(link.startswith(running.base) for link in links.values())


@pytest.mark.parametrize(("name", "sent"), [("Slow", SLOW), ("Fast", FAST)], ids=["slow", "fast"])
async def test_a_stream_is_passed_on_byte_by_byte(tmp_path: Path, name: str, sent: bytes) -> None:
    async with trusting(tmp_path) as (running, links):
        status, body = await running.get(links[name])

        assert status == 200
        assert body == sent


async def test_the_segments_of_a_channel_are_passed_on(tmp_path: Path) -> None:
    async with trusting(tmp_path) as (running, links):
        status, body = await running.get(links["Channel"])
        assert status == 200

        segments = [urljoin(links["Channel"], link) for link in links_of(body.decode())]
        assert all(link.startswith(running.base) for link in segments)
        found = [await running.get(link) for link in segments]

        assert found == [(200, segment) for segment in SEGMENTS]


async def test_a_film_is_passed_on_in_whole_and_in_part(tmp_path: Path) -> None:
    async with trusting(tmp_path) as (running, links):
        assert await running.get(links["Film"]) == (200, FILM)
        assert await running.get(links["Film"], Range="bytes=500000-599999") == (206, FILM[500_000:600_000])


async def test_a_certificate_that_is_not_trusted_is_named_as_what_is_wrong(tmp_path: Path) -> None:
    shown, trusted = certify(tmp_path / "upstream.pem"), certify(tmp_path / "trusted.pem")
    provider = Provider()
    async with (
        tls_origin(provider.answer, shown) as provider.origin,
        program(tmp_path, provider.origin.url("/list.m3u"), trusted) as running,
    ):
        status, body = await running.get("/stream/direct.ts")
        said = await running.said()

    assert status == 502
    assert "SSL_CERT_FILE" in body.decode()
    assert "certificate is not trusted" in said
    assert not provider.origin.exchanges
