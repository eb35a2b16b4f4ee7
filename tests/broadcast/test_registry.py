"""At most one source runs per channel, for as long as anybody watches; whoever comes, at any moment, is served."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.broadcast.broadcast import Broadcast
from streamproxy.broadcast.reader import END, Reader
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamRefused
from streamproxy.model import TRANSPORT_STREAM, Channel, Sink, Upstream
from streamproxy.tasks import Tasks
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.virtual_time import in_virtual_time, now


def channel(name: str) -> Channel:
    return Channel(name, name.title(), (Upstream(f"http://user:secret@provider/{name}.ts", "provider"),))


NEWS, SPORT = channel("news"), channel("sport")


class ScriptedSource:
    """Runs until it is told how to end, and shuts in so many turns of the event loop.

    Attributes:
        opened: Set when it runs.
        shut: Set when it has ended.
        ending: Its result or its exception is how it ends.
        may_shut: Set it to let it shut.
        sink: What it writes to.
        cancelled: How often it was cancelled.
    """

    format = TRANSPORT_STREAM

    sink: Sink

    def __init__(self, running: Counter[str], channel: Channel, *, slow: bool) -> None:
        self.opened = asyncio.Event()
        self.shut = asyncio.Event()
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.may_shut = asyncio.Event()
        self.cancelled = 0
        self._running = running
        self._channel = channel
        if not slow:
            self.may_shut.set()

    async def run(self, sink: Sink) -> None:
        self._running[self._channel.id] += 1
        assert self._running[self._channel.id] == 1, "a second connection"
        self.sink = sink
        self.opened.set()
        try:
            await self.ending
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            await self._shut()

    async def _shut(self) -> None:
        try:
            await self.may_shut.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._running[self._channel.id] -= 1
            self.shut.set()


class Visit:
    """Somebody who watches a channel.

    Attributes:
        joined: Its result is the reader, or why there is none.
    """

    def __init__(self, registry: BroadcastRegistry, channel: Channel = NEWS) -> None:
        self.joined: asyncio.Future[Reader] = asyncio.get_running_loop().create_future()
        self._leaving = asyncio.Event()
        self._task = asyncio.create_task(self._stay(registry, channel))

    async def leave(self) -> None:
        """Leave properly, as soon as joined."""
        self._leaving.set()
        await self._task

    async def vanish(self) -> None:
        """Be cancelled, wherever that hits."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _stay(self, registry: BroadcastRegistry, channel: Channel) -> None:
        try:
            async with registry.join(channel) as reader:
                self.joined.set_result(reader)
                await self._leaving.wait()
        except UpstreamError as error:
            self.joined.set_exception(error)
            # Not every test asks why.
            self.joined.exception()


async def one_turn() -> None:
    """Let the event loop run what is ready."""
    await asyncio.sleep(0)


class Unwatched:
    """Takes note of channels that run on for nobody.

    Attributes:
        stops: How to stop each of them.
    """

    def __init__(self) -> None:
        self.stops: dict[str, Callable[[], object]] = {}

    def linger(self, channel_id: str, stop: Callable[[], object]) -> None:
        self.stops[channel_id] = stop

    def in_use(self, channel_id: str) -> None:
        self.stops.pop(channel_id, None)


