"""How streams and clients are shown."""

from collections.abc import Callable
from urllib.parse import quote

from aiohttp import web

from streamproxy.api import models
from streamproxy.audience import Client, StreamRecord
from streamproxy.model import Channel, StreamKind
from streamproxy.web import AUDIENCE, BROADCASTS, LIBRARY, SETTINGS, is_authenticated, may_watch, shown

_TYPES = {StreamKind.HLS: "HLS", StreamKind.FILE: "VOD"}
_HIDDEN = "***"


class Presenter:
    """Shows streams and clients to whoever made a request: providers' addresses only to those who may see them."""

    def __init__(self, request: web.Request) -> None:
        self._show: Callable[[str], str] = shown(request)
        self._is_authenticated = is_authenticated(request)
        self._audience = request.app[AUDIENCE]
        self._created = request.app[LIBRARY].created
        self._running = {broadcast.channel.id: broadcast for broadcast in request.app[BROADCASTS].running}
        self._user_agent = request.app[SETTINGS].config.options.user_agent

    def record(self, channel: Channel) -> StreamRecord:
        """Return what is known of a stream; nothing is remembered of one that nobody has watched."""
        return self._audience.records.get(channel.id) or StreamRecord(channel, lambda _: None)

    def is_active(self, channel: Channel) -> bool:
        """Tell whether a stream is watched, or runs on for a while after it was."""
        return channel.id in self._running or bool(self.record(channel).clients)

    def stream(self, channel: Channel) -> models.Stream:
        """Show a stream."""
        record = self.record(channel)
        order = self._created.order(channel.id)
        first = channel.upstreams[0]
        headers = {name: value for name, value in first.headers.items() if name.lower() != "user-agent"}
        agent = next((value for name, value in first.headers.items() if name.lower() == "user-agent"), None)
        created = record.created if order is None else order.created
        return models.Stream(
            stream_id=channel.id,
            original_url=self._show(first.url),
            current_url=self._show(record.upstream.url),
            user_agent=agent or self._user_agent,
            client_count=len(record.clients),
            total_bytes_served=record.sent,
            total_segments_served=record.segments,
            error_count=record.counters.errors,
            is_active=self.is_active(channel),
            has_failover=has_failover(channel),
            failover_urls=[self._show(upstream.url) for upstream in channel.upstreams[1:]],
            failover_resolver_url=self._show(channel.resolver_url) if channel.resolver_url else None,
            current_failover_index=record.index - 1,
            failover_attempts=record.counters.failovers,
            last_failover_time=record.failed_over,
            stream_type=type_of(channel),
            created_at=created,
            last_access=max(record.seen, created) if channel.id in self._audience.records else created,
            metadata=dict(channel.metadata),
            headers={name: self._header(value) for name, value in headers.items()},
            name=channel.name,
            group=channel.group,
            rate=round(record.rate, 1),
        )

    def client(self, record: StreamRecord, client: Client) -> models.Client:
        """Show somebody who watches."""
        visitor, viewer = client.visitor, client.viewer
        return models.Client(
            client_id=client.id,
            stream_id=record.channel.id,
            user_agent=visitor.agent,
            ip_address=visitor.address,
            username=visitor.username,
            bytes_served=viewer.sent,
            segments_served=viewer.segments,
            created_at=client.since,
            last_access=client.seen,
            is_connected=True,
            since=client.since,
            rate=round(client.rate, 1),
            lag=viewer.lag,
            overruns=viewer.overruns,
            skipped=viewer.skipped,
        )

    def clients(self, record: StreamRecord) -> list[models.Client]:
        """Show who watches a stream."""
        return [self.client(record, client) for client in record.clients.values()]

    def url(self, url: str) -> str:
        """Show an address of a provider, as far as it may be."""
        return self._show(url)

    def _header(self, value: str) -> str:
        return value if self._is_authenticated else _HIDDEN


def type_of(channel: Channel) -> str:
    """Say what a stream is, in m3u-proxy's words."""
    if channel.transcode or channel.profile:
        return "Transcoding"
    return _TYPES.get(channel.kind, "Live Continuous") if channel.kind else "Live Continuous"


def has_failover(channel: Channel) -> bool:
    """Tell whether there is anything to take the place of the first upstream."""
    return len(channel.upstreams) > 1 or channel.resolver_url is not None


def endpoint(request: web.Request, channel: Channel, *, as_hls: bool | None = None) -> str:
    """Tell where a stream is, with the token for streams if whoever asks may know it.

    Args:
        request: Who asks.
        channel: The stream.
        as_hls: Whether as HLS; None for as it comes.
    """
    token = request.app[SETTINGS].config.server.stream_token
    prefix = f"/token/{quote(token, safe='')}" if token and may_watch(request) else ""
    name = quote(channel.id, safe="")
    if as_hls is None:
        as_hls = channel.kind is StreamKind.HLS
    return f"{prefix}/hls/{name}/playlist.m3u8" if as_hls else f"{prefix}/stream/{name}"


def statistics(request: web.Request) -> models.Statistics:
    """Count what has been served."""
    audience = request.app[AUDIENCE]
    present = audience.present
    watched = sum(bool(record.clients) for record in audience.records.values())
    return models.Statistics(
        total_streams=request.app[LIBRARY].size,
        active_streams=watched,
        total_clients=present,
        active_clients=present,
        total_bytes_served=audience.sent,
        total_segments_served=audience.segments,
        uptime_seconds=int(audience.uptime),
    )
