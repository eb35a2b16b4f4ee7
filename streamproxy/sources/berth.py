"""The connections of providers that one channel has while it runs, from one upstream to the next."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from streamproxy.sources.accounts import Account, Priority, Slot

_KEPT = 1.0
"""Seconds: what has played for a while is opened again at once, and what has not, a second after it was opened."""


class Berth:
    """Takes connections for one run of a channel, for the length of a `with` block, one upstream after the other.

    When the only one is lost, its slot is kept for the channel's next upstream for a moment: whoever waits would take
    it from viewers who are there. Nothing is open on it then, but it counts as in use. When the block is left nothing
    is kept, nor from then on. Later than that the channel waits like others, but
    before those who have just come, if it has had a connection for that long.
    """

    def __init__(self, holder: str) -> None:
        """Start with no connection.

        Args:
            holder: The channel; see `Account.slot`.
        """
        self._holder = holder
        self._open = 0
        self._played = False
        self._over = False
        self._kept: Slot | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._let_go()

    @asynccontextmanager
    async def connection(self, account: Account | None, *, within: float) -> AsyncIterator[None]:
        """Hold a connection for the length of the block: as long as the socket, no shorter.

        Args:
            account: Whose it is; None for none that counts.
            within: Seconds to wait for a free one.

        Raises:
            UpstreamBusy: None became free in time.
        """
        slot = self._take_over(account)
        if slot is None and account:
            slot = account.slot(self._holder, priority=self._priority, within=within)
            await slot.take()
        self._open += 1
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            yield
        finally:
            self._open -= 1
            self._played = self._played or loop.time() - begun >= _KEPT
            if slot:
                self._keep(slot)

    @property
    def _priority(self) -> Priority:
        if self._open:
            return Priority.SPARE
        return Priority.PLAYED if self._played else Priority.BEGINNING

    def _take_over(self, account: Account | None) -> Slot | None:
        """Return what was kept, if it is of any use, and give it back if not."""
        slot = self._kept
        # Who has been allowed less since then would see one too many.
        if slot is None or slot.account is not account or account.exceeded:
            self._let_go()
            return None
        self._forget()
        return slot

    def _keep(self, slot: Slot) -> None:
        # Where another plays by now, this one was not lost, or is not missed.
        if self._open or self._over:
            slot.give_back()
            return
        self._kept = slot
        self._timer = asyncio.get_running_loop().call_later(_KEPT, self._let_go)

    def _let_go(self) -> None:
        if slot := self._forget():
            slot.give_back()

    def _forget(self) -> Slot | None:
        if self._timer:
            self._timer.cancel()
        slot, self._kept, self._timer = self._kept, None, None
        return slot