class Scene:
    """A registry, its sources and its viewers.

    Attributes:
        registry: The registry.
        sources: All that it had made, in order.
        unwatched: What runs on for nobody.
        slow: Whether those that are made next shut only when they are told to.
        ended: The broadcasts whose source is shut.
        lingers: Seconds that channels linger that do so otherwise than the others, by their ids.
    """

    def __init__(self, tasks: Tasks, relay: RelayConfig) -> None:
        self.unwatched = Unwatched()
        self.ended: list[Broadcast] = []
        self.lingers: dict[str, float] = {}
        self.registry = BroadcastRegistry(
            self._open_source,
            relay,
            tasks,
            lingering=self.unwatched,
            ended=self.ended.append,
            linger_of=lambda channel: self.lingers.get(channel.id),
        )
        self.sources: list[ScriptedSource] = []
        self.slow = False
        self._running: Counter[str] = Counter()
        self._visits: list[Visit] = []

    def visit(self, channel: Channel = NEWS) -> Visit:
        """Let somebody join a channel."""
        self._visits.append(Visit(self.registry, channel))
        return self._visits[-1]

    async def watch(self, channel: Channel = NEWS) -> Visit:
        """Let somebody join a channel that does not run, and let it start."""
        made = len(self.sources)
        visit = self.visit(channel)
        await one_turn()
        source = self.sources[made]
        await source.opened.wait()
        source.sink.write(b"first")
        await visit.joined
        return visit

    async def end(self) -> None:
        """End everything; nothing may be left in the registry then."""
        for source in self.sources:
            source.may_shut.set()
        for visit in self._visits:
            await visit.vanish()
        await self.registry.close()
        assert self._running.total() == 0
        await one_turn()
        assert (self.registry.running, self.registry._entries, self.registry._alive) == ([], {}, {})
        assert not self.unwatched.stops

    def _open_source(self, channel: Channel) -> ScriptedSource:
        self.sources.append(ScriptedSource(self._running, channel, slow=self.slow))
        return self.sources[-1]


@asynccontextmanager
async def a_scene(**relay: float) -> AsyncIterator[Scene]:
    async with Tasks() as tasks:
        scene = Scene(tasks, RelayConfig.model_validate(relay))
        yield scene
        await scene.end()


async def test_all_viewers_of_a_channel_share_one_source() -> None:
    async with a_scene() as scene:
        first = await scene.watch()
        second = scene.visit()

        readers = [await first.joined, await second.joined]
        scene.sources[0].sink.write(b"second")

        assert len(scene.sources) == 1
        for reader in readers:
            assert [await reader.get(), await reader.get()] == [b"first", b"second"]


async def test_each_channel_has_a_source_of_its_own() -> None:
    async with a_scene() as scene:
        await scene.watch(NEWS)
        scene.visit(SPORT)
        await one_turn()

        assert sorted(broadcast.channel.id for broadcast in scene.registry.running) == ["news", "sport"]
        assert len(scene.sources) == 2


async def test_joining_waits_for_the_first_bytes() -> None:
    async with a_scene() as scene:
        visits = [scene.visit(), scene.visit()]
        await one_turn()
        await scene.sources[0].opened.wait()
        assert not any(visit.joined.done() for visit in visits)

        scene.sources[0].sink.write(b"first")

        assert [await (await visit.joined).get() for visit in visits] == [b"first", b"first"]


async def test_the_source_is_shut_when_the_last_viewer_leaves_and_not_before() -> None:
    async with a_scene() as scene:
        first = await scene.watch()
        second = scene.visit()
        await second.joined

        await first.leave()
        await one_turn()
        assert scene.sources[0].cancelled == 0

        await second.leave()
        await scene.sources[0].shut.wait()
        assert scene.registry.running == []


async def test_the_source_is_shut_when_its_last_viewer_vanishes() -> None:
    async with a_scene() as scene:
        visit = await scene.watch()

        await visit.vanish()

        await scene.sources[0].shut.wait()


async def test_the_source_is_shut_when_a_viewers_handler_fails() -> None:
    async with a_scene() as scene:
        first = await scene.watch()

        async def fail() -> None:
            async with scene.registry.join(NEWS):
                await first.leave()
                raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await fail()

        await scene.sources[0].shut.wait()


async def test_whoever_leaves_before_the_first_bytes_shuts_the_source_too() -> None:
    async with a_scene() as scene:
        visit = scene.visit()
        await one_turn()
        await scene.sources[0].opened.wait()

        await visit.vanish()

        await scene.sources[0].shut.wait()
        await one_turn()
        assert scene.registry._entries == {}


