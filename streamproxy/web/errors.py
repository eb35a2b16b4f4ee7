"""What goes wrong, as clients are told of it."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from streamproxy.errors import TranscodingUnavailable, UpstreamBusy, UpstreamError, UpstreamOffline, UpstreamStalled

Responder = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PASSED_ON = ("Allow", "WWW-Authenticate")
"""Headers of a refusal beside its text."""

_STATUSES = (
    (UpstreamStalled, 504),
    (UpstreamBusy, 503),
    (UpstreamOffline, 503),
    (TranscodingUnavailable, 501),
)


@web.middleware
async def answer_errors(request: web.Request, handler: Responder) -> web.StreamResponse:
    """Answer what goes wrong in JSON, as the API's clients know it: `{"detail": …}`."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == "application/json":
            raise
        headers = {name: error.headers[name] for name in _PASSED_ON if name in error.headers}
        detail = error.text if error.text and not error.text.startswith(f"{error.status}:") else error.reason
        return web.json_response({"detail": detail}, status=error.status, headers=headers)
    except UpstreamError as error:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 502)
        headers = {"X-Streamproxy-Error": error.reason, "Cache-Control": "no-store"}
        return web.json_response({"detail": error.reason}, status=status, headers=headers)
