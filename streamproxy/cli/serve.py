"""`streamproxy serve` and `streamproxy demo`."""

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamproxy import logs
from streamproxy.cli.common import CANNOT_BIND, INTERRUPTED, config_option, find_config, read_config, refuse, say
from streamproxy.config import Config, StreamConfig
from streamproxy.errors import ConfigError
from streamproxy.formats.urls import redact
from streamproxy.model import DEMO_URL

if TYPE_CHECKING:
    from streamproxy.server.service import Service


@click.command()
@config_option
@click.option("--host", help="Address to listen on. Default: server.host, 0.0.0.0.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 for any. Default: server.port, 8080.")
@click.option("--debug", is_flag=True, help="Log more: the same as log.level: debug.")
def serve(path: Path | None, host: str | None, port: int | None, debug: bool) -> None:
    """Run the proxy until it is stopped. Without a configuration it serves a test channel.

    SIGHUP reads configuration and playlists again without disturbing who is watching; SIGTERM ends it.
    """
    found = find_config(path)
    overrides = {"server.host": host, "server.port": port, "log.level": "debug" if debug else None}

    def read() -> Config:
        config = read_config(found, overrides)
        return config if found or config.playlists or config.streams else _with_demo(config)

    _run(read, f"configuration {found}" if found else "no configuration file: serving the test channel")


@click.command()
@click.option("--host", help="Address to listen on. Default: 0.0.0.0.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 for any. Default: 8080.")
def demo(host: str | None, port: int | None) -> None:
    """Serve a test channel: no provider, no network and no ffmpeg needed."""

    def read() -> Config:
        config = read_config(None, {"server.host": host, "server.port": port})
        return _with_demo(config.model_copy(update={"playlists": (), "streams": {}}))

    _run(read, "serving the test channel")


def _with_demo(config: Config) -> Config:
    stream = StreamConfig(url=DEMO_URL, title="streamproxy demo", group="Demo")
    return config.model_copy(update={"streams": {"demo": stream}})


def _run(read: Callable[[], Config], about: str) -> None:
    try:
        config = read()
    except ConfigError as error:
        refuse(error)
    logs.configure(config.log.level, config.log.format, redact=redact)
    say(f"streamproxy: {about}")
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(_serve(read))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES) and not isinstance(
            error, socket.gaierror
        ):
            raise
        say(f"streamproxy: cannot listen on {config.server.host} port {config.server.port}: {error.strerror}")
        say("Choose another with --host and --port, or with server.host and server.port in the configuration.")
        sys.exit(CANNOT_BIND)
    sys.exit(code)


async def _serve(read: Callable[[], Config]) -> int:
    # Here, as it takes most of the time that the other commands would need to start.
    from streamproxy.server.service import Service

    service = Service(read)
    code = 0

    def interrupt() -> None:
        nonlocal code
        code = INTERRUPTED
        service.stop()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, service.stop)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    await service.run(_announce)
    return code


def _announce(service: "Service") -> None:
    """Print what to point a player at."""
    public = service.config.server.public_url
    root = service.config.server.root_path
    for host, port in service.addresses:
        base = public or f"http://{_reachable(host)}:{port}{root}"
        say(f"Playlist: {base}/playlist.m3u")


def _reachable(host: str) -> str:
    """Replace an address that means "all" by one that others on the network can use."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104 -- compared, not bound
        return f"[{host}]" if ":" in host else host
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: this only asks which of our addresses would be used.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
