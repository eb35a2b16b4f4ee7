"""Who takes a connection of a provider: a source for as long as it runs, or many users together."""

import asyncio
from collections.abc import Callable

from streamproxy.errors import UpstreamBusy
from streamproxy.model import Sink, Source, StreamFormat
from streamproxy.sources.accounts import Account, Accounts, Slot
from streamproxy.sources.berth import Berth
from streamproxy.tasks import Tasks


class AdmittedSource:
    """Runs a source while it holds a connection of the provider's account.

    The connection is given back when the source is shut, and not before: a provider never sees one too many.
    """

    def __init__(self, source: Source, account: Account | None, berth: Berth, *, within: float) -> None:
        """Prepare.

        Args:
            source: What to run.
            account: Whose connection it takes; None for none that counts.
            berth: What its channel takes connections through.
            within: Seconds to wait for a connection.
        """
        self._source = source
        self._account = account
        self._berth = berth
        self._within = within

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed."""
        return self._source.format

    async def run(self, sink: Sink) -> None:
        """Wait for a connection; then see `Source.run`.

        Raises:
            UpstreamBusy: None became free in time.
            UpstreamError: The source failed.
        """
        async with self._berth.connection(self._account, within=self._within):
            await self._source.run(sink)


class SharedSlots:
    """Slots that many hold together: each is taken for the first, and given back after the last."""

    def __init__(self, accounts: Accounts, tasks: Tasks) -> None:
        """Prepare.

        Args:
            accounts: Whose connections they are.
            tasks: Where they are held; its end gives them all back.
        """
        self._accounts = accounts
        self._tasks = tasks
        self._slots: dict[tuple[str, str], SharedSlot] = {}

    def of(self, label: str, holder: str) -> "SharedSlot":
        """Return the slot that somebody has of a provider: the same one for as long as anybody uses it.

        Args:
            label: The name of the provider.
            holder: See `Account.slot`.
        """
        key = label, holder
        slot = self._slots.get(key)
        if slot is None:
            account = self._accounts.of(label)

            def take() -> Slot:
                return account.slot(holder, within=self._accounts.grace)

            def forget() -> None:
                if self._slots.get(key) is slot:
                    del self._slots[key]

            slot = self._slots[key] = SharedSlot(take, self._tasks, forget, name=f"connection for {holder}")
        return slot


class SharedSlot:
    """A slot for several users, who come and go."""

    _granted: asyncio.Future[None]

    def __init__(self, take: Callable[[], Slot], tasks: Tasks, on_empty: Callable[[], object], *, name: str) -> None:
        """Prepare, without taking it.

        Args:
            take: Makes the slot, each time it is to be taken.
            tasks: Where it is held.
            on_empty: Called when nobody uses it any more.
            name: Of the task.
        """
        self._take = take
        self._tasks = tasks
        self._on_empty = on_empty
        self._name = name
        self._users: set[object] = set()
        self._silent: set[object] = set()
        self._slot: Slot | None = None
        self._task: asyncio.Task[None] | None = None

    async def hold(self, user: object) -> None:
        """Use it until `leave` is called; return when it is held.

        Args:
            user: Who; may be one who uses it already.

        Raises:
            UpstreamBusy: No connection became free in time. The next who asks tries again.
        """
        self._users.add(user)
        self._silent.discard(user)
        if self._slot:
            self._slot.in_use()
        if self._task is None or self._task.done():
            granted = self._granted = asyncio.get_running_loop().create_future()
            self._task = self._tasks.start(self._keep(granted), name=self._name)
            # Whoever waits for it at the end of all does not wait for ever.
            self._task.add_done_callback(lambda _: granted.cancel())
        await asyncio.shield(self._granted)

    def fall_silent(self, user: object) -> None:
        """Say that a user may have left. When all may have, it can be given up for others, until one asks again."""
        if user in self._users:
            self._silent.add(user)
            self._linger_if_silent()

    def leave(self, user: object) -> None:
        """Use it no more; after the last, it is given back."""
        self._users.discard(user)
        self._silent.discard(user)
        if not self._users:
            self._give_back()
            self._on_empty()
        else:
            self._linger_if_silent()

    async def _keep(self, granted: asyncio.Future[None]) -> None:
        try:
            async with self._take() as self._slot:
                granted.set_result(None)
                self._linger_if_silent()
                await asyncio.get_running_loop().create_future()
        except UpstreamBusy as error:
            granted.set_exception(error)
            granted.exception()  # who waited for it may be gone by now

    def _linger_if_silent(self) -> None:
        if self._slot and self._users == self._silent:
            self._slot.lingering(self._give_back)

    def _give_back(self) -> None:
        task, self._task, self._slot = self._task, None, None
        if task:
            task.cancel()
