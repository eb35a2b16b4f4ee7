"""A live stream from an upstream on a real socket into a sink that remembers."""

import asyncio
import contextlib
import gc
import gzip
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import pytest

from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamStalled
from streamproxy.model import Upstream
from streamproxy.sources.chunker import Chunker
from streamproxy.sources.client import Client
from streamproxy.sources.http import HttpSource, Whereabouts
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.origin import OK, Exchange, Origin, Script, origin
from tests.helpers.scripts import Tap, holds, redirects, repeats, sends
from tests.helpers.stream import PACKET, Run, packets, runs

FIRST = 7
"""Packets with which a stream begins here: enough to be recognised as one."""


class MemorySink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self._changed = asyncio.Event()

    def write(self, data: bytes, /) -> None:
        self.chunks.append(data)
        self._changed.set()

    @property
    def full(self) -> bool:
        return not self.open.is_set()

    async def drain(self) -> None:
        await self.open.wait()

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)

    async def holds(self, count: int, *, within: float = 5) -> None:
        """Wait until so many packets have come."""
        async with asyncio.timeout(within):
            while sum(map(len, self.chunks)) < count * PACKET:
                self._changed.clear()
                await self._changed.wait()


def streams(*pieces: bytes, head: bytes = OK) -> Script:
    """Send something, piece by piece, as a successful answer, and close."""
    return sends(head, *pieces)


@asynccontextmanager
async def source_of(
    script: Callable[[Exchange], Awaitable[None]], *, buffer_size: int = 1 << 20, **relay: Any
) -> AsyncIterator[tuple[HttpSource, Origin]]:
    async with origin(script) as seen, Client(OptionsConfig(timeout=2, buffer_size=buffer_size)) as client:
        yield HttpSource(Upstream(seen.url(), "tv"), client, RelayConfig(**relay)), seen


@asynccontextmanager
async def running(source: HttpSource, sink: MemorySink) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(source.run(sink))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)


async def run(source: HttpSource, sink: MemorySink, *, within: float = 5) -> None:
    async with asyncio.timeout(within):
        await source.run(sink)


def torn(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def chunked(*pieces: bytes) -> list[bytes]:
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [1, 187, 188, 1000, 1316, 100_000])
async def test_packets_arrive_whole_however_the_network_cuts_them(size: int) -> None:
    count = 30 if size == 1 else 2000
    sink = MemorySink()
    async with source_of(streams(*torn(packets(0, count), size)), chunk_delay=0.02) as (source, _):
        await run(source, sink)
    assert all(len(chunk) % PACKET == 0 for chunk in sink.chunks)
    assert runs(sink.data) == [Run(0, count - 1)]


@pytest.mark.parametrize("size", [100, 1316, 50_000])
async def test_chunked_transfer_makes_no_difference(size: int) -> None:
    sink = MemorySink()
    script = streams(*chunked(*torn(packets(0, 2000), size)), b"0\r\n\r\n", head=CHUNKED)
    async with source_of(script) as (source, _):
        await run(source, sink)
    assert runs(sink.data) == [Run(0, 1999)]


async def test_a_body_with_a_length_ends_where_it_says() -> None:
    sink = MemorySink()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (100 * PACKET)
    async with source_of(streams(packets(0, 100), head=head)) as (source, _):
        await run(source, sink)
    assert runs(sink.data) == [Run(0, 99)]


async def test_the_media_type_does_not_matter_if_the_bytes_are_right() -> None:
    sink = MemorySink()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    async with source_of(streams(packets(0, 100), head=head)) as (source, _):
        await run(source, sink)
    assert runs(sink.data) == [Run(0, 99)]


async def test_a_partial_packet_at_the_end_is_dropped() -> None:
    sink = MemorySink()
    async with source_of(streams(packets(0, 100)[:-1])) as (source, _):
        await run(source, sink)
    assert len(sink.data) == 99 * PACKET
    assert runs(sink.data) == [Run(0, 98)]


@pytest.mark.parametrize(("before", "after"), [(4, 0), (0, 16)], ids=["192", "204"])
async def test_longer_packets_are_cut_to_size(before: int, after: int) -> None:
    long = b"".join(b"\1" * before + packet + b"\2" * after for packet in torn(packets(0, 2000), PACKET))
    sink = MemorySink()
    async with source_of(streams(*torn(long, 1460))) as (source, _):
        await run(source, sink)
    assert runs(sink.data) == [Run(0, 1999)]


