"""Answers of upstreams, shared: over real sockets where bytes travel, with a fake upstream where memory is counted."""

import asyncio
import gzip
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamproxy.config import OptionsConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamRefused, UpstreamStalled
from streamproxy.formats.byterange import ByteRange, RangeNotSatisfiable, Span
from streamproxy.model import Upstream
from streamproxy.outputs.relay import Demand, NoRoom, Reading, SharedResponses
from streamproxy.sources.client import Client
from streamproxy.tasks import Tasks
from tests.helpers.origin import Exchange, Origin, Script, origin
from tests.helpers.pages import Clock, Gate, answer
from tests.helpers.scripts import holds, resets, sends

pytestmark = pytest.mark.timeout(20)

BODY = bytes(range(256)) * 1000


HEAD = answer(BODY).removesuffix(BODY)


@asynccontextmanager
async def relaying(script: Script, **settings: Any) -> AsyncIterator[tuple[SharedResponses, Origin]]:
    """Run an upstream, and what shares it."""
    async with origin(script) as seen, Client(OptionsConfig(timeout=1)) as client, Tasks() as tasks:
        yield SharedResponses(client, tasks, **settings), seen


def upstream(seen: Origin, path: str = "/1.ts") -> Upstream:
    return Upstream(seen.url(path), "news", {"User-Agent": "box"})


async def whole(reading: Reading) -> bytes:
    async with asyncio.timeout(5), aclosing(reading.pieces()) as pieces:
        return b"".join([piece async for piece in pieces])


async def read(
    shared: SharedResponses, seen: Origin, path: str = "/1.ts", wanted: ByteRange | None = None, **demand: Any
) -> bytes:
    async with shared.open(path, upstream(seen, path), wanted, Demand(**demand)) as reading:
        return await whole(reading)


async def test_any_number_of_readers_share_one_request() -> None:
    gate = Gate(b"", answer(BODY))
    async with relaying(gate) as (shared, seen):
        readers = [asyncio.create_task(read(shared, seen)) for _ in range(20)]
        await seen.until(lambda seen: len(seen.exchanges) == 1)

        gate.opened.set()

        assert set(await asyncio.gather(*readers)) == {BODY}
        assert await read(shared, seen) == BODY
    assert seen.total["/1.ts"] == 1


async def test_who_comes_in_the_middle_gets_the_beginning_at_once() -> None:
    gate = Gate(HEAD + BODY[:100_000], BODY[100_000:])
    async with relaying(gate) as (shared, seen), AsyncExitStack() as stack:
        got = []
        for _ in range(3):
            reading = await stack.enter_async_context(shared.open("x", upstream(seen)))
            pieces = await stack.enter_async_context(aclosing(reading.pieces()))
            data = bytearray()
            while len(data) < 100_000:
                async with asyncio.timeout(1):
                    data += await anext(pieces)
            assert data == BODY[:100_000]
            got.append((data, pieces))

        gate.opened.set()

        for data, pieces in got:
            async for piece in pieces:
                data += piece
            assert data == BODY
    assert seen.total["/1.ts"] == 1


async def test_a_reader_that_does_not_read_holds_up_nobody() -> None:
    async with relaying(sends(answer(BODY * 10))) as (shared, seen), shared.open("/1.ts", upstream(seen)) as slow:
        assert await read(shared, seen) == BODY * 10
        assert await whole(slow) == BODY * 10
    assert seen.total["/1.ts"] == 1


@pytest.mark.parametrize("how", ["closed", "reset", "chunk", "reset without a length"])
async def test_what_was_cut_short_fails_for_everybody_and_is_not_kept(how: str) -> None:
    head = {
        "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + BODY[:0x1000] + b"\r\n1000\r\n",
        "reset without a length": answer(b"", length=False),
    }.get(how, HEAD) + BODY[:4000]
    cut = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if len(seen.exchanges) > 1:
            await exchange.send(answer(BODY))
            return
        await exchange.send(head)
        await cut.wait()
        if how.startswith("reset"):
            exchange.reset()

    async with relaying(script) as (shared, seen):
        async with shared.open("/1.ts", upstream(seen)) as one, shared.open("/1.ts", upstream(seen)) as two:
            cut.set()
            for reading in (one, two):
                with pytest.raises(UpstreamBroken):
                    await whole(reading)
        assert shared.held == 0

        assert await read(shared, seen) == BODY
    assert seen.total["/1.ts"] == 2


