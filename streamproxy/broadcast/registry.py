"""Which channels are running: finds or starts the broadcast that a viewer joins, and stops it after the last."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import NamedTuple, Protocol

from streamproxy.broadcast.broadcast import Broadcast, Feed
from streamproxy.broadcast.reader import Reader
from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken
from streamproxy.model import Channel
from streamproxy.tasks import Tasks


class Lingering(Protocol):
    """Who knows what else the upstreams of channels that nobody watches could be needed for."""

    def linger(self, channel_id: str, stop: Callable[[], object]) -> None:
        """Take note that a channel runs on for nobody, and how to stop it."""

    def in_use(self, channel_id: str) -> None:
        """Take note that somebody watches it again, or that it has ended."""


class _Entry(NamedTuple):
    broadcast: Broadcast
    task: asyncio.Task[None]


class BroadcastRegistry:
    """Runs at most one source per channel, for as long as anybody watches.

    A channel has at most one broadcast that can be joined. One that is ending stays entered until its source is shut,
    for its successor to wait for; and it is closed before it is torn down, so a viewer who joins meanwhile starts
    that successor.
    """

    def __init__(
        self,
        open_feed: Callable[[Channel], Feed],
        relay: RelayConfig,
        tasks: Tasks,
        *,
        lingering: Lingering | None = None,
        ended: Callable[[Broadcast], object] = lambda _: None,
        linger_of: Callable[[Channel], float | None] = lambda _: None,
    ) -> None:
        """Start with no channel running.

        Args:
            open_feed: Makes the feed of a channel, without opening it.
            relay: History, queue and linger.
            tasks: Where broadcasts run.
            lingering: Who may stop channels that run on although nobody watches; None for nobody.
            ended: Called with each broadcast whose feed is shut.
            linger_of: Tells for how many seconds a channel runs on for nobody; None for as long as `relay` says.
        """
        self._open_feed = open_feed
        self._relay = relay
        self._tasks = tasks
        self._lingering = lingering
        self._ended = ended
        self._linger_of = linger_of
        self._kept: Counter[str] = Counter()
        self._entries: dict[str, _Entry] = {}
        self._alive: dict[asyncio.Task[None], Broadcast] = {}

    @property
    def running(self) -> list[Broadcast]:
        """The broadcasts that can be joined."""
        return [entry.broadcast for entry in self._entries.values() if not entry.broadcast.closed]

    @property
    def alive(self) -> list[Broadcast]:
        """The broadcasts whose feed is not shut yet."""
        return list(self._alive.values())

    def configure(self, relay: RelayConfig) -> None:
        """Use other settings for what starts from now on."""
        self._relay = relay

    def join(self, channel: Channel) -> "Seat":
        """Find or start a channel; attached for the length of the `with` block, which is entered with the first bytes.

        Entering it raises UpstreamError where the channel's source fails before it has sent anything.
        """
        return Seat(self, channel)

    def attach(self, channel: Channel) -> tuple[Broadcast, Reader]:
        """Find or start a channel, and add a reader to it. Only seats call this."""
        broadcast = self._find_or_start(channel)
        if self._lingering and not broadcast.readers:
            self._lingering.in_use(channel.id)
        return broadcast, broadcast.attach()

    def detach(self, broadcast: Broadcast, reader: Reader) -> None:
        """Remove a reader, and stop what nobody watches any more. Only seats call this."""
        broadcast.detach(reader)
        self._stop_if_unwatched(broadcast)

    @contextmanager
    def keeping(self, channel_id: str) -> Iterator[None]:
        """Let a channel that runs run on for the length of the block, although nobody may watch it for a moment."""
        self._kept[channel_id] += 1
        try:
            yield
        finally:
            self._kept[channel_id] -= 1
            if not self._kept[channel_id]:
                del self._kept[channel_id]
            if entry := self._entries.get(channel_id):
                self._stop_if_unwatched(entry.broadcast)

    def stop(self, channel_id: str) -> None:
        """Stop a channel, if it is running; its viewers are at its end."""
        if entry := self._entries.get(channel_id):
            self._stop(entry)

    async def close(self) -> None:
        """Stop every channel, and wait until its source is shut."""
        for entry in self._entries.values():
            self._stop(entry)
        if self._alive:
            await asyncio.wait(self._alive)

    def _find_or_start(self, channel: Channel) -> Broadcast:
        entry = self._entries.get(channel.id)
        if entry and not entry.broadcast.closed:
            return entry.broadcast
        broadcast = Broadcast(
            channel,
            self._open_feed(channel),
            history=self._relay.history,
            queue=self._relay.queue,
            turn=entry.broadcast.turn if entry else asyncio.Lock(),
        )
        task = self._tasks.start(broadcast.run(), name=f"broadcast {channel.id}")
        self._entries[channel.id] = _Entry(broadcast, task)
        self._alive[task] = broadcast
        task.add_done_callback(lambda _: self._forget(channel.id, task))
        return broadcast

    def _forget(self, channel_id: str, task: asyncio.Task[None]) -> None:
        """Drop what has ended, unless its predecessor still holds the turn: then that one's end drops it."""
        self._ended(self._alive.pop(task))
        entry = self._entries.get(channel_id)
        if entry and entry.task.done() and not entry.broadcast.turn.locked():
            del self._entries[channel_id]
            if self._lingering:
                self._lingering.in_use(channel_id)

    def _stop_if_unwatched(self, broadcast: Broadcast) -> None:
        if broadcast.readers or broadcast.closed or broadcast.channel.id in self._kept:
            return
        own = self._linger_of(broadcast.channel)
        linger = self._relay.linger if own is None else own
        if linger:
            stop = partial(self._stop_if_unvisited, broadcast, broadcast.visits)
            asyncio.get_running_loop().call_later(linger, stop)
            if self._lingering:
                self._lingering.linger(broadcast.channel.id, stop)
        else:
            self._stop_if_unvisited(broadcast, broadcast.visits)

    def _stop_if_unvisited(self, broadcast: Broadcast, visits: int) -> None:
        entry = self._entries.get(broadcast.channel.id)
        is_kept = broadcast.channel.id in self._kept
        if entry and entry.broadcast is broadcast and broadcast.visits == visits and not is_kept:
            self._stop(entry)

    def _stop(self, entry: _Entry) -> None:
        """Close before cancelling: what is being torn down cannot be joined. Once: what is being shut is left to it."""
        if entry.broadcast.closed:
            return
        channel = entry.broadcast.channel
        entry.broadcast.close(UpstreamBroken(channel.upstreams[0].label, "the channel was stopped"))
        entry.task.cancel()


class Seat:
    """A viewer's place at a channel, for the length of an `async with` block.

    Written out, since there is one for each viewer: a generator would take twice the memory.
    """

    __slots__ = ("_attached", "_channel", "_registry")

    def __init__(self, registry: BroadcastRegistry, channel: Channel) -> None:
        self._registry = registry
        self._channel = channel
        self._attached: tuple[Broadcast, Reader] | None = None

    async def __aenter__(self) -> Reader:
        broadcast, reader = self._attached = self._registry.attach(self._channel)
        try:
            await broadcast.started()
        except BaseException:
            self._leave()
            raise
        reader.format = broadcast.format
        return reader

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._attached:
            self._registry.detach(*self._attached)
            self._attached = None
