"""Streams and clients of the API as people see them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from streamproxy.cli.client.output import LEFT, RIGHT, WHOLE
from streamproxy.cli.client.text import UNKNOWN, age, count, number, plain, rate, size
from streamproxy.formats.urls import redact

Item = Mapping[str, Any]
"""An object of the API; nothing in it is sure."""

STREAM_COLUMNS = {
    "ID": WHOLE,
    "Name": LEFT,
    "Type": LEFT,
    "Clients": RIGHT,
    "Rate": RIGHT,
    "Sent": RIGHT,
    "Upstream": LEFT,
}
CLIENT_COLUMNS = {
    "ID": WHOLE,
    "Stream": LEFT,
    "Address": LEFT,
    "Player": LEFT,
    "Rate": RIGHT,
    "Sent": RIGHT,
    "Lag": RIGHT,
    "Lost": RIGHT,
    "Since": RIGHT,
}


def stream_rows(streams: Iterable[Item]) -> Iterator[Sequence[str]]:
    """Write streams as the rows of a table."""
    for stream in streams:
        yield (
            plain(stream.get("stream_id")),
            title(stream),
            plain(stream.get("stream_type")),
            count(stream.get("client_count")),
            rate(stream.get("rate")),
            size(stream.get("total_bytes_served")),
            upstream(stream),
        )


def client_rows(clients: Iterable[Item], now: datetime, titles: Mapping[str, str]) -> Iterator[Sequence[str]]:
    """Write clients as the rows of a table.

    Args:
        clients: The clients.
        now: The time.
        titles: Names of streams by their id, as far as they are known.
    """
    for client in clients:
        stream_id = plain(client.get("stream_id"))
        yield (
            plain(client.get("client_id")),
            titles.get(stream_id, stream_id),
            plain(client.get("ip_address")),
            plain(client.get("username") or client.get("user_agent")),
            rate(client.get("rate")),
            size(client.get("bytes_served")),
            count(client.get("lag")),
            lost(client),
            age(client.get("since") or client.get("created_at"), now),
        )


def title(stream: Item) -> str:
    """Name a stream: by its name, else by the host it comes from; its whole address may hold a password."""
    metadata = stream.get("metadata")
    told = metadata if isinstance(metadata, dict) else {}
    name = stream.get("name") or told.get("name") or told.get("title")
    return plain(name) or address(stream.get("original_url"))


def address(url: object) -> str:
    """Show of a provider's address what is no secret."""
    # Who has shown no token gets it masked already; masked twice, nothing is left of it.
    return plain(redact(url.removesuffix("…"))) if isinstance(url, str) else ""


def is_on(stream: Item) -> bool:
    """Tell whether a stream is fetched or watched at present."""
    return stream.get("is_active") is True or bool(number(stream.get("client_count")))


def state(stream: Item) -> str:
    """Say whether a stream is on."""
    return "on" if is_on(stream) else "idle"


def upstream(stream: Item) -> str:
    """Say which of its upstreams a stream comes from."""
    index = stream.get("current_failover_index")
    if isinstance(index, bool) or not isinstance(index, int):
        return UNKNOWN
    if index < 0:
        return "primary"
    backups = stream.get("failover_urls")
    of = f" of {len(backups)}" if isinstance(backups, list) and backups else ""
    return f"backup {plain(index + 1)}{of}"


def lost(client: Item) -> str:
    """Say how often a client was too slow, and what it lost: `2× 1.5 MiB`; empty for never."""
    times = number(client.get("overruns"))
    return f"{times:.0f}× {size(client.get('skipped'))}" if times else ""
