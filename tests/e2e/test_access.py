"""Who gets in, with the whole program behind the door."""

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamproxy.server.app import make_app
from streamproxy.server.service import Service
from streamproxy.web import FACES, Kind, kind_of
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.guarded import API_TOKEN, ELSEWHERE, IN_AN_ADDRESS, STREAM_TOKEN
from tests.helpers.hls_origin import HlsOrigin, media
from tests.helpers.origin import Origin, endless, origin
from tests.helpers.proxy import Proxy, config, running
from tests.helpers.stream import packets, runs

OPEN: dict[str, Any] = {"trusted_proxies": ["127.0.0.1"]}
CLOSED: dict[str, Any] = OPEN | {"api_token": API_TOKEN, "stream_token": STREAM_TOKEN}


def routes() -> list[tuple[str, str, Kind]]:
    """List path, method and kind of everything that the program serves."""
    app = make_app("")
    return [
        (re.sub(r"\{[^}]*\}", "x", resource.canonical), route.method, kind_of(app[FACES].get(route), route.method))
        for resource in app.router.resources()
        for route in resource
    ]


async def status(proxy: Proxy, path: str, method: str, headers: dict[str, str]) -> int:
    async with proxy.open(path, method=method, headers=headers) as answer:
        return answer.status


async def test_nothing_of_the_program_is_done_for_who_knows_no_token(tmp_path: Path) -> None:
    async with running(config(tmp_path, server=CLOSED)) as proxy:
        for path, method, kind in routes():
            if kind is Kind.PUBLIC or method == "OPTIONS":
                continue
            wrong = {"X-API-Token": "wrong"}
            answers = await status(proxy, path, method, {}), await status(proxy, path, method, wrong)
            assert answers == (401, 403), (path, method)


async def test_nothing_of_the_program_is_changed_by_somebody_elsewhere(tmp_path: Path) -> None:
    async with running(config(tmp_path, server=OPEN)) as proxy:
        for path, method, kind in routes():
            if kind is Kind.CHANGING:
                assert await status(proxy, path, method, ELSEWHERE) == 403, (path, method)
                assert await status(proxy, f"/{path}/", method, ELSEWHERE) == 403, (path, method)
                assert await status(proxy, path, method, {"Origin": "http://evil.example"}) == 403, (path, method)


async def test_nothing_of_the_program_is_for_other_networks(tmp_path: Path) -> None:
    async with running(config(tmp_path, server=CLOSED | {"allowed_networks": ["192.0.2.0/30"]})) as proxy:
        for path, method, _ in routes():
            assert await status(proxy, path, method, ELSEWHERE | {"X-API-Token": API_TOKEN}) == 403, (path, method)


async def test_the_api_is_there_for_who_knows_its_token(tmp_path: Path) -> None:
    async with running(config(tmp_path, server=CLOSED | {"root_path": "/iptv"})) as proxy:
        for path in ("/health", "/iptv/health", "/", f"/health?api_token={API_TOKEN}"):
            headers = {} if "?" in path else {"Authorization": f"Bearer {API_TOKEN}"}
            assert (await proxy.get(path, headers=headers)).status == 200


def provider(socket: Origin) -> None:
    """Have an origin serve a stream at /live.ts, and HLS at /tv.m3u8."""
    pages = HlsOrigin(socket)
    pages.serve("/live.ts", endless)
    pages.serve("/tv.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000000\nlow.m3u8\n")
    pages.serve("/low.m3u8", media(["1.ts", "2.ts"], ended=True))
    for number in (1, 2):
        pages.serve(f"/{number}.ts", packets(number * 100, 100))
    socket.script = pages.answer


def links(playlist: bytes) -> list[str]:
    """List the paths of what a playlist leads to."""
    found = [line for line in playlist.decode().splitlines() if line and not line.startswith("#")]
    return [re.sub(r"https?://[^/]*", "", line) for line in found]