async def test_junk_is_left_out_and_costs_no_packet() -> None:
    sink = MemorySink()
    junk = b"\r\nnot a packet\r\n"
    script = streams(junk, packets(0, 100), junk * 30, packets(100, 100), junk, packets(200, 100))
    async with source_of(script) as (source, _):
        await run(source, sink)
    assert runs(sink.data) == [Run(0, 299)]


async def test_the_first_bytes_are_passed_on_at_once() -> None:
    tap, sink = Tap(), MemorySink()
    async with source_of(tap.answer, chunk_delay=10) as (source, _), running(source, sink):
        tap.send(packets(0, FIRST))
        await sink.holds(FIRST, within=0.5)


async def test_later_bytes_wait_for_a_whole_chunk() -> None:
    tap, sink = Tap(), MemorySink()
    chunk = 100 * PACKET
    async with source_of(tap.answer, chunk_delay=10, chunk_size=chunk) as (source, _), running(source, sink):
        tap.send(packets(0, FIRST))
        await sink.holds(FIRST)
        for number in range(99):
            tap.send(packets(FIRST + number, 1))
        tap.send(packets(FIRST + 99, 1))
        await sink.holds(FIRST + 100)
    assert [len(chunk) for chunk in sink.chunks] == [FIRST * PACKET, chunk]


async def test_chunks_are_large_at_a_high_rate() -> None:
    sink = MemorySink()
    async with source_of(streams(*torn(packets(0, 40_000), 7 * PACKET)), chunk_delay=10) as (source, _):
        await run(source, sink, within=10)
    assert runs(sink.data) == [Run(0, 39_999)]
    assert all(len(chunk) < 2 * RelayConfig().chunk_size for chunk in sink.chunks)
    assert len(sink.data) / len(sink.chunks) >= 32 << 10


async def test_no_chunk_is_small_unless_time_is_up() -> None:
    sink = MemorySink()
    chunk = 50 * PACKET
    async with source_of(streams(packets(0, 40_000)), chunk_delay=10, chunk_size=chunk) as (source, _):
        await run(source, sink, within=10)
    assert [len(small) for small in sink.chunks[1:-1] if len(small) < chunk] == []


async def test_a_chunk_is_measured_by_its_packets_and_not_by_what_frames_them() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(CHUNKED)
        for piece in chunked(*torn(packets(0, 1000), PACKET)):
            await exchange.send(piece)
            await asyncio.sleep(0)

    sink = MemorySink()
    chunk = 50 * PACKET
    async with source_of(answer, chunk_delay=10, chunk_size=chunk) as (source, _):
        with pytest.raises(UpstreamBroken):
            await run(source, sink)
    assert [len(small) for small in sink.chunks[1:-1] if len(small) < chunk] == []


async def test_nothing_waits_longer_than_the_chunk_delay_at_a_low_rate() -> None:
    tap, sink = Tap(), MemorySink()
    async with source_of(tap.answer, chunk_delay=0.05) as (source, _), running(source, sink):
        tap.send(packets(0, FIRST))
        await sink.holds(FIRST)
        for number in range(FIRST, FIRST + 10):
            tap.send(packets(number, 1))
            await sink.holds(number + 1, within=0.5)
    assert runs(sink.data) == [Run(0, FIRST + 9)]


async def test_what_comes_within_the_chunk_delay_goes_out_together() -> None:
    tap, sink = Tap(), MemorySink()
    async with source_of(tap.answer, chunk_delay=0.3) as (source, _), running(source, sink):
        tap.send(packets(0, FIRST))
        await sink.holds(FIRST)
        for number in range(FIRST, FIRST + 20):
            tap.send(packets(number, 1))
        await sink.holds(FIRST + 20, within=2)
    assert [len(chunk) for chunk in sink.chunks] == [FIRST * PACKET, 20 * PACKET]


async def test_after_a_silence_bytes_are_passed_on_at_once() -> None:
    tap, sink = Tap(), MemorySink()
    async with source_of(tap.answer, chunk_delay=0.4) as (source, _), running(source, sink):
        tap.send(packets(0, FIRST))
        await sink.holds(FIRST)
        silent = asyncio.Event()
        asyncio.get_running_loop().call_later(0.45, silent.set)
        await silent.wait()

        tap.send(packets(FIRST, 1))

        await sink.holds(FIRST + 1, within=0.15)


