"""What waits in the kernel is read at once when it is overdue, between what the event loop reads, and changes nothing.

The event loop and the chunker take turns with one connection, so what is tested here runs over real sockets.
"""

import asyncio
import contextlib
import random
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.errors import UpstreamError
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.http import HttpSource
from streamproxy.sources.intake import Intake, can_be_taken_over
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import OK, Exchange, origin
from tests.helpers.programs import descriptors
from tests.helpers.stream import PACKET, Run, packets, runs

RELAY = RelayConfig(chunk_size=40 * PACKET, chunk_delay=0.02)
FIRST = 7
"""Packets that are enough to be recognised as a transport stream."""


class Collector:
    """Keeps what it is given; full only if the test says so.

    Attributes:
        data: All that came.
        full: Whether it wants no more for now.
    """

    def __init__(self, *, room: int | None = None) -> None:
        """Start empty.

        Args:
            room: Bytes after which it is full, until it is drained; None for never.
        """
        self.data = bytearray()
        self.full = False
        self._room = room
        self._taken = 0
        self._changed = asyncio.Event()

    def write(self, data: bytes, /) -> None:
        self.data += data
        self._taken += len(data)
        self.full = self._room is not None and self._taken >= self._room
        self._changed.set()

    async def drain(self) -> None:
        await asyncio.sleep(0.03)
        self._taken = 0
        self.full = False

    async def holds(self, size: int) -> None:
        """Wait until so many bytes have come."""
        while len(self.data) < size:
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def reading(source: HttpSource, sink: Collector) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run(sink))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)


def sizes(chance: random.Random) -> int:
    """Draw a number of bytes: less than a packet, some, or several chunks."""
    return chance.choice(
        (chance.randrange(1, PACKET), chance.randrange(1, 20 * PACKET), chance.randrange(1, 200 * PACKET))
    )


async def in_pieces(exchange: Exchange, body: bytes, chance: random.Random) -> None:
    """Send an answer in pieces, some of them at the very moment at which others are overdue."""
    exchange.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await exchange.send(OK)
    position = 0
    while position < len(body):
        size = sizes(chance)
        await exchange.send(body[position : position + size])
        position += size
        await asyncio.sleep(chance.choice((0, 0.002, 0.01, 0.0199, 0.02, 0.0201, 0.04)))


async def test_bytes_are_the_same_however_they_come_and_whoever_reads_them() -> None:
    chance = random.Random(7)
    body = packets(0, 1500)

    async def answer(exchange: Exchange) -> None:
        await in_pieces(exchange, body, random.Random(exchange.path))

    async with origin(answer) as seen, Client(OptionsConfig(timeout=5)) as client:
        sinks = [Collector(room=chance.choice((None, 30_000))) for _ in range(40)]
        sources = [HttpSource(Upstream(seen.url(f"/{number}"), "tv"), client, RELAY) for number in range(len(sinks))]
        await asyncio.gather(*(source.run(sink) for source, sink in zip(sources, sinks, strict=True)))

    assert all(sink.data == body for sink in sinks)


