"""Now and then, the newest packets of what runs are looked through."""

import asyncio
from collections.abc import Sequence

from streamproxy.audience import Audience
from streamproxy.broadcast.broadcast import Recalling, Taker
from streamproxy.broadcast.continuity import Continuity, Terms
from streamproxy.broadcast.failover import FailoverTerms, RetryTerms
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import RelayConfig
from streamproxy.formats.health import VitalTerms
from streamproxy.model import TRANSPORT_STREAM, Channel, Sink, StreamFormat, Upstream
from streamproxy.server.sampling import inspect_running
from streamproxy.server.transcoding import TranscodedFeed
from streamproxy.tasks import Tasks
from tests.formats.mpegts.test_inspection import stream

CHANNEL = Channel("news", "News", (Upstream("http://h/", "h"),))
TERMS = Terms(
    RetryTerms(attempts=0, delay=1, backoff=2, max_delay=10, jitter=0, total_timeout=0),
    FailoverTerms(cooldown=60, fail_back=None, healthy_after=10),
    None,
    VitalTerms(),
)


class Scripted:
    """A source that writes some pieces, and then nothing more."""

    format = TRANSPORT_STREAM

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self.written = asyncio.Event()

    async def run(self, sink: Sink) -> None:
        for piece in self._pieces:
            sink.write(piece)
        self.written.set()
        await asyncio.Event().wait()


class Other:
    """A feed of something else."""

    format = StreamFormat("video/webm")

    async def run(self, sink: Taker) -> None:
        sink.write(stream(1, 5))
        await asyncio.Event().wait()


class Recorded(Other):
    """A feed of its own that remembers what came, as that of a transcoded channel does."""

    format = TRANSPORT_STREAM

    def newest(self, count: int) -> list[bytes]:
        return [stream(0, 1), stream(7, 8, 9), stream(10, 12, 13)][-count:]


async def test_what_is_missing_is_counted_as_it_came_and_as_viewers_got_it() -> None:
    audience = Audience()
    source = Scripted([stream(0, 1), stream(7, 8, 9), stream(10, 12, 13)])
    async with Tasks() as tasks:
        registry = BroadcastRegistry(lambda it: Continuity(it, lambda _: source, TERMS), RelayConfig(), tasks)
        async with registry.join(CHANNEL):
            await source.written.wait()
            await inspect_running(registry, audience)
            counters = audience.records["news"].counters
            assert (counters.inspected, counters.cc_errors_in, counters.cc_errors_out) == (6, 1, 1)

            counters.splices = 1
            await inspect_running(registry, audience)
            assert (counters.inspected, counters.cc_errors_in, counters.cc_errors_out) == (12, 2, 2)


async def test_what_is_no_transport_stream_is_left_alone() -> None:
    audience = Audience()
    async with Tasks() as tasks:
        registry = BroadcastRegistry(lambda _: Other(), RelayConfig(), tasks)
        async with registry.join(CHANNEL):
            await inspect_running(registry, audience)
    assert audience.records == {}


async def test_a_feed_that_remembers_what_came_is_sampled_as_it_came_whatever_it_is() -> None:
    audience = Audience()
    async with Tasks() as tasks:
        registry = BroadcastRegistry(lambda _: Recorded(), RelayConfig(), tasks)
        async with registry.join(CHANNEL):
            await inspect_running(registry, audience)
    counters = audience.records["news"].counters
    assert (counters.inspected, counters.cc_errors_in, counters.cc_errors_out) == (6, 1, 1)


def test_a_transcoded_channel_remembers_what_came() -> None:
    assert issubclass(TranscodedFeed, Recalling)
