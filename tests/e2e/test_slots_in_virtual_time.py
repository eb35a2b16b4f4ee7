"""Ten thousand viewers of one account, and its provider, in virtual time: streams, HLS and files side by side."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from streamproxy.audience import Audience, Visitor
from streamproxy.broadcast.broadcast import Taker
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamBusy, UpstreamRefused
from streamproxy.model import TRANSPORT_STREAM, Channel, Sink, Upstream
from streamproxy.outputs.hls_viewers import HlsViewers
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.admission import AdmittedSource, SharedSlots
from streamproxy.sources.berth import Berth
from streamproxy.tasks import Tasks
from tests.helpers.virtual_time import in_virtual_time

ACCOUNT = "provider"
LIMIT = 2
EVENTS = 10_000

_SERIAL = 1 << 32


class Storm:
    """Viewers, and a provider whose connections fail in every way and take a while to close.

    Attributes:
        faults: What must not have happened.
        events: How often somebody came, left or vanished.
        open: Connections now.
        peak: The most there were.
        served: How many there were ever.
        refused: How many viewers were turned away.
        lost: Serials of connections that the provider ended.
    """

    def __init__(self, tasks: Tasks, *, linger: float, seed: int) -> None:
        self.faults: list[str] = []
        self.events = self.open = self.peak = self.served = self.refused = 0
        self.lost: set[int] = set()
        self.chance = random.Random(seed)
        self.accounts = Accounts({ACCOUNT: LIMIT})
        self.registry = BroadcastRegistry(
            partial(Feed, self), RelayConfig(linger=linger), tasks, lingering=self.accounts
        )
        self.viewers = HlsViewers(Audience(), SharedSlots(self.accounts, tasks))
        self._requests: Counter[int] = Counter()

    def source(self, berth: Berth) -> AdmittedSource:
        """Make the source of a channel, without opening it."""
        return AdmittedSource(Source(self), self.accounts.of(ACCOUNT), berth, within=self.accounts.grace)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[int]:
        """Open a connection, and close it slowly; gives its serial."""
        self.open += 1
        self.served += 1
        self.peak = max(self.peak, self.open)
        try:
            yield self.served
        finally:
            try:
                await asyncio.sleep(self.chance.choice((0, 0, 0.1, 1)))
            finally:
                self.open -= 1

    async def watch(self) -> None:
        """Be one viewer after the other: mostly of a few channels, in all three ways."""
        ways = (self._watch_stream, self._watch_stream, self._watch_hls, self._watch_file)
        while self.events < EVENTS:
            number = min(self.chance.randrange(10), self.chance.randrange(10))
            visit = asyncio.create_task(self.chance.choice(ways)(number))
            await asyncio.wait([visit], timeout=self.chance.choice((0, 0.05, 0.3, 2, 10)))
            visit.cancel()  # whoever has not left by now vanishes
            await asyncio.wait([visit])
            if not visit.cancelled():
                visit.result()
            self.events += 2
            await asyncio.sleep(self.chance.choice((0, 0, 0.1, 1)))

    async def _watch_stream(self, number: int) -> None:
        channel = Channel(f"c{number}", "", (Upstream("", ACCOUNT, account=ACCOUNT),))
        last = None
        try:
            async with self.registry.join(channel) as reader:
                while data := await reader.get():
                    current = int.from_bytes(data, "big")
                    if last is not None and current != last + 1 and not self._is_reopened(last, current):
                        self.faults.append(f"{current} after {last}")
                    last = current
            if last is None or last // _SERIAL not in self.lost:
                self.faults.append("shut under a viewer")
        except UpstreamBusy:
            self.refused += 1
        except (UpstreamRefused, UpstreamBroken):
            pass

    def _is_reopened(self, last: int, current: int) -> bool:
        return last // _SERIAL in self.lost and current % _SERIAL == 0

    async def _watch_hls(self, number: int) -> None:
        channel = Channel(f"c{number}", "", (Upstream("", ACCOUNT, account=ACCOUNT),))
        visitor = Visitor(str(self.chance.randrange(3)), "")
        try:
            for _ in range(self.chance.randrange(1, 5)):
                with self.viewers.visit(channel, visitor) as viewer:
                    await viewer.hold(ACCOUNT)
                    viewer.watch(self.chance.choice((0.5, 2)))
                    await self._request(number)
                await asyncio.sleep(self.chance.random())
        except UpstreamBusy:
            self.refused += 1

    async def _request(self, number: int) -> None:
        """Have one connection for all requests of the channel, which count as one."""
        self._requests[number] += 1
        try:
            if self._requests[number] > 1:
                await asyncio.sleep(self.chance.random())
                return
            async with self.connection():
                await asyncio.sleep(self.chance.random())
        finally:
            self._requests[number] -= 1

    async def _watch_file(self, number: int) -> None:
        try:
            async with self.accounts.slot(ACCOUNT, f"file/c{number}"), self.connection():
                await asyncio.sleep(self.chance.random() * 5)
        except UpstreamBusy:
            self.refused += 1


class Feed:
    """Opens a source again and again when it is lost: at once, after a moment, or when somebody else has its place."""

    format = TRANSPORT_STREAM

    def __init__(self, storm: Storm, channel: Channel) -> None:
        self._storm = storm
        self._channel = channel

    async def run(self, sink: Taker) -> None:
        with Berth(self._channel.id) as berth:
            while True:
                try:
                    await self._storm.source(berth).run(sink)
                except UpstreamBroken:
                    if self._storm.chance.random() < 0.3:
                        raise
                await asyncio.sleep(self._storm.chance.choice((0, 0, 0.5, 1, 1.5)))


class Source:
    """Sends numbers that begin with the serial of its connection, for a while or until it is stopped."""

    format = TRANSPORT_STREAM

    def __init__(self, storm: Storm) -> None:
        self._storm = storm

    async def run(self, sink: Sink) -> None:
        storm = self._storm
        async with storm.connection() as serial:
            await asyncio.sleep(storm.chance.choice((0, 0.1, 0.1, 100)))
            if storm.chance.random() < 0.1:
                raise UpstreamRefused("provider", 404)
            chunks = storm.chance.choice((1, 10, 1000))
            for number in range(chunks):
                sink.write((serial * _SERIAL + number).to_bytes(8, "big"))
                await asyncio.sleep(0.1)
            storm.lost.add(serial)
            raise UpstreamBroken("provider", "the connection to the upstream broke")


@pytest.mark.parametrize("linger", [0, 5])
def test_in_a_storm_of_ten_thousand_events_the_provider_never_sees_too_many(linger: float) -> None:
    async def rage() -> None:
        async with Tasks() as tasks:
            storm = Storm(tasks, linger=linger, seed=int(linger))
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(storm.watch())
            # The last viewers of HLS are still awaited, and channels linger.
            await asyncio.sleep(20)
            assert storm.faults == []
            assert (storm.peak, storm.open) == (LIMIT, 0)
            assert storm.served > EVENTS // 10
            assert storm.refused > EVENTS // 100
            account = storm.accounts.of(ACCOUNT)
            assert (account.held, account.waiting) == (0, 0)

    in_virtual_time(rage())