async def test_no_byte_is_waited_for_that_comes_only_when_those_before_it_have_arrived() -> None:
    async def watch(client: Client, number: int) -> None:
        sink, chance = Collector(), random.Random(number)
        body, position = packets(0, FIRST + 1600), FIRST * PACKET

        async def answer(exchange: Exchange) -> None:
            nonlocal position
            exchange.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await exchange.send(OK + body[:position])
            for _ in range(20):
                await sink.holds(position // PACKET * PACKET)
                size = min(sizes(chance), 80 * PACKET) if chance.random() < 0.7 else PACKET // 2
                await exchange.send(body[position : position + size])
                position += size
            await sink.holds(position // PACKET * PACKET)

        async with origin(answer) as seen:
            await HttpSource(Upstream(seen.url(), "tv"), client, RELAY).run(sink)
        assert sink.data == body[: position // PACKET * PACKET]

    async with Client(OptionsConfig(timeout=5)) as client:
        await asyncio.gather(*(watch(client, number) for number in range(30)))


async def test_the_rest_of_a_packet_that_was_overdue_is_not_waited_for_in_vain() -> None:
    torn = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(OK + packets(0, FIRST))
        await torn.wait()
        # When the chunker asks for what is there, it is less than a packet.
        await exchange.send(packets(FIRST, 1)[:100])
        await asyncio.sleep(5 * RELAY.chunk_delay)
        await exchange.send(packets(FIRST, 1)[100:])
        await asyncio.Event().wait()

    sink = Collector()
    async with (
        origin(answer) as seen,
        Client(OptionsConfig(timeout=5)) as client,
        reading(HttpSource(Upstream(seen.url(), "tv"), client, RELAY), sink),
        asyncio.timeout(5),
    ):
        await sink.holds(FIRST * PACKET)
        torn.set()
        await sink.holds((FIRST + 1) * PACKET)
    assert runs(bytes(sink.data)) == [Run(0, FIRST)]


async def test_a_slow_sink_gets_all_in_order() -> None:
    body = packets(0, 2000)

    async def answer(exchange: Exchange) -> None:
        await in_pieces(exchange, body, random.Random(1))

    sink = Collector(room=30_000)
    async with origin(answer) as seen, Client(OptionsConfig(timeout=5)) as client:
        await HttpSource(Upstream(seen.url(), "tv"), client, RELAY).run(sink)
    assert sink.data == body


class Peer:
    """An upstream of which the test says when it sends what, without the event loop."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw

    def send(self, data: bytes) -> None:
        """Send at once."""
        self._raw.sendall(data)

    def close(self) -> None:
        """End the stream."""
        self._raw.close()

    def reset(self) -> None:
        """Break the connection off."""
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._raw.close()


class Stage:
    """An intake, and who sends what it reads.

    Attributes:
        peer: Who sends.
        intake: What reads.
        taken: What was read.
        wants_more: What the taker says.
        failure: What it raises instead.
    """

    def __init__(self, peer: Peer, response: aiohttp.ClientResponse, own: socket.socket) -> None:
        assert can_be_taken_over(response)
        self.peer = peer
        self.taken = bytearray()
        self.wants_more = True
        self.failure: Exception | None = None
        self._own = own
        self.intake = Intake(response, self._take, bytearray(1 << 16))

    def _take(self, data: bytes | memoryview) -> bool:
        if self.failure:
            raise self.failure
        self.taken += data
        return self.wants_more

    def fetch(self) -> bool:
        """Read what has come, before the event loop does; tell whether anything was handed on."""
        arrived, _, _ = select.select([self._own], [], [], 5)
        assert arrived
        return self.fetch_whatever()

    def fetch_whatever(self) -> bool:
        """Read whatever is there."""
        before = len(self.taken)
        self.intake.fetch(self._own)
        return len(self.taken) > before

    async def read_by_the_loop(self) -> None:
        """Wait until nothing is there that the event loop has not read."""
        while select.select([self._own], [], [], 0)[0]:
            await asyncio.sleep(0)

    async def ends(self) -> bool:
        """Wait for a pause or the end, and tell whether it is the end."""
        return await self.intake.pause_or_end()


@asynccontextmanager
async def stage(head: bytes = OK) -> AsyncIterator[Stage]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        async def accept() -> socket.socket:
            raw, _ = await loop.sock_accept(server)
            await loop.sock_recv(raw, 1 << 16)
            raw.setblocking(True)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.sendall(head)
            return raw

        accepting = asyncio.create_task(accept())
        upstream = Upstream(f"http://127.0.0.1:{server.getsockname()[1]}/", "tv")
        async with Client(OptionsConfig(timeout=5)) as client, client.open(upstream) as response:
            connection = response.connection
            assert connection is not None
            assert connection.transport is not None
            lent = connection.transport.get_extra_info("socket")
            with await accepting as raw, socket.socket(fileno=socket.dup(lent.fileno())) as own:
                yield Stage(Peer(raw), response, own)


async def test_what_is_there_is_fetched_before_the_event_loop_reads_on() -> None:
    async with stage() as found:
        found.peer.send(b"one ")
        assert found.fetch()
        assert found.taken == b"one "

        found.peer.send(b"two")
        found.peer.close()

        assert await found.ends()
        assert found.taken == b"one two"


async def test_where_nothing_is_there_nothing_is_fetched_and_nobody_waits() -> None:
    async with stage() as found:
        assert not found.fetch_whatever()
        assert found.taken == b""


def close(peer: Peer) -> None:
    peer.close()


def reset(peer: Peer) -> None:
    peer.reset()


either_end = pytest.mark.parametrize("end", [close, reset])


@either_end
async def test_an_end_that_a_fetch_runs_into_is_noticed(end: Callable[[Peer], None]) -> None:
    async with stage() as found:
        found.peer.send(b"last")
        assert found.fetch()

        end(found.peer)

        assert not found.fetch()
        assert not found.fetch()
        assert await found.ends()
        assert found.taken == b"last"
        assert not found.fetch_whatever()


@either_end
async def test_an_end_before_the_length_that_a_fetch_runs_into_is_a_failure(end: Callable[[Peer], None]) -> None:
    async with stage(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n") as found:
        end(found.peer)

        assert not found.fetch()
        with pytest.raises(aiohttp.ClientPayloadError):
            await found.ends()


async def test_no_more_is_fetched_than_belongs_to_the_body() -> None:
    async with stage(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n") as found:
        found.peer.send(b"length and more")

        assert found.fetch()

        assert found.taken == b"length"
        assert await found.ends()
        assert found.intake.complete
        found.peer.send(b"late")
        assert not found.fetch_whatever()
        assert found.taken == b"length"


async def test_while_no_more_is_wanted_nothing_is_fetched() -> None:
    async with stage() as found:
        found.wants_more = False
        found.peer.send(b"one ")
        assert found.fetch()
        assert not await found.ends()

        found.peer.send(b"two")
        assert not found.fetch()
        assert found.taken == b"one "

        found.wants_more = True
        found.intake.resume()
        assert found.fetch()
        assert found.taken == b"one two"


async def test_what_the_taker_raises_at_a_fetch_is_for_who_waits_for_the_end() -> None:
    async with stage() as found:
        found.failure = LookupError()
        found.peer.send(b"one")

        assert not found.fetch()

        with pytest.raises(LookupError):
            await found.ends()
        found.failure = None
        found.peer.send(b"two")
        assert not found.fetch()
        await found.read_by_the_loop()
        assert found.taken == b""


@either_end
async def test_a_source_ends_when_its_upstream_does_just_as_it_is_due(end: Callable[[Peer], None]) -> None:
    async def answer(exchange: Exchange) -> None:
        chance = random.Random(exchange.path)
        await exchange.send(OK + packets(0, FIRST))
        # Around the moment at which what was sent last is overdue.
        await asyncio.sleep(chance.uniform(0.018, 0.024))
        if end is reset:
            exchange.reset()

    async with origin(answer) as seen, Client(OptionsConfig(timeout=5)) as client:

        async def watch(number: int) -> bytearray:
            sink = Collector()
            await HttpSource(Upstream(seen.url(f"/{number}"), "tv"), client, RELAY).run(sink)
            return sink.data

        data = await asyncio.gather(*(watch(number) for number in range(100)))
    assert all(each == packets(0, FIRST) for each in data)


async def test_nothing_is_left_open_however_a_source_ends() -> None:
    async def answer(exchange: Exchange) -> None:
        number = int(exchange.path.strip("/"))
        await exchange.send(OK + packets(0, FIRST))
        await asyncio.sleep(0.01 * (number % 7))
        match number % 4:
            case 0:
                exchange.reset()
            case 1:
                await exchange.send(b"no packets" * 30_000)
            case 2:
                await asyncio.Event().wait()
            case _:
                pass

    async with origin(answer) as seen, Client(OptionsConfig(timeout=5)) as client:
        relay = RelayConfig(chunk_size=40 * PACKET, chunk_delay=0.01, stall_timeout=0.2)

        async def watch(number: int) -> None:
            with contextlib.suppress(UpstreamError, TimeoutError):
                async with asyncio.timeout(0.1 if number % 8 == 2 else None):
                    await HttpSource(Upstream(seen.url(f"/{number}"), "tv"), client, relay).run(Collector())

        await watch(0)
        await seen.until(lambda seen: not +seen.open)
        await asyncio.sleep(0)
        before = descriptors()
        await asyncio.gather(*(watch(number) for number in range(80)))
        await seen.until(lambda seen: not +seen.open)
        while descriptors() > before:
            await asyncio.sleep(0.01)
