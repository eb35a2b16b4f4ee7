"""Who takes a connection of a provider, and for how long."""

import asyncio

import pytest

from streamproxy.errors import UpstreamBroken, UpstreamBusy
from streamproxy.model import TRANSPORT_STREAM, Sink
from streamproxy.sources.accounts import Account, Accounts
from streamproxy.sources.admission import AdmittedSource, SharedSlots
from streamproxy.sources.berth import Berth
from streamproxy.tasks import Tasks
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import Recorder


class Source:
    """Runs until it is told how to end, and takes a while to shut."""

    format = TRANSPORT_STREAM

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.may_shut = asyncio.Event()

    async def run(self, sink: Sink) -> None:
        self.opened.set()
        try:
            await self.ending
        finally:
            await self.may_shut.wait()


@pytest.mark.parametrize("how", ["stopped", "failed", "ended"])
async def test_a_source_holds_its_connection_until_it_is_shut(how: str) -> None:
    account, source = Account("provider", 1), Source()
    with Berth("news") as berth:
        running = asyncio.create_task(AdmittedSource(source, account, berth, within=0).run(Recorder()))
        await source.opened.wait()

        if how == "stopped":
            running.cancel()
        elif how == "failed":
            source.ending.set_exception(UpstreamBroken("provider", "broken"))
        else:
            source.ending.set_result(None)
        with pytest.raises(UpstreamBusy):
            async with account.slot("somebody", within=0.01):
                pass
        source.may_shut.set()
        await asyncio.wait([running])

    assert account.held == 0
    assert running.cancelled() or isinstance(running.exception(), UpstreamBroken | None)


async def test_a_source_is_not_opened_where_no_connection_is_free() -> None:
    account, source = Account("provider", 1), Source()
    async with account.slot("somebody", within=0):
        with pytest.raises(UpstreamBusy):
            await AdmittedSource(source, account, Berth("news"), within=0.01).run(Recorder())

    assert not source.opened.is_set()


async def test_a_source_that_takes_no_connection_is_just_run() -> None:
    source = Source()
    running = asyncio.create_task(AdmittedSource(source, None, Berth("news"), within=0).run(Recorder()))
    await source.opened.wait()

    source.may_shut.set()
    source.ending.set_exception(UpstreamBroken("provider", "broken"))

    with pytest.raises(UpstreamBroken):
        await running


async def test_users_share_one_connection_until_the_last_leaves() -> None:
    accounts = Accounts({"provider": 1})
    async with Tasks() as tasks:
        slots = SharedSlots(accounts, tasks)
        account, slot = accounts.of("provider"), slots.of("provider", "news")
        await asyncio.gather(slot.hold("a"), slot.hold("b"), slot.hold("a"))
        assert (account.held, slots.of("provider", "news")) == (1, slot)

        slot.leave("a")
        await asyncio.sleep(0)
        assert account.held == 1
        slot.leave("b")
        await asyncio.sleep(0)
        assert account.held == 0
        assert slots.of("provider", "news") is not slot


async def test_one_silent_user_is_not_all_of_them() -> None:
    accounts = Accounts({"provider": 1}, grace=0)
    async with Tasks() as tasks:
        account, slot = accounts.of("provider"), SharedSlots(accounts, tasks).of("provider", "news")
        await slot.hold("a")
        await slot.hold("b")
        slot.fall_silent("a")
        with pytest.raises(UpstreamBusy):
            async with account.slot("somebody", within=0):
                pass

        slot.leave("b")

        async with account.slot("somebody", within=1):
            with pytest.raises(UpstreamBusy):
                await slot.hold("a")
        await slot.hold("a")
        assert account.held == 1


async def test_who_asks_again_is_silent_no_more() -> None:
    accounts = Accounts({"provider": 1})
    async with Tasks() as tasks:
        account, slot = accounts.of("provider"), SharedSlots(accounts, tasks).of("provider", "news")
        await slot.hold("a")
        slot.fall_silent("a")
        await slot.hold("a")

        with pytest.raises(UpstreamBusy):
            async with account.slot("somebody", within=0):
                pass


async def test_who_comes_in_the_moment_it_is_given_up_waits_for_another() -> None:
    accounts = Accounts({"provider": 1})
    async with Tasks() as tasks:
        account, slot = accounts.of("provider"), SharedSlots(accounts, tasks).of("provider", "news")
        await slot.hold("a")
        slot.fall_silent("a")
        other = account.slot("somebody", within=1)

        # One right after the other: it is being given up for the first when the second asks.
        entering = asyncio.create_task(other.__aenter__())
        holding = asyncio.create_task(slot.hold("a"))
        await entering

        assert (account.held, account.waiting, holding.done()) == (1, 1, False)
        await other.__aexit__(None, None, None)
        await holding
        assert account.held == 1


async def test_what_is_granted_when_all_have_fallen_silent_can_be_given_up() -> None:
    accounts = Accounts({"provider": 1})
    async with Tasks() as tasks:
        account, slot = accounts.of("provider"), SharedSlots(accounts, tasks).of("provider", "news")
        async with account.slot("somebody", within=0):
            holding = asyncio.create_task(slot.hold("a"))
            while not account.waiting:
                await asyncio.sleep(0)
            holding.cancel()
            slot.fall_silent("a")
        async with account.slot("another", within=1):
            assert account.held == 1
