"""What every command that talks to a proxy shares: whom it talks to, with which token, and how it answers."""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from streamproxy.cli.client import output
from streamproxy.cli.client.address import resolve
from streamproxy.cli.common import INTERRUPTED

if TYPE_CHECKING:
    from streamproxy.cli.client.api import Api

P = ParamSpec("P")


@dataclass(frozen=True)
class Session:
    """A command's talk with a proxy.

    Attributes:
        api: The proxy.
        as_json: Whether a program reads the output.
    """

    api: "Api"
    as_json: bool

    def show(self, document: Any, for_people: Callable[[Any], None]) -> None:
        """Write an answer: as it is, or for people."""
        if self.as_json:
            output.show_json(document)
        else:
            for_people(document)


def talks(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Add the options that say whom to talk to, and end with 130 on Ctrl-C."""

    @click.option(
        "--base-url",
        metavar="URL",
        envvar="STREAMPROXY_BASE_URL",
        show_envvar=True,
        help="Where the proxy answers. Default: what the configuration of this machine says, else "
        "http://127.0.0.1:8080.",
    )
    @click.option(
        "--token",
        metavar="TEXT",
        envvar=["STREAMPROXY_TOKEN", "API_TOKEN"],
        show_envvar=True,
        help="The proxy's server.api_token; others on this machine can see it when it is given here.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Write what the server answers, as JSON.")
    @functools.wraps(command)
    def talking(*args: Any, base_url: str | None, token: str | None, as_json: bool, **options: Any) -> None:
        from streamproxy.cli.client.api import Api

        try:
            command(Session(Api(*resolve(base_url, token)), as_json), *args, **options)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    return talking


class Id(click.ParamType[str]):
    """The id of something; an empty one would name all of them."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what no id can be."""
        if value.strip("./ ") == "":
            self.fail("must not be empty", param, ctx)
        return value
