"""Whoever waits is told when the delay has passed, whatever becomes of the others, and it takes but one timer."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, TypeVarTuple

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.sources.deadlines import Deadlines
from tests.helpers.virtual_time import VirtualTimeLoop, in_virtual_time, now

DELAY = 4.0

Parameters = TypeVarTuple("Parameters")


class Waiter:
    """Remembers when it was told.

    Attributes:
        told: The times.
    """

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        """Prepare.

        Args:
            then: Called when it is told.
        """
        self.told: list[float] = []
        self._then = then

    def expire(self, now: float, /) -> None:
        self.told.append(now)
        self._then()


def test_who_waits_is_told_after_the_delay_time_and_again() -> None:
    async def work() -> None:
        deadlines, waiter = Deadlines(DELAY), Waiter()
        deadlines.add(waiter, now())

        await asyncio.sleep(3 * DELAY)

        assert waiter.told == [4, 8, 12]

    in_virtual_time(work())


def test_each_is_told_at_a_time_of_its_own() -> None:
    async def work() -> None:
        deadlines, waiters = Deadlines(DELAY), [Waiter() for _ in range(3)]
        for waiter in waiters:
            deadlines.add(waiter, now())
            await asyncio.sleep(1)

        await asyncio.sleep(2 * DELAY)

        assert [waiter.told for waiter in waiters] == [[4, 8], [5, 9], [6, 10]]

    in_virtual_time(work())


def test_who_is_postponed_in_time_is_not_told() -> None:
    async def work() -> None:
        deadlines, busy, idle = Deadlines(DELAY), Waiter(), Waiter()
        deadlines.add(busy, now())
        deadlines.add(idle, now())
        for _ in range(4):
            await asyncio.sleep(3)
            deadlines.postpone(busy, now())
        assert (busy.told, idle.told) == ([], [4, 8, 12])

        await asyncio.sleep(4)

        assert busy.told == [16]

    in_virtual_time(work())


def test_who_is_removed_is_told_no_more() -> None:
    async def work() -> None:
        deadlines, gone, left = Deadlines(DELAY), Waiter(), Waiter()
        deadlines.add(gone, now())
        deadlines.add(left, now())
        await asyncio.sleep(3)

        deadlines.remove(gone)
        await asyncio.sleep(5)

        assert (gone.told, left.told) == ([], [4, 8])

    in_virtual_time(work())


def test_who_was_never_added_can_be_postponed_and_removed_and_is_not_told() -> None:
    async def work() -> None:
        deadlines, stranger, waiter = Deadlines(DELAY), Waiter(), Waiter()
        deadlines.add(waiter, now())
        deadlines.postpone(stranger, now())
        deadlines.remove(stranger)

        await asyncio.sleep(DELAY)

        assert (stranger.told, waiter.told) == ([], [4])

    in_virtual_time(work())


def test_who_is_removed_by_another_who_is_told_at_the_same_moment_is_not_told() -> None:
    async def work() -> None:
        deadlines, gone = Deadlines(DELAY), Waiter()
        waiter = Waiter(lambda: deadlines.remove(gone))
        deadlines.add(waiter, now())
        deadlines.add(gone, now())

        await asyncio.sleep(DELAY)

        assert (waiter.told, gone.told) == ([4], [])

    in_virtual_time(work())


def test_who_is_told_may_leave_and_somebody_else_come() -> None:
    async def work() -> None:
        deadlines, other = Deadlines(DELAY), Waiter()

        def then() -> None:
            deadlines.remove(waiter)
            deadlines.add(other, now())

        waiter = Waiter(then)
        deadlines.add(waiter, now())

        await asyncio.sleep(2 * DELAY)

        assert (waiter.told, other.told) == ([4], [8])

    in_virtual_time(work())


def test_who_is_told_may_begin_to_wait_anew_from_an_earlier_moment_on() -> None:
    async def work() -> None:
        deadlines, heard_at = Deadlines(DELAY), now()
        waiter, other = Waiter(lambda: deadlines.postpone(waiter, heard_at)), Waiter()
        deadlines.add(waiter, now())
        deadlines.add(other, now())

        await asyncio.sleep(3 * DELAY)

        assert waiter.told == other.told == [4, 8, 12]

    in_virtual_time(work())


def test_where_nobody_is_left_nothing_is_waited_for() -> None:
    async def work() -> None:
        deadlines, waiter, last = Deadlines(DELAY), Waiter(), Waiter(lambda: deadlines.remove(last))
        deadlines.add(waiter, now())
        deadlines.add(last, now())
        deadlines.remove(waiter)
        await asyncio.sleep(DELAY)
        assert last.told == [4]

        await asyncio.get_running_loop().create_future()

    with pytest.raises(AssertionError, match="everything waits, for ever"):
        in_virtual_time(work())


def test_after_all_were_removed_others_are_told() -> None:
    async def work() -> None:
        deadlines, first, second = Deadlines(DELAY), Waiter(), Waiter()
        deadlines.add(first, now())
        await asyncio.sleep(1)
        deadlines.remove(first)
        await asyncio.sleep(1)
        deadlines.add(second, now())

        await asyncio.sleep(DELAY)

        assert (first.told, second.told) == ([], [6])

    in_virtual_time(work())


def test_who_raises_keeps_nobody_from_being_told_the_next_time() -> None:
    async def work() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

        def fail() -> None:
            raise LookupError

        deadlines = Deadlines(DELAY)
        waiters = [Waiter(), Waiter(fail), Waiter()]
        for waiter in waiters:
            deadlines.add(waiter, now())

        await asyncio.sleep(2 * DELAY)

        assert [waiter.told[-1] for waiter in waiters] == [8, 8, 8]
        assert {type(each["exception"]) for each in complaints} == {LookupError}

    in_virtual_time(work())


class CountingLoop(VirtualTimeLoop):
    """Knows how many timers call something of an object.

    Attributes:
        timers: All that were armed, with what they call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[asyncio.TimerHandle, Callable[..., object]]] = []

    def call_at(
        self, when: float, callback: Callable[[*Parameters], object], *args: *Parameters, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self.timers.append((handle, callback))
        return handle

    def armed(self, owner: object) -> int:
        """Return how many timers are armed for an object."""
        self.timers = [each for each in self.timers if not each[0].cancelled() and each[0].when() > self.now]
        return sum(1 for _, callback in self.timers if getattr(callback, "__self__", None) is owner)


@dataclass
class Model:
    """What should happen, without any timer.

    Attributes:
        due: When each of those who wait is told.
        told: Who was told, and when.
    """

    due: dict[int, float] = field(default_factory=dict)
    told: list[tuple[float, int]] = field(default_factory=list)

    def advance(self, time: float) -> None:
        """Let it be later."""
        while self.due and min(self.due.values()) <= time:
            who = min(self.due, key=lambda who: self.due[who])
            self.told.append((self.due[who], who))
            self.due[who] += DELAY

    def do(self, what: str, who: int, time: float) -> None:
        """Change who waits."""
        if what == "remove":
            self.due.pop(who, None)
        elif (what == "add") != (who in self.due):
            self.due[who] = time + DELAY


STEPS = st.tuples(st.integers(0, 6), st.sampled_from(["add", "postpone", "remove"]), st.integers(0, 3))


@given(st.lists(STEPS, max_size=40))
def test_each_is_told_when_it_should_be_by_one_timer_at_a_time(steps: list[tuple[int, str, int]]) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        deadlines, model = Deadlines(DELAY), Model()
        told: list[tuple[float, int]] = []
        waiters = [Waiter(lambda who=who: told.append((now(), who))) for who in range(4)]  # type: ignore[misc]
        for pause, what, who in steps:
            await asyncio.sleep(pause)
            model.advance(now())
            assert sorted(told) == sorted(model.told)
            if what != "add" or who not in model.due:
                getattr(deadlines, what)(*((waiters[who], now()) if what != "remove" else (waiters[who],)))
            model.do(what, who, now())
            assert loop.armed(deadlines) == bool(model.due)
        await asyncio.sleep(3 * DELAY)
        model.advance(now())
        assert sorted(told) == sorted(model.told)

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(work())


class CountingUvloop(uvloop.Loop):
    """Counts the timers that are armed."""

    timers = 0

    def call_at(
        self, when: float, callback: Callable[[*Parameters], object], *args: *Parameters, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


def test_a_delay_of_fractions_of_a_millisecond_is_not_waited_for_in_haste() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingUvloop)
        told: list[float] = []
        over = asyncio.Event()
        deadlines = Deadlines(0.0125)

        def then() -> None:
            told.append(loop.time())
            if len(told) == 200:
                over.set()

        waiters = [Waiter(then) for _ in range(20)]
        for waiter in waiters:
            # At times of their own.
            await asyncio.sleep(0.003)
            deadlines.add(waiter, loop.time())

        await over.wait()

        assert loop.timers <= 2 * len(told) + len(waiters)

    with asyncio.Runner(loop_factory=CountingUvloop) as runner:
        runner.run(asyncio.wait_for(work(), 10))
