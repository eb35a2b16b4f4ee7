"""Where the proxy is: what was said on the command line, else what its configuration says."""

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    from streamproxy.config import Config

_TOKEN = re.compile(r"[!-~]+")


class Address(NamedTuple):
    """Where an API answers.

    Attributes:
        secure: Whether it speaks TLS.
        host: Name or address; that of IPv6 without brackets.
        port: TCP port.
        path: What stands before every path of the API, without a slash at its end.
    """

    secure: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' * self.secure}://{host}:{self.port}{self.path}"


def parse(url: str) -> Address:
    """Read the base of an API's addresses.

    Raises:
        ValueError: It is no http or https URL, or holds what does not belong there. The text does not repeat it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not re.fullmatch("[!-~]+", url) or parts.scheme not in ("http", "https") or port == 0:
        raise ValueError("must be an http or https URL, such as http://127.0.0.1:8080")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be without user, query and fragment")
    secure = parts.scheme == "https"
    return Address(secure, host, port or (443 if secure else 80), parts.path.rstrip("/"))


def resolve(base_url: str | None, token: str | None) -> tuple[Address, str | None]:
    """Find out whom to talk to, and with which token.

    Args:
        base_url: What the person said; None to take it from the configuration of this machine's proxy.
        token: What the person said; None to take it from the same configuration, if the address is from there too:
            it is nobody else's business.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise click.BadParameter("must be of visible ASCII characters without spaces", param_hint="--token")
    if base_url is None:
        config = _configuration()
        return _own(config), token or config.server.api_token
    try:
        return parse(base_url), token
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--base-url") from error


def _configuration() -> "Config":
    from streamproxy.cli.common import find_config, read_config, refuse, say
    from streamproxy.errors import ConfigError

    try:
        return read_config(find_config(None), {})
    except ConfigError as error:
        say("streamproxy: where does it listen? --base-url says so, else the configuration, which cannot be used:")
        refuse(error)


def _own(config: "Config") -> Address:
    from streamproxy.cli.common import own_url

    if config.server.port == 0:
        raise click.UsageError("the configuration takes any free port: say with --base-url where it listens")
    return parse(own_url(config))
