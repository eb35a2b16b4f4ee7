"""Cookies are kept for as many upstreams as fit, and answers outlive the sessions they came with."""

import pytest

from streamproxy.config import OptionsConfig
from streamproxy.model import Upstream
from streamproxy.sources import sessions
from streamproxy.sources.client import Client
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import Exchange, Origin, origin
from tests.helpers.scripts import Tap, sends

COOKIE = b"HTTP/1.1 200 OK\r\nSet-Cookie: key=1; Path=/\r\nContent-Length: 4\r\n\r\n"


async def ask(client: Client, seen: Origin, label: str) -> None:
    async with client.open(Upstream(seen.url(), label)) as response:
        await response.content.read()


@pytest.fixture(autouse=True)
def two_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_MOST_REMEMBERED", 2)


async def test_who_was_not_asked_for_longest_is_forgotten() -> None:
    async with origin(sends(COOKIE + b"body")) as seen, Client(OptionsConfig()) as client:
        for label in ("one", "two", "one", "three", "one", "two"):
            await ask(client, seen, label)
        assert ["Cookie" in exchange.headers for exchange in seen.exchanges] == [False, False, True, False, True, False]


async def test_who_is_being_asked_is_not_forgotten() -> None:
    async def answer(exchange: Exchange) -> None:
        if len(seen.exchanges) == 1:
            for label in ("two", "three", "four"):
                await ask(client, seen, label)
            location = b"HTTP/1.1 302 Found\r\nSet-Cookie: key=1; Path=/\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
            await exchange.send(location)
        await exchange.send(COOKIE + b"body")

    async with origin(answer) as seen, Client(OptionsConfig()) as client:
        await ask(client, seen, "one")
        assert "Cookie" in seen.exchanges[-1].headers


async def test_an_answer_is_read_to_its_end_although_its_upstream_is_forgotten() -> None:
    tap = Tap(COOKIE)
    async with (
        origin(tap.answer) as seen,
        Client(OptionsConfig()) as client,
        client.open(Upstream(seen.url(), "one")) as response,
    ):
        seen.script = sends(COOKIE + b"body")
        for label in ("two", "three", "four"):
            await ask(client, seen, label)
        tap.send(b"last")
        assert await response.content.readexactly(4) == b"last"
        tap.end()
