"""What the commands share: the configuration option, reading it, and exit codes."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import click

from streamproxy.config import Config, find, load
from streamproxy.errors import ConfigError

CANNOT_BIND = 69
"""Exit code (EX_UNAVAILABLE of sysexits.h)."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

BAD_CONFIG = 78
"""Exit code (EX_CONFIG of sysexits.h)."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 -- compared, not bound


def config_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `-c/--config`."""
    return click.option(
        "-c",
        "--config",
        "path",
        type=click.Path(path_type=Path),
        help="Configuration file. Default: $STREAMPROXY_CONFIG, ./streamproxy.yml, ./config.yml, "
        "~/.config/streamproxy/config.yml, /etc/streamproxy/config.yml, /config/config.yml; the first that exists.",
    )(command)


def find_config(path: Path | None) -> Path | None:
    """Tell which configuration file is meant; None if there is none."""
    return path or find(os.environ, Path.cwd())


def read_config(path: Path | None, overrides: Mapping[str, object]) -> Config:
    """Read the configuration with the environment and the command line over it."""
    return load(path, os.environ, overrides)


def own_url(config: Config) -> str:
    """Tell under which address this machine reaches the proxy of a configuration, without a slash at the end."""
    server = config.server
    host = _EVERYWHERE.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}{server.root_path}"


def say(text: str) -> None:
    """Tell the person at the terminal; not part of a command's output."""
    click.echo(text, err=True)


def refuse(error: ConfigError) -> NoReturn:
    """Print every mistake, and end."""
    for mistake in error.mistakes:
        say(mistake)
    count = len(error.mistakes)
    say(f"streamproxy: {count} mistake{'s' * (count > 1)} in the configuration; config.example.yml explains every key")
    sys.exit(BAD_CONFIG)