@pytest.mark.parametrize(
    ("entry", "headers"),
    [
        (f"/token/{IN_AN_ADDRESS}/playlist.m3u", {}),
        (f"/iptv/token/{IN_AN_ADDRESS}/playlist.m3u", {}),
        (f"/playlist.m3u?token={IN_AN_ADDRESS}", {}),
        ("/playlist.m3u", {"X-API-Token": API_TOKEN}),
    ],
)
async def test_a_player_that_follows_the_list_needs_to_know_no_token(
    tmp_path: Path, entry: str, headers: dict[str, str]
) -> None:
    async with origin() as upstream:
        provider(upstream)
        streams = {"live": upstream.url("/live.ts"), "tv": upstream.url("/tv.m3u8")}
        settings = config(tmp_path, streams=streams, server=CLOSED | {"root_path": "/iptv"})
        async with running(settings) as proxy:
            live, tv = links((await proxy.get(entry, headers=headers)).body)
            async with proxy.open(live) as viewer:
                assert viewer.status == 200
                assert len(runs(await viewer.reader.readexactly(18_800), channel=0)) == 1
            (low,) = links((await proxy.get(tv)).body)
            segments = links((await proxy.get(low)).body)
            bodies = [(await proxy.get(segment)).body for segment in segments]

    assert bodies == [packets(100, 100), packets(200, 100)]
    assert all(link.startswith(f"/iptv/token/{IN_AN_ADDRESS}/") for link in (live, tv, low, *segments))


async def test_the_lists_of_those_who_know_the_token_and_of_those_who_need_none_are_kept_apart(tmp_path: Path) -> None:
    settings = [
        config(tmp_path, streams={"a": "http://h/1.ts"}, server={"stream_token": token})
        for token in (STREAM_TOKEN, "another")
    ]
    service = Service(lambda: settings[0])
    ready = asyncio.Event()
    task = asyncio.create_task(service.run(lambda _: ready.set()))
    await ready.wait()
    proxy = Proxy(service, service.addresses[0][1])
    first = await proxy.get(f"/playlist.m3u?token={IN_AN_ADDRESS}")
    service.config = settings[1]
    known = {"If-None-Match": first.headers["etag"]}
    second = await proxy.get("/playlist.m3u?token=another", headers=known)
    refused = await proxy.get("/playlist.m3u", headers=known)
    service.stop()
    await task

    assert links(first.body) == [f"/token/{IN_AN_ADDRESS}/stream/a.ts"]
    assert links(second.body) == ["/token/another/stream/a.ts"]
    assert refused.status == 401


async def test_a_browser_may_ask_whether_its_page_may_show_a_stream(tmp_path: Path) -> None:
    headers = {"Origin": "http://page.example", "Access-Control-Request-Method": "GET"}
    async with running(config(tmp_path, streams={"tv": "http://h/tv.m3u8"}, server=CLOSED)) as proxy:
        for prefix in ("", f"/token/{IN_AN_ADDRESS}"):
            answer = await proxy.get(f"{prefix}/hls/tv/playlist.m3u8", method="OPTIONS", headers=headers)

            assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "*")
            assert "access-control-allow-credentials" not in answer.headers


SECRET = "dont-log-me"


async def test_no_token_is_logged_whatever_goes_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with origin() as upstream:
        provider(upstream)
        streams = {"live": upstream.url("/live.ts"), "gone": upstream.url("/gone.m3u8"), "none": None}
        server = {"stream_token": SECRET, "api_token": f"{SECRET}-either"}
        with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as lines:
            async with running(config(tmp_path, streams=streams, server=server)) as proxy:
                for path in (
                    f"/token/{SECRET}/stream/gone",
                    f"/token/{SECRET}/hls/gone/playlist.m3u8",
                    f"/token/{SECRET}/none",
                    f"/token/{SECRET}/nothing",
                    f"/token/{SECRET}/\x00",
                    f"/token/{SECRET} /x",
                    f"/token/{SECRET}/{'x' * 70_000}",
                    f"/token/{SECRET}x/stream/live",
                    f"/health?api_token={SECRET}",
                    f"/health?api_token={SECRET}-either",
                ):
                    await status(proxy, path, "GET", {"X-API-Token": SECRET})
                async with proxy.open(f"/token/{SECRET}/stream/live") as viewer:
                    await viewer.reader.readexactly(188)

    assert any(line["event"] == "viewer_joined" for line in lines)
    assert "malformed_request" in caplog.text
    assert SECRET not in caplog.text + repr(lines) + "".join(capfd.readouterr())
