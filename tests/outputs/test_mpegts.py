"""What players get when they ask for a stream: from the running program, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import OK, Exchange, Origin, Script, origin
from tests.helpers.proxy import Proxy, Viewer, config, running
from tests.helpers.scripts import holds, redirects, resets, sends
from tests.helpers.stream import PACKET, Run, packets, runs
from tests.helpers.wire import dial

SECRET = "topsecret"
"""A canary: it stands in user info, path and query of the upstream's address."""

FIRST = 7
"""Packets with which a stream begins here: enough to be recognised as one."""


def secret_url(seen: Origin) -> str:
    address = seen.url(f"/live/{SECRET}/{SECRET}/5.ts?password={SECRET}")
    return address.replace("//", f"//{SECRET}:{SECRET}@", 1)


@asynccontextmanager
async def serving(
    folder: Path, script: Script | None = None, *, stream: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[Proxy, Origin]]:
    """Run an upstream, and a proxy with its stream `news`."""
    async with origin(script) if script else origin() as seen:
        streams = {"news": {"url": secret_url(seen)} | (stream or {}), "empty": {"title": "No address"}}
        settings.setdefault("options", {"timeout": 1})
        async with running(config(folder, streams=streams, **settings)) as proxy:
            yield proxy, seen


async def packets_of(viewer: Viewer, count: int) -> list[Run]:
    async with asyncio.timeout(5):
        return runs(await viewer.reader.readexactly(count * PACKET), channel=5)


BEGINNING = OK + packets(0, FIRST, channel=5)

ADDRESSES = [
    "/stream/news",
    "/stream/news.ts",
    "/news",
    "/stream/news/",
    "/stream/news.ts/",
    "/news/",
    "//stream/news.ts",
    "/stream//news.ts",
    "//stream//news.ts//",
    "//news",
    "/stream/news.ts?player=1&x=%2F",
    "/%6Eews",
    "/stream/%6Eews.ts",
]


async def test_a_stream_is_found_at_every_address_it_may_be_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, _):
        for path in ADDRESSES:
            async with proxy.open(path) as viewer:
                assert (viewer.status, path) == (200, path)
                assert len(await packets_of(viewer, FIRST)) == 1


@pytest.mark.parametrize(
    ("written", "prefix"),
    [("/iptv", "/iptv"), ("iptv", "/iptv"), ("/iptv/", "/iptv"), ("/a/b", "/a/b"), ("", "")],
)
async def test_a_stream_is_found_under_the_root_path_and_without_it(tmp_path: Path, written: str, prefix: str) -> None:
    async with serving(tmp_path, server={"root_path": written}) as (proxy, _):
        for path in [*ADDRESSES, *(prefix + path for path in ADDRESSES)]:
            async with proxy.open(path) as viewer:
                assert (viewer.status, path) == (200, path)


async def test_a_stream_with_an_odd_name_is_found(tmp_path: Path) -> None:
    async with origin() as seen:
        streams = {name: seen.url("/5.ts") for name in ("Das Erste", "x.ts", "25% more", "č", "a+b", "..x")}
        async with running(config(tmp_path, streams=streams)) as proxy:
            listed = (await proxy.get("/playlist.m3u")).body.decode()
            paths = [line.partition(str(proxy.port))[2] for line in listed.splitlines() if not line.startswith("#")]
            assert len(paths) == len(streams)
            for path in paths:
                async with proxy.open(path) as viewer:
                    assert (viewer.status, path) == (200, path)


