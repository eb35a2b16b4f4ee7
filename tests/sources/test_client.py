"""The way out, against upstreams on real sockets that do what they should not."""

import asyncio
import contextlib
import gzip
import socket
import traceback
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import pytest
from aiohttp.resolver import AsyncResolver

from streamproxy.broadcast.continuity import Continuity, Terms
from streamproxy.broadcast.failover import FailoverTerms, RetryTerms
from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamUnreachable,
)
from streamproxy.formats.health import VitalTerms
from streamproxy.formats.mpegts import Entry
from streamproxy.model import Channel, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.http import HttpSource
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.dns import name_server
from tests.helpers.origin import OK, Exchange, Origin, Script, origin
from tests.helpers.scripts import holds, redirects, repeats, resets, sends
from tests.helpers.stream import packets

SECRET = "s3cr3t"
"""A canary: it stands in user info, path and query of every address that must not show."""


@asynccontextmanager
async def client(*, timeout: float = 5, user_agent: str = "agent/1") -> AsyncIterator[Client]:
    async with Client(OptionsConfig(timeout=timeout, user_agent=user_agent)) as opened:
        yield opened


def upstream(url: str, label: str = "tv", **headers: str) -> Upstream:
    return Upstream(url, label, {name.replace("_", "-"): value for name, value in headers.items()})


async def read_all(opened: Client, source: Upstream) -> bytes:
    async with asyncio.timeout(10), opened.open(source) as response:
        return await response.content.read()


def moved(*locations: bytes, status: int = 302) -> Script:
    """Redirect one request after another to these places; then answer with one packet."""
    left = list(locations)

    async def answer(exchange: Exchange) -> None:
        if left:
            location = left.pop(0)
            await exchange.send(b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, location))
        else:
            await exchange.send(OK + packets(0, 1))

    return answer


def targets(seen: Origin) -> list[str]:
    """List the request lines that an origin saw, without what never changes."""
    lines = [exchange.raw.partition(b"\r\n")[0].decode("latin-1") for exchange in seen.exchanges]
    assert all(line.startswith("GET ") and line.endswith(" HTTP/1.1") for line in lines)
    return [line.removeprefix("GET ").removesuffix(" HTTP/1.1") for line in lines]


async def until_nobody_is_connected(seen: Origin) -> None:
    """Wait until every connection is closed, for as short a time as counts as at once."""
    await seen.until(lambda seen: not +seen.open, within=0.2)


BYTE_EXACT = [
    ("/a%2bb%2Bc?q=%2b%2B+", "/a%2bb%2Bc?q=%2b%2B+"),
    ("/%7Eme/~you", "/%7Eme/~you"),
    ("/a%2Fb%2f?u=http%3A%2F%2Fx%2Fy&sig=A%3D%3d", "/a%2Fb%2f?u=http%3A%2F%2Fx%2Fy&sig=A%3D%3d"),
    ("/a|b?c|d", "/a|b?c|d"),
    ("/a b?c d", "/a%20b?c%20d"),
    ("/kanal/täglich?ü", "/kanal/t%C3%A4glich?%C3%BC"),
    ("/a//b///c", "/a//b///c"),
    ("/a;b=1,c@d:e!$&'()*", "/a;b=1,c@d:e!$&'()*"),
    ("/100%/%zz?%", "/100%/%zz?%"),
    ("/live.ts?a=1#later", "/live.ts?a=1"),
    pytest.param("/?", "/?", marks=pytest.mark.xfail(strict=True, reason="yarl drops the mark of an empty query")),
]


@pytest.mark.parametrize(("written", "sent"), BYTE_EXACT)
async def test_an_address_reaches_the_wire_as_it_was_written(written: str, sent: str) -> None:
    async with origin(sends(OK)) as seen, client() as opened:
        await read_all(opened, upstream(seen.url(written)))
        assert targets(seen) == [sent]


