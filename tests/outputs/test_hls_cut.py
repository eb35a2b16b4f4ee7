"""A channel that is a transport stream can be watched as HLS: it is cut in memory, over one upstream connection."""

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict

from streamproxy.broadcast.broadcast import Taker
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamNotMedia
from streamproxy.model import Channel, StreamFormat, Upstream
from streamproxy.outputs import hls_cut
from streamproxy.outputs.hls_cut import CutChannel
from streamproxy.tasks import Tasks
from tests.formats.mpegts.made import AAC, AUDIO, H264, IDR, NO_IDR, VIDEO, Mux, pes, program
from tests.helpers.deadline import deadline
from tests.helpers.media import transport_stream
from tests.helpers.origin import OK, Exchange, Origin, Script, endless, origin
from tests.helpers.provider import on_account, provider
from tests.helpers.proxy import Answer, Proxy, config, running
from tests.helpers.tscheck import check

__all__ = ["deadline"]

PLAYLIST = "/hls/news/playlist.m3u8"

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")


def film(seconds: int) -> bytes:
    """Make pictures, one that can be started with each second, and sound."""
    mux = Mux()
    television = program((VIDEO, H264), (AUDIO, AAC))
    packets = []
    for number in range(25 * seconds):
        time = 3600 * number
        if number % 25 == 0:
            packets.append(mux.tables(television))
        picture = IDR if number % 25 == 0 else NO_IDR
        packets.append(mux.unit(VIDEO, pes(picture + bytes(2000), time)))
        packets.append(mux.unit(AUDIO, pes(bytes(200), time, stream_id=0xC0, size=-1)))
    return b"".join(packets)


FILM = film(13)


