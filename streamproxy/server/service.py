"""The life of the server: start, reload, stop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import Config
from streamproxy.errors import ConfigError
from streamproxy.logs import OneLine
from streamproxy.playlist.library import Library
from streamproxy.server.listener import Doorkeeper, connection_limit, listen, raise_descriptor_limit
from streamproxy.server.notify import Notifier
from streamproxy.server.wiring import Wiring
from streamproxy.sources.client import Client
from streamproxy.tasks import Tasks
from streamproxy.web import warn_if_open

_log = structlog.stdlib.get_logger("streamproxy")

_HEADER_DEADLINE = 10.0
"""Seconds for a request's header to arrive; also how long an idle connection is kept."""

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
        warn_if_open(self.config)
        async with contextlib.AsyncExitStack() as stack:
            for listening in sockets:
                stack.callback(listening.close)
            self.addresses = [listening.getsockname()[:2] for listening in sockets]
            tasks = await stack.enter_async_context(Tasks())
            client = await stack.enter_async_context(Client(self.config.options))
            wiring = Wiring(self, client, tasks, self._origin)
            stack.enter_context(wiring.listening())
            if not await self._unless_stopped(wiring.library.load(self.config)):
                return
            runner = await _set_up(wiring.app)
            limit = connection_limit(descriptors)
            servers = await _accept(runner, sockets, lambda: self.config.server.max_connections or limit)
            try:
                if self._notifier.watchdog_interval:
                    tasks.start(self._stay_alive(self._notifier.watchdog_interval), name="watchdog")
                tasks.start(self._reload_when_asked(wiring), name="reload")
                tasks.start(wiring.keep_house(), name="housekeeping")
                tasks.start(wiring.take_samples(), name="samples")
                self._notifier.ready(_status(wiring.library))
                announce(self)
                await self._stopping.wait()
            finally:
                self._notifier.stopping()
                _log.info("stopping", viewers=wiring.audience.present)
                await _shut_down(servers, runner, wiring.broadcasts)

    def _origin(self) -> str:
        """Tell where this program is reached from this machine, without a slash at the end."""
        host, port = self.addresses[0]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

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

    async def _reload_when_asked(self, wiring: Wiring) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                await self._read_again(wiring)
            except ConfigError as error:
                _log.error("reload_refused", mistakes=error.mistakes, remedy="the old configuration stays in force")
            except Exception:  # noqa: BLE001 - a mistake of ours, for which the next reload is not to be missed
                _log.exception("reload_failed")
            self._notifier.ready(_status(wiring.library))

    async def _read_again(self, wiring: Wiring) -> None:
        config = await asyncio.to_thread(self._read_config)
        self._warn_of_what_needs_a_restart(config)
        self.config = config
        warn_if_open(config)
        wiring.configure(config)
        await wiring.library.load(config)
        _log.info("reloaded", channels=len(wiring.library.catalog))

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
