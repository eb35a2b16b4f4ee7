"""`streamproxy webhooks`."""

from typing import Any

import click

from streamproxy.cli.client import output
from streamproxy.cli.client.create import HEADER
from streamproxy.cli.client.output import LEFT, RIGHT
from streamproxy.cli.client.session import Session, talks
from streamproxy.cli.client.text import UNKNOWN, count, plain

_COLUMNS = {
    "Address": LEFT,
    "Events": LEFT,
    "Timeout": RIGHT,
    "Retries": RIGHT,
    "Delivered": RIGHT,
    "Failed": RIGHT,
    "Dropped": RIGHT,
    "Pending": RIGHT,
}


@click.group()
def webhooks() -> None:
    """Say which addresses are told of events."""


@webhooks.command()
@click.argument("url")
@click.option("--event", "events", metavar="NAME", multiple=True, help="Only this one; several times. Default: all.")
@click.option(
    "--header", "headers", type=HEADER, metavar="'NAME: VALUE'", multiple=True, help="Request header; several times."
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds for it to answer.")
@click.option("--retries", type=click.IntRange(0), help="Times that an event is sent again.")
@click.option("--secret", metavar="TEXT", help="What each post is signed with.")
@talks
def add(
    session: Session,
    url: str,
    events: tuple[str, ...],
    headers: tuple[tuple[str, str], ...],
    timeout: float | None,
    retries: int | None,
    secret: str | None,
) -> None:
    """Tell URL of events, or change how it is told."""
    wanted = {
        "url": url,
        # Where nothing is said of them, the server takes m3u-proxy's only.
        "events": list(events),
        "headers": dict(headers) or None,
        "timeout": timeout,
        "retry_attempts": retries,
        "secret": secret,
    }
    body = {name: value for name, value in wanted.items() if value is not None}
    session.show(session.api.call("POST", "webhooks", body=body), output.show_message)


@webhooks.command("list")
@talks
def list_webhooks(session: Session) -> None:
    """List the addresses and what became of the events."""
    session.show(session.api.call("GET", "webhooks"), _list)


def _list(answer: Any) -> None:
    hooks = output.members(answer, "webhooks")
    if not hooks:
        output.show_line("no webhooks")
        return
    output.show_table(_COLUMNS, [_row(hook) for hook in hooks])


def _row(hook: dict[str, Any]) -> list[str]:
    events = hook.get("events")
    names = ", ".join(map(plain, events)) if isinstance(events, list) else ""
    counters = [count(hook.get(name)) for name in ("retry_attempts", "delivered", "failed", "dropped", "pending")]
    timeout = plain(hook.get("timeout"))
    return [plain(hook.get("url")), plain(names) or "all", f"{timeout} s" if timeout else UNKNOWN, *counters]


@webhooks.command()
@click.argument("url")
@talks
def delete(session: Session, url: str) -> None:
    """Tell URL no more."""
    session.show(session.api.call("DELETE", "webhooks", query={"webhook_url": url}), output.show_message)


@webhooks.command()
@click.argument("url")
@talks
def test(session: Session, url: str) -> None:
    """Send a test event to URL, which must be one of the webhooks."""
    answer = session.api.call("POST", "webhooks", "test", query={"webhook_url": url})
    session.show(answer, output.show_message)
    if isinstance(answer, dict) and answer.get("delivered") is False:
        raise click.exceptions.Exit(1)
