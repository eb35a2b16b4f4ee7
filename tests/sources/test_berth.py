"""What becomes of a channel's connection between one upstream and the next."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

from streamproxy.errors import UpstreamBroken, UpstreamBusy
from streamproxy.sources.accounts import Account, Accounts
from streamproxy.sources.berth import Berth
from tests.helpers.virtual_time import in_virtual_time, now


async def play(berth: Berth, account: Account | None, seconds: float = 1, *, within: float = 0) -> None:
    """Have a connection for a while, and lose it."""
    with suppress(UpstreamBroken):
        async with berth.connection(account, within=within):
            await asyncio.sleep(seconds)
            raise UpstreamBroken("provider", "broken")


class Rival:
    """Another channel, which waits for a connection and keeps what it gets."""

    def __init__(self, account: Account, within: float = 100) -> None:
        self.at: float | None = None
        self._stack = AsyncExitStack()
        self.task = asyncio.create_task(self._wait(account, within))

    async def _wait(self, account: Account, within: float) -> None:
        await self._stack.enter_async_context(account.slot("rival", within=within))
        self.at = now()

    async def leave(self) -> None:
        await self._stack.aclose()


Story = Callable[[Account, Berth, Rival], Coroutine[Any, Any, None]]


def told(story: Story, *, most: int = 1) -> None:
    """Let a channel have a connection, and a rival come for it, while it plays; in the end nothing is left."""

    async def tell() -> None:
        account = Account("provider", most)
        with Berth("news") as berth:
            first = asyncio.create_task(play(berth, account))
            await asyncio.sleep(0)
            rival = Rival(account)
            await story(account, berth, rival)
            await first
        await rival.task
        await rival.leave()
        assert (account.held, account.waiting) == (0, 0)

    in_virtual_time(tell())


@pytest.mark.parametrize("after", [0, 0.9])
def test_a_connection_that_is_lost_is_there_for_the_next_upstream(after: float) -> None:
    async def story(account: Account, berth: Berth, rival: Rival) -> None:
        await asyncio.sleep(1)
        assert (account.held, account.waiting) == (1, 1)
        await asyncio.sleep(after)
        async with berth.connection(account, within=0):
            await asyncio.sleep(5)
            assert (account.held, account.waiting) == (1, 1)
        assert rival.at is None

    told(story)


def test_a_connection_that_is_lost_is_kept_for_a_second() -> None:
    async def story(account: Account, berth: Berth, rival: Rival) -> None:
        await rival.task
        assert rival.at == 2
        with pytest.raises(UpstreamBusy):
            await play(berth, account)

    told(story)


def test_it_is_kept_anew_each_time_it_is_lost() -> None:
    async def story(account: Account, berth: Berth, rival: Rival) -> None:
        await asyncio.sleep(1)
        for _ in range(4):
            await asyncio.sleep(0.75)
            await play(berth, account, 0)
        assert rival.at is None
        await rival.task
        assert rival.at == 5

    told(story)


def test_nothing_is_kept_for_a_channel_that_has_ended() -> None:
    async def tell() -> None:
        account = Account("provider", 1)
        with Berth("news") as berth:
            playing = asyncio.create_task(play(berth, account))
            await asyncio.sleep(0)
            rival = Rival(account)
            await asyncio.sleep(1.5)
            assert (account.held, rival.at) == (1, None)
        await rival.task
        assert rival.at == 1.5
        await playing
        await rival.leave()
        assert account.held == 0

    in_virtual_time(tell())


def test_what_is_shut_when_the_channel_has_ended_is_not_kept() -> None:
    async def tell() -> None:
        account = Account("provider", 1)
        with Berth("news") as berth:
            playing = asyncio.create_task(play(berth, account, 3))
            await asyncio.sleep(0)
        assert account.held == 1
        await playing
        assert (account.held, now()) == (0, 3)

    in_virtual_time(tell())


@pytest.mark.parametrize("counted", [True, False])
def test_going_to_another_account_lets_it_go(counted: bool) -> None:
    other = Account("other", 1) if counted else None

    async def story(_: Account, berth: Berth, rival: Rival) -> None:
        await asyncio.sleep(1.5)
        assert rival.at is None
        async with berth.connection(other, within=0):
            await rival.task
            assert rival.at == 1.5

    told(story)


def test_it_is_let_go_before_one_of_another_account_is_waited_for() -> None:
    other = Account("other", 0)

    async def story(_: Account, berth: Berth, rival: Rival) -> None:
        await asyncio.sleep(1.5)
        with pytest.raises(UpstreamBusy):
            await play(berth, other, within=0.1)
        assert rival.at == 1.5

    told(story)


@pytest.mark.parametrize("counted", [True, False])
def test_what_another_has_taken_the_place_of_is_given_back_at_once(counted: bool) -> None:
    async def story(account: Account, berth: Berth, rival: Rival) -> None:
        account.configure(3 if counted else 2)
        await rival.task
        async with berth.connection(account if counted else None, within=0):
            another = Rival(account)
            await another.task
            assert another.at == 1
        await another.leave()

    told(story)


def test_it_is_not_taken_over_where_fewer_are_allowed_by_now() -> None:
    async def tell() -> None:
        account = Account("provider", 2)
        with Berth("news") as berth:
            async with account.slot("sport", within=0):
                await play(berth, account)
                account.configure(1)
                with pytest.raises(UpstreamBusy):
                    await play(berth, account)
                assert account.held == 1

    in_virtual_time(tell())


def test_a_channel_that_nobody_watches_is_asked_to_stop_while_it_has_none_open() -> None:
    async def tell() -> None:
        accounts = Accounts({"provider": 1})
        account = accounts.of("provider")

        async def run() -> None:
            with Berth("news") as berth:
                await play(berth, account)
                await asyncio.sleep(100)

        running = asyncio.create_task(run())
        await asyncio.sleep(1.2)
        accounts.linger("news", running.cancel)

        rival = Rival(account)
        await rival.task

        assert rival.at == 1.2
        await rival.leave()
        await asyncio.wait([running])

    in_virtual_time(tell())


def test_who_is_cancelled_while_waiting_keeps_nothing() -> None:
    async def story(account: Account, berth: Berth, rival: Rival) -> None:
        await rival.task
        waiting = asyncio.create_task(play(berth, account, within=100))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await rival.leave()
        assert account.held == 0

    told(story)


def test_a_channel_whose_viewers_wait_is_served_before_one_that_begins() -> None:
    async def story(account: Account, berth: Berth, rival: Rival) -> None:
        await rival.task
        late = Rival(account)
        await asyncio.sleep(0)
        again = asyncio.create_task(play(berth, account, within=100))
        await asyncio.sleep(5)
        await rival.leave()
        await late.task
        # It plays for a second, and what it loses is kept for it for another.
        assert late.at == now() == 9
        await again
        await late.leave()

    told(story)


def test_a_channel_that_plays_is_served_behind_one_that_begins() -> None:
    async def tell() -> None:
        account = Account("provider", 1)
        with Berth("news") as berth:
            async with berth.connection(None, within=0):
                before = Rival(account)
                await before.task
                spare = asyncio.create_task(play(berth, account, within=100))
                await asyncio.sleep(0)
                rival = Rival(account)
                await asyncio.sleep(5)
                await before.leave()
                await rival.task
                assert rival.at == 5
                assert not spare.done()
                await rival.leave()
                await spare

    in_virtual_time(tell())
