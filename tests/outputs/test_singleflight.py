"""Work that is done once for all who want its result."""

import asyncio
import gc

import pytest

from streamproxy.outputs.singleflight import SingleFlight


class Work:
    """Something that takes until it is told to end."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.result: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_is_done_once() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiting = [asyncio.create_task(flights.do("a", work, name="a")) for _ in range(5)]
    await turns()

    work.result.set_result(7)

    assert await asyncio.gather(*waiting) == [7] * 5
    assert (work.begun, len(flights.keys)) == (1, 0)


async def test_other_work_is_done_for_itself_and_the_same_again_later() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.result.set_result(7)

    for key in ("a", "b", "a"):
        assert await flights.do(key, work, name=key) == 7

    assert work.begun == 3


async def test_a_failure_is_everybodys() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiting = [asyncio.create_task(flights.do("a", work, name="a")) for _ in range(3)]
    await turns()

    work.result.set_exception(ValueError("no"))

    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, ValueError)
    assert len(flights.keys) == 0


async def test_a_failure_that_nobody_waits_for_any_more_disturbs_nobody() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiting = asyncio.create_task(flights.do("a", work, name="a"))
    await turns()

    work.result.set_exception(ValueError("no"))
    await turns(2)
    waiting.cancel()

    with pytest.raises((ValueError, asyncio.CancelledError)):
        await waiting
    gc.collect()  # an exception that was never looked at would be logged, which fails the test


async def test_it_goes_on_while_somebody_waits() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    one, two = (asyncio.create_task(flights.do("a", work, name="a")) for _ in range(2))
    await turns()

    one.cancel()
    await asyncio.wait([one])
    work.result.set_result(7)

    assert await two == 7
    assert work.cancelled == 0


async def test_it_ends_with_the_last_who_waits_and_is_over_when_they_are() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiting = [asyncio.create_task(flights.do("a", work, name="a")) for _ in range(2)]
    await turns()

    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)

    assert (work.cancelled, len(flights.keys)) == (1, 0)
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]


async def test_who_comes_when_it_was_given_up_begins_anew() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    first, second = Work(), Work()
    given_up = asyncio.create_task(flights.do("a", first, name="a"))
    await turns()
    given_up.cancel()
    await turns(1)

    waiting = asyncio.create_task(flights.do("a", second, name="a"))
    await turns()
    second.result.set_result(8)

    assert await waiting == 8
    assert (first.cancelled, second.begun) == (1, 1)
