"""`streamproxy stats` and `streamproxy health`."""

import sys
from typing import Any

import click

from streamproxy.cli.client import output
from streamproxy.cli.client.session import Session, talks
from streamproxy.cli.client.text import UNKNOWN, count, number, plain, rate, size, span


@click.command()
@talks
def stats(session: Session) -> None:
    """Show what runs and what was sent since the start."""
    session.show(session.api.call("GET", "stats"), _stats)


def _stats(answer: Any) -> None:
    if not isinstance(answer, dict) or "total_streams" not in answer:
        raise output.unexpected("total_streams")
    rates = [number(client.get("rate")) for client in output.members(answer, "clients")]
    known = [each for each in rates if each is not None]
    output.show_facts(
        [
            ("Streams", f"{count(answer.get('active_streams'))} on, {count(answer.get('total_streams'))} in all"),
            ("Clients", count(answer.get("active_clients"))),
            ("Sending", rate(sum(known)) if known or not rates else UNKNOWN),
            ("Sent", size(answer.get("total_bytes_served"))),
            ("Segments", count(answer.get("total_segments_served"))),
            ("Up for", span(answer.get("uptime_seconds"))),
        ]
    )


@click.command()
@talks
def health(session: Session) -> None:
    """Ask whether the proxy is well.

    Exits with 1 if it says that it is not.
    """
    answer = session.api.call("GET", "health")
    session.show(answer, _health)
    if not (isinstance(answer, dict) and answer.get("status") == "healthy"):
        sys.exit(1)


def _health(answer: Any) -> None:
    # m3u-proxy puts what went wrong in a list, beside the status that it meant to answer with.
    told = answer[0] if isinstance(answer, list) and answer else answer
    if not isinstance(told, dict):
        raise output.unexpected("status")
    output.show_line(plain(told.get("status")) or "no status")
    facts = [("Version", plain(told.get("version")))]
    if "uptime_seconds" in told:
        facts += [("Up for", span(told["uptime_seconds"])), ("Streams on", count(told.get("active_streams")))]
        facts += [("Clients", count(told.get("active_clients"))), ("Sent", size(told.get("total_bytes_served")))]
    output.show_facts([*facts, ("Error", plain(told.get("error"), 1000))])
