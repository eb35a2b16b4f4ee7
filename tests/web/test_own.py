"""What this program reads from itself is let in, and nobody else is by the same way."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, web

from streamproxy.server.app import make_app
from streamproxy.web import OWN_SECRET, SETTINGS, Face, base_url, own_path
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.guarded import API_TOKEN, ELSEWHERE, HERE, IN_AN_ADDRESS, STREAM_TOKEN, Settings
from tests.helpers.proxy import config

OUTSIDE: dict[str, Any] = {"allowed_networks": ["10.0.0.0/8"], "trusted_proxies": ["192.0.2.1"]}
"""This machine is in none of the networks that may come."""
CLOSED: dict[str, Any] = {"stream_token": STREAM_TOKEN, "api_token": API_TOKEN}


@dataclass
class Own:
    """A program that is asked for something by itself, as it says, or by somebody who has heard of its secret."""

    app: web.Application
    address: str
    port: int

    @property
    def prefix(self) -> str:
        return f"/token/{self.app[OWN_SECRET]}"

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        url = f"http://{self.address}:{self.port}{path}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            ClientSession(connector=TCPConnector(local_addr=(self.address, 0))) as session,
            session.request(method, url, headers=sent, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text()


@asynccontextmanager
async def own(
    folder: Path, *, address: str = "127.0.0.1", bound: str | None = None, **server: Any
) -> AsyncIterator[Own]:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"base": base_url(request), "query": request.query_string} | dict(request.match_info))

    api, media, public = web.RouteTableDef(), web.RouteTableDef(), web.RouteTableDef()
    api.get("/streams")(answer)
    api.post("/streams")(answer)
    media.get("/stream/{id}")(answer)
    public.get("/docs")(answer)
    settings = config(folder, server=server)
    app = make_app(settings.server.root_path, [(Face.API, api), (Face.PUBLIC, public), (Face.MEDIA, media)])
    app[SETTINGS] = Settings(settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, bound or address, 0).start()
    try:
        yield Own(app, address, runner.addresses[0][1])
    finally:
        await runner.cleanup()


EVERY_SERVER = pytest.mark.parametrize(
    "server", [{}, OUTSIDE, CLOSED, OUTSIDE | CLOSED], ids=["open", "networks", "tokens", "both"]
)


@EVERY_SERVER
async def test_it_is_let_in_whatever_the_settings_are(tmp_path: Path, server: dict[str, Any]) -> None:
    async with own(tmp_path, **server) as here:
        status, told = await here.ask(own_path(here.app, "a/b?c"))

    assert status == 200
    assert json.loads(told) | {"base": ""} == {"base": "", "query": "profile=none", "id": "a/b?c"}


async def test_who_comes_from_here_without_the_secret_is_refused_like_anybody(tmp_path: Path) -> None:
    async with own(tmp_path, **OUTSIDE) as here:
        assert (await here.ask("/stream/a"))[0] == 403
    async with own(tmp_path, **CLOSED) as here:
        assert (await here.ask("/stream/a"))[0] == 401


@pytest.mark.parametrize(("server", "status"), [({}, 404), (OUTSIDE, 403), (CLOSED, 403), (OUTSIDE | CLOSED, 403)])
async def test_another_secret_opens_nothing(tmp_path: Path, server: dict[str, Any], status: int) -> None:
    async with own(tmp_path, **server) as here, own(tmp_path, **server) as another:
        for prefix in (another.prefix, f"{here.prefix}x", here.prefix[:-1], here.prefix.swapcase().lower()):
            assert (await here.ask(f"{prefix}/stream/a"))[0] == status
        assert (await here.ask(f"/stream/a?token={here.app[OWN_SECRET]}"))[0] == (200 if server == {} else 403)


@EVERY_SERVER
async def test_it_opens_no_api(tmp_path: Path, server: dict[str, Any]) -> None:
    async with own(tmp_path, root_path="/iptv", **server) as here:
        secret = here.app[OWN_SECRET]
        for path in ("/streams", "/docs", "/nothing/like/that", ""):
            for root in ("", "/iptv"):
                for method in ("GET", "POST"):
                    status, _ = await here.ask(f"{root}{here.prefix}{path}", method)
                    assert status in (403, 404), (path, method)
        if server:
            for sent in ({"X_API_Token": secret}, {"Authorization": f"Bearer {secret}"}):
                assert (await here.ask("/streams", "POST", **sent))[0] == 403
            assert (await here.ask(f"/streams?api_token={secret}"))[0] == 403


@pytest.mark.parametrize(
    "sign", [ELSEWHERE, HERE, {"Via": "1.1 here"}, {"Forwarded": "for=127.0.0.1"}, {"X-Real-IP": "127.0.0.1"}]
)
async def test_it_opens_nothing_through_a_reverse_proxy(tmp_path: Path, sign: dict[str, str]) -> None:
    async with own(tmp_path, **CLOSED, trusted_proxies=["127.0.0.1"]) as here:
        sent = {name.replace("-", "_"): value for name, value in sign.items()}
        assert (await here.ask(f"{here.prefix}/stream/a", **sent))[0] == 403


def another_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_out:
        try:
            way_out.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no other address")
        return str(way_out.getsockname()[0])


async def test_it_counts_where_the_program_listens_on_an_address_of_the_network(tmp_path: Path) -> None:
    async with own(tmp_path, address=another_address(), **(OUTSIDE | CLOSED)) as here:
        assert (await here.ask(own_path(here.app, "a")))[0] == 200
        assert (await here.ask("/stream/a"))[0] == 403


async def test_it_opens_nothing_to_who_comes_from_another_address_than_it_was_asked_at(tmp_path: Path) -> None:
    address = another_address()
    async with own(tmp_path, bound="0.0.0.0", **CLOSED) as here:
        connector = TCPConnector(local_addr=(address, 0))
        url = f"http://127.0.0.1:{here.port}{here.prefix}/stream/a"
        try:
            async with ClientSession(connector=connector) as session, session.get(url) as answer:
                assert answer.status == 403
        except OSError:
            pytest.skip("this machine does not let its addresses meet")


async def test_who_knows_it_does_not_learn_the_stream_token(tmp_path: Path) -> None:
    async with own(tmp_path, **CLOSED) as here:
        _, told = await here.ask(f"{here.prefix}/stream/a")
        _, known = await here.ask(f"/token/{IN_AN_ADDRESS}/stream/a")

    assert "token" not in json.loads(told)["base"]
    assert json.loads(known)["base"].endswith(f"/token/{IN_AN_ADDRESS}")


def test_each_start_has_another() -> None:
    secrets = {make_app("")[OWN_SECRET] for _ in range(10)}

    assert len(secrets) == 10
    assert all(len(secret) >= 43 for secret in secrets)
