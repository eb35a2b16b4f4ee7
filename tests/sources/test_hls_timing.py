"""When playlists are loaded, and that several segments are on their way at a time; by a time that tests let pass."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from streamproxy.broadcast.ring import Ring
from streamproxy.config import RelayConfig
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import (
    SEGMENT,
    Answer,
    HlsOrigin,
    Jumps,
    Recorder,
    Steps,
    dropped,
    gated,
    hls_origin,
    media,
    numbers,
    reply,
    segment,
)
from tests.helpers.hls_source import (
    LIVE,
    asked_for,
    at_rest,
    film,
    live,
    opened,
    play,
    play_until_stalled,
    running,
    serve_segments,
    source_of,
)
from tests.helpers.hls_viewer import Player
from tests.helpers.origin import Exchange
from tests.helpers.stream import PACKET

SIZE = SEGMENT * PACKET


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as running:
        yield running


class Loads:
    """Answers a playlist's loads, each after so many seconds.

    Attributes:
        at: When each was asked for.
    """

    def __init__(self, time: Jumps, *loads: tuple[float, str]) -> None:
        self.at: list[float] = []
        self._time = time
        self._left = list(loads)

    async def answer(self, exchange: Exchange) -> None:
        self.at.append(self._time.now)
        seconds, text = self._left.pop(0)
        self._time.now += seconds
        await reply(exchange, text.encode())


# The cadence


async def test_however_long_loads_take_they_begin_a_target_duration_apart(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    loads = Loads(time, *((number % 5 * 0.9, live(number)) for number in range(10)), (0, live(9, ended=True)))
    origin.serve(LIVE, loads.answer)
    await play(origin, time=time)
    assert loads.at == pytest.approx([4.0 * number for number in range(11)])


async def test_a_load_that_takes_too_long_is_followed_by_the_next_at_once_and_moves_those_behind_it(
    origin: HlsOrigin,
) -> None:
    serve_segments(origin)
    time = Jumps()
    loads = Loads(time, (0, live(0)), (9.5, live(1)), (0, live(3)), (0, live(4)), (0, live(4, ended=True)))
    origin.serve(LIVE, loads.answer)
    await play(origin, time=time)
    assert loads.at == [0, 4, 13.5, 17.5, 21.5]
    assert time.waits == [4, 0, 4, 4]


async def test_nothing_is_loaded_and_nobody_waits_after_the_end(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, live(0), live(1, ended=True), live(2))
    await play(origin, time=time)
    assert (time.waits, len(origin.requests(LIVE))) == ([4], 2)

    origin.serve(LIVE, film(6))
    time.waits.clear()
    await play(origin, time=time)
    assert (time.waits, len(origin.requests(LIVE))) == ([], 3)


@pytest.mark.parametrize(
    ("load", "changed", "unchanged"),
    [
        ({"target": 4}, 4, 2),
        ({"target": 2.2}, 3, 1.5),
        ({"target": 1}, 1, 0.5),
        ({"target": 0.2}, 0.6, 0.5),
        ({"target": None}, 8, 4),
        ({"target": None, "more": "#EXT-X-TARGETDURATION:soon"}, 8, 4),
        ({"target": None, "more": "#EXT-X-TARGETDURATION:0"}, 8, 4),
        ({"target": None, "more": "#EXT-X-TARGETDURATION:-4"}, 8, 4),
        ({"target": None, "more": "#EXT-X-TARGETDURATION:999999999"}, 12, 12),
    ],
    ids=["whole", "fraction", "one", "tiny", "missing", "garbage", "zero", "negative", "huge"],
)
async def test_the_target_duration_says_when_to_load_again_or_else_the_last_two_segments_do(
    origin: HlsOrigin, load: dict[str, Any], changed: float, unchanged: float
) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, live(0, 6, **load), live(1, 6, **load), live(1, 6, **load), live(2, 6, ended=True, **load))
    assert numbers(await play(origin, time=time)) == [3, 4, 5, 6, 7]
    assert time.waits == pytest.approx([changed, changed, unchanged])


@pytest.mark.parametrize(("target", "wait"), [(4, 2), (None, 3)], ids=["target", "nothing"])
async def test_a_playlist_without_segments_is_due_after_half_of_what_it_says_or_half_of_six_seconds(
    origin: HlsOrigin, target: float | None, wait: float
) -> None:
    serve_segments(origin)
    time = Jumps()
    empty = media([], target=target)
    origin.serve(LIVE, empty, empty, live(0, ended=True))
    assert numbers(await play(origin, time=time)) == [0, 1, 2]
    assert time.waits == [wait, wait]


async def test_a_load_that_fails_is_tried_again_after_half_a_target_duration_and_costs_no_phase(
    origin: HlsOrigin,
) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, live(0), b"<html>", 500, live(1), live(2, ended=True))
    assert numbers(await play(origin, time=time)) == [0, 1, 2, 3, 4]
    assert time.waits == [4, 2, 2, 4]


async def test_patience_begins_anew_with_each_news_and_failures_do_not_add_to_it(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    loads: list[Answer | str] = [live(0), 500, 500, live(1), live(1), dropped, dropped, b"<html>", live(1)]
    origin.serve(LIVE, *loads)
    assert numbers(await play_until_stalled(origin, time=time)) == [0, 1, 2, 3]
    # The news came at 4 + 2 + 2 s, and 12 s without any are too many.
    assert time.now == 20


async def test_a_viewer_who_does_not_take_what_there_is_delays_the_load_and_is_no_stall(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time, sink = Jumps(), Recorder()
    sink.may_go_on.clear()
    origin.serve(LIVE, live(0, 3), live(1, 6), live(4, 6, ended=True))
    async with running(origin, time=time, threads=2, sink=sink):
        await sink.holds(SIZE)
        await origin.socket.until(lambda seen: seen.total["/1.ts"] == 1 and not +seen.open)
        time.now += 1000
        assert (len(origin.requests(LIVE)), asked_for(origin)) == (1, [0, 1])
        sink.may_go_on.set()
        await sink.holds(10 * SIZE)
    assert numbers(sink.data) == list(range(10))


# Several segments at a time


async def rounds(origin: HlsOrigin, threads: int, count: int) -> int:
    """Play a film whose segments come when all that are open are let go together; say how often that was."""
    gates = {f"/{number}.ts": asyncio.Event() for number in range(count)}
    for number, (path, gate) in enumerate(gates.items()):
        origin.serve(path, gated(gate, segment(number)))
    origin.serve(LIVE, film(count))
    done = 0
    async with running(origin, threads=threads) as sink:
        for number in range(0, count, threads):
            now = list(gates)[number : number + threads]
            await opened(origin, *now)
            for path in now:
                gates[path].set()
            done += 1
        await sink.holds(count * SIZE)
    assert numbers(sink.data) == list(range(count))
    assert asked_for(origin) == list(range(count))
    return done


async def test_sixty_segments_take_sixty_round_trips_one_by_one_and_fifteen_by_fours(origin: HlsOrigin) -> None:
    assert await rounds(origin, 1, 60) == 60
    async with hls_origin() as other:
        assert await rounds(other, 4, 60) == 15


class Ticking(Steps):
    """A time that passes in ticks, each when all that was to happen has happened."""

    async def rest(self, sleepers: int) -> None:
        """Wait until so many sleep."""
        async with asyncio.timeout(5):
            while sum(not waking.done() for _, waking in self._sleepers) != sleepers:
                await asyncio.sleep(0)


async def watch(
    origin: HlsOrigin, rest: Callable[[int], tuple[int, int]], *, threads: int, latency: int, seconds: int = 60
) -> Player:
    """Play a live stream of segments of 2 s, each of which comes a while after it was asked for.

    Args:
        origin: Where it is played from.
        rest: Tells, second by second, what must have come about: who sleeps (the playlist that is not due, and each
            segment that is open), and how many segments were written.
        threads: Segments fetched at once.
        latency: Seconds until a segment comes.
        seconds: How long to watch.
    """
    time, player, sink = Ticking(), Player(), Recorder()

    def late(number: int) -> Answer:
        async def answer(exchange: Exchange) -> None:
            await time.sleep(latency)
            await reply(exchange, segment(number))

        return answer

    async def playlist(exchange: Exchange) -> None:
        await reply(exchange, live(int(time.now) // 2, 6, target=2).encode())

    origin.serve(LIVE, playlist)
    for number in range(seconds):
        origin.serve(f"/{number}.ts", late(number))
    async with running(origin, time=time, threads=threads, sink=sink):
        for second in range(seconds):
            sleepers, written = rest(second)
            await sink.holds(written * SIZE)
            await time.rest(sleepers)
            assert len(sink.data) == written * SIZE
            player.look(written * 2, second)
            time.advance(1)
    return player


def after_a_second(now: int) -> tuple[int, int]:
    """Three segments come at 1 s; from then on one is asked for in each even second, and comes in the next."""
    if not now:
        return 4, 0
    return (1, 3 + now // 2) if now % 2 else (2, 2 + now // 2)


def after_three_seconds(now: int) -> tuple[int, int]:
    """Three segments come at 3 s; from 2 s on one is asked for in each even second, so that two are on their way."""
    if now < 3:
        return 4 + (now == 2), 0
    return (2, 2 + now // 2) if now % 2 else (3, 1 + now // 2)


@pytest.mark.parametrize(("latency", "rest"), [(1, after_a_second), (3, after_three_seconds)])
async def test_a_live_stream_whose_segments_come_late_plays_without_a_stall(
    origin: HlsOrigin, latency: int, rest: Callable[[int], tuple[int, int]]
) -> None:
    player = await watch(origin, rest, threads=4, latency=latency)
    assert player.stalls == 0
    assert player.least == 4


async def test_one_by_one_it_would_stall(origin: HlsOrigin) -> None:
    player = await watch(origin, lambda now: (1, now // 3), threads=1, latency=3)
    assert player.stalls > 10


# What has ended is written at the pace at which it is played, where many share it


async def test_what_has_ended_is_written_as_it_is_played_and_fetched_ahead(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time, sink = Steps(), Recorder()
    origin.serve(LIVE, film(12))
    async with running(origin, time=time, threads=4, sink=sink, paced=True):
        for written in range(2, 12):
            # Those that are written next have come long before they are due.
            await at_rest(origin, 1 + min(12, written + 4))
            assert await time.asleep() == 4
            assert numbers(sink.data) == list(range(written))
            time.advance(4)
            await sink.holds((written + 1) * SIZE)
    assert numbers(sink.data) == list(range(12))


class Sharing:
    """A sink that waits for nobody, with a viewer who takes what is due when it is."""

    def __init__(self, queue: int) -> None:
        self.ring = Ring(0)
        self.viewer = self.ring.join(queue)
        self.taken = b""
        self.written = 0

    def write(self, data: bytes, /) -> None:
        self.written += len(data)
        self.ring.append(data)

    @property
    def full(self) -> bool:
        return False

    async def drain(self) -> None:
        pass

    async def take(self, size: int) -> None:
        """Take until so many bytes are taken, or there is no more."""
        while len(self.taken) < size and self.viewer.lag:
            self.taken += await self.viewer.get()


async def test_who_shares_what_has_ended_is_never_left_behind(origin: HlsOrigin) -> None:
    # 4 s each; what a viewer may lag behind is a second of it.
    bodies = [segment(100 * number, 4000) for number in range(6)]
    for number, body in enumerate(bodies):
        origin.serve(f"/{number}.ts", body)
    origin.serve(LIVE, film(6))
    time, relay = Steps(), RelayConfig(chunk_delay=0, chunk_size=18_800, queue=10)
    sink = Sharing(relay.queue)
    async with source_of(origin, time=time, relay=relay, paced=True) as source:
        task = asyncio.create_task(source.run(sink))
        while not task.done():
            sleeping = asyncio.create_task(time.asleep())
            await asyncio.wait([task, sleeping], return_when=asyncio.FIRST_COMPLETED)
            if sleeping.done():
                time.advance(max(0.01, sleeping.result()))
            sleeping.cancel()
            await sink.take(int(time.now / 4 * len(bodies[0])))
            # A piece that comes from the network is more than a chunk.
            assert sink.written - len(sink.taken) <= relay.queue * relay.chunk_size
        await task
    await sink.take(sum(map(len, bodies)))
    assert sink.viewer.overruns == 0
    assert sink.taken == b"".join(bodies)


async def test_a_thin_segment_behind_dense_ones_is_due_no_sooner(origin: HlsOrigin) -> None:
    for number, count in enumerate([4000, 4000, 40, 40]):
        origin.serve(f"/{number}.ts", segment(number, count))
    time, sink = Steps(), Recorder()
    origin.serve(LIVE, film(4))
    async with running(origin, time=time, sink=sink, paced=True):
        await sink.holds(8000 * PACKET)
        assert await time.asleep() == pytest.approx(4)
        assert len(sink.data) == 8000 * PACKET


async def test_what_is_live_is_written_as_it_comes_and_also_when_it_ends(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, live(0), live(0, 12, ended=True))
    assert numbers(await play(origin, time=time, paced=True)) == list(range(12))
    assert time.waits == [4]


async def test_what_has_ended_is_written_to_a_single_viewer_as_fast_as_that_one_takes_it(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, film(12))
    assert numbers(await play(origin, time=time)) == list(range(12))
    assert time.waits == []