async def test_what_waits_for_its_chunk_goes_out_when_the_stream_ends() -> None:
    tap, sink = Tap(), MemorySink()
    async with source_of(tap.answer, chunk_delay=10) as (source, _), running(source, sink) as task:
        tap.send(packets(0, FIRST))
        await sink.holds(FIRST)
        tap.send(packets(FIRST, 5))
        tap.end()
        async with asyncio.timeout(2):
            await task
    assert runs(sink.data) == [Run(0, FIRST + 4)]


async def test_a_chunk_delay_of_nothing_costs_nothing_while_nothing_comes() -> None:
    tap, sink = Tap(), MemorySink()
    async with source_of(tap.answer, chunk_delay=0) as (source, _), running(source, sink):
        tap.send(packets(0, FIRST))
        await sink.holds(FIRST)
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, over.set)
        before = time.thread_time()
        await over.wait()
        assert time.thread_time() - before < 0.1


PAGE = b"<!DOCTYPE html>\n<html><body>Your account has expired</body></html>\n"
NOT_MEDIA = {
    "a page": (PAGE, "a web page"),
    "a page of some length": (PAGE + b"<p>Lorem ipsum</p>\n" * 200, "a web page"),
    "a long page": (PAGE + b"<p>Lorem ipsum</p>\n" * 20_000, "a web page"),
    "XML": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "XML"),
    "JSON": (b'{"error": "max connections reached"}', "JSON"),
    "long JSON": (b'{"errors": [' + b'"max connections reached", ' * 200 + b'""]}', "JSON"),
    "HLS": (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:6,\na.ts\n", "a playlist"),
    "long HLS": (b"#EXTM3U\n#EXT-X-VERSION:3\n" + b"#EXTINF:6,\nsegment.ts\n" * 100, "a playlist"),
    "gzip": (gzip.compress(PAGE), "gzip"),
    "MP4": (b"\0\0\0\x20ftypisom" + bytes(2000), "an MP4 file"),
    "one packet": (packets(0, 1), "something else"),
    "random bytes": (bytes(range(40, 64)) * 20_000, "something else"),
}


@pytest.mark.parametrize(("body", "name"), NOT_MEDIA.values(), ids=NOT_MEDIA.keys())
async def test_what_is_no_transport_stream_is_named_and_not_passed_on(body: bytes, name: str) -> None:
    sink = MemorySink()
    async with source_of(streams(body)) as (source, _):
        with pytest.raises(UpstreamNotMedia, match=f"sent .*{name}.*, not MPEG-TS"):
            await run(source, sink)
    assert sink.chunks == []


async def test_a_packed_transport_stream_is_not_passed_on() -> None:
    sink = MemorySink()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nContent-Encoding: gzip\r\n\r\n"
    async with source_of(streams(gzip.compress(packets(0, 20)), head=head)) as (source, _):
        with pytest.raises(UpstreamNotMedia, match="gzip"):
            await run(source, sink)
    assert sink.chunks == []


async def test_an_endless_page_is_given_up() -> None:
    sink = MemorySink()
    async with source_of(repeats(PAGE * 10, before=OK)) as (source, seen):
        with pytest.raises(UpstreamNotMedia):
            await run(source, sink)
        await seen.until(lambda seen: not +seen.open, within=0.2)
    assert sink.chunks == []


@pytest.mark.parametrize(
    "head",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        CHUNKED + b"0\r\n\r\n",
    ],
    ids=["closed", "no length", "no chunks"],
)
async def test_an_empty_answer_is_broken(head: bytes) -> None:
    sink = MemorySink()
    async with source_of(streams(head=head)) as (source, _):
        with pytest.raises(UpstreamBroken, match="without sending anything"):
            await run(source, sink)
    assert sink.chunks == []


@pytest.mark.parametrize("count", [0, FIRST], ids=["before the first byte", "in the middle"])
async def test_silence_is_a_stall(count: int) -> None:
    tap, sink = Tap(), MemorySink()
    async with source_of(tap.answer, stall_timeout=0.2) as (source, seen):
        tap.send(packets(0, count))
        with pytest.raises(UpstreamStalled, match=r"silent for 0\.2 s"):
            await run(source, sink, within=1)
        await seen.until(lambda seen: not +seen.open, within=0.2)
    assert runs(sink.data) == ([Run(0, count - 1)] if count else [])