async def test_whoever_leaves_before_the_source_is_opened_prevents_that() -> None:
    async with a_scene() as scene:
        joining = scene.registry.join(NEWS).__aenter__()
        task = asyncio.ensure_future(joining)
        task.cancel()
        await asyncio.wait([task])
        await one_turn()

        assert not any(source.opened.is_set() for source in scene.sources)
        assert scene.registry._entries == {}


async def test_whoever_gives_up_waiting_takes_nobody_along() -> None:
    async with a_scene() as scene:
        leaving, staying = scene.visit(), scene.visit()
        await one_turn()
        await leaving.vanish()
        await scene.sources[0].opened.wait()
        scene.sources[0].sink.write(b"first")

        assert await (await staying.joined).get() == b"first"
        assert scene.registry.running[0].readers == 1


async def test_whoever_joins_while_a_source_is_being_shut_is_served_by_its_successor() -> None:
    async with a_scene() as scene:
        scene.slow = True
        visit = await scene.watch()
        await visit.leave()
        joining = [scene.visit(), scene.visit()]
        for _ in range(5):
            await one_turn()
        first, second = scene.sources
        assert first.cancelled == 1
        assert not second.opened.is_set()

        first.may_shut.set()
        await second.opened.wait()
        assert first.shut.is_set()
        second.sink.write(b"new")

        assert [await (await visit.joined).get() for visit in joining] == [b"new", b"new"]


async def test_whoever_joins_while_a_source_is_being_shut_may_leave_again_before_that() -> None:
    async with a_scene() as scene:
        scene.slow = True
        visit = await scene.watch()
        await visit.leave()
        for _ in range(3):
            impatient = scene.visit()
            await one_turn()
            await impatient.vanish()
        assert not any(source.opened.is_set() for source in scene.sources[1:])

        scene.sources[0].may_shut.set()
        await scene.sources[0].shut.wait()
        await one_turn()

        assert scene.registry._entries == {}


async def test_a_chain_of_successors_never_overlaps() -> None:
    async with a_scene() as scene:
        scene.slow = True
        visit = await scene.watch()
        await visit.leave()
        impatient = scene.visit()
        await one_turn()
        await impatient.vanish()
        patient = scene.visit()
        await one_turn()

        scene.sources[0].may_shut.set()
        last = scene.sources[-1]
        await last.opened.wait()
        last.sink.write(b"new")

        assert await (await patient.joined).get() == b"new"
        assert not scene.sources[1].opened.is_set()


async def test_a_failure_before_the_first_bytes_is_told_to_everybody_who_waits() -> None:
    async with a_scene() as scene:
        visits = [scene.visit() for _ in range(3)]
        await one_turn()
        failure = UpstreamRefused("provider", 404)
        scene.sources[0].ending.set_exception(failure)

        joined = await asyncio.gather(*(visit.joined for visit in visits), return_exceptions=True)

        assert joined == [failure] * 3
        await one_turn()
        assert scene.registry._entries == {}


async def test_after_a_failure_the_next_viewer_tries_again() -> None:
    async with a_scene() as scene:
        unlucky = scene.visit()
        await one_turn()
        scene.sources[0].ending.set_exception(UpstreamBroken("provider", "the connection broke"))
        with pytest.raises(UpstreamBroken):
            await unlucky.joined

        visit = await scene.watch()

        assert await (await visit.joined).get() == b"first"
        assert len(scene.sources) == 2


async def test_whoever_joins_while_a_failed_source_is_being_shut_shares_its_failure() -> None:
    async with a_scene() as scene:
        scene.slow = True
        early = scene.visit()
        await one_turn()
        await scene.sources[0].opened.wait()
        scene.sources[0].ending.set_exception(UpstreamRefused("provider", 404))
        await one_turn()
        late = scene.visit()
        await one_turn()
        scene.sources[0].may_shut.set()

        for visit in (early, late):
            with pytest.raises(UpstreamRefused):
                await visit.joined


