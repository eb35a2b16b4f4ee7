"""Who knows whom: the services, put together from the settings in force."""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

import structlog

from streamproxy.api.events import EVENT_LOG, EventLog
from streamproxy.api.metrics import METRICS, LoopLag, StreamproxyCollector, registry_of
from streamproxy.api.transcode import TRANSCODING
from streamproxy.api.webhooks import WEBHOOKS, WebhookRegister
from streamproxy.audience import Audience
from streamproxy.broadcast.broadcast import Broadcast, Feed
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import Config
from streamproxy.errors import ConfigError, StateError
from streamproxy.events import EventBus, StreamStopped
from streamproxy.formats import links
from streamproxy.model import Channel, Source, Upstream
from streamproxy.outputs.hls import HLS, HlsRelay
from streamproxy.outputs.link_key import link_key
from streamproxy.playlist.created import CreatedStreams
from streamproxy.playlist.library import Library
from streamproxy.playlist.loader import MAX_SIZE
from streamproxy.server.app import make_app
from streamproxy.server.feeds import feed_of
from streamproxy.server.sampling import inspect_running
from streamproxy.server.transcoding import Transcoding
from streamproxy.sources import source_of
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.admission import AdmittedSource
from streamproxy.sources.berth import Berth
from streamproxy.sources.client import Client
from streamproxy.sources.http import Whereabouts
from streamproxy.sources.pages import PageResolver
from streamproxy.sources.posting import Poster
from streamproxy.sources.resolution import FailoverService
from streamproxy.sources.slate import Slate, SlateSource
from streamproxy.sources.streamlink_pages import find_stream
from streamproxy.state import StateFile
from streamproxy.tasks import Tasks
from streamproxy.web import (
    ACCOUNTS,
    AUDIENCE,
    BROADCASTS,
    CLIENT,
    EVENTS,
    LIBRARY,
    OPEN_FEED,
    SETTINGS,
    Settings,
    own_path,
)
from streamproxy.webhooks import Webhooks

_log = structlog.stdlib.get_logger("streamproxy")

_GRACE, _SHORT_GRACE = 3.0, 0.5
"""Seconds to wait for a free connection of a provider: whoever has just left another channel has not quite left."""
_SWEEP, _SAMPLE = 5, 60
"""Seconds from one look for what is over to the next, and from one sample of what runs to the next."""


