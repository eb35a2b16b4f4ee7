"""`streamproxy check-config`."""

from pathlib import Path

import click

from streamproxy.cli.common import config_option, find_config, read_config, refuse, say
from streamproxy.errors import ConfigError


@click.command("check-config")
@config_option
def check_config(path: Path | None) -> None:
    """Check the configuration and tell every mistake, with its place and the remedy.

    Exits with 0 if it can be used and with 78 if not. Nothing is fetched.
    """
    found = find_config(path)
    try:
        config = read_config(found, {})
    except ConfigError as error:
        refuse(error)
    where = found or "no configuration file: the environment and the defaults"
    say(f"{where}: correct ({len(config.playlists)} playlists, {len(config.streams)} streams)")
