"""The life of the server: start, reload, stop."""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from streamproxy.audience import Audience
from streamproxy.broadcast.broadcast import Feed
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import Config
from streamproxy.errors import ConfigError
from streamproxy.events import EventBus
from streamproxy.formats import links
from streamproxy.logs import OneLine
from streamproxy.model import Channel, Source, Upstream
from streamproxy.outputs.hls import HLS, HlsRelay
from streamproxy.outputs.link_key import link_key
from streamproxy.playlist.library import Library
from streamproxy.playlist.loader import MAX_SIZE
from streamproxy.server.app import make_app
from streamproxy.server.feeds import feed_of
from streamproxy.server.listener import Doorkeeper, connection_limit, listen, raise_descriptor_limit
from streamproxy.server.notify import Notifier
from streamproxy.sources import source_of
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.admission import AdmittedSource
from streamproxy.sources.berth import Berth
from streamproxy.sources.client import Client
from streamproxy.sources.http import Whereabouts
from streamproxy.sources.pages import PageResolver
from streamproxy.sources.resolution import FailoverService
from streamproxy.sources.slate import Slate, SlateSource
from streamproxy.sources.streamlink_pages import find_stream
from streamproxy.tasks import Tasks
from streamproxy.web import ACCOUNTS, AUDIENCE, BROADCASTS, CLIENT, EVENTS, LIBRARY, OPEN_FEED, SETTINGS

_log = structlog.stdlib.get_logger("streamproxy")

_HEADER_DEADLINE = 10.0
"""Seconds for a request's header to arrive; also how long an idle connection is kept."""

_GRACE, _SHORT_GRACE = 3.0, 0.5
"""Seconds to wait for a free connection of a provider: whoever has just left another channel has not quite left."""

_SAMPLE_INTERVAL = 1.0
"""Seconds from one look at how much viewers get to the next."""

_STOP_DEADLINE = 4.0
"""Seconds for everything to end; a service manager waits longer, a person does not want to."""


class Service:
    """A running proxy.

    Attributes:
        config: The settings in force; replaced whole by a reload.
        addresses: Where it listens, as host and port; known while it runs.
    """

    def __init__(self, read_config: Callable[[], Config], *, notifier: Notifier | None = None) -> None:
        """Read the configuration.

        Args:
            read_config: Reads it; called again at each reload.
            notifier: Whom to tell how it goes; by default the service manager, if there is one.

        Raises:
            ConfigError: It cannot be used.
        """
        self.config = read_config()
        self.addresses: list[tuple[str, int]] = []
        self._read_config = read_config
        self._notifier = notifier or Notifier()
        self._stopping = asyncio.Event()
        self._reload = asyncio.Event()

    def stop(self) -> None:
        """End it; `run` returns soon after."""
        self._stopping.set()

    def reload(self) -> None:
        """Read configuration and lists again, without disturbing who is watching."""
        self._reload.set()

    async def run(self, announce: Callable[["Service"], None] = lambda _: None) -> None:
        """Serve until `stop` is called.

        Args:
            announce: Called once, when requests are being served.

        Raises:
            OSError: The address cannot be listened on.
        """
        server = self.config.server
        descriptors = raise_descriptor_limit()
        relay = self.config.relay
        sockets = listen(server.host, server.port, send_buffer=relay.send_buffer, patience=relay.stuck_timeout)
        async with contextlib.AsyncExitStack() as stack:
            for listening in sockets:
                stack.callback(listening.close)
            self.addresses = [listening.getsockname()[:2] for listening in sockets]
            tasks = await stack.enter_async_context(Tasks())
            client = await stack.enter_async_context(Client(self.config.options))
            wiring = _Wiring(self, client, tasks)
            if not await self._unless_stopped(wiring.library.load(self.config)):
                return
            runner = await _set_up(wiring.app)
            limit = connection_limit(descriptors)
            servers = await _accept(runner, sockets, lambda: self.config.server.max_connections or limit)
            try:
                if self._notifier.watchdog_interval:
                    tasks.start(self._stay_alive(self._notifier.watchdog_interval), name="watchdog")
                tasks.start(self._reload_when_asked(wiring), name="reload")
                tasks.start(_sample(wiring.audience), name="audience")
                self._notifier.ready(_status(wiring.library))
                announce(self)
                await self._stopping.wait()
            finally:
                self._notifier.stopping()
                _log.info("stopping", viewers=wiring.audience.present)
                await _shut_down(servers, runner, wiring.broadcasts)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do something that may take long; tell whether it was done before `stop` was called."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            return working.done() and working.result() is None
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait((working, stopping))

    async def _stay_alive(self, interval: float) -> None:
        while True:
            self._notifier.alive()
            await asyncio.sleep(interval)

    async def _reload_when_asked(self, wiring: "_Wiring") -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                config = await asyncio.to_thread(self._read_config)
            except ConfigError as error:
                _log.error("reload_refused", mistakes=error.mistakes, remedy="the old configuration stays in force")
            else:
                self._warn_of_what_needs_a_restart(config)
                self.config = config
                wiring.configure(config)
                await wiring.library.load(config)
                _log.info("reloaded", channels=len(wiring.library.catalog))
            self._notifier.ready(_status(wiring.library))

    def _warn_of_what_needs_a_restart(self, config: Config) -> None:
        fixed = {
            "server": ("host", "port", "root_path"),
            "relay": ("send_buffer",),
            "hls": ("link_key",),
        }
        changed = [
            f"{section}.{key}"
            for section, keys in fixed.items()
            for key in keys
            if getattr(getattr(config, section), key) != getattr(getattr(self.config, section), key)
        ]
        if changed:
            _log.warning("restart_needed", settings=changed)