async def test_a_source_that_ends_later_ends_its_readers() -> None:
    async with a_scene() as scene:
        visit = await scene.watch()
        reader = await visit.joined
        scene.sources[0].ending.set_result(None)

        assert [await reader.get(), await reader.get()] == [b"first", END]
        assert scene.registry.running == []


async def test_whoever_joins_when_a_source_has_ended_gets_a_new_one_while_others_read_on() -> None:
    async with a_scene() as scene:
        old = await scene.watch()
        scene.sources[0].ending.set_result(None)
        await scene.sources[0].shut.wait()

        new = await scene.watch()
        await old.leave()

        assert len(scene.sources) == 2
        assert scene.sources[1].cancelled == 0
        assert await (await new.joined).get() == b"first"


async def test_a_mistake_in_a_source_is_told_as_a_failure() -> None:
    async with a_scene() as scene:
        visit = scene.visit()
        await one_turn()
        scene.sources[0].ending.set_exception(ZeroDivisionError())

        with pytest.raises(UpstreamBroken):
            await visit.joined
        await scene.watch()


async def test_a_source_that_cannot_be_made_leaves_nothing_behind() -> None:
    def refuse(channel: Channel) -> ScriptedSource:
        raise UpstreamBroken(channel.id, "no such kind of source")

    async with Tasks() as tasks:
        registry = BroadcastRegistry(refuse, RelayConfig(), tasks)

        with pytest.raises(UpstreamBroken):
            async with registry.join(NEWS):
                pytest.fail("joined what cannot be made")

        assert registry._entries == {}


async def test_other_settings_hold_for_what_starts_from_now_on() -> None:
    async with a_scene() as scene:
        await scene.watch(NEWS)
        scene.registry.configure(RelayConfig(history=0))
        await scene.watch(SPORT)

        old, new = scene.visit(NEWS), scene.visit(SPORT)

        assert [(await old.joined).lag, (await new.joined).lag] == [1, 0]


async def test_closing_ends_viewers_and_waits_until_every_source_is_shut() -> None:
    async with a_scene() as scene:
        scene.slow = True
        reader = await (await scene.watch(NEWS)).joined
        waiting = scene.visit(SPORT)
        await one_turn()
        closing = asyncio.create_task(scene.registry.close())
        with pytest.raises(UpstreamBroken, match="the channel was stopped"):
            await waiting.joined
        assert [await reader.get(), await reader.get()] == [b"first", END]
        for source in scene.sources:
            assert not closing.done()
            source.may_shut.set()

        await closing

        assert all(source.shut.is_set() for source in scene.sources if source.opened.is_set())


async def test_closing_waits_for_a_source_that_is_being_shut_already() -> None:
    async with a_scene() as scene:
        scene.slow = True
        await (await scene.watch()).leave()
        closing = asyncio.create_task(scene.registry.close())
        await one_turn()
        await one_turn()
        assert not closing.done()

        scene.sources[0].may_shut.set()
        await closing

        assert scene.sources[0].shut.is_set()


async def test_closing_waits_for_the_source_before_a_successor() -> None:
    async with a_scene() as scene:
        scene.slow = True
        await (await scene.watch()).leave()
        scene.visit()
        await one_turn()

        closing = asyncio.create_task(scene.registry.close())
        for _ in range(5):
            await one_turn()

        assert not closing.done()


async def test_closing_does_not_disturb_a_source_that_is_being_shut_already() -> None:
    async with a_scene() as scene:
        scene.slow = True
        await (await scene.watch()).leave()
        await one_turn()

        closing = asyncio.create_task(scene.registry.close())
        for _ in range(5):
            await one_turn()
        scene.sources[0].may_shut.set()
        await closing

        assert scene.sources[0].cancelled == 1


async def test_closing_nothing_is_over_at_once() -> None:
    async with a_scene() as scene:
        await scene.registry.close()


# From here on time is virtual.


