"""Files from upstreams that break off, lie, change and pause."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from streamproxy.config import OptionsConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamRefused
from streamproxy.formats.byterange import ByteRange, RangeNotSatisfiable, Span
from streamproxy.model import StreamKind, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.vod import RemoteFile
from tests.helpers.files import MODIFIED, FileServer, digest, noise
from tests.helpers.origin import Exchange, Origin, origin

FILE = noise(300_000)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(OptionsConfig(timeout=2)) as client:
        yield client


def remote(upstream: Origin, client: Client, **settings: Any) -> RemoteFile:
    """Make the file, in a hurry."""
    address = Upstream(upstream.url("/film.mp4"), "provider")
    return RemoteFile(address, client, **({"stall_timeout": 2, "retry_delay": 0.001} | settings))


async def read(file: RemoteFile, wanted: ByteRange | None = None) -> bytes:
    """Read a part whole."""
    async with file.open(wanted) as reading:
        return b"".join([piece async for piece in reading])


async def read_until_it_fails(file: RemoteFile) -> tuple[bytes, UpstreamError]:
    """Read for as long as it goes well."""
    received = bytearray()
    try:
        async with file.open() as reading:
            async for piece in reading:
                received += piece
    except UpstreamError as error:
        return bytes(received), error
    pytest.fail("it went well to the end")


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        (None, Span(0, 299_999)),
        (ByteRange(0, None), Span(0, 299_999)),
        (ByteRange(0, 0), Span(0, 0)),
        (ByteRange(0, 65_535), Span(0, 65_535)),
        (ByteRange(65_536, 200_000), Span(65_536, 200_000)),
        (ByteRange(100_001, None), Span(100_001, 299_999)),
        (ByteRange(299_999, 10**18), Span(299_999, 299_999)),
        (ByteRange(None, 1), Span(299_999, 299_999)),
        (ByteRange(None, 70_000), Span(230_000, 299_999)),
        (ByteRange(None, 10**18), Span(0, 299_999)),
    ],
)
async def test_a_part_is_that_part_whether_or_not_the_server_knows_ranges(
    client: Client, wanted: ByteRange | None, span: Span, ranges: bool
) -> None:
    async with origin(FileServer(FILE, ranges=ranges)) as upstream:
        file = remote(upstream, client)

        async with file.open(wanted) as reading:
            assert reading.span == span
            assert reading.facts.size == 300_000
            assert reading.facts.seekable is (ranges if wanted or not ranges else None)
            received = b"".join([piece async for piece in reading])

        assert digest(received) == digest(FILE[span.first : span.last + 1])
        assert upstream.total["/film.mp4"] == 1


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("ranges", [True, False])
async def test_a_file_broken_off_anywhere_arrives_exactly(client: Client, ranges: bool, reset: bool) -> None:
    chance = random.Random(7)
    for _ in range(8):
        cuts = [chance.choice((0, 1, chance.randrange(300_000), 65_536)) for _ in range(chance.randrange(1, 5))]
        server = FileServer(FILE, ranges=ranges, reset=reset, cuts=iter(cuts))
        first = chance.randrange(200_000)
        async with origin(server) as upstream:
            received = await read(remote(upstream, client), ByteRange(first, None))

            assert digest(received) == digest(FILE[first:])
            assert upstream.peak["/film.mp4"] == 1


async def test_the_rest_is_asked_for_at_the_byte_and_of_the_version(client: Client) -> None:
    async with origin(FileServer(FILE, cuts=iter([100_000, 50_000]))) as upstream:
        received = await read(remote(upstream, client))

        assert digest(received) == digest(FILE)
        asked = [(one.headers.get("Range"), one.headers.get("If-Range")) for one in upstream.exchanges]
        assert asked[0] == (None, None)
        position = 0
        for value, version in asked[1:]:
            before, position = position, int(str(value).removeprefix("bytes=").removesuffix("-299999"))
            assert before < position <= 150_000
            assert version == '"v1"'


async def test_without_a_tag_the_date_tells_the_version(client: Client) -> None:
    headers = {"Last-Modified": MODIFIED, "Date": "Mon, 07 Nov 1994 08:49:37 GMT"}
    async with origin(FileServer(FILE, headers, cuts=iter([1000]))) as upstream:
        received = await read(remote(upstream, client))

        assert digest(received) == digest(FILE)
        assert upstream.exchanges[1].headers["If-Range"] == MODIFIED


async def test_without_any_version_the_size_has_to_be_the_same(client: Client) -> None:
    async with origin(FileServer(FILE, {}, cuts=iter([1000]))) as upstream:
        received = await read(remote(upstream, client))

        assert digest(received) == digest(FILE)
        assert "If-Range" not in upstream.exchanges[1].headers


OTHER = noise(300_000, seed=2)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FileServer(FILE), FileServer(OTHER, {"ETag": '"v2"'})),
        (FileServer(FILE), FileServer(OTHER, {})),
        (FileServer(FILE), FileServer(OTHER[:-1])),
        (FileServer(FILE, {}), FileServer(OTHER + b"!", {})),
        (FileServer(FILE, {}), FileServer(OTHER[:20_000], {})),
        (
            FileServer(FILE, {"Last-Modified": MODIFIED}),
            FileServer(OTHER, {"Last-Modified": "Sun, 06 Nov 1994 08:49:38 GMT"}),
        ),
        (
            FileServer(FILE, {"ETag": '"v1"', "Last-Modified": MODIFIED}),
            FileServer(OTHER, {"ETag": '"v1"', "Last-Modified": "Sun, 06 Nov 1994 08:49:38 GMT"}),
        ),
    ],
)
async def test_what_became_another_file_is_never_taken_for_the_rest(
    client: Client, before: FileServer, after: FileServer, ranges: bool
) -> None:
    servers = iter([replace(before, cuts=iter([50_000])), replace(after, ranges=ranges)])

    async def script(exchange: Exchange) -> None:
        await next(servers)(exchange)

    async with origin(script) as upstream:
        received, error = await read_until_it_fails(remote(upstream, client))

        assert isinstance(error, UpstreamBroken)
        assert FILE.startswith(received)
        assert len(upstream.exchanges) == 2


async def test_what_is_gone_is_not_asked_for_again(client: Client) -> None:
    servers = iter([FileServer(FILE, cuts=iter([50_000]))])

    async def script(exchange: Exchange) -> None:
        if server := next(servers, None):
            await server(exchange)
        else:
            await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async with origin(script) as upstream:
        _, error = await read_until_it_fails(remote(upstream, client))

        assert isinstance(error, UpstreamRefused)
        assert len(upstream.exchanges) == 2


async def test_a_provider_who_is_busy_for_a_moment_is_asked_again(client: Client) -> None:
    server = FileServer(FILE, cuts=iter([50_000]))

    async def script(exchange: Exchange) -> None:
        if len(upstream.exchanges) == 2:
            await exchange.send(b"HTTP/1.1 403 Too Many Connections\r\nContent-Length: 0\r\n\r\n")
        else:
            await server(exchange)

    async with origin(script) as upstream:
        assert digest(await read(remote(upstream, client))) == digest(FILE)


async def test_connections_that_bring_nothing_are_not_tried_for_ever(client: Client) -> None:
    async with origin(FileServer(FILE, cuts=iter([100_000, *[0] * 20]))) as upstream:
        received, _ = await read_until_it_fails(remote(upstream, client))

        assert FILE.startswith(received)
        assert len(upstream.exchanges) == 1 + 5


async def test_connections_that_bring_something_are_tried_as_often_as_it_takes(client: Client) -> None:
    async with origin(FileServer(noise(4_000_000), cuts=iter([200_000] * 19))) as upstream:
        received = await read(remote(upstream, client))

        assert digest(received) == digest(noise(4_000_000))
        assert len(upstream.exchanges) >= 19


async def test_what_fails_at_once_fails_at_once(client: Client) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    async with origin(refuse) as upstream:
        with pytest.raises(UpstreamRefused):
            await read(remote(upstream, client))
        assert len(upstream.exchanges) == 1


async def test_silence_in_the_middle_is_a_loss_like_any_other(client: Client) -> None:
    server = FileServer(FILE)

    async def script(exchange: Exchange) -> None:
        if len(upstream.exchanges) == 1:
            head = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 300000\r\n\r\n'
            await exchange.send(head + FILE[:1000])
            await asyncio.Event().wait()
        else:
            await server(exchange)

    async with origin(script) as upstream:
        assert digest(await read(remote(upstream, client, stall_timeout=0.2))) == digest(FILE)


async def test_a_server_that_gives_less_at_a_time_is_asked_for_the_rest(client: Client) -> None:
    async with origin(FileServer(FILE, most=70_000)) as upstream:
        async with remote(upstream, client).open(ByteRange(5, None)) as reading:
            assert reading.span == Span(5, 299_999)
            received = b"".join([piece async for piece in reading])

        assert digest(received) == digest(FILE[5:])
        assert len(upstream.exchanges) == 5


@pytest.mark.parametrize("size", ["1000", "*"])
@pytest.mark.parametrize(
    ("part", "length"),
    [
        ("", 100),
        ("nonsense", 100),
        ("bytes 0-99/SIZE", 100),
        ("bytes 101-199/SIZE", 99),
        ("bytes 100-250/SIZE", 151),
        ("bytes 100-199/150", 100),
        ("bytes 100-199/SIZE", 99),
        ("bytes 199-100/SIZE", 100),
        ("bytes */SIZE", 100),
    ],
)
async def test_a_part_that_is_not_the_one_asked_for_is_refused(
    client: Client, part: str, length: int, size: str
) -> None:
    async def script(exchange: Exchange) -> None:
        lines = f"Content-Range: {part.replace('SIZE', size)}\r\nContent-Length: {length}\r\n\r\n"
        await exchange.send(b"HTTP/1.1 206 Partial Content\r\n" + lines.encode() + bytes(length))

    async with origin(script) as upstream:
        with pytest.raises(UpstreamBroken, match="another range"):
            await read(remote(upstream, client), ByteRange(100, 199))


async def test_a_part_of_a_file_of_unknown_size_is_resumed_too(client: Client) -> None:
    server = FileServer(FILE, {"ETag": '"v1"', "Content-Range": "bytes 100-199/*"}, cuts=iter([50]))

    async def script(exchange: Exchange) -> None:
        if len(upstream.exchanges) > 1:
            server.headers["Content-Range"] = exchange.headers["Range"].replace("=", " ") + "/*"
        await server(exchange)

    async with origin(script) as upstream:
        async with remote(upstream, client).open(ByteRange(100, 199)) as reading:
            assert (reading.span, reading.facts.size) == (Span(100, 199), None)
            assert b"".join([piece async for piece in reading]) == FILE[100:200]
        assert len(upstream.exchanges) == 2


async def test_a_part_of_what_cannot_be_identified_is_not_resumed(client: Client) -> None:
    async with origin(FileServer(FILE, {"Content-Range": "bytes 100-199/*"}, cuts=iter([50]))) as upstream:
        received = bytearray()
        async with remote(upstream, client).open(ByteRange(100, 199)) as reading:
            received += await anext(reading)
            with pytest.raises(UpstreamBroken):
                await anext(reading)

        assert FILE[100:200].startswith(received)
        assert len(upstream.exchanges) == 1


async def test_a_whole_file_in_answer_to_no_range_may_not_be_a_part(client: Client) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\n0123456789"
        )

    async with origin(script) as upstream:
        with pytest.raises(UpstreamBroken, match="another range"):
            await read(remote(upstream, client))


@pytest.mark.parametrize("wanted", [ByteRange(300_000, None), ByteRange(10**18, None), ByteRange(None, 0)])
async def test_where_the_file_has_nothing_its_size_is_told(client: Client, wanted: ByteRange) -> None:
    async with origin(FileServer(FILE, ranges=wanted.first != 10**18)) as upstream:
        with pytest.raises(RangeNotSatisfiable) as failure:
            await read(remote(upstream, client), wanted)
        assert failure.value.size == 300_000


async def test_a_server_that_denies_what_it_has_is_broken(client: Client) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 416 No\r\nContent-Range: bytes */1000\r\nContent-Length: 0\r\n\r\n")

    async with origin(script) as upstream:
        with pytest.raises(UpstreamBroken):
            await read(remote(upstream, client), ByteRange(999, None))
        with pytest.raises(RangeNotSatisfiable):
            await read(remote(upstream, client), ByteRange(1000, None))
        with pytest.raises(UpstreamRefused):
            await read(remote(upstream, client))


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        (200_000_000, ByteRange((64 << 20) + 1, None)),
        (200_000_000, ByteRange(None, 5)),
        (None, ByteRange(1, None)),
        (None, ByteRange(None, 5)),
    ],
)
async def test_a_place_too_far_from_the_beginning_is_not_waited_for(
    client: Client, length: int | None, wanted: ByteRange
) -> None:
    async def script(exchange: Exchange) -> None:
        told = f"Content-Length: {length}\r\n" if length else ""
        await exchange.send(f"HTTP/1.1 200 OK\r\n{told}\r\n".encode() + FILE)

    async with origin(script) as upstream:
        with pytest.raises(UpstreamBroken, match="cannot send a part"):
            await read(remote(upstream, client), wanted)


async def test_a_place_that_is_never_reached_is_an_error_before_anything_is_there(client: Client) -> None:
    async with origin(FileServer(FILE, ranges=False, cuts=iter([70_000] * 20))) as upstream:
        with pytest.raises(UpstreamBroken):
            await remote(upstream, client).open(ByteRange(200_000, None)).__aenter__()
        assert len(upstream.exchanges) == 6


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_file_without_length_is_read_to_its_end(client: Client, chunked: bool) -> None:
    async with origin(FileServer(FILE, length=False, chunked=chunked)) as upstream:
        for wanted in (None, ByteRange(0, None), ByteRange(0, 99)):
            upstream.exchanges.clear()
            file = remote(upstream, client)
            server_knows_ranges = wanted is not None
            async with file.open(wanted) as reading:
                received = b"".join([piece async for piece in reading])
            assert digest(received) == digest(FILE[:100] if wanted == (0, 99) else FILE)
            assert (reading.span is not None) is server_knows_ranges


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_file_without_length_that_is_reset_is_not_taken_for_complete(client: Client, chunked: bool) -> None:
    server = FileServer(FILE, length=False, chunked=chunked, cuts=iter([100_000]), reset=True)
    async with origin(server) as upstream:
        received, error = await read_until_it_fails(remote(upstream, client))

        assert FILE.startswith(received)
        assert isinstance(error, UpstreamBroken)
        assert len(upstream.exchanges) == 1


@pytest.mark.parametrize(
    ("headers", "body", "error"),
    [
        ("Content-Encoding: gzip\r\n", b"\x1f\x8b123", UpstreamBroken),
        ("Content-Type: text/html\r\n", b"<html>Account expired</html>", UpstreamNotMedia),
        ("Content-Type: video/mp4\r\n", b' {"error": "expired"}', UpstreamNotMedia),
        ("", b"", UpstreamNotMedia),
    ],
)
@pytest.mark.parametrize("length", [True, False])
async def test_what_is_no_file_is_not_passed_on(
    client: Client, headers: str, body: bytes, error: type[UpstreamError], length: bool
) -> None:
    async def script(exchange: Exchange) -> None:
        told = f"Content-Length: {len(body)}\r\n" if length else ""
        await exchange.send(f"HTTP/1.1 200 OK\r\n{headers}{told}\r\n".encode() + body)

    async with origin(script) as upstream:
        for wanted in (None, ByteRange(0, None)):
            with pytest.raises(error):
                await read(remote(upstream, client), wanted)
        assert len(upstream.exchanges) == 2


async def test_a_playlist_that_was_taken_for_a_file_is_told_from_a_page(client: Client) -> None:
    for data, kind in ((b"#EXTM3U\n#EXTINF:6,\n1.ts\n", StreamKind.HLS), (b"<html>", StreamKind.PAGE)):
        async with origin(FileServer(data)) as upstream:
            with pytest.raises(UpstreamNotMedia) as failure:
                await read(remote(upstream, client))
            assert failure.value.kind is kind


async def test_a_connection_is_not_held_while_nobody_reads(client: Client) -> None:
    data = noise(20_000_000)
    async with origin(FileServer(data)) as upstream:
        async with remote(upstream, client, idle_timeout=0.2).open() as reading:
            received = await anext(reading)
            await upstream.until(lambda seen: not seen.open["/film.mp4"])
            paused_at = len(received)
            received += b"".join([piece async for piece in reading])

        assert digest(received) == digest(data)
        assert len(upstream.exchanges) == 2
        assert upstream.exchanges[1].headers["Range"] == f"bytes={paused_at}-19999999"
        assert upstream.exchanges[1].headers["If-Range"] == '"v1"'


async def test_pauses_are_no_failures(client: Client) -> None:
    async def script(exchange: Exchange) -> None:
        first = int(exchange.headers["Range"].removeprefix("bytes=").removesuffix("-299999") or 0)
        told = f'ETag: "v1"\r\nContent-Range: bytes {first}-299999/300000\r\nContent-Length: {300_000 - first}\r\n\r\n'
        await exchange.send(f"HTTP/1.1 206 Partial Content\r\n{told}".encode() + FILE[first : first + 1000])
        await asyncio.Event().wait()

    async with origin(script) as upstream:
        received = bytearray()
        async with remote(upstream, client, idle_timeout=0.02).open(ByteRange(0, 299_999)) as reading:
            for _ in range(10):
                received += await anext(reading)
                await upstream.until(lambda seen: not seen.open["/film.mp4"])

        assert FILE.startswith(received)
        assert len(received) == 10_000
        assert len(upstream.exchanges) == 10


async def test_a_connection_that_could_not_be_replaced_is_held(client: Client) -> None:
    data = noise(20_000_000)
    server = FileServer(data, length=False)
    async with origin(server) as upstream:
        async with remote(upstream, client, idle_timeout=0.02).open() as reading:
            received = bytearray(await anext(reading))
            await server.waiting.wait()
            received += b"".join([piece async for piece in reading])

        assert digest(bytes(received)) == digest(data)
        assert len(upstream.exchanges) == 1


async def test_who_stops_reading_leaves_no_connection_behind(client: Client) -> None:
    async with origin(FileServer(noise(20_000_000))) as upstream:
        async with remote(upstream, client).open() as reading:
            await anext(reading)
            assert upstream.open["/film.mp4"] == 1
        await upstream.until(lambda seen: not seen.open["/film.mp4"], within=0.5)


async def test_a_file_is_described_without_being_read(client: Client) -> None:
    server = FileServer(FILE, {"Content-Type": "video/webm", "Last-Modified": MODIFIED})
    async with origin(server) as upstream:
        facts = await remote(upstream, client).describe()

        assert (facts.size, facts.content_type, facts.offers_ranges) == (300_000, "video/webm", True)
        assert facts.validators.last_modified == MODIFIED
        assert [one.raw.split(b" ")[0] for one in upstream.exchanges] == [b"HEAD"]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n",
        b"",
        None,
    ],
)
async def test_where_head_is_not_answered_well_one_byte_is_asked_for(head: bytes | None) -> None:
    server = FileServer(FILE)

    async def script(exchange: Exchange) -> None:
        if not exchange.raw.startswith(b"HEAD "):
            await server(exchange)
        elif head is None:
            await asyncio.Event().wait()
        else:
            await exchange.send(head)

    async with origin(script) as upstream, Client(OptionsConfig(timeout=0.2)) as client:
        facts = await remote(upstream, client).describe()

        assert (facts.size, facts.content_type, facts.seekable) == (300_000, "video/mp4", True)
        assert upstream.exchanges[-1].headers["Range"] == "bytes=0-0"
        assert server.sent == 1


async def test_an_address_that_leads_nowhere_is_asked_for_once(client: Client) -> None:
    async with origin() as upstream:
        file = remote(upstream, client)
    with pytest.raises(UpstreamError):
        await file.describe()
