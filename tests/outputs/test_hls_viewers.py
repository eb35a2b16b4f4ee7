"""Who watches HLS is known by their requests."""

import asyncio
import time

import pytest
import structlog

from streamproxy.audience import Audience, Visitor
from streamproxy.errors import UpstreamBusy
from streamproxy.model import Channel, Upstream
from streamproxy.outputs.hls_viewers import HlsViewers
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.admission import SharedSlots
from streamproxy.tasks import Tasks
from tests.helpers.virtual_time import in_virtual_time, now

NEWS = Channel("news", "News", (Upstream("http://127.0.0.1/", "provider"),))
WHO = Visitor("1.2.3.4", "player")
ANOTHER = Visitor("5.6.7.8", "player")


def viewers_of(audience: Audience) -> HlsViewers:
    return HlsViewers(audience, SharedSlots(Accounts(), Tasks()))


async def gone(audience: Audience, *, within: float) -> float:
    """Wait until nobody is there; tell how long that took."""
    start = time.monotonic()
    async with asyncio.timeout(within):
        while audience.present:
            await asyncio.sleep(0.005)
    return time.monotonic() - start


async def test_a_viewer_stays_for_three_target_durations_after_their_last_request() -> None:
    audience = Audience()
    viewers = viewers_of(audience)
    with viewers.visit(NEWS, WHO) as viewer:
        viewer.watch(0.1)

    assert audience.present == 1
    assert 0.25 < await gone(audience, within=2) < 1


async def test_each_request_lets_them_stay_longer() -> None:
    audience = Audience()
    viewers = viewers_of(audience)
    for _ in range(8):
        with viewers.visit(NEWS, WHO) as viewer:
            viewer.watch(0.2)
        await asyncio.sleep(0.1)
        assert (audience.present, audience.total) == (1, 1)


async def test_a_long_request_is_no_absence() -> None:
    audience = Audience()
    viewers = viewers_of(audience)
    with viewers.visit(NEWS, WHO) as viewer:
        viewer.watch(0.01)
    with viewers.visit(NEWS, WHO):
        with viewers.visit(NEWS, WHO):
            pass
        await asyncio.sleep(0.1)
        assert audience.present == 1
    await gone(audience, within=1)


async def test_who_comes_back_is_another_viewer_and_what_they_got_before_still_counts() -> None:
    audience = Audience()
    viewers = viewers_of(audience)
    for number in range(1, 3):
        with viewers.visit(NEWS, WHO) as viewer:
            viewer.watch(0.01)
            viewer.sent += 100
        assert (audience.total, audience.sent) == (number, number * 100)
        await gone(audience, within=1)
    assert audience.sent == 200


async def test_who_got_nothing_was_never_there() -> None:
    audience = Audience()
    with structlog.testing.capture_logs() as logs, viewers_of(audience).visit(NEWS, WHO):
        assert audience.present == 0
    await asyncio.sleep(0.02)
    assert (audience.total, logs) == (0, [])


def test_an_endless_name_is_cut() -> None:
    assert len(Visitor.of(None, "x" * 10_000, None, None).agent) == 200


class Scene:
    """Viewers of a provider that allows one connection.

    Attributes:
        accounts: Where the provider's is found.
        viewers: They.
        account: The provider's account.
    """

    def __init__(self, tasks: Tasks) -> None:
        self.accounts = Accounts({"provider": 1})
        self.viewers = HlsViewers(Audience(), SharedSlots(self.accounts, tasks))
        self.account = self.accounts.of("provider")

    async def ask(self, visitor: Visitor, lasting: float = 0) -> None:
        """Ask for something of a playlist with a target duration of two seconds."""
        with self.viewers.visit(NEWS, visitor) as viewer:
            await viewer.hold("provider")
            viewer.watch(2)
            await asyncio.sleep(lasting)


