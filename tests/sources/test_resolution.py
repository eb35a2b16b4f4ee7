"""Services that know where else a channel can be had, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.config import OptionsConfig
from streamproxy.errors import (
    UpstreamBroken,
    UpstreamBusy,
    UpstreamError,
    UpstreamNotMedia,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamThin,
    UpstreamUnreachable,
)
from streamproxy.model import Channel, StreamKind, Upstream
from streamproxy.sources import guard
from streamproxy.sources.client import Client
from streamproxy.sources.resolution import FailoverService, _next_url
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import Answer, HlsOrigin, dropped, hls_origin
from tests.helpers.origin import Exchange
from tests.helpers.pages import answer

SECRET = "s3cr3t-t0ken"
FIRST = Upstream(f"http://one.example/{SECRET}", "news", {"User-Agent": "Own/1"}, StreamKind.HLS, "provider")
SECOND = Upstream(f"http://two.example/{SECRET}", "news (2)")
LOST = UpstreamRefused("news (2)", 404)


@asynccontextmanager
async def service(*answers: Answer | str, timeout: float = 5) -> AsyncIterator[tuple[FailoverService, HlsOrigin]]:
    async with hls_origin() as asked, Client(OptionsConfig()) as client:
        asked.serve("/next", *answers)
        channel = Channel(
            "news", "News", (FIRST, SECOND), resolver_url=asked.url("/next"), metadata={"id": "7", "tier": "gold"}
        )
        yield FailoverService(channel, client, timeout=timeout), asked


def naming(url: object) -> str:
    return json.dumps({"next_url": url})


async def test_it_is_asked_as_m3u_proxy_asks() -> None:
    async with service(naming(None)) as (resolver, asked):
        await resolver.resolve(SECOND, 3, LOST)
    (request,) = asked.requests("/next")
    assert request.raw.startswith(b"POST /next HTTP/1.1\r\n")
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {
        "current_url": f"http://two.example/{SECRET}",
        "metadata": {"id": "7", "tier": "gold"},
        "current_failover_index": 3,
        "status_code": 404,
        "reason": "stream_error_UpstreamRefused_after_retries",
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UpstreamBroken("news", "the upstream ended the stream"), "live_stream_silent_close"),
        (UpstreamStalled("news", "silent"), "chunk_timeout_after_retries"),
        (UpstreamUnreachable("news", "no route"), "connection_error_after_retries"),
        (UpstreamThin("news", "too little"), "low_bitrate"),
        (UpstreamBusy("provider"), "stream_error_UpstreamBusy_after_retries"),
        (UpstreamNotMedia("news", "a page"), "stream_error_UpstreamNotMedia_after_retries"),
    ],
)
async def test_it_is_told_why_in_the_words_of_m3u_proxy(error: UpstreamError, reason: str) -> None:
    async with service(naming(None)) as (resolver, asked):
        await resolver.resolve(FIRST, 0, error)
    question = json.loads(asked.requests("/next")[0].body)
    assert (question["reason"], question["status_code"]) == (reason, None)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://new.example/live.ts", StreamKind.LIVE),
        ("https://new.example/a.m3u8?x=%2F", StreamKind.HLS),
        ("http://new.example/user/password/1", None),
    ],
)
async def test_what_it_names_is_asked_for_as_the_first_upstream_is(url: str, kind: StreamKind | None) -> None:
    async with service(naming(url)) as (resolver, _):
        found = await resolver.resolve(SECOND, 0, LOST)
    assert found == Upstream(url, "news (resolved)", {"User-Agent": "Own/1"}, kind, "provider")


async def test_where_a_stranger_named_it_it_must_not_be_on_this_machine() -> None:
    channel = Channel("news", "News", (FIRST,), resolver_foreign=True)
    async with hls_origin() as asked, Client(OptionsConfig()) as client:
        asked.serve("/next", naming("http://new.example/"))
        service = FailoverService(replace(channel, resolver_url=asked.url("/next")), client, timeout=5)
        with structlog.testing.capture_logs() as logs:
            assert await service.resolve(FIRST, 0, LOST) is None
        assert asked.paths == []
    assert "api.local_urls" in logs[0]["reason"]


async def test_what_it_names_for_a_strangers_channel_must_not_be_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "leads_home", lambda family, address: address != "127.0.0.1")
    async with hls_origin() as asked, Client(OptionsConfig()) as client:
        asked.serve("/next", naming("http://127.0.0.2/"))
        channel = Channel("news", "News", (replace(FIRST, foreign=True),), resolver_url=asked.url("/next"))
        found = await FailoverService(channel, client, timeout=5).resolve(FIRST, 0, LOST)
        assert found is not None
        with pytest.raises(UpstreamUnreachable, match="leads to this machine"):
            async with client.open(found):
                pass


async def accepts(exchange: Exchange) -> None:
    await exchange.send(answer(naming("http://new.example/1"), status="202 Accepted"))


async def test_any_status_of_success_will_do() -> None:
    async with service(accepts) as (resolver, _):
        found = await resolver.resolve(FIRST, 0, LOST)
    assert found is not None
    assert found.url == "http://new.example/1"


async def hangs(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await asyncio.Event().wait()


@pytest.mark.parametrize("nothing", [naming(None), naming("")])
async def test_it_may_know_of_none(nothing: str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with service(nothing) as (resolver, _):
            assert await resolver.resolve(FIRST, 0, LOST) is None
    assert logs == []


@pytest.mark.parametrize(
    "wrong",
    [
        404,
        500,
        dropped,
        hangs,
        "",
        "{}",
        "[]",
        '"http://new.example/"',
        "<!doctype html>",
        b"\xff\xfe\x00",
        "[" * 60_000,
        naming(7),
        naming([SECRET]),
        naming(f"file:///etc/{SECRET}"),
        naming(f"http://new.example:port/{SECRET}"),
        naming("http://new.example/") + " " * 70_000,
    ],
)
async def test_what_is_no_answer_names_none_and_is_told_without_a_secret(wrong: Answer | str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with service(wrong, timeout=0.3 if wrong is hangs else 5) as (resolver, asked):
            assert await resolver.resolve(FIRST, 0, LOST) is None
    (line,) = logs
    assert (line["event"], line["channel"]) == ("resolver_failed", "news")
    assert SECRET not in str(line)
    assert asked.url("") not in str(line)


@given(
    st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_an_answer_is_read_or_refused(data: bytes) -> None:
    try:
        _next_url(data)
    except ValueError:
        return
