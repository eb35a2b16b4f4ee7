"""`streamproxy create`."""

from typing import Any

import click

from streamproxy.cli.client.output import show_facts, show_message, unexpected
from streamproxy.cli.client.session import Session, talks
from streamproxy.cli.client.text import plain


class Pair(click.ParamType[tuple[str, str]]):
    """A name and a value with a separator between them; what was typed is not repeated, it may be secret."""

    def __init__(self, separator: str, example: str) -> None:
        self.name = example
        self._separator = separator

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Take it apart; blanks around both go."""
        if isinstance(value, tuple):
            return value
        name, separator, rest = str(value).partition(self._separator)
        if not separator or not name.strip():
            self.fail(f"must look like {self.name}", param, ctx)
        return name.strip(), rest.strip()


HEADER = Pair(":", "'Name: value'")
METADATA = Pair("=", "name=value")


@click.command()
@click.argument("url")
@click.option("--failover", "failovers", metavar="URL", multiple=True, help="A backup; may be given several times.")
@click.option("--user-agent", metavar="TEXT", help="User-Agent towards the provider.")
@click.option(
    "--header", "headers", type=HEADER, metavar="'NAME: VALUE'", multiple=True, help="Request header; several times."
)
@click.option(
    "--metadata", type=METADATA, metavar="NAME=VALUE", multiple=True, help="What to find it by later; several times."
)
@click.option("--strict-live-ts", is_flag=True, help="Hold the stream to the rules for live transport streams.")
@click.option("--profile", metavar="NAME", help="Transcode it with this profile.")
@click.option("--output-format", metavar="NAME", help="What transcoding makes: mpegts, hls. Needs --profile.")
@talks
def create(
    session: Session,
    url: str,
    failovers: tuple[str, ...],
    user_agent: str | None,
    headers: tuple[tuple[str, str], ...],
    metadata: tuple[tuple[str, str], ...],
    strict_live_ts: bool,
    profile: str | None,
    output_format: str | None,
) -> None:
    """Make a stream of a URL."""
    if output_format and not profile:
        raise click.UsageError("--output-format needs --profile")
    wanted = {
        "url": url,
        "failover_urls": list(failovers),
        "user_agent": user_agent,
        "headers": dict(headers),
        "metadata": dict(metadata),
        "strict_live_ts": strict_live_ts or None,
        "profile": profile,
        "output_format": output_format,
    }
    body = {name: value for name, value in wanted.items() if value}
    document = session.api.call("POST", "transcode" if profile else "streams", body=body)
    session.show(document, lambda made: _tell(session, made))


def _tell(session: Session, made: Any) -> None:
    endpoint = plain(made.get("stream_endpoint"), 2000) if isinstance(made, dict) else ""
    if not endpoint:
        raise unexpected("stream_endpoint")
    show_message(made)
    where = f"{session.api.address}{endpoint}" if endpoint.startswith("/") else endpoint
    show_facts([("ID", plain(made.get("stream_id"))), ("Address", where)])
