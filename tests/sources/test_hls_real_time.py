"""What `test_hls_timing.py` shows by steps, by the clock on the wall."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.helpers.hls_origin import SEGMENT, Answer, HlsOrigin, Recorder, hls_origin, numbers, reply, segment
from tests.helpers.hls_source import LIVE, film, live, running
from tests.helpers.hls_viewer import Player
from tests.helpers.origin import Exchange
from tests.helpers.stream import PACKET

SIZE = SEGMENT * PACKET

pytestmark = pytest.mark.slow


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as running:
        yield running


class RealTime:
    """The time that passes by itself."""

    clock = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


def late(number: int, seconds: float) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await reply(exchange, segment(number))

    return answer


async def test_a_live_stream_with_a_second_of_latency_for_each_segment_plays_without_a_stall(origin: HlsOrigin) -> None:
    began, player, sink = time.monotonic(), Player(), Recorder()

    async def playlist(exchange: Exchange) -> None:
        await reply(exchange, live(int(time.monotonic() - began) // 2, 6, target=2).encode())

    origin.serve(LIVE, playlist)
    for number in range(40):
        origin.serve(f"/{number}.ts", late(number, 1))
    async with running(origin, time=RealTime(), threads=4, sink=sink):
        while time.monotonic() - began < 30:
            await asyncio.sleep(0.05)
            player.look(len(sink.data) / SIZE * 2, time.monotonic())
    assert len(sink.data) >= 15 * SIZE
    assert player.stalls == 0


async def test_a_film_comes_three_times_as_fast_by_fours_as_one_by_one() -> None:
    took = {}
    for threads in (1, 4):
        async with hls_origin() as origin:
            for number in range(60):
                origin.serve(f"/{number}.ts", late(number, 0.25))
            origin.serve(LIVE, film(60))
            began, sink = time.monotonic(), Recorder()
            async with running(origin, time=RealTime(), threads=threads, sink=sink), asyncio.timeout(40):
                while len(sink.data) < 60 * SIZE:
                    await asyncio.sleep(0.01)
            took[threads] = time.monotonic() - began
            assert numbers(sink.data) == list(range(60))
    assert took[1] > 3 * took[4]
