"""A running channel: one feed, one ring, its readers."""

import asyncio
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import structlog

from streamproxy.broadcast.reader import Reader
from streamproxy.broadcast.ring import Ring
from streamproxy.errors import UpstreamBroken, UpstreamError
from streamproxy.formats.mpegts import Entry
from streamproxy.model import Channel, StreamFormat

_log = structlog.stdlib.get_logger("streamproxy")


class Taker(Protocol):
    """What takes a stream and is told where decoders can start in it; where a `Sink` will do, this does."""

    @property
    def full(self) -> bool:
        """Whether `drain` would wait."""

    def write(self, data: bytes, entries: Sequence[Entry] = (), /) -> None:
        """Take a piece of the stream, without waiting.

        Args:
            data: The piece.
            entries: Entry points found with it, by their positions in all that was written; they may lie before it,
                and come without any data.
        """

    async def drain(self) -> None:
        """Wait until more may be written."""


class Feed(Protocol):
    """What feeds a channel. A `Source` is one: it says nothing of entry points."""

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed; known with its first write."""

    async def run(self, sink: Taker) -> None:
        """Feed for as long as this runs; see `Source.run`."""


@runtime_checkable
class Looking(Protocol):
    """What else some feeds do: they find entry points when somebody wants to start at one, and not before."""

    def look(self) -> None:
        """Tell the taker of the entry points in what was written."""


@runtime_checkable
class Recalling(Protocol):
    """What else some feeds do: they know what came lately from what they run, before it was spliced."""

    def newest(self, count: int, /) -> Sequence[bytes]:
        """Return the newest pieces that came as a transport stream, at most so many, oldest first."""


class Broadcast:
    """Runs a feed into a ring. It is the taker of its feed, and never makes it wait.

    Attributes:
        channel: What is running.
        feed: Where it comes from.
        closed: Whether it will take no more readers. Set before anything is torn down, so nobody joins what is ending.
        visits: Readers it has ever had.
        full: Whether its feed has to wait for readers: never.
    """

    full = False

    def __init__(self, channel: Channel, feed: Feed, *, history: int, queue: int, turn: asyncio.Lock) -> None:
        """Prepare, without opening anything.

        Args:
            channel: What to run.
            feed: Where it comes from.
            history: Bytes of the past that are kept for readers to start with.
            queue: Chunks a reader may lag behind.
            turn: Held while the feed is open, so that a channel's next broadcast opens only when this one is shut.
        """
        self.channel = channel
        self.feed = feed
        self.closed = False
        self.visits = 0
        self.turn = turn
        self._queue = queue
        self._ring = Ring(history)
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log = _log.bind(channel=channel.id)

    @property
    def readers(self) -> int:
        """How many read it."""
        return self._ring.readers

    @property
    def received(self) -> int:
        """Bytes that came from the feed, whole packets only."""
        return self._ring.position

    @property
    def format(self) -> StreamFormat:
        """How its stream is packed; known once it has started."""
        return self.feed.format

    def newest(self, count: int) -> list[bytes]:
        """Return the newest chunks that viewers got, at most so many, oldest first."""
        return self._ring.newest(count)

    def attach(self) -> Reader:
        """Add a reader; it begins where a decoder can, or with the recent past."""
        self.visits += 1
        if isinstance(self.feed, Looking):
            self.feed.look()
        return self._ring.join(self._queue)

    def detach(self, reader: Reader) -> None:
        """Remove a reader."""
        self._ring.leave(reader)

    async def started(self) -> None:
        """Wait for the first bytes.

        Raises:
            UpstreamError: The feed failed or ended without any.
        """
        await asyncio.shield(self._started)

    def write(self, data: bytes, entries: Sequence[Entry] = (), /) -> None:
        """Take a chunk from the feed."""
        if not data:
            self._ring.note(entries)
            return
        self._ring.append(data, entries)
        if not self._started.done():
            self._started.set_result(None)
            self._log.info("channel_started", upstream=self.channel.upstreams[0].label)

    async def drain(self) -> None:
        """Return at once."""

    async def run(self) -> None:
        """Run the feed until it ends, fails or this is cancelled; then end the readers."""
        failure: UpstreamError = UpstreamBroken(self.channel.upstreams[0].label, "the upstream sent nothing")
        try:
            async with self.turn:
                await self.feed.run(self)
            self._log.info("channel_ended")
        except UpstreamError as error:
            failure = error
            self._log.warning("upstream_failed", upstream=error.label, reason=error.reason)
        finally:
            self.close(failure)

    def close(self, failure: UpstreamError) -> None:
        """Take no more readers, and end those that are there."""
        self.closed = True
        self._ring.close()
        if not self._started.done():
            self._started.set_exception(failure)
            # Nobody may be waiting any more; that is no mistake worth a line in the log.
            self._started.exception()
