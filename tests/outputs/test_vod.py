"""Files, as viewers get them over real sockets."""

import asyncio
import email
import gc
import logging
import logging.handlers
import random
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from streamproxy.audience import Audience
from streamproxy.config import Config
from streamproxy.model import Channel, Upstream
from streamproxy.outputs.vod import serve_file
from streamproxy.sources.accounts import Account, Accounts
from streamproxy.sources.client import Client
from streamproxy.web import ACCOUNTS, AUDIENCE, CLIENT, SETTINGS, answer_errors
from tests.helpers.files import MODIFIED, FileServer, digest, noise
from tests.helpers.origin import Exchange, Origin, Script, origin
from tests.helpers.proxy import config

FILE = noise(200_000)

_IMPATIENCE = 500
"""Milliseconds after which the kernel drops a viewer who reads nothing, unless it is told otherwise."""


@dataclass
class Fixed:
    """Settings that stay."""

    config: Config


@dataclass
class Shop:
    """Files on offer, and who asks for them.

    Attributes:
        port: Where they are to be had.
        upstream: Where they come from.
        viewer: Somebody who follows no redirects and unpacks nothing.
        audience: Who is being served.
        account: The provider's, without limit; where a test sets one, no connection is waited for longer than a moment.
    """

    port: int
    upstream: Origin
    viewer: aiohttp.ClientSession
    audience: Audience
    account: Account

    def get(
        self, headers: dict[str, str] | None = None, *, method: str = "GET"
    ) -> "aiohttp.client._RequestContextManager":
        """Request the film."""
        return self.viewer.request(method, f"http://127.0.0.1:{self.port}/stream/film", headers=headers)

    @property
    def asked(self) -> list[str]:
        """What the upstream was asked for: method and range."""
        return [
            f"{one.raw.split(b' ')[0].decode()} {one.headers.get('Range', '')}".strip()
            for one in self.upstream.exchanges
        ]


@asynccontextmanager
async def shop(folder: Path, script: Script, *, timeout: float = 2) -> AsyncIterator[Shop]:
    """Serve what an upstream has, with what a viewer's connection holds as small as can be."""
    settings = config(folder, options={"timeout": timeout}, relay={"stall_timeout": timeout})
    async with origin(script) as upstream, Client(settings.options) as client, aiohttp.ClientSession() as viewer:

        async def handle(request: web.Request) -> web.StreamResponse:
            where = Upstream(upstream.url("/film.mkv"), "provider", account="provider")
            return await serve_file(request, Channel("film", "Film", (where,)))

        app = web.Application(middlewares=[answer_errors])
        app[SETTINGS] = Fixed(settings)
        app[CLIENT] = client
        app[AUDIENCE] = audience = Audience()
        app[ACCOUNTS] = accounts = Accounts(grace=0.05)
        app.router.add_route("GET", "/stream/{id}", handle)
        app.router.add_route("HEAD", "/stream/{id}", handle)
        logger = logging.Logger("shop", logging.WARNING)
        complaints = logging.handlers.BufferingHandler(1000)
        logger.addHandler(complaints)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, logger=logger, shutdown_timeout=0.1)
        await runner.setup()
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _IMPATIENCE)
        await web.SockSite(runner, listening).start()
        try:
            account = accounts.of("provider")
            yield Shop(listening.getsockname()[1], upstream, viewer, audience, account)
        finally:
            await runner.cleanup()
        async with asyncio.timeout(2):
            while account.held or account.waiting:
                await asyncio.sleep(0.001)
        assert not [record.getMessage() for record in complaints.buffer]


