"""Webhooks over HTTP, and what really arrives at their addresses."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from streamproxy.server.service import Service
from tests.helpers.api import Api, api_of
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.origin import Exchange, Origin, origin
from tests.helpers.proxy import Proxy, config, running

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # what is below is tested under both

TOKEN = "api-t0ken"
SECRET = "hunter2word"
SIX = [
    "stream_started",
    "stream_stopped",
    "stream_failed",
    "client_connected",
    "client_disconnected",
    "failover_triggered",
]
LOCAL: dict[str, Any] = {"local_urls": True}


async def take(exchange: Exchange) -> None:
    status = b"500 Oh no" if exchange.path.startswith("/broken") else b"200 OK"
    await exchange.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def bodies(target: Origin, path: str = "/hook") -> list[Any]:
    return [json.loads(exchange.body) for exchange in target.exchanges if exchange.path == path]


@dataclass
class World:
    """A program, and an address that takes what it is told."""

    target: Origin
    proxy: Proxy
    api: Api

    async def taken(self, count: int) -> list[Any]:
        """Wait until `/hook` was told this many events."""
        await self.target.until(lambda target: len(bodies(target)) >= count)
        return bodies(self.target)


@asynccontextmanager
async def world(folder: Path, **settings: Any) -> AsyncIterator[World]:
    settings = {"api": LOCAL, "server": {"api_token": TOKEN}} | settings
    async with (
        origin(take) as target,
        running(config(folder, **settings)) as proxy,
        api_of(proxy, **{"X-API-Token": TOKEN}) as api,
    ):
        yield World(target, proxy, api)


async def test_who_registers_is_told_and_shown_without_its_secrets(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        url = here.target.url("/hook")
        body = {"url": url, "secret": SECRET, "headers": {"X-Mine": SECRET}}
        told = [(await here.api.call("POST", "/webhooks", body)).json for _ in range(2)]
        stream = await here.api.make("http://provider/live/u/p/1.ts", metadata={"provider_profile_id": 7})
        await here.api.call("DELETE", f"/streams/{stream}")
        made, stopped = await here.taken(2)
        async with asyncio.timeout(5):
            while (listed := await here.api.call("GET", "/webhooks")).json["webhooks"][0]["pending"]:
                await asyncio.sleep(0.01)
        sent = here.target.exchanges[0]

    added = {"message": "Webhook added successfully", "webhook_url": url, "events": SIX}
    assert told == [added, added]
    assert listed.json == {
        "webhooks": [
            {
                "url": url,
                "events": SIX,
                "timeout": 10,
                "retry_attempts": 3,
                "delivered": 2,
                "failed": 0,
                "dropped": 0,
                "pending": 0,
                "configured": False,
            }
        ]
    }
    assert SECRET not in listed.text
    assert (made["event_type"], made["data"]["primary_url"]) == ("stream_started", "http://provider/live/u/p/1.ts")
    assert (stopped["event_type"], stopped["stream_id"]) == ("stream_stopped", stream)
    assert stopped["data"]["metadata"] == {"provider_profile_id": "7"}
    signature = hmac.new(SECRET.encode(), sent.body, hashlib.sha256).hexdigest()
    assert (sent.headers["X-Streamproxy-Signature"], sent.headers["X-Mine"]) == (f"sha256={signature}", SECRET)


async def test_who_registered_without_a_token_is_told_hosts_alone(tmp_path: Path) -> None:
    async with world(tmp_path, server={}) as here:
        await here.api.call("POST", "/webhooks", {"url": here.target.url("/hook")})
        await here.api.make(f"http://provider/live/u/{SECRET}/1.ts")
        (made,) = await here.taken(1)
        listed = await here.api.get("/webhooks")

    assert made["data"]["primary_url"] == "http://provider…"
    assert listed["webhooks"][0]["url"] == f"http://127.0.0.1:{here.target.port}…"


@pytest.mark.parametrize("way", ["query", "body", "both", "another spelling"])
async def test_a_webhook_is_removed_by_query_or_body(tmp_path: Path, way: str) -> None:
    async with world(tmp_path) as here:
        await here.api.call("POST", "/webhooks", {"url": "http://Hook.example:80"})
        url = "http://hook.example/" if way == "another spelling" else "http://Hook.example:80"
        where = "/webhooks" if way == "body" else f"/webhooks?webhook_url={quote(url, safe='')}"
        body = {"webhook_url": url} if way in ("body", "both") else None
        told = await here.api.call("DELETE", where, body)
        again = await here.api.call("DELETE", where, body)
        listed = await here.api.get("/webhooks")

    assert (told.status, told.json) == (200, {"message": "Webhook removed successfully"})
    assert (again.status, again.json) == (404, {"detail": "Webhook not found"})
    assert listed == {"webhooks": []}


@pytest.mark.parametrize(
    ("path", "event"), [("/hook", True), ("/broken", False)], ids=["which takes it", "which does not"]
)
async def test_a_webhook_can_be_tried(tmp_path: Path, path: str, event: bool) -> None:
    async with world(tmp_path) as here:
        url = here.target.url(path)
        await here.api.call("POST", "/webhooks", {"url": url, "retry_attempts": 0, "events": ["splice"]})
        told = await here.api.call("POST", f"/webhooks/test?webhook_url={quote(url, safe='')}")
        (sent,) = bodies(here.target, path)

    assert (told.status, told.json["delivered"], told.json["event_id"]) == (200, event, sent["event_id"])
    assert told.json.keys() == {"message", "event_id", "delivered"}
    assert (sent["event_type"], sent["stream_id"], sent["data"]["test"]) == ("stream_started", "test_stream_123", True)


async def test_whether_a_trial_was_taken_is_not_told_by_what_else_was(tmp_path: Path) -> None:
    told_of_others = asyncio.Event()

    async def refuse_trials(exchange: Exchange) -> None:
        if json.loads(exchange.body)["data"].get("test"):
            await told_of_others.wait()
            exchange.path = "/broken"
        await take(exchange)

    async with (
        origin(refuse_trials) as target,
        running(config(tmp_path, api=LOCAL)) as proxy,
        api_of(proxy) as api,
    ):
        url = target.url("/hook")
        await api.call("POST", "/webhooks", {"url": url, "retry_attempts": 0})
        trying = asyncio.create_task(api.call("POST", f"/webhooks/test?webhook_url={quote(url, safe='')}"))
        await target.until(lambda target: target.open["/hook"] == 1)
        await api.make("http://h/1.ts")
        async with asyncio.timeout(5):
            while not (await api.get("/webhooks"))["webhooks"][0]["delivered"]:
                await asyncio.sleep(0.01)
        told_of_others.set()
        told = await trying

    assert (told.status, told.json["delivered"]) == (200, False)


UNFIT: tuple[dict[str, Any], ...] = (
    {},
    {"url": "ftp://h/"},
    {"url": "http://h:99999/"},
    {"url": "http://h/", "events": ["nope"]},
    {"url": "http://h/", "timeout": 0.5},
    {"url": "http://h/", "timeout": "10"},
    {"url": "http://h/", "retry_attempts": -1},
    {"url": "http://h/", "retry_attempts": 1.5},
    {"url": "http://h/", "headers": {"Host": "x"}},
    {"url": "http://h/", "headers": {"X": "a\r\nb"}},
    {"url": "http://h/", "secret": ""},
    {"url": "http://127.0.0.1/"},
)


async def test_what_is_unfit_is_not_registered(tmp_path: Path) -> None:
    async with world(tmp_path, api={}) as here:
        for body in UNFIT:
            assert (await here.api.call("POST", "/webhooks", body)).status == 422, body
        assert await here.api.get("/webhooks") == {"webhooks": []}


async def test_there_is_an_end_to_webhooks(tmp_path: Path) -> None:
    async with world(tmp_path, api={"keep_streams": False}) as here:
        statuses = [
            (await here.api.call("POST", "/webhooks", {"url": f"http://h/{number}"})).status for number in range(257)
        ]
        again = await here.api.call("POST", "/webhooks", {"url": "http://h/0", "timeout": 5})

    assert statuses == [200] * 256 + [503]
    assert again.status == 200


async def test_a_webhook_of_the_configuration_is_told_and_cannot_be_removed(tmp_path: Path) -> None:
    async with origin(take) as target:
        hooks = [{"url": target.url("/hook"), "events": ["stream_started"]}]
        async with running(config(tmp_path, webhooks=hooks)) as proxy, api_of(proxy) as api:
            url = target.url("/hook")
            removed = await api.call("DELETE", "/webhooks", {"webhook_url": url})
            registered = await api.call("POST", "/webhooks", {"url": target.url("/HOOK").lower(), "events": []})
            refused = await api.call("POST", "/webhooks", {"url": "http://h/hook", "events": ["splice"]})
            listed = (await api.get("/webhooks"))["webhooks"]
            await api.make("http://provider/1.ts")
            await target.until(lambda target: bool(bodies(target)))

    assert (removed.status, removed.json) == (
        409,
        {"detail": "Webhook is in the configuration; take it out there and reload"},
    )
    assert registered.status == 422  # it leads to this machine, which the configuration may and the API may not
    assert refused.status == 200
    assert [(hook["configured"], hook["events"]) for hook in listed] == [
        (True, ["stream_started"]),
        (False, ["splice"]),
    ]


async def test_who_registers_what_is_in_the_configuration_changes_nothing(tmp_path: Path) -> None:
    hooks = [{"url": "http://h/hook", "events": ["splice"]}]
    async with running(config(tmp_path, webhooks=hooks)) as proxy, api_of(proxy) as api:
        told = await api.call("POST", "/webhooks", {"url": "http://h/hook"})
        listed = (await api.get("/webhooks"))["webhooks"]

    assert (told.status, told.json["events"]) == (200, ["splice"])
    assert [(hook["events"], hook["configured"]) for hook in listed] == [(["splice"], True)]
    assert not (tmp_path / "state" / "webhooks.json").exists()


async def test_a_reload_changes_the_webhooks_of_the_configuration_alone(tmp_path: Path) -> None:
    settings = [config(tmp_path, webhooks=["http://h/old", "http://h/both"])]
    service = Service(lambda: settings[-1])
    ready = asyncio.Event()
    task = asyncio.create_task(service.run(lambda _: ready.set()))
    await ready.wait()
    async with api_of(Proxy(service, service.addresses[0][1])) as api:
        await api.call("POST", "/webhooks", {"url": "http://h/own"})
        settings.append(config(tmp_path, webhooks=["http://h/both", "http://h/new"]))
        service.reload()
        async with asyncio.timeout(5):
            while service.config is not settings[-1]:
                await asyncio.sleep(0.01)
        listed = [hook["configured"] for hook in (await api.get("/webhooks"))["webhooks"]]
        gone = await api.call("DELETE", "/webhooks?webhook_url=http://h/old")
        own = await api.call("DELETE", "/webhooks?webhook_url=http://h/own")
    service.stop()
    await task

    assert sorted(listed) == [False, True, True]
    assert (gone.status, own.status) == (404, 200)


async def test_the_last_events_are_told_before_the_program_ends(tmp_path: Path) -> None:
    async with origin() as upstream, origin(take) as target:
        hooks = [{"url": target.url("/hook"), "events": ["stream_stopped"]}]
        settings = config(tmp_path, webhooks=hooks, streams={"tv": upstream.url("/1.ts")})
        async with running(settings) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"GET /stream/tv HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readexactly(1000)
        writer.close()

        assert [body["stream_id"] for body in bodies(target)] == ["tv"]


async def take_slowly(exchange: Exchange) -> None:
    await asyncio.sleep(0.05)
    await take(exchange)


async def test_one_that_is_far_behind_does_not_hold_the_end_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with origin(take_slowly) as target:
        async with running(config(tmp_path, api=LOCAL)) as proxy, api_of(proxy) as api:
            await api.call("POST", "/webhooks", {"url": target.url("/hook"), "retry_attempts": 0})
            for number in range(60):
                await api.make(f"http://h/{number}.ts")

        assert 0 < len(bodies(target)) < 60
    assert "webhook_broke" not in capsys.readouterr().out
    assert (tmp_path / "state" / "webhooks.json").read_text().count("/hook") == 1
