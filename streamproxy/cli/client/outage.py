"""A proxy that goes away and comes back, as the commands that go on and on tell of it."""

from http import HTTPStatus

import click

from streamproxy.cli.client.failures import Refused, Unreachable
from streamproxy.cli.client.text import span


class Outage:
    """Remembers since when there has been no answer.

    Attributes:
        reason: Why there is none; empty while there is.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._ever_answered = False
        self._since = 0.0

    def begin(self, error: click.ClickException, now: float) -> bool:
        """Note that there was no answer; returns whether that is news.

        Raises:
            click.ClickException: The error, if waiting will not help: there never was an answer, or it was a refusal.
        """
        passes = isinstance(error, Unreachable) or (
            isinstance(error, Refused) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        )
        if not (self._ever_answered and passes):
            raise error
        is_news = not self.reason
        if is_news:
            self._since = now
        self.reason = error.message
        return is_news

    def end(self, now: float) -> str:
        """Note an answer; returns what to tell of the outage that it ends, empty where there was none."""
        self._ever_answered = True
        if not self.reason:
            return ""
        self.reason = ""
        return f"the server is back after {self.lasted(now)}"

    def lasted(self, now: float) -> str:
        """Say how long it has been."""
        return span(now - self._since)
