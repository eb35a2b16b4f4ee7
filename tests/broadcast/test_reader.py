"""A reader takes chunks at its own pace, or has them written straight to its viewer's connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streamproxy.broadcast.reader import END, Reader
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here


class Connection:
    """A viewer's connection that is full after so many chunks, until they are acknowledged."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.sent: list[bytes] = []
        self.waits = asyncio.Event()
        self._room = room
        self._drained: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        return self._room <= 0

    def write(self, data: bytes, /) -> bool:
        assert not self.full, "written to a viewer who is behind"
        self.sent.append(data)
        self._room -= 1
        return not self.full

    async def drain(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()
        self.waits.set()
        await self._drained

    def acknowledge(self, chunks: int) -> None:
        self._room += chunks
        self.waits.clear()
        assert self._drained
        self._drained.set_result(None)

    def reset(self) -> None:
        assert self._drained
        self._drained.set_exception(ConnectionResetError())


@asynccontextmanager
async def feeding(reader: Reader, connection: Connection) -> AsyncIterator[asyncio.Task[None]]:
    """Feed a connection from a task of its own, which has come as far as it can when the block begins."""
    task = asyncio.create_task(reader.feed(connection))
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_chunks_come_in_the_order_in_which_they_were_offered() -> None:
    reader = Reader(4, [b"a", b"b"])
    reader.offer(b"c")

    assert [await reader.get() for _ in range(3)] == [b"a", b"b", b"c"]


async def test_a_reader_waits_for_the_next_chunk() -> None:
    reader = Reader(4)
    waiting = asyncio.create_task(reader.get())
    await asyncio.sleep(0)
    assert not waiting.done()

    reader.offer(b"a")

    assert await waiting == b"a"


async def test_lapped_reader_continues_with_what_it_is_given() -> None:
    reader = Reader(3)
    had_room = [reader.offer(chunk) for chunk in (b"a", b"bb", b"ccc", b"dddd")]
    dropped = reader.drop()
    reader.resume([b"dddd"], skipped=dropped)

    assert had_room == [True, True, True, False]
    assert await reader.get() == b"dddd"
    assert (reader.overruns, reader.skipped, reader.lag) == (1, 6, 0)


async def test_who_waits_for_a_lapped_reader_is_woken_when_it_continues() -> None:
    reader = Reader(1)
    reader.offer(b"a")
    reader.drop()
    waiting = asyncio.create_task(reader.get())
    await asyncio.sleep(0)

    reader.resume([b"b", b"c"], skipped=1)

    assert await waiting == b"b"


async def test_a_long_backlog_leaves_room_to_lag_behind() -> None:
    reader = Reader(4, [b"a"] * 10)

    assert [reader.offer(b"b") for _ in range(3)] == [True, True, False]


async def test_reader_with_a_full_queue_has_lost_nothing_yet() -> None:
    reader = Reader(3)
    for chunk in (b"a", b"b", b"c"):
        reader.offer(chunk)

    assert (reader.overruns, reader.skipped, reader.lag) == (0, 0, 3)


async def test_who_gives_up_waiting_loses_nothing() -> None:
    reader = Reader(4)
    waiting = asyncio.create_task(reader.get())
    await asyncio.sleep(0)

    reader.offer(b"a")
    waiting.cancel()
    await asyncio.wait([waiting])

    assert waiting.cancelled()
    assert await reader.get() == b"a"


async def test_the_end_comes_after_the_last_chunk_and_stays() -> None:
    reader = Reader(4)
    reader.offer(b"a")
    reader.end()

    assert [await reader.get() for _ in range(3)] == [b"a", END, END]


async def test_a_full_queue_still_ends() -> None:
    reader = Reader(2, [b"a", b"b"])
    reader.end()

    assert [await reader.get() for _ in range(3)] == [b"a", b"b", END]


async def test_the_end_may_be_said_twice() -> None:
    reader = Reader(4)
    reader.end()
    reader.end()

    assert [await reader.get() for _ in range(3)] == [END, END, END]


async def test_viewer_is_sent_the_backlog_first() -> None:
    reader, connection = Reader(4, [b"a", b"b"]), Connection()

    async with feeding(reader, connection):
        reader.offer(b"c")

    assert connection.sent == [b"a", b"b", b"c"]


async def test_viewer_who_keeps_up_is_written_to_at_once() -> None:
    reader, connection = Reader(1), Connection()

    async with feeding(reader, connection):
        for chunk in (b"a", b"b", b"c"):
            reader.offer(chunk)
            assert connection.sent[-1] is chunk

    assert (reader.lag, reader.overruns) == (0, 0)


async def test_viewer_who_is_behind_has_its_chunks_queued() -> None:
    reader, connection = Reader(4), Connection(room=1)

    async with feeding(reader, connection):
        for chunk in (b"a", b"b", b"c"):
            reader.offer(chunk)

    assert connection.sent == [b"a"]
    assert reader.lag == 2


async def test_viewer_who_was_behind_is_sent_everything_in_order() -> None:
    reader, connection = Reader(4), Connection(room=1)

    async with feeding(reader, connection):
        for chunk in (b"a", b"b", b"c"):
            reader.offer(chunk)
        await connection.waits.wait()
        connection.acknowledge(1)
        await connection.waits.wait()
        reader.offer(b"d")
        connection.acknowledge(10)
        reader.offer(b"e")
        await asyncio.sleep(0)
        reader.offer(b"f")

    assert connection.sent == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert (reader.lag, reader.skipped) == (0, 0)


async def test_viewer_who_was_behind_is_written_to_at_once_again() -> None:
    reader, connection = Reader(4), Connection(room=1)

    async with feeding(reader, connection):
        reader.offer(b"a")
        await connection.waits.wait()
        connection.acknowledge(10)
        await asyncio.sleep(0)
        reader.offer(b"b")

        assert connection.sent == [b"a", b"b"]


async def test_lapped_viewer_is_sent_what_it_continues_with_next() -> None:
    reader, connection = Reader(2), Connection(room=1)

    async with feeding(reader, connection):
        for chunk in (b"a", b"b", b"c"):
            reader.offer(chunk)
        await connection.waits.wait()
        reader.resume([b"d"], skipped=reader.drop())
        connection.acknowledge(10)
        await asyncio.sleep(0)

    assert connection.sent == [b"a", b"d"]
    assert (reader.overruns, reader.skipped) == (1, 2)


async def test_feeding_is_over_when_the_last_chunk_is_sent() -> None:
    reader, connection = Reader(4), Connection(room=1)

    async with feeding(reader, connection) as task:
        reader.offer(b"a")
        reader.offer(b"b")
        reader.end()
        await connection.waits.wait()
        assert not task.done()
        connection.acknowledge(10)
        await task

    assert connection.sent == [b"a", b"b"]


async def test_feeding_a_viewer_who_keeps_up_is_over_at_the_end() -> None:
    reader, connection = Reader(4), Connection()

    async with feeding(reader, connection) as task:
        reader.offer(b"a")
        reader.end()
        await task

    assert connection.sent == [b"a"]


async def test_feeding_waits_for_a_viewer_who_has_yet_to_take_the_last_chunk() -> None:
    reader, connection = Reader(4), Connection(room=1)

    async with feeding(reader, connection) as task:
        reader.offer(b"a")
        reader.end()
        await connection.waits.wait()

        assert not task.done()


async def test_the_mark_of_the_end_is_not_sent_to_the_viewer() -> None:
    reader, connection = Reader(4), Connection()
    task = asyncio.create_task(reader.feed(connection))

    reader.end()
    await task

    assert connection.sent == []


async def test_viewer_who_went_away_ends_the_feeding() -> None:
    reader, connection = Reader(4), Connection(room=1)

    async with feeding(reader, connection) as task:
        reader.offer(b"a")
        await connection.waits.wait()
        connection.reset()
        with pytest.raises(ConnectionResetError):
            await task


async def test_nothing_is_written_once_the_feeding_was_stopped() -> None:
    reader, connection = Reader(4), Connection()

    async with feeding(reader, connection):
        reader.offer(b"a")
    reader.offer(b"b")

    assert connection.sent == [b"a"]
    assert await reader.get() == b"b"