@pytest.mark.parametrize(("written", "sent"), BYTE_EXACT)
async def test_a_redirect_is_followed_as_it_was_written(written: str, sent: str) -> None:
    async with origin(moved(written.encode())) as seen, client() as opened:
        await read_all(opened, upstream(seen.url("/first")))
        assert targets(seen) == ["/first", sent]


async def test_a_redirect_in_another_encoding_is_followed_as_it_was_written() -> None:
    async with origin(moved(b"/t\xe4glich")) as seen, client() as opened:
        await read_all(opened, upstream(seen.url("/first")))
        assert targets(seen) == ["/first", "/t%E4glich"]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("next.ts", "/live/next.ts"),
        ("./next.ts?x=1", "/live/next.ts?x=1"),
        ("../next.ts", "/next.ts"),
        ("/next.ts", "/next.ts"),
        ("?token=%2b", "/live/one.ts?token=%2b"),
    ],
)
async def test_a_relative_redirect_starts_at_the_address_that_sent_it(location: str, target: str) -> None:
    async with origin(moved(location.encode())) as seen, client() as opened:
        assert await read_all(opened, upstream(seen.url("/live/one.ts?old=1"))) == packets(0, 1)
        assert targets(seen) == ["/live/one.ts?old=1", target]


@pytest.mark.parametrize("form", ["//127.0.0.1:{port}/x", "http://127.0.0.1:{port}/x", "HTTP://127.0.0.1:{port}/x"])
async def test_a_redirect_may_lead_to_another_host(form: str) -> None:
    async with origin(sends(OK)) as second, origin(moved(form.format(port=second.port).encode())) as first:
        async with client() as opened:
            await read_all(opened, upstream(first.url()))
        assert targets(second) == ["/x"]
        assert second.exchanges[0].headers["Host"] == f"127.0.0.1:{second.port}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_kind_of_redirect_is_followed(status: int) -> None:
    async with origin(moved(b"/next", status=status)) as seen, client() as opened:
        assert await read_all(opened, upstream(seen.url())) == packets(0, 1)


async def test_ten_redirects_are_followed() -> None:
    async with origin(moved(*(b"/%d" % hop for hop in range(10)))) as seen, client() as opened:
        assert await read_all(opened, upstream(seen.url())) == packets(0, 1)
        assert len(seen.exchanges) == 11


@pytest.mark.parametrize("location", [b"/same", b"", b"#"])
async def test_a_redirect_loop_ends_after_ten_redirects(location: bytes) -> None:
    async with origin(redirects(location)) as seen, client() as opened:
        with pytest.raises(UpstreamBroken, match="redirected"):
            await read_all(opened, upstream(seen.url("/same")))
        assert len(seen.exchanges) == 11
        await until_nobody_is_connected(seen)


async def test_only_one_connection_is_open_at_a_time_while_redirects_are_followed() -> None:
    opened_now: list[int] = []

    async def answer(exchange: Exchange) -> None:
        opened_now.append(sum(seen.open.values()))
        if (hop := len(opened_now)) < 5:
            await exchange.send(b"HTTP/1.1 302 Found\r\nLocation: /%d\r\n\r\nnever read" % hop)
            await asyncio.Event().wait()
        await exchange.send(OK)

    async with origin(answer) as seen, client() as opened:
        await read_all(opened, upstream(seen.url()))
    assert opened_now == [1] * 5


@pytest.mark.parametrize(
    "location",
    [
        b"file:///etc/passwd",
        b"ftp://127.0.0.1/x",
        b"rtmp://127.0.0.1/x",
        b"data:text/plain,x",
        b"javascript:alert(1)",
        b"http://",
        b"http:///path",
        b"http://127.0.0.1:99999/",
        b"http://a\\@127.0.0.1/",
        b"http://[::1/",
        b"http://two words/",
    ],
)
async def test_a_redirect_to_what_is_no_http_address_is_not_followed(location: bytes) -> None:
    async with origin(moved(location)) as seen, client() as opened:
        with pytest.raises(UpstreamUnreachable, match="not an http or https URL"):
            await read_all(opened, upstream(seen.url()))
        assert len(seen.exchanges) == 1


