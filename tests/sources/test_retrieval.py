"""What a playlist names is got whole, over as many connections as it takes, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamproxy.config import OptionsConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamRefused, UpstreamStalled
from streamproxy.formats.hls.model import ByteRange
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.retrieval import Renew, Retrieval, Terms
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import Answer, HlsOrigin, Jumps, cut, dropped, hls_origin, send, whole
from tests.helpers.origin import Exchange

BODY = bytes(range(256)) * 1000


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as running:
        yield running


async def get(
    origin: HlsOrigin,
    *answers: Answer,
    part: ByteRange | None = None,
    renew: Renew | None = None,
    time: Jumps | None = None,
    timeout: float = 2,
    **terms: Any,
) -> bytes:
    """Get what is at one path, which answers like this."""
    origin.serve("/x", *answers)
    async with Client(OptionsConfig(timeout=timeout)) as client:
        sleep = (time or Jumps()).sleep
        retrieval = Retrieval(
            Upstream(origin.url("/x"), "tv"),
            client,
            Terms(**{"silence": 2, **terms}),
            byte_range=part,
            sleep=sleep,
            renew=renew,
        )
        return await retrieval.whole()


def ranges(origin: HlsOrigin) -> list[str | None]:
    return [exchange.headers.get("Range") for exchange in origin.socket.exchanges]


def answers(head: str, body: bytes = b"", *, reset: bool = False) -> Answer:
    """Answer with exactly this."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head.encode() + b"\r\n\r\n" + body)
        if reset:
            await asyncio.sleep(0.02)
            exchange.reset()

    return answer


async def test_all_of_it_comes_with_one_request(origin: HlsOrigin) -> None:
    assert await get(origin, BODY) == BODY
    assert ranges(origin) == [None]


async def test_it_is_continued_as_often_as_there_is_progress(origin: HlsOrigin) -> None:
    time = Jumps()
    pieces = [cut(BODY, 70_000) for _ in range(3)]
    assert await get(origin, *pieces, BODY, time=time) == BODY
    assert ranges(origin) == [None, "bytes=70000-", "bytes=140000-", "bytes=210000-"]
    assert time.waits == []


async def test_without_progress_it_is_given_up_after_four_attempts_and_longer_and_longer_pauses(
    origin: HlsOrigin,
) -> None:
    time = Jumps()
    with pytest.raises(UpstreamBroken):
        await get(origin, cut(BODY, 1000), time=time)
    assert len(origin.paths) == 4
    assert time.waits == [0.5, 1]


@pytest.mark.parametrize(("status", "attempts"), [(403, 2), (404, 2), (458, 2), (500, 3), (503, 3)])
async def test_a_refusal_is_believed_soon(origin: HlsOrigin, status: int, attempts: int) -> None:
    time = Jumps()
    with pytest.raises(UpstreamRefused):
        await get(origin, status, time=time)
    assert len(origin.paths) == attempts
    assert time.waits == [0.5] * (attempts - 1)


async def test_another_address_is_asked_for_where_one_is_refused(origin: HlsOrigin) -> None:
    origin.serve("/new", BODY)
    refused = []

    async def renew(url: str) -> str | None:
        refused.append(url)
        return origin.url("/new")

    assert await get(origin, cut(BODY, 500), 403, renew=renew) == BODY
    assert refused == [origin.url("/x")]
    assert [(exchange.path, exchange.headers.get("Range")) for exchange in origin.socket.exchanges] == [
        ("/x", None),
        ("/x", "bytes=500-"),
        ("/new", "bytes=500-"),
    ]


@pytest.mark.parametrize("failure", [500, dropped])
async def test_no_other_address_is_asked_for_where_one_only_fails(origin: HlsOrigin, failure: Answer) -> None:
    async def renew(url: str) -> str | None:
        raise AssertionError(url)

    assert await get(origin, failure, BODY, renew=renew) == BODY


@pytest.mark.parametrize("first", [0, 1, 70_000, len(BODY) - 10])
async def test_a_part_is_what_was_asked_for(origin: HlsOrigin, first: int) -> None:
    assert await get(origin, BODY, part=ByteRange(10, first)) == BODY[first : first + 10]
    assert ranges(origin) == [f"bytes={first}-{first + 9}"]


@pytest.mark.parametrize("answer", [whole(BODY), answers("HTTP/1.1 200 OK", BODY)], ids=["with a length", "without"])
async def test_a_part_is_cut_out_of_the_whole(origin: HlsOrigin, answer: Answer) -> None:
    assert await get(origin, answer, part=ByteRange(100_000, 70_001)) == BODY[70_001:170_001]


async def test_a_part_that_goes_beyond_the_end_is_not_to_be_had(origin: HlsOrigin) -> None:
    with pytest.raises(UpstreamError):
        await get(origin, BODY, part=ByteRange(20, len(BODY) - 10))


