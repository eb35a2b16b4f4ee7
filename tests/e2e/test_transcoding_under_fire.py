"""Transcoding when things go wrong: ffmpeg dies, hangs or rants, hardware lies, and viewers come and go in crowds."""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_program import program as running_program
from tests.helpers.files import FileServer
from tests.helpers.origin import Origin, origin
from tests.helpers.programs import children, death, descriptors
from tests.helpers.proxy import Proxy, Viewer, config, running
from tests.helpers.transcoding import (
    TELEVISION_RATE,
    Live,
    decode,
    film,
    needs_ffmpeg,
    read_for,
    record,
    record_of,
    stand_in,
    television,
)
from tests.helpers.tscheck import check

pytestmark = [needs_ffmpeg, pytest.mark.asyncio(loop_factories=["uvloop"])]  # the stages below are tested under both

SMALL = {"max_height": 90, "video_bitrate": "100k", "effort": "low", "key_frame_interval": 0.5}
"""A profile that costs next to nothing."""


def settings(folder: Path, url: str, **transcode: object) -> dict[str, object]:
    """Say what is configured in these tests: two channels, and profiles that cost next to nothing."""
    profiles = {
        "small": SMALL,
        "smaller": SMALL | {"max_height": 72},
        "mp4": SMALL | {"container": "mp4"},
        "matroska": SMALL | {"container": "matroska"},
        "webm": SMALL | {"container": "webm", "video": "vp9", "audio": "opus"},
    }
    return {
        "streams": {"news": url, "sports": url},
        "retry": {"attempts": 0, "delay": 0.1, "backoff": 1},
        "relay": {"stall_timeout": 5},
        "transcode": {"hwaccel": "off", "max_processes": 9, "threads": 1, "profiles": profiles} | transcode,
    }


@asynccontextmanager
async def on_air(folder: Path, *, seconds: float = 15, **transcode: object) -> AsyncIterator[tuple[Proxy, Origin]]:
    """Run the program beside an upstream that sends for some seconds."""
    live = Live(television(seconds), TELEVISION_RATE)
    async with (
        origin(live) as upstream,
        running(config(folder, **settings(folder, upstream.url(), **transcode))) as proxy,
    ):
        yield proxy, upstream


async def crowd(stack: AsyncExitStack, proxy: Proxy, path: str, count: int) -> list[Viewer]:
    """Let so many viewers come at once."""
    viewers = await asyncio.gather(*(stack.enter_async_context(proxy.open(path)) for _ in range(count)))
    assert {viewer.status for viewer in viewers} == {200}
    return viewers


async def test_forty_viewers_need_one_ffmpeg_and_one_upstream_and_leave_nothing(tmp_path: Path) -> None:
    async with on_air(tmp_path) as (proxy, upstream):
        async with AsyncExitStack() as stack:
            crowds = [crowd(stack, proxy, path, 20) for path in ("/stream/news", "/stream/news~small")]
            viewers = [viewer for some in await asyncio.gather(*crowds) for viewer in some]
            for viewer in viewers:
                await viewer.reader.readexactly(188 * 50)
            (ffmpeg,) = children()
            assert (upstream.total.total(), len(viewers)) == (1, 40)
        await death(ffmpeg)
        await upstream.until(lambda seen: not +seen.open, within=5)
    assert children() == []


async def test_nothing_is_left_when_the_program_is_killed(tmp_path: Path) -> None:
    async with origin(Live(television(15), TELEVISION_RATE)) as upstream:
        said = settings(tmp_path, upstream.url()) | {"server": {"host": "127.0.0.1", "port": 0}}
        (tmp_path / "config.json").write_text(json.dumps(said))
        with running_program(tmp_path, "serve", "-c", "config.json") as (process, address):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            writer.write(b"GET /stream/news~small HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(188 * 10)
            ffmpegs = children(process.pid)
            assert len(ffmpegs) == 1
            process.kill()
            process.wait()
            await death(*ffmpegs)
            writer.close()
        await upstream.until(lambda seen: not +seen.open, within=5)


async def kill_and_watch(proxy: Proxy, times: int, *, longest_life: float) -> list[bytes]:
    """Kill ffmpeg again and again while three watch; return what they got."""
    chance = random.Random(5)
    async with AsyncExitStack() as stack:
        viewers = await crowd(stack, proxy, "/stream/news~small", 3)
        watching = [asyncio.create_task(_read_all(viewer)) for viewer in viewers]
        for _ in range(times):
            while not children():
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.random() * longest_life)
            for pid in children():
                os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGSEGV]))
        await asyncio.sleep(longest_life + 1)
        assert not any(task.done() for task in watching), "somebody was disconnected"
        proxy.service.stop()
        return list(await asyncio.gather(*watching))