async def test_what_is_kept_runs_on_for_nobody_until_it_is_not() -> None:
    async with a_scene() as scene:
        with scene.registry.keeping("news"), scene.registry.keeping("news"):
            await (await scene.watch()).leave()
            await one_turn()
            assert scene.sources[0].cancelled == 0
        await scene.sources[0].shut.wait()
        assert scene.registry.running == []


async def test_what_is_kept_and_watched_is_left_to_who_watches() -> None:
    async with a_scene() as scene:
        with scene.registry.keeping("news"), scene.registry.keeping("sport"):
            visit = await scene.watch()
        await one_turn()
        assert scene.sources[0].cancelled == 0
        await visit.leave()
        await scene.sources[0].shut.wait()


async def test_a_channel_can_be_stopped_whoever_watches_or_keeps_it() -> None:
    async with a_scene() as scene:
        reader = await (await scene.watch()).joined
        with scene.registry.keeping("news"):
            scene.registry.stop("news")
            scene.registry.stop("sport")

            assert [await reader.get(), await reader.get()] == [b"first", b""]
            await scene.sources[0].shut.wait()


async def test_every_broadcast_whose_source_is_shut_is_told_of() -> None:
    async with a_scene() as scene:
        await (await scene.watch()).leave()
        await scene.sources[0].shut.wait()
        await one_turn()
        await one_turn()

    assert [(broadcast.channel.id, broadcast.received) for broadcast in scene.ended] == [("news", 5)]


def test_a_channel_may_have_a_linger_of_its_own() -> None:
    async def leave() -> None:
        async with a_scene(linger=10) as scene:
            scene.lingers["news"] = 3
            await (await scene.watch()).leave()
            left = now()
            await scene.sources[0].shut.wait()
            assert now() == left + 3

    in_virtual_time(leave())


def test_the_source_stays_open_for_the_linger() -> None:
    async def leave() -> None:
        async with a_scene(linger=10) as scene:
            await (await scene.watch()).leave()
            left = now()
            await scene.sources[0].shut.wait()
            assert now() == left + 10

    in_virtual_time(leave())


def test_whoever_joins_within_the_linger_finds_the_source_running() -> None:
    async def come_back() -> None:
        async with a_scene(linger=10) as scene:
            await (await scene.watch()).leave()
            await asyncio.sleep(9)
            visit = scene.visit()

            assert await (await visit.joined).get() == b"first"
            await asyncio.sleep(100)
            assert len(scene.sources) == 1
            assert scene.sources[0].cancelled == 0

    in_virtual_time(come_back())


def test_what_lingers_can_be_stopped_until_somebody_watches_again() -> None:
    async def leave_and_come_back() -> None:
        async with a_scene(linger=10) as scene:
            visit = await scene.watch()
            assert not scene.unwatched.stops
            await visit.leave()
            assert list(scene.unwatched.stops) == ["news"]
            await scene.visit().joined
            assert not scene.unwatched.stops

    async def stop() -> None:
        async with a_scene(linger=10) as scene:
            await (await scene.watch()).leave()
            left = now()
            scene.unwatched.stops["news"]()
            await scene.sources[0].shut.wait()
            assert now() == left

    in_virtual_time(leave_and_come_back())
    in_virtual_time(stop())


def test_what_has_ended_lingers_no_more() -> None:
    async def end() -> None:
        async with a_scene(linger=10) as scene:
            await (await scene.watch()).leave()
            scene.sources[0].ending.set_result(None)
            await asyncio.sleep(1)
            assert not scene.unwatched.stops

    in_virtual_time(end())


def test_each_last_viewer_leaves_a_whole_linger_behind() -> None:
    async def come_back_and_leave() -> None:
        async with a_scene(linger=10) as scene:
            await (await scene.watch()).leave()
            await asyncio.sleep(9)
            await scene.visit().leave()
            left = now()
            await scene.sources[0].shut.wait()
            assert now() == left + 10

    in_virtual_time(come_back_and_leave())