async def test_an_origin_that_sends_a_part_at_a_time_is_asked_on(origin: HlsOrigin) -> None:
    async def capped(exchange: Exchange) -> None:
        asked = exchange.headers.get("Range")
        if asked:
            exchange.headers["Range"] = f"{asked}{int(asked[6:-1]) + 99_999}"
            await send(exchange, BODY)
        else:
            await send(exchange, BODY, upto=100_000)

    assert await get(origin, capped) == BODY
    assert ranges(origin) == [None, "bytes=100000-199999", "bytes=200000-299999"]


async def test_a_rest_that_is_refused_because_there_is_none_is_the_end(origin: HlsOrigin) -> None:
    assert await get(origin, answers("HTTP/1.1 200 OK", BODY, reset=True), BODY) == BODY
    assert ranges(origin) == [None, f"bytes={len(BODY)}-"]


async def test_a_reset_is_no_end_where_the_length_is_not_known(origin: HlsOrigin) -> None:
    assert await get(origin, answers("HTTP/1.1 200 OK", BODY[:1000], reset=True), BODY) == BODY


async def test_a_chunked_body_that_is_cut_is_continued(origin: HlsOrigin) -> None:
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
    assert await get(origin, answers(head, b"400\r\n" + BODY[:500]), BODY) == BODY
    assert ranges(origin) == [None, "bytes=500-"]


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 999-1999/256000",
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-1999/256000",
        "HTTP/1.1 206 Part",
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 1000-1999/256001",
        "HTTP/1.1 200 OK\r\nContent-Length: 255999",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip",
        "HTTP/1.1 416 No\r\nContent-Range: bytes */256000",
    ],
    ids=["before", "from the start", "unnamed", "of another size", "another size", "packed", "refused"],
)
async def test_a_rest_that_is_something_else_is_refused_at_once(origin: HlsOrigin, head: str) -> None:
    with pytest.raises(UpstreamBroken):
        await get(origin, cut(BODY, 1000), answers(head, BODY))
    assert len(origin.paths) == 2


@pytest.mark.parametrize("known", [True, False])
async def test_what_is_larger_than_it_may_be_is_refused(origin: HlsOrigin, known: bool) -> None:
    answer = BODY if known else answers("HTTP/1.1 200 OK", BODY)
    with pytest.raises(UpstreamBroken, match="more than 100 KiB"):
        await get(origin, answer, limit=100 << 10)
    assert len(origin.paths) == 1


async def test_a_part_that_is_larger_than_it_may_be_is_refused(origin: HlsOrigin) -> None:
    with pytest.raises(UpstreamBroken, match="more than 100 KiB"):
        await get(origin, BODY, part=ByteRange(200_000, 0), limit=100 << 10)


async def test_what_is_too_far_behind_is_not_skipped_to(origin: HlsOrigin) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await exchange.send(bytes(1 << 16))

    with pytest.raises(UpstreamBroken, match="part"):
        await get(origin, endless, part=ByteRange(10, 10**9))


async def test_silence_is_a_failure_and_what_came_before_is_kept(origin: HlsOrigin) -> None:
    async def silent(exchange: Exchange) -> None:
        await send(exchange, BODY, upto=1000)
        await asyncio.Event().wait()

    assert await get(origin, silent, BODY, silence=0.1) == BODY
    assert ranges(origin) == [None, "bytes=1000-"]


async def test_a_trickle_is_not_waited_for_without_end(origin: HlsOrigin) -> None:
    async def trickle(exchange: Exchange) -> None:
        await send(exchange, BODY, upto=0)
        while True:
            await exchange.send(b"x")
            await asyncio.sleep(0.02)

    with pytest.raises(UpstreamStalled, match="needed more than"):
        await get(origin, trickle, silence=1, patience=0.3)
    assert len(origin.paths) == 1


async def test_time_in_which_nobody_takes_what_is_there_does_not_count(origin: HlsOrigin) -> None:
    wanted = asyncio.Event()

    async def in_two_halves(exchange: Exchange) -> None:
        await send(exchange, BODY, upto=1000)
        await wanted.wait()
        await asyncio.sleep(0.05)
        await exchange.send(BODY[1000:])

    origin.serve("/x", in_two_halves)
    async with Client(OptionsConfig(timeout=2)) as client:
        retrieval = Retrieval(Upstream(origin.url("/x"), "tv"), client, Terms(silence=2, patience=0.2))
        data = b""
        async for piece in retrieval.pieces():
            data += piece
            if not wanted.is_set():
                await asyncio.sleep(0.3)
                wanted.set()
    assert data == BODY
    assert len(origin.paths) == 1
