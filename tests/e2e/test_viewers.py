"""Viewers as they are: they leave without a word, read slowly, or not at all. Nobody else may notice."""

import asyncio
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamproxy.outputs import mpegts
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import OK, Origin, Script, origin
from tests.helpers.proxy import Proxy, config, running
from tests.helpers.scripts import Tap, holds, repeats
from tests.helpers.stream import PACKET, Run, packets, runs
from tests.helpers.wire import Line, dial

FIRST = 7
"""Packets with which a stream begins here: enough to be recognised as one."""

STEP = 1400
"""Packets that are sent and watched at a time, where a test goes by steps: 263 kB."""

BUFFERS = {"send_buffer": 1 << 16, "queue": 16, "history": 1 << 18, "chunk_delay": 0.01}
"""Small buffers, so that little data fills them."""


@asynccontextmanager
async def serving(
    folder: Path, script: Script, *, mode: str = "shared", **relay: Any
) -> AsyncIterator[tuple[Proxy, Origin]]:
    """Run an upstream, and a proxy with its stream `news`."""
    async with origin(script) as seen:
        streams = {"news": {"url": seen.url(), "mode": mode}}
        settings = config(folder, streams=streams, relay=BUFFERS | relay, options={"buffer_size": 1 << 16})
        async with running(settings) as proxy:
            yield proxy, seen


@asynccontextmanager
async def watching(proxy: Proxy, *, receive_buffer: int | None = None) -> AsyncIterator[Line]:
    """Ask for the stream, and read the head of the answer but nothing of its body."""
    async with dial(proxy.port, receive_buffer=receive_buffer) as line:
        await line.get("/stream/news")
        assert (await line.head()).startswith("HTTP/1.1 200 ")
        yield line


class Steps:
    """A stream that a well-behaved viewer takes whole, step by step."""

    def __init__(self, tap: Tap, viewer: Line) -> None:
        self.sent = FIRST
        self._tap = tap
        self._viewer = viewer

    async def go(self, count: int) -> None:
        """Send a piece and see it arrive, as often as asked for; each has two seconds."""
        for _ in range(count):
            self._tap.send(packets(self.sent, STEP))
            async with asyncio.timeout(2):
                received = await self._viewer.exactly(STEP * PACKET)
            assert runs(received) == [Run(self.sent, self.sent + STEP - 1)]
            self.sent += STEP


@asynccontextmanager
async def stepping(proxy: Proxy, tap: Tap) -> AsyncIterator[Steps]:
    """Begin the stream with a viewer who takes all of it."""
    tap.send(packets(0, FIRST))
    async with watching(proxy) as viewer:
        assert runs(await viewer.exactly(FIRST * PACKET)) == [Run(0, FIRST - 1)]
        yield Steps(tap, viewer)


def close(line: Line) -> None:
    line.raw.close()


def half_close(line: Line) -> None:
    line.raw.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("mode", ["shared", "direct"])
@pytest.mark.parametrize("leave", [close, half_close, Line.reset])
@pytest.mark.parametrize("begun", [True, False], ids=["in the middle", "before the first byte"])
async def test_a_viewer_who_leaves_while_the_upstream_is_silent_is_noticed_at_once(
    tmp_path: Path, mode: str, leave: Any, begun: bool
) -> None:
    script = holds(OK + packets(0, FIRST)) if begun else holds()
    async with serving(tmp_path, script, mode=mode) as (proxy, seen), dial(proxy.port) as line:
        await line.get("/stream/news")
        await seen.until(lambda seen: seen.open["/live.ts"] == 1)
        if begun:
            await line.head()
            await line.exactly(FIRST * PACKET)

        leave(line)

        await seen.until(lambda seen: not seen.open["/live.ts"], within=0.5)


async def test_a_viewer_who_leaves_while_data_flows_is_noticed_at_once(tmp_path: Path) -> None:
    script = repeats(packets(0, 7), before=OK, pause=0.005)
    async with serving(tmp_path, script) as (proxy, seen), watching(proxy) as line:
        await line.exactly(FIRST * PACKET)
        line.reset()
        await seen.until(lambda seen: not seen.open["/live.ts"], within=0.5)


async def test_those_who_leave_before_the_first_byte_do_not_take_it_from_those_who_stay(tmp_path: Path) -> None:
    tap = Tap()
    async with serving(tmp_path, tap.answer) as (proxy, seen), dial(proxy.port) as stays:
        await stays.get("/stream/news")
        async with dial(proxy.port) as leaves:
            await leaves.get("/stream/news")
            await seen.until(lambda seen: seen.open["/live.ts"] == 1)
        tap.send(packets(0, FIRST))
        assert (await stays.head()).startswith("HTTP/1.1 200 ")
        assert runs(await stays.exactly(FIRST * PACKET)) == [Run(0, FIRST - 1)]
        assert seen.total["/live.ts"] == 1


