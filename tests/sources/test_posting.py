"""Webhooks on real sockets, which do all that they should not."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from streamproxy.config import OptionsConfig
from streamproxy.errors import UpstreamError, UpstreamStalled, UpstreamUnreachable
from streamproxy.events import StreamStopped
from streamproxy.sources import guard
from streamproxy.sources.client import Client
from streamproxy.sources.posting import Poster
from streamproxy.tasks import Tasks
from streamproxy.webhooks import Outbox, Webhook, Webhooks
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import Exchange, Origin, Script, origin
from tests.helpers.scripts import holds, redirects, repeats, resets, sends

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
SECRET = "s3cr3t-t0ken"


@asynccontextmanager
async def poster() -> AsyncIterator[Poster]:
    async with Client(OptionsConfig(timeout=5, user_agent="agent/1")) as client:
        yield Poster(client)


@asynccontextmanager
async def webhooks() -> AsyncIterator[Webhooks]:
    async with poster() as post, Tasks() as tasks:
        yield Webhooks(post, tasks)


async def post(
    to: Origin | str, *, timeout: float = 5, foreign: bool = False, headers: dict[str, str] | None = None
) -> int:
    url = to if isinstance(to, str) else to.url(f"/{SECRET}")
    async with poster() as send:
        return await send(url, b"{}", headers or {}, timeout=timeout, foreign=foreign)


def stopped(number: int = 0) -> StreamStopped:
    return StreamStopped(stream_id=str(number), reason="manual_deletion")


async def test_a_body_is_posted_with_its_headers() -> None:
    async with origin(sends(TAKEN)) as seen:
        assert await post(seen, headers={"User-Agent": "own/1", "Content-Type": "application/json"}) == 204
        (exchange,) = seen.exchanges
    assert exchange.raw.startswith(f"POST /{SECRET} HTTP/1.1\r\n".encode())
    assert exchange.body == b"{}"
    assert exchange.headers["Content-Type"] == "application/json"
    assert exchange.raw.lower().count(b"user-agent:") == 1


@pytest.mark.parametrize("status", [200, 304, 400, 404, 410, 500, 999])
async def test_whatever_status_is_answered_is_told(status: int) -> None:
    async with origin(sends(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % status)) as seen:
        assert await post(seen) == status


async def test_a_redirect_gets_the_same_post() -> None:
    async with origin(sends(TAKEN)) as second, origin(redirects(second.url("/new").encode())) as first:
        assert await post(first, headers={"Authorization": SECRET}) == 204
        (exchange,) = second.exchanges
    assert exchange.raw.startswith(b"POST /new ")
    assert exchange.body == b"{}"
    assert SECRET.encode() not in exchange.raw


@pytest.mark.parametrize(
    "script", [holds(), holds(b"HTTP/1.1 200 OK\r\n"), resets, sends(b""), sends(b"nonsense\r\n\r\n")]
)
async def test_no_answer_is_an_error_that_names_the_host_alone(script: Script) -> None:
    async with origin(script) as seen:
        with pytest.raises(UpstreamError) as raised:
            await post(seen, timeout=0.2)
    assert raised.value.label == "webhook 127.0.0.1"
    assert SECRET not in str(raised.value)
    assert str(seen.port) not in str(raised.value)


@pytest.mark.parametrize("script", [holds(HEAD), repeats(b"x", before=HEAD, pause=0.02), sends(HEAD + b"x")])
async def test_an_answer_whose_body_does_not_end_counts_in_time(script: Script) -> None:
    async with origin(script) as seen:
        async with asyncio.timeout(3):
            assert await post(seen, timeout=0.2) == 200
        await seen.until(lambda seen: not +seen.open, within=1)


async def test_no_more_of_an_answer_is_read_than_64_kib() -> None:
    sent = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError, RuntimeError):
            await exchange.send(HEAD)
            while True:
                await exchange.send(bytes(1 << 12))
                sent += 1 << 12

    async with origin(answer) as seen:
        assert await post(seen, timeout=60) == 200
        await seen.until(lambda seen: not +seen.open)
    assert sent < 50_000_000


async def test_a_small_answer_is_read_to_its_end() -> None:
    may_end = asyncio.Event()
    done = []

    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await may_end.wait()
        await exchange.send(b"b")
        done.append(True)

    async with origin(answer) as seen:
        posting = asyncio.create_task(post(seen))
        await seen.until(lambda seen: bool(seen.exchanges))
        may_end.set()
        assert await posting == 200
    assert done


async def test_a_stranger_cannot_have_this_machine_told_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    async with origin(sends(TAKEN)) as seen:
        with pytest.raises(UpstreamUnreachable, match=r"api\.local_urls"):
            await post(seen, foreign=True)
        monkeypatch.setattr(guard, "leads_home", lambda family, address: address != "127.0.0.1")
        assert await post(seen, foreign=True) == 204
        seen.script = redirects(f"http://127.0.0.2:{seen.port}/".encode())
        with pytest.raises(UpstreamUnreachable, match=r"api\.local_urls"):
            await post(seen, foreign=True)
        assert len(seen.exchanges) == 2


BAD = {
    "silent": holds(),
    "500": sends(b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n"),
    "reset": resets,
    "slow body": repeats(b"x", before=HEAD, pause=0.02),
    "redirected for ever": redirects(b"/again"),
}


@pytest.mark.parametrize("script", BAD.values(), ids=BAD.keys())
async def test_what_one_webhook_does_delays_no_other(script: Script) -> None:
    async with origin(script) as bad, origin(sends(TAKEN)) as good, webhooks() as told:
        first = told.add(Webhook(bad.url()))
        second = told.add(Webhook(good.url()))
        for number in range(20):
            told.listener(stopped(number))
            # One by one: the other one has not got over the first by then.
            async with asyncio.timeout(5):
                await second.settled()
        assert [json.loads(exchange.body)["stream_id"] for exchange in good.exchanges] == list(map(str, range(20)))
        assert second.delivered == 20
        assert first.pending >= 19
        assert good.peak["/live.ts"] == 1


async def test_what_a_webhook_gets_is_signed_and_whole() -> None:
    async with origin(sends(TAKEN)) as seen, webhooks() as told:
        outbox = told.add(Webhook(seen.url(), headers={"X-Own": "1"}, secret=SECRET))
        event = stopped()
        told.listener(event)
        await settled(outbox)
        (exchange,) = seen.exchanges
    assert json.loads(exchange.body) == event.payload(str)
    signature = hmac.new(SECRET.encode(), exchange.body, hashlib.sha256).hexdigest()
    assert exchange.headers["X-Streamproxy-Signature"] == f"sha256={signature}"
    assert exchange.headers["X-Streamproxy-Event"] == "stream_stopped"
    assert exchange.headers["X-Own"] == "1"


async def settled(outbox: Outbox) -> None:
    async with asyncio.timeout(5):
        await outbox.settled()


async def test_a_webhook_that_recovers_gets_what_it_has_missed_in_order() -> None:
    async with origin(sends(b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n")) as seen, webhooks() as told:
        outbox = told.add(Webhook(seen.url(), retry_attempts=0))
        told.listener(stopped(0))
        await settled(outbox)
        seen.script = sends(TAKEN)
        for number in range(1, 50):
            told.listener(stopped(number))
        await settled(outbox)
        assert (outbox.delivered, outbox.failed) == (49, 1)
        assert [json.loads(exchange.body)["stream_id"] for exchange in seen.exchanges] == list(map(str, range(50)))


async def test_dropping_a_webhook_ends_what_is_being_sent_to_it() -> None:
    async with origin(holds()) as seen, webhooks() as told:
        told.add(Webhook(seen.url()))
        told.listener(stopped())
        await seen.until(lambda seen: bool(+seen.open))
        assert told.remove(seen.url())
        await seen.until(lambda seen: not +seen.open, within=1)


async def test_the_log_names_a_failing_webhook_by_its_host_alone() -> None:
    with capture_logs() as logs:
        async with origin(resets) as seen, webhooks() as told:
            outbox = told.add(Webhook(seen.url(f"/{SECRET}"), retry_attempts=0))
            told.listener(stopped())
            await settled(outbox)
    (line,) = logs
    assert (line["event"], line["webhook"]) == ("webhook_failed", "127.0.0.1")
    assert SECRET not in str(line)
    assert str(seen.port) not in str(line)


async def test_a_silent_webhook_is_given_up_in_time() -> None:
    async with origin(holds()) as seen:
        with pytest.raises(UpstreamStalled):
            async with asyncio.timeout(3):
                await post(seen, timeout=0.1)