UNKNOWN = [
    "/stream/nothing",
    "/stream/nothing.ts",
    "/nothing",
    "/stream/",
    "/stream",
    "/news/x",
    "/news.ts",
    "/stream/NEWS",
    "/stream/news.ts.ts",
    "/stream/../news",
    "/a/stream/news",
    "/stream/news%2F",
    "/stream/%00",
    "/%ff%fe",
]


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_unknown_stream_is_not_found_and_nobody_is_asked(tmp_path: Path, path: str, method: str) -> None:
    async with serving(tmp_path) as (proxy, seen):
        answer = await proxy.get(path, method=method)
        assert answer.status == 404
        assert answer.headers["content-type"].startswith("application/json")
        if method == "GET":
            assert set(json.loads(answer.body)) == {"detail"}
        assert not seen.total


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stream_without_an_address_is_an_error_that_says_so(tmp_path: Path, method: str) -> None:
    async with serving(tmp_path) as (proxy, seen):
        answer = await proxy.get("/empty", method=method)
        assert answer.status == 500
        if method == "GET":
            assert json.loads(answer.body) == {"detail": "No URL configured for stream 'empty'"}
        assert not seen.total


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_a_live_answer_has_the_headers_that_players_need(tmp_path: Path, mode: str) -> None:
    async with serving(tmp_path, stream={"mode": mode}) as (proxy, _), dial(proxy.port) as line:
        await line.get("/stream/news.ts")
        head = await line.head()
    status, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    assert status == "HTTP/1.1 200 OK"
    assert len(headers) == len(fields)
    assert headers["content-type"] == "video/mp2t"
    assert headers["cache-control"] == "no-store"
    assert headers["accept-ranges"] == "none"
    assert headers["connection"].lower() == "close"
    assert not headers.keys() & {"content-length", "transfer-encoding", "content-range", "content-encoding", "etag"}


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_the_body_is_the_stream_and_nothing_else(tmp_path: Path, mode: str) -> None:
    script = sends(OK, *(packets(first, 100, channel=5) for first in range(0, 5000, 100)))
    async with serving(tmp_path, script, stream={"mode": mode}) as (proxy, _), dial(proxy.port) as line:
        await line.get("/stream/news.ts", "Accept-Encoding: gzip, deflate, br", "TE: trailers")
        await line.head()
        body = await line.rest()
    assert body.data == packets(0, 5000, channel=5)


async def test_an_http_1_0_player_gets_the_same_stream(tmp_path: Path) -> None:
    async with serving(tmp_path, sends(OK, packets(0, 100, channel=5))) as (proxy, _), dial(proxy.port) as line:
        await line.send("GET /stream/news.ts HTTP/1.0\r\n\r\n")
        head = (await line.head()).lower()
        assert head.startswith("http/1.0 200 ok\r\n")
        assert "transfer-encoding" not in head
        assert "content-length" not in head
        assert (await line.rest()).data == packets(0, 100, channel=5)


