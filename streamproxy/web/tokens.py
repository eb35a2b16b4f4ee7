"""Which tokens a request shows, and whether they are the right ones."""

import hmac
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from aiohttp import web

from streamproxy.formats.urls import redact
from streamproxy.web.services import SETTINGS

PATH_TOKEN = web.RequestKey("path_token", str)
"""What stands between `/token/` and the rest of the path, as it was sent: percent-encoded."""


def is_authenticated(request: web.Request) -> bool:
    """Tell whether the right API token was given; nobody has it where `server.api_token` is not set."""
    token = request.app[SETTINGS].config.server.api_token
    return token is not None and matches(api_token_of(request), token)


def may_watch(request: web.Request) -> bool:
    """Tell whether lists and streams are for this client: it knows the stream token or the API's, or there is none."""
    token = request.app[SETTINGS].config.server.stream_token
    if token is None or is_authenticated(request):
        return True
    return any(matches(offered, token) for offered in stream_tokens_of(request))


def shown(request: web.Request) -> Callable[[str], str]:
    """Tell what becomes of a provider's URLs in what this client is answered.

    Returns:
        What to call with each text that may hold one: it stays as it is for who has shown the API token; for everybody
        else only scheme, host and port stay.
    """
    return str if is_authenticated(request) else redact


def api_token_of(request: web.Request) -> bytes:
    """Take the API token from the first place that has one: `X-API-Token`, `Authorization: Bearer`, `?api_token=`.

    Returns:
        What was given, right or wrong; empty for nothing.
    """
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return as_bytes(request.headers.get("X-API-Token") or bearer or request.query.get("api_token", ""))


def stream_tokens_of(request: web.Request) -> list[bytes]:
    """List what was given as the stream token, right or wrong: before the path, and in the query."""
    before_the_path = unquote_to_bytes(as_bytes(request.get(PATH_TOKEN, "")))
    return [offered for offered in (before_the_path, as_bytes(request.query.get("token", ""))) if offered]


def matches(offered: bytes, token: str) -> bool:
    """Tell whether what was offered is the token, in a time that does not depend on where they differ."""
    # As bytes: of text, only ASCII can be compared.
    return hmac.compare_digest(offered, as_bytes(token))


def as_bytes(text: str) -> bytes:
    """Write what a client sent as bytes; what was no UTF-8 comes as surrogates."""
    return text.encode("utf-8", "surrogatepass")