async def _read_all(viewer: Viewer) -> bytes:
    return await viewer.reader.read()


async def test_viewers_notice_nothing_of_a_dying_ffmpeg_but_a_pause(tmp_path: Path) -> None:
    async with on_air(tmp_path) as (proxy, upstream):
        for data in await kill_and_watch(proxy, 2, longest_life=1.5):
            assert len(data) > 188 * 100
            assert check(data).faults == []
        assert decode(data) == ""
        assert upstream.total.total() == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_viewers_notice_nothing_of_fifty(tmp_path: Path) -> None:
    async with on_air(tmp_path, seconds=200) as (proxy, upstream):
        before = descriptors()
        for data in await kill_and_watch(proxy, 50, longest_life=3):
            assert check(data).faults == []
            assert decode(data) == ""
        assert upstream.total.total() == 1
    assert children() == []
    assert descriptors() <= before


async def test_the_clock_of_no_container_goes_back_when_ffmpeg_dies(tmp_path: Path) -> None:
    paths = [f"/stream/news~{name}" for name in ("mp4", "matroska", "webm")]
    async with on_air(tmp_path) as (proxy, _):
        watching = [asyncio.create_task(record(proxy, path, 9)) for path in paths]
        # So that they have something, and are in the middle of more.
        await asyncio.gather(*(record(proxy, path, 2) for path in paths))
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        for recording in await asyncio.gather(*watching):
            assert recording.complaints() == ""
            times = recording.key_frames()
            assert times == sorted(times)
            assert times[-1] - times[0] > 2
            assert recording.data.count(b"moov") + recording.data.count(b"\x1a\x45\xdf\xa3") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_film_goes_on_where_ffmpeg_died(tmp_path: Path) -> None:
    async with origin(FileServer(film(8))) as upstream:
        said = settings(tmp_path, upstream.url("/film.mp4"))
        async with running(config(tmp_path, **said)) as proxy, proxy.open("/stream/news~small") as viewer:
            data = await read_for(viewer, 4)
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                data += await viewer.reader.read()
    report = check(data)
    assert report.faults == []
    (pictures,) = (seen.pts_range for seen in report.streams.values() if seen.stream_type == 0x1B)
    assert pictures
    assert 6 < (pictures[1] - pictures[0]) / 90_000 < 10


async def test_a_transcoded_channel_ends_with_the_channel(tmp_path: Path) -> None:
    async with on_air(tmp_path, seconds=3) as (proxy, upstream), proxy.open("/stream/news~small") as viewer:
        async with asyncio.timeout(10):
            data = await viewer.reader.read()
        assert check(data).faults == []
        assert decode(data) == ""
        assert upstream.total.total() == 1
    assert children() == []


async def test_a_frozen_ffmpeg_is_replaced(tmp_path: Path) -> None:
    async with on_air(tmp_path, stall_timeout=1) as (proxy, _), proxy.open("/stream/news~small") as viewer:
        begun = await read_for(viewer, 1)
        (frozen,) = children()
        os.kill(frozen, signal.SIGSTOP)
        watching = asyncio.create_task(record_of(viewer, 3))
        await death(frozen)
        await watching
        (other,) = children()
        assert begun
        assert other != frozen


async def test_a_frozen_ffmpeg_does_not_outlive_its_viewers(tmp_path: Path) -> None:
    async with on_air(tmp_path) as (proxy, upstream):
        async with proxy.open("/stream/news~small") as viewer:
            await viewer.reader.readexactly(188 * 10)
            (frozen,) = children()
            os.kill(frozen, signal.SIGSTOP)
        await death(frozen)
        await upstream.until(lambda seen: not +seen.open, within=5)


RANTS = """
    if os.fork() == 0:
        for _ in range(100):
            os.write(2, b"ffmpeg complains of this and that, once more\\n" * 22_222)
        os._exit(0)
"""


async def test_a_hundred_megabytes_of_complaints_disturb_nobody(tmp_path: Path) -> None:
    async with on_air(tmp_path, ffmpeg=stand_in(tmp_path, RANTS)) as (proxy, _):
        async with proxy.open("/stream/news~small") as viewer:
            recording = await record_of(viewer, 6)
        assert check(recording.data).faults == []
        assert recording.complaints() == ""