async def test_an_end_without_a_length_is_an_end() -> None:
    async with relaying(sends(answer(BODY, length=False))) as (shared, seen):
        assert await read(shared, seen) == BODY
        assert await read(shared, seen) == BODY
        assert shared.held == len(BODY)
    assert seen.total["/1.ts"] == 1


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (resets, UpstreamBroken),
        (holds(), UpstreamStalled),
        (holds(HEAD + b"x"), UpstreamStalled),
        (sends(answer(b"no", status="404 Not Found")), UpstreamRefused),
        (sends(answer(b"no", status="503 Busy")), UpstreamRefused),
        (sends(answer(b"")), UpstreamNotMedia),
        (sends(answer(b"", length=False)), UpstreamNotMedia),
        (sends(answer(b" \r\n<!DOCTYPE HTML><p>expired")), UpstreamNotMedia),
        (sends(answer(b"<", length=False), b"HtMl><p>expired"), UpstreamNotMedia),
        (sends(answer(b"#EXTM3U\n")), UpstreamNotMedia),
        (sends(answer(b"x", "Content-Encoding: br")), UpstreamBroken),
        (sends(answer(gzip.compress(BODY)[:-9], "Content-Encoding: gzip")), UpstreamBroken),
        (sends(answer(BODY, "Content-Range: bytes 1-256000/256001", status="206 Part")), UpstreamBroken),
    ],
)
async def test_failures_are_told_to_all_and_not_kept(script: Script, error: type[UpstreamError]) -> None:
    async with relaying(script, stall_timeout=0.1) as (shared, seen):
        for _ in range(2):
            readers = (read(shared, seen, timeout=0.3) for _ in range(3))
            results = await asyncio.gather(*readers, return_exceptions=True)
            assert [type(result) for result in results] == [error] * 3
        assert shared.held == 0
    # The library repeats a request by itself if its connection breaks before an answer.
    assert seen.total["/1.ts"] == (4 if script is resets else 2)


@pytest.mark.parametrize(
    "body",
    [b"<", b"<ht", b"<html", b"\x47" + BODY, b"<!" + BODY, b"  ", b"#EXT", b"{}"],
    ids=lambda body: body[:5].hex(),
)
async def test_a_short_or_encrypted_body_is_not_mistaken_for_a_page(body: bytes) -> None:
    async with relaying(sends(answer(body))) as (shared, seen):
        if body == b"<html":
            with pytest.raises(UpstreamNotMedia):
                await read(shared, seen)
        else:
            assert await read(shared, seen) == body


@pytest.mark.parametrize(
    ("size", "good"), [(16, True), (32, True), (3, False), (15, False), (17, False), (5000, False)]
)
@pytest.mark.parametrize("length", [True, False])
async def test_a_key_of_another_size_is_refused(size: int, good: bool, length: bool) -> None:
    async with relaying(sends(answer(b"k" * size, length=length))) as (shared, seen):
        sizes = frozenset({16, 32})
        if good:
            assert await read(shared, seen, sizes=sizes) == b"k" * size
        else:
            with pytest.raises(UpstreamNotMedia):
                await read(shared, seen, sizes=sizes)
            assert shared.held == 0


async def test_what_is_restricted_in_size_is_passed_on_only_when_it_is_whole() -> None:
    gate = Gate(answer(b"k" * 16, length=False), b"k")
    async with relaying(gate) as (shared, seen):
        reading = asyncio.create_task(read(shared, seen, sizes=frozenset({16})))
        await seen.until(lambda seen: len(seen.exchanges) == 1)
        gate.opened.set()
        with pytest.raises(UpstreamNotMedia):
            await reading