class Wiring:
    """All services, and who knows whom."""

    def __init__(self, settings: Settings, client: Client, tasks: Tasks, origin: Callable[[], str]) -> None:
        """Make them, without opening anything.

        Args:
            settings: The settings in force.
            client: What to ask upstreams with.
            tasks: Who owns what runs in the background.
            origin: Tells where this program is reached from this machine, without a slash at the end.
        """
        self._settings = settings
        self._client = client
        self._origin = origin
        config = settings.config

        async def fetch(upstream: Upstream, timeout: float) -> bytes:
            return await client.fetch(upstream, timeout=timeout, limit=MAX_SIZE)

        self.events = EventBus()
        self.audience = Audience(self.events.publish)
        self.library = Library(fetch, tasks, created=CreatedStreams(_kept_in(config, "streams.json")))
        self.accounts = Accounts(_limits(config), grace=_GRACE)
        self.pages = PageResolver(find_stream)
        self.broadcasts = BroadcastRegistry(
            self.open_feed,
            config.relay,
            tasks,
            lingering=self.accounts,
            ended=self._count,
            linger_of=self._linger_of,
        )
        self.app = make_app(config.server.root_path)
        self.app[SETTINGS] = settings
        self.app[LIBRARY] = self.library
        self.app[BROADCASTS] = self.broadcasts
        self.app[AUDIENCE] = self.audience
        self.app[EVENTS] = self.events
        self.transcoding = Transcoding(settings, self.broadcasts, self.events.publish, self._read_by_ffmpeg)
        self.app[TRANSCODING] = self.transcoding
        self._lag = LoopLag()
        collector = StreamproxyCollector(self.audience, self.library, self.broadcasts, self.accounts, self._lag)
        self.app[METRICS] = registry_of(collector)
        self.log = self.app[EVENT_LOG] = EventLog()
        self.webhooks = Webhooks(Poster(client), tasks)
        self.register = self.app[WEBHOOKS] = WebhookRegister(self.webhooks, _kept_in(config, "webhooks.json"))
        self.register.read(config)
        self.register.configure(config)
        self.app.on_cleanup.append(self.register.close)
        self.app[OPEN_FEED] = self.open_feed
        self.app[ACCOUNTS] = self.accounts
        self.app[CLIENT] = client
        self.hls = self.app[HLS] = HlsRelay(client, tasks, self.audience, key=_link_key(config), accounts=self.accounts)
        self._configure_hls(config)

    def _read_by_ffmpeg(self, channel: Channel) -> str:
        """Tell where ffmpeg reads a file, whoever else may."""
        return self._origin() + own_path(self.app, channel.id)

    def _linger_of(self, channel: Channel) -> float | None:
        return self._settings.config.transcode.linger if channel.transcode else None

    def _count(self, broadcast: Broadcast) -> None:
        self.audience.record(broadcast.channel).counters.received += broadcast.received

    def open_feed(self, channel: Channel) -> Feed:
        """Make what feeds a channel, without opening anything."""
        record = self.audience.record(channel)
        if channel.transcode:
            return self.transcoding.feed(channel, channel.transcode, record)
        config = self._settings.config
        # For as long as the feed, which runs one source after the other.
        whereabouts = Whereabouts() if channel.sticky else None
        resolve = None
        if channel.resolver_url is not None:
            resolve = FailoverService(channel, self._client, timeout=config.failover.resolver_timeout).resolve
        berth = Berth(channel.id)
        open_source = partial(self._open_source, channel, berth, whereabouts)
        return feed_of(channel, config, open_source, _slate, resolve, berth, record)

    def _open_source(
        self, channel: Channel, berth: Berth, whereabouts: Whereabouts | None, upstream: Upstream
    ) -> Source:
        source = source_of(channel, upstream, self._client, self._settings.config, self.pages, whereabouts)
        account = self.accounts.of(upstream.account) if upstream.account else None
        # Where there are others, waiting for this one is the slower way to a picture.
        within = _GRACE if len(channel.upstreams) == 1 else _SHORT_GRACE
        return AdmittedSource(source, account, berth, within=within)

    def listening(self) -> ExitStack:
        """Tell everybody of events for the length of a `with` block."""
        stack = ExitStack()
        stack.enter_context(self.events.listening(self.log.add))
        stack.enter_context(self.events.listening(self.webhooks.listener))
        return stack

    async def keep_house(self) -> None:
        """Take note of what viewers get, and forget what is over, until cancelled."""
        for second in itertools.count():
            await self._lag.sleep(1)
            self.audience.sample()
            if second % _SWEEP == 0:
                await self._sweep()

    async def take_samples(self) -> None:
        """Look now and then whether anything is missing in what runs, until cancelled."""
        while True:
            await asyncio.sleep(_SAMPLE)
            await inspect_running(self.broadcasts, self.audience)

    async def _sweep(self) -> None:
        if timeout := self._settings.config.api.stream_timeout:
            await self._forget_unwatched(timeout)
        self.audience.retain(lambda stream_id: self.library.find(stream_id) is not None)

    async def _forget_unwatched(self, timeout: float) -> None:
        for channel in self.library.created:
            order, record = self.library.created.order(channel.id), self.audience.records.get(channel.id)
            if order is None or (record and record.clients):
                continue
            seen = max(order.created, record.seen) if record else order.created
            if (datetime.now(UTC) - seen).total_seconds() > timeout:
                await self._forget(channel, timeout)

    async def _forget(self, channel: Channel, timeout: float) -> None:
        try:
            await self.library.created.remove(channel.id)
        except StateError as error:
            _log.error("streams_not_kept", reason=str(error))
        self.events.publish(
            StreamStopped(
                stream_id=channel.id, reason="inactive_timeout", timeout_seconds=timeout, metadata=channel.metadata
            )
        )

    def configure(self, config: Config) -> None:
        """Use other settings for what starts from now on."""
        self.broadcasts.configure(config.relay)
        self.accounts.configure(_limits(config))
        self.transcoding.configure(config)
        self._client.configure(config.options)
        self.register.configure(config)
        self._configure_hls(config)

    def _configure_hls(self, config: Config) -> None:
        self.hls.configure(
            cache_size=config.hls.cache_size,
            stall_timeout=config.relay.stall_timeout,
            raw_urls=config.hls.raw_urls,
            viewer_timeout=config.hls.viewer_timeout,
        )


def _slate(is_busy: bool) -> Source:
    return SlateSource(Slate.BUSY if is_busy else Slate.UNAVAILABLE)


def _limits(config: Config) -> dict[str, int | None]:
    return {playlist.name: playlist.max_connections for playlist in config.playlists}


def _kept_in(config: Config, name: str) -> StateFile | None:
    return StateFile(config.state_dir / name) if config.api.keep_streams else None


def _link_key(config: Config) -> bytes:
    if config.hls.link_key:
        return links.key_from(config.hls.link_key)
    try:
        return link_key(config.state_dir)
    except ConfigError as error:
        # Not worth refusing to serve everything else: HLS players load the playlist again after a restart.
        _log.warning("link_key_not_kept", reason=str(error), remedy="set state_dir, or hls.link_key")
        return secrets.token_bytes(links.KEY_SIZE)
