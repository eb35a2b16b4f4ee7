"""What HLS readers get wrong, case by case, each over a real socket; beside what `test_hls.py` shows."""

import asyncio
import gc
import gzip
import os
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from streamproxy.errors import UpstreamError, UpstreamNotMedia, UpstreamUnreachable
from streamproxy.formats.hls.model import MediaSegment
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import (
    SEGMENT,
    Answer,
    HlsOrigin,
    Jumps,
    Recorder,
    cut,
    gated,
    hls_origin,
    media,
    moved,
    numbers,
    reply,
    segment,
    whole,
)
from tests.helpers.hls_source import (
    KEY,
    KEY_TAG,
    LIVE,
    MASTER,
    answered,
    asked_for,
    encrypted,
    film,
    live,
    multivariant,
    names,
    opened,
    play,
    running,
    serve_segments,
    source_of,
)
from tests.helpers.origin import OK, Exchange, Origin
from tests.helpers.stream import PACKET
from tests.helpers.tls import certify, showing

SIZE = SEGMENT * PACKET
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as running:
        yield running


def reasons(logs: list[structlog.typing.EventDict], event: str) -> list[str]:
    return [entry["reason"] for entry in logs if entry["event"] == event]


# Segments in order


@pytest.mark.parametrize("lag", [1, 2, 3])
@pytest.mark.parametrize("first", [5, None], ids=["numbered", "without numbers"])
async def test_a_node_that_steps_back_and_recovers_is_no_new_beginning(
    origin: HlsOrigin, lag: int, first: int | None
) -> None:
    def load(begin: int, *, ended: bool = False) -> str:
        return media(names(begin, 5), first=None if first is None else begin, ended=ended)

    serve_segments(origin)
    origin.serve(LIVE, load(5), load(6), load(6 - lag), load(7), load(7 - lag), load(8, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [7, 8, 9, 10, 11, 12]
    assert logs == []


async def test_a_node_that_lags_behind_by_all_that_it_lists_is_no_new_beginning(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(9), live(6), live(10), live(7), live(11, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [9, 10, 11, 12, 13]
    assert logs == []


async def test_numbers_that_begin_anew_are_marked_and_nothing_is_lost_after(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(
        LIVE,
        media(names(0, 3), first=5005),
        media(names(1, 3), first=5006),
        media(["10.ts"]),
        media(names(10, 2)),
        media(names(10, 4), ended=True),
    )
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert [entry["event"] for entry in logs] == ["playlist_began_anew"]


async def test_one_uri_under_a_new_number_each_time_is_fetched_once_for_each(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve("/now.ts", *map(segment, range(6)))
    listed = [f"#EXTINF:4,\nnow.ts?v={number}" for number in range(6)]
    for number in range(6):
        origin.serve(f"/now.ts?v={number}", segment(number))
    origin.serve(
        LIVE, *(media(listed[first : first + 3], first=first) for first in range(3)), media(listed, ended=True)
    )
    assert numbers(await play(origin)) == [0, 1, 2, 3, 4, 5]
    assert len(origin.paths) == 4 + 6


async def test_of_a_window_of_ten_thousand_segments_no_more_is_kept_than_two_loads(origin: HlsOrigin) -> None:
    kept = []

    def load(begin: int, *, ended: bool = False) -> Answer:
        async def answer(exchange: Exchange) -> None:
            gc.collect()
            kept.append(sum(isinstance(each, MediaSegment) for each in gc.get_objects()))
            await reply(exchange, live(begin, 10_000, ended=ended).encode())

        return answer

    serve_segments(origin, 9997, 9)
    origin.serve(LIVE, *(load(first) for first in range(5)), load(5, ended=True))
    assert numbers(await play(origin)) == list(range(9997, 10_005))
    assert asked_for(origin) == list(range(9997, 10_005))
    assert max(kept[1:]) <= 20_200


async def test_a_window_that_grows_to_hours_and_is_missed_is_joined_at_its_end(origin: HlsOrigin) -> None:
    serve_segments(origin, 0, 3)
    serve_segments(origin, 90_997, 4)
    origin.serve(LIVE, live(0), live(81_000, 10_000), live(81_001, 10_000, ended=True))
    assert numbers(await play(origin)) == [0, 1, 2, 90_997, 90_998, 90_999, 91_000]


# Low latency, gaps and variables


def low_latency(first: int, count: int, *, ended: bool = False) -> str:
    """List whole segments with the parts they are made of, and behind them a segment that is not whole yet."""
    head = "\n".join(
        [
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=24.0",
            "#EXT-X-PART-INF:PART-TARGET=1",
        ]
    )
    listed = []
    for number in range(first, first + count):
        parts = [f'#EXT-X-PART:DURATION=1,URI="{number}.{part}.part"' for part in range(4)]
        listed.append("\n".join([*parts, f"#EXTINF:4,\n{number}.ts"]))
    following = first + count
    tail = [
        f'#EXT-X-PART:DURATION=1,URI="{following}.0.part",INDEPENDENT=YES',
        f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{following}.1.part"',
        f'#EXT-X-RENDITION-REPORT:URI="other.m3u8",LAST-MSN={following}',
    ]
    return media(listed, first=first, more=head) + "\n".join([*tail, *["#EXT-X-ENDLIST"] * ended, ""])


async def test_of_a_low_latency_playlist_whole_segments_are_played_and_nothing_is_asked_to_block(
    origin: HlsOrigin,
) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, low_latency(0, 4), low_latency(1, 4), low_latency(1, 4), low_latency(2, 4, ended=True))
    assert numbers(await play(origin, time=time)) == [1, 2, 3, 4, 5]
    assert set(origin.paths) == {LIVE, *(f"/{number}.ts" for number in range(1, 6))}
    # At the pace of segments, not of parts.
    assert time.waits == [4, 4, 2]


async def test_a_delta_update_that_nobody_asked_for_costs_one_load(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0), live(0, 6, more="#EXT-X-SKIP:SKIPPED-SEGMENTS=3"), live(1, 4, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 1, 2, 3, 4]
    assert "delta update" in reasons(logs, "playlist_not_loaded")[0]


async def test_a_gap_that_a_live_stream_lists_is_passed_over_and_no_reason_to_wait(origin: HlsOrigin) -> None:
    serve_segments(origin)
    gap = "#EXTINF:4,\n#EXT-X-GAP\n{}.ts"
    origin.serve(
        LIVE,
        live(0),
        media(["1.ts", "2.ts", gap.format(3)], first=1),
        media(["2.ts", gap.format(3), gap.format(4)], first=2),
        media([gap.format(4), "5.ts", "6.ts"], first=4, ended=True),
    )
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 1, 2, 5, 6]
    assert asked_for(origin) == [0, 1, 2, 5, 6]
    assert logs == []


async def test_variables_of_the_query_are_those_of_where_a_redirect_led(origin: HlsOrigin) -> None:
    more = '#EXT-X-DEFINE:QUERYPARAM="token"\n#EXT-X-KEY:METHOD=AES-128,URI="/key?{$token}"'
    origin.serve(f"{LIVE}?token=old", moved("/elsewhere/x.m3u8?token=n%65w"))
    listed = [f"/{{$token}}/{number}.ts" for number in range(3)]
    origin.serve("/elsewhere/x.m3u8?token=n%65w", media(listed[:2], more=more), media(listed, more=more, ended=True))
    origin.serve("/key?new", KEY)
    for number in range(3):
        origin.serve(f"/new/{number}.ts", encrypted(segment(number), sequence=number))
    assert numbers(await play(origin, f"{LIVE}?token=old")) == [0, 1, 2]


async def test_a_variable_that_nobody_defined_makes_a_playlist_unusable_and_is_named(origin: HlsOrigin) -> None:
    origin.serve(LIVE, media(["{$nobody}/0.ts"]))
    with pytest.raises(UpstreamNotMedia, match="'nobody' is not defined"):
        await play(origin)
    assert origin.paths == [LIVE]


# Parts of files


async def test_parts_that_follow_on_each_other_are_fetched_side_by_side(origin: HlsOrigin) -> None:
    gates = [asyncio.Event() for _ in range(8)]
    file = b"".join(map(segment, range(8)))

    async def answer(exchange: Exchange) -> None:
        first = int(exchange.headers["Range"].removeprefix("bytes=").partition("-")[0])
        await gates[first // SIZE].wait()
        await reply(exchange, file)

    origin.serve("/all.ts", answer)
    listed = [f"#EXTINF:4,\n#EXT-X-BYTERANGE:{SIZE}{'' if number else '@0'}\nall.ts" for number in range(8)]
    origin.serve(LIVE, media(listed, ended=True))
    async with running(origin, threads=4) as sink:
        await origin.socket.until(lambda seen: seen.open["/all.ts"] == 4)
        for gate in reversed(gates):
            gate.set()
        await sink.holds(len(file))
    assert numbers(sink.data) == list(range(8))
    asked = {exchange.headers["Range"] for exchange in origin.requests("/all.ts")}
    assert asked == {f"bytes={SIZE * number}-{SIZE * (number + 1) - 1}" for number in range(8)}
    assert origin.socket.peak["/all.ts"] == 4


async def test_a_part_may_be_of_another_file_on_another_host_that_is_redirected(origin: HlsOrigin) -> None:
    async with hls_origin() as other:
        other.serve("/real.ts", b"".join(map(segment, range(4))))
        origin.serve("/all.ts", moved(other.url("/real.ts")))
        origin.serve(LIVE, media([f"#EXTINF:4,\n#EXT-X-BYTERANGE:{SIZE}@{SIZE * 2}\nall.ts"], ended=True))
        assert numbers(await play(origin)) == [2]
        assert other.requests("/real.ts")[0].headers["Range"] == f"bytes={SIZE * 2}-{SIZE * 3 - 1}"


async def test_a_part_that_is_cut_and_then_answered_with_the_whole_file_is_still_right(origin: HlsOrigin) -> None:
    file = b"".join(map(segment, range(4)))
    origin.serve("/all.ts", cut(file, 1000), whole(file))
    origin.serve(LIVE, media([f"#EXTINF:4,\n#EXT-X-BYTERANGE:{SIZE}@{SIZE}\nall.ts"], ended=True))
    assert numbers(await play(origin)) == [1]


async def test_a_header_that_is_a_part_without_an_offset_begins_its_file(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve("/tables.ts", segment(9) + segment(10))
    origin.serve(LIVE, film(2, more=f'#EXT-X-MAP:URI="tables.ts",BYTERANGE="{SIZE}"'))
    sink = Recorder()
    async with source_of(origin) as source:
        await source.run(sink)
        assert numbers(source.format.header) == [9]
    assert numbers(sink.data) == [0, 1]
    assert origin.requests("/tables.ts")[0].headers["Range"] == f"bytes=0-{SIZE - 1}"


# Encryption


async def test_keys_that_change_with_each_segment_are_fetched_side_by_side_too(origin: HlsOrigin) -> None:
    gates, listed = [asyncio.Event() for _ in range(8)], []
    for number, gate in enumerate(gates):
        key = bytes([number + 1]) * 16
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=number, key=key))
        origin.serve(f"/key{number}", gated(gate, key))
        listed.append(f'#EXT-X-KEY:METHOD=AES-128,URI="/key{number}"\n#EXTINF:4,\n{number}.ts')
    origin.serve(LIVE, media(listed, ended=True))
    async with running(origin, threads=4) as sink:
        await opened(origin, "/key0", "/key1", "/key2", "/key3")
        for number in (3, 2, 1):
            gates[number].set()
            await answered(origin, f"/{number}.ts")
        assert sink.data == b""
        gates[0].set()
        await sink.holds(4 * SIZE)
        assert numbers(sink.data) == [0, 1, 2, 3]
        await opened(origin, "/key4", "/key5", "/key6", "/key7")
        for gate in gates:
            gate.set()
        await sink.holds(8 * SIZE)
    assert numbers(sink.data) == list(range(8))
    assert max(origin.socket.total.values()) == 1


async def test_of_the_headers_of_a_channel_a_key_on_another_host_gets_none_that_are_secret(origin: HlsOrigin) -> None:
    async with hls_origin() as other:
        other.serve("/key", KEY)
        origin.serve("/key", moved(other.url("/key")))
        origin.serve("/0.ts", encrypted(segment(0)))
        origin.serve(LIVE, film(1, more=KEY_TAG))
        assert numbers(
            await play(origin, headers={"Authorization": "Basic c2VjcmV0", "Referer": "http://portal/"})
        ) == [0]
        (asked,) = other.requests("/key")
        assert (asked.headers.get("Authorization"), asked.headers["Referer"]) == (None, "http://portal/")


async def test_a_key_that_fails_once_costs_nothing_and_one_that_stays_away_costs_its_segments(
    origin: HlsOrigin,
) -> None:
    for number in range(5):
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=number))
    origin.serve("/key", 503, KEY)
    origin.serve("/lost", 404)
    listed = [
        f'#EXT-X-KEY:METHOD=AES-128,URI="/{name}"\n#EXTINF:4,\n{number}.ts'
        for number, name in enumerate(["key", "lost", "key", "lost", "key"])
    ]
    origin.serve(LIVE, media(listed, ended=True))
    assert numbers(await play(origin)) == [0, 2, 4]


async def test_what_is_encrypted_and_read_as_if_it_were_not_is_never_written(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve("/1.ts", encrypted(segment(1), sequence=1))
    origin.serve(LIVE, film(3))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 2]
    assert "neither MPEG-TS nor fragmented MP4" in reasons(logs, "segment_skipped")[0]


# Schemes and hosts


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "FILE:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "data:,x", "rtmp://h/x"],
)
async def test_a_redirect_to_another_scheme_is_not_followed_and_the_stream_goes_on(
    origin: HlsOrigin, location: str
) -> None:
    serve_segments(origin)
    for path in ("/1.ts", "/key", "/header.ts"):
        origin.serve(path, moved(location))
    listed = [
        "0.ts",
        "1.ts",
        "2.ts",
        f"{KEY_TAG}\n#EXTINF:4,\n3.ts",
        "#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\n4.ts",
        '#EXT-X-MAP:URI="header.ts"\n#EXTINF:4,\n5.ts',
    ]
    origin.serve(LIVE, live(0), moved(location), media(listed, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 2, 4]
    assert reasons(logs, "playlist_not_loaded") == ["the upstream's address is not an http or https URL"]
    assert len(reasons(logs, "segment_skipped")) == 3

    origin.serve(MASTER, moved(location))
    with pytest.raises(UpstreamUnreachable, match="not an http or https URL"):
        await play(origin, MASTER)


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "pipe:0", "concat:/etc/passwd|/etc/group", "unix:///run/x", "crypto:/etc/x"]
)
async def test_an_address_of_another_scheme_costs_its_segment_and_is_called_that(
    origin: HlsOrigin, address: str
) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0), media(["1.ts", "2.ts", address, "4.ts"], first=1, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 1, 2, 4]
    assert reasons(logs, "segment_skipped") == ["a segment cannot be fetched: its address is not one of http or https"]
    assert address not in repr(logs)


