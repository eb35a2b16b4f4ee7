"""Segments are fetched several at once, handed on in order, and no more of them is held than there is room for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.errors import UpstreamBroken
from streamproxy.formats.hls.model import MediaSegment
from streamproxy.sources.segments import Download, Segments
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here

PIECE = bytes(1000)


def segments_of(*numbers: int) -> list[MediaSegment]:
    return [MediaSegment(number, f"http://origin/{number}.ts", 4.0) for number in numbers]


class Fetching:
    """Fetches what the test hands it, piece by piece, when the test does.

    Attributes:
        begun: Numbers in the order in which they were asked for.
        running: Numbers being fetched.
        taken: How many pieces of each were taken.
    """

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.running: set[int] = set()
        self.taken: dict[int, int] = {}
        self._due: dict[int, asyncio.Queue[bytes | Exception | None]] = {}
        self._changed = asyncio.Event()

    def give(self, number: int, *pieces: bytes | Exception | None) -> None:
        """Let pieces of a segment arrive; None is its end."""
        for piece in pieces:
            self._queue(number).put_nowait(piece)

    async def fetch(self, segment: MediaSegment) -> AsyncGenerator[bytes, None]:
        number = segment.sequence
        self.begun.append(number)
        self.running.add(number)
        self._changed.set()
        try:
            while (piece := await self._queue(number).get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                self.taken[number] = self.taken.get(number, 0) + 1
                self._changed.set()
                yield piece
        finally:
            self.running.discard(number)
            self._changed.set()

    async def until(self, **expected: object) -> None:
        """Wait until attributes have these values."""
        async with asyncio.timeout(2):
            while any(getattr(self, name) != value for name, value in expected.items()):
                self._changed.clear()
                await self._changed.wait()

    def _queue(self, number: int) -> "asyncio.Queue[bytes | Exception | None]":
        return self._due.setdefault(number, asyncio.Queue())


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def rest(download: Download) -> bytes:
    data = b""
    while piece := await download.take(1, within=0):
        data += piece
    return data


@asynccontextmanager
async def running(*, threads: int = 4, limit: int = 1 << 20) -> AsyncIterator[tuple[Segments, Fetching]]:
    fetching = Fetching()
    async with Segments(fetching.fetch, threads=threads, limit=limit) as segments:
        yield segments, fetching
    assert not fetching.running


@pytest.mark.parametrize("threads", [1, 2, 4])
async def test_so_many_are_fetched_at_once_and_the_next_when_one_was_handed_on(threads: int) -> None:
    async with running(threads=threads) as (segments, fetching):
        segments.add(segments_of(*range(6)))
        await fetching.until(begun=list(range(threads)))
        for number in range(1, threads):
            fetching.give(number, None)
        await settle()
        assert fetching.begun == list(range(threads))

        first = await anext(segments)
        fetching.give(0, b"a", None)
        assert await rest(first) == b"a"
        assert fetching.begun == list(range(threads))

        next_one = asyncio.ensure_future(anext(segments))
        await fetching.until(begun=list(range(threads + 1)))
        assert (await next_one).segment.sequence == 1


async def test_they_are_handed_on_in_order_though_they_arrive_in_reverse() -> None:
    async with running() as (segments, fetching):
        segments.add(segments_of(0, 1, 2, 3))
        segments.finish()
        for number in (3, 2, 1, 0):
            fetching.give(number, b"%d" % number, None)
            await settle()
        assert [await rest(download) async for download in segments] == [b"0", b"1", b"2", b"3"]


async def test_what_is_handed_on_arrives_while_it_is_fetched() -> None:
    async with running() as (segments, fetching):
        segments.add(segments_of(0))
        download = await anext(segments)
        for piece in (b"a", b"b"):
            fetching.give(0, piece)
            assert await download.take(1, within=0) == piece
        assert fetching.running == {0}


async def test_small_pieces_are_gathered_for_a_moment_only() -> None:
    async with running() as (segments, fetching):
        segments.add(segments_of(0))
        download = await anext(segments)
        fetching.give(0, b"a", b"b")
        assert await download.take(10, within=0.05) == b"ab"
        fetching.give(0, *[b"12345"] * 5)
        await settle()
        assert await download.take(10, within=5) == b"1234512345"
        fetching.give(0, None)
        assert await download.take(100, within=5) == b"1234512345" + b"12345"
        assert await download.take(100, within=5) == b""


async def test_what_is_added_later_is_fetched_while_another_is_handed_on() -> None:
    async with running(threads=2) as (segments, fetching):
        segments.add(segments_of(0))
        await anext(segments)
        segments.add(segments_of(1, 2))
        await fetching.until(begun=[0, 1])


async def test_whoever_adds_can_wait_until_all_have_begun() -> None:
    async with running(threads=2) as (segments, fetching):
        segments.add(segments_of(0, 1, 2))
        waiting = asyncio.create_task(segments.all_begun())
        await settle()
        assert not waiting.done()
        fetching.give(0, None)
        assert await rest(await anext(segments)) == b""
        await anext(segments)
        await asyncio.wait_for(waiting, 1)


async def test_iterating_waits_for_more_and_ends_when_there_will_be_none() -> None:
    async with running() as (segments, fetching):
        waiting = asyncio.ensure_future(anext(segments))
        await settle()
        assert not waiting.done()
        segments.add(segments_of(7))
        assert (await waiting).segment.sequence == 7
        fetching.give(7, None)
        segments.finish()
        with pytest.raises(StopAsyncIteration):
            await anext(segments)


async def test_no_more_is_held_than_there_is_room_for() -> None:
    async with running(threads=4, limit=10_000) as (segments, fetching):
        segments.add(segments_of(0, 1, 2, 3))
        for number in range(4):
            fetching.give(number, *[PIECE] * 10_000)
        await settle()
        for _ in range(50):
            await settle()
        assert sum(fetching.taken.values()) * len(PIECE) <= 10_000 + 4 * len(PIECE)


async def test_the_one_being_handed_on_never_waits_for_the_others() -> None:
    async with running(threads=2, limit=10_000) as (segments, fetching):
        segments.add(segments_of(0, 1))
        fetching.give(1, *[PIECE] * 100)
        await settle()
        download = await anext(segments)
        fetching.give(0, *[PIECE] * 50, None)
        assert len(await rest(download)) == 50 * len(PIECE)


async def test_room_that_was_made_is_used() -> None:
    async with running(threads=1, limit=10_000) as (segments, fetching):
        segments.add(segments_of(0))
        fetching.give(0, *[PIECE] * 100, None)
        await settle()
        assert fetching.taken[0] * len(PIECE) <= 11_000
        assert len(await rest(await anext(segments))) == 100 * len(PIECE)


async def test_one_that_nobody_takes_is_bounded_though_there_is_room() -> None:
    async with running(threads=1, limit=1_000_000) as (segments, fetching):
        segments.add(segments_of(0))
        await anext(segments)
        fetching.give(0, *[PIECE] * 5_000)
        for _ in range(200):
            await settle()
        assert fetching.taken[0] * len(PIECE) <= 1_050_000 + len(PIECE)


async def test_a_failure_comes_when_it_is_its_turn_and_takes_with_it_what_was_not_taken() -> None:
    async with running() as (segments, fetching):
        segments.add(segments_of(0, 1, 2))
        segments.finish()
        fetching.give(1, PIECE, PIECE, UpstreamBroken("tv", "cut"))
        fetching.give(0, b"0", None)
        fetching.give(2, b"2", None)
        await settle()
        assert await rest(await anext(segments)) == b"0"
        failed = await anext(segments)
        with pytest.raises(UpstreamBroken, match="cut"):
            await failed.take(1, within=0)
        assert await rest(await anext(segments)) == b"2"


async def test_a_failure_after_something_was_taken_is_a_failure() -> None:
    async with running() as (segments, fetching):
        segments.add(segments_of(0))
        download = await anext(segments)
        fetching.give(0, b"a")
        assert await download.take(1, within=0) == b"a"
        fetching.give(0, b"b", UpstreamBroken("tv", "cut"))
        await settle()
        with pytest.raises(UpstreamBroken, match="cut"):
            await download.take(1, within=0)


async def test_room_held_by_one_that_failed_is_free_again() -> None:
    async with running(threads=3, limit=2_000) as (segments, fetching):
        segments.add(segments_of(0, 1, 2))
        fetching.give(1, PIECE, PIECE)
        await fetching.until(taken={1: 2})
        fetching.give(2, PIECE)
        await settle()
        assert fetching.taken == {1: 2}
        await anext(segments)
        fetching.give(0, PIECE, None)
        await settle()
        await anext(segments)
        fetching.give(1, UpstreamBroken("tv", "cut"))
        await fetching.until(taken={0: 1, 1: 2, 2: 1})


async def test_one_that_is_not_taken_to_its_end_is_stopped_for_the_next() -> None:
    async with running(threads=1) as (segments, fetching):
        segments.add(segments_of(0, 1))
        await anext(segments)
        fetching.give(0, PIECE)
        await settle()
        assert (await anext(segments)).segment.sequence == 1
        await fetching.until(running={1})


async def test_leaving_stops_everything() -> None:
    async with running(threads=3) as (segments, fetching):
        segments.add(segments_of(0, 1, 2, 3))
        await fetching.until(running={0, 1, 2})
        await anext(segments)
    assert fetching.begun == [0, 1, 2]


async def test_a_mistake_in_fetching_is_not_swallowed() -> None:
    async with running() as (segments, fetching):
        segments.add(segments_of(0))
        fetching.give(0, ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await (await anext(segments)).take(1, within=0)


@given(
    st.lists(st.lists(st.integers(1, 3000), max_size=8), max_size=8),
    st.integers(1, 5),
    st.integers(1, 8000),
    st.integers(),
)
@settings(max_examples=60, deadline=None)
async def test_everything_arrives_in_order_whatever_arrives_when(
    sizes: list[list[int]], threads: int, limit: int, seed: int
) -> None:
    random = Random(seed)
    pieces = [[bytes([number]) * size for size in listed] for number, listed in enumerate(sizes)]
    arriving = [number for number, listed in enumerate(pieces) for _ in [*listed, None]]
    random.shuffle(arriving)
    left: list[list[bytes | None]] = [[*listed, None] for listed in pieces]

    async with running(threads=threads, limit=limit) as (segments, fetching):
        segments.add(segments_of(*range(len(pieces))))
        segments.finish()

        async def arrive() -> None:
            for number in arriving:
                fetching.give(number, left[number].pop(0))
                if random.random() < 0.5:
                    await asyncio.sleep(0)

        arrival = asyncio.create_task(arrive())
        found = [await rest(download) async for download in segments]
        await arrival
    assert found == [b"".join(listed) for listed in pieces]
