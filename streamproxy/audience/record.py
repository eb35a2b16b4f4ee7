"""What is known of one stream: who watches it, and how it fares."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from streamproxy.audience.client import Client, Viewer, Visitor
from streamproxy.errors import UpstreamError
from streamproxy.events import (
    ClientConnected,
    ClientDisconnected,
    Event,
    FailoverTriggered,
    Splice,
    StreamFailed,
    StreamStarted,
    StreamStopped,
    UpstreamFailed,
    UpstreamRecovered,
    ViewerLagged,
)
from streamproxy.model import Channel, Upstream

BY_HAND = "manual"
"""Why another upstream takes over that somebody has chosen."""


@dataclass(slots=True)
class Counters:
    """What has happened to a stream since the start.

    Attributes:
        received: Bytes that came from upstreams.
        errors: Upstreams lost.
        retries: Times that an upstream was opened after a loss.
        failovers: Times that another upstream took over.
        splices: Streams that were put together.
        failures: Times that the stream was given up.
        overruns: Times that viewers who have left were too slow.
        skipped: Bytes that they lost that way.
        sent: Bytes that viewers who have left got.
        segments: Segments that they got.
        inspected: Packets that were looked at one by one: a sample, now and then.
        cc_errors_in: Of these, those that did not follow the one before, as they came from upstreams.
        cc_errors_out: The same as viewers got them.
        pcr_gaps_in: Clock references of the sample that jumped, as they came.
        pcr_gaps_out: The same as viewers got them.
    """

    received: int = 0
    errors: int = 0
    retries: int = 0
    failovers: int = 0
    splices: int = 0
    failures: int = 0
    overruns: int = 0
    skipped: int = 0
    sent: int = 0
    segments: int = 0
    inspected: int = 0
    cc_errors_in: int = 0
    cc_errors_out: int = 0
    pcr_gaps_in: int = 0
    pcr_gaps_out: int = 0


class StreamRecord:
    """What is known of a stream beyond its channel: who watches, and how it fares. It watches over the stream's feed.

    Attributes:
        channel: The channel, as it was when somebody last began to watch.
        created: When it was made or first watched, in UTC.
        seen: When somebody last came or left, in UTC.
        counters: What has happened.
        clients: Who watches, by client id.
        preferred: Which upstream is the first to be tried: that which was chosen by hand, if one was.
        index: Which upstream plays, or did last.
        stand_in: The address that a service has named in the upstreams' place; None for none.
        failed_over: When another upstream last took over, in UTC; None for never.
        lost_since: Time of the loop since which nothing plays; None while something does, or before anything did.
    """

    def __init__(self, channel: Channel, publish: Callable[[Event], None]) -> None:
        self.channel = channel
        self.created = self.seen = datetime.now(UTC)
        self.counters = Counters()
        self.clients: dict[str, Client] = {}
        self.preferred = 0
        self.index = 0
        self.stand_in: Upstream | None = None
        self.failed_over: datetime | None = None
        self.lost_since: float | None = None
        self._publish = publish
        self._farewell: StreamStopped | None = None

    @property
    def sent(self) -> int:
        """Bytes sent to all viewers, those who left included."""
        return self.counters.sent + sum(client.viewer.sent for client in self.clients.values())

    @property
    def segments(self) -> int:
        """Segments sent to all viewers, those who left included."""
        return self.counters.segments + sum(client.viewer.segments for client in self.clients.values())

    @property
    def overruns(self) -> int:
        """Times that viewers were too slow."""
        return self.counters.overruns + sum(client.viewer.overruns for client in self.clients.values())

    @property
    def skipped(self) -> int:
        """Bytes that viewers lost that way."""
        return self.counters.skipped + sum(client.viewer.skipped for client in self.clients.values())

    @property
    def rate(self) -> float:
        """Bytes per second sent to all viewers lately."""
        return sum(client.rate for client in self.clients.values())

    @property
    def upstream(self) -> Upstream:
        """What plays, or will be the first to be tried."""
        return self.stand_in or self.channel.upstreams[min(self.index, len(self.channel.upstreams) - 1)]

    def enter(self, visitor: Visitor, viewer: Viewer) -> Client:
        """Count somebody in. Only attendances call this."""
        wanted = visitor.id_on(self.channel.id)
        client_id = f"{wanted}_{secrets.token_hex(4)}" if wanted in self.clients else wanted
        client = self.clients[client_id] = Client(client_id, visitor, viewer)
        self.seen = client.since
        self._farewell = None
        if len(self.clients) == 1:
            self._tell_of_the_start(client)
        self._publish(
            ClientConnected(
                stream_id=self.channel.id,
                client_id=client.id,
                user_agent=visitor.agent,
                ip_address=visitor.address,
                username=visitor.username,
                stream_client_count=len(self.clients),
                metadata=self.channel.metadata,
            )
        )
        return client

    def leave(self, client: Client) -> None:
        """Count somebody out. Only attendances call this."""
        del self.clients[client.id]
        self.seen = datetime.now(UTC)
        viewer, counters = client.viewer, self.counters
        counters.sent += viewer.sent
        counters.segments += viewer.segments
        counters.overruns += viewer.overruns
        counters.skipped += viewer.skipped
        metadata = self.channel.metadata
        self._publish(
            ClientDisconnected(
                stream_id=self.channel.id,
                client_id=client.id,
                bytes_served=viewer.sent,
                segments_served=viewer.segments,
                metadata=metadata,
            )
        )
        if not self.clients:
            usual = StreamStopped(
                stream_id=self.channel.id,
                reason="last_client_disconnected",
                client_id=client.id,
                bytes_served=viewer.sent,
                metadata=metadata,
            )
            self._publish(self._farewell or usual)
            self._farewell = None

    def stop(self, farewell: StreamStopped) -> None:
        """End all viewers; what is said of the end is published when the last has left, at once if there is none."""
        if not self.clients:
            self._publish(farewell)
            return
        self._farewell = farewell
        for client in tuple(self.clients.values()):
            client.viewer.stop()

    def sample(self, seconds: float) -> None:
        """Take note of what viewers got in the time since the last sample."""
        for client in self.clients.values():
            if client.sample(seconds):
                viewer = client.viewer
                self._publish(
                    ViewerLagged(
                        stream_id=self.channel.id,
                        client_id=client.id,
                        overruns=viewer.overruns,
                        skipped=viewer.skipped,
                    )
                )

    def lost(self, upstream: Upstream, error: UpstreamError) -> None:
        """Take note that an upstream was lost, or could not be had."""
        self.counters.errors += 1
        if self.lost_since is None:
            self.lost_since = time.monotonic()
        event = UpstreamFailed(
            stream_id=self.channel.id, upstream=upstream.label, reason=error.reason, error_type=type(error).__name__
        )
        self._publish(event)

    def tried_again(self) -> None:
        """Take note that an upstream is opened after a loss."""
        self.counters.retries += 1

    def playing(self, upstream: Upstream, index: int | None, *, spliced: bool, reason: str) -> None:
        """Take note that an upstream was put in force.

        Args:
            upstream: Which.
            index: Its number among the channel's; None for one that a service has named.
            spliced: Whether something played before it on the same line.
            reason: Why, if it is another than before.
        """
        before = self.upstream
        if index is not None:
            self.index = index
            if reason == BY_HAND:
                self.preferred = index
        self.stand_in = upstream if index is None else None
        if spliced:
            self.counters.splices += 1
            self._publish(Splice(stream_id=self.channel.id, upstream=upstream.label))
        if upstream != before:
            self._tell_of_failover(before, upstream, reason)
        if self.lost_since is not None:
            seconds = round(time.monotonic() - self.lost_since, 3)
            self.lost_since = None
            event = UpstreamRecovered(stream_id=self.channel.id, upstream=upstream.label, seconds=seconds)
            self._publish(event)

    def choose(self, index: int) -> None:
        """Take note that a stream which nobody watches is to begin with another upstream."""
        self.preferred = index
        self.playing(self.channel.upstreams[index], index, spliced=False, reason=BY_HAND)

    def gave_up(self, error: UpstreamError) -> None:
        """Take note that nothing can be had any more."""
        self.counters.failures += 1
        self.lost_since = None
        self._publish(
            StreamFailed(
                stream_id=self.channel.id,
                error=error.reason,
                error_type=type(error).__name__,
                reason="no_failover_available",
                bytes_served=self.sent,
                metadata=self.channel.metadata,
            )
        )

    def _tell_of_the_start(self, client: Client) -> None:
        self._publish(
            StreamStarted(
                stream_id=self.channel.id,
                url=self.upstream.url,
                client_id=client.id,
                mode="direct_proxy",
                metadata=self.channel.metadata,
            )
        )

    def _tell_of_failover(self, before: Upstream, after: Upstream, reason: str) -> None:
        self.counters.failovers += 1
        self.failed_over = datetime.now(UTC)
        self._publish(
            FailoverTriggered(
                stream_id=self.channel.id,
                old_url=before.url,
                new_url=after.url,
                failover_index=self.index - 1,
                attempt_number=self.counters.failovers,
                reason=reason,
                client_count=len(self.clients),
                metadata=self.channel.metadata,
            )
        )