@pytest.mark.parametrize(
    "value",
    [
        "bytes=0-",
        "bytes=0-187",
        "bytes=100-",
        "bytes=-500",
        "bytes=0-0,2-2,4-4",
        "bytes=" + ",".join(f"{number}-" for number in range(1000)),
        "bytes=abc",
        "bytes=5-1",
        "bytes=99999999999999999999999-",
        "bytes=\u0665-".encode().decode("latin-1"),
        "BYTES=0-",
        "packets=1-2",
        "x",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_range_of_a_live_stream_is_ignored(tmp_path: Path, value: str, method: str) -> None:
    headers = {"Range": value, "If-Range": "x"}
    async with serving(tmp_path) as (proxy, _), proxy.open("/news", method=method, headers=headers) as viewer:
        assert viewer.status == 200
        assert "content-range" not in viewer.headers
        assert viewer.headers["accept-ranges"] == "none"
        if method == "GET":
            assert len(await packets_of(viewer, FIRST)) == 1


@pytest.mark.parametrize("mode", ["shared", "direct"])
@pytest.mark.parametrize("path", ["/stream/news", "/stream/news.ts", "/news", "//stream/news.ts/"])
async def test_a_head_request_says_what_it_would_be_and_opens_nothing(tmp_path: Path, path: str, mode: str) -> None:
    async with serving(tmp_path, stream={"mode": mode}) as (proxy, seen):
        answer = await proxy.get(path, method="HEAD")
        assert answer.status == 200
        assert answer.headers["content-type"] == "video/mp2t"
        assert answer.headers["accept-ranges"] == "none"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.body == b""
        assert not seen.total


async def test_a_head_request_does_not_promise_an_empty_stream(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, _):
        answer = await proxy.get("/stream/news.ts", method="HEAD")
        assert "content-length" not in answer.headers


async def test_a_connection_can_be_used_again_after_a_head_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, seen), dial(proxy.port) as line:
        await line.send("HEAD /stream/news HTTP/1.1\r\nHost: proxy\r\n\r\n" * 2)
        await line.get("/health")
        for _ in range(3):
            assert (await line.head()).startswith("HTTP/1.1 200 OK\r\n")
        assert json.loads(await line.read())["status"] == "healthy"
        assert not seen.total


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/stream/news.ts", "/news"])
async def test_any_other_method_is_refused_and_opens_nothing(tmp_path: Path, method: str, path: str) -> None:
    async with serving(tmp_path) as (proxy, seen):
        answer = await proxy.get(path, method=method)
        assert answer.status == 405
        assert set(json.loads(answer.body)) == {"detail"}
        assert set(answer.headers["allow"].split(",")) == {"GET", "HEAD"}
        assert not seen.total


NO_STREAM: dict[str, tuple[Script, int]] = {
    "closed": (sends(), 502),
    "reset": (resets, 502),
    "garbage": (sends(b"\0\1\2\3" * 100), 502),
    "silent": (holds(), 504),
    "silent after its head": (holds(OK), 504),
    "empty": (sends(OK), 502),
    "a page": (sends(OK, b"<html>Your account has expired, topsecret</html>"), 502),
    "JSON": (sends(OK, b'{"error": "topsecret"}'), 502),
    "HLS": (sends(OK, b"#EXTM3U\nhttp://127.0.0.1/topsecret.ts\n"), 502),
    "forbidden": (sends(b"HTTP/1.1 403 topsecret\r\nContent-Length: 6\r\n\r\ntopsecret"), 502),
    "not there": (sends(b"HTTP/1.1 404 Not Found\r\n\r\n"), 502),
    "no slot": (sends(b"HTTP/1.1 458 Too many connections\r\n\r\n"), 502),
    "overloaded": (sends(b"HTTP/1.1 503 Unavailable\r\n\r\n"), 502),
    "redirected to a file": (redirects(b"file:///topsecret"), 502),
    "redirected for ever": (redirects(b"/topsecret"), 502),
}


@pytest.mark.parametrize("mode", ["shared", "direct"])
@pytest.mark.parametrize(("script", "status"), NO_STREAM.values(), ids=NO_STREAM.keys())
async def test_an_upstream_without_a_stream_is_a_gateway_error_that_tells_why(
    tmp_path: Path, script: Script, status: int, mode: str
) -> None:
    settings: dict[str, Any] = {"options": {"timeout": 0.15}, "relay": {"stall_timeout": 0.15}}
    async with serving(tmp_path, script, stream={"mode": mode}, **settings) as (proxy, seen):
        with structlog.testing.capture_logs() as log:
            async with asyncio.timeout(2):
                answer = await proxy.get("/stream/news.ts")
        assert answer.status == status
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.headers["cache-control"] == "no-store"
        reason = json.loads(answer.body)["detail"]
        assert reason
        assert answer.headers["x-streamproxy-error"] == reason
        for told in (answer.headers, answer.body, log):
            for secret in (SECRET, "127.0.0.1:", str(seen.port)):
                assert secret not in str(told).replace(str(proxy.port), "")
        assert [line["log_level"] for line in log if line["event"] == "upstream_failed"] == ["warning"]


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_a_viewer_is_not_told_where_a_refused_connection_went(tmp_path: Path, mode: str) -> None:
    async with origin() as gone:
        url = secret_url(gone)
    async with running(config(tmp_path, streams={"news": {"url": url, "mode": mode}})) as proxy:
        answer = await proxy.get("/stream/news.ts")
        assert answer.status == 502
        assert str(gone.port) not in answer.headers["x-streamproxy-error"]


async def test_a_stream_that_failed_can_be_asked_for_again(tmp_path: Path) -> None:
    async with serving(tmp_path, sends()) as (proxy, seen):
        assert (await proxy.get("/stream/news")).status == 502
        seen.script = holds(BEGINNING)
        async with proxy.open("/stream/news") as viewer:
            assert viewer.status == 200
            assert await packets_of(viewer, FIRST) == [Run(0, FIRST - 1)]


async def test_everybody_who_waits_for_an_upstream_is_told_that_it_failed(tmp_path: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        await fail.wait()

    fail = asyncio.Event()
    async with serving(tmp_path, answer) as (proxy, seen):
        waiting = [asyncio.create_task(proxy.get("/stream/news")) for _ in range(10)]
        await seen.until(lambda seen: sum(seen.open.values()) == 1)

        fail.set()

        async with asyncio.timeout(2):
            assert {answer.status for answer in await asyncio.gather(*waiting)} == {502}
        assert set(seen.peak.values()) == {1}


@pytest.mark.parametrize("mode", ["shared", "direct"])
@pytest.mark.parametrize("how", ["closed", "reset", "silent", "cut short"])
async def test_an_upstream_that_ends_later_ends_its_viewers(tmp_path: Path, mode: str, how: str) -> None:
    async def answer(exchange: Exchange) -> None:
        length = b"Content-Length: 1000000\r\n" if how == "cut short" else b""
        await exchange.send(OK.replace(b"\r\n\r\n", b"\r\n" + length + b"\r\n") + packets(0, FIRST, channel=5))
        await end.wait()
        if how == "reset":
            exchange.reset()
        if how == "silent":
            await asyncio.Event().wait()

    end = asyncio.Event()
    async with serving(tmp_path, answer, stream={"mode": mode}, relay={"stall_timeout": 0.15}) as (proxy, seen):
        async with proxy.open("/stream/news") as one, proxy.open("/news") as two:
            for viewer in (one, two):
                assert await packets_of(viewer, FIRST) == [Run(0, FIRST - 1)]

            end.set()

            for viewer in (one, two):
                async with asyncio.timeout(2):
                    assert await viewer.reader.read() == b""
        await seen.until(lambda seen: not +seen.open, within=1)


async def test_all_that_an_upstream_sent_before_its_end_is_delivered(tmp_path: Path) -> None:
    count = 20_000

    async def answer(exchange: Exchange) -> None:
        await exchange.send(OK)
        for first in range(0, count, 100):
            await exchange.send(packets(first, 100, channel=5))

    async with serving(tmp_path, answer) as (proxy, _):
        answers = await asyncio.gather(*(proxy.get("/stream/news") for _ in range(3)))
    assert all(runs(answer.body, channel=5)[-1].last == count - 1 for answer in answers)


async def test_a_direct_stream_has_one_upstream_for_each_viewer_and_for_as_long(tmp_path: Path) -> None:
    async with serving(tmp_path, stream={"mode": "direct"}) as (proxy, seen), AsyncExitStack() as rest:
        for count in range(1, 4):
            viewer = await rest.enter_async_context(proxy.open("/stream/news"))
            assert len(await packets_of(viewer, 20)) == 1
            assert sum(seen.open.values()) == count

        async with proxy.open("/news"):
            assert sum(seen.open.values()) == 4
        await seen.until(lambda seen: sum(seen.open.values()) == 3, within=0.5)

        assert len(await packets_of(viewer, 20)) == 1
        await rest.aclose()
        await seen.until(lambda seen: not +seen.open, within=0.5)


async def test_a_shared_stream_ends_with_its_last_viewer_and_not_before(tmp_path: Path) -> None:
    async with serving(tmp_path) as (proxy, seen):
        async with proxy.open("/stream/news") as viewer:
            async with proxy.open("/news"):
                pass
            assert len(await packets_of(viewer, 50)) == 1
            assert sum(seen.open.values()) == 1
        await seen.until(lambda seen: not +seen.open, within=0.5)
        assert sum(seen.total.values()) == 1


async def test_an_upstream_may_outlive_its_last_viewer_for_a_while(tmp_path: Path) -> None:
    async with serving(tmp_path, relay={"linger": 0.2}) as (proxy, seen):
        async with proxy.open("/stream/news"):
            pass
        async with proxy.open("/stream/news") as viewer:
            assert len(await packets_of(viewer, 200)) == 1
        assert sum(seen.total.values()) == sum(seen.open.values()) == 1
        await seen.until(lambda seen: not +seen.open, within=2)


async def test_a_new_viewer_starts_with_the_recent_past(tmp_path: Path) -> None:
    async with serving(tmp_path, holds(OK + packets(0, 100, channel=5))) as (proxy, seen):
        async with proxy.open("/stream/news") as first:
            assert await packets_of(first, 100) == [Run(0, 99)]
            async with proxy.open("/stream/news") as second:
                assert await packets_of(second, 100) == [Run(0, 99)]
        assert sum(seen.total.values()) == 1
