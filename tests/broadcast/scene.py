"""A channel on a stage: its upstreams, what they do, and a viewer; time is virtual."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from streamproxy.broadcast.continuity import Continuity, Terms
from streamproxy.broadcast.failover import FailoverTerms, RetryTerms
from streamproxy.errors import UpstreamBroken, UpstreamError
from streamproxy.formats.health import VitalTerms
from streamproxy.formats.mpegts import Entry
from streamproxy.model import TRANSPORT_STREAM, Channel, Sink, StreamFormat, Upstream
from tests.formats.splice.synthetic import FRAME, Maker
from tests.helpers.tscheck import check
from tests.helpers.virtual_time import now

RETRY = RetryTerms(attempts=3, delay=1, backoff=2, max_delay=15, jitter=0, total_timeout=60)
FAILOVER = FailoverTerms(cooldown=60, fail_back=None, healthy_after=10)
TERMS = Terms(RETRY, FAILOVER, None, VitalTerms())
NULL = b"\x47\x1f\xff\x10"

Play = Callable[[Sink], Awaitable[None]]


class Viewer:
    """Takes what a channel sends.

    Attributes:
        pieces: What came, and when.
    """

    full = False

    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self.entries: list[Entry] = []
        self._changed = asyncio.Event()

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def write(self, data: bytes, entries: Sequence[Entry] = (), /) -> None:
        self.pieces.append((now(), data))
        self.entries += entries
        self._changed.set()

    async def drain(self) -> None:
        """Take everything."""

    async def until(self, condition: Callable[[bytes], bool]) -> None:
        async with asyncio.timeout(1000):
            while not condition(self.data):
                self._changed.clear()
                await self._changed.wait()


class Camera:
    """What a provider sends: two pictures a piece, at their pace.

    Attributes:
        shown: Pictures sent.
    """

    def __init__(self, begin: int = 0) -> None:
        self._maker = Maker()
        self._time = begin
        self.shown = 0

    async def play(self, sink: Sink, pictures: int = 1 << 30) -> None:
        for number in range(pictures):
            if number % 10 == 0:
                sink.write(self._maker.tables())
            sink.write(self._maker.picture(self._time, key=number % 10 == 0) + self._maker.sound(self._time))
            self._time += FRAME
            self.shown += 1
            await asyncio.sleep(0.04)


@dataclass
class Scene:
    """A channel, its upstreams and its viewer.

    Attributes:
        plays: By label of the upstream, what each of its connections does; the last one again and again.
        opened: Which upstreams were opened, and when.
        open: Which are open now.
        slow: Which take several turns of the event loop to be shut.
    """

    plays: dict[str, list[Play]]
    terms: Terms = TERMS
    opened: list[tuple[str, float]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    form: StreamFormat = TRANSPORT_STREAM
    slow: Sequence[str] = ()
    viewer: Viewer = field(default_factory=Viewer)

    def feed(self) -> Continuity:
        upstreams = tuple(Upstream(f"http://{label}/", label) for label in self.plays if label != "slate")
        return Continuity(Channel("news", "News", upstreams), self.source, self.terms, jitter=lambda: 0.0)

    def source(self, upstream: Upstream) -> "Source":
        return Source(self, upstream.label)

    @property
    def labels(self) -> list[str]:
        return [label for label, _ in self.opened]


class Source:
    def __init__(self, scene: Scene, label: str) -> None:
        self._scene = scene
        self._label = label

    @property
    def format(self) -> StreamFormat:
        return self._scene.form

    async def run(self, sink: Sink) -> None:
        plays = self._scene.plays[self._label]
        play = plays.pop(0) if len(plays) > 1 else plays[0]
        self._scene.opened.append((self._label, now()))
        self._scene.open.append(self._label)
        try:
            await play(sink)
        finally:
            for _ in range(7 if self._label in self._scene.slow else 1):
                await asyncio.sleep(0)
            self._scene.open.remove(self._label)


def shows(pictures: int = 1 << 30, *, begin: int = 0, end: UpstreamError | None = None) -> Play:
    """Show pictures, and then fail; without a failure the stream comes to its end."""

    async def play(sink: Sink) -> None:
        await Camera(begin).play(sink, pictures)
        if end:
            raise end

    return play


def fails(error: UpstreamError) -> Play:
    async def play(sink: Sink) -> None:
        raise error

    return play


def arrives(signal: asyncio.Event) -> Play:
    """Send enough to be put in force, say so, and send nothing more."""

    async def play(sink: Sink) -> None:
        sink.write(Maker().stream(4_000_000, 20))
        signal.set()
        await asyncio.Event().wait()

    return play


def says_that_it_leaves(play: Play, signal: asyncio.Event) -> Play:
    async def leaves(sink: Sink) -> None:
        try:
            await play(sink)
        finally:
            signal.set()

    return leaves


def in_fragments(scene: Scene, header: bytes, data: bytes, then: Play | None = None) -> Play:
    """Send fragmented MP4, and go on in another way; else it comes to its end."""

    async def play(sink: Sink) -> None:
        scene.form = StreamFormat("video/mp4", header)
        sink.write(data)
        if then:
            await then(sink)

    return play


async def stays(sink: Sink) -> None:
    """Send nothing, without end."""
    await asyncio.Event().wait()


def lost(label: str = "one") -> UpstreamError:
    return UpstreamBroken(label, "the connection broke")


def pictures_in(data: bytes) -> int:
    return sum(data[at + 1] & 0x5F == 0x41 and data[at + 2] == 0 for at in range(0, len(data), 188))


async def watch(scene: Scene, until: Callable[[bytes], bool]) -> None:
    """Watch until something holds of what came; then leave, and see everything shut."""
    task = asyncio.create_task(scene.feed().run(scene.viewer))
    waiting = asyncio.create_task(scene.viewer.until(until))
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    assert not task.done(), "the channel ended"
    task.cancel()
    await asyncio.wait([task])
    assert scene.open == []
    await waiting


async def left_open(scene: Scene, feed: Continuity, signal: asyncio.Event, turns: int) -> list[str]:
    """Cancel a channel some turns of the event loop behind a signal; return what was still open when it had ended."""
    left: list[str] = []

    async def run() -> None:
        try:
            await feed.run(scene.viewer)
        finally:
            left.extend(scene.open)

    task = asyncio.create_task(run())
    async with asyncio.timeout(1000):
        await signal.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    return left


def faults(data: bytes) -> list[str]:
    return check(data).faults


def has_pictures(count: int) -> Callable[[bytes], bool]:
    return lambda data: pictures_in(data) >= count
