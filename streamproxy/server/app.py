"""The application: which paths lead where."""

import re
import secrets
from collections.abc import Collection, Iterable, Iterator

from aiohttp import web

from streamproxy.api import clients, docs, events, metrics, openapi, stats, streams, system, transcode, webhooks
from streamproxy.outputs import hls, mpegts, playlist
from streamproxy.web import FACES, OWN_SECRET, Face, answer_errors, guard

ROUTES = (
    (Face.API, system.routes),
    (Face.API, streams.routes),
    (Face.API, clients.routes),
    (Face.API, stats.routes),
    (Face.API, events.routes),
    (Face.API, webhooks.routes),
    (Face.API, transcode.routes),
    (Face.API, metrics.routes),
    (Face.PUBLIC, openapi.routes),
    (Face.PUBLIC, docs.routes),
    (Face.MEDIA, playlist.routes),
    (Face.MEDIA, hls.routes),
    (Face.MEDIA, mpegts.routes),
)
"""Whom they are for, which decides about who gets in, in the order in which they are tried: the last holds `/{name}`,
which would catch all."""


def make_app(root_path: str, tables: Iterable[tuple[Face, web.RouteTableDef]] = ROUTES) -> web.Application:
    """Make the application; its services are put under their keys by the caller.

    Args:
        root_path: Where everything is served a second time; empty for nowhere.
        tables: What is served to whom.
    """
    app = web.Application(middlewares=[answer_errors, guard])
    app.on_response_prepare.append(_sign)
    app[OWN_SECRET] = secrets.token_urlsafe()
    app[playlist.WRITTEN_LISTS] = playlist.WrittenLists()
    app[openapi.PUBLICATION] = openapi.Publication(tables)
    app[docs.ASSETS] = docs.Assets()
    literals = {route.path for _, routes in tables for route in routes if isinstance(route, web.RouteDef)}
    faces: dict[web.AbstractRoute, Face] = {}
    for prefix in dict.fromkeys((root_path, "")):
        for face, routes in tables:
            faces |= dict.fromkeys(_add(app, prefix, routes, literals), face)
    app[FACES] = faces
    return app


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """Say who answers, and not with which versions of what."""
    response.headers["Server"] = "streamproxy"


def _add(
    app: web.Application, prefix: str, routes: Iterable[web.AbstractRouteDef], literals: Collection[str]
) -> Iterator[web.AbstractRoute]:
    for route in routes:
        assert isinstance(route, web.RouteDef)
        paths = [prefix + _narrowed(route.path, literals)]
        if prefix and route.path == "/":
            paths.append(prefix)
        for path in paths:
            yield app.router.add_route(route.method, path, route.handler)
            if route.method == "GET" and route.kwargs.get("allow_head", True):
                yield app.router.add_route("HEAD", path, route.handler)


def _narrowed(path: str, literals: Collection[str]) -> str:
    """Have a path that ends with a parameter not take what has a path of its own, if only for other methods.

    `GET /test-connection` is a mistake, and no stream of that name that is not there.
    """
    folder, _, parameter = path.rpartition("/")
    if not parameter.startswith("{"):
        return path
    others = [other.rpartition("/") for other in literals if "{" not in other]
    names = sorted(name for within, _, name in others if within == folder and name)
    taken = "|".join(map(re.escape, names))
    return f"{folder}/{{{parameter[1:-1]}:(?!(?:{taken})\\Z)[^{{}}/]+}}" if taken else path