PRETENDS = """
if "-encoders" in sys.argv:
    print(" V....D libx264 the usual\\n V....D h264_nvenc NVIDIA\\\n A....D aac AAC")
    sys.exit()
if "framecrc" in sys.argv:
    print("0, 0, 0, 1, 1000, 0x0")
    sys.exit()
"""
IN_SOFTWARE = """
CHANGED = {"-vf": "scale=-2:90", "-preset": "ultrafast", "-tune": "zerolatency"}

def in_software():
    given = iter(sys.argv[1:])
    kept = []
    for word in given:
        if word in ("-init_hw_device", "-filter_hw_device", "-hwaccel", "-hwaccel_device", "-hwaccel_output_format",
                    "-extra_hw_frames", "-rc", "-no-scenecut", "-forced-idr"):
            next(given)
        elif word in CHANGED:
            next(given)
            kept += [word, CHANGED[word]]
        else:
            kept.append("libx264" if word.startswith("h264_") else word)
    return kept
"""
FAILURES = {
    "at once": 'print("no such device", file=sys.stderr); sys.exit(1)',
    "after a while": "subprocess.run(['timeout', '1.5', 'ffmpeg', *in_software()])",
}


@pytest.mark.parametrize("how", FAILURES)
async def test_hardware_that_fails_is_replaced_by_software(tmp_path: Path, how: str) -> None:
    body = f"""
    if any(word.startswith("h264_") for word in sys.argv):
        {FAILURES[how]}
        sys.exit(1)
"""
    ffmpeg = stand_in(tmp_path, body)
    script = Path(ffmpeg)
    script.write_text(script.read_text().replace("\ndef real", f"{PRETENDS}{IN_SOFTWARE}\ndef real"))
    async with (
        on_air(tmp_path, ffmpeg=ffmpeg, hwaccel="auto", device="/dev/null") as (proxy, upstream),
        proxy.open("/events?events=upstream_failed") as events,
        AsyncExitStack() as stack,
    ):
        viewers = await crowd(stack, proxy, "/stream/news~small", 3)
        watching = [asyncio.create_task(_read_all(viewer)) for viewer in viewers]
        async with asyncio.timeout(30):
            fallback = await _told(events, "it goes on with software")
            await record(proxy, "/stream/news~small", 3)
        assert not any(task.done() for task in watching), "somebody was disconnected"
        proxy.service.stop()
        for data in await asyncio.gather(*watching):
            assert check(data).faults == []
        assert decode(data) == ""
        assert fallback["stream_id"] == "news~small"
        with pytest.raises(AssertionError, match="the events have ended"):
            await _told(events, "it goes on with software")
        assert upstream.total.total() == 1


async def _told(events: Viewer, reason: str) -> dict[str, Any]:
    """Wait for an event that gives a reason."""
    while line := await events.reader.readline():
        if line.startswith(b"data:") and reason in (event := json.loads(line[5:]))["data"]["reason"]:
            return dict(event)
    raise AssertionError("the events have ended")


async def zap(proxy: Proxy, steps: int) -> None:
    """Go from one channel and profile to another, and stay on each for a moment."""
    chance = random.Random(3)
    where = ["/stream/news", "/stream/news~small", "/stream/sports?profile=small", "/stream/news~smaller"]
    for _ in range(steps):
        async with proxy.open(chance.choice(where)) as viewer:
            assert viewer.status == 200
            if chance.random() < 0.7:
                await viewer.reader.readexactly(188)
            await asyncio.sleep(chance.random() * 0.2)


async def test_zapping_leaves_nothing_behind(tmp_path: Path) -> None:
    async with on_air(tmp_path) as (proxy, upstream):
        await asyncio.gather(zap(proxy, 4), zap(proxy, 4))
        await death(*children())
        await upstream.until(lambda seen: not +seen.open, within=5)
    assert children() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_two_hundred_steps_of_zapping_leave_nothing_behind(tmp_path: Path) -> None:
    async with on_air(tmp_path, seconds=300) as (proxy, upstream):
        await zap(proxy, 5)
        await death(*children())
        before = descriptors()
        await asyncio.gather(*(zap(proxy, 50) for _ in range(4)))
        await death(*children())
        await upstream.until(lambda seen: not +seen.open, within=5)
        assert descriptors() <= before
    assert children() == []
