"""The application: which paths lead where."""

from collections.abc import Iterable

from aiohttp import web

from streamproxy.api import system
from streamproxy.outputs import hls, mpegts, playlist
from streamproxy.web import answer_errors

ROUTES = (system.routes, playlist.routes, hls.routes, mpegts.routes)
"""In the order in which they are tried: the last holds `/{name}`, which would catch all."""


def make_app(root_path: str) -> web.Application:
    """Make the application; its services are put under their keys by the caller.

    Args:
        root_path: Where everything is served a second time; empty for nowhere.
    """
    app = web.Application(middlewares=[answer_errors])
    app.on_response_prepare.append(_sign)
    app[playlist.WRITTEN_LISTS] = playlist.WrittenLists()
    for prefix in dict.fromkeys((root_path, "")):
        for routes in ROUTES:
            _add(app, prefix, routes)
    return app


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """Say who answers, and not with which versions of what."""
    response.headers["Server"] = "streamproxy"


def _add(app: web.Application, prefix: str, routes: Iterable[web.AbstractRouteDef]) -> None:
    for route in routes:
        assert isinstance(route, web.RouteDef)
        paths = [prefix + route.path]
        if prefix and route.path == "/":
            paths.append(prefix)
        for path in paths:
            app.router.add_route(route.method, path, route.handler)
            if route.method == "GET" and route.kwargs.get("allow_head", True):
                app.router.add_route("HEAD", path, route.handler)
