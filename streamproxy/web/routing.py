"""Where a request leads that does not lead anywhere as it stands."""

from collections.abc import Sequence

from aiohttp import web
from yarl import URL

from streamproxy.web.errors import Responder
from streamproxy.web.own import shows_own_secret
from streamproxy.web.services import SETTINGS
from streamproxy.web.tokens import PATH_TOKEN


async def find_route(request: web.Request, handler: Responder) -> tuple[web.Request, Responder]:
    """Find what a request leads to, looking a path that leads nowhere up again in the forms that clients give it.

    Without its doubled and trailing slashes: `//stream/x` is what comes of a base with a slash at its end, and players
    do not follow a redirect. Then without the stream token before it, `/token/SECRET/stream/x`, if there is such a
    token at all, or it is this program's own secret; whether it is the right one is for others to say, who find it
    under `PATH_TOKEN`.

    Returns:
        The request to answer, and what answers it; as they came if no other form leads anywhere either.
    """
    if request.match_info.http_exception is None:
        return request, handler
    parts = [part for part in request.rel_url.raw_path.split("/") if part]
    found = await _look_up(request, parts)
    if found is None:
        token, parts = _take_token(request, parts)
        found = await _look_up(request, parts) if token else None
        if found is not None:
            found[PATH_TOKEN] = token
    return (request, handler) if found is None else (found, found.match_info.handler)


def _take_token(request: web.Request, parts: list[str]) -> tuple[str, list[str]]:
    """Split the token before a path off; behind `server.root_path` too, since a reverse proxy may have kept that."""
    server = request.app[SETTINGS].config.server
    root = server.root_path.split("/")[1:]
    start = len(root) if parts[: len(root)] == root else 0
    if parts[start : start + 1] != ["token"] or len(parts) < start + 2:
        return "", parts
    token = parts[start + 1]
    if server.stream_token is None and not shows_own_secret(request, token):
        return "", parts
    return token, parts[:start] + parts[start + 2 :]


async def _look_up(request: web.Request, parts: Sequence[str]) -> web.Request | None:
    path, url = "/" + "/".join(parts), request.rel_url
    if path == url.raw_path:
        return None
    other = request.clone(rel_url=URL.build(path=path, query_string=url.raw_query_string, encoded=True))
    match = await request.app.router.resolve(other)
    if match.http_exception is not None:
        return None
    match.add_app(request.app)
    # What aiohttp's own dispatch does; there is no public way.
    other._match_info = match
    return other