async def test_what_comes_packed_is_unpacked() -> None:
    packed = gzip.compress(BODY)
    async with relaying(sends(answer(packed, "Content-Encoding: gzip"))) as (shared, seen):
        async with shared.open("x", upstream(seen)) as reading:
            assert (reading.size, reading.length) == (None, None)
            assert await whole(reading) == BODY
        async with shared.open("x", upstream(seen), ByteRange(5, 9)) as reading:
            assert (await whole(reading), reading.span, reading.size) == (BODY[5:10], Span(5, 9), len(BODY))


@pytest.mark.parametrize("length", [True, False])
async def test_nothing_larger_than_allowed_is_taken(length: bool) -> None:
    async with relaying(sends(answer(BODY, length=length)), largest=len(BODY) - 1) as (shared, seen):
        with pytest.raises(UpstreamBroken, match="more than"):
            await read(shared, seen)
        assert shared.held == 0
    async with relaying(sends(answer(BODY, length=length)), largest=len(BODY)) as (shared, seen):
        assert await read(shared, seen) == BODY


async def test_a_packed_bomb_does_not_outgrow_its_bound() -> None:
    bomb = gzip.compress(bytes(50 << 20))
    async with relaying(sends(answer(bomb, "Content-Encoding: gzip")), largest=1 << 20) as (shared, seen):
        with pytest.raises(UpstreamBroken, match="more than"):
            await read(shared, seen)


class TestFetchingEnds:
    """A fetch goes on for as long as somebody wants it."""

    async def test_with_its_last_reader(self) -> None:
        async with relaying(holds(HEAD + BODY[:100_000])) as (shared, seen):
            async with shared.open("x", upstream(seen)):
                async with shared.open("x", upstream(seen)):
                    pass
                assert seen.open["/1.ts"] == 1
            await seen.until(lambda seen: not seen.open["/1.ts"], within=0.5)
            assert shared.held == 0

    async def test_with_its_last_reader_who_waits_for_it_to_begin(self) -> None:
        async with relaying(holds()) as (shared, seen):
            reading = asyncio.create_task(read(shared, seen))
            await seen.until(lambda seen: seen.open["/1.ts"] == 1)

            reading.cancel()

            await seen.until(lambda seen: not seen.open["/1.ts"], within=0.5)

    async def test_by_itself_if_more_than_half_has_arrived(self) -> None:
        gate = Gate(HEAD + BODY[:200_000], BODY[200_000:])
        async with relaying(gate) as (shared, seen):
            async with shared.open("/1.ts", upstream(seen)) as reading, aclosing(reading.pieces()) as pieces:
                got = 0
                while got < 200_000:
                    got += len(await anext(pieces))
            gate.opened.set()
            await seen.until(lambda seen: not seen.open["/1.ts"])

            assert await read(shared, seen) == BODY
        assert seen.total["/1.ts"] == 1

    async def test_at_once_if_nobody_knows_how_much_is_to_come(self) -> None:
        async with relaying(holds(answer(BODY, length=False))) as (shared, seen):
            async with shared.open("/1.ts", upstream(seen)):
                pass
            await seen.until(lambda seen: not seen.open["/1.ts"], within=0.5)

    async def test_and_who_comes_afterwards_gets_another(self) -> None:
        gate = Gate(HEAD + BODY[:1000], BODY[1000:])
        async with relaying(gate) as (shared, seen):
            async with shared.open("/1.ts", upstream(seen)):
                pass
            gate.opened.set()
            assert await read(shared, seen) == BODY
        assert seen.total["/1.ts"] == 2


