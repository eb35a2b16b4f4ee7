"""Chunks are as large as they should be, and nothing waits for one in vain: not here, and not in the kernel."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.config import RelayConfig
from streamproxy.sources.chunker import Chunker
from streamproxy.sources.deadlines import Deadlines, Waiting
from tests.helpers.stream import PACKET, packets
from tests.helpers.virtual_time import in_virtual_time

SIZE = 10 * PACKET
RELAY = RelayConfig(chunk_size=SIZE, chunk_delay=0.0625, stall_timeout=0.25)


class Heap:
    """Keeps chunks, and is never full.

    Attributes:
        chunks: What came.
        failure: What it raises instead.
    """

    full = False

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.failure: Exception | None = None

    def write(self, data: bytes, /) -> None:
        if self.failure:
            raise self.failure
        self.chunks.append(data)

    async def drain(self) -> None:
        raise NotImplementedError

    @property
    def sizes(self) -> list[int]:
        """Packets in each chunk."""
        return [len(chunk) // PACKET for chunk in self.chunks]


class ByHand(Deadlines):
    """Those of whom the test says when they are told.

    Attributes:
        delay: Seconds, as they were asked for.
        waiting: Since when each of them waits.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.waiting: dict[Waiting, float] = {}

    def add(self, waiting: Waiting, now: float) -> None:
        self.waiting[waiting] = now

    def postpone(self, waiting: Waiting, now: float) -> None:
        if waiting in self.waiting:
            self.waiting[waiting] = now

    def remove(self, waiting: Waiting) -> None:
        self.waiting.pop(waiting, None)


class Stage:
    """A chunker, what it gets its bytes from, and where they go.

    Attributes:
        upstream: The other end of the connection.
        connection: The end that the chunker knows.
        heap: Where the chunks go.
        deadlines: Who waits.
        chunker: What is tested.
        fetched: How often it asked for what is there.
    """

    def __init__(self, upstream: socket.socket, connection: socket.socket, silence: asyncio.Timeout | None) -> None:
        self.upstream = upstream
        self.connection = connection
        self.heap = Heap()
        self.deadlines = ByHand(0)
        self.fetched = 0
        self.chunker = Chunker(self.heap, RELAY, self._deadlines, connection=connection, silence=silence)
        self._left = b""

    def _deadlines(self, delay: float) -> Deadlines:
        self.deadlines.delay = delay
        return self.deadlines

    def fetch(self, connection: socket.socket) -> None:
        """Do as an intake does."""
        assert connection is self.connection
        self.fetched += 1
        try:
            self._left += connection.recv(1 << 16)
        except BlockingIOError:
            return
        whole = len(self._left) // PACKET * PACKET
        found, self._left = self._left[:whole], self._left[whole:]
        self.chunker.add(found)

    def expire(self, *, after: float = RELAY.chunk_delay) -> None:
        """Tell the chunker that nothing was heard of it."""
        self.chunker.expire(asyncio.get_running_loop().time() + after)

    @property
    def wakes_at(self) -> int:
        """Bytes that wake the event loop."""
        return self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@contextmanager