async def test_a_redirect_without_a_location_is_a_refusal() -> None:
    async with origin(sends(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")) as seen, client() as opened:
        with pytest.raises(UpstreamRefused) as refused:
            await read_all(opened, upstream(seen.url()))
        assert refused.value.status == 302


async def test_credentials_stay_with_their_origin_and_the_rest_goes_along() -> None:
    async with origin(sends(OK)) as second, origin(moved(second.url().encode())) as first, client() as opened:
        source = upstream(first.url(), Authorization=SECRET, User_Agent="own/2", Referer="http://portal.example/")
        await read_all(opened, source)
        assert first.exchanges[0].headers["Authorization"] == SECRET
        sent = second.exchanges[0]
        assert SECRET.encode() not in sent.raw
        assert (sent.headers["User-Agent"], sent.headers["Referer"]) == ("own/2", "http://portal.example/")


async def test_credentials_in_an_address_stay_with_its_origin() -> None:
    async with origin(sends(OK)) as second, origin(moved(second.url().encode())) as first, client() as opened:
        await read_all(opened, upstream(first.url().replace("//", "//user:p%40ss@")))
        assert first.exchanges[0].headers["Authorization"] == aiohttp.encode_basic_auth("user", "p@ss")
        assert "Authorization" not in second.exchanges[0].headers


async def test_credentials_in_an_address_count_before_a_header_of_its_own() -> None:
    async with origin(sends(OK)) as seen, client() as opened:
        await read_all(opened, upstream(seen.url().replace("//", "//user:pass@"), authorization=SECRET))
        assert seen.exchanges[0].headers["Authorization"] == aiohttp.encode_basic_auth("user", "pass")


async def test_a_configured_cookie_stays_with_its_host() -> None:
    async with origin(sends(OK)) as second, client() as opened:
        elsewhere = second.url().replace("127.0.0.1", "localhost").encode()
        async with origin(moved(elsewhere)) as first:
            await read_all(opened, upstream(first.url(), Cookie=f"session={SECRET}"))
            assert first.exchanges[0].headers["Cookie"] == f"session={SECRET}"
            assert SECRET.encode() not in second.exchanges[0].raw


async def test_credentials_stay_with_their_origin_where_the_redirect_was_before() -> None:
    async with origin(sends(OK)) as second, origin(sends(OK)) as first, client() as opened:
        source = upstream(first.url(), Authorization=SECRET, Referer="http://portal.example/")
        for place in (first.url("/next"), second.url()):
            async with asyncio.timeout(10), opened.open(source, at=place) as response:
                await response.content.read()
        assert [exchange.path for exchange in first.exchanges] == ["/next"]
        assert first.exchanges[0].headers["Authorization"] == SECRET
        assert SECRET.encode() not in second.exchanges[0].raw
        assert second.exchanges[0].headers["Referer"] == "http://portal.example/"


async def test_a_body_is_sent_as_it_is() -> None:
    async with origin(sends(OK)) as seen, client() as opened:
        source = upstream(seen.url(), Content_Type="application/json")
        async with asyncio.timeout(10), opened.open(source, method="POST", body=b"{}"):
            (exchange,) = seen.exchanges
        assert (exchange.body, exchange.headers["Content-Type"]) == (b"{}", "application/json")
        assert exchange.raw.startswith(b"POST /live.ts ")


@pytest.mark.parametrize("location", [b"next", b"/next"])
async def test_credentials_are_kept_by_a_redirect_within_the_origin(location: bytes) -> None:
    async with origin(moved(location)) as seen, client() as opened:
        await read_all(opened, upstream(seen.url(), Authorization=SECRET))
        assert [exchange.headers["Authorization"] for exchange in seen.exchanges] == [SECRET, SECRET]


async def test_credentials_in_an_address_are_kept_by_a_redirect_within_the_origin() -> None:
    async with origin() as seen, client() as opened:
        seen.script = moved(seen.url("/next").encode())
        await read_all(opened, upstream(seen.url().replace("//", "//user:word@")))
        assert ["Authorization" in exchange.headers for exchange in seen.exchanges] == [True, True]


async def test_a_request_says_what_it_must_and_no_more() -> None:
    async with origin(sends(OK)) as seen, client(user_agent="agent/1") as opened:
        await read_all(opened, upstream(seen.url()))
        assert {name.lower(): value for name, value in seen.exchanges[0].headers.items()} == {
            "host": f"127.0.0.1:{seen.port}",
            "user-agent": "agent/1",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
        }


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "USER-AGENT"])
async def test_an_upstreams_own_user_agent_replaces_the_common_one(name: str) -> None:
    async with origin(sends(OK)) as seen, client(user_agent="agent/1") as opened:
        await read_all(opened, Upstream(seen.url(), "tv", {name: "own/2"}))
        assert seen.exchanges[0].raw.lower().count(b"user-agent:") == 1
        assert b": own/2\r\n" in seen.exchanges[0].raw


