"""A running channel: one source, one ring, its readers."""

import asyncio

import structlog

from streamproxy.broadcast.reader import Reader
from streamproxy.broadcast.ring import Ring
from streamproxy.errors import UpstreamBroken, UpstreamError
from streamproxy.model import Channel, Source, StreamFormat

_log = structlog.stdlib.get_logger("streamproxy")


class Broadcast:
    """Runs a source into a ring. It is the sink of its source, and never makes the source wait.

    Attributes:
        channel: What is running.
        closed: Whether it will take no more readers. Set before anything is torn down, so nobody joins what is ending.
        visits: Readers it has ever had.
        received: Bytes that came from the source, whole packets only.
    """

    def __init__(self, channel: Channel, source: Source, *, history: int, queue: int, turn: asyncio.Lock) -> None:
        """Prepare, without opening anything.

        Args:
            channel: What to run.
            source: Where it comes from.
            history: Bytes of the past that a reader starts with.
            queue: Chunks a reader may lag behind.
            turn: Held while the source is open, so that a channel's next broadcast opens only when this one is shut.
        """
        self.channel = channel
        self.closed = False
        self.visits = 0
        self.received = 0
        self.turn = turn
        self._source = source
        self._queue = queue
        self._ring = Ring(history)
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log = _log.bind(channel=channel.id)

    @property
    def readers(self) -> int:
        """How many read it."""
        return self._ring.readers

    @property
    def format(self) -> StreamFormat:
        """How its stream is packed; known once it has started."""
        return self._source.format

    def attach(self) -> Reader:
        """Add a reader; it begins with the recent past."""
        self.visits += 1
        return self._ring.join(self._queue)

    def detach(self, reader: Reader) -> None:
        """Remove a reader."""
        self._ring.leave(reader)

    async def started(self) -> None:
        """Wait for the first bytes.

        Raises:
            UpstreamError: The source failed or ended without any.
        """
        await asyncio.shield(self._started)

    def write(self, data: bytes, /) -> None:
        """Take a chunk from the source."""
        self.received += len(data)
        self._ring.append(data)
        if not self._started.done():
            self._started.set_result(None)
            self._log.info("channel_started", upstream=self.channel.upstreams[0].label)

    async def drain(self) -> None:
        """Return at once: the source never waits for readers."""

    async def run(self) -> None:
        """Run the source until it ends, fails or this is cancelled; then end the readers."""
        failure: UpstreamError = UpstreamBroken(self.channel.upstreams[0].label, "the upstream sent nothing")
        try:
            async with self.turn:
                await self._source.run(self)
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
