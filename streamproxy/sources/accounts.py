"""Provider accounts: how many connections each allows at once, and who holds them."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from enum import IntEnum
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from streamproxy.errors import UpstreamBusy


class Priority(IntEnum):
    """Who of those that wait for a connection is served first: the highest."""

    SPARE = 0
    """Plays already, and could go on with that."""
    BEGINNING = 1
    """Has just been asked for."""
    PLAYED = 2
    """Has lost what it played, and people wait for it to go on."""


class Account:
    """The connections of one provider account.

    Who is held is a set of slots, and its size is the count: it cannot drift from what is there. Nobody who holds a
    slot is ever cut off; those that nobody watches any more are asked to stop when others wait.

    Attributes:
        label: The name of the provider, which errors show.
    """

    def __init__(
        self,
        label: str,
        max_connections: int | None = None,
        unwatched: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        """Start with all connections free.

        Args:
            label: The name of the provider.
            max_connections: How many it allows at once; None for any number.
            unwatched: Holders for whom nobody watches at the moment, and how to stop them: what they are given
                lingers from its first moment.
        """
        self.label = label
        self._max_connections = max_connections
        # Not its truth: it is shared, and empty at first.
        self._unwatched = {} if unwatched is None else unwatched
        self._held: set[Slot] = set()
        self._waiting: list[Slot] = []
        self._lingering: dict[Slot, Callable[[], object]] = {}
        self._leaving: set[Slot] = set()

    @property
    def held(self) -> int:
        """How many connections are in use."""
        return len(self._held)

    @property
    def limit(self) -> int | None:
        """How many there may be at once; None for any number."""
        return self._max_connections

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)

    @property
    def exceeded(self) -> bool:
        """Whether more are in use than are allowed by now."""
        return self._max_connections is not None and len(self._held) > self._max_connections

    def configure(self, max_connections: int | None) -> None:
        """Allow another number from now on. Who holds more than that keeps it; who comes now waits until it is true."""
        self._max_connections = max_connections
        self._settle()

    def slot(self, holder: str, *, priority: Priority = Priority.BEGINNING, within: float) -> "Slot":
        """Make a slot, which is held for the length of an `async with` block: as long as the socket, no shorter.

        Args:
            holder: Whom it is for: a viewer, say. What lingers on their behalf is the first that is asked to stop.
            priority: Its place among those who wait; equals are served in the order in which they came.
            within: Seconds to wait for a free connection, in which one who is just leaving may leave. 0 for not
                waiting; what lingers is asked to stop nevertheless, for the viewer's next try.
        """
        return Slot(self, holder, priority, within)

    def slots_of(self, holder: str) -> list["Slot"]:
        """Return the slots that somebody holds."""
        return [slot for slot in self._held if slot.holder == holder]

    def _enter(self, slot: "Slot") -> None:
        # Behind all of the same priority or higher: there are few, and they are in order.
        place = sum(other.priority >= slot.priority for other in self._waiting)
        self._waiting.insert(place, slot)
        self._settle()

    def _leave(self, slot: "Slot") -> None:
        """Forget a slot, in whatever state it is."""
        if slot in self._waiting:
            self._waiting.remove(slot)
        self._held.discard(slot)
        self._lingering.pop(slot, None)
        self._leaving.discard(slot)
        self._settle()

    def _expire(self, slot: "Slot") -> None:
        if slot.decide(granted=False):
            self._waiting.remove(slot)

    def _linger(self, slot: "Slot", on_preempt: Callable[[], object]) -> None:
        if slot in self._held and slot not in self._leaving:
            self._lingering[slot] = on_preempt
            self._settle()

    def _use(self, slot: "Slot") -> None:
        self._lingering.pop(slot, None)

    def _settle(self) -> None:
        """Serve whom one can, and ask as many as the others need to stop."""
        while self._waiting and (self._max_connections is None or len(self._held) < self._max_connections):
            slot = self._waiting.pop(0)
            # Who has just been cancelled has not left yet, but takes no connection any more.
            if slot.decide(granted=True):
                self._held.add(slot)
                if slot.holder in self._unwatched:
                    self._lingering[slot] = self._unwatched[slot.holder]
        while self._waiting and self._lingering and len(self._leaving) < self._missing:
            slot = self._choose_lingering()
            on_preempt = self._lingering.pop(slot)
            self._leaving.add(slot)
            on_preempt()

    @property
    def _missing(self) -> int:
        """How many must leave before all who wait are served."""
        return len(self._waiting) + len(self._held) - (self._max_connections or 0)

    def _choose_lingering(self) -> "Slot":
        """Return one that lingers for somebody who waits, and else the one that has lingered longest."""
        waiting = {slot.holder for slot in self._waiting}
        own = (slot for slot in self._lingering if slot.holder in waiting)
        return next(own, next(iter(self._lingering)))


class Slot:
    """The right to one connection of an account, for the length of an `async with` block.

    Entering it raises UpstreamBusy where no connection became free in time.

    Attributes:
        account: Whose connection it is.
        holder: Whom it is for.
        priority: Its place among those who wait.
    """

    __slots__ = ("__weakref__", "_decision", "_within", "account", "holder", "priority")

    def __init__(self, account: Account, holder: str, priority: Priority, within: float) -> None:
        self.account = account
        self.holder = holder
        self.priority = priority
        self._within = within
        self._decision: asyncio.Future[bool] | None = None

    async def __aenter__(self) -> Self:
        await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    async def take(self) -> None:
        """Take the connection, for as long as `give_back` is not called: for who cannot hold it for a block.

        Raises:
            UpstreamBusy: None became free in time.
        """
        if self._decision is not None:
            raise RuntimeError("a slot is entered once")
        loop = asyncio.get_running_loop()
        decision = self._decision = loop.create_future()
        # Not asyncio.timeout: what is granted and what expires at the same moment must be one or the other.
        timer = loop.call_later(self._within, self.account._expire, self)
        try:
            self.account._enter(self)
            granted = await decision
        except BaseException:
            self.account._leave(self)
            raise
        finally:
            timer.cancel()
        if not granted:
            raise UpstreamBusy(self.account.label)

    def give_back(self) -> None:
        """Let the next one have it."""
        self.account._leave(self)

    def decide(self, *, granted: bool) -> bool:
        """End the wait; return whether it had not ended already. Only the account calls this."""
        if self._decision is None or self._decision.done():
            return False
        self._decision.set_result(granted)
        return True

    def lingering(self, on_preempt: Callable[[], object]) -> None:
        """Say that nobody watches any more, and that this may be asked to stop for another.

        Args:
            on_preempt: Called, at most once, when another needs the connection: at once if somebody waits already. It
                must neither wait nor raise. The connection passes on when the block is left.
        """
        self.account._linger(self, on_preempt)

    def in_use(self) -> None:
        """Say that somebody watches again. Too late, if it has been asked to stop."""
        self.account._use(self)


class Accounts:
    """All accounts, found by the name of their provider.

    Attributes:
        grace: Seconds to wait for a free connection: whoever has just left another channel has not quite left.
    """

    def __init__(self, limits: Mapping[str, int | None] | None = None, *, grace: float = 3.0) -> None:
        """Start with all connections free.

        Args:
            limits: How many connections each allows; who is not in it allows any number, as does None.
            grace: See above.
        """
        self.grace = grace
        self._limits = dict(limits or {})
        self._unwatched: dict[str, Callable[[], object]] = {}
        # Those that are in use, and no others: a slot keeps its account, and so does whoever waits for one.
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()

    def of(self, label: str) -> Account:
        """Return the account of a provider: the same one for as long as anybody uses it."""
        account = self._accounts.get(label)
        if account is None:
            account = self._accounts[label] = Account(label, self._limits.get(label), self._unwatched)
        return account

    def active(self) -> list[Account]:
        """Return the accounts of which connections are in use, or waited for."""
        return [account for account in list(self._accounts.values()) if account.held or account.waiting]

    def slot(self, label: str, holder: str) -> AbstractAsyncContextManager[object]:
        """Make a slot of a provider's account, with the usual grace.

        Args:
            label: The name of the provider; empty for none that counts connections.
            holder: See `Account.slot`.
        """
        return self.of(label).slot(holder, within=self.grace) if label else nullcontext()

    def configure(self, limits: Mapping[str, int | None]) -> None:
        """Use other limits from now on; who holds a connection keeps it."""
        self._limits = dict(limits)
        for label, account in list(self._accounts.items()):
            account.configure(self._limits.get(label))

    def linger(self, holder: str, stop: Callable[[], object]) -> None:
        """Say that nobody watches somebody's streams any more, those included that they have yet to open.

        It holds until `in_use` is called, for whatever reason.

        Args:
            holder: Whose streams.
            stop: See `Slot.lingering`; called for each connection of theirs.
        """
        self._unwatched[holder] = stop
        for slot in self._slots_of(holder):
            slot.lingering(stop)

    def in_use(self, holder: str) -> None:
        """Say that somebody's streams are watched again, or are no more."""
        self._unwatched.pop(holder, None)
        for slot in self._slots_of(holder):
            slot.in_use()

    def _slots_of(self, holder: str) -> list[Slot]:
        return [slot for account in list(self._accounts.values()) for slot in account.slots_of(holder)]
