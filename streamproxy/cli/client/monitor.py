"""`streamproxy monitor`."""

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from streamproxy.cli.client import output, shown
from streamproxy.cli.client.failures import Refused, Unreachable
from streamproxy.cli.client.outage import Outage
from streamproxy.cli.client.output import LEFT, RIGHT
from streamproxy.cli.client.rates import TOTAL, Rates
from streamproxy.cli.client.session import Session, talks
from streamproxy.cli.client.text import count, number, plain, rate, size, span

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_COLUMNS = {
    "Name": LEFT,
    "ID": LEFT,
    "Clients": RIGHT,
    "Rate": RIGHT,
    "Sent": RIGHT,
    "Upstream": LEFT,
    "Errors": RIGHT,
}
_LINES_AROUND = 7
"""Lines of the screen that are no streams."""


@click.command()
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between two looks."
)
@talks
def monitor(session: Session, interval: float) -> None:
    """Watch the streams and their rates until Ctrl-C.

    On a terminal it is a table that is redrawn in place; with --json, and into files and pipes, a JSON document a line:
    `rate` and `rates` by stream in bytes per second, and in `stats` what the server answers.
    """
    view = _Lines() if session.as_json else _view(session)
    with view.open():
        _watch(session, view, interval)


def _view(session: Session) -> "_Lines | _Screen":
    """Choose what suits the output; a terminal that cannot redraw is written to as a pipe is."""
    if not sys.stdout.isatty():
        return _Lines()
    console = output.console()
    return _Lines() if console.is_dumb_terminal else _Screen(session, console)


def _watch(session: Session, view: "_Lines | _Screen", interval: float) -> None:
    outage, rates = Outage(), Rates()
    while True:
        try:
            stats = session.api.call("GET", "stats")
            streams = output.members(stats, "streams")
        except (Unreachable, Refused) as error:
            is_news = outage.begin(error, time.monotonic())
            view.gone(outage, is_news=is_news)
        else:
            now = time.monotonic()
            if told := outage.end(now):
                view.back(told)
            sent = {plain(each.get("stream_id")): each.get("total_bytes_served") for each in streams}
            view.draw(stats, streams, rates.update({**sent, TOTAL: stats.get("total_bytes_served")}, now))
        time.sleep(interval)


class _Lines:
    """What another program reads."""

    def open(self) -> AbstractContextManager[object]:
        """Do nothing."""
        return nullcontext()

    def draw(self, stats: dict[str, Any], _: list[dict[str, Any]], rates: Mapping[str, float]) -> None:
        """Write a line."""
        of_streams = {name: value for name, value in rates.items() if name != TOTAL}
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        output.show_json_line({"time": at, "rate": rates.get(TOTAL), "rates": of_streams, "stats": stats})

    def gone(self, outage: Outage, *, is_news: bool) -> None:
        """Tell that there is no answer."""
        if is_news:
            output.tell(f"{outage.reason} Trying again.")

    def back(self, told: str) -> None:
        """Tell that there is one again."""
        output.tell(told)


class _Screen:
    """What a person looks at: a table that is redrawn in place."""

    def __init__(self, session: Session, console: "Console") -> None:
        from rich.live import Live

        self._where = str(session.api.address)
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._table: RenderableType = ""
        self._news = ""

    def open(self) -> AbstractContextManager[object]:
        """Take the screen, and give it back at the end with the last table on it."""
        return self._live

    def draw(self, stats: dict[str, Any], streams: list[dict[str, Any]], rates: Mapping[str, float]) -> None:
        """Draw the streams that are on: those that send most first, and as many as the screen holds."""
        on = sorted(filter(shown.is_on, streams), key=lambda each: (-(_rate_of(each, rates) or 0), shown.title(each)))
        room = max(1, self._console.height - _LINES_AROUND)
        self._table = output.table_of(_COLUMNS, [_row(each, rates) for each in on[:room]])
        more = f"… and {len(on) - room} more" if len(on) > room else ""
        self._redraw(_totals(stats, rates), more, self._news)

    def gone(self, outage: Outage, *, is_news: bool) -> None:
        """Tell that there is no answer, above what was there before."""
        del is_news
        self._redraw(f"no answer for {outage.lasted(time.monotonic())}", "", outage.reason)

    def back(self, told: str) -> None:
        """Tell that there is one again, at the time that it is."""
        self._news = f"{datetime.now().astimezone():%H:%M:%S} {told}"

    def _redraw(self, totals: str, more: str, news: str) -> None:
        from rich.console import Group
        from rich.text import Text

        head = Text(f"{self._where}  {totals}", style="bold")
        lines = [head, Text(""), self._table, *(Text(each) for each in (more, news) if each)]
        self._live.update(Group(*lines), refresh=True)


def _totals(stats: Mapping[str, Any], rates: Mapping[str, float]) -> str:
    streams = f"{count(stats.get('active_streams'))} of {count(stats.get('total_streams'))} streams on"
    sent = f"{size(stats.get('total_bytes_served'))} sent"
    parts = [streams, f"{count(stats.get('active_clients'))} clients", rate(rates.get(TOTAL)), sent]
    return ", ".join([*parts, f"up {span(stats.get('uptime_seconds'))}"])


def _rate_of(stream: shown.Item, rates: Mapping[str, float]) -> float | None:
    """Return what we have seen ourselves, else what the server says: the first look has nothing to compare with."""
    return rates.get(plain(stream.get("stream_id")), number(stream.get("rate")))


def _row(stream: shown.Item, rates: Mapping[str, float]) -> list[str]:
    return [
        shown.title(stream),
        plain(stream.get("stream_id")),
        count(stream.get("client_count")),
        rate(_rate_of(stream, rates)),
        size(stream.get("total_bytes_served")),
        shown.upstream(stream),
        count(stream.get("error_count")),
    ]
