"""Background tasks end with their owner, and none fails unseen."""

import asyncio
import gc
import weakref

import pytest
from structlog.testing import capture_logs

from streamproxy.tasks import Tasks
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here


class Worker:
    """Works until it is stopped, and takes its time to stop.

    Attributes:
        at_work: Set when it has begun.
        may_stop: Set it to let it stop.
        stopped: Whether it has.
    """

    def __init__(self) -> None:
        self.at_work = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.stopped = False

    async def run(self) -> None:
        try:
            self.at_work.set()
            await asyncio.Event().wait()
        finally:
            await self.may_stop.wait()
            self.stopped = True


async def fail() -> None:
    raise LookupError("no such thing")


async def test_tasks_run_side_by_side_under_their_names() -> None:
    first, second = Worker(), Worker()

    async with Tasks() as tasks:
        task = tasks.start(first.run(), name="first")
        tasks.start(second.run(), name="second")
        await first.at_work.wait()
        await second.at_work.wait()

        assert task.get_name() == "first"


async def test_on_the_way_out_every_task_is_stopped_and_awaited() -> None:
    workers = [Worker(), Worker()]

    async with Tasks() as tasks:
        for worker in workers:
            tasks.start(worker.run(), name="worker")
            await worker.at_work.wait()

    assert all(worker.stopped for worker in workers)


async def test_the_way_out_lasts_as_long_as_the_slowest_task() -> None:
    worker = Worker()
    worker.may_stop.clear()

    async def own() -> None:
        async with Tasks() as tasks:
            tasks.start(worker.run(), name="worker")
            await worker.at_work.wait()

    owner = asyncio.create_task(own())
    await worker.at_work.wait()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not owner.done()

    worker.may_stop.set()
    await owner

    assert worker.stopped


async def test_an_error_in_the_block_stops_the_tasks_and_goes_on_its_way() -> None:
    worker = Worker()

    async def own() -> None:
        async with Tasks() as tasks:
            tasks.start(worker.run(), name="worker")
            await worker.at_work.wait()
            await fail()

    with pytest.raises(LookupError):
        await own()

    assert worker.stopped


async def test_a_failing_task_is_logged_with_its_name_and_disturbs_no_other() -> None:
    worker = Worker()

    with capture_logs() as logged:
        async with Tasks() as tasks:
            tasks.start(worker.run(), name="worker")
            failing = tasks.start(fail(), name="broadcast news")
            await asyncio.wait([failing])
            assert not worker.stopped

    (line,) = logged
    assert (line["event"], line["log_level"], line["task"]) == ("task_failed", "error", "broadcast news")
    assert isinstance(line["exc_info"], LookupError)


async def test_a_task_that_fails_while_it_is_stopped_is_logged_too() -> None:
    at_work = asyncio.Event()

    async def stumble() -> None:
        try:
            at_work.set()
            await asyncio.Event().wait()
        finally:
            await fail()

    with capture_logs() as logged:
        async with Tasks() as tasks:
            tasks.start(stumble(), name="stumbler")
            await at_work.wait()

    assert [line["task"] for line in logged] == ["stumbler"]


async def test_a_task_that_ends_or_is_cancelled_is_nothing_to_log() -> None:
    async def end() -> None:
        pass

    with capture_logs() as logged:
        async with Tasks() as tasks:
            await tasks.start(end(), name="short")
            cancelled = tasks.start(Worker().run(), name="cancelled")
            cancelled.cancel()
            await asyncio.wait([cancelled])

    assert logged == []


async def test_a_task_that_has_ended_is_not_kept() -> None:
    async def end() -> None:
        pass

    async with Tasks() as tasks:
        task = tasks.start(end(), name="short")
        await task
        await asyncio.sleep(0)
        gone = weakref.ref(task)
        del task
        gc.collect()

        assert gone() is None


async def test_a_task_that_is_started_on_the_way_out_is_stopped_as_well() -> None:
    late = Worker()
    at_work = asyncio.Event()

    async with Tasks() as tasks:

        async def hand_over() -> None:
            try:
                at_work.set()
                await asyncio.Event().wait()
            finally:
                tasks.start(late.run(), name="late")
                await late.at_work.wait()

        tasks.start(hand_over(), name="early")
        await at_work.wait()

    assert late.stopped
