"""Clients that are hostile or broken, and upstreams that are: what the program does, and that nobody else notices."""

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from streamproxy.server import service
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import OK, Exchange, endless, origin
from tests.helpers.proxy import config, running
from tests.helpers.scripts import holds, redirects, repeats, resets, sends
from tests.helpers.stream import PACKET, packets, runs
from tests.helpers.wire import Line, dial

FIRST = 7
"""Packets with which a stream begins here: enough to be recognised as one."""


@pytest.fixture
def short_header_deadline(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(service, "_HEADER_DEADLINE", 0.15)
    return 0.15


@pytest.mark.parametrize(
    "begun",
    [
        "",
        "G",
        "GET /health HTTP/1.1",
        "GET /health HTTP/1.1\r\nHost: x\r\nX-Header: ",
        "GET /health HTTP/1.1\r\nHost: x\r\n",
    ],
)
@pytest.mark.usefixtures("short_header_deadline")
async def test_a_connection_without_a_whole_request_is_closed_in_time(tmp_path: Path, begun: str) -> None:
    async with running(config(tmp_path)) as proxy, dial(proxy.port) as line:
        await line.send(begun)
        async with asyncio.timeout(1):
            await line.rest()


@pytest.mark.usefixtures("short_header_deadline")
async def test_a_request_that_comes_byte_by_byte_is_cut_off_in_time(tmp_path: Path) -> None:
    async def dribble(line: Line) -> None:
        await line.send("GET /health HTTP/1.1\r\nHost: x\r\nX-Header: ")
        while True:
            await line.send("x")
            await asyncio.sleep(0.02)

    async with running(config(tmp_path)) as proxy, dial(proxy.port) as line:
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(1):
                await dribble(line)


@pytest.mark.usefixtures("short_header_deadline")
async def test_a_second_request_has_no_more_time_than_the_first(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as proxy, dial(proxy.port) as line:
        await line.get("/health")
        assert (await line.head()).startswith("HTTP/1.1 200 ")
        await line.send("GET /health HTTP/1.1\r\nHo")
        async with asyncio.timeout(1):
            await line.rest()


@pytest.mark.usefixtures("short_header_deadline")
async def test_silent_connections_harm_no_viewer_and_a_viewer_is_no_silent_connection(tmp_path: Path) -> None:
    async with (
        origin() as upstream,
        running(config(tmp_path, streams={"news": upstream.url("/1.ts")})) as proxy,
        proxy.open("/stream/news") as viewer,
        AsyncExitStack() as stack,
    ):
        silent = [await stack.enter_async_context(dial(proxy.port)) for _ in range(50)]
        async with asyncio.timeout(2):
            await asyncio.gather(*(line.rest() for line in silent))
            received = await viewer.reader.readexactly(150 * PACKET)
        assert len(runs(received, channel=1)) == 1


REQUEST = "GET /stream/news HTTP/1.1\r\nHost: x\r\n"
MALFORMED: dict[str, str | bytes] = {
    "no HTTP": "hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "RTSP": "OPTIONS rtsp://x/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another version": "GET /stream/news HTTP/3.7\r\nHost: x\r\n\r\n",
    "a method that is none": "G@T /stream/news HTTP/1.1\r\nHost: x\r\n\r\n",
    "no target": "GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target without a slash": "GET stream/news HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target with a control character": "GET /stream/\x01news HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target that is too long": f"GET /stream/{'x' * 20_000} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header that is too long": f"{REQUEST}X-Header: {'x' * 20_000}\r\n\r\n",
    "too many headers": REQUEST + "X-Header: x\r\n" * 1000 + "\r\n",
    "NUL in a header": f"{REQUEST}X-Header: a\0b\r\n\r\n",
    "a bare CR in a header": f"{REQUEST}X-Header: a\rb\r\n\r\n",
    "a header without a colon": f"{REQUEST}X-Header\r\n\r\n",
    "a header without a name": f"{REQUEST}: x\r\n\r\n",
    "a space before the colon": f"{REQUEST}X-Header : x\r\n\r\n",
    "a folded header": f"{REQUEST}X-Header: a\r\n b\r\n\r\n",
    "two hosts": f"{REQUEST}Host: y\r\n\r\n",
    "a length and chunks": f"{REQUEST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": f"{REQUEST}Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a negative length": f"{REQUEST}Content-Length: -1\r\n\r\n",
    "a length that is no number": f"{REQUEST}Content-Length: 0x5\r\n\r\n",
    "chunks in disguise": f"{REQUEST}Transfer-Encoding: xchunked\r\n\r\n",
    "an expectation": f"{REQUEST}Expect: a miracle\r\n\r\n",
    "a tunnel": "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
    "a trace": "TRACE /stream/news HTTP/1.1\r\nHost: x\r\n\r\n",
    "a post": "POST /stream/news HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "options of nothing": "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_refused_in_one_line_and_opens_nothing(
    tmp_path: Path, request_: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with origin() as upstream, running(config(tmp_path, streams={"news": upstream.url()})) as proxy:
        with caplog.at_level(logging.INFO):
            async with dial(proxy.port, deadline=2) as line:
                await line.send(request_)
                head = await line.head()
        assert head.startswith("HTTP/1.")
        assert 400 <= int(head.split(" ")[1]) < 500
        assert not upstream.total
        warned = [record for record in caplog.records if record.name != "asyncio"]
        assert len(warned) <= 1
        assert all(record.exc_info is None and "\n" not in record.getMessage() for record in warned)


ODD = {
    "an absolute target": "GET http://evil.example/stream/news HTTP/1.1\r\nHost: x\r\n\r\n",
    "an expectation": f"{REQUEST}Expect: 100-continue\r\n\r\n",
    "an upgrade": f"{REQUEST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "a web socket": f"{REQUEST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    "a body": f"{REQUEST}Content-Length: 5\r\n\r\nhello",
    "half a body": f"{REQUEST}Content-Length: 500\r\n\r\nhello",
    "another request behind it": f"{REQUEST}\r\n{REQUEST}\r\n",
    "ICY": f"{REQUEST}Icy-MetaData: 1\r\n\r\n",
    "lower case": "GET /stream/news HTTP/1.1\r\nhost: x\r\nuser-agent: x\r\n\r\n",
}


@pytest.mark.parametrize("request_", ODD.values(), ids=ODD.keys())
async def test_an_odd_request_for_a_stream_gets_the_stream(tmp_path: Path, request_: str) -> None:
    async with origin() as upstream, running(config(tmp_path, streams={"news": upstream.url("/1.ts")})) as proxy:
        async with dial(proxy.port, deadline=2) as line:
            await line.send(request_)
            head = await line.head()
            if head.startswith("HTTP/1.1 100 "):
                head = await line.head()
            assert head.startswith("HTTP/1.1 200 OK\r\n")
            assert len(runs(await line.exactly(FIRST * PACKET), channel=1)) == 1
        await upstream.until(lambda seen: not +seen.open, within=0.5)
        assert upstream.total["/1.ts"] == 1


TARGETS = """
    / // /// //// /? //?x //?// /?? /# * // //[ //[::1 //[::1]:x/ /http://[ http://[ http://[/ http:// http: http:/x
    http://evil//stream/news/ http://evil http://evil/ http://evil? https://evil:x//a// ftp://evil//x //evil:99999//
    /: /:80/ /a:b/ /a:b// //@/ //@// //a@b:c@d// /\\ //\\/ /% /%/ /%zz/ /%2f/ /%2f%2f/ /%00/ /%ff/ /.// /..// /../../
    /;/ /&/ /stream/%2f/ /stream/../ /stream/./x/ /stream/{id}/ /{name}/ /playlist.m3u/?group=%ff //playlist.m3u?%
    //playlist.m3u?group&group=&&= //health?x=//y/ /\xc3\xa4/ /\xff/ //\xff\xfe// /stream/\xff.ts/ /a\x7f/
"""


async def test_no_target_is_too_odd_for_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(config(tmp_path, streams={"news": "demo:"})) as proxy:
        for target in TARGETS.split():
            for method in ("GET", "HEAD", "OPTIONS"):
                async with dial(proxy.port) as line:
                    await line.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n")
                    status = (await line.head()).split(" ")[1]
                    assert (status < "500", method, target) == (True, method, target)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_query_survives_slashes_too_many(tmp_path: Path) -> None:
    streams = {name: {"url": "demo:", "group": name} for name in ("news", "sports")}
    async with running(config(tmp_path, streams=streams)) as proxy:
        one_group = (await proxy.get("/playlist.m3u?group=news")).body
        assert b"sports" not in one_group
        for path in ("//playlist.m3u?group=news", "/playlist.m3u/?group=news"):
            assert (await proxy.get(path)).body == one_group


async def test_connections_beyond_the_limit_are_turned_away_and_disturb_nobody(tmp_path: Path) -> None:
    async with origin() as upstream:
        settings = config(tmp_path, server={"max_connections": 3}, streams={"news": upstream.url("/1.ts")})
        async with running(settings) as proxy, proxy.open("/stream/news") as viewer, AsyncExitStack() as stack:
            silent = [await stack.enter_async_context(dial(proxy.port)) for _ in range(2)]

            for _ in range(20):
                refused = await proxy.get("/health")
                assert refused.status == 503
                assert refused.headers["retry-after"]
                assert refused.body == b'{"detail":"Too many connections"}'

            assert len(runs(await viewer.reader.readexactly(50 * PACKET), channel=1)) == 1
            silent[0].raw.close()
            async with asyncio.timeout(2):
                while (await proxy.get("/health")).status == 503:
                    pass
            assert upstream.total["/1.ts"] == 1


async def test_a_crowd_beyond_the_limit_is_turned_away_at_once(tmp_path: Path) -> None:
    async with running(config(tmp_path, server={"max_connections": 5})) as proxy, AsyncExitStack() as stack:
        lines = await asyncio.gather(*(stack.enter_async_context(dial(proxy.port)) for _ in range(200)))
        answers = [asyncio.create_task(line.head()) for line in lines]
        for _, answer in zip(range(195), asyncio.as_completed(answers, timeout=15), strict=False):
            assert (await answer).startswith("HTTP/1.1 503 ")
        assert sum(answer.done() for answer in answers) == 195
        for answer in answers:
            answer.cancel()


async def test_broken_upstreams_disturb_no_other_channel(tmp_path: Path) -> None:
    faults = {
        "silent": holds(),
        "half": holds(b"HTTP/1.1 200 OK\r\nContent-"),
        "empty": holds(OK),
        "closes": sends(),
        "resets": resets,
        "page": repeats(b"<html>" * 1000, before=OK, pause=0.005),
        "hints": repeats(b"HTTP/1.1 103 Hints\r\n\r\n" * 50, pause=0.005),
        "headers": repeats(b"X-Header: 1\r\n", before=b"HTTP/1.1 200 OK\r\n", pause=0.005),
        "loop": redirects(b"?again"),
        "junk": repeats(packets(0, 20) + b"junk" * 100, before=OK, pause=0.005),
        "flood": repeats(packets(0, 700), before=OK, pause=0.005),
    }

    async def answer(exchange: Exchange) -> None:
        name = exchange.path.partition("?")[0].strip("/")
        await faults.get(name, endless)(exchange)

    async with origin(answer) as upstream:
        streams = {name: upstream.url(f"/{name}") for name in faults} | {"good": upstream.url("/1.ts")}
        settings = config(tmp_path, streams=streams, options={"timeout": 0.5}, relay={"stall_timeout": 0.5})
        async with running(settings) as proxy, proxy.open("/stream/good") as good, AsyncExitStack() as stack:
            for name in faults:
                line = await stack.enter_async_context(dial(proxy.port))
                await line.get(f"/stream/{name}")
            for _ in range(6):
                async with asyncio.timeout(2):
                    assert len(runs(await good.reader.readexactly(40 * PACKET), channel=1)) == 1
            assert upstream.peak["/1.ts"] == upstream.total["/1.ts"] == 1
        await upstream.until(lambda seen: not +seen.open, within=1)


async def test_a_stop_ends_everybody_in_time_whatever_they_do(tmp_path: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        await (holds() if exchange.path == "/silent" else repeats(packets(0, 70), before=OK, pause=0.005))(exchange)

    async with origin(answer) as upstream, AsyncExitStack() as stack:
        streams = {
            "news": upstream.url("/news"),
            "own": {"url": upstream.url("/own"), "mode": "direct"},
            "silent": upstream.url("/silent"),
            "demo": "demo:",
        }
        async with running(config(tmp_path, streams=streams)) as proxy:

            async def arrive(path: str, *, receive_buffer: int | None = None) -> Line:
                line = await stack.enter_async_context(dial(proxy.port, receive_buffer=receive_buffer))
                await line.get(path)
                return line

            reading = [
                await arrive(path) for path in ["/stream/news"] * 15 + ["/stream/own"] * 5 + ["/stream/demo"] * 5
            ]
            for line in reading:
                await line.head()
            others = ["/stream/news"] * 10 + ["/stream/own"] * 5 + ["/stream/silent"] * 5
            not_reading = [await arrive(path, receive_buffer=4096) for path in others]
            for begun in ["", "GET / HT"] * 3:
                not_reading.append(await stack.enter_async_context(dial(proxy.port)))
                await not_reading[-1].send(begun)
            rest = asyncio.gather(*(line.rest() for line in reading))
            await upstream.until(lambda seen: seen.open["/silent"] == 1 and seen.open["/own"] == 10)

            stopping = asyncio.get_running_loop().time()
            proxy.service.stop()

        assert asyncio.get_running_loop().time() - stopping < 5
        async with asyncio.timeout(2):
            await rest
            await asyncio.gather(*(line.rest() for line in not_reading))
        await upstream.until(lambda seen: not +seen.open, within=0.2)


async def test_a_stop_refuses_new_connections_at_once(tmp_path: Path) -> None:
    async with (
        origin() as upstream,
        running(config(tmp_path, streams={"news": upstream.url("/1.ts")})) as proxy,
        proxy.open("/stream/news") as viewer,
    ):
        proxy.service.stop()
        async with asyncio.timeout(2):
            await viewer.reader.read()
        with pytest.raises(ConnectionRefusedError):
            async with dial(proxy.port):
                pass


async def test_what_a_viewer_got_until_the_stop_is_whole(tmp_path: Path) -> None:
    async with origin(holds(OK + packets(0, 1000))) as upstream, AsyncExitStack() as stack:
        async with running(config(tmp_path, streams={"news": upstream.url("/1.ts")})) as proxy:
            line = await stack.enter_async_context(dial(proxy.port))
            await line.get("/stream/news")
            await line.head()
            await line.exactly(FIRST * PACKET)
        end = await line.rest()
        assert not end.reset
        (received,) = runs(packets(0, FIRST) + end.data)
        assert received.last > 500
