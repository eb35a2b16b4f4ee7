"""Events as they happen, to who follows them."""

import asyncio
from itertools import count
from pathlib import Path

import pytest

from tests.helpers.api import api_of
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.proxy import config, running

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # what is below is tested under both


@pytest.mark.parametrize("wanted", ["events=stream_stopped", "stream_id=another", "events=splice&stream_id=another"])
async def test_who_waits_for_certain_events_hears_that_the_connection_is_alive_whatever_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr("streamproxy.api.events._HEARTBEAT", 0.2)
    async with (
        running(config(tmp_path, api={"keep_streams": False})) as proxy,
        api_of(proxy) as api,
        proxy.open("/events") as everything,
        proxy.open(f"/events?{wanted}") as follower,
    ):
        alive = asyncio.create_task(follower.reader.readuntil(b"\n:\n\n"))
        for number in count():
            await api.make("http://h/1.ts", user_agent=str(number))
            if alive.done():
                break
        told = await everything.reader.readuntil(b"stream_started")

    assert b"event:" not in await alive
    assert b"event:" in told