class _Wiring:
    """Who knows whom."""

    def __init__(self, service: Service, client: Client, tasks: Tasks) -> None:
        self._service = service
        self._client = client

        async def fetch(upstream: Upstream, timeout: float) -> bytes:
            return await client.fetch(upstream, timeout=timeout, limit=MAX_SIZE)

        self.events = EventBus()
        self.audience = Audience(self.events.publish)
        self.library = Library(fetch, tasks)
        self.accounts = Accounts(_limits(service.config), grace=_GRACE)
        self.pages = PageResolver(find_stream)
        self.broadcasts = BroadcastRegistry(self.open_feed, service.config.relay, tasks, lingering=self.accounts)
        self.app = make_app(service.config.server.root_path)
        self.app[SETTINGS] = service
        self.app[LIBRARY] = self.library
        self.app[BROADCASTS] = self.broadcasts
        self.app[AUDIENCE] = self.audience
        self.app[EVENTS] = self.events
        self.app[OPEN_FEED] = self.open_feed
        self.app[ACCOUNTS] = self.accounts
        self.app[CLIENT] = client
        self.hls = self.app[HLS] = HlsRelay(
            client, tasks, self.audience, key=_link_key(service.config), accounts=self.accounts
        )
        self._configure_hls(service.config)

    def open_feed(self, channel: Channel) -> Feed:
        """Make what feeds a channel, without opening anything."""
        config = self._service.config
        # For as long as the feed, which runs one source after the other.
        whereabouts = Whereabouts() if channel.sticky else None
        resolve = None
        if channel.resolver_url is not None:
            resolve = FailoverService(channel, self._client, timeout=config.failover.resolver_timeout).resolve
        berth = Berth(channel.id)
        open_source = partial(self._open_source, channel, berth, whereabouts)
        return feed_of(channel, config, open_source, _slate, resolve, berth, self.audience.record(channel))

    def _open_source(
        self, channel: Channel, berth: Berth, whereabouts: Whereabouts | None, upstream: Upstream
    ) -> Source:
        source = source_of(channel, upstream, self._client, self._service.config, self.pages, whereabouts)
        account = self.accounts.of(upstream.account) if upstream.account else None
        # Where there are others, waiting for this one is the slower way to a picture.
        within = _GRACE if len(channel.upstreams) == 1 else _SHORT_GRACE
        return AdmittedSource(source, account, berth, within=within)

    def configure(self, config: Config) -> None:
        """Use other settings for what starts from now on."""
        self.broadcasts.configure(config.relay)
        self.accounts.configure(_limits(config))
        self._client.configure(config.options)
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


def _link_key(config: Config) -> bytes:
    if config.hls.link_key:
        return links.key_from(config.hls.link_key)
    try:
        return link_key(config.state_dir)
    except ConfigError as error:
        # Not worth refusing to serve everything else: HLS players load the playlist again after a restart.
        _log.warning("link_key_not_kept", reason=str(error), remedy="set state_dir, or hls.link_key")
        return secrets.token_bytes(links.KEY_SIZE)


async def _sample(audience: Audience) -> None:
    while True:
        await asyncio.sleep(_SAMPLE_INTERVAL)
        audience.sample()


async def _set_up(app: web.Application) -> web.AppRunner:
    # Its own, not the global one of this name: there may be another proxy in this process.
    logger = logging.Logger("streamproxy.http")
    logger.parent = logging.getLogger()
    # What is no HTTP at all is logged as debug by the library; it deserves its line too.
    logger.setLevel(logging.DEBUG)
    logger.addFilter(OneLine((HttpProcessingError,)))
    runner = web.AppRunner(
        app,
        # Off by default: a viewer who leaves while the upstream is silent would stay, and hold it.
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=_HEADER_DEADLINE,
        logger=logger,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    return runner


async def _accept(
    runner: web.AppRunner, sockets: list[socket.socket], limit: Callable[[], int]
) -> list[asyncio.AbstractServer]:
    assert runner.server
    doorkeeper = Doorkeeper(runner.server, limit)
    loop = asyncio.get_running_loop()
    return [await loop.create_server(doorkeeper, sock=listening, backlog=1024) for listening in sockets]


async def _shut_down(
    servers: list[asyncio.AbstractServer], runner: web.AppRunner, broadcasts: BroadcastRegistry
) -> None:
    """Stop accepting, end the viewers, then everything else; nothing of it waits for somebody who does not answer."""
    for server in servers:
        server.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_DEADLINE):
            await broadcasts.close()
            await runner.cleanup()


def _status(library: Library) -> str:
    return f"{len(library.catalog)} channels"
