"""A broadcast runs its source into its ring, and ends its readers when that ends."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streamproxy.broadcast.broadcast import Broadcast
from streamproxy.broadcast.reader import END
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamRefused
from streamproxy.model import TRANSPORT_STREAM, Channel, Sink, Upstream
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here

CHANNEL = Channel("news", "News", (Upstream("http://user:secret@provider/1.ts", "provider"),))


class ScriptedSource:
    """Runs until it is told how to end.

    Attributes:
        opened: Set while it runs.
        shut: Set when it has ended.
        ending: Its result or its exception is how it ends.
    """

    format = TRANSPORT_STREAM

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.shut = asyncio.Event()
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, sink: Sink) -> None:
        self.opened.set()
        try:
            await self.ending
        finally:
            self.shut.set()


def broadcast_of(source: ScriptedSource, *, history: int = 100, turn: asyncio.Lock | None = None) -> Broadcast:
    return Broadcast(CHANNEL, source, history=history, queue=4, turn=turn or asyncio.Lock())


@asynccontextmanager
async def running(broadcast: Broadcast) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(broadcast.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_the_source_writes_reaches_every_reader() -> None:
    source = ScriptedSource()
    broadcast = broadcast_of(source)
    readers = [broadcast.attach(), broadcast.attach()]

    broadcast.write(b"chunk")
    await broadcast.drain()

    assert [await reader.get() for reader in readers] == [b"chunk", b"chunk"]
    assert broadcast.received == 5


async def test_who_comes_later_begins_with_the_past() -> None:
    broadcast = broadcast_of(ScriptedSource(), history=2)
    for chunk in (b"a", b"b", b"c"):
        broadcast.write(chunk)

    reader = broadcast.attach()

    assert [await reader.get(), await reader.get()] == [b"b", b"c"]


async def test_who_left_is_counted_no_more_but_stays_a_visitor() -> None:
    broadcast = broadcast_of(ScriptedSource())
    reader = broadcast.attach()
    assert (broadcast.readers, broadcast.visits) == (1, 1)

    broadcast.detach(reader)

    assert (broadcast.readers, broadcast.visits) == (0, 1)


async def test_it_has_started_with_the_first_bytes_and_not_before() -> None:
    source = ScriptedSource()
    broadcast = broadcast_of(source)

    async with running(broadcast):
        waiting = asyncio.create_task(broadcast.started())
        await source.opened.wait()
        assert not waiting.done()

        broadcast.write(b"first")
        await waiting
        await broadcast.started()


async def test_failing_before_the_first_bytes_is_told_to_everybody_who_waits() -> None:
    source = ScriptedSource()
    broadcast = broadcast_of(source)
    failure = UpstreamRefused("provider", 404)

    async with running(broadcast) as task:
        waiting = [asyncio.create_task(broadcast.started()) for _ in range(3)]
        source.ending.set_exception(failure)
        await task

        assert await asyncio.gather(*waiting, return_exceptions=True) == [failure] * 3
        with pytest.raises(UpstreamRefused):
            await broadcast.started()


async def test_ending_before_the_first_bytes_is_a_failure_too() -> None:
    source = ScriptedSource()
    broadcast = broadcast_of(source)

    async with running(broadcast) as task:
        source.ending.set_result(None)
        await task

    with pytest.raises(UpstreamBroken, match=r"^provider: the upstream sent nothing$"):
        await broadcast.started()


@pytest.mark.parametrize("failure", [None, UpstreamBroken("provider", "the connection broke")])
async def test_ending_later_ends_the_readers_after_the_last_chunk(failure: UpstreamError | None) -> None:
    source = ScriptedSource()
    broadcast = broadcast_of(source)
    reader = broadcast.attach()

    async with running(broadcast) as task:
        broadcast.write(b"last")
        if failure:
            source.ending.set_exception(failure)
        else:
            source.ending.set_result(None)
        await task

    assert [await reader.get(), await reader.get()] == [b"last", END]
    assert broadcast.closed
    await broadcast.started()


async def test_a_mistake_in_a_source_ends_its_readers_and_is_not_swallowed() -> None:
    source = ScriptedSource()
    broadcast = broadcast_of(source)
    reader = broadcast.attach()

    async with running(broadcast) as task:
        broadcast.write(b"last")
        source.ending.set_exception(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await task

    assert [await reader.get(), await reader.get()] == [b"last", END]


async def test_cancelling_shuts_the_source_and_ends_the_readers() -> None:
    source = ScriptedSource()
    broadcast = broadcast_of(source)
    reader = broadcast.attach()

    async with running(broadcast):
        await source.opened.wait()

    assert source.shut.is_set()
    assert await reader.get() == END


async def test_who_gives_up_waiting_takes_nobody_along() -> None:
    source = ScriptedSource()
    broadcast = broadcast_of(source)

    async with running(broadcast):
        leaving, staying = asyncio.create_task(broadcast.started()), asyncio.create_task(broadcast.started())
        await source.opened.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        broadcast.write(b"first")

        await staying
        assert leaving.cancelled()


async def test_the_source_is_opened_when_its_turn_comes_and_keeps_the_turn_until_it_is_shut() -> None:
    turn = asyncio.Lock()
    first, second = ScriptedSource(), ScriptedSource()

    async with running(broadcast_of(first, turn=turn)), running(broadcast_of(second, turn=turn)) as task:
        await first.opened.wait()
        assert not second.opened.is_set()

        first.ending.set_result(None)
        await second.opened.wait()
        assert first.shut.is_set()
        second.ending.set_result(None)
        await task

    assert not turn.locked()


async def test_a_failure_that_nobody_waits_for_is_no_complaint() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    broadcast = broadcast_of(ScriptedSource())

    broadcast.close(UpstreamBroken("provider", "the connection broke"))
    del broadcast
    gc.collect()

    assert complaints == []


async def test_nobody_who_waits_hears_of_a_stop_that_comes_after_the_start() -> None:
    broadcast = broadcast_of(ScriptedSource())
    broadcast.write(b"first")

    broadcast.close(UpstreamBroken("provider", "the channel was stopped"))

    await broadcast.started()
