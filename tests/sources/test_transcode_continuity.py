"""A transcoded channel whose ffmpeg is killed again and again: its viewers see one stream without a fault."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Sequence

import pytest

from streamproxy.broadcast.continuity import Continuity, Terms
from streamproxy.broadcast.failover import FailoverTerms, RetryTerms
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import RelayConfig
from streamproxy.formats.health import VitalTerms
from streamproxy.formats.mpegts import Entry
from streamproxy.model import DEMO_URL, Channel, Upstream
from streamproxy.sources.demo import DemoSource
from streamproxy.sources.transcode import TranscodeSource
from streamproxy.tasks import Tasks
from tests.helpers.programs import children, descriptors
from tests.helpers.tscheck import check

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")

RELAY = RelayConfig(stall_timeout=2)
RETRY = RetryTerms(attempts=10, delay=0.05, backoff=1, max_delay=0.05, jitter=0, total_timeout=60)
TERMS = Terms(RETRY, FailoverTerms(cooldown=60, fail_back=None, healthy_after=10), None, VitalTerms())
RAW = Channel("raw", "Raw", (Upstream(DEMO_URL, "raw"),))
SMALL = Channel("raw-small", "Small", (Upstream(DEMO_URL, "small"),))
FFMPEG = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error"]
INTO_SMALL = ["-fflags", "nobuffer", "-analyzeduration", "500000", "-f", "mpegts", "-i", "pipe:0", "-threads", "1"]
INTO_SMALL += ["-vf", "scale=160:-2", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10"]
INTO_SMALL += ["-c:a", "copy", "-f", "mpegts", "pipe:1"]


class Viewer:
    """Keeps what a channel sends, and tells when it has gone on."""

    full = False

    def __init__(self) -> None:
        self.data = bytearray()
        self._more = asyncio.Event()

    def write(self, data: bytes, entries: Sequence[Entry] = (), /) -> None:
        del entries
        self.data += data
        self._more.set()

    async def drain(self) -> None:
        """Take everything."""

    async def goes_on(self) -> None:
        """Wait for more."""
        size = len(self.data)
        async with asyncio.timeout(20):
            while len(self.data) == size:
                self._more.clear()
                await self._more.wait()


async def play_and_kill(times: int) -> bytes:
    """Play a transcoded channel, kill its ffmpeg so many times, and return what its viewer got."""
    chance, viewer = random.Random(7), Viewer()
    async with Tasks() as tasks:
        registry = BroadcastRegistry(lambda _: DemoSource(), RELAY, tasks)

        def open_source(upstream: Upstream) -> TranscodeSource:
            command = [*FFMPEG, *INTO_SMALL]
            return TranscodeSource(upstream.label, lambda: registry.join(RAW), command, "video/mp2t", RELAY, nice=1)

        playing = asyncio.create_task(Continuity(SMALL, open_source, TERMS).run(viewer))
        await viewer.goes_on()
        for _ in range(times):
            # Some die while they start.
            await asyncio.sleep(chance.random() * 0.5)
            for pid in children():
                os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))
            await viewer.goes_on()
        await asyncio.sleep(0.5)
        assert not playing.done()
        playing.cancel()
        await asyncio.wait([playing])
        await registry.close()
    assert children() == []
    return bytes(viewer.data)


async def test_viewers_see_one_stream_although_ffmpeg_is_killed() -> None:
    report = check(await play_and_kill(4))
    assert report.faults == []
    assert sorted(report.stream_types.values()) == [0x0F, 0x1B]


@pytest.mark.slow
async def test_nothing_is_left_of_fifty_that_were_killed() -> None:
    await play_and_kill(1)
    before = descriptors()
    report = check(await play_and_kill(50))
    assert report.faults == []
    assert descriptors() <= before