@asynccontextmanager
async def over_tls(plain: Origin, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """Serve an origin over TLS as well; give the port, and the file of the certificate to trust."""
    certificate = certify(folder / "certificate.pem")
    server = await asyncio.start_server(plain.answer, "127.0.0.1", 0, ssl=showing(certificate))
    async with server:
        yield server.sockets[0].getsockname()[1], certificate


PLAYER = """
import asyncio, sys
from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.hls import HlsSource

class Output:
    full = False

    def write(self, data):
        with open(sys.argv[2], "ab") as file:
            file.write(data)

    async def drain(self):
        pass

async def main():
    options = OptionsConfig(timeout=5)
    async with Client(options) as client:
        await HlsSource(Upstream(sys.argv[1], "tv"), client, options, RelayConfig()).run(Output())

asyncio.run(main())
"""


@pytest.mark.parametrize("secure", [True, False], ids=["from https to http", "from http to https"])
async def test_a_playlist_may_name_what_is_at_the_other_of_http_and_https_but_no_file(
    origin: HlsOrigin, tmp_path: Path, secure: bool
) -> None:
    for number in range(8):
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=number) if number > 4 else segment(number))
    origin.serve("/key", KEY)
    async with over_tls(origin.socket, tmp_path) as (port, certificate):
        here, there = f"https://127.0.0.1:{port}", origin.url("")
        if not secure:
            here, there = there, here
        origin.serve("/moved.ts", moved(f"{there}/2.ts"))
        listed = ["0.ts", f"{there}/1.ts", "moved.ts", "file:///etc/hostname", "4.ts"]
        origin.serve(
            LIVE, media([*listed, f'#EXT-X-KEY:METHOD=AES-128,URI="{there}/key"\n#EXTINF:4,\n5.ts'], ended=True)
        )
        origin.serve(MASTER, multivariant(f"{there}{LIVE} BANDWIDTH=1"))
        for path in (LIVE, MASTER):
            output = tmp_path / path[1:]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PLAYER, here + path, str(output)),
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "SSL_CERT_FILE": str(certificate)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()
            # The multivariant playlist is here and its variant there, whose relative references stay there.
            assert numbers(output.read_bytes()) == [0, 1, 2, 4, 5]
            assert b"its address is not one of http or https" in said