async def test_a_stream_that_comes_slowly_is_not_stalled() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(OK + packets(0, FIRST))
        for number in range(FIRST, FIRST + 8):
            await asyncio.sleep(0.05)
            await exchange.send(packets(number, 1))

    sink = MemorySink()
    async with source_of(answer, stall_timeout=0.3) as (source, _):
        await run(source, sink)
    assert runs(sink.data) == [Run(0, FIRST + 7)]


async def test_a_reset_of_an_endless_body_ends_the_stream() -> None:
    tap, sink = Tap(), MemorySink()

    async def answer(exchange: Exchange) -> None:
        await tap.answer(exchange)
        exchange.reset()

    async with source_of(answer) as (source, _), running(source, sink) as task:
        tap.send(packets(0, FIRST) + packets(FIRST, 1)[:100])
        await sink.holds(FIRST)
        tap.end()
        async with asyncio.timeout(1):
            await task
    assert sink.data == packets(0, FIRST)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", CHUNKED + b"f4240\r\n"], ids=["length", "chunks"]
)
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
async def test_a_body_that_ends_before_its_end_is_broken(head: bytes, reset: bool) -> None:
    tap, sink = Tap(head), MemorySink()

    async def answer(exchange: Exchange) -> None:
        await tap.answer(exchange)
        if reset:
            exchange.reset()

    async with source_of(answer) as (source, _), running(source, sink) as task:
        tap.send(packets(0, FIRST))
        await sink.holds(FIRST)
        tap.end()
        with pytest.raises(UpstreamBroken):
            async with asyncio.timeout(1):
                await task
    assert sink.data == packets(0, FIRST)


async def test_nothing_is_left_running_when_a_stream_is_over() -> None:
    async with source_of(streams(packets(0, FIRST))) as (source, _):
        await run(source, MemorySink())
    gc.collect()
    assert not [left for left in gc.get_objects() if isinstance(left, Chunker)]


@pytest.mark.parametrize("head", [OK, CHUNKED], ids=["until close", "chunks"])
async def test_cancelling_closes_the_upstream_at_once(head: bytes) -> None:
    tap, sink = Tap(head), MemorySink()
    async with source_of(tap.answer) as (source, seen), running(source, sink) as task:
        await seen.until(lambda seen: seen.open["/live.ts"] == 1)
        task.cancel()
        await seen.until(lambda seen: not +seen.open, within=0.2)
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()


async def test_an_upstream_waits_for_a_slow_sink_and_silence_is_not_its_fault() -> None:
    sink, sent, blocked = MemorySink(), [0], asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        exchange.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        await exchange.send(OK)
        while True:
            exchange.writer.write(packets(sent[0], 700))
            sent[0] += 700
            draining = asyncio.ensure_future(exchange.writer.drain())
            await asyncio.wait([draining], timeout=0.4)
            if not draining.done():
                blocked.set()
            await draining

    async with source_of(answer, buffer_size=1 << 17, stall_timeout=0.2) as (source, _), running(source, sink) as task:
        sink.open.clear()
        async with asyncio.timeout(10):
            await blocked.wait()
        assert sent[0] * PACKET < 24 << 20
        assert sum(map(len, sink.chunks)) < 1 << 20
        assert not task.done()

        so_far = sent[0]
        sink.open.set()

        await sink.holds(so_far + 1000)
    assert [run.first for run in runs(sink.data)] == [0]


async def test_an_upstream_is_not_blamed_for_a_sink_that_breaks() -> None:
    class BrokenSink(MemorySink):
        full = True

        async def drain(self) -> None:
            raise ConnectionResetError("the viewer is gone")

    async with source_of(holds(OK + packets(0, FIRST))) as (source, seen):
        with pytest.raises(ConnectionResetError, match="the viewer is gone"):
            await run(source, BrokenSink())
        await seen.until(lambda seen: not +seen.open, within=0.2)


# Where a redirect led


class Balancer:
    """Redirects `/live.ts` to one edge after another, `/edge1` first; edges do what the test says, else stream.

    Attributes:
        edges: By path, what an edge does.
    """

    def __init__(self) -> None:
        self.edges: dict[str, Script] = {}
        self._visits = 0

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path == "/live.ts":
            self._visits += 1
            await redirects(b"/edge%d" % self._visits)(exchange)
        else:
            await self.edges.get(exchange.path, streams(PLENTY))(exchange)