class TestRanges:
    """Parts come from what is here, or from the upstream."""

    @pytest.mark.parametrize(
        ("wanted", "span"),
        [
            (ByteRange(0, None), Span(0, 255_999)),
            (ByteRange(0, 0), Span(0, 0)),
            (ByteRange(70_000, 200_000), Span(70_000, 200_000)),
            (ByteRange(255_999, None), Span(255_999, 255_999)),
            (ByteRange(100, 10**9), Span(100, 255_999)),
            (ByteRange(None, 10), Span(255_990, 255_999)),
        ],
    )
    async def test_from_what_is_here(self, wanted: ByteRange, span: Span) -> None:
        async with relaying(sends(answer(BODY))) as (shared, seen):
            await read(shared, seen, "/1.ts")
            async with shared.open("/1.ts", upstream(seen), wanted) as reading:
                assert (reading.span, reading.size, reading.length) == (span, len(BODY), span.size)
                assert await whole(reading) == BODY[span.first : span.last + 1]
        assert seen.total["/1.ts"] == 1

    async def test_none_of_what_it_does_not_have(self) -> None:
        async with relaying(sends(answer(BODY))) as (shared, seen):
            await read(shared, seen)
            with pytest.raises(RangeNotSatisfiable) as refused:
                await read(shared, seen, wanted=ByteRange(256_000, None))
        assert refused.value.size == 256_000

    async def test_from_what_is_on_its_way(self) -> None:
        gate = Gate(HEAD + BODY[:100_000], BODY[100_000:])
        async with relaying(gate) as (shared, seen), shared.open("/1.ts", upstream(seen)):
            async with asyncio.timeout(1):
                assert await read(shared, seen, wanted=ByteRange(50_000, 99_999)) == BODY[50_000:100_000]
            later = asyncio.create_task(read(shared, seen, wanted=ByteRange(90_000, 110_000)))
            gate.opened.set()
            assert await later == BODY[90_000:110_001]
        assert seen.total["/1.ts"] == 1

    async def test_from_what_is_on_its_way_and_has_no_length_when_it_has_one(self) -> None:
        gate = Gate(answer(BODY[:100_000], length=False), BODY[100_000:])
        async with relaying(gate) as (shared, seen), shared.open("/1.ts", upstream(seen)):
            async with shared.open("/1.ts", upstream(seen), ByteRange(0, None)) as reading:
                assert (reading.span, reading.size) == (None, None)
            later = asyncio.create_task(read(shared, seen, wanted=ByteRange(5, 9)))
            gate.opened.set()
            assert await later == BODY[5:10]
        assert seen.total["/1.ts"] == 1

    async def test_from_the_upstream_once_for_all_who_want_the_same(self) -> None:
        part = answer(BODY[1000:2000], "Content-Range: bytes 1000-1999/256000", status="206 Part")
        gate = Gate(b"", part)
        async with relaying(gate) as (shared, seen):
            wanted = ByteRange(1000, 1999)
            readers = [asyncio.create_task(read(shared, seen, wanted=wanted)) for _ in range(5)]
            await seen.until(lambda seen: len(seen.exchanges) == 1)
            gate.opened.set()
            assert set(await asyncio.gather(*readers)) == {BODY[1000:2000]}
            async with shared.open("/1.ts", upstream(seen), wanted) as reading:
                assert (reading.span, reading.size) == (Span(1000, 1999), 256_000)
            assert shared.held == 1000
        assert [exchange.headers["Range"] for exchange in seen.exchanges] == ["bytes=1000-1999"]

    async def test_each_part_from_the_upstream_is_its_own(self) -> None:
        async def script(exchange: Exchange) -> None:
            first, last = map(int, exchange.headers["Range"].removeprefix("bytes=").split("-"))
            told = f"Content-Range: bytes {first}-{last}/256000"
            await exchange.send(answer(BODY[first : last + 1], told, status="206 Part"))

        async with relaying(script) as (shared, seen):
            for first in (0, 500, 0, 500):
                assert await read(shared, seen, wanted=ByteRange(first, first + 9)) == BODY[first : first + 10]
        assert seen.total["/1.ts"] == 2

    async def test_an_upstream_that_knows_no_ranges_is_asked_once_for_all_parts(self) -> None:
        async with relaying(sends(answer(BODY))) as (shared, seen):
            for first in (1000, 3000, 0):
                assert await read(shared, seen, wanted=ByteRange(first, first + 99)) == BODY[first : first + 100]
            assert await read(shared, seen) == BODY
        assert seen.total["/1.ts"] == 1

    async def test_all_in_the_form_of_a_range_is_all(self) -> None:
        async with relaying(sends(answer(BODY))) as (shared, seen):
            assert await read(shared, seen, wanted=ByteRange(0, None)) == BODY
            assert await read(shared, seen) == BODY
        assert seen.total["/1.ts"] == 1
        assert "Range" not in seen.exchanges[0].headers

    async def test_the_upstream_says_that_there_is_nothing(self) -> None:
        nothing = answer(b"", "Content-Range: bytes */500", status="416 No")
        async with relaying(sends(nothing)) as (shared, seen):
            with pytest.raises(RangeNotSatisfiable) as refused:
                await read(shared, seen, wanted=ByteRange(500, None))
        assert refused.value.size == 500

    @pytest.mark.parametrize(
        "told",
        [
            "Content-Range: bytes 0-999/256000",
            "Content-Range: bytes 1000-1998/256000",
            "Content-Range: bytes 1000-2000/256000",
            "X: y",
        ],
    )
    async def test_another_part_than_was_asked_for_is_refused(self, told: str) -> None:
        part = answer(BODY[1000:2000], told, status="206 Part")
        async with relaying(sends(part)) as (shared, seen):
            with pytest.raises(UpstreamBroken):
                await read(shared, seen, wanted=ByteRange(1000, 1999))

    async def test_a_file_too_large_to_be_held_can_be_had_in_parts(self) -> None:
        async def script(exchange: Exchange) -> None:
            told = "Content-Range: bytes 1000-1999/1000000000000"
            await exchange.send(answer(BODY[1000:2000], told, status="206 Part"))

        async with relaying(script, capacity=5000, largest=5000) as (shared, seen):
            assert await read(shared, seen, wanted=ByteRange(1000, 1999)) == BODY[1000:2000]