# What is no playlist, and playlists that nobody would write in good faith

_LINE = "#EXTINF:4,\n0.ts\n"
UNUSABLE: dict[str, tuple[bytes, str]] = {
    "page": (b"<!DOCTYPE html><p>Your session has expired", "HTML"),
    "9 MB": (b"#EXTM3U\n" + b"#" + b"x" * 1000 + b"\n" * (9 << 20), "more than 8 MiB"),
    "9 MB in gzip": (gzip.compress(b"#EXTM3U\n" + b"\n" * (9 << 20), 1), "more than 8 MiB"),
    "long line": (b"#EXTM3U\n#EXTINF:4," + b"x" * (1 << 20) + b"\n0.ts\n", "a line of more than 1048576"),
    "a million segments": (("#EXTM3U\n" + "#EXTINF:1,\n0\n" * 600_000).encode(), "more than 100000 segments"),
    "a million lines": (b"#EXTM3U\n" + b"\n" * 1_000_000, "more than 500000 lines"),
    "ten thousand attributes": (b"#EXTM3U\n#EXT-X-MAP:" + b"A=1," * 10_000 + b"\n", "more than 1000 attributes"),
    "variables that grow": (
        "\n".join(
            ["#EXTM3U", '#EXT-X-DEFINE:NAME="v0",VALUE="' + "x" * 1000 + '"']
            + [f'#EXT-X-DEFINE:NAME="v{n + 1}",VALUE="{{$v{n}}}{{$v{n}}}"' for n in range(30)]
            + [_LINE]
        ).encode(),
        "variables that grow",
    ),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_a_playlist_that_is_none_is_refused_with_a_reason_and_one_in_between_costs_nothing(
    origin: HlsOrigin, name: str
) -> None:
    body, reason = UNUSABLE[name]
    serve_segments(origin)
    origin.serve(LIVE, body)
    with pytest.raises(UpstreamNotMedia, match=reason):
        await play(origin)
    assert asked_for(origin) == []

    origin.serve(LIVE, live(0), body, body, live(1, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 1, 2, 3]
    said = reasons(logs, "playlist_not_loaded")
    assert len(said) == 2
    assert all(reason in each for each in said)


async def test_a_playlist_that_leads_to_itself_in_the_end_is_refused_with_a_reason(origin: HlsOrigin) -> None:
    for here, there in (("a", "b"), ("b", "c"), ("c", "a")):
        origin.serve(f"/{here}.m3u8", multivariant(f"{there}.m3u8 BANDWIDTH=1"))
    with pytest.raises(UpstreamNotMedia, match="no stream that can be played"):
        await play(origin, "/a.m3u8")
    assert len(origin.paths) == 3


async def test_a_variant_of_key_frames_only_is_passed_over(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(MASTER, multivariant("a.m3u8 BANDWIDTH=2", "live.m3u8 BANDWIDTH=1"))
    origin.serve("/a.m3u8", media(names(5, 3), more="#EXT-X-I-FRAMES-ONLY", ended=True))
    origin.serve(LIVE, film(3))
    assert numbers(await play(origin, MASTER)) == [0, 1, 2]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
async def test_a_playlist_that_says_it_is_packed_is_unpacked_once(origin: HlsOrigin, coding: str) -> None:
    def packed(text: str) -> Answer:
        body = gzip.compress(text.encode())
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"

        async def answer(exchange: Exchange) -> None:
            await exchange.send(head.encode() + body)

        return answer

    serve_segments(origin)
    origin.serve(LIVE, packed(live(0)), packed(live(1, ended=True)))
    assert numbers(await play(origin)) == [0, 1, 2, 3]


async def test_what_is_sloppily_written_is_played(origin: HlsOrigin) -> None:
    serve_segments(origin)
    for number in (3, 4):
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=7 + number))
    origin.serve("/key", KEY)
    origin.serve(
        LIVE,
        "\r\n".join(
            [
                "\ufeff#EXTM3U  ",
                "#EXT-X-TARGETDURATION: 4.4",
                '#EXT-X-MEDIA-SEQUENCE:"7"',
                "#EXTINF:4",
                "  0.ts  ",
                "#EXTINF: 4.0,",
                "1.ts",
                "#EXTINF:,title, with, commas",
                "",
                "2.ts",
                '#EXT-X-KEY: METHOD = AES-128 URI = "/key" , KEYFORMAT=identity',
                "#EXTINF:-1 tvg-id=x,title",
                "3.ts",
                "#EXTINF:",
                "#EXT-X-PROGRAM-DATE-TIME:not a date",
                '#EXT-X-DATERANGE:ID="1",START-DATE="2026-13-45",END-DATE=',
                "4.ts",
                '#EXT-X-KEY:method="NONE"',
                "#EXTINF:4,",
                "5.ts",
                "#EXT-X-ENDLIST   ",
            ]
        ),
    )
    assert numbers(await play(origin)) == [0, 1, 2, 3, 4, 5]


# Variants


async def test_variants_of_one_name_and_without_a_bandwidth_are_all_tried(origin: HlsOrigin) -> None:
    serve_segments(origin)
    resolution = "RESOLUTION=1280x720"
    origin.serve(
        MASTER,
        multivariant(
            f'a.m3u8 BANDWIDTH=0,{resolution},NAME="HD"',
            f'b.m3u8 {resolution},NAME="HD"',
            f"c.m3u8 BANDWIDTH=much,{resolution},FRAME-RATE=x",
            f'd.m3u8 AVERAGE-BANDWIDTH=9,{resolution},NAME="HD"',
        ),
    )
    origin.serve("/c.m3u8", film(3))
    assert numbers(await play(origin, MASTER)) == [0, 1, 2]
    assert set(origin.paths) >= {MASTER, "/c.m3u8"}


async def test_a_variant_whose_first_segment_is_gone_is_played_from_its_second(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(MASTER, multivariant("a.m3u8 BANDWIDTH=2", "b.m3u8 BANDWIDTH=1"))
    origin.serve("/0.ts", 404)
    origin.serve("/a.m3u8", film(3))
    assert numbers(await play(origin, MASTER)) == [1, 2]


async def test_a_variant_beside_its_sound_in_many_languages_is_played_where_one_is_in_it(origin: HlsOrigin) -> None:
    serve_segments(origin)
    sounds = [
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="{name}",LANGUAGE="{language}"{more}'
        for name, language, more in [
            ("English", "en", ",DEFAULT=YES"),
            ("Deutsch", "deu", ',URI="de.m3u8"'),
            ("?", "qaa-x-private", ',URI="x.m3u8"'),
            ("", "not a language", ',URI="y.m3u8"'),
        ]
    ]
    origin.serve(MASTER, multivariant('live.m3u8 BANDWIDTH=1,AUDIO="a"', more="\n".join(sounds)))
    origin.serve(LIVE, film(2))
    assert numbers(await play(origin, MASTER)) == [0, 1]
    assert origin.paths[:2] == [MASTER, LIVE]


# Segments that are no segments


def damaged(name: str) -> bytes:
    return {
        "page": b"<html><body>Payment required</body></html>",
        "empty": b"",
        "playlist": film(3).encode(),
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(5000),
        "text": b"Not now\n" * 500,
    }[name]


@pytest.mark.parametrize("name", ["page", "empty", "playlist", "picture", "text"])
async def test_what_a_live_stream_has_in_place_of_a_segment_or_a_header_is_left_out(
    origin: HlsOrigin, name: str
) -> None:
    serve_segments(origin)
    origin.serve("/1.ts", damaged(name))
    origin.serve("/header.ts", damaged(name))
    with_header = '#EXT-X-MAP:URI="header.ts"\n#EXTINF:4,\n4.ts'
    origin.serve(LIVE, live(0, 4), media(["3.ts", with_header], first=3), live(3, 4, ended=True))
    with structlog.testing.capture_logs() as logs:
        found = numbers(await play(origin))
    assert found in ([2, 3, 5, 6], [2, 3, 4, 5, 6])
    assert len(reasons(logs, "segment_skipped")) == 6 - len(found)


async def test_a_header_that_is_too_large_costs_its_segments(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve("/header.ts", segment(9, (1 << 20) // PACKET + 1))
    listed = ["0.ts", '#EXT-X-MAP:URI="header.ts"\n#EXTINF:4,\n1.ts']
    origin.serve(LIVE, media(listed, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0]
    assert "more than 1024 KiB" in reasons(logs, "segment_skipped")[0]
    assert len(origin.requests("/header.ts")) == 1


class Counter(Recorder):
    """A sink that keeps only the newest."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def write(self, data: bytes, /) -> None:
        self.size += len(data)
        self.chunks = [*self.chunks[-99:], data]


@pytest.mark.parametrize("key", ["", KEY_TAG], ids=["clear", "encrypted"])
async def test_a_segment_without_an_end_is_ended_at_64_MiB_and_the_stream_goes_on(  # noqa: N802
    origin: HlsOrigin, key: str
) -> None:
    sent = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(OK)
        # Of a stream in blocks of 16 each is what the same bytes would be anywhere else, so it never ends.
        piece = bytes(1 << 20) if key else segment(1, 5000)
        while True:
            await exchange.send(piece)
            sent += len(piece)

    serve_segments(origin)
    origin.serve("/1.ts", endless)
    origin.serve("/key", KEY)
    clear = "#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\n2.ts"
    origin.serve(LIVE, media(["0.ts", f"{key}\n#EXTINF:4,\n1.ts", clear], ended=True))
    sink = Counter()
    tracemalloc.start()
    try:
        async with source_of(origin, in_flight=1 << 20) as source:
            with structlog.testing.capture_logs() as logs:
                await source.run(sink)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert sink.size <= 65 << 20
    assert sent <= 80 << 20
    assert b"".join(sink.chunks).endswith(segment(2))
    assert len(reasons(logs, "segment_skipped")) == 1
    assert len(origin.requests("/1.ts")) == 1


async def test_a_failure_says_why_and_never_where(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve("/s3cr3t", b"abc")
    listed = ["0.ts", '#EXT-X-KEY:METHOD=AES-128,URI="/s3cr3t"\n#EXTINF:4,\n1.ts', "file:///s3cr3t"]
    listed.append('#EXT-X-KEY:METHOD=SAMPLE-AES,URI="/s3cr3t"\n#EXTINF:4,\n3.ts')
    origin.serve(LIVE, media(listed, ended=True))
    with structlog.testing.capture_logs() as logs, pytest.raises(UpstreamError) as caught:
        await play(origin)
    said = reasons(logs, "segment_skipped")
    assert [key in each for key, each in zip(["3 bytes", "http or https", "SAMPLE-AES"], said, strict=True)] == [
        True
    ] * 3
    assert "s3cr3t" not in repr(logs) + str(caught.value)