PLENTY = packets(0, (1 << 20) // PACKET + 1000)


async def visits(balancer: Balancer, connections: int, *, sticky: bool = True) -> list[str]:
    """Connect so many times, and tell what was asked for."""
    whereabouts = Whereabouts() if sticky else None
    async with origin(balancer.answer) as seen, Client(OptionsConfig(timeout=2)) as client:
        for _ in range(connections):
            with contextlib.suppress(UpstreamError):
                await run(HttpSource(Upstream(seen.url(), "tv"), client, RelayConfig(), whereabouts), MemorySink())
        return [exchange.path for exchange in seen.exchanges]


async def test_who_is_sticky_goes_back_to_where_a_redirect_led() -> None:
    assert await visits(Balancer(), 3) == ["/live.ts", "/edge1", "/edge1", "/edge1"]


async def test_who_is_not_begins_at_the_original_address() -> None:
    assert await visits(Balancer(), 2, sticky=False) == ["/live.ts", "/edge1", "/live.ts", "/edge2"]


@pytest.mark.parametrize(
    "failure",
    [
        sends(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        sends(b""),
        streams(b""),
        streams(b"<html>expired</html>"),
    ],
    ids=["refused", "dropped", "empty", "no media"],
)
async def test_where_that_fails_the_original_address_is_next_at_once(failure: Script) -> None:
    balancer = Balancer()
    edge = [streams(PLENTY)]

    async def fails_later(exchange: Exchange) -> None:
        await (edge.pop() if edge else failure)(exchange)

    balancer.edges["/edge1"] = fails_later
    paths = await visits(balancer, 2)
    # The library itself asks a second time where it got no answer at all.
    assert [path for path, _ in groupby(paths)] == ["/live.ts", "/edge1", "/live.ts", "/edge2"]
    assert paths.count("/edge1") > 1


async def test_a_place_that_is_gone_is_left_for_the_original_address() -> None:
    whereabouts = Whereabouts()
    async with Client(OptionsConfig(timeout=2)) as client, origin(streams(PLENTY)) as second, origin() as first:
        upstream = Upstream(first.url(), "tv")
        async with origin(streams(PLENTY)) as edge:
            first.script = redirects(edge.url().encode())
            await run(HttpSource(upstream, client, RelayConfig(), whereabouts), MemorySink())
            assert whereabouts.of(upstream) == edge.url()
        first.script = redirects(second.url().encode())
        await run(HttpSource(upstream, client, RelayConfig(), whereabouts), MemorySink())
        assert whereabouts.of(upstream) == second.url()
        assert first.total["/live.ts"] == 2


async def test_what_failed_after_it_had_played_is_not_begun_anew_within_a_connection() -> None:
    balancer = Balancer()
    edge = [streams(PLENTY), streams(packets(0, 100), head=b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")]

    async def breaks_later(exchange: Exchange) -> None:
        await edge.pop(0)(exchange)

    balancer.edges["/edge1"] = breaks_later
    assert await visits(balancer, 2) == ["/live.ts", "/edge1", "/edge1"]


async def test_a_place_where_little_came_from_is_not_gone_back_to() -> None:
    balancer = Balancer()
    balancer.edges["/edge1"] = streams(packets(0, FIRST))
    assert await visits(balancer, 3) == ["/live.ts", "/edge1", "/live.ts", "/edge2", "/edge2"]


async def test_a_place_that_brings_little_later_on_is_left() -> None:
    balancer = Balancer()
    edge = [streams(PLENTY), streams(packets(0, FIRST))]

    async def dries_up(exchange: Exchange) -> None:
        await edge.pop(0)(exchange)

    balancer.edges["/edge1"] = dries_up
    assert await visits(balancer, 3) == ["/live.ts", "/edge1", "/edge1", "/live.ts", "/edge2"]


def test_of_many_upstreams_the_oldest_place_is_forgotten() -> None:
    whereabouts = Whereabouts()
    upstreams = [Upstream(f"http://h/{number}", "tv") for number in range(17)]
    for upstream in upstreams:
        whereabouts.remember(upstream, f"{upstream.url}/edge")
    assert [whereabouts.of(upstream) is None for upstream in upstreams] == [True] + [False] * 16