def stage(silence: asyncio.Timeout | None = None) -> Iterator[Stage]:
    """Set the stage, with a stream that has begun with a packet."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as upstream:
        connection, _ = server.accept()
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            connection.setblocking(False)
            made = Stage(upstream, connection, silence)
            with made.chunker:
                made.chunker.fetch_with(made.fetch)
                made.chunker.add(packets(0, 1))
                yield made


async def test_the_first_packets_go_out_at_once_and_then_only_whole_chunks_wake_the_loop() -> None:
    with stage() as found:
        assert found.heap.sizes == [1]
        assert found.wakes_at == SIZE


async def test_packets_gather_until_they_fill_a_chunk() -> None:
    with stage() as found:
        for number in range(9):
            found.chunker.add(packets(1 + number, 1))
        assert found.heap.sizes == [1]

        found.chunker.add(packets(10, 1))

        assert found.heap.sizes == [1, 10]


async def test_what_waits_goes_out_when_it_is_overdue_with_what_the_kernel_has() -> None:
    with stage() as found:
        found.chunker.add(packets(1, 3))
        found.upstream.sendall(packets(4, 2))

        found.expire()

        assert found.heap.sizes == [1, 3, 2]
        assert found.wakes_at == SIZE


async def test_where_nothing_is_there_the_next_byte_wakes_the_loop_and_goes_out_at_once() -> None:
    with stage() as found:
        found.expire()
        assert found.wakes_at == 1

        found.chunker.add(packets(1, 1))

        assert found.heap.sizes == [1, 1]
        assert found.wakes_at == SIZE


async def test_where_less_than_a_packet_is_there_the_next_byte_wakes_the_loop_too() -> None:
    with stage() as found:
        found.upstream.sendall(packets(1, 1)[:100])

        found.expire()

        assert (found.fetched, found.wakes_at) == (1, 1)


async def test_who_waits_for_the_next_byte_does_not_ask_for_it_again_and_again() -> None:
    with stage() as found:
        for _ in range(5):
            found.expire()

        assert found.fetched == 1


async def test_before_the_first_packet_nothing_is_asked_for() -> None:
    heap, deadlines = Heap(), ByHand(0)
    with socket.socket() as connection, Chunker(heap, RELAY, lambda _: deadlines, connection=connection) as chunker:
        chunker.fetch_with(lambda _: pytest.fail("asked for what the loop is about to read"))
        chunker.expire(asyncio.get_running_loop().time() + 1)
    assert heap.chunks == []


async def test_without_a_connection_what_waits_goes_out_all_the_same() -> None:
    heap, deadlines = Heap(), ByHand(0)
    with Chunker(heap, RELAY, lambda _: deadlines) as chunker:
        chunker.fetch_with(lambda _: pytest.fail("there is nothing to fetch from"))
        chunker.add(packets(0, 1))
        chunker.add(packets(1, 2))
        chunker.expire(asyncio.get_running_loop().time() + 1)
        assert heap.sizes == [1, 2]


async def test_the_delay_begins_anew_with_each_chunk() -> None:
    with stage() as found:
        before = found.deadlines.waiting[found.chunker]
        loop = asyncio.get_running_loop()
        while loop.time() == before:
            await asyncio.sleep(0)
        found.chunker.add(packets(1, 9))
        assert found.deadlines.waiting[found.chunker] == before

        found.chunker.add(packets(10, 1))

        assert found.deadlines.waiting[found.chunker] > before


@pytest.mark.parametrize(
    ("chunk_delay", "stall_timeout", "delay"), [(0.25, 5, 0.25), (0.25, 0.125, 0.125), (0, 5, 0.01)]
)
async def test_the_delay_is_neither_longer_than_silence_may_last_nor_nothing(
    chunk_delay: float, stall_timeout: float, delay: float
) -> None:
    asked: list[float] = []

    def deadlines(delay: float) -> Deadlines:
        asked.append(delay)
        return ByHand(delay)

    Chunker(Heap(), RelayConfig(chunk_delay=chunk_delay, stall_timeout=stall_timeout), deadlines)

    assert asked == [delay]


async def test_silence_ends_it() -> None:
    async def fall_silent() -> None:
        async with asyncio.timeout(None) as silence:
            with stage(silence) as found:
                found.expire(after=RELAY.stall_timeout - 0.125)
                assert silence.when() is None

                found.expire(after=RELAY.stall_timeout)

                assert not found.deadlines.waiting
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await fall_silent()


def test_silence_of_who_is_not_listened_to_does_not_count() -> None:
    async def work() -> None:
        async with asyncio.timeout(None) as silence:
            with stage(silence) as found:
                found.chunker.pause()
                await asyncio.sleep(100)
                found.expire()
                assert silence.when() is None

                found.chunker.listen()
                found.expire(after=RELAY.stall_timeout - 0.125)

                assert silence.when() is None

    in_virtual_time(work())


async def test_whoever_has_ended_waits_for_nothing_and_what_waited_goes_out() -> None:
    with stage() as found:
        found.chunker.add(packets(1, 3))

    assert found.heap.sizes == [1, 3]
    assert found.chunker.passed == 4 * PACKET
    assert not found.deadlines.waiting
    found.expire()
    assert found.fetched == 0


async def test_of_who_failed_nothing_more_goes_out() -> None:
    with contextlib.suppress(LookupError), stage() as found:
        found.chunker.add(packets(1, 3))
        raise LookupError

    assert found.heap.sizes == [1]
    assert not found.deadlines.waiting


STREAM = packets(0, 400)


@given(st.lists(st.integers(0, 35), min_size=1, max_size=10))
@settings(max_examples=50, deadline=None)
def test_chunks_are_whole_and_not_twice_as_large_as_they_should_be(counts: list[int]) -> None:
    async def work() -> None:
        heap = Heap()
        position = 0
        with Chunker(heap, RELAY, ByHand) as chunker:
            for count in counts:
                chunker.add(STREAM[position : position + count * PACKET])
                position += count * PACKET
        assert b"".join(heap.chunks) == STREAM[:position]
        assert chunker.passed == position
        assert all(10 <= size < 20 for size in heap.sizes[1:-1])
        assert all(0 < size < 20 for size in heap.sizes)

    asyncio.run(work())


@pytest.mark.parametrize("listens", [True, False])
async def test_what_the_sink_raises_at_a_deadline_is_for_who_fills_the_chunks(listens: bool) -> None:
    async def fill(silence: asyncio.Timeout) -> None:
        with stage(silence if listens else None) as found:
            found.chunker.add(packets(1, 3))
            found.heap.failure = LookupError("a mistake")
            found.expire()
            found.heap.failure = None

            assert not found.deadlines.waiting
            if listens:
                await asyncio.Event().wait()
            found.chunker.add(packets(4, 1))

    with pytest.raises(LookupError):
        async with asyncio.timeout(None) as silence:
            await fill(silence)
