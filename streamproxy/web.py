"""What the HTTP faces share: the services, the channel a request names, the base of the URLs it is answered with."""

import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Protocol

import structlog
from aiohttp import web

from streamproxy.audience import Audience, Visitor
from streamproxy.broadcast.broadcast import Feed
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import Config
from streamproxy.errors import UpstreamBusy, UpstreamError, UpstreamOffline, UpstreamStalled
from streamproxy.events import EventBus
from streamproxy.model import Channel
from streamproxy.playlist.library import Library
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.client import Client

_log = structlog.stdlib.get_logger("streamproxy")

Responder = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Settings(Protocol):
    """Where the settings in force are found; a reload replaces them."""

    @property
    def config(self) -> Config:
        """The settings in force."""


SETTINGS = web.AppKey("settings", Settings)
LIBRARY = web.AppKey("library", Library)
BROADCASTS = web.AppKey("broadcasts", BroadcastRegistry)
AUDIENCE = web.AppKey("audience", Audience)
EVENTS = web.AppKey("events", EventBus)
CLIENT = web.AppKey("client", Client)
ACCOUNTS = web.AppKey("accounts", Accounts)
OPEN_FEED: web.AppKey[Callable[[Channel], Feed]] = web.AppKey("open_feed")

_STATUSES = ((UpstreamStalled, 504), (UpstreamBusy, 503), (UpstreamOffline, 503))

_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")


def find_channel(request: web.Request, name: str) -> Channel:
    """Look a channel up by id.

    Raises:
        HTTPNotFound: There is none.
    """
    channel = request.app[LIBRARY].catalog.find(name)
    if channel is None:
        raise web.HTTPNotFound(text="Stream not found")
    return channel


def visitor_of(request: web.Request) -> Visitor:
    """Tell what a viewer says of itself."""
    username = request.headers.get("X-Username") or next(
        (request.query[name] for name in ("username", "user", "u") if request.query.get(name)), None
    )
    agent = request.headers.get("User-Agent", "")
    return Visitor.of(client_address(request), agent, username, request.query.get("client_id"))


def client_address(request: web.Request) -> str:
    """Tell where a client is: what reverse proxies that are trusted say, from the nearest on, else its own address."""
    address = _peer(request)
    forwarded = [hop.strip() for hop in ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")]
    while address and forwarded and _is_trusted(request, address):
        try:
            address = str(ip_address(forwarded.pop()))
        except ValueError:
            break
    return address


def base_url(request: web.Request) -> str:
    """Tell under which URL this client reaches this program, without a slash at the end.

    It is `server.public_url` where that is set. Else it is what the client asked for, as its Host header says; a
    trusted reverse proxy may say more. An absolute request target is not believed: it would let one client write
    another's playlist.
    """
    server = request.app[SETTINGS].config.server
    if server.public_url:
        return server.public_url
    scheme, host, prefix = "http", request.headers.get("Host", ""), server.root_path
    if _is_trusted(request, _peer(request)):
        scheme = _first(request, "X-Forwarded-Proto") or scheme
        host = _first(request, "X-Forwarded-Host") or host
        port = _first(request, "X-Forwarded-Port")
        if port.isdigit() and ":" not in host.rpartition("]")[2] and port not in ("80", "443"):
            host = f"{host}:{port}"
        prefix = _first(request, "X-Forwarded-Prefix") or prefix
    if scheme not in ("http", "https"):
        scheme = "http"
    if not _HOST.fullmatch(host):
        host = _own_address(request)
    if not _PREFIX.fullmatch(prefix):
        prefix = server.root_path
    return f"{scheme}://{host}{prefix.rstrip('/')}"


def _peer(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return str(peer[0]).partition("%")[0] if peer else ""


def _is_trusted(request: web.Request, address: str) -> bool:
    if not address:
        return False
    known = ip_address(address)
    if known.version == 6 and known.ipv4_mapped:
        known = known.ipv4_mapped
    return any(known in network for network in request.app[SETTINGS].config.server.trusted_proxies)


def _first(request: web.Request, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip()


def _own_address(request: web.Request) -> str:
    own = request.transport.get_extra_info("sockname") if request.transport else None
    if not own:
        return "localhost"
    host = f"[{own[0]}]" if ":" in own[0] else own[0]
    return f"{host}:{own[1]}"


@web.middleware
async def answer_errors(request: web.Request, handler: Responder) -> web.StreamResponse:
    """Answer what goes wrong in JSON, as the API's clients know it: `{"detail": …}`.

    A path that leads nowhere is looked up once more without its doubled and trailing slashes: `//stream/x` is what
    comes of a base with a slash at its end, and players do not follow a redirect.
    """
    try:
        if request.match_info.http_exception is not None:
            request, handler = await _tidied(request, handler)
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        detail = error.text if error.text and not error.text.startswith(f"{error.status}:") else error.reason
        return web.json_response({"detail": detail}, status=error.status, headers=headers)
    except UpstreamError as error:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 502)
        headers = {"X-Streamproxy-Error": error.reason, "Cache-Control": "no-store"}
        return web.json_response({"detail": error.reason}, status=status, headers=headers)


async def _tidied(request: web.Request, handler: Responder) -> tuple[web.Request, Responder]:
    """Find what a request without needless slashes would lead to; the request itself if that leads nowhere either."""
    path, question_mark, query = request.raw_path.partition("?")
    tidy = "/" + "/".join(part for part in path.split("/") if part)
    if tidy == path:
        return request, handler
    other = request.clone(rel_url=tidy + question_mark + query)
    match = await request.app.router.resolve(other)
    if match.http_exception is not None:
        return request, handler
    match.add_app(request.app)
    # What aiohttp's own dispatch does; there is no public way.
    other._match_info = match
    return other, match.handler
