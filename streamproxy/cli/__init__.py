"""The command line: what a person types."""

import click

from streamproxy import __version__
from streamproxy.cli.group import Commands

RUNNING_IT = {
    "serve": "streamproxy.cli.serve:serve",
    "demo": "streamproxy.cli.serve:demo",
    "check-config": "streamproxy.cli.check:check_config",
    "healthcheck": "streamproxy.cli.health:healthcheck",
    "hwaccel": "streamproxy.cli.hwaccel:hwaccel",
}
TALKING_TO_IT = {
    "create": "streamproxy.cli.client.create:create",
    "list": "streamproxy.cli.client.streams:list_streams",
    "info": "streamproxy.cli.client.streams:info",
    "delete": "streamproxy.cli.client.streams:delete",
    "failover": "streamproxy.cli.client.streams:failover",
    "clients": "streamproxy.cli.client.clients:clients",
    "disconnect": "streamproxy.cli.client.clients:disconnect",
    "stats": "streamproxy.cli.client.stats:stats",
    "health": "streamproxy.cli.client.stats:health",
    "monitor": "streamproxy.cli.client.monitor:monitor",
    "events": "streamproxy.cli.client.events:events",
    "webhooks": "streamproxy.cli.client.webhooks:webhooks",
}


@click.group(
    cls=Commands,
    sections={"Running it": RUNNING_IT, "Talking to one that runs": TALKING_TO_IT},
    default="serve",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without a command, 'serve' is meant: streamproxy -c FILE.",
)
@click.version_option(__version__, prog_name="streamproxy")
def main() -> None:
    """A stream proxy between IPTV providers and players.

    Point your player at http://HOST:8080/playlist.m3u. Each channel is fetched once from its provider, however many
    watch it.
    """