def test_a_source_that_nobody_waited_for_lingers_too() -> None:
    async def vanish() -> None:
        async with a_scene(linger=10) as scene:
            visit = scene.visit()
            await one_turn()
            await visit.vanish()
            await scene.sources[0].shut.wait()
            assert now() == 10

    in_virtual_time(vanish())


def test_a_linger_that_is_over_does_not_stop_the_successor() -> None:
    async def start_again() -> None:
        async with a_scene(linger=10) as scene:
            await (await scene.watch()).leave()
            await asyncio.sleep(5)
            scene.sources[0].ending.set_result(None)
            await scene.sources[0].shut.wait()
            await scene.watch()
            await asyncio.sleep(100)
            assert scene.sources[1].cancelled == 0

    in_virtual_time(start_again())


def test_a_linger_that_runs_out_does_not_disturb_closing() -> None:
    async def close() -> None:
        async with a_scene(linger=10) as scene:
            scene.slow = True
            await (await scene.watch()).leave()
            await asyncio.sleep(9)
            closing = asyncio.create_task(scene.registry.close())
            await asyncio.sleep(2)
            scene.sources[0].may_shut.set()
            await closing
            assert scene.sources[0].cancelled == 1

    in_virtual_time(close())


class End(StrEnum):
    """How a source ends if nobody stops it."""

    NEVER = "never"
    ENDS = "ends"
    FAILS = "fails"


class Script(NamedTuple):
    """What a source does: chunks are one second apart."""

    silence: int
    chunks: int
    end: End
    shutting: int
    turns: int


class Plan(NamedTuple):
    """What a viewer does; one who is killed is cancelled, wherever that hits."""

    channel: int
    arrival: int
    turns: int
    stay: int
    killed: bool


class Storm:
    """Sources that do as scripted, viewers who do as planned, and whatever went wrong with them."""

    def __init__(self, scripts: list[Script], linger: int, closing: int | None) -> None:
        self.faults: list[str] = []
        self.sources: list[StormSource] = []
        self.open: Counter[str] = Counter()
        self.departures: defaultdict[str, list[float]] = defaultdict(list)
        self.linger = linger
        self.closing = closing
        self._scripts = scripts

    def open_source(self, channel: Channel) -> "StormSource":
        script = self._scripts[len(self.sources) % len(self._scripts)]
        self.sources.append(StormSource(self, channel, len(self.sources), script))
        return self.sources[-1]

    async def visit(self, registry: BroadcastRegistry, plan: Plan) -> None:
        channel = (NEWS, SPORT)[plan.channel]
        await asyncio.sleep(plan.arrival)
        for _ in range(plan.turns):
            await one_turn()
        received: list[bytes] = []
        try:
            async with registry.join(channel) as reader:
                if not reader.lag:
                    self.faults.append("let in before the first bytes")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(plan.stay):
                        while data := await reader.get():
                            received.append(data)
                        self.judge_end(received)
        except UpstreamError as error:
            self.judge_failure(error)
        finally:
            self.departures[channel.id].append(now())
            self.judge(received)

    async def close(self, registry: BroadcastRegistry, moment: int) -> None:
        await asyncio.sleep(moment)
        opened = [source for source in self.sources if source.opened]
        await registry.close()
        if any(source.shut_at is None for source in opened):
            self.faults.append("not shut by closing")

    def judge(self, received: list[bytes]) -> None:
        if any(after != bytes((before[0], before[1] + 1)) for before, after in pairwise(received)):
            self.faults.append(f"not in order: {received}")

    def judge_end(self, received: list[bytes]) -> None:
        if not received or self.sources[received[0][0]].cancelled_at not in (None, self.closing):
            self.faults.append("shut under a viewer")

    def judge_failure(self, error: UpstreamError) -> None:
        told = any(source.failure is error for source in self.sources)
        if not told and error.reason != "the upstream sent nothing" and now() != self.closing:
            self.faults.append(f"failed for no reason: {error}")