def test_a_channel_holds_one_connection_until_its_last_viewer_has_left() -> None:
    async def run() -> None:
        async with Tasks() as tasks:
            scene = Scene(tasks)
            await asyncio.gather(scene.ask(WHO), scene.ask(ANOTHER), scene.ask(WHO))
            assert scene.account.held == 1
            await asyncio.sleep(4)
            await scene.ask(ANOTHER, lasting=1)
            await asyncio.sleep(5.9)
            assert scene.account.held == 1
            await asyncio.sleep(0.2)
            assert (scene.account.held, scene.account.waiting) == (0, 0)
            await scene.ask(WHO)
            assert scene.account.held == 1

    in_virtual_time(run())


def test_a_channel_whose_viewers_ask_for_more_gives_its_connection_to_nobody() -> None:
    async def run() -> None:
        async with Tasks() as tasks:
            scene = Scene(tasks)
            await scene.ask(WHO)
            for _ in range(20):
                asking = asyncio.create_task(scene.ask(WHO, lasting=5))
                with pytest.raises(UpstreamBusy):
                    async with scene.account.slot("somebody", within=7):
                        pass
                await asking
                await scene.ask(ANOTHER)

    in_virtual_time(run())


def test_a_channel_that_nobody_has_asked_for_in_a_while_makes_room_for_who_waits() -> None:
    async def run() -> None:
        async with Tasks() as tasks:
            scene = Scene(tasks)
            await scene.ask(WHO)
            await asyncio.sleep(1)
            await scene.ask(ANOTHER)
            async with scene.account.slot("somebody", within=10):
                assert now() == 4
                with pytest.raises(UpstreamBusy):
                    await scene.ask(WHO)
            await scene.ask(WHO)
            assert scene.account.held == 1

    in_virtual_time(run())


def test_that_nobody_watches_the_channel_as_one_stream_says_nothing_of_those_who_watch_hls() -> None:
    async def run() -> None:
        async with Tasks() as tasks:
            scene = Scene(tasks)
            stopped = asyncio.Event()
            scene.accounts.linger("news", stopped.set)
            await scene.ask(WHO)
            with pytest.raises(UpstreamBusy):
                async with scene.account.slot("somebody", within=1):
                    pass
            assert not stopped.is_set()

    in_virtual_time(run())


def test_who_is_refused_holds_nothing_and_may_come_again() -> None:
    async def run() -> None:
        async with Tasks() as tasks:
            scene = Scene(tasks)
            async with scene.account.slot("somebody", within=0):
                refused = await asyncio.gather(scene.ask(WHO), scene.ask(ANOTHER), return_exceptions=True)
                assert [type(each) for each in refused] == [UpstreamBusy, UpstreamBusy]
                assert now() == 3
                await asyncio.sleep(0.1)
                assert (scene.account.held, scene.account.waiting) == (1, 0)
            await scene.ask(WHO)

    in_virtual_time(run())


def test_who_vanishes_while_waiting_takes_no_connection() -> None:
    async def run() -> None:
        async with Tasks() as tasks:
            scene = Scene(tasks)
            async with scene.account.slot("somebody", within=0):
                vanishing, staying = (asyncio.create_task(scene.ask(each)) for each in (WHO, ANOTHER))
                await asyncio.sleep(1)
                vanishing.cancel()
                await asyncio.sleep(1)
                assert scene.account.waiting == 1
                staying.cancel()
                await asyncio.sleep(0.1)
                assert (scene.account.held, scene.account.waiting) == (1, 0)
            assert scene.account.held == 0

    in_virtual_time(run())


def test_who_gets_nothing_gives_the_connection_back_at_once() -> None:
    async def run() -> None:
        async with Tasks() as tasks:
            scene = Scene(tasks)
            with scene.viewers.visit(NEWS, WHO) as viewer:
                await viewer.hold("provider")
            await asyncio.sleep(0.01)
            assert scene.account.held == 0

    in_virtual_time(run())


async def test_a_shutdown_gives_everything_back() -> None:
    async with Tasks() as tasks:
        scene = Scene(tasks)
        await scene.ask(WHO)
    assert scene.account.held == 0
