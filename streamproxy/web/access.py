"""Who may do what: a guard before every route.

| | with `server.api_token` | without |
|---|---|---|
| public | everybody | everybody |
| media | everybody, or who knows `server.stream_token` | the same |
| looking | who knows the token | everybody |
| changing | who knows the token | this machine, or everybody if `api.open`; no web page of somebody else's |

Whoever comes from outside `server.allowed_networks` may nothing at all, but for what this program reads of its own
media (see `own`).
"""

from collections.abc import Mapping
from enum import Enum

import structlog
from aiohttp import hdrs, web

from streamproxy.config import Config
from streamproxy.web.addresses import is_on_this_machine, is_within
from streamproxy.web.browsers import is_of_another_site
from streamproxy.web.errors import Responder
from streamproxy.web.own import shows_own_secret
from streamproxy.web.routing import find_route
from streamproxy.web.services import SETTINGS
from streamproxy.web.tokens import PATH_TOKEN, api_token_of, is_authenticated, may_watch, stream_tokens_of

_log = structlog.stdlib.get_logger("streamproxy")

_CHALLENGE = {hdrs.WWW_AUTHENTICATE: "Bearer"}


class Face(Enum):
    """Whom a table of routes is for."""

    PUBLIC = "public"
    """Everybody: documentation, and what pages are made of. Nothing in it tells of channels or viewers."""
    MEDIA = "media"
    """Players: lists and streams."""
    API = "api"
    """Operators and their programs."""


class Kind(Enum):
    """What a request wants to do."""

    PUBLIC = "public"
    MEDIA = "media"
    LOOKING = "looking"
    CHANGING = "changing"


FACES: web.AppKey[Mapping[web.AbstractRoute, Face]] = web.AppKey("faces")
"""Whom each route of the application is for."""

_HARMLESS = {Face.PUBLIC: Kind.PUBLIC, Face.MEDIA: Kind.MEDIA, Face.API: Kind.LOOKING}
_HARMLESS_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


def kind_of(face: Face | None, method: str) -> Kind:
    """Tell what a method of a route of this face does; of what has no face, the worst is assumed."""
    return _HARMLESS[face] if face and method in _HARMLESS_METHODS else Kind.CHANGING


@web.middleware
async def guard(request: web.Request, handler: Responder) -> web.StreamResponse:
    """Let through who may do what the request wants, judged by the route that is served in the end."""
    request, handler = await find_route(request, handler)
    if not _is_own(request):
        _check_network(request)
        if request.match_info.http_exception is None:
            _check(request)
    return await handler(request)


def warn_if_open(config: Config) -> None:
    """Say in the log that everybody may change things, if that is so."""
    if config.api.open and config.server.api_token is None:
        _log.warning("api_open_to_everybody", remedy="set server.api_token, or take api.open away")


def _is_own(request: web.Request) -> bool:
    """Tell whether it is this program that asks, and for media."""
    return _kind(request) is Kind.MEDIA and shows_own_secret(request, request.get(PATH_TOKEN, ""))


def _kind(request: web.Request) -> Kind:
    return kind_of(request.app[FACES].get(request.match_info.route), request.method)


def _check_network(request: web.Request) -> None:
    networks = request.app[SETTINGS].config.server.allowed_networks
    if networks and not is_within(request, networks):
        raise web.HTTPForbidden(text="This address may not use this server; server.allowed_networks says which may")


def _check(request: web.Request) -> None:
    """Refuse what this client may not do.

    Raises:
        HTTPUnauthorized: It must show a token.
        HTTPForbidden: It may not, or its token is wrong.
        HTTPNotFound: The stream token stands before the path of what is no media.
    """
    kind = _kind(request)
    if PATH_TOKEN in request and kind is not Kind.MEDIA:
        raise web.HTTPNotFound(text="Not Found")
    if kind is Kind.MEDIA:
        _check_watching(request)
    elif kind is not Kind.PUBLIC and request.app[SETTINGS].config.server.api_token is not None:
        _check_token(request)
    elif kind is Kind.CHANGING:
        _check_changing(request)


def _check_watching(request: web.Request) -> None:
    # A browser asks without tokens first whether a page may show one.
    if request.method == hdrs.METH_OPTIONS or may_watch(request):
        return
    if stream_tokens_of(request) or api_token_of(request):
        raise web.HTTPForbidden(text="Invalid stream token")
    said = "Stream token required. Provide token via token query parameter or as /token/TOKEN before the path."
    raise web.HTTPUnauthorized(text=said, headers=_CHALLENGE)


def _check_token(request: web.Request) -> None:
    if is_authenticated(request):
        return
    if api_token_of(request):
        raise web.HTTPForbidden(text="Invalid API token")
    said = "API token required. Provide token via X-API-Token header or api_token query parameter."
    raise web.HTTPUnauthorized(text=said, headers=_CHALLENGE)


def _check_changing(request: web.Request) -> None:
    """Refuse what may not change things where no token is asked for."""
    if not request.app[SETTINGS].config.api.open and not is_on_this_machine(request):
        said = "Only this machine may change things. For others: set server.api_token and send it, or set api.open"
        raise web.HTTPForbidden(text=said)
    if is_of_another_site(request):
        said = (
            "Without a token, web pages of other hosts may not change things, and this server goes by IP addresses and "
            "the host of server.public_url only. Set server.api_token and send it, or set server.public_url"
        )
        raise web.HTTPForbidden(text=said)
