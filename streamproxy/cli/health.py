"""`streamproxy healthcheck`."""

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

import click

from streamproxy.cli.common import config_option, find_config, own_url, read_config, refuse, say
from streamproxy.errors import ConfigError


@click.command()
@config_option
@click.option("--url", help="Address to ask. Default: /health at the configured port of this machine.")
def healthcheck(path: Path | None, url: str | None) -> None:
    """Ask the running proxy whether it is well; for container engines, which need no curl then.

    Exits with 0 if it is and with 1 if not.
    """
    headers = {}
    if url is None:
        try:
            config = read_config(find_config(path), {})
        except ConfigError as error:
            refuse(error)
        url = f"{own_url(config)}/health"
        if config.server.api_token:
            headers["X-API-Token"] = config.server.api_token
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("must be an http or https URL", param_hint="--url")
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- http(s) only, as checked above
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
            response.read()
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        say(f"not healthy: {error}")
        sys.exit(1)
    say("healthy")
