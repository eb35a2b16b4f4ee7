"""The command line: what a person types."""

import click

from streamproxy import __version__
from streamproxy.cli.check import check_config
from streamproxy.cli.health import healthcheck
from streamproxy.cli.serve import demo, serve


class _ServeByDefault(click.Group):
    """A group whose first word may be left out: `streamproxy -c FILE` means `streamproxy serve -c FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_ServeByDefault,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without a command, 'serve' is meant: streamproxy -c FILE.",
)
@click.version_option(__version__, prog_name="streamproxy")
def main() -> None:
    """A stream proxy between IPTV providers and players.

    Point your player at http://HOST:8080/playlist.m3u. Each channel is fetched once from its provider, however many
    watch it.
    """


main.add_command(serve)
main.add_command(demo)
main.add_command(check_config)
main.add_command(healthcheck)
