"""`streamproxy list`, `info`, `delete` and `failover`."""

from datetime import UTC, datetime
from typing import Any

import click

from streamproxy.cli.client import output, shown
from streamproxy.cli.client.session import Id, Session, talks
from streamproxy.cli.client.text import age, count, number, plain, size

_PAGE = 1000
"""Streams that are asked for at once."""
_MOST_PAGES = 1000


@click.command("list")
@click.option("--all", "everything", is_flag=True, help="Those too that nobody watches at present.")
@talks
def list_streams(session: Session, everything: bool) -> None:
    """List the streams that are on.

    With --json it is the first of the server's pages as it is, and with --all too it is all of them as one.
    """
    answer = _every_page(session) if everything else session.api.call("GET", "streams")
    session.show(answer, lambda told: _list(told, everything=everything))


def _every_page(session: Session) -> Any:
    """Fetch the whole list; a server that knows no pages answers with all of it at once."""
    streams: list[Any] = []
    for _ in range(_MOST_PAGES):
        answer = session.api.call("GET", "streams", query={"limit": str(_PAGE), "offset": str(len(streams))})
        page = output.members(answer, "streams")
        streams += page
        total = number(answer.get("total"))
        if not page or total is None or len(streams) >= total:
            break
    return {**answer, "streams": streams}


def _list(answer: Any, *, everything: bool) -> None:
    streams = output.members(answer, "streams")
    listed = [stream for stream in streams if everything or shown.is_on(stream)]
    if listed:
        output.show_table(shown.STREAM_COLUMNS, shown.stream_rows(listed))
    else:
        output.show_line("no streams" if everything else "no stream is on")
    idle = int(number(answer.get("total")) or len(streams)) - len(listed)
    if idle > 0:
        output.tell(f"{idle} more {'are' if idle > 1 else 'is'} idle; --all lists them too")


@click.command()
@click.argument("stream_id", metavar="ID", type=Id())
@talks
def info(session: Session, stream_id: str) -> None:
    """Show a stream and who watches it.

    Addresses of providers are shown whole with --json only: they may hold passwords.
    """
    session.show(session.api.call("GET", "streams", stream_id), _info)


def _info(answer: Any) -> None:
    stream = output.member(answer, "stream")
    now = datetime.now(UTC)
    metadata = stream.get("metadata")
    output.show_facts(
        [
            ("ID", plain(stream.get("stream_id"))),
            ("Name", plain(stream.get("name"))),
            ("Group", plain(stream.get("group"))),
            ("Type", plain(stream.get("stream_type"))),
            ("State", shown.state(stream)),
            ("Source", shown.address(stream.get("original_url"))),
            ("Upstream", shown.upstream(stream)),
            ("Now from", shown.address(stream.get("current_url"))),
            ("Failovers", count(stream.get("failover_attempts"))),
            ("Errors", count(stream.get("error_count"))),
            ("User agent", plain(stream.get("user_agent"))),
            ("Sent", size(stream.get("total_bytes_served"))),
            ("Segments", count(stream.get("total_segments_served"))),
            ("Age", age(stream.get("created_at"), now)),
            ("Last used", f"{age(stream.get('last_access'), now)} ago"),
            ("Metadata", _metadata(metadata if isinstance(metadata, dict) else {})),
            ("Clients", count(answer.get("client_count"))),
        ]
    )
    clients = output.members(answer, "clients")
    if clients:
        output.show_line("")
        titles = {plain(stream.get("stream_id")): shown.title(stream)}
        output.show_table(shown.CLIENT_COLUMNS, shown.client_rows(clients, now, titles))


def _metadata(metadata: dict[str, Any]) -> str:
    return plain(", ".join(f"{name}={plain(value)}" for name, value in list(metadata.items())[:50]), 1000)


@click.command()
@click.argument("stream_id", metavar="ID", type=Id())
@talks
def delete(session: Session, stream_id: str) -> None:
    """Delete a stream; whoever watches it is cut off."""
    session.show(session.api.call("DELETE", "streams", stream_id), output.show_message)


@click.command()
@click.argument("stream_id", metavar="ID", type=Id())
@talks
def failover(session: Session, stream_id: str) -> None:
    """Switch a stream to its next upstream; its viewers stay."""
    session.show(session.api.call("POST", "streams", stream_id, "failover"), _failover)


def _failover(answer: Any) -> None:
    output.show_message(answer)
    if not isinstance(answer, dict):
        return
    output.show_facts(
        [
            ("Upstream", shown.upstream({"current_failover_index": answer.get("failover_index")})),
            ("Now from", shown.address(answer.get("new_url"))),
            ("Clients", count(answer.get("active_clients"))),
        ]
    )
