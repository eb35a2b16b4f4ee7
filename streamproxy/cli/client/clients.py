"""`streamproxy clients` and `streamproxy disconnect`."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import click

from streamproxy.cli.client import output, shown
from streamproxy.cli.client.failures import Refused
from streamproxy.cli.client.session import Id, Session, talks
from streamproxy.cli.client.text import plain


@click.command()
@click.argument("of", metavar="[ID]", type=Id(), required=False)
@talks
def clients(session: Session, of: str | None) -> None:
    """List who watches.

    ID is that of a stream, whose clients are listed, or that of one client.
    """
    session.show(session.api.call("GET", "clients") if of is None else _of(session, of), _list)


def _of(session: Session, sought: str) -> Any:
    """Fetch the stream of an id, or else the client."""
    try:
        return session.api.call("GET", "streams", sought)
    except Refused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
    return session.api.call("GET", "clients", sought)


def _list(answer: Any) -> None:
    stream = answer.get("stream") if isinstance(answer, dict) else None
    known = stream if isinstance(stream, dict) else {}
    listed = [answer] if isinstance(answer, dict) and "client_id" in answer else output.members(answer, "clients")
    if not listed:
        output.show_line("nobody watches")
        return
    titles = {plain(known.get("stream_id")): shown.title(known)}
    output.show_table(shown.CLIENT_COLUMNS, shown.client_rows(listed, datetime.now(UTC), titles))


@click.command()
@click.argument("client_id", metavar="CLIENT_ID", type=Id())
@talks
def disconnect(session: Session, client_id: str) -> None:
    """Cut a client off."""
    session.show(session.api.call("DELETE", "clients", client_id), output.show_message)