class StormSource:
    """Writes chunks that say whose they are and their number."""

    format = TRANSPORT_STREAM

    def __init__(self, storm: Storm, channel: Channel, serial: int, script: Script) -> None:
        self.channel = channel
        self.failure: UpstreamError | None = None
        self.cancelled_at: float | None = None
        self.opened = False
        self.shut_at: float | None = None
        self.script = script
        self._storm = storm
        self._serial = serial

    async def run(self, sink: Sink) -> None:
        self.opened = True
        self._storm.open[self.channel.id] += 1
        if self._storm.open[self.channel.id] > 1:
            self._storm.faults.append("a second connection")
        try:
            await self._write(sink)
        except asyncio.CancelledError:
            self.cancelled_at = now()
            raise
        finally:
            await self._shut()

    async def _write(self, sink: Sink) -> None:
        await asyncio.sleep(self.script.silence)
        for number in range(self.script.chunks if self.script.end is not End.NEVER else 200):
            sink.write(bytes((self._serial, number)))
            await asyncio.sleep(1)
        if self.script.end is End.FAILS:
            self.failure = UpstreamBroken("provider", f"failure of source {self._serial}")
            raise self.failure

    async def _shut(self) -> None:
        try:
            await asyncio.sleep(self.script.shutting)
            for _ in range(self.script.turns):
                await one_turn()
        except asyncio.CancelledError:
            if self.cancelled_at is not None:
                self._storm.faults.append("cancelled twice")
            self.cancelled_at = now()
            raise
        finally:
            self._storm.open[self.channel.id] -= 1
            self.shut_at = now()


moments = st.integers(0, 5)
plans = st.builds(Plan, st.integers(0, 1), moments, st.integers(0, 8), moments, st.booleans())
scripts = st.builds(Script, st.integers(0, 2), st.integers(0, 3), st.sampled_from(End), st.integers(0, 2), moments)


@given(
    st.lists(plans, min_size=1, max_size=12),
    st.lists(scripts, min_size=1, max_size=6),
    st.sampled_from([0, 0, 1, 3]),
    st.none() | moments,
)
@settings(deadline=None, max_examples=600)
def test_every_promise_holds_in_any_storm_of_viewers(
    plans: list[Plan], scripts: list[Script], linger: int, closing: int | None
) -> None:
    storm = Storm(scripts, linger, closing)
    with structlog.testing.capture_logs() as logged:
        in_virtual_time(_rage(storm, plans))

    assert storm.faults == []
    assert not [line for line in logged if line["log_level"] == "error"]
    for source in storm.sources:
        departures = storm.departures[source.channel.id]
        if source.cancelled_at is not None and source.cancelled_at != closing:
            assert source.cancelled_at - linger in departures, "not shut when the last viewer left"
        if source.shut_at is not None:
            assert source.shut_at <= max(departures) + linger + source.script.shutting, "shut too late"


async def _rage(storm: Storm, plans: list[Plan]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: storm.faults.append(str(context)))
    async with Tasks() as tasks:
        unwatched = Unwatched()
        relay = RelayConfig(linger=storm.linger)
        registry = BroadcastRegistry(storm.open_source, relay, tasks, lingering=unwatched)
        visits = [asyncio.create_task(storm.visit(registry, plan)) for plan in plans]
        if storm.closing is not None:
            visits.append(asyncio.create_task(storm.close(registry, storm.closing)))
        for plan, visit in zip(plans, visits, strict=False):
            if plan.killed:
                loop.call_at(plan.arrival + plan.stay, visit.cancel)
        async with asyncio.timeout(100):
            await asyncio.wait(visits)
        for visit in visits:
            if not visit.cancelled():
                visit.result()
        await asyncio.sleep(storm.linger + 3)
        assert +storm.open == Counter()
        assert (registry.running, registry._entries, registry._alive, tasks._running) == ([], {}, {}, set())
        assert not unwatched.stops
