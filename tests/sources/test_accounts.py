"""A provider never sees more connections than it allows, and whoever can be served is, in turn."""

import asyncio
import contextlib
import gc
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.errors import UpstreamBusy, UpstreamError
from streamproxy.sources.accounts import Account, Accounts, Priority, Slot
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.virtual_time import in_virtual_time


async def one_turn() -> None:
    await asyncio.sleep(0)


class Viewer:
    """Somebody with a slot, or who waits for one.

    Attributes:
        slot: It, once held.
        asked: How often they were asked to stop.
    """

    slot: Slot

    def __init__(
        self, account: Account, name: str = "", *, priority: Priority = Priority.BEGINNING, within: float = 60
    ) -> None:
        self.asked = 0
        self._account = account
        self._leave = asyncio.Event()
        self._in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._visit(name, priority, within))

    @property
    def inside(self) -> bool:
        return self._in.done() and not self.task.done()

    async def _visit(self, name: str, priority: Priority, within: float) -> None:
        async with self._account.slot(name, priority=priority, within=within) as self.slot:
            self._in.set_result(None)
            await self._leave.wait()

    async def enter(self) -> "Viewer":
        await asyncio.wait([self._in, self.task], return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            await self.task
        return self

    def linger(self) -> None:
        def ask() -> None:
            self.asked += 1

        self.slot.lingering(ask)

    async def leave(self) -> None:
        self._leave.set()
        await self.task

    async def vanish(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


Come = Callable[..., Viewer]


@asynccontextmanager
async def an_account(max_connections: int | None) -> AsyncIterator[tuple[Account, Come]]:
    """Offer an account and a way to come to it; in the end everybody leaves, and nothing is left."""
    account = Account("provider", max_connections)
    viewers: list[Viewer] = []

    def come(name: str = "", *, priority: Priority = Priority.BEGINNING, within: float = 60) -> Viewer:
        viewers.append(Viewer(account, name, priority=priority, within=within))
        return viewers[-1]

    yield account, come
    for viewer in viewers:
        await viewer.vanish()
    assert (account.held, account.waiting) == (0, 0)


async def test_a_free_connection_is_had_without_waiting() -> None:
    async with an_account(2) as (account, _), account.slot("a", within=0), account.slot("b", within=0):
        assert account.held == 2


async def test_a_connection_is_held_for_exactly_as_long_as_the_block() -> None:
    async with an_account(1) as (account, _):
        with contextlib.suppress(LookupError):
            async with account.slot("a", within=0):
                assert account.held == 1
                raise LookupError

        assert account.held == 0


async def test_who_finds_none_free_is_told_which_provider_is_busy() -> None:
    async with an_account(1) as (account, come):
        await come().enter()

        with pytest.raises(UpstreamBusy) as caught:
            await come(within=0).enter()

        assert isinstance(caught.value, UpstreamError)
        assert str(caught.value) == "provider: all connections of the provider are in use"
        assert (account.held, account.waiting) == (1, 0)


async def test_whoever_leaves_makes_room_for_who_waits() -> None:
    async with an_account(1) as (account, come):
        first = await come().enter()
        second = come()
        await one_turn()
        assert account.waiting == 1

        await first.leave()

        await second.enter()
        assert (account.held, account.waiting) == (1, 0)


async def test_those_who_wait_are_served_in_turn() -> None:
    async with an_account(1) as (_, come):
        holder = await come().enter()
        waiting = [come() for _ in range(3)]
        await one_turn()
        for viewer in waiting:
            await holder.leave()
            holder = await viewer.enter()
            assert [other.inside for other in waiting].count(True) == 1


async def test_the_highest_priority_is_served_first_and_equals_in_turn() -> None:
    async with an_account(1) as (_, come):
        holder = await come().enter()
        low, high, higher, equal = (come(priority=Priority(number)) for number in (0, 1, 2, 1))
        await one_turn()

        for viewer in (higher, high, equal, low):
            await holder.leave()
            holder = await viewer.enter()


async def test_nobody_overtakes_those_who_wait() -> None:
    async with an_account(1) as (_, come):
        first = await come().enter()
        second = come()
        await one_turn()

        leaving = asyncio.create_task(first.leave())
        third = come(within=0)
        await leaving

        await second.enter()
        with pytest.raises(UpstreamBusy):
            await third.enter()


async def test_a_waiter_who_vanishes_takes_no_connection_along() -> None:
    async with an_account(1) as (account, come):
        first = await come().enter()
        second, third = come(), come()
        await one_turn()

        await second.vanish()
        await first.leave()

        await third.enter()
        assert (account.held, account.waiting) == (1, 0)


@pytest.mark.parametrize("served_first", [True, False])
async def test_who_vanishes_in_the_moment_of_being_served_passes_it_on(served_first: bool) -> None:
    async with an_account(1) as (account, come):
        async with account.slot("a", within=0):
            second, third = come(), come()
            await one_turn()
            if not served_first:
                second.task.cancel()
        assert account.waiting == (1 if served_first else 0)
        second.task.cancel()

        await third.enter()
        assert second.task.cancelled()


async def test_without_a_limit_nobody_waits() -> None:
    async with an_account(None) as (account, come):
        for _ in range(50):
            await come(within=0).enter()

        assert account.held == 50


async def test_a_slot_is_entered_once() -> None:
    async with an_account(1) as (account, _):
        slot = account.slot("a", within=0)
        async with slot:
            with pytest.raises(RuntimeError):
                await slot.__aenter__()
            assert account.held == 1


# Those that linger


async def test_who_lingers_is_asked_to_stop_when_somebody_waits() -> None:
    async with an_account(1) as (account, come):
        first = await come().enter()
        first.linger()
        assert first.asked == 0

        second = come()
        await one_turn()

        assert (first.asked, second.inside) == (1, False)
        await first.leave()
        await second.enter()
        assert account.held == 1


async def test_nobody_is_asked_while_a_connection_is_free() -> None:
    async with an_account(2) as (_, come):
        first = await come().enter()
        first.linger()

        await come().enter()

        assert first.asked == 0


async def test_the_longest_lingering_is_asked_first_and_one_for_each_who_waits() -> None:
    async with an_account(3) as (_, come):
        a, b, c = [await come(name).enter() for name in "abc"]
        for viewer in (b, c, a):
            viewer.linger()

        come("x")
        await one_turn()
        assert (a.asked, b.asked, c.asked) == (0, 1, 0)
        come("y")
        await one_turn()
        assert (a.asked, b.asked, c.asked) == (0, 1, 1)


async def test_what_lingers_for_the_viewer_who_waits_is_asked_before_others() -> None:
    async with an_account(2) as (_, come):
        a, b = [await come(name).enter() for name in "ab"]
        a.linger()
        b.linger()

        come("b")
        await one_turn()

        assert (a.asked, b.asked) == (0, 1)


async def test_whoever_begins_to_linger_while_somebody_waits_is_asked_at_once() -> None:
    async with an_account(1) as (_, come):
        first = await come().enter()
        come()
        await one_turn()

        first.linger()

        assert first.asked == 1


async def test_who_is_watched_again_is_not_asked() -> None:
    async with an_account(1) as (_, come):
        first = await come().enter()
        first.linger()
        first.slot.in_use()

        come()
        await one_turn()

        assert first.asked == 0


async def test_nobody_is_asked_twice() -> None:
    async with an_account(1) as (_, come):
        first = await come().enter()
        first.linger()
        come()
        await one_turn()
        first.slot.in_use()
        first.linger()
        come()
        await one_turn()

        assert first.asked == 1


async def test_to_say_again_that_one_lingers_loses_no_place() -> None:
    async with an_account(2) as (_, come):
        a, b = [await come(name).enter() for name in "ab"]
        a.linger()
        b.linger()
        a.linger()

        come("x")
        await one_turn()

        assert (a.asked, b.asked) == (1, 0)


async def test_who_has_left_does_not_linger() -> None:
    async with an_account(1) as (account, come):
        first = await come().enter()
        await first.leave()
        first.linger()

        await come().enter()
        come()
        await one_turn()

        assert first.asked == 0
        assert account.held == 1


async def test_who_is_asked_may_stop_in_the_same_moment() -> None:
    async with an_account(1) as (_, come):
        first = await come().enter()
        first.slot.lingering(first.task.cancel)

        await come().enter()

        assert first.task.cancelled()


# Reloads


async def test_a_higher_limit_serves_those_who_wait_at_once() -> None:
    async with an_account(1) as (account, come):
        await come().enter()
        second, third = come(), come()
        await one_turn()

        account.configure(2)

        await second.enter()
        assert (third.inside, account.waiting) == (False, 1)
        account.configure(None)
        await third.enter()


async def test_a_lower_limit_cuts_nobody_off_and_makes_the_next_wait() -> None:
    async with an_account(3) as (account, come):
        first, second, _ = [await come().enter() for _ in range(3)]
        account.configure(2)
        assert account.held == 3

        fourth = come()
        await first.leave()
        await one_turn()
        assert (account.held, fourth.inside) == (2, False)
        await second.leave()
        await fourth.enter()


async def test_above_a_lower_limit_as_many_are_asked_as_must_stop() -> None:
    async with an_account(3) as (account, come):
        lingering = [await come(name).enter() for name in "abc"]
        for viewer in lingering:
            viewer.linger()
        account.configure(2)
        assert [viewer.asked for viewer in lingering] == [0, 0, 0]

        come("x")
        await one_turn()

        assert [viewer.asked for viewer in lingering] == [1, 1, 0]


async def test_each_provider_has_an_account_of_its_own() -> None:
    accounts = Accounts({"one": 1, "two": 2})

    async with accounts.of("one").slot("a", within=0):
        with pytest.raises(UpstreamBusy):
            await accounts.of("one").slot("b", within=0).__aenter__()
        async with accounts.of("two").slot("a", within=0), accounts.of("two").slot("b", within=0):
            assert accounts.of("two").held == 2


async def test_a_provider_without_a_limit_is_counted_for_when_it_gets_one() -> None:
    accounts = Accounts()

    async with accounts.of("one").slot("a", within=0):
        accounts.configure({"one": 1})
        with pytest.raises(UpstreamBusy):
            await accounts.of("one").slot("b", within=0).__aenter__()
        accounts.configure({})
        async with accounts.of("one").slot("b", within=0):
            assert accounts.of("one").held == 2


async def test_an_account_that_nobody_uses_is_forgotten_but_not_its_limit() -> None:
    accounts = Accounts({"one": 1})
    async with accounts.of("one").slot("a", within=0):
        pass
    gc.collect()

    assert not accounts._accounts
    async with accounts.of("one").slot("a", within=0):
        with pytest.raises(UpstreamBusy):
            await accounts.of("one").slot("b", within=0).__aenter__()


# From here on time is virtual.


def test_a_wait_lasts_as_long_as_it_may_and_no_longer() -> None:
    async def wait() -> None:
        account = Account("provider", 1)
        loop = asyncio.get_running_loop()
        async with account.slot("a", within=0):
            with pytest.raises(UpstreamBusy):
                await account.slot("b", within=2.5).__aenter__()
            assert loop.time() == 2.5

    in_virtual_time(wait())


def test_a_viewer_who_zaps_gets_the_connection_that_is_being_closed() -> None:
    async def zap() -> None:
        account = Account("provider", 1)

        async def watch() -> None:
            async with account.slot("me", within=2):
                try:
                    await asyncio.sleep(1000)
                finally:
                    await asyncio.sleep(1.9)  # until the socket is closed

        watching = asyncio.create_task(watch())
        await asyncio.sleep(1)
        watching.cancel()
        async with account.slot("me", within=2):
            assert asyncio.get_running_loop().time() == 2.9

    in_virtual_time(zap())


class Visit(NamedTuple):
    """What somebody does: comes, waits, stays, perhaps lingers, takes a while to close; perhaps vanishes any time."""

    arrives: float
    holder: int
    priority: Priority
    within: float
    stays: float
    lingers: float | None
    closes_in: float
    vanishes_after: float | None


TIMES = st.sampled_from((0.0, 0.5, 1.0, 2.0, 3.0, 5.0))
VISITS = st.builds(
    Visit,
    arrives=TIMES,
    holder=st.integers(0, 2),
    priority=st.sampled_from(Priority),
    within=TIMES,
    stays=TIMES,
    lingers=st.none() | TIMES,
    closes_in=TIMES,
    vanishes_after=st.none() | TIMES,
)


class Storm:
    """Visits of one account, all at once.

    Attributes:
        account: The account.
        open: Sockets that are open.
        served: How many were ever opened.
        refused: How many visitors found no connection in time.
    """

    def __init__(self, limit: int, *, most: int | None = None, scale: float = 1) -> None:
        """Prepare.

        Args:
            limit: Connections that the account allows.
            most: Connections that may be open at most, if that is another number.
            scale: Seconds that a visitor's second lasts.
        """
        self.account = Account("provider", limit)
        self.open = self.served = self.refused = 0
        self._most = limit if most is None else most
        self._scale = scale

    async def run(self, visits: list[Visit]) -> None:
        tasks = [asyncio.create_task(self.visit(visit)) for visit in visits]
        for visit, task in zip(visits, tasks, strict=True):
            if visit.vanishes_after is not None:
                after = (visit.arrives + visit.vanishes_after) * self._scale
                asyncio.get_running_loop().call_later(after, task.cancel)
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
        assert self.open == 0
        assert (self.account.held, self.account.waiting) == (0, 0)
        assert not self.account._lingering
        assert not self.account._leaving

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._scale)

    async def visit(self, visit: Visit) -> None:
        await self.sleep(visit.arrives)
        slot = self.account.slot(str(visit.holder), priority=visit.priority, within=visit.within * self._scale)
        try:
            async with slot:
                self.open += 1
                self.served += 1
                assert self.open <= self._most, "more connections than the provider allows"
                assert self.account.held >= self.open
                await self.stay(visit, slot)
        except UpstreamBusy:
            self.refused += 1

    async def stay(self, visit: Visit, slot: Slot) -> None:
        asked = asyncio.Event()
        try:
            await self.sleep(visit.stays)
            if visit.lingers is not None:
                slot.lingering(asked.set)
                waiting = asyncio.create_task(asked.wait())
                try:
                    await asyncio.wait([waiting], timeout=visit.lingers * self._scale)
                finally:
                    waiting.cancel()
        finally:
            try:
                await self.sleep(visit.closes_in)
            finally:
                self.open -= 1


@given(st.integers(1, 3), st.lists(VISITS, min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_in_any_storm_no_more_are_open_than_allowed_and_none_in_the_end(limit: int, visits: list[Visit]) -> None:
    in_virtual_time(Storm(limit).run(visits))


@given(st.integers(1, 3), st.lists(VISITS, min_size=1, max_size=8), st.lists(st.tuples(TIMES, st.integers(0, 4))))
@settings(max_examples=200, deadline=None)
def test_reloads_in_a_storm_leave_nothing_behind(
    limit: int, visits: list[Visit], reloads: list[tuple[float, int]]
) -> None:
    async def run() -> None:
        storm = Storm(limit, most=max([limit, *(other for _, other in reloads)]))
        loop = asyncio.get_running_loop()
        for after, other in reloads:
            loop.call_later(after, storm.account.configure, other)
        await storm.run(visits)

    in_virtual_time(run())


@given(st.integers(1, 3), st.lists(VISITS, min_size=1, max_size=10))
@settings(max_examples=200, deadline=None)
def test_whoever_has_patience_is_served(limit: int, visits: list[Visit]) -> None:
    storm = Storm(limit)
    patient = [visit._replace(within=1000, vanishes_after=None) for visit in visits]

    in_virtual_time(storm.run(patient))

    assert (storm.served, storm.refused) == (len(visits), 0)


@given(st.lists(st.sampled_from(Priority), min_size=1, max_size=12), st.integers(1, 3))
@settings(deadline=None)
def test_who_waits_is_served_by_priority_and_then_in_turn(priorities: list[Priority], limit: int) -> None:
    order: list[int] = []

    async def run() -> None:
        account = Account("provider", limit)

        async def visit(number: int) -> None:
            async with account.slot("", priority=priorities[number], within=1000):
                order.append(number)
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as group:
            holders = [account.slot("", within=0) for _ in range(limit)]
            for holder in holders:
                await holder.__aenter__()
            for number in range(len(priorities)):
                group.create_task(visit(number))
            await asyncio.sleep(1)
            for holder in holders:
                await holder.__aexit__(None, None, None)

    in_virtual_time(run())

    assert order == sorted(range(len(priorities)), key=lambda number: -priorities[number])


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_in_real_time_leaves_nothing_behind(seed: int) -> None:
    dice = random.Random(seed)
    short = (0.0, 0.0, 0.5, 1.0, 2.0)

    def perhaps() -> float | None:
        return dice.choice(short) if dice.random() < 0.4 else None

    visits = [
        Visit(
            dice.choice(short) * 10,
            dice.randrange(5),
            dice.choice(list(Priority)),
            dice.choice(short) * 5,
            dice.choice(short),
            perhaps(),
            dice.choice(short),
            perhaps(),
        )
        for _ in range(150)
    ]
    storm = Storm(4, scale=0.005)

    await storm.run(visits)

    assert storm.served


async def test_what_is_opened_for_nobody_lingers_from_its_first_moment() -> None:
    accounts, asked = Accounts({"provider": 1}), asyncio.Event()
    account = accounts.of("provider")
    accounts.linger("news", asked.set)
    lingering = Viewer(account, "news")
    await lingering.enter()

    waiting = Viewer(account, "sport")
    await one_turn()

    assert asked.is_set()
    await lingering.leave()
    await (await waiting.enter()).leave()


async def test_what_is_opened_for_somebody_again_does_not_linger() -> None:
    accounts, asked = Accounts({"provider": 1}), asyncio.Event()
    account = accounts.of("provider")
    accounts.linger("news", asked.set)
    accounts.in_use("news")
    watched = Viewer(account, "news")
    await watched.enter()

    with pytest.raises(UpstreamBusy):
        await Viewer(account, "sport", within=0).enter()

    assert not asked.is_set()
    await watched.leave()


async def test_who_counts_nowhere_never_waits() -> None:
    accounts = Accounts({"": 1}, grace=0)
    async with accounts.slot("", "news"), accounts.slot("", "sport"):
        pass


async def test_who_waits_for_the_usual_slot_has_the_usual_grace() -> None:
    accounts = Accounts({"provider": 1}, grace=0)
    async with accounts.slot("provider", "news"):
        with pytest.raises(UpstreamBusy):
            async with accounts.slot("provider", "sport"):
                pass