async def test_an_upstreams_own_headers_are_sent_as_they_are() -> None:
    async with origin(sends(OK)) as seen, client() as opened:
        await read_all(opened, upstream(seen.url(), Referer="http://portal.example/?a=%2b", X_Token="t 1"))
        assert b"Referer: http://portal.example/?a=%2b\r\n" in seen.exchanges[0].raw
        assert b"X-Token: t 1\r\n" in seen.exchanges[0].raw


async def test_cookies_of_an_address_without_a_name_are_sent_again() -> None:
    script = sends(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nConnection: close\r\n\r\n")
    async with origin(script) as seen, client() as opened:
        await read_all(opened, upstream(seen.url()))
        await read_all(opened, upstream(seen.url()))
        assert "Cookie" not in seen.exchanges[0].headers
        assert seen.exchanges[1].headers["Cookie"] == "session=1"


async def test_cookies_of_one_source_are_not_sent_for_another() -> None:
    script = sends(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nConnection: close\r\n\r\n")
    async with origin(script) as seen, client() as opened:
        await read_all(opened, upstream(seen.url(), "one"))
        await read_all(opened, upstream(seen.url(), "two"))
        assert "Cookie" not in seen.exchanges[1].headers


async def test_a_cookie_that_comes_with_a_redirect_is_sent_where_it_leads() -> None:
    async def answer(exchange: Exchange) -> None:
        if exchange.path == "/gate":
            await exchange.send(b"HTTP/1.1 302 Found\r\nSet-Cookie: key=1; Path=/\r\nLocation: /in\r\n\r\n")
        else:
            await exchange.send(OK)

    async with origin(answer) as seen, client() as opened:
        await read_all(opened, upstream(seen.url("/gate")))
        assert seen.exchanges[1].headers["Cookie"] == "key=1"


SILENT = {
    "nothing": holds(),
    "half a status line": holds(b"HTTP/1.1 20"),
    "half a head": holds(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n"),
    "a head byte by byte": repeats(b"x", before=b"HTTP/1.1 200 OK\r\nX-Header: ", pause=0.02),
    "header after header, slowly": repeats(b"X-Header: 1\r\n", before=b"HTTP/1.1 200 OK\r\n", pause=0.02),
    "one 103 after the other": repeats(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 50),
    "one 100 after the other, slowly": repeats(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.02),
}


@pytest.mark.parametrize("script", SILENT.values(), ids=SILENT.keys())
async def test_an_answer_that_never_begins_is_given_up_in_time(script: Script) -> None:
    async with origin(script) as seen, client(timeout=0.1) as opened:
        with pytest.raises(UpstreamStalled, match=r"did not answer within 0\.1 s"):
            async with asyncio.timeout(1):
                await read_all(opened, upstream(seen.url()))
        await until_nobody_is_connected(seen)


async def test_one_deadline_covers_all_redirects_together() -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.06)
        await exchange.send(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    async with origin(answer) as seen, client(timeout=0.2) as opened:
        with pytest.raises(UpstreamStalled):
            async with asyncio.timeout(1):
                await read_all(opened, upstream(seen.url()))
        assert 2 <= len(seen.exchanges) <= 4


async def test_the_deadline_covers_a_name_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with name_server({"hung.example": None}) as names:
        cares = partial(AsyncResolver, nameservers=["127.0.0.1"], udp_port=names.port, tcp_port=names.port)
        monkeypatch.setattr("streamproxy.sources.resolver.AsyncResolver", cares)
        async with client(timeout=0.2) as opened:
            with pytest.raises(UpstreamStalled):
                async with asyncio.timeout(1):
                    await read_all(opened, upstream("http://hung.example/"))
            assert names.asked


async def test_the_deadline_covers_connecting() -> None:
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # the kernel drops what does not fit into the queue of those to be accepted
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        async with client(timeout=0.2) as opened:
            with pytest.raises(UpstreamStalled):
                async with asyncio.timeout(1):
                    await read_all(opened, upstream(f"http://127.0.0.1:{deaf.getsockname()[1]}/"))


async def test_the_deadline_covers_a_tls_handshake() -> None:
    async with origin(holds()) as seen, client(timeout=0.2) as opened:
        with pytest.raises(UpstreamStalled):
            async with asyncio.timeout(1):
                await read_all(opened, upstream(seen.url().replace("http:", "https:")))


async def test_a_body_may_take_longer_than_its_head_had() -> None:
    body_may_end = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(OK + b"a")
        await body_may_end.wait()
        await exchange.send(b"b")

    async with origin(answer) as seen, client(timeout=0.2) as opened, opened.open(upstream(seen.url())) as response:
        asyncio.get_running_loop().call_later(0.3, body_may_end.set)
        async with asyncio.timeout(5):
            assert await response.content.read() == b"ab"


@pytest.mark.parametrize(
    "status", [101, 201, 204, 304, 400, 401, 403, 404, 407, 410, 429, 451, 454, 456, 458, 500, 503, 884, 999]
)
async def test_any_other_status_than_success_is_a_refusal(status: int) -> None:
    async with origin(sends(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % status)) as seen, client() as opened:
        with pytest.raises(UpstreamRefused, match=f"answered with status {status}") as refused:
            await read_all(opened, upstream(seen.url()))
        assert refused.value.status == status
        assert len(seen.exchanges) == 1
        await until_nobody_is_connected(seen)


@pytest.mark.parametrize("status", [200, 203, 206])
async def test_success_is_a_stream(status: int) -> None:
    async with origin(sends(b"HTTP/1.1 %d OK\r\n\r\nbody" % status)) as seen, client() as opened:
        assert await read_all(opened, upstream(seen.url())) == b"body"


BROKEN = {
    "closed without a word": sends(b""),
    "reset before a word": resets,
    "closed within the head": sends(b"HTTP/1.1 200 OK\r\nContent-Type: vi"),
    "garbage": sends(bytes(range(256)) * 8),
    "packets without HTTP": sends(packets(0, 20)),
    "a page without HTTP": sends(b"<html>hello</html>\r\n\r\n"),
    "another protocol": sends(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"),
    "a status that is no number": sends(b"HTTP/1.1 OK 200\r\n\r\n"),
    "ICY": sends(b"ICY 200 OK\r\nicy-name: radio\r\n\r\n"),
    "NUL in a header": sends(b"HTTP/1.1 200 OK\r\nX-Header: a\0b\r\n\r\n"),
    "a length and chunks": sends(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    ),
    "two lengths": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    "a header without end": repeats(b"x" * 4096, before=b"HTTP/1.1 200 OK\r\nX-Header: "),
    "headers without end": repeats(b"X-Header: 1\r\n" * 64, before=b"HTTP/1.1 200 OK\r\n"),
    "a body cut short": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"),
    "chunks cut short": sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    "chunks that are none": sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
async def test_what_breaks_the_protocol_is_broken_at_once(script: Script) -> None:
    async with origin(script) as seen, client(timeout=10) as opened:
        with pytest.raises(UpstreamBroken):
            async with asyncio.timeout(2):
                await read_all(opened, upstream(seen.url()))
        assert seen.total["/live.ts"] <= 2  # a request that nobody answered may be sent again, once
        assert seen.peak["/live.ts"] == 1
        await until_nobody_is_connected(seen)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


async def test_a_closed_port_is_unreachable_at_once() -> None:
    async with client() as opened:
        with pytest.raises(UpstreamUnreachable, match="no connection"):
            async with asyncio.timeout(1):
                await read_all(opened, upstream(f"http://127.0.0.1:{closed_port()}/"))


async def test_an_unknown_name_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with name_server({}) as names:
        cares = partial(AsyncResolver, nameservers=["127.0.0.1"], udp_port=names.port, tcp_port=names.port)
        monkeypatch.setattr("streamproxy.sources.resolver.AsyncResolver", cares)
        async with client() as opened:
            with pytest.raises(UpstreamUnreachable, match="host name is not known"):
                await read_all(opened, upstream("http://nobody.example/"))


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "-", "_", "."])
async def test_a_host_that_is_no_name_is_unreachable(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with name_server({}) as names:
        cares = partial(AsyncResolver, nameservers=["127.0.0.1"], udp_port=names.port, tcp_port=names.port)
        monkeypatch.setattr("streamproxy.sources.resolver.AsyncResolver", cares)
        async with client() as opened:
            with pytest.raises(UpstreamUnreachable):
                await read_all(opened, upstream(f"http://{host}/"))


async def test_a_name_in_the_hosts_file_is_reached() -> None:
    async with origin(sends(OK + b"here")) as seen, client() as opened:
        assert await read_all(opened, upstream(seen.url().replace("127.0.0.1", "localhost"))) == b"here"


async def test_plain_http_where_tls_should_be_is_unreachable() -> None:
    async def speaks_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(speaks_plainly, "127.0.0.1", 0)
    async with server, client() as opened:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamUnreachable, match="secure"):
            await read_all(opened, upstream(f"https://127.0.0.1:{port}/"))


SECRETIVE = (
    SILENT
    | BROKEN
    | {
        "refused": sends(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
        "redirected to nowhere": redirects(f"file:///{SECRET}".encode()),
        "redirected for ever": redirects(f"/{SECRET}".encode()),
    }
)


@pytest.mark.parametrize("script", SECRETIVE.values(), ids=SECRETIVE.keys())
async def test_no_failure_tells_the_address_or_its_credentials(script: Script) -> None:
    async with origin(script) as seen, client(timeout=0.1) as opened:
        url = f"http://{SECRET}:{SECRET}@127.0.0.1:{seen.port}/live/{SECRET}/x.ts?password={SECRET}"
        with pytest.raises(UpstreamError) as raised:
            await read_all(opened, upstream(url))
        assert_says_nothing(raised.value, SECRET, "127.0.0.1", str(seen.port))


@pytest.mark.parametrize(
    "scheme",
    [
        "http",
        "https",
        "ftp",
        "file",
        "",
    ],
)
async def test_no_failure_to_connect_tells_the_address_or_its_credentials(scheme: str) -> None:
    port = closed_port()
    async with client(timeout=2) as opened:
        url = f"{scheme}://{SECRET}:{SECRET}@127.0.0.1:{port}/live/{SECRET}/x.ts?password={SECRET}"
        with pytest.raises(UpstreamError) as raised:
            await read_all(opened, upstream(url))
        assert_says_nothing(raised.value, SECRET, "127.0.0.1", str(port))


def assert_says_nothing(error: UpstreamError, *secrets: str) -> None:
    told = (str(error), repr(error), error.reason)
    assert error.label == "tv"
    assert not [secret for secret in secrets for text in told if secret in text], told


UNSENDABLE = pytest.mark.parametrize(
    "userinfo",
    [f"%E1%88%B4{SECRET}:x", f"{SECRET}:%E1%88%B4", f"\u1234:{SECRET}", f"a%3A{SECRET}:{SECRET}"],
    ids=["user", "password", "written out", "a colon"],
)
"""Credentials that no header can hold."""


@UNSENDABLE
async def test_credentials_that_cannot_be_sent_are_told_to_nobody(userinfo: str) -> None:
    async with client() as opened:
        with pytest.raises(UpstreamUnreachable, match="cannot be sent") as raised:
            await read_all(opened, upstream(f"http://{userinfo}@127.0.0.1:{closed_port()}/"))
    assert_hides_what_it_came_from(raised.value)


@UNSENDABLE
async def test_credentials_in_a_redirect_that_cannot_be_sent_are_told_to_nobody(userinfo: str) -> None:
    async with origin() as seen, client() as opened:
        seen.script = moved(f"http://{userinfo}@127.0.0.1:{seen.port}/next".encode())
        with pytest.raises(UpstreamUnreachable, match="cannot be sent") as raised:
            await read_all(opened, upstream(seen.url("/first")))
        assert targets(seen) == ["/first"]
        await until_nobody_is_connected(seen)
    assert_hides_what_it_came_from(raised.value)


def assert_hides_what_it_came_from(error: UpstreamError) -> None:
    assert_says_nothing(error, SECRET, "\u1234", "%E1%88%B4")
    assert error.__cause__ is None
    assert error.__suppress_context__
    told = "".join(traceback.format_exception(error))
    assert SECRET not in told
    assert "\u1234" not in told


class Taker:
    """Notes when anything comes."""

    full = False

    def __init__(self) -> None:
        self.began = asyncio.Event()

    def write(self, data: bytes, entries: Sequence[Entry] = (), /) -> None:
        self.began.set()

    async def drain(self) -> None:
        """Take everything."""


@UNSENDABLE
async def test_a_channel_goes_on_to_its_backup_where_credentials_cannot_be_sent(userinfo: str) -> None:
    async with origin(repeats(packets(0, 100), before=OK, pause=0.01)) as backup, origin() as first, client() as opened:
        first.script = moved(f"http://{userinfo}@127.0.0.1:{first.port}/next".encode())
        retry = RetryTerms(attempts=0, delay=0, backoff=1, max_delay=0, jitter=0, total_timeout=5)
        terms = Terms(retry, FailoverTerms(cooldown=60, fail_back=None, healthy_after=10), None, VitalTerms())
        channel = Channel("news", "News", (upstream(first.url()), upstream(backup.url(), "backup")))
        viewer = Taker()
        feed = Continuity(channel, lambda each: HttpSource(each, opened, RelayConfig()), terms)
        running = asyncio.create_task(feed.run(viewer))
        waiting = asyncio.create_task(viewer.began.wait())
        await asyncio.wait((running, waiting), timeout=5, return_when=asyncio.FIRST_COMPLETED)
        try:
            assert waiting.done()
            assert (len(first.exchanges), len(backup.exchanges)) == (1, 1)
        finally:
            running.cancel()
            waiting.cancel()
            await asyncio.wait((running, waiting))


async def test_a_packed_body_is_left_packed() -> None:
    packed = gzip.compress(packets(0, 10))
    script = sends(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + packed)
    async with origin(script) as seen, client() as opened:
        assert await read_all(opened, upstream(seen.url())) == packed


async def test_more_streams_are_open_at_once_than_a_usual_pool_allows() -> None:
    async with origin(holds(OK + b"a")) as seen, client() as opened, contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(5):
            for number in range(120):
                response = await stack.enter_async_context(opened.open(upstream(seen.url(f"/{number}"))))
                assert await response.content.read(1) == b"a"


@pytest.mark.parametrize("script", [holds(OK + b"a"), repeats(b"x" * 1000, before=OK), sends(OK + b"a")])
async def test_the_connection_is_closed_when_the_block_is_left(script: Script) -> None:
    async with origin(script) as seen, client() as opened:
        async with opened.open(upstream(seen.url())) as response:
            assert await response.content.read(1)
        await until_nobody_is_connected(seen)


async def test_the_connection_is_closed_when_the_block_fails() -> None:
    async with origin(holds(OK + b"a")) as seen, client() as opened:
        with pytest.raises(ZeroDivisionError):
            async with opened.open(upstream(seen.url())):
                raise ZeroDivisionError
        await until_nobody_is_connected(seen)


async def test_the_connection_is_closed_before_the_block_is_over() -> None:
    async with origin(repeats(b"x" * 1000, before=OK)) as seen, client() as opened:
        for _ in range(20):
            async with opened.open(upstream(seen.url())) as response:
                assert await response.content.read(1)
        assert seen.peak["/live.ts"] == 1


@pytest.mark.parametrize("script", [holds(), holds(OK + b"a"), repeats(b"x" * 1000, before=OK)])
async def test_the_connection_is_closed_when_the_task_is_cancelled(script: Script) -> None:
    async def watch() -> None:
        async with opened.open(upstream(seen.url())) as response:
            while await response.content.readany():
                pass

    async with origin(script) as seen, client() as opened:
        watching = asyncio.create_task(watch())
        await seen.until(lambda seen: seen.open["/live.ts"] == 1)

        watching.cancel()

        await until_nobody_is_connected(seen)
        await asyncio.wait([watching], timeout=1)
        assert watching.cancelled()


async def test_leaving_the_client_closes_what_is_still_open() -> None:
    async with origin(holds(OK + b"a")) as seen:
        async with contextlib.AsyncExitStack() as stack:
            opened = await stack.enter_async_context(client())
            left_open = opened.open(upstream(seen.url()))
            await left_open.__aenter__()
        await until_nobody_is_connected(seen)
        await left_open.__aexit__(None, None, None)


async def test_a_download_is_whole() -> None:
    body = bytes(range(256)) * 4000
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body, 10_000)) + b"0\r\n\r\n"
    for answer in (
        OK + body,
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
    ):
        async with origin(sends(answer)) as seen, client() as opened:
            assert await opened.fetch(upstream(seen.url()), timeout=5, limit=len(body)) == body
            await until_nobody_is_connected(seen)


def pieces(data: bytes, size: int) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("script", [sends(OK + b"x" * 1001), repeats(b"x" * 100, before=OK)])
async def test_a_download_that_is_too_large_is_given_up(script: Script) -> None:
    async with origin(script) as seen, client() as opened:
        with pytest.raises(UpstreamBroken, match="more than"):
            async with asyncio.timeout(2):
                await opened.fetch(upstream(seen.url()), timeout=5, limit=1000)
        await until_nobody_is_connected(seen)


@pytest.mark.parametrize(
    "script",
    [holds(), holds(OK), repeats(b"x", before=OK, pause=0.02), repeats(b"HTTP/1.1 103 Hints\r\n\r\n", pause=0.02)],
)
async def test_a_download_that_is_too_slow_is_given_up(script: Script) -> None:
    async with origin(script) as seen, client() as opened:
        with pytest.raises(UpstreamStalled, match=r"within 0\.1 s"):
            async with asyncio.timeout(1):
                await opened.fetch(upstream(seen.url()), timeout=0.1, limit=1000)
        await until_nobody_is_connected(seen)


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_download_is_an_error_and_not_half_a_file(script: Script) -> None:
    async with origin(script) as seen, client() as opened:
        with pytest.raises(UpstreamBroken):
            await opened.fetch(upstream(seen.url()), timeout=2, limit=1 << 20)


async def test_other_settings_count_for_what_is_opened_next() -> None:
    async with origin(sends(OK)) as seen, client(user_agent="agent/1") as opened:
        opened.configure(OptionsConfig(user_agent="agent/2", timeout=5))
        await read_all(opened, upstream(seen.url()))
        assert seen.exchanges[0].headers["User-Agent"] == "agent/2"