class TestAge:
    """What is kept is as old as it says, and not older than it may be."""

    async def test_is_what_the_upstream_says_and_what_has_passed_since(self) -> None:
        clock = Clock()
        async with relaying(sends(answer(b"x", "Age: 7")), clock=clock) as (shared, seen):
            async with shared.open("x", upstream(seen)) as reading:
                assert reading.age == 7
                await whole(reading)
            clock.now += 5
            async with shared.open("x", upstream(seen)) as reading:
                assert reading.age == 12

    @pytest.mark.parametrize(
        ("lines", "lifetime"),
        [
            ([], 60),
            (["Cache-Control: no-cache, no-store"], 15),
            (["Cache-Control: max-age=0"], 15),
            (["Cache-Control: public, max-age=100", "Age: 30"], 70),
            (["Cache-Control: s-maxage=50, max-age=100"], 50),
            (["Cache-Control: max-age=99999999"], 3600),
            (["Cache-Control: max-age=10", "Age: 20"], 15),
            (["Cache-Control: max-age=oops", "Age: -1"], 60),
        ],
    )
    async def test_ends_what_is_kept(self, lines: list[str], lifetime: float) -> None:
        clock = Clock()
        async with relaying(sends(answer(b"x", *lines)), clock=clock) as (shared, seen):
            for passed, requests in ((0, 1), (lifetime - 1, 1), (1, 2)):
                clock.now += passed
                assert await read(shared, seen) == b"x"
                assert seen.total["/1.ts"] == requests
            assert shared.held == 1


class TestMemory:
    """What is held stays within the budget."""

    async def test_counts_what_is_still_being_read(self) -> None:
        async with relaying(sends(answer(bytes(80))), capacity=100) as (shared, seen):
            async with shared.open("/1.ts", upstream(seen)) as slow, aclosing(slow.pieces()) as pieces:
                await anext(pieces)
                with pytest.raises(NoRoom):
                    await read(shared, seen, "/2.ts")
                assert await read(shared, seen, "/1.ts") == bytes(80)
            assert await read(shared, seen, "/2.ts") == bytes(80)
            assert shared.held == 80

    async def test_counts_what_is_to_come(self) -> None:
        async with relaying(holds(HEAD + b"x")) as (shared, seen):
            shared.capacity = len(BODY) * 3 // 2
            async with shared.open("/1.ts", upstream(seen)):
                assert shared.held == len(BODY)
                with pytest.raises(NoRoom):
                    await read(shared, seen, "/2.ts")