def sending(stream: bytes) -> Script:
    """Send something, and then nothing more."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(OK + stream)
        await asyncio.Event().wait()

    return script


@asynccontextmanager
async def cutting(
    folder: Path, script: Script | None = None, *, path: str = "/live.ts", **settings: Any
) -> AsyncIterator[tuple[Proxy, Origin]]:
    """Run an upstream, and the program with it as its stream `news`."""
    async with origin(script or sending(FILM)) as seen:
        settings.setdefault("hls", {"viewer_timeout": 1})
        settings.setdefault("options", {"timeout": 2})
        async with running(config(folder, streams={"news": seen.url(path)}, **settings)) as proxy:
            yield proxy, seen


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [address.rpartition("/")[2] for address in re.findall(r"^([^#\n].*)$", answer.body.decode(), re.MULTILINE)]


def numbers(answer: Answer) -> list[int]:
    return [int(name.removesuffix(".ts").rpartition("-")[2]) for name in names(answer)]


@contextmanager
def logged() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as logs:
        yield logs


async def complete(proxy: Proxy, segments: int, path: str = PLAYLIST, **options: Any) -> Answer:
    """Get a playlist as soon as it has so many segments."""
    while True:
        answer = await proxy.get(path, **options)
        if answer.status != 200 or len(names(answer)) >= segments:
            return answer
        await asyncio.sleep(0.01)


async def test_a_transport_stream_can_be_watched_as_hls(tmp_path: Path) -> None:
    async with cutting(tmp_path) as (proxy, _):
        answer = await complete(proxy, 4)
        segments = [await proxy.get(f"/hls/news/{name}") for name in names(answer)]

    lines = answer.body.decode().splitlines()
    assert lines[:3] == ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:6"]
    assert [line for line in lines if line.startswith("#EXTINF")][:4] == [
        *["#EXTINF:2.000,"] * 3,
        "#EXTINF:4.000,",
    ]
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert answer.headers["cache-control"] == "no-cache"
    assert {segment.headers["content-type"] for segment in segments} == {"video/mp2t"}
    assert FILM.startswith(b"".join(segment.body for segment in segments))


async def test_viewers_share_one_upstream_connection_and_the_last_who_leaves_closes_it(tmp_path: Path) -> None:
    async with cutting(tmp_path) as (proxy, seen):
        one, other = await asyncio.gather(
            *(proxy.get(PLAYLIST, headers={"User-Agent": agent}) for agent in ("one", "other"))
        )
        assert names(one)[:1] == names(other)[:1]
        async with proxy.open("/stream/news") as viewer:
            await viewer.reader.readexactly(188)
            assert (seen.open["/live.ts"], seen.total["/live.ts"]) == (1, 1)
        await seen.until(lambda origin: origin.open["/live.ts"] == 0)
        assert seen.total["/live.ts"] == 1


async def test_who_comes_back_after_a_silence_finds_what_goes_on_behind_a_discontinuity(tmp_path: Path) -> None:
    async with cutting(tmp_path, hls={"viewer_timeout": 3}) as (proxy, seen):
        before = await complete(proxy, 4)
        await seen.until(lambda origin: origin.open["/live.ts"] == 0)
        after = await proxy.get(PLAYLIST)

    assert seen.total["/live.ts"] == 2
    assert numbers(after)[:4] == numbers(before)[:4]
    assert len(numbers(after)) > len(numbers(before))
    assert after.body.count(b"#EXT-X-DISCONTINUITY\n") == 1


async def test_who_was_silent_and_came_back_is_there(tmp_path: Path) -> None:
    async with cutting(tmp_path) as (proxy, seen):
        with logged() as logs:
            await proxy.get(PLAYLIST)
            await seen.until(lambda origin: origin.open["/live.ts"] == 0)
            await proxy.get(PLAYLIST, headers={"User-Agent": "another"})
            async with asyncio.timeout(5):
                while not any(line["event"] == "viewer_left" for line in logs):
                    await proxy.get(PLAYLIST)

        # It was closed when one fell silent, and not when another left.
        assert (seen.open["/live.ts"], seen.total["/live.ts"]) == (1, 2)


async def test_what_is_no_transport_stream_is_not_cut() -> None:
    class Fragments:
        format = StreamFormat("video/mp4")

        async def run(self, sink: Taker) -> None:
            sink.write(b"moof")
            await asyncio.Event().wait()

    channel = Channel("news", "News", (Upstream("http://127.0.0.1/", "provider"),))
    async with Tasks() as tasks:
        broadcasts = BroadcastRegistry(lambda _: Fragments(), RelayConfig(), tasks)
        cut = CutChannel(channel, tasks, lambda: None, capacity=1 << 20)
        with pytest.raises(UpstreamNotMedia, match="video/mp4"):
            await cut.started(broadcasts)


async def test_who_comes_when_all_have_left_gets_higher_numbers_and_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cutting(tmp_path) as (proxy, _):
        with logged() as logs:
            before = await complete(proxy, 4)
            while not any(line["event"] == "viewer_left" for line in logs):
                await asyncio.sleep(0.01)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 60)
        after = await proxy.get(PLAYLIST)
        assert (await proxy.get(f"/hls/news/{names(before)[0]}")).status == 404

    assert numbers(after)[0] > numbers(before)[-1]
    assert names(after)[0].partition("-")[0] != names(before)[0].partition("-")[0]
    assert b"DISCONTINUITY\n" not in after.body


async def test_an_upstream_that_ends_is_opened_again_for_the_next_playlist(tmp_path: Path) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(OK + film(5))

    async with cutting(tmp_path, script) as (proxy, seen):
        prefix, _, number = names(await proxy.get(PLAYLIST))[0].removesuffix(".ts").partition("-")
        # What was there at the end can be had, though there is no entry behind it.
        while (await proxy.get(f"/hls/news/{prefix}-{int(number) + 2}.ts")).status != 200:
            await asyncio.sleep(0.01)
        assert seen.total["/live.ts"] == 1
        answer = await complete(proxy, 5)

    assert answer.status == 200
    before, _, _ = answer.body.decode().partition("#EXT-X-DISCONTINUITY\n")
    assert sum(map(float, re.findall("#EXTINF:([0-9.]+)", before))) == pytest.approx(5, abs=0.05)
    assert seen.total["/live.ts"] >= 2


async def test_parts_of_a_segment_can_be_had(tmp_path: Path) -> None:
    async with cutting(tmp_path) as (proxy, _):
        url = f"/hls/news/{names(await proxy.get(PLAYLIST))[0]}"
        whole = await proxy.get(url)
        part = await proxy.get(url, headers={"Range": "bytes=188-375"})
        end = await proxy.get(url, headers={"Range": "bytes=-10"})
        beyond = await proxy.get(url, headers={"Range": "bytes=99999999-"})
        head = await proxy.get(url, method="HEAD", headers={"Range": "bytes=1-2"})

    size = len(whole.body)
    assert (whole.status, whole.headers["content-length"]) == (200, str(size))
    assert int(whole.headers["cache-control"].removeprefix("max-age=")) >= 60
    assert whole.headers["access-control-allow-origin"] == "*"
    assert (part.status, part.headers["content-range"], part.body) == (
        206,
        f"bytes 188-375/{size}",
        whole.body[188:376],
    )
    assert (end.status, end.body) == (206, whole.body[-10:])
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(size), b"")


async def test_who_only_asks_what_there_is_opens_nothing(tmp_path: Path) -> None:
    async with cutting(tmp_path) as (proxy, seen):
        head = await proxy.get(PLAYLIST, method="HEAD")
        options = await proxy.get(PLAYLIST, method="OPTIONS")
        gone = await proxy.get("/hls/news/0123abcd-7.ts")
        assert seen.total["/live.ts"] == 0

        (name, *_) = names(await proxy.get(PLAYLIST))
        assert (await proxy.get(f"/hls/news/{name}")).status == 200
        assert (await proxy.get(f"/hls/news/01234567-{name.partition('-')[2]}")).status == 404
        assert (await proxy.get(f"/hls/news/{name.partition('-')[0]}-7.ts")).status == 404
    assert (head.status, head.headers["content-type"]) == (200, "application/vnd.apple.mpegurl")
    assert options.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert (gone.status, gone.headers["access-control-allow-origin"]) == (404, "*")


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"HTTP/1.1 404 Not Found", 404), (b"HTTP/1.1 500 Oh", 502), (b"HTTP/1.1 200 OK", 502)],
)
async def test_an_upstream_that_fails_is_told_as_everywhere(tmp_path: Path, head: bytes, status: int) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with cutting(tmp_path, script, path="/secret/live.ts") as (proxy, seen):
        answer = await proxy.get(PLAYLIST)
        await seen.until(lambda origin: not origin.open.total())

    assert answer.status == status
    assert "upstream" in answer.headers["x-streamproxy-error"]
    assert b"secret" not in answer.body
    assert answer.headers["cache-control"] == "no-store"


async def test_where_nothing_that_can_be_played_comes_the_first_request_is_answered_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hls_cut, "_PATIENCE", 0.3)
    async with cutting(tmp_path, endless) as (proxy, seen):
        answer = await proxy.get(PLAYLIST)
        await seen.until(lambda origin: not origin.open.total())

    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["x-streamproxy-error"] == "nothing that can be played came within 0.3 s"


async def test_what_an_address_does_not_tell_is_found_out(tmp_path: Path) -> None:
    async with cutting(tmp_path, path="/live/1") as (proxy, seen):
        first = await proxy.get(PLAYLIST)
        second = await complete(proxy, 4)

        # It was asked for a playlist once, and then for the stream.
        assert (seen.total["/live/1"], seen.peak["/live/1"]) == (2, 1)
    assert names(first)[0] == names(second)[0]


async def test_what_is_found_to_be_no_media_is_told(tmp_path: Path) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{'no': 1}")

    async with cutting(tmp_path, script, path="/live/1") as (proxy, _):
        answer = await proxy.get(PLAYLIST)

    assert answer.status == 502
    assert "JSON" in answer.headers["x-streamproxy-error"]


@pytest.mark.parametrize("kind", ["ts", "auto"])
async def test_it_takes_one_connection_of_the_account(tmp_path: Path, kind: str) -> None:
    path = {"ts": "/1.ts", "auto": "/1"}[kind]
    async with provider(1) as account:
        streams = {"news": {"url": account.url(path), "account": "provider"}}
        async with running(on_account(tmp_path, account, 1, streams=streams)) as proxy:
            request = asyncio.ensure_future(proxy.get(PLAYLIST))
            async with asyncio.timeout(5):
                while not account.open:
                    await asyncio.sleep(0.01)
            async with proxy.open("/stream/news") as viewer:
                assert viewer.status == 200
                assert account.beyond == 0
            request.cancel()
            await asyncio.wait([request])
        await account.empty()


async def test_viewers_and_what_they_got_are_counted(tmp_path: Path) -> None:
    async with cutting(tmp_path) as (proxy, _):
        playlist = await proxy.get(PLAYLIST)
        segment = await proxy.get(f"/hls/news/{names(playlist)[0]}")
        counted = json.loads((await proxy.get("/stats")).body)["proxy_stats"]

    assert (counted["total_clients"], counted["total_segments_served"]) == (1, 1)
    assert counted["total_bytes_served"] == len(playlist.body) + len(segment.body)


@needs_ffmpeg
@pytest.mark.asyncio(loop_factories=["uvloop"])  # a player cannot tell one from the other
@pytest.mark.parametrize(
    "options",
    [{"b_frames": 2}, {"video": "mpeg2video", "audio": "mp2"}, {"video": None}],
    ids=["h264", "mpeg2", "radio"],
)
async def test_players_decode_it_without_an_error(tmp_path: Path, options: dict[str, Any]) -> None:
    stream = transport_stream(seconds=14, size="160x90", **options)
    async with cutting(tmp_path, sending(stream)) as (proxy, _):
        answer = await complete(proxy, 4)
        joined = b"".join([(await proxy.get(f"/hls/news/{name}")).body for name in names(answer)])
        process = await asyncio.create_subprocess_exec(
            *("ffmpeg", "-v", "warning", "-nostdin", "-i", f"http://127.0.0.1:{proxy.port}{PLAYLIST}"),
            *("-t", "7", "-map", "0", "-f", "null", "-"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, complaints = await process.communicate()

    assert (process.returncode, complaints) == (0, b"")
    assert check(joined).faults == []