async def fails(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer that breaks off; return what there was of it."""
    received = bytearray()
    try:
        async for piece in response.content.iter_any():
            received += piece
    except aiohttp.ClientError:
        return bytes(received)
    pytest.fail("it came to an end")


def parts(response: aiohttp.ClientResponse, body: bytes) -> list[Message]:
    """Take a multipart answer apart."""
    whole = email.message_from_bytes(f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode() + body)
    return [part for part in whole.walk() if part is not whole]


def payload(part: Message) -> bytes:
    """Return the bytes of a part."""
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-", 0, 199_999),
        ("bytes=0-0", 0, 0),
        ("bytes=1000-1999", 1000, 1999),
        ("bytes=150000-", 150_000, 199_999),
        ("bytes=-1", 199_999, 199_999),
        ("bytes=-500000", 0, 199_999),
        ("bytes=199999-999999999999999999999999", 199_999, 199_999),
        ("BYTES=5-6", 5, 6),
    ],
)
async def test_a_part_is_answered_with_206_and_says_where_it_belongs(
    tmp_path: Path, asked: str, first: int, last: int
) -> None:
    async with shop(tmp_path, FileServer(FILE)) as film, film.get({"Range": asked}) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/200000"
        assert response.headers["Content-Length"] == str(last - first + 1)
        assert digest(await response.read()) == digest(FILE[first : last + 1])
        assert len(film.asked) == 1


@pytest.mark.parametrize(
    "asked", [None, "bytes=abc", "bytes=5-4", "bytes=0-1,x", "items=0-5", "bytes=\u0661-\u0662", "bytes=-", "0-5"]
)
async def test_without_a_range_or_with_none_that_makes_sense_the_whole_file_comes(
    tmp_path: Path, asked: str | None
) -> None:
    async with shop(tmp_path, FileServer(FILE)) as film, film.get({"Range": asked} if asked else {}) as response:
        assert response.status == 200
        assert "Content-Range" not in response.headers
        assert response.headers["Accept-Ranges"] == "bytes"
        assert digest(await response.read()) == digest(FILE)
        assert film.asked == ["GET"]


async def test_any_ranges_of_any_file_are_what_they_are_of_its_bytes(tmp_path: Path) -> None:
    chance = random.Random(9)
    server = FileServer(b"")
    async with shop(tmp_path, server) as film:
        for _ in range(60):
            size = chance.choice((1, 2, 10, 1000, 70_000))
            server.data = noise(size, seed=size)
            pairs = [_some_range(chance, size) for _ in range(chance.choice((1, 1, 2, 3, 6)))]
            wanted = sorted(set().union(*(set(range(size)[part]) for _, part in pairs)))
            async with film.get({"Range": "bytes=" + ",".join(text for text, _ in pairs)}) as response:
                body = await response.read()
                if not wanted:
                    assert response.status == 416
                    continue
                assert response.status == 206
                assert int(response.headers["Content-Length"]) == len(body)
                found: dict[int, int] = {}
                for told, piece in _pieces(response, body):
                    first = int(told.removeprefix("bytes ").partition("-")[0])
                    assert told == f"bytes {first}-{first + len(piece) - 1}/{size}"
                    found |= dict(enumerate(piece, first))
                assert found == {place: server.data[place] for place in wanted}


def _some_range(chance: random.Random, size: int) -> tuple[str, slice]:
    """Make a range, and say with Python's own means what it is."""
    first, more = chance.randrange(size + size // 4 + 1), chance.randrange(size + 1)
    match chance.randrange(3):
        case 0:
            return f"{first}-", slice(first, None)
        case 1:
            return f"{first}-{first + more}", slice(first, first + more + 1)
        case _:
            return f"-{more}", slice(max(0, size - more), size)


def _pieces(response: aiohttp.ClientResponse, body: bytes) -> list[tuple[str, bytes]]:
    """List where each part of an answer belongs, and what it is."""
    if "Content-Range" in response.headers:
        return [(response.headers["Content-Range"], body)]
    return [(str(part["Content-Range"]), payload(part)) for part in parts(response, body)]


async def test_two_headers_that_each_name_a_range_are_none(tmp_path: Path) -> None:
    async with shop(tmp_path, FileServer(FILE)) as film:
        reader, writer = await asyncio.open_connection("127.0.0.1", film.port)
        writer.write(b"GET /stream/film HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\nRange: bytes=4-5\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_the_head_of_the_answer_tells_what_a_player_needs_and_nothing_of_the_provider(tmp_path: Path) -> None:
    said = {
        "Content-Type": "application/octet-stream",
        "ETag": '"v1"',
        "Last-Modified": MODIFIED,
        "Set-Cookie": "session=secret",
        "Content-Disposition": "attachment",
        "Alt-Svc": 'h3=":443"',
        "Strict-Transport-Security": "max-age=1",
        "Cache-Control": "max-age=9999",
        "X-Secret": "1",
    }
    async with shop(tmp_path, FileServer(FILE, said)) as film, film.get() as response:
        told = {name: value for name, value in response.raw_headers if name not in (b"Date", b"Server")}
        assert told == {
            b"Content-Type": b"video/x-matroska",
            b"Content-Length": b"200000",
            b"Accept-Ranges": b"bytes",
            b"ETag": b'"v1"',
            b"Last-Modified": MODIFIED.encode(),
            b"Cache-Control": b"no-cache",
            b"Access-Control-Allow-Origin": b"*",
            b"Access-Control-Expose-Headers": b"Content-Length, Content-Range, Accept-Ranges, ETag",
            b"X-Content-Type-Options": b"nosniff",
            b"X-Accel-Buffering": b"no",
        }


async def test_several_parts_come_in_one_answer_of_the_length_it_tells(tmp_path: Path) -> None:
    asked = "bytes=100-199, 150-299, 100000-149999, -1, 300-300, 900000-"
    async with shop(tmp_path, FileServer(FILE)) as film, film.get({"Range": asked}) as response:
        body = await response.read()

        assert response.status == 206
        assert "Content-Range" not in response.headers
        assert response.headers["Content-Length"] == str(len(body))
        found = {str(part["Content-Range"]): digest(payload(part)) for part in parts(response, body)}
        assert found == {
            f"bytes {first}-{last}/200000": digest(FILE[first : last + 1])
            for first, last in ((100, 300), (100_000, 149_999), (199_999, 199_999))
        }
        assert len(film.asked) == 1 + 3


async def test_several_parts_that_are_one_come_as_one(tmp_path: Path) -> None:
    async with shop(tmp_path, FileServer(FILE)) as film, film.get({"Range": "bytes=0-9,10-19,5-25"}) as response:
        assert response.headers["Content-Range"] == "bytes 0-25/200000"
        assert await response.read() == FILE[:26]


async def test_several_parts_survive_breaks_too(tmp_path: Path) -> None:
    server = FileServer(FILE, cuts=iter([None, 10_000, None, 20_000]))
    async with shop(tmp_path, server) as film, film.get({"Range": "bytes=0-99999,100010-"}) as response:
        first, second = parts(response, await response.read())
        assert digest(payload(first)) == digest(FILE[:100_000])
        assert digest(payload(second)) == digest(FILE[100_010:])


@pytest.mark.parametrize("server", [FileServer(FILE, ranges=False), FileServer(FILE, length=False, ranges=False)])
async def test_several_parts_of_what_has_no_parts_are_the_whole(tmp_path: Path, server: FileServer) -> None:
    async with shop(tmp_path, server) as film, film.get({"Range": "bytes=0-1,4-5"}) as response:
        assert response.status == 200
        assert digest(await response.read()) == digest(FILE)


async def test_more_ranges_than_a_player_needs_are_refused_without_asking_the_upstream(tmp_path: Path) -> None:
    many = "bytes=" + ",".join(f"{place}-{place}" for place in range(0, 34, 2))
    async with shop(tmp_path, FileServer(FILE)) as film, film.get({"Range": many}) as response:
        assert response.status == 416
        assert film.asked == []


@pytest.mark.parametrize("asked", ["bytes=200000-", "bytes=-0", "bytes=300000-300001,200000-"])
@pytest.mark.parametrize("ranges", [True, False])
async def test_what_the_file_does_not_have_is_answered_with_its_size(tmp_path: Path, asked: str, ranges: bool) -> None:
    async with shop(tmp_path, FileServer(FILE, ranges=ranges)) as film, film.get({"Range": asked}) as response:
        if "," in asked and not ranges:
            assert response.status == 200
        else:
            assert response.status == 416
            assert response.headers["Content-Range"] == "bytes */200000"
            assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(("asked", "first", "last"), [("bytes=100-199", 100, 199), ("bytes=0-1", 0, 1)])
async def test_parts_are_cut_out_of_what_an_upstream_only_sends_whole(
    tmp_path: Path, asked: str, first: int, last: int
) -> None:
    async with shop(tmp_path, FileServer(FILE, ranges=False)) as film, film.get({"Range": asked}) as response:
        assert response.status == 206
        assert response.headers["Accept-Ranges"] == "bytes"
        assert await response.read() == FILE[first : last + 1]


async def test_who_asks_for_all_as_a_range_learns_that_the_upstream_has_none(tmp_path: Path) -> None:
    async with shop(tmp_path, FileServer(FILE, ranges=False)) as film, film.get({"Range": "bytes=0-"}) as response:
        assert response.status == 200
        assert digest(await response.read()) == digest(FILE)


async def test_a_place_that_an_upstream_cannot_get_to_is_answered_with_502_and_why(tmp_path: Path) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n" + FILE)

    async with shop(tmp_path, script) as film:
        async with film.get({"Range": "bytes=800000000-"}) as response:
            assert response.status == 502
            assert response.headers["X-Streamproxy-Error"] == "the upstream cannot send a part of the file"
        async with film.get({"Range": "bytes=0-"}) as response:
            assert (response.status, response.headers["Accept-Ranges"]) == (200, "none")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n<html>expired</html>", 502),
        (b"HTTP/1.1 206 OK\r\nContent-Range: bytes 1-9/10\r\nContent-Length: 9\r\n\r\n123456789", 502),
        (b"garbage\r\n\r\n", 502),
        (None, 504),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_upstream_that_fails_is_answered_with_why(
    tmp_path: Path, answer: bytes | None, status: int, method: str
) -> None:
    async def script(exchange: Exchange) -> None:
        if answer is None:
            await asyncio.Event().wait()
        else:
            await exchange.send(answer)

    async with shop(tmp_path, script, timeout=0.2) as film, film.get({"Range": "bytes=0-9"}, method=method) as response:
        assert response.status == status
        assert "upstream" in response.headers["X-Streamproxy-Error"]


async def test_head_tells_length_and_type_without_a_body(tmp_path: Path) -> None:
    async with shop(tmp_path, FileServer(FILE)) as film:
        async with film.get({"Range": "bytes=0-9"}, method="HEAD") as response:
            assert response.status == 200
            assert response.headers["Content-Length"] == "200000"
            assert response.headers["Content-Type"] == "video/mp4"
            assert response.headers["Accept-Ranges"] == "bytes"
            assert response.headers["ETag"] == '"v1"'
        assert film.asked == ["HEAD"]


async def test_head_works_where_the_provider_does_not_answer_it(tmp_path: Path) -> None:
    async with shop(tmp_path, FileServer(FILE, head=False)) as film:
        async with film.get(method="HEAD") as response:
            assert response.headers["Content-Length"] == "200000"
            assert "Content-Range" not in response.headers
        assert film.asked == ["HEAD", "GET bytes=0-0"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-None-Match": '"v0", W/"v1"'}, 304),
        ({"if-none-match": '"v2"'}, 200),
        ({"If-Modified-Since": MODIFIED}, 304),
        ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 200),
        ({"If-Match": '"v2"'}, 412),
        ({"If-None-Match": '"v1"', "Range": "bytes=0-9"}, 304),
        ({"If-None-Match": '"v1"', "Range": "bytes=0-9, 20-29"}, 304),
    ],
)
async def test_conditions_are_answered_from_what_the_upstream_says_of_the_file(
    tmp_path: Path, condition: dict[str, str], status: int, method: str
) -> None:
    server = FileServer(FILE, {"ETag": '"v1"', "Last-Modified": MODIFIED})
    async with shop(tmp_path, server) as film, film.get(condition, method=method) as response:
        assert response.status == status
        assert response.headers["ETag"] == '"v1"'
        assert digest(await response.read()) == digest(FILE if (status, method) == (200, "GET") else b"")
        await film.upstream.until(lambda seen: not seen.open["/film.mkv"])


@pytest.mark.parametrize(
    ("condition", "status"), [('"v1"', 206), (MODIFIED, 206), ('"v2"', 200), ('W/"v1"', 200), ("nonsense", 200)]
)
@pytest.mark.parametrize("asked", ["bytes=10-19", "bytes=10-19,15-18", "bytes=10-19,30-39", "bytes=200000-"])
async def test_a_part_of_another_version_is_the_whole_of_this_one(
    tmp_path: Path, condition: str, status: int, asked: str
) -> None:
    headers = {"ETag": '"v1"', "Last-Modified": MODIFIED, "Date": "Mon, 07 Nov 1994 08:49:37 GMT"}
    async with (
        shop(tmp_path, FileServer(FILE, headers)) as film,
        film.get({"Range": asked, "If-Range": condition}) as response,
    ):
        if status == 206 and asked != "bytes=200000-":
            assert response.status == 206
            assert FILE[10:20] in await response.read()
        else:
            assert response.status == 200
            assert digest(await response.read()) == digest(FILE)


async def test_a_connection_serves_one_request_after_the_other(tmp_path: Path) -> None:
    async with shop(tmp_path, FileServer(FILE)) as film:
        reader, writer = await asyncio.open_connection("127.0.0.1", film.port)
        for method, asked, size in (
            ("GET", "0-9", 10),
            ("HEAD", "0-9", 0),
            ("GET", "5-70004", 70_000),
            ("GET", "x", 200_000),
        ):
            request = f"{method} /stream/film HTTP/1.1\r\nHost: x\r\nRange: bytes={asked}\r\n\r\n"
            writer.write(request.encode())
            await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(size)
            assert digest(body) == digest(
                FILE[int(asked.partition("-")[0]) if size not in (0, 200_000) else 0 :][:size]
            )
        writer.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_an_upstream_that_breaks_off_anywhere_is_not_noticed(tmp_path: Path, reset: bool) -> None:
    chance = random.Random(11)
    for _ in range(6):
        server = FileServer(FILE, reset=reset, cuts=iter([chance.randrange(200_000) for _ in range(2)]))
        first = chance.randrange(150_000)
        async with shop(tmp_path, server) as film:
            async with film.get({"Range": f"bytes={first}-"}) as response:
                assert response.status == 206
                assert digest(await response.read()) == digest(FILE[first:])
            assert film.upstream.peak["/film.mkv"] == 1


async def test_a_file_that_changes_is_broken_off(tmp_path: Path) -> None:
    servers = iter([FileServer(FILE, cuts=iter([100_000])), FileServer(noise(200_000, seed=2), {"ETag": '"v2"'})])

    async def script(exchange: Exchange) -> None:
        await next(servers)(exchange)

    async with shop(tmp_path, script) as film, film.get() as response:
        assert FILE.startswith(await fails(response))


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_file_without_length_comes_whole_or_breaks_off(tmp_path: Path, chunked: bool) -> None:
    server = FileServer(FILE, length=False, chunked=chunked, cuts=iter([None, 100_000]), reset=True)
    async with shop(tmp_path, server) as film:
        async with film.get() as response:
            assert response.status == 200
            assert "Content-Length" not in response.headers
            assert digest(await response.read()) == digest(FILE)
        async with film.get() as response:
            assert FILE.startswith(await fails(response))


async def test_even_to_the_oldest_player_a_break_is_no_end(tmp_path: Path) -> None:
    server = FileServer(FILE, length=False, chunked=True, cuts=iter([None, 100_000]), reset=True)
    async with shop(tmp_path, server) as film:
        for complete in (True, False):
            reader, writer = await asyncio.open_connection("127.0.0.1", film.port)
            writer.write(b"GET /stream/film HTTP/1.0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            if complete:
                assert digest(await reader.read()) == digest(FILE)
            else:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            writer.close()


@asynccontextmanager
async def slow_viewer(film: Shop) -> AsyncIterator[socket.socket]:
    """Ask for the film over a connection that takes little on its own."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", film.port))
        await loop.sock_sendall(connection, b"GET /stream/film HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        yield connection


async def rest_of(connection: socket.socket) -> bytes:
    """Read the body of an answer that was not read before."""
    received = bytearray()
    while data := await asyncio.get_running_loop().sock_recv(connection, 1 << 20):
        received += data
    return bytes(received.partition(b"\r\n\r\n")[2])


async def test_a_viewer_who_does_not_read_makes_the_upstream_wait_and_costs_little(tmp_path: Path) -> None:
    server = FileServer(noise(64 << 20))
    async with shop(tmp_path, server) as film:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            async with slow_viewer(film) as connection:
                await server.waiting.wait()
                gc.collect()
                held = tracemalloc.get_traced_memory()[0] - before
                tracemalloc.stop()

                assert film.audience.present == 1
                assert film.audience.sent < 1 << 20
                assert held < 2 << 20
                assert digest(await rest_of(connection)) == digest(server.data)
        finally:
            tracemalloc.stop()
        assert len(film.upstream.exchanges) == 1


@pytest.mark.parametrize("size", [100_000, 5_000_000])
async def test_a_viewer_who_pauses_gets_the_rest_when_he_is_back(tmp_path: Path, size: int) -> None:
    data = noise(size)
    async with shop(tmp_path, FileServer(data)) as film, slow_viewer(film) as connection:
        await asyncio.sleep(3 * _IMPATIENCE / 1000)  # a pause is time, and the kernel's clock cannot be set
        assert digest(await rest_of(connection)) == digest(data)


async def test_a_viewer_who_leaves_takes_the_upstream_connection_along(tmp_path: Path) -> None:
    server = FileServer(noise(64 << 20))
    async with shop(tmp_path, server) as film:
        async with film.get() as response:
            await response.content.readexactly(1000)
            response.close()
        await film.upstream.until(lambda seen: not seen.open["/film.mkv"], within=0.5)
        assert film.audience.present == 0


async def test_viewers_who_leave_at_any_moment_disturb_nothing(tmp_path: Path) -> None:
    chance = random.Random(5)
    async with shop(tmp_path, FileServer(noise(8 << 20))) as film:

        async def watch(size: int, kill: bool) -> None:
            async with slow_viewer(film) as connection:
                if kill:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                while size > 0:
                    size -= len(await asyncio.get_running_loop().sock_recv(connection, 1 << 17))

        await asyncio.gather(*(watch(chance.randrange(1 << 21), chance.random() < 0.5) for _ in range(60)))
        await film.upstream.until(lambda seen: not seen.open["/film.mkv"], within=1)
        assert film.audience.present == 0


async def test_any_number_of_viewers_read_at_places_of_their_own(tmp_path: Path) -> None:
    data = noise(2_000_000)
    chance = random.Random(3)
    cuts = iter([chance.choice((None, chance.randrange(500_000))) for _ in range(200)])
    async with shop(tmp_path, FileServer(data, cuts=cuts)) as film:

        async def watch(first: int) -> None:
            async with film.get({"Range": f"bytes={first}-{first + 499_999}"}) as response:
                assert digest(await response.read()) == digest(data[first : first + 500_000])

        await asyncio.gather(*(watch(chance.randrange(1_500_000)) for _ in range(40)))
        assert film.audience.total == 40
        assert film.audience.sent == 40 * 500_000
        await film.upstream.until(lambda seen: not seen.open["/film.mkv"], within=0.5)


async def test_stopping_leaves_no_file_with_a_happy_end(tmp_path: Path) -> None:
    async with shop(tmp_path, FileServer(noise(64 << 20))) as film:
        reader, writer = await asyncio.open_connection("127.0.0.1", film.port)
        writer.write(b"GET /stream/film HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Content-Length: 67108864\r\n" in await reader.readuntil(b"\r\n\r\n")
    assert len(await reader.read()) < 64 << 20
    writer.close()


@pytest.mark.parametrize("asked", [None, "bytes=10-19", "bytes=10-19,30-39"])
async def test_whoever_gets_a_file_takes_one_connection_of_the_account_until_he_has_it(
    tmp_path: Path, asked: str | None
) -> None:
    held: list[int] = []
    server = FileServer(FILE)

    async def answer(exchange: Exchange) -> None:
        held.append(store.account.held)
        await server(exchange)

    async with shop(tmp_path, answer) as store:
        store.account.configure(1)
        for _ in range(3):
            async with store.get({"Range": asked} if asked else None) as response:
                assert response.status == (206 if asked else 200)
                await response.read()
        assert store.upstream.peak["/film.mkv"] == 1
        assert set(held) == {1}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_where_no_connection_is_free_a_file_is_refused_and_the_provider_not_asked(
    tmp_path: Path, method: str
) -> None:
    async with shop(tmp_path, FileServer(FILE)) as store:
        store.account.configure(1)
        async with store.account.slot("somebody", within=0):
            async with store.get(method=method) as response:
                assert response.status == 503
                assert response.headers["X-Streamproxy-Error"] == "all connections of the provider are in use"
            assert store.asked == []
        async with store.get(method=method) as response:
            assert response.status == 200


async def test_whoever_leaves_while_waiting_for_a_connection_leaves_nothing_behind(tmp_path: Path) -> None:
    async with shop(tmp_path, FileServer(FILE)) as store:
        store.account.configure(1)
        async with store.account.slot("somebody", within=0):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02), store.get():
                    pass
        async with store.get() as response:
            assert response.status == 200
