"""`streamproxy events`."""

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

import click

from streamproxy.cli.client import output, shown
from streamproxy.cli.client.failures import Refused, Unreachable
from streamproxy.cli.client.outage import Outage
from streamproxy.cli.client.session import Session, talks
from streamproxy.cli.client.text import clock, plain

if TYPE_CHECKING:
    from streamproxy.cli.client.sse import Message

_SHORTEST_PAUSE = 0.05
_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
"""Seconds between two attempts to connect."""
_LEFT_OUT = {"metadata", "profile_variables", "ffmpeg_args", "failover_urls"}
"""What is too long for a line, and of no interest while watching."""


@click.command()
@talks
def events(session: Session) -> None:
    """Print what happens, a line for each event, until Ctrl-C.

    With --json each line is the event as webhooks get it. After a break it goes on where it was.
    """
    _Watch(session).run()


class _Watch:
    """Reads events over one connection after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._outage = Outage()
        self._last_id: str | None = None
        self._first_pause = self._pause = _PAUSE

    def run(self) -> None:
        """Print events until interrupted.

        Raises:
            click.ClickException: There is no use in trying again.
        """
        while True:
            try:
                self._read()
            except (Unreachable, Refused) as error:
                if self._outage.begin(error, time.monotonic()):
                    output.tell(f"{error.message}; trying again")
            time.sleep(self._pause)
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _read(self) -> NoReturn:
        from streamproxy.cli.client.sse import Parser

        parser = Parser()
        with closing(self._session.api.events(self._last_id)) as pieces:
            for piece in pieces:
                if told := self._outage.end(time.monotonic()):
                    output.tell(told)
                self._take(parser, piece)
        raise Unreachable("the server ended the stream of events")

    def _take(self, parser: Any, piece: bytes) -> None:
        try:
            for message in parser.feed(piece):
                self._pause = self._first_pause
                self._print(message)
                self._last_id = parser.last_id or self._last_id
        except ValueError as error:
            raise Unreachable(f"the stream of events is broken: {error}") from error
        if parser.retry is not None:
            self._first_pause = self._pause = min(max(parser.retry, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _print(self, message: "Message") -> None:
        try:
            document = json.loads(message.data)
        except (ValueError, RecursionError):
            output.tell(f"an event that is no JSON: {plain(message.event)}")
            return
        if self._session.as_json:
            output.show_json_line(document)
        else:
            output.show_line(line(message.event, document))


def line(event: str, document: Any) -> str:
    """Write an event as a line: time of day, type, stream, and what is known of it."""
    told = document if isinstance(document, dict) else {}
    data = told.get("data")
    known = data if isinstance(data, dict) else {}
    facts = [
        f"{plain(name)}={_value(value)}" for name, value in list(known.items())[:40] if _is_of_interest(name, value)
    ]
    name = plain(told.get("event_type")) or plain(event)
    return "  ".join(filter(None, (clock(told.get("timestamp")), f"{name:<19}", plain(told.get("stream_id")), *facts)))


def _is_of_interest(name: str, value: object) -> bool:
    return name not in _LEFT_OUT and isinstance(value, str | int | float) and value != ""


def _value(value: Any) -> str:
    text = shown.address(value) if isinstance(value, str) else plain(value)
    return f'"{text}"' if " " in text else text