async def test_one_who_comes_while_the_last_is_leaving_is_served(tmp_path: Path) -> None:
    script = repeats(packets(0, 7), before=OK, pause=0.005)
    async with serving(tmp_path, script) as (proxy, seen):
        for _ in range(20):
            async with watching(proxy) as line:
                await line.exactly(PACKET)
        await seen.until(lambda seen: not seen.open["/live.ts"], within=0.5)
        assert seen.peak["/live.ts"] == 1


async def test_a_viewer_who_never_reads_disturbs_nobody_and_is_dropped(tmp_path: Path) -> None:
    tap = Tap()
    async with (
        serving(tmp_path, tap.answer, stuck_timeout=0.2) as (proxy, _),
        stepping(proxy, tap) as steps,
        watching(proxy, receive_buffer=4096),
        asyncio.timeout(5),
    ):
        await steps.go(20)
        while await viewers(proxy) == 2:
            await steps.go(1)
        await steps.go(5)
        assert await viewers(proxy) == 1


async def viewers(proxy: Proxy) -> int:
    """Ask how many are watching."""
    return int(json.loads((await proxy.get("/health")).body)["active_clients"])


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_a_viewer_who_stopped_reading_is_dropped_also_when_nothing_comes_any_more(
    tmp_path: Path, mode: str
) -> None:
    script = holds(OK + packets(0, 10_000))
    async with serving(tmp_path, script, mode=mode, stuck_timeout=0.15) as (proxy, seen):
        async with watching(proxy, receive_buffer=4096):
            await seen.until(lambda seen: not seen.open["/live.ts"], within=3)
        assert await viewers(proxy) == 0


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_a_stuck_viewer_is_dropped_by_a_reset(tmp_path: Path, mode: str) -> None:
    script = repeats(packets(0, 700), before=OK)
    async with (
        serving(tmp_path, script, mode=mode, stuck_timeout=0.15) as (proxy, seen),
        watching(proxy, receive_buffer=4096) as stuck,
    ):
        await seen.until(lambda seen: not seen.open["/live.ts"], within=3)
        assert (await stuck.rest()).reset


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_a_viewer_who_does_not_take_the_end_of_a_stream_is_cut_off(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpegts, "_FLUSH_TIME", 0.1)
    tap = Tap()
    tap.send(packets(0, 1400))
    async with (
        serving(tmp_path, tap.answer, mode=mode, stuck_timeout=60) as (proxy, _),
        watching(proxy, receive_buffer=4096) as stuck,
    ):
        tap.end()
        await stuck.reset_by_peer()


@pytest.mark.parametrize("leave", ["gets stuck", "resets"])
async def test_an_upstream_is_not_blamed_for_the_end_of_its_viewer(tmp_path: Path, leave: str) -> None:
    script = repeats(packets(0, 700), before=OK)
    async with serving(tmp_path, script, mode="direct", stuck_timeout=0.15) as (proxy, seen):
        with structlog.testing.capture_logs() as log:
            async with watching(proxy, receive_buffer=4096) as viewer:
                if leave == "resets":
                    viewer.reset()
                await seen.until(lambda seen: not seen.open["/live.ts"], within=3)
            while await viewers(proxy):
                pass
    assert [line["event"] for line in log] == ["viewer_left"]


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_a_viewer_who_reads_little_by_little_is_not_stuck(tmp_path: Path, mode: str) -> None:
    script = repeats(packets(0, 700), before=OK, pause=0.001)
    async with (
        serving(tmp_path, script, mode=mode, stuck_timeout=0.2) as (proxy, _),
        watching(proxy, receive_buffer=4096) as slow,
    ):
        for _ in range(12):
            await slow.exactly(16 << 10)
            await asyncio.sleep(0.05)
        await slow.exactly(1 << 20)


async def test_a_lapped_viewer_goes_on_with_a_whole_packet_and_held_little_until_then(tmp_path: Path) -> None:
    tap = Tap()
    async with (
        serving(tmp_path, tap.answer, stuck_timeout=60) as (proxy, _),
        stepping(proxy, tap) as steps,
        watching(proxy, receive_buffer=4096) as slow,
    ):
        received = b""
        for _ in range(30):
            await steps.go(1)
            received += await slow.exactly(10)
        last = steps.sent - 1

        while not received or runs(received)[-1].last < last:
            received += await slow.read()

        before, *skips, after = runs(received)
        assert before.first == 0
        assert before.last * PACKET < 2 << 20
        assert len(skips) < 5
        assert (last - after.first) * PACKET < 2 << 20
        await steps.go(2)
        assert runs(await slow.exactly(2 * STEP * PACKET)) == [Run(last + 1, last + 2 * STEP)]


async def test_viewers_who_do_not_keep_up_hold_little_memory(tmp_path: Path) -> None:
    tap = Tap()
    async with (
        serving(tmp_path, tap.answer, stuck_timeout=60) as (proxy, _),
        stepping(proxy, tap) as steps,
        watching(proxy, receive_buffer=4096),
        watching(proxy, receive_buffer=4096) as slow,
    ):
        tracemalloc.start()
        try:
            for _ in range(30):
                await steps.go(1)
                await slow.exactly(10)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert held < 5 << 20