class FakeUpstream:
    """A client whose upstream is a table of bodies, sent in small pieces with a turn of the loop between them."""

    def __init__(self, bodies: dict[str, bytes], *, length: bool) -> None:
        self.requests: Counter[str] = Counter()
        self.shared: SharedResponses | None = None
        self._bodies = bodies
        self._length = length

    @asynccontextmanager
    async def open(self, upstream: Upstream, **_: object) -> AsyncIterator[object]:
        self.requests[upstream.url] += 1
        body = bytearray(self._bodies[upstream.url])

        async def read(_: int) -> bytes:
            await asyncio.sleep(0)
            assert self.shared
            assert self.shared.held <= self.shared.capacity
            piece = bytes(body[:50])
            del body[:50]
            return piece

        headers = {"Content-Length": str(len(body))} if self._length else {}
        yield SimpleNamespace(status=200, headers=headers, connection=None, content=SimpleNamespace(read=read))


def body_of(number: int, size: int) -> bytes:
    return bytes((number + 7 * place) % 251 for place in range(size))


sizes = st.lists(st.integers(1, 600), min_size=1, max_size=8)


@given(
    st.lists(st.integers(100, 600), min_size=3, max_size=8),
    st.lists(st.integers(0, 7), min_size=5, max_size=40),
    st.booleans(),
)
@example([400, 400, 400], [0, 1, 0, 2, 0, 1], True)
@settings(deadline=None)
async def test_what_was_used_least_recently_makes_room(sizes: list[int], wants: list[int], length: bool) -> None:
    bodies = {f"http://h/{number}": body_of(number, size) for number, size in enumerate(sizes)}
    fake = FakeUpstream(bodies, length=length)
    kept: OrderedDict[str, int] = OrderedDict()
    requests: Counter[str] = Counter()
    async with Tasks() as tasks:
        shared = fake.shared = SharedResponses(cast(Client, fake), tasks, capacity=1000)
        for number in wants:
            url = f"http://h/{number % len(sizes)}"
            if url not in kept:
                requests[url] += 1
                while sum(kept.values()) + len(bodies[url]) > 1000:
                    kept.popitem(last=False)
                kept[url] = len(bodies[url])
            kept.move_to_end(url)

            async with shared.open(url, Upstream(url, "x")) as reading:
                assert await whole(reading) == bodies[url]

            assert shared.held == sum(kept.values())
            assert fake.requests == requests


@given(
    sizes,
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 30), st.booleans()), min_size=1, max_size=25),
    st.booleans(),
)
@settings(deadline=None)
async def test_whoever_reads_at_whatever_moment_gets_what_the_origin_has_or_an_error(
    sizes: list[int], readers: list[tuple[int, int, bool]], length: bool
) -> None:
    bodies = {f"http://h/{number}": body_of(number, size) for number, size in enumerate(sizes)}
    fake = FakeUpstream(bodies, length=length)

    async def visit(number: int, turns: int, impatient: bool) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        url = f"http://h/{number % len(sizes)}"
        got = b""
        try:
            async with shared.open(url, Upstream(url, "x")) as reading, aclosing(reading.pieces()) as pieces:
                async for piece in pieces:
                    got += piece
                    await asyncio.sleep(0)
                    if impatient:
                        break
        except NoRoom:
            assert bodies[url].startswith(got)
        else:
            assert bodies[url].startswith(got)
            assert impatient or got == bodies[url]

    async with Tasks() as tasks:
        shared = fake.shared = SharedResponses(cast(Client, fake), tasks, capacity=1000)
        await asyncio.gather(*(visit(*reader) for reader in readers))
        assert shared.held <= shared.capacity
