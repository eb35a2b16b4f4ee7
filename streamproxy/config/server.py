"""Where the proxy listens, who may reach it, and what it says."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from streamproxy.config import values
from streamproxy.config.section import Network, Section
from streamproxy.config.values import Whole


class ServerConfig(Section):
    """Where the proxy listens and under which address viewers know it."""

    host: Annotated[str, AfterValidator(values.host)] = "0.0.0.0"  # noqa: S104 - a proxy for the players of a household
    """Address or host name to listen on; 0.0.0.0 is every IPv4 address, and :: every address."""
    port: Annotated[int, BeforeValidator(Whole(0, 65535))] = 8080
    """TCP port to listen on; 0 takes any free one."""
    root_path: Annotated[str, AfterValidator(values.root_path)] = ""
    """Path prefix under which everything is answered too, such as /iptv; empty for none."""
    public_url: Annotated[str, AfterValidator(values.public_url)] | None = None
    """Address that playlists point to, such as https://tv.example; null takes it from each request."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and networks of reverse proxies whose X-Forwarded headers are believed."""
    max_connections: Annotated[int, BeforeValidator(Whole(1, 1_000_000))] | None = None
    """Viewers and other clients at one time; null takes what the limit of open files allows."""
    allowed_networks: tuple[Network, ...] = ()
    """Addresses and networks from which clients may come; empty for all."""
    api_token: Annotated[str, AfterValidator(values.token)] | None = Field(default=None, repr=False)
    """A secret text that whoever uses the API must know; null lets this machine change things, and everybody look."""
    stream_token: Annotated[str, AfterValidator(values.token)] | None = Field(default=None, repr=False)
    """A secret text that whoever wants the list or a stream must know, as ?token= or as /token/SECRET/ before the path;
    null for none."""


class LogConfig(Section):
    """What is logged, and how it looks."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(values.lower_case)] = "info"
    """The least important that is logged: debug, info, warning or error."""
    format: Annotated[Literal["auto", "console", "json"], BeforeValidator(values.lower_case)] = "auto"
    """console for people, json for machines, auto for console on a terminal and json elsewhere."""
