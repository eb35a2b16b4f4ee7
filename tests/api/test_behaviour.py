"""What the API does, with the whole program behind it: failover, limits, what outlasts a restart, and who sees what."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import streamproxy
from tests.helpers.api import METADATA, Api, api_of, world
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.origin import OK, Exchange, endless, origin
from tests.helpers.proxy import Proxy, config, running

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # what is below is tested under both

TOKEN = "api-t0ken"
AUTHENTICATED = {"X-API-Token": TOKEN}
CLOSED: dict[str, Any] = {"api_token": TOKEN}
LOCAL: dict[str, Any] = {"local_urls": True}


@asynccontextmanager
async def program(folder: Path, **settings: Any) -> AsyncIterator[Api]:
    async with running(config(folder, **settings)) as proxy, api_of(proxy) as api:
        yield api


async def programme(exchange: Exchange) -> None:
    """Stream what can be spliced, again and again."""
    clip = (Path(streamproxy.__file__).parent / "data" / "demo.ts").read_bytes()
    await exchange.send(OK)
    while True:
        for start in range(0, len(clip), 50 * 188):
            await exchange.send(clip[start : start + 50 * 188])
            await asyncio.sleep(0.01)


async def test_each_failover_is_one_step_for_those_who_watch(tmp_path: Path) -> None:
    async with world(tmp_path, headers=AUTHENTICATED, script=programme, server=CLOSED) as here:
        second, first = here.upstream.url("/2.ts"), here.upstream.url("/1.ts")
        told = (await here.api.call("POST", f"/streams/{here.live}/failover")).json
        await here.upstream.until(lambda upstream: upstream.open["/2.ts"] == 1 and not upstream.open["/1.ts"])
        shown = (await here.api.get(f"/streams/{here.live}"))["stream"]
        again = (await here.api.call("POST", f"/streams/{here.live}/failover")).json
        await here.upstream.until(lambda upstream: upstream.open["/1.ts"] == 1 and not upstream.open["/2.ts"])
        back = (await here.api.get(f"/streams/{here.live}"))["stream"]

    assert (told["new_url"], told["failover_index"], told["failover_attempts"]) == (second, 0, 1)
    assert (told["active_clients"], told["stream_type"]) == (1, "Live Continuous")
    assert (shown["current_url"], shown["current_failover_index"], shown["failover_attempts"]) == (second, 0, 1)
    assert shown["last_failover_time"] is not None
    assert (again["new_url"], again["failover_index"], again["failover_attempts"]) == (first, -1, 2)
    assert (back["current_url"], back["current_failover_index"], back["failover_attempts"]) == (first, -1, 2)
    assert here.upstream.total == {"/1.ts": 2, "/2.ts": 1}


async def test_a_failover_that_nobody_watches_counts_for_the_next_who_does(tmp_path: Path) -> None:
    async with (
        origin() as upstream,
        running(config(tmp_path, api=LOCAL)) as proxy,
        api_of(proxy) as api,
    ):
        stream = await api.make(upstream.url("/1.ts"), failover_urls=[upstream.url("/2.ts"), upstream.url("/3.ts")])
        indexes = [(await api.call("POST", f"/streams/{stream}/failover")).json["failover_index"] for _ in range(2)]
        async with proxy.open(f"/stream/{stream}") as viewer:
            await viewer.reader.readexactly(188)

    assert (indexes, list(upstream.total)) == ([0, 1], ["/3.ts"])


async def test_what_is_said_of_a_stream_that_is_watched_is_in_force_afterwards(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        url = here.upstream.url("/1.ts")
        changed = {"url": url, "user_agent": "Second/2", "metadata": METADATA | {"id": "43"}}
        told = (await here.api.call("POST", "/streams", changed)).json
        shown = await here.api.get(f"/streams/{here.live}")
        here.viewer.writer.close()
        await here.upstream.until(lambda upstream: not +upstream.open)
        async with here.proxy.open(f"/stream/{here.live}") as viewer:
            await viewer.reader.readexactly(188)
        agents = [exchange.headers["User-Agent"] for exchange in here.upstream.exchanges]

    assert told["stream_id"] == here.live
    assert "it is being watched" in told["message"]
    assert (shown["stream"]["metadata"]["id"], shown["client_count"]) == ("43", 1)
    assert agents[0] != agents[1] == "Second/2"


async def test_a_stream_too_many_takes_the_place_of_the_one_not_watched_for_longest(tmp_path: Path) -> None:
    async with world(tmp_path, api=LOCAL | {"max_streams": 2}) as here:
        idle = await here.api.make("http://h/idle.ts")
        other = await here.api.make("http://h/other.ts")
        listed = {stream["stream_id"] for stream in (await here.api.get("/streams"))["streams"]}
        async with here.proxy.open(f"/stream/{await here.api.make(here.upstream.url('/3.ts'))}") as viewer:
            await viewer.reader.readexactly(188)
            refused = await here.api.call("POST", "/streams", {"url": "http://h/more.ts"})
            again = await here.api.call("POST", "/streams", {"url": here.upstream.url("/1.ts")})

    assert listed == {here.live, other}
    assert idle not in listed
    assert (refused.status, again.status) == (503, 200)
    assert "api.max_streams" in refused.json["detail"]


async def test_a_stream_too_many_that_cannot_be_kept_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    async with program(tmp_path, api={"max_streams": 1}) as api:
        answers = [await api.call("POST", "/streams", {"url": f"http://h/{number}.ts"}) for number in range(3)]

    assert [answer.status for answer in answers] == [503] * 3
    assert all("cannot be written" in answer.json["detail"] for answer in answers)


@asynccontextmanager
async def slow_disk() -> AsyncIterator[None]:
    """Have nothing written for the length of the block: the only thread for that has something else to do."""
    loop, over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    other = loop.run_in_executor(None, over.wait)
    try:
        yield
    finally:
        over.set()
        await other


async def test_who_begins_to_watch_while_a_stream_is_deleted_is_ended(tmp_path: Path) -> None:
    may_begin = asyncio.Event()

    async def stay(exchange: Exchange) -> None:
        await may_begin.wait()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 1000000\r\n\r\n"
        await exchange.send(head + bytes(1000))
        await asyncio.Event().wait()

    async with origin(stay) as upstream:
        settings = config(tmp_path, api=LOCAL)
        async with running(settings) as proxy, api_of(proxy) as api:
            film = await api.make(upstream.url("/film.mp4"))
        async with (
            # Nothing is known of its viewers there.
            running(settings) as proxy,
            api_of(proxy) as api,
            proxy.open("/events?events=stream_stopped") as follower,
        ):
            watching = asyncio.create_task(proxy.get(f"/stream/{film}"))
            await upstream.until(lambda upstream: upstream.open["/film.mp4"] == 1)
            async with slow_disk():
                deleting = asyncio.create_task(api.call("DELETE", f"/streams/{film}"))
                async with asyncio.timeout(5):
                    while (await api.get("/streams"))["total"]:
                        await asyncio.sleep(0.01)
                    may_begin.set()
                    while not (await api.get("/clients"))["total_clients"]:
                        await asyncio.sleep(0.01)
            deleted, watched = await deleting, await watching
            await follower.reader.readuntil(b'"manual_deletion"')

    assert (deleted.status, watched.status, len(watched.body)) == (200, 200, 1000)


async def test_what_was_made_is_there_after_a_restart_and_what_was_deleted_is_not(tmp_path: Path) -> None:
    settings = {"server": CLOSED}
    made = {"user_agent": "UA/1", "metadata": METADATA, "headers": {"X-Key": "k"}, "failover_urls": ["http://h/2.ts"]}
    async with running(config(tmp_path, **settings)) as proxy, api_of(proxy, **AUTHENTICATED) as api:
        kept = await api.make("http://h/1.ts", **made)
        deleted = await api.make("http://h/gone.ts")
        await api.call("DELETE", f"/streams/{deleted}")
        before = (await api.get(f"/streams/{kept}"))["stream"]
        await api.call("POST", "/webhooks", {"url": "http://h/hook", "events": ["splice"], "secret": "s"})
        await api.call("POST", "/webhooks", {"url": "http://h/other"})
        await api.call("DELETE", "/webhooks?webhook_url=http://h/other")
    async with running(config(tmp_path, **settings)) as proxy, api_of(proxy, **AUTHENTICATED) as api:
        after = (await api.get(f"/streams/{kept}"))["stream"]
        total = (await api.get("/streams"))["total"]
        hooks = (await api.get("/webhooks"))["webhooks"]

    assert (after | {"last_access": before["last_access"]}, total) == (before, 1)
    assert (after["headers"], after["user_agent"]) == ({"X-Key": "k"}, "UA/1")
    assert [(hook["url"], hook["events"]) for hook in hooks] == [("http://h/hook", ["splice"])]
    for file in (tmp_path / "state").glob("*.json"):
        assert file.stat().st_mode & 0o777 == 0o600


async def test_nothing_is_kept_that_shall_not_be(tmp_path: Path) -> None:
    settings = {"api": {"keep_streams": False}}
    async with program(tmp_path, **settings) as api:
        await api.make("http://h/1.ts")
        await api.call("POST", "/webhooks", {"url": "http://h/hook"})
    async with program(tmp_path, **settings) as api:
        assert (await api.get("/streams"))["total"] == 0
        assert (await api.get("/webhooks")) == {"webhooks": []}


async def test_a_stream_that_nobody_watches_is_forgotten_after_a_while(tmp_path: Path) -> None:
    settings = {"api": {"stream_timeout": 1}}
    async with program(tmp_path, **settings) as api:
        await api.make("http://h/1.ts")
    async with program(tmp_path, **settings) as api, asyncio.timeout(10):
        while (await api.get("/streams"))["total"]:
            await asyncio.sleep(0.05)


async def test_a_damaged_file_of_webhooks_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "webhooks.json").write_text('[{"url": "http://h/", "events": 5}]')
    async with program(tmp_path) as api:
        assert (await api.get("/webhooks")) == {"webhooks": []}
        await api.call("POST", "/webhooks", {"url": "http://h/hook"})

    assert (tmp_path / "state" / "webhooks.json.damaged").exists()
    assert "hook" in (tmp_path / "state" / "webhooks.json").read_text()


SECRET = "hunter2word"
SEEN = (
    "/",
    "/health",
    "/info",
    "/streams",
    "/streams/{id}",
    "/streams/by-metadata?field=id&value=42&active_only=false",
    "/stats",
    "/stats/detailed",
    "/stats/performance",
    "/stats/streams",
    "/clients",
    "/webhooks",
    "/metrics",
    "/playlist.m3u",
    "/openapi.json",
    "/docs",
)


async def refuse(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


async def everything(proxy: Proxy, api: Api, port: int) -> tuple[str, str]:
    """Do all sorts of things with a stream whose every address is a secret; return answers and events."""
    location = f"user:{SECRET}@127.0.0.1:{port}"
    url = f"http://{location}/live/u/{SECRET}/1.ts"
    hook = {"url": f"http://127.0.0.1:1/{SECRET}", "secret": SECRET, "headers": {"Authorization": SECRET}}
    await api.call("POST", "/webhooks", hook | {"retry_attempts": 0, "events": []})
    async with proxy.open("/events", headers=dict(api.headers)) as follower:
        stream = await api.make(
            url,
            failover_urls=[f"http://127.0.0.1:{port}/2.ts?token={SECRET}"],
            failover_resolver_url=f"http://127.0.0.1:1/{SECRET}",
            headers={"X-Key": SECRET},
            metadata=METADATA,
        )
        answers = [(await proxy.get(f"/stream/{stream}")).body.decode()]
        answers += [(await proxy.get(f"/hls/{stream}/playlist.m3u8")).body.decode()]
        for path in SEEN:
            answers.append((await api.call("GET", path.format(id=stream))).text)
        answers.append((await api.call("POST", f"/streams/{stream}/failover")).text)
        answers.append((await api.call("DELETE", f"/streams/{stream}")).text)
        events = b""
        while b"manual_deletion" not in events:
            events += await follower.reader.read(1 << 16)
    return "\n".join(answers), events.decode()


@pytest.mark.parametrize("settings", [{}, {"server": CLOSED}], ids=["open", "with a token"])
async def test_credentials_are_for_who_shows_the_token_and_in_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    headers = AUTHENTICATED if settings else {}
    async with (
        origin(refuse) as upstream,
        running(config(tmp_path, api=LOCAL, **settings)) as proxy,
        api_of(proxy, **headers) as api,
    ):
        answers, events = await everything(proxy, api, upstream.port)
    written = "".join(capsys.readouterr())

    assert "manual_deletion" in events
    assert "upstream_failed" in written
    assert SECRET not in written
    assert (SECRET in answers, SECRET in events) == (bool(settings), bool(settings))


async def test_addresses_are_masked_for_who_shows_no_token(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        shown = (await here.api.get(f"/streams/{here.live}"))["stream"]
        told = (await here.api.call("POST", f"/streams/{here.live}/failover")).json
    own = f"http://127.0.0.1:{here.upstream.port}…"

    assert (shown["original_url"], shown["current_url"], shown["failover_urls"]) == (own, own, [own])
    assert told["new_url"] == own


async def test_who_calls_itself_what_is_no_text_hides_nobody(tmp_path: Path) -> None:
    async with origin(endless) as upstream, running(config(tmp_path, api=LOCAL)) as proxy, api_of(proxy) as api:
        stream = await api.make(upstream.url("/1.ts"))
        async with proxy.open(f"/stream/{stream}", headers={"User-Agent": "B\xffd"}) as viewer:
            await viewer.reader.readexactly(188)
            for path in ("/clients", "/stats", f"/streams/{stream}"):
                told = await api.call("GET", path)
                assert told.status == 200
                assert '"user_agent":"B?d"' in told.text.replace(" ", "")


async def test_a_request_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with program(tmp_path) as api:
        told = await api.call("POST", "/streams", raw=io.BytesIO(b"x" * (1 << 20) + b"x"))

    assert told.status == 413
