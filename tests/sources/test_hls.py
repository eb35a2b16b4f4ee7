"""One HLS upstream as one stream, from an origin on a real socket that does what origins do."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.config import RelayConfig
from streamproxy.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamNotMedia,
    UpstreamRefused,
    UpstreamStalled,
)
from streamproxy.model import TRANSPORT_STREAM, StreamFormat
from streamproxy.sources.hls import HlsSource
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import (
    SEGMENT,
    Answer,
    HlsOrigin,
    Jumps,
    Recorder,
    cut,
    dropped,
    gated,
    hls_origin,
    media,
    moved,
    numbers,
    reply,
    segment,
    send,
    whole,
)
from tests.helpers.hls_source import (
    LIVE,
    asked_for,
    film,
    live,
    names,
    play_until_stalled,
    serve_segments,
    source_of,
)
from tests.helpers.origin import Exchange
from tests.helpers.stream import PACKET

SECRET = "s3cr3t-t0ken"
"""A canary: it stands in addresses, and must not show."""


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as running:
        yield running


@asynccontextmanager
async def running(origin: HlsOrigin, path: str = LIVE, **settings: Any) -> AsyncIterator[tuple[Recorder, HlsSource]]:
    """Play for as long as the block takes."""
    sink = Recorder()
    async with source_of(origin, path, **settings) as source:
        task = asyncio.create_task(source.run(sink))
        try:
            yield sink, source
        finally:
            task.cancel()
            await asyncio.wait([task])


async def play(origin: HlsOrigin, path: str = LIVE, **settings: Any) -> bytes:
    """Play to the end of the playlist; return what a viewer got who joined before."""
    sink = Joined()
    async with source_of(origin, path, **settings) as source:
        sink.source = source
        await source.run(sink)
    return sink.data


class Joined(Recorder):
    """A sink that keeps the header that the source has at its first write in front of what is written."""

    source: HlsSource

    def write(self, data: bytes, /) -> None:
        if not self.chunks and self.source.format.header:
            super().write(self.source.format.header)
        super().write(data)


# The playlist, from its first load to its end


async def test_what_has_ended_is_played_whole_and_each_thing_is_asked_for_once(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, film(12))
    assert numbers(await play(origin)) == list(range(12))
    assert asked_for(origin) == list(range(12))
    assert len(origin.requests(LIVE)) == 1


async def test_a_live_stream_begins_three_segments_from_its_end_and_those_before_are_not_asked_for(
    origin: HlsOrigin,
) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0, 8), live(2, 8), live(3, 8, ended=True))
    assert numbers(await play(origin)) == [5, 6, 7, 8, 9, 10]
    assert asked_for(origin) == [5, 6, 7, 8, 9, 10]


async def test_an_end_that_comes_with_nothing_new_ends_the_stream(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0), live(0), live(0, ended=True))
    assert numbers(await play(origin)) == [0, 1, 2]
    assert len(origin.requests(LIVE)) == 3


@pytest.mark.parametrize("missed", [1, 4])
async def test_missed_segments_are_reported_and_what_is_there_is_played(origin: HlsOrigin, missed: int) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0), live(3 + missed, 4, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 1, 2, *range(3 + missed, 7 + missed)]
    assert [entry["count"] for entry in logs if entry["event"] == "segments_missed"] == [missed]


async def test_a_playlist_without_numbers_slides(origin: HlsOrigin) -> None:
    serve_segments(origin)
    loads = [media(names(first, 3), first=None) for first in range(6)]
    origin.serve(LIVE, *loads, media(names(5, 3), first=None, ended=True))
    assert numbers(await play(origin)) == list(range(8))
    assert asked_for(origin) == list(range(8))


async def test_an_encoder_that_began_anew_is_followed(origin: HlsOrigin) -> None:
    serve_segments(origin)
    new = ["10.ts", "11.ts", "12.ts", "13.ts"]
    origin.serve(LIVE, live(5, 3).replace("SEQUENCE:5", "SEQUENCE:5005"), media(new[:3]), media(new, ended=True))
    assert numbers(await play(origin)) == [5, 6, 7, 10, 11, 12, 13]


async def test_a_node_that_lags_behind_changes_nothing(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, *(live(first, 4) for first in (4, 2, 5, 4, 3, 6, 3)), live(7, 4, ended=True))
    assert numbers(await play(origin)) == [5, 6, 7, 8, 9, 10]
    assert asked_for(origin) == [5, 6, 7, 8, 9, 10]


async def test_a_segment_under_another_number_is_not_played_again(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(
        LIVE, live(0), media(names(0, 3), first=1), media(names(0, 4), first=2), media(names(1, 4), ended=True)
    )
    assert numbers(await play(origin)) == [0, 1, 2, 3, 4]


async def test_a_window_of_hours_is_joined_at_its_end(origin: HlsOrigin) -> None:
    for number in range(9997, 10_002):
        origin.serve(f"/{number}.ts", segment(number))
    origin.serve(LIVE, live(0, 10_000), live(1, 10_000), live(2, 10_000, ended=True))
    assert numbers(await play(origin)) == [9997, 9998, 9999, 10_000, 10_001]


@pytest.mark.parametrize(("target", "seconds"), [(1, 5), (4, 12), (10, 30)])
async def test_a_playlist_that_brings_nothing_new_is_given_up_after_three_target_durations(
    origin: HlsOrigin, target: int, seconds: float
) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0, target=target))
    time = Jumps()
    assert numbers(await play_until_stalled(origin, time=time)) == [0, 1, 2]
    assert time.now == seconds


async def test_a_playlist_without_segments_is_waited_for(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, media([]), media([]), live(0, ended=True))
    assert numbers(await play(origin)) == [0, 1, 2]


async def test_a_playlist_that_ends_without_segments_is_an_error(origin: HlsOrigin) -> None:
    origin.serve(LIVE, media([], ended=True))
    with pytest.raises(UpstreamBroken, match="lists no segments"):
        await play(origin)


def takes(time: Jumps, seconds: float, answer: str) -> Answer:
    """Let so much time pass before an answer."""

    async def wait(exchange: Exchange) -> None:
        time.now += seconds
        await reply(exchange, answer.encode())

    return wait


async def test_the_playlist_is_loaded_after_a_target_duration_or_half_of_it_if_it_had_not_changed(
    origin: HlsOrigin,
) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, live(0), live(1), live(1), live(1), live(2), live(2, ended=True))
    await play(origin, time=time)
    assert time.waits == [4, 4, 2, 2, 4]


async def test_the_time_that_loading_takes_is_part_of_the_wait(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    loads = [
        takes(time, seconds, load)
        for seconds, load in [(1, live(0)), (1.5, live(1)), (9, live(2)), (0, live(3)), (0, live(3, ended=True))]
    ]
    origin.serve(LIVE, *loads)
    await play(origin, time=time)
    assert time.waits == [3, 2.5, 0, 4]


@pytest.mark.parametrize(
    "lie",
    [
        media(["#EXTINF:0,\n{0}.ts", "#EXTINF:0,\n{1}.ts"], target=0),
        media(["#EXTINF:0.000001,\n{0}.ts", "#EXTINF:0.000001,\n{1}.ts"], target=1),
        media(["#EXTINF:-1,\n{0}.ts", "#EXTINF:nan,\n{1}.ts"], target=None),
        media(["#EXTINF:1e9,\n{0}.ts", "#EXTINF:99999999999,\n{1}.ts"], target=10**9),
    ],
    ids=["zero", "tiny", "senseless", "huge"],
)
async def test_lies_about_durations_neither_hurry_nor_stop_it(origin: HlsOrigin, lie: str) -> None:
    serve_segments(origin, count=60)
    time, asked, load = Jumps(), [], 0

    async def answer(exchange: Exchange) -> None:
        nonlocal load
        asked.append(time.now)
        text = lie.replace("{0}", str(load)).replace("{1}", str(load + 1)).replace("CE:0", f"CE:{load}")
        load += 1
        await reply(exchange, (text + "#EXT-X-ENDLIST\n" * (load == 40)).encode())

    origin.serve(LIVE, answer)
    assert numbers(await play(origin, time=time)) == list(range(41))
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert min(pauses) >= 0.5
    assert max(pauses) <= 60


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE html><html>sign in</html>", "HTML"),
        (b'{"error": "no such stream"}', "JSON"),
        (b"", "empty"),
        (b"<?xml version='1.0'?><MPD></MPD>", "XML"),
        (b"0.ts\n1.ts\n", "#EXTM3U"),
        (segment(0), "#EXTM3U"),
        ("#EXTM3U\n".encode("utf-16"), "#EXTM3U"),
        (gzip.compress(bytes(100))[:20], "gzip"),
    ],
    ids=["page", "json", "empty", "dash", "no header", "segment", "utf-16", "half of gzip"],
)
async def test_what_is_no_playlist_is_refused_with_a_reason(origin: HlsOrigin, body: bytes, reason: str) -> None:
    origin.serve(LIVE, body)
    with pytest.raises(UpstreamNotMedia, match=reason):
        await play(origin)
    assert len(origin.paths) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410, 458, 500, 503])
async def test_a_refusal_is_reported_as_it_is_after_one_request(origin: HlsOrigin, status: int) -> None:
    origin.serve(LIVE, status)
    with pytest.raises(UpstreamRefused) as caught:
        await play(origin)
    assert caught.value.status == status
    assert len(origin.paths) == 1


async def test_a_playlist_that_cannot_be_loaded_for_a_while_costs_nothing(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0), b"<html>", 500, live(3, ended=True))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 1, 2, 3, 4, 5]
    assert [entry["event"] for entry in logs] == ["playlist_not_loaded"] * 2


async def test_a_playlist_that_cannot_be_loaded_any_more_ends_the_stream(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0), 500)
    assert numbers(await play_until_stalled(origin)) == [0, 1, 2]


async def test_a_playlist_that_hangs_is_not_waited_for_when_the_stream_is_lost_anyway(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0, target=1), *[500] * 7, gated(asyncio.Event(), 200))
    async with asyncio.timeout(5):
        assert numbers(await play_until_stalled(origin, timeout=30)) == [0, 1, 2]


async def test_a_connection_dropped_in_place_of_a_playlist_is_tried_again_at_once(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, dropped, live(0), dropped, live(1, ended=True))
    assert numbers(await play(origin, time=time)) == [0, 1, 2, 3]
    assert time.waits == [4]


async def test_a_playlist_that_is_cut_short_is_not_believed(origin: HlsOrigin) -> None:
    serve_segments(origin)
    text = film(4).encode()
    origin.serve(LIVE, cut(text, len(text) - 30), text)
    assert numbers(await play(origin)) == [0, 1, 2, 3]


async def test_a_playlist_that_is_not_there_in_time_is_given_up(origin: HlsOrigin) -> None:
    async def trickle(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n#EXTM3U\n")
        while True:
            await asyncio.sleep(0.05)
            await exchange.send(b"#\n")

    origin.serve(LIVE, trickle)
    with pytest.raises(UpstreamStalled, match="not complete"):
        await play(origin, timeout=0.3)


async def test_a_playlist_without_end_is_refused(origin: HlsOrigin) -> None:
    async def flood(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n#EXTM3U\n")
        while True:
            await exchange.send(b"#EXTINF:4,\n0.ts\n" * 1000)

    origin.serve(LIVE, flood)
    with pytest.raises(UpstreamNotMedia, match="8 MiB"):
        await play(origin)


async def test_a_playlist_that_unpacks_to_no_end_is_refused(origin: HlsOrigin) -> None:
    origin.serve(LIVE, gzip.compress(b"#EXTM3U\n" + b"#" * (50 << 20), 1))
    with pytest.raises(UpstreamNotMedia, match="8 MiB"):
        await play(origin)


@pytest.mark.parametrize(
    "encode",
    [gzip.compress, lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")],
    ids=["gzip", "bom", "crlf"],
)
async def test_a_playlist_may_be_written_in_many_ways(origin: HlsOrigin, encode: Callable[[bytes], bytes]) -> None:
    serve_segments(origin)
    origin.serve(LIVE, encode(film(3).encode()))
    assert numbers(await play(origin)) == [0, 1, 2]


# From the address to the media playlist


def multivariant(*variants: str, more: str = "") -> str:
    """Write a multivariant playlist; each variant is `NAME BANDWIDTH HEIGHT [ATTRIBUTES]`."""
    lines = ["#EXTM3U", *([more] if more else [])]
    for variant in variants:
        name, bandwidth, height, *attributes = variant.split(" ")
        extra = "".join(f",{each}" for each in attributes)
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION=1x{height}{extra}", name]
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(("quality", "number"), [("best", 2), ("worst", 0), ("720p", 1), ("1500k", 0)])
async def test_the_variant_of_the_quality_wanted_is_played(origin: HlsOrigin, quality: str, number: int) -> None:
    serve_segments(origin)
    origin.serve(
        "/master.m3u8", multivariant("v1/x.m3u8 2000000 720", "v2/x.m3u8 3000000 1080", "v0/x.m3u8 1000000 480")
    )
    for variant in range(3):
        origin.serve(f"/v{variant}/x.m3u8", media([f"../{variant}.ts"], ended=True))
    assert numbers(await play(origin, "/master.m3u8", quality=quality)) == [number]


@pytest.mark.parametrize("failure", [404, 500, b"<html>", b"#EXTM3U\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:1,\n0.ts\n"])
async def test_the_next_best_variant_is_played_where_one_cannot_be_had(origin: HlsOrigin, failure: Answer) -> None:
    serve_segments(origin)
    origin.serve("/master.m3u8", multivariant("a.m3u8 2000000 720", "b.m3u8 1000000 480"))
    origin.serve("/a.m3u8", failure)
    origin.serve("/b.m3u8", film(3))
    assert numbers(await play(origin, "/master.m3u8")) == [0, 1, 2]


async def test_where_no_variant_can_be_had_the_failure_of_the_best_is_reported(origin: HlsOrigin) -> None:
    origin.serve("/master.m3u8", multivariant("a.m3u8 1000000 480", "b.m3u8 2000000 720"))
    origin.serve("/a.m3u8", 500)
    origin.serve("/b.m3u8", 410)
    with pytest.raises(UpstreamRefused, match="410"):
        await play(origin, "/master.m3u8")


async def test_multivariant_playlists_below_each_other_are_followed(origin: HlsOrigin) -> None:
    serve_segments(origin)
    for level in (1, 2, 3):
        origin.serve(f"/{level}.m3u8", multivariant(f"{level + 1}.m3u8 1 1"))
    origin.serve("/4.m3u8", film(2))
    assert numbers(await play(origin, "/1.m3u8")) == [0, 1]


@pytest.mark.parametrize(("target", "requests"), [("/{0}.m3u8", 4), ("/same.m3u8", 2)], ids=["deeper", "to themselves"])
async def test_playlists_that_lead_nowhere_are_given_up(origin: HlsOrigin, target: str, requests: int) -> None:
    for level in range(20):
        origin.serve(f"/{level}.m3u8", multivariant(target.format(level + 1) + " 1 1"))
    origin.serve("/same.m3u8", multivariant("/same.m3u8 1 1"))
    with pytest.raises(UpstreamNotMedia):
        await play(origin, "/0.m3u8")
    assert len(origin.paths) == requests


async def test_of_ten_thousand_dead_variants_a_few_are_tried(origin: HlsOrigin) -> None:
    origin.serve("/master.m3u8", multivariant(*(f"{number}.m3u8 {number} 1" for number in range(10_000))))
    with pytest.raises(UpstreamRefused):
        await play(origin, "/master.m3u8")
    assert len(origin.paths) == 8


async def test_who_is_not_let_in_is_not_tried_with_other_variants(origin: HlsOrigin) -> None:
    origin.serve("/master.m3u8", multivariant("a.m3u8 2 2", "b.m3u8 1 1"))
    origin.serve("/a.m3u8", 403)
    with pytest.raises(UpstreamRefused):
        await play(origin, "/master.m3u8")
    assert origin.paths == ["/master.m3u8", "/a.m3u8"]


async def test_a_playlist_of_key_frames_only_is_refused(origin: HlsOrigin) -> None:
    origin.serve(LIVE, film(3, more="#EXT-X-I-FRAMES-ONLY"))
    with pytest.raises(UpstreamNotMedia, match="key frames"):
        await play(origin)


async def test_a_playlist_that_turns_into_a_list_of_playlists_is_not_followed(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, live(0), multivariant("a.m3u8 1 1"))
    await play_until_stalled(origin)
    assert "/a.m3u8" not in origin.paths


SOUND = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="English",DEFAULT=YES'


@pytest.mark.parametrize(
    ("variants", "media_tag", "number"),
    [
        (['a.m3u8 9 9 AUDIO="aac"', 'b.m3u8 5 5 CODECS="avc1,mp4a"'], SOUND + ',URI="sound.m3u8"', 1),
        (['a.m3u8 9 9 AUDIO="aac"', "b.m3u8 5 5"], SOUND + ',URI="sound.m3u8"', 1),
        (['a.m3u8 9 9 AUDIO="aac"', "b.m3u8 5 5"], SOUND, 0),
        (['a.m3u8 9 9 AUDIO="aac"'], SOUND + '\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="x",URI="x.m3u8"', 0),
        (['a.m3u8 9 9 AUDIO="aac"'], SOUND + ',URI="a.m3u8"', 0),
        (['a.m3u8 9 9 AUDIO="other"'], SOUND + ',URI="sound.m3u8"', 0),
    ],
    ids=["sibling", "silent about codecs", "muxed", "muxed with others", "itself", "another group"],
)
async def test_a_variant_with_sound_in_it_is_preferred(
    origin: HlsOrigin, variants: list[str], media_tag: str, number: int
) -> None:
    serve_segments(origin)
    origin.serve("/master.m3u8", multivariant(*variants, more=media_tag))
    origin.serve("/a.m3u8", media(["0.ts"], ended=True))
    origin.serve("/b.m3u8", media(["1.ts"], ended=True))
    assert numbers(await play(origin, "/master.m3u8", ffmpeg="no-such-program")) == [number]


@pytest.mark.parametrize("other", [[], ['b.m3u8 5 5 CODECS="mp4a.40.2"'], ['b.m3u8 5 5 AUDIO="aac"']])
async def test_where_all_sound_comes_separately_that_is_said(origin: HlsOrigin, other: list[str]) -> None:
    variants = ['a.m3u8 9 9 AUDIO="aac"', *other]
    origin.serve("/master.m3u8", multivariant(*variants, more=SOUND + ',URI="sound.m3u8"'))
    with pytest.raises(UpstreamNotMedia, match="ffmpeg"):
        await play(origin, "/master.m3u8", ffmpeg="no-such-program")
    assert origin.paths == ["/master.m3u8"]


async def test_variables_lead_to_variants_and_segments(origin: HlsOrigin) -> None:
    serve_segments(origin)
    master = multivariant("{$way}/x.m3u8 1 1", more='#EXT-X-DEFINE:NAME="way",VALUE="path"')
    origin.serve("/master.m3u8", master)
    more = '#EXT-X-DEFINE:IMPORT="way"'
    loads = [media(["/{$way}/0.ts"], more=more), media(["/{$way}/0.ts", "/{$way}/1.ts"], ended=True, more=more)]
    origin.serve("/path/x.m3u8", *loads)
    for number in range(2):
        origin.serve(f"/path/{number}.ts", segment(number))
    assert numbers(await play(origin, "/master.m3u8")) == [0, 1]
    assert len(origin.requests("/master.m3u8")) == 1


async def test_what_follows_a_redirect_is_relative_to_where_it_led_and_loaded_from_there(origin: HlsOrigin) -> None:
    async with hls_origin() as other:
        for number in range(4):
            other.serve(f"/a%2bb/{number}.ts", segment(number))
        other.serve("/a%2bb/x.m3u8?s=%7E1", live(0), live(1, ended=True))
        origin.serve(LIVE, moved(other.url("/a%2bb/x.m3u8?s=%7E1")))
        assert numbers(await play(origin)) == [0, 1, 2, 3]
        assert len(origin.paths) == 1
        assert other.paths.count("/a%2bb/x.m3u8?s=%7E1") == 2


async def test_segments_may_be_on_other_hosts_and_redirected(origin: HlsOrigin) -> None:
    async with hls_origin() as other:
        other.serve("/1.ts", segment(1))
        other.serve("/elsewhere", segment(2))
        origin.serve("/0.ts", segment(0))
        origin.serve("/2.ts", moved(other.url("/elsewhere")))
        origin.serve(LIVE, media(["0.ts", other.url("/1.ts"), "2.ts"], ended=True))
        assert numbers(await play(origin)) == [0, 1, 2]


@pytest.mark.parametrize("status", [401, 403, 404, 410, b"<html>session expired</html>"])
async def test_a_playlist_that_has_expired_is_found_again(origin: HlsOrigin, status: Answer) -> None:
    serve_segments(origin)
    origin.serve(LIVE, moved("/s/1.m3u8"), moved("/s/2.m3u8"))
    origin.serve("/s/1.m3u8", media(["/0.ts", "/1.ts", "/2.ts"]), media(["/1.ts", "/2.ts", "/3.ts"], first=1), status)
    origin.serve("/s/2.m3u8", media(["/2.ts", "/3.ts", "/4.ts"], first=2, ended=True))
    assert numbers(await play(origin)) == [0, 1, 2, 3, 4]
    assert len(origin.requests(LIVE)) == 2
    assert len(origin.requests("/s/1.m3u8")) == 3


async def test_a_playlist_that_stays_expired_is_not_looked_for_all_the_time(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve(LIVE, moved("/s/1.m3u8"))
    origin.serve("/s/1.m3u8", media(["/0.ts", "/1.ts", "/2.ts"], target=1), 403)
    await play_until_stalled(origin, time=time)
    assert len(origin.paths) <= 4 * time.now
    assert len(origin.requests(LIVE)) <= 1 + time.now / 5


class Tokens:
    """An origin whose segments are refused unless their token is the newest; each load of the playlist makes one."""

    def __init__(self, origin: HlsOrigin, listing: Callable[[int, str], str]) -> None:
        self.token = 0
        self.expired = asyncio.Event()
        self.refused = 0
        self._listing = listing
        origin.serve(LIVE, self.playlist)
        for number in range(20):
            for token in range(20):
                origin.serve(f"/{number}.ts?token={token}", self.segment(number, token))

    async def playlist(self, exchange: Exchange) -> None:
        self.token += 1
        await reply(exchange, self._listing(self.token, f"?token={self.token}").encode())

    def segment(self, number: int, token: int) -> Answer:
        async def answer(exchange: Exchange) -> None:
            good = token == self.token
            self.refused += not good
            await reply(exchange, segment(number) if good else 403)

        return answer


async def test_segments_whose_tokens_expire_are_fetched_with_new_ones(origin: HlsOrigin) -> None:
    time = Jumps()
    tokens = Tokens(origin, lambda _, token: media([f"{number}.ts{token}" for number in range(12)], ended=True))
    sink = Recorder()
    sink.may_go_on.clear()
    async with source_of(origin, time=time, threads=1) as source:
        task = asyncio.create_task(source.run(sink))
        await sink.holds(SEGMENT * PACKET)
        tokens.token += 5
        time.now += 60
        sink.may_go_on.set()
        await task
    assert numbers(sink.data) == list(range(12))
    assert tokens.refused == 1
    assert len(origin.requests(LIVE)) == 2


async def test_a_live_segment_whose_token_expired_is_fetched_with_a_new_one(origin: HlsOrigin) -> None:
    time = Jumps()
    expired = asyncio.Event()

    async def once(exchange: Exchange) -> None:
        time.now += 10
        expired.set()
        await reply(exchange, 403)

    serve_segments(origin)
    origin.serve("/2.ts?t=1", once, 403)
    origin.serve("/2.ts?t=2", segment(2))
    origin.serve(LIVE, media(["0.ts", "1.ts", "2.ts?t=1"]), media(["1.ts", "2.ts?t=2", "3.ts"], first=1, ended=True))
    assert numbers(await play(origin, time=time)) == [0, 1, 2, 3]


# Segments


async def closed(origin: HlsOrigin, path: str) -> None:
    """Wait until a path is not open any more."""
    await origin.socket.until(lambda seen: not seen.open[path])


async def test_as_many_segments_as_threads_are_fetched_at_once_and_written_in_order(origin: HlsOrigin) -> None:
    gates = [asyncio.Event() for _ in range(8)]
    for number, gate in enumerate(gates):
        origin.serve(f"/{number}.ts", gated(gate, segment(number)))
    origin.serve(LIVE, film(8))
    async with running(origin, threads=4) as (sink, _):
        await origin.socket.until(lambda seen: sum(seen.open.values()) >= 4)
        for number in (3, 2, 1):
            gates[number].set()
            await closed(origin, f"/{number}.ts")
        # The three that are complete wait for the first; no others are begun instead.
        assert asked_for(origin) == [0, 1, 2, 3]
        assert sink.data == b""

        gates[0].set()
        await sink.holds(4 * SEGMENT * PACKET)
        assert numbers(sink.data) == [0, 1, 2, 3]
        await origin.socket.until(lambda seen: sum(seen.open.values()) == 4)
        assert asked_for(origin) == list(range(8))
        for gate in reversed(gates):
            gate.set()
        await sink.holds(8 * SEGMENT * PACKET)
        assert numbers(sink.data) == list(range(8))
    assert max(origin.socket.peak.values()) == 1


@pytest.mark.parametrize("threads", [1, 2, 7])
async def test_never_more_segments_are_open_than_threads(origin: HlsOrigin, threads: int) -> None:
    most = 0

    def counted(number: int) -> Answer:
        async def answer(exchange: Exchange) -> None:
            nonlocal most
            most = max(most, sum(origin.socket.open.values()))
            await reply(exchange, segment(number))

        return answer

    for number in range(20):
        origin.serve(f"/{number}.ts", counted(number))
    origin.serve(LIVE, film(20))
    assert numbers(await play(origin, threads=threads)) == list(range(20))
    assert most <= threads


async def test_the_first_segment_is_written_as_it_arrives(origin: HlsOrigin) -> None:
    gate, body = asyncio.Event(), segment(0)

    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[: 10 * PACKET + 50])
        await gate.wait()
        await exchange.send(body[10 * PACKET + 50 :])

    origin.serve("/0.ts", answer)
    origin.serve(LIVE, film(1))
    async with running(origin) as (sink, _):
        await sink.holds(10 * PACKET)
        assert sink.data == body[: 10 * PACKET]
        gate.set()
        await sink.holds(len(body))
    assert sink.data == body


async def test_a_playlist_is_loaded_again_only_when_what_it_listed_has_begun(origin: HlsOrigin) -> None:
    serve_segments(origin)
    gate, time = asyncio.Event(), Jumps()
    origin.serve("/0.ts", gated(gate, segment(0)))
    origin.serve(LIVE, live(0), live(3, 3, ended=True))
    async with running(origin, threads=2, time=time) as (sink, _):
        await origin.socket.until(lambda seen: seen.total["/1.ts"] == 1 and not seen.open["/1.ts"])
        # However long that takes, it is not the upstream that brings nothing new.
        time.now += 100
        assert len(origin.requests(LIVE)) == 1
        gate.set()
        await sink.holds(6 * SEGMENT * PACKET)
    assert numbers(sink.data) == list(range(6))


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_segment_that_is_cut_is_continued_where_it_broke_off(origin: HlsOrigin, reset: bool) -> None:
    serve_segments(origin)
    body, time = segment(1), Jumps()
    origin.serve("/1.ts", cut(body, 1000, reset=reset), cut(body, 3000, reset=reset), body)
    origin.serve(LIVE, film(3))
    assert numbers(await play(origin, time=time)) == [0, 1, 2]
    assert [exchange.headers.get("Range") for exchange in origin.requests("/1.ts")] == [
        None,
        "bytes=1000-",
        "bytes=4000-",
    ]


async def test_a_segment_is_continued_though_the_origin_sends_all_of_it_again(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve("/1.ts", cut(segment(1), 1000), whole(segment(1)))
    origin.serve(LIVE, film(3))
    assert numbers(await play(origin)) == [0, 1, 2]


async def test_a_dropped_connection_is_tried_again_at_once(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve("/1.ts", dropped, segment(1))
    origin.serve(LIVE, film(3))
    assert numbers(await play(origin, time=time)) == [0, 1, 2]
    assert time.waits == []


async def test_a_segment_that_falls_silent_is_continued_too(origin: HlsOrigin) -> None:
    serve_segments(origin)

    async def falls_silent(exchange: Exchange) -> None:
        await send(exchange, segment(0), upto=2000)
        await asyncio.Event().wait()

    origin.serve("/0.ts", falls_silent, segment(0))
    origin.serve(LIVE, film(2))
    assert numbers(await play(origin, timeout=0.2)) == [0, 1]


async def test_a_segment_that_is_refused_is_asked_for_once_more_and_then_left_out(origin: HlsOrigin) -> None:
    serve_segments(origin)
    time = Jumps()
    origin.serve("/2.ts", 404)
    origin.serve("/3.ts", 500, 503, segment(3))
    origin.serve(LIVE, film(5))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin, time=time, threads=1)) == [0, 1, 3, 4]
    assert [(entry["event"], entry["segment"]) for entry in logs] == [("segment_skipped", 2)]
    assert len(origin.requests("/2.ts")) == 2
    assert time.waits[:1] == [0.5]


async def test_three_segments_in_a_row_that_cannot_be_had_end_the_stream(origin: HlsOrigin) -> None:
    serve_segments(origin)
    for number in (1, 3, 4, 6, 7, 8):
        origin.serve(f"/{number}.ts", 404)
    origin.serve(LIVE, film(12))
    sink = Recorder()
    async with source_of(origin) as source:
        with pytest.raises(UpstreamRefused, match="404"):
            await source.run(sink)
    assert numbers(sink.data) == [0, 2, 5]


async def test_where_no_segment_can_be_had_the_reason_is_reported(origin: HlsOrigin) -> None:
    origin.serve(LIVE, film(2))
    with pytest.raises(UpstreamRefused, match="404"):
        await play(origin)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>You are not allowed to watch this</html>", b'{"error":1}', film(3).encode(), bytes(300_000)],
    ids=["empty", "page", "json", "playlist", "zeros"],
)
async def test_what_is_no_segment_is_left_out(origin: HlsOrigin, body: bytes) -> None:
    serve_segments(origin)
    origin.serve("/1.ts", body)
    origin.serve(LIVE, film(3))
    with structlog.testing.capture_logs() as logs:
        assert numbers(await play(origin)) == [0, 2]
    assert [entry["event"] for entry in logs] == ["segment_skipped"]


PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + bytes(range(200)) + b"IEND\xae\x42\x60\x82"


async def test_a_transport_stream_behind_a_picture_is_found(origin: HlsOrigin) -> None:
    for number in range(3):
        origin.serve(f"/{number}.ts", PNG + segment(number))
    origin.serve(LIVE, film(3))
    assert numbers(await play(origin)) == [0, 1, 2]


async def test_half_a_packet_at_the_end_of_a_segment_spoils_nothing(origin: HlsOrigin) -> None:
    for number in range(3):
        origin.serve(f"/{number}.ts", segment(number) + segment(7)[:100])
    origin.serve(LIVE, film(3))
    assert numbers(await play(origin)) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2, 4, 5])
async def test_segments_of_few_packets_are_played(origin: HlsOrigin, count: int) -> None:
    bodies = [segment(number, count) for number in range(3)]
    for number, body in enumerate(bodies):
        origin.serve(f"/{number}.ts", body)
    origin.serve(LIVE, film(3))
    assert await play(origin) == b"".join(bodies)


async def test_a_segment_that_is_too_large_is_not_even_begun(origin: HlsOrigin) -> None:
    serve_segments(origin)
    sent = 0

    async def huge(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        while True:
            await exchange.send(bytes(1 << 16))
            sent += 1 << 16

    origin.serve("/1.ts", huge)
    origin.serve(LIVE, film(3))
    assert numbers(await play(origin)) == [0, 2]
    assert sent < 8 << 20
    assert len(origin.requests("/1.ts")) == 1


async def test_what_is_in_flight_is_bounded_while_nobody_takes_it(origin: HlsOrigin) -> None:
    body, sent = segment(0, 60_000), [0] * 4

    def counted(number: int) -> Answer:
        async def answer(exchange: Exchange) -> None:
            exchange.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            for start in range(0, len(body), 1 << 16):
                await exchange.send(body[start : start + (1 << 16)])
                sent[number] += 1 << 16

        return answer

    for number in range(4):
        origin.serve(f"/{number}.ts", counted(number))
    origin.serve(LIVE, film(4))
    async with running(origin, in_flight=1 << 20) as (sink, _):
        sink.may_go_on.clear()
        before = -1
        while before < sum(sent) or not sum(sent):
            before = sum(sent)
            await asyncio.sleep(0.2)
        # What the sink has, what one segment and what all of them may hold, and for each connection what buffers hold.
        assert sum(sent) < (1 + 1 + 1 + 4 * 7) << 20 < 4 * len(body)
        sink.may_go_on.set()
        await sink.holds(4 * len(body))
    assert sink.data == body * 4


async def test_writes_are_whole_packets_and_large_where_there_is_enough(origin: HlsOrigin) -> None:
    bodies = [segment(number, 10_000) for number in range(4)]
    for number, body in enumerate(bodies):
        origin.serve(f"/{number}.ts", body)
    origin.serve(LIVE, film(4))
    sink = Recorder()
    async with source_of(origin) as source:
        await source.run(sink)
    assert sink.data == b"".join(bodies)
    assert all(len(chunk) % PACKET == 0 for chunk in sink.chunks)
    # The beginning of the stream and the end of each segment may be small.
    assert sum(len(chunk) < 1 << 15 for chunk in sink.chunks) <= 5
    assert max(map(len, sink.chunks)) < 2 * RelayConfig().chunk_size


async def test_headers_and_cookies_of_the_upstream_go_with_all_that_is_asked_for(origin: HlsOrigin) -> None:
    async def with_cookie(exchange: Exchange) -> None:
        body = encrypted_film(1).encode()
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: seat=12; Path=/\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    origin.serve(LIVE, with_cookie)
    origin.serve("/key", KEY)
    origin.serve("/0.ts", encrypted(segment(0), sequence=0))
    await play(origin, headers={"User-Agent": "box/2", "Referer": "http://portal/"})
    assert sorted(origin.paths) == ["/0.ts", "/key", LIVE]
    for exchange in origin.socket.exchanges:
        assert (exchange.headers["User-Agent"], exchange.headers["Referer"]) == ("box/2", "http://portal/")
        assert exchange.headers.get("Cookie") == (None if exchange.path == LIVE else "seat=12")


async def test_cancelling_closes_every_connection(origin: HlsOrigin) -> None:
    for number in range(4):
        origin.serve(f"/{number}.ts", gated(asyncio.Event(), 200))
    origin.serve(LIVE, film(4))
    async with running(origin):
        await origin.socket.until(lambda seen: sum(seen.open.values()) == 4)
    await origin.socket.until(lambda seen: not +seen.open, within=0.2)


# Parts, gaps and discontinuities


async def test_parts_of_a_file_are_asked_for_as_parts(origin: HlsOrigin) -> None:
    size = SEGMENT * PACKET
    file = b"".join(map(segment, range(4)))
    origin.serve("/all.ts", file)
    listed = [
        f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}@0\nall.ts",
        f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}\nall.ts",
        f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}@{3 * size}\nall.ts",
    ]
    origin.serve(LIVE, media(listed, ended=True))
    assert numbers(await play(origin, threads=1)) == [0, 1, 3]
    assert [exchange.headers["Range"] for exchange in origin.requests("/all.ts")] == [
        f"bytes=0-{size - 1}",
        f"bytes={size}-{2 * size - 1}",
        f"bytes={3 * size}-{4 * size - 1}",
    ]


async def test_parts_are_cut_out_where_the_origin_knows_no_ranges(origin: HlsOrigin) -> None:
    size = SEGMENT * PACKET
    origin.serve("/all.ts", whole(b"".join(map(segment, range(4)))))
    listed = [f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}@{size * number}\nall.ts" for number in (2, 0, 3)]
    origin.serve(LIVE, media(listed, ended=True))
    assert numbers(await play(origin)) == [2, 0, 3]


async def test_a_part_that_is_cut_is_continued_within_its_bounds(origin: HlsOrigin) -> None:
    size = SEGMENT * PACKET
    file = b"".join(map(segment, range(3)))
    origin.serve("/all.ts", cut(file, 1000), file)
    origin.serve(LIVE, media([f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}@{size}\nall.ts"], ended=True))
    assert numbers(await play(origin)) == [1]
    assert origin.requests("/all.ts")[1].headers["Range"] == f"bytes={size + 1000}-{2 * size - 1}"


async def test_a_part_that_follows_on_nothing_is_left_out_and_the_rest_is_played(origin: HlsOrigin) -> None:
    size = SEGMENT * PACKET
    serve_segments(origin)
    origin.serve("/all.ts", b"".join(map(segment, range(4))))
    listed = [
        f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}\nall.ts",
        f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}@0\nall.ts",
        "#EXTINF:4,\n7.ts",
        f"#EXTINF:4,\n#EXT-X-BYTERANGE:{size}\nall.ts",
        "#EXTINF:4,\n8.ts",
    ]
    origin.serve(LIVE, media(listed, ended=True))
    assert numbers(await play(origin)) == [0, 7, 8]


async def test_a_gap_is_not_asked_for_and_is_no_failure(origin: HlsOrigin) -> None:
    serve_segments(origin)
    listed = ["0.ts", *(f"#EXTINF:4,\n#EXT-X-GAP\n{number}.ts" for number in range(1, 6)), "6.ts"]
    origin.serve(LIVE, media(listed, ended=True))
    assert numbers(await play(origin)) == [0, 6]
    assert asked_for(origin) == [0, 6]


async def test_a_discontinuity_passes_through(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, media(["0.ts", "#EXT-X-DISCONTINUITY\n#EXTINF:4,\n9.ts", "3.ts"], ended=True))
    assert numbers(await play(origin)) == [0, 9, 3]


async def test_parts_of_low_latency_are_left_to_their_segments(origin: HlsOrigin) -> None:
    serve_segments(origin)
    more = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1\n#EXT-X-PART-INF:PART-TARGET=0.33"
    tail = '#EXT-X-PART:DURATION=0.33,URI="3.0.ts"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI="3.1.ts"\n'
    origin.serve(LIVE, live(0, more=more) + tail, live(1, more=more, ended=True))
    assert numbers(await play(origin)) == [0, 1, 2, 3]
    assert asked_for(origin) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "concat:/etc/passwd|/etc/group",
        "pipe:0",
        "data:text/plain,hello",
        "ftp://127.0.0.1/1.ts",
        "gopher://127.0.0.1/1.ts",
        "javascript:alert(1)",
        "http://",
        "http://127.0.0.1:99999/1.ts",
    ],
)
async def test_what_is_not_http_is_never_opened(origin: HlsOrigin, address: str) -> None:
    serve_segments(origin)
    listed = [
        "0.ts",
        address,
        f'#EXT-X-KEY:METHOD=AES-128,URI="{address}"\n#EXTINF:4,\n3.ts',
        "#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\n4.ts",
        f'#EXT-X-MAP:URI="{address}"\n#EXTINF:4,\n5.ts',
    ]
    origin.serve(LIVE, media(listed, ended=True))
    assert numbers(await play(origin)) == [0, 4]
    assert asked_for(origin) == [0, 4]

    origin.serve(
        "/master.m3u8", multivariant(f"{address} 9 9", f"{LIVE} 1 1", more=f'#EXT-X-MEDIA:TYPE=AUDIO,URI="{address}"')
    )
    assert numbers(await play(origin, "/master.m3u8")) == [0, 4]


# Encryption

KEY = bytes(range(16))
OTHER_KEY = bytes(range(50, 66))


def encrypted(
    plain: bytes,
    *,
    sequence: int = 0,
    iv: bytes | None = None,
    key: bytes = KEY,
    padding: bytes | None = None,
) -> bytes:
    missing = 16 - len(plain) % 16
    encryptor = Cipher(AES128(key), CBC(sequence.to_bytes(16, "big") if iv is None else iv)).encryptor()
    return encryptor.update(plain + (bytes([missing]) * missing if padding is None else padding))


def encrypted_film(count: int, *, key: str = '#EXT-X-KEY:METHOD=AES-128,URI="/key"', **more: Any) -> str:
    return media([f"{key}\n#EXTINF:4,\n0.ts", *names(1, count - 1)], ended=True, **more)


async def test_an_encrypted_stream_is_decrypted_with_one_request_for_its_key(origin: HlsOrigin) -> None:
    for number in range(8):
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=number))
    origin.serve("/key", KEY)
    origin.serve(LIVE, encrypted_film(8))
    assert numbers(await play(origin)) == list(range(8))
    assert len(origin.requests("/key")) == 1


async def test_numbers_serve_as_vectors_when_the_beginning_is_skipped(origin: HlsOrigin) -> None:
    for number in range(100, 108):
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=number))
    origin.serve("/key", KEY)
    key = '#EXT-X-KEY:METHOD=AES-128,URI="/key"'
    origin.serve(LIVE, live(100, 6, more=key), live(101, 7, more=key, ended=True))
    assert numbers(await play(origin)) == [103, 104, 105, 106, 107]


async def test_a_vector_that_is_given_is_used_and_filled_up_from_the_left(origin: HlsOrigin) -> None:
    origin.serve("/0.ts", encrypted(segment(0), iv=bytes(14) + b"\xab\xcd"))
    origin.serve("/1.ts", encrypted(segment(1), iv=bytes(14) + b"\xab\xcd"))
    origin.serve("/key", KEY)
    origin.serve(LIVE, encrypted_film(2, key='#EXT-X-KEY:METHOD=AES-128,URI="/key",IV=0xABCD'))
    assert numbers(await play(origin)) == [0, 1]


async def test_keys_that_change_with_each_segment_are_fetched_once_each(origin: HlsOrigin) -> None:
    listed = []
    for number in range(24):
        key = bytes([number % 8]) * 16
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=number, key=key))
        origin.serve(f"/key{number % 8}", key)
        listed.append(f'#EXT-X-KEY:METHOD=AES-128,URI="/key{number % 8}"\n#EXTINF:4,\n{number}.ts')
    origin.serve(LIVE, media(listed, ended=True))
    assert numbers(await play(origin, threads=4)) == list(range(24))
    assert sum(path.startswith("/key") for path in origin.paths) == 8


async def test_encryption_may_end_and_begin_again(origin: HlsOrigin) -> None:
    origin.serve("/0.ts", encrypted(segment(0), sequence=0))
    origin.serve("/1.ts", segment(1))
    origin.serve("/2.ts", encrypted(segment(2), sequence=2, key=OTHER_KEY))
    origin.serve("/key", KEY)
    origin.serve("/other", OTHER_KEY)
    listed = [
        '#EXT-X-KEY:METHOD=AES-128,URI="/key"\n#EXTINF:4,\n0.ts',
        "#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\n1.ts",
        '#EXT-X-KEY:METHOD=AES-128,URI="/other"\n#EXTINF:4,\n2.ts',
    ]
    origin.serve(LIVE, media(listed, ended=True))
    assert numbers(await play(origin)) == [0, 1, 2]


async def test_an_encrypted_segment_that_is_cut_is_continued(origin: HlsOrigin) -> None:
    body = encrypted(segment(0), sequence=0)
    origin.serve("/0.ts", cut(body, 1001), cut(body, 333), body)
    origin.serve("/key", KEY)
    origin.serve(LIVE, encrypted_film(1))
    assert numbers(await play(origin)) == [0]


@pytest.mark.parametrize(
    "body",
    [
        encrypted(segment(1), sequence=1)[:-1],
        encrypted(segment(1), sequence=1) + b"?",
        encrypted(segment(1), sequence=1, padding=bytes(16)),
        encrypted(segment(1), sequence=1, padding=b"\x11" * 16),
        encrypted(segment(1), sequence=1, padding=bytes(range(1, 17))),
        encrypted(segment(1), sequence=1, key=OTHER_KEY),
        segment(1),
        b"",
    ],
    ids=["short", "long", "no padding", "padding too long", "padding uneven", "another key", "plain", "empty"],
)
@pytest.mark.parametrize("place", ["first", "later"])
async def test_a_segment_that_cannot_be_decrypted_is_left_out(origin: HlsOrigin, body: bytes, place: str) -> None:
    for number in (0, 2):
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=number))
    origin.serve("/1.ts", body)
    origin.serve("/key", KEY)
    if place == "first":
        origin.serve(
            LIVE, media(['#EXT-X-KEY:METHOD=AES-128,URI="/key"\n#EXTINF:4,\n1.ts', "2.ts"], first=1, ended=True)
        )
    else:
        origin.serve(LIVE, encrypted_film(3))
    assert numbers(await play(origin)) == [0, 2][place == "first" :]


async def test_the_beginning_of_an_encrypted_stream_waits_a_moment_for_its_padding(origin: HlsOrigin) -> None:
    body = encrypted(segment(0), padding=bytes(16))

    async def late(exchange: Exchange) -> None:
        await send(exchange, body, upto=len(body) - 16)
        await asyncio.sleep(0.05)
        await exchange.send(body[-16:])

    origin.serve("/0.ts", late)
    origin.serve("/1.ts", encrypted(segment(1), sequence=1))
    origin.serve("/key", KEY)
    origin.serve(LIVE, encrypted_film(2))
    assert numbers(await play(origin, relay=RelayConfig(chunk_delay=1))) == [1]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ('#EXT-X-KEY:METHOD=SAMPLE-AES,URI="/key"', "SAMPLE-AES"),
        ('#EXT-X-KEY:METHOD=WHATEVER,URI="/key"', "WHATEVER"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="/key",KEYFORMAT="com.apple.streamingkeydelivery"', "licensed"),
        ("#EXT-X-KEY:METHOD=AES-128", "key"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="skd://1234"', "key"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="/short"', "3 bytes"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="/page"', "bytes instead of 16"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="/huge"', "key"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="/gone"', "key"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="/key",IV=0xXYZ', "initialization vector"),
    ],
)
async def test_what_cannot_be_decrypted_at_all_ends_with_a_reason_and_no_byte(
    origin: HlsOrigin, key: str, reason: str
) -> None:
    for number in range(4):
        origin.serve(f"/{number}.ts", encrypted(segment(number), sequence=number))
    origin.serve("/key", KEY)
    origin.serve("/short", b"abc")
    origin.serve("/page", b"<html>log in</html>")
    origin.serve("/huge", bytes(1 << 20))
    origin.serve("/gone", 403)
    origin.serve(LIVE, encrypted_film(4, key=key))
    sink = Recorder()
    async with source_of(origin) as source:
        with pytest.raises(UpstreamError, match=reason):
            await source.run(sink)
    assert sink.chunks == []


# Initialization sections, and MP4


def box(kind: bytes, payload: bytes) -> bytes:
    return (8 + len(payload)).to_bytes(4, "big") + kind + payload


def init(number: int) -> bytes:
    return box(b"ftyp", b"iso6") + box(b"moov", bytes([number]) * 200)


def fragment(number: int, size: int = 5000) -> bytes:
    return box(b"moof", number.to_bytes(4, "big")) + box(b"mdat", bytes([number % 256]) * size)


def serve_fragments(origin: HlsOrigin, count: int = 8) -> None:
    for number in range(count):
        origin.serve(f"/{number}.m4s", box(b"styp", b"msdh") + fragment(number) + fragment(number + 100))
    for number in range(3):
        origin.serve(f"/init{number}.mp4", init(number))


def fragments(*listed: int) -> bytes:
    return b"".join(box(b"styp", b"msdh") + fragment(number) + fragment(number + 100) for number in listed)


MAP = '#EXT-X-MAP:URI="init{}.mp4"'


async def test_an_mp4_is_announced_with_its_header_before_it_is_written(origin: HlsOrigin) -> None:
    serve_fragments(origin)
    origin.serve(LIVE, media(names(0, 5, ".m4s"), more=MAP.format(1), ended=True))
    formats: list[StreamFormat] = []

    class Sink(Recorder):
        def write(self, data: bytes, /) -> None:
            formats.append(source.format)
            super().write(data)

    sink = Sink()
    async with source_of(origin) as source:
        await source.run(sink)
    assert sink.data == fragments(0, 1, 2, 3, 4)
    assert set(formats) == {StreamFormat("video/mp4", init(1))}
    assert len(origin.requests("/init1.mp4")) == 1


async def test_each_write_of_an_mp4_is_whole_fragments(origin: HlsOrigin) -> None:
    big = [fragment(number, 300_000) for number in range(6)]
    for number in range(3):
        origin.serve(f"/{number}.m4s", big[2 * number] + big[2 * number + 1])
    origin.serve("/init0.mp4", init(0))
    origin.serve(LIVE, media(names(0, 3, ".m4s"), more=MAP.format(0), ended=True))
    sink = Recorder()
    async with source_of(origin) as source:
        await source.run(sink)
    assert sink.data == b"".join(big)
    assert all(len(chunk) % len(big[0]) == 0 for chunk in sink.chunks)


async def test_a_transport_stream_is_announced_as_one(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve(LIVE, film(2))
    async with source_of(origin) as source:
        await source.run(Recorder())
        assert source.format == TRANSPORT_STREAM


async def test_another_header_is_written_where_it_changes_and_each_is_fetched_once(origin: HlsOrigin) -> None:
    serve_fragments(origin)
    listed = [f"{MAP.format(number % 2)}\n#EXTINF:4,\n{number}.m4s" for number in range(4)]
    origin.serve(LIVE, media(listed, ended=True))
    expected = b"".join(init(number % 2) + fragments(number) for number in range(4))
    assert await play(origin) == expected
    assert [len(origin.requests(f"/init{number}.mp4")) for number in range(2)] == [1, 1]


async def test_the_header_is_written_again_after_a_discontinuity_and_not_after_a_gap(origin: HlsOrigin) -> None:
    serve_fragments(origin)
    listed = [
        "0.m4s",
        "#EXT-X-DISCONTINUITY\n#EXTINF:4,\n#EXT-X-GAP\n1.m4s",
        "2.m4s",
        "#EXTINF:4,\n#EXT-X-GAP\n3.m4s",
        "4.m4s",
    ]
    origin.serve(LIVE, media(listed, more=MAP.format(0), ended=True))
    assert await play(origin) == init(0) + fragments(0) + init(0) + fragments(2, 4)
    assert len(origin.requests("/init0.mp4")) == 1


async def test_a_header_may_be_a_part_of_a_file(origin: HlsOrigin) -> None:
    serve_fragments(origin)
    origin.serve("/all.mp4", bytes(100) + init(2) + fragments(0))
    tag = f'#EXT-X-MAP:URI="all.mp4",BYTERANGE="{len(init(2))}@100"'
    origin.serve(LIVE, media(names(0, 2, ".m4s"), more=tag, ended=True))
    assert await play(origin) == init(2) + fragments(0, 1)
    assert origin.requests("/all.mp4")[0].headers["Range"] == f"bytes=100-{99 + len(init(2))}"


KEY_TAG = '#EXT-X-KEY:METHOD=AES-128,URI="/{}",IV=0x{}'


@pytest.mark.parametrize(
    ("lines", "header_key", "media_key"),
    [
        ([KEY_TAG.format("key", "7"), MAP.format(0)], KEY, KEY),
        ([KEY_TAG.format("other", "7"), MAP.format(0), KEY_TAG.format("key", "7")], OTHER_KEY, KEY),
        ([MAP.format(0), KEY_TAG.format("key", "7")], None, KEY),
        ([KEY_TAG.format("key", "7"), MAP.format(0), "#EXT-X-KEY:METHOD=NONE"], KEY, None),
    ],
    ids=["the same key", "two keys", "clear header", "clear media"],
)
async def test_a_header_is_decrypted_with_the_key_in_force_where_it_stands(
    origin: HlsOrigin, lines: list[str], header_key: bytes | None, media_key: bytes | None
) -> None:
    def locked(plain: bytes, key: bytes | None) -> bytes:
        return plain if key is None else encrypted(plain, iv=bytes(15) + b"\7", key=key)

    origin.serve("/init0.mp4", locked(init(0), header_key))
    for number in range(3):
        origin.serve(f"/{number}.m4s", locked(fragments(number), media_key))
    origin.serve("/key", KEY)
    origin.serve("/other", OTHER_KEY)
    origin.serve(LIVE, media(names(0, 3, ".m4s"), more="\n".join(lines), ended=True))
    assert await play(origin) == init(0) + fragments(0, 1, 2)


async def test_a_transport_stream_may_have_a_header_too(origin: HlsOrigin) -> None:
    serve_segments(origin)
    origin.serve("/tables.ts", segment(9))
    origin.serve(LIVE, film(3, more='#EXT-X-MAP:URI="tables.ts"'))
    assert numbers(await play(origin)) == [9, 0, 1, 2]


async def test_a_header_that_cannot_be_had_costs_its_segments(origin: HlsOrigin) -> None:
    serve_fragments(origin)
    listed = [
        f"{MAP.format(0)}\n#EXTINF:4,\n0.m4s",
        '#EXT-X-MAP:URI="gone.mp4"\n#EXTINF:4,\n1.m4s',
        f"{MAP.format(0)}\n#EXTINF:4,\n2.m4s",
    ]
    origin.serve(LIVE, media(listed, ended=True))
    assert await play(origin) == init(0) + fragments(0, 2)


async def test_a_segment_of_the_other_kind_is_left_out(origin: HlsOrigin) -> None:
    serve_fragments(origin)
    serve_segments(origin)
    origin.serve("/1.m4s", segment(5))
    origin.serve(LIVE, media(names(0, 3, ".m4s"), more=MAP.format(0), ended=True))
    assert await play(origin) == init(0) + fragments(0, 2)

    origin.serve(LIVE, media(["0.ts", f"{MAP.format(0)}\n#EXTINF:4,\n2.m4s"], ended=True))
    assert numbers(await play(origin)) == [0]


async def test_sound_alone_is_refused_with_a_reason(origin: HlsOrigin) -> None:
    for number in range(3):
        origin.serve(f"/{number}.aac", b"ID3\4\0\0\0\0\0\0" + bytes(5000))
    origin.serve(LIVE, media(names(0, 3, ".aac"), ended=True))
    with pytest.raises(UpstreamNotMedia, match="an audio file"):
        await play(origin)


# Secrets, and all of it together


@pytest.mark.parametrize(
    "failure", [403, b"<html>", dropped, film(1, more=f'#EXT-X-KEY:METHOD=AES-128,URI="/{SECRET}"').encode()]
)
async def test_no_address_shows_in_errors_and_logs(origin: HlsOrigin, failure: Answer) -> None:
    serve_segments(origin)
    addresses = [f"/{SECRET}/{number}.ts?token={SECRET}" for number in range(1, 3)]
    origin.serve(f"/live/{SECRET}/1.m3u8", media(["/0.ts", *addresses]), failure)
    origin.serve(addresses[0], failure)
    with structlog.testing.capture_logs() as logs, pytest.raises(UpstreamError) as caught:
        await play(origin, f"/live/{SECRET}/1.m3u8", headers={"Authorization": SECRET})
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error) + str(error)
        error = error.__cause__
    assert logs
    assert SECRET not in repr(logs)
    assert "127.0.0.1" not in repr(logs)


@given(
    st.lists(st.lists(st.sampled_from(["cut", "reset", "drop", "503"]), max_size=2), min_size=1, max_size=10),
    st.integers(1, 5),
    st.booleans(),
    st.integers(),
)
@settings(max_examples=25, deadline=None)
async def test_whatever_breaks_the_stream_is_what_the_playlist_lists(
    troubles: list[list[str]], threads: int, is_live: bool, seed: int
) -> None:
    random = Random(seed)

    def late(answer: Answer) -> Answer:
        pause = random.choice([0, 0, 0.001, 0.005])

        async def wait(exchange: Exchange) -> None:
            await asyncio.sleep(pause)
            await reply(exchange, answer)

        return wait

    async with hls_origin() as origin:
        bodies = [segment(number, random.randint(1, SEGMENT)) for number in range(len(troubles))]
        for number, (body, trouble) in enumerate(zip(bodies, troubles, strict=True)):
            kinds: dict[str, Answer] = {
                "cut": cut(body, random.randrange(len(body))),
                "reset": cut(body, random.randrange(len(body)), reset=True),
                "drop": dropped,
                "503": 503,
            }
            origin.serve(f"/{number}.ts", *(late(kinds[kind]) for kind in trouble), late(body))
        count = len(bodies)
        if is_live:
            loads = [media(names(max(0, end - 5), min(5, end)), first=max(0, end - 5)) for end in range(1, count + 1)]
            lists = [late(load.encode()) for load in loads]
            failures: list[Answer] = [dropped, 503, b"<html>"]
            for _ in range(3):
                lists.insert(random.randint(1, len(lists)), random.choice(failures))
            origin.serve(LIVE, *lists, film(count))
        else:
            origin.serve(LIVE, film(count))
        assert await play(origin, threads=threads, relay=RelayConfig(chunk_delay=0)) == b"".join(bodies)
