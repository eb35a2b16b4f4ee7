"""What answers to those who watch HLS have in common, wherever it comes from."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog
from aiohttp import hdrs, web

from streamproxy.errors import (
    TranscodingUnavailable,
    UpstreamBusy,
    UpstreamError,
    UpstreamOffline,
    UpstreamRefused,
    UpstreamStalled,
)
from streamproxy.formats.byterange import ByteRange, RangeNotSatisfiable, parse_ranges
from streamproxy.outputs.hls_viewers import HlsViewer
from streamproxy.outputs.relay import NoRoom
from streamproxy.web import SETTINGS

_log = structlog.stdlib.get_logger("streamproxy")

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, Date, Age, X-Streamproxy-Error",
}
PREFLIGHT = _CORS | {
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range, Content-Type",
    "Access-Control-Max-Age": "86400",
}
HEADERS = _CORS | {
    "X-Content-Type-Options": "nosniff",
    # nginx would hold segments back until it has them whole
    "X-Accel-Buffering": "no",
}

_SLICE = 1 << 18

_PASSED_ON = frozenset({400, 403, 404, 410, 503})
"""Statuses of an upstream that mean something to a player, and that it should see as they are."""


def refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    """Answer in JSON what went wrong; unlike an exception, so that a page may read it."""
    said = {"X-Streamproxy-Error": reason, hdrs.CACHE_CONTROL: "no-store"}
    return web.json_response({"detail": reason}, status=status, headers=HEADERS | said | (headers or {}))


def refusal_of(error: RangeNotSatisfiable | UpstreamError) -> web.Response:
    """Answer what went wrong."""
    if isinstance(error, RangeNotSatisfiable):
        return refusal(416, str(error), {hdrs.CONTENT_RANGE: error.content_range})
    if isinstance(error, NoRoom | UpstreamBusy | UpstreamOffline):
        return refusal(503, error.reason, {hdrs.RETRY_AFTER: "1"})
    if isinstance(error, UpstreamRefused):
        return refusal(error.status if error.status in _PASSED_ON else 502, error.reason)
    if isinstance(error, TranscodingUnavailable):
        return refusal(501, error.reason)
    return refusal(504 if isinstance(error, UpstreamStalled) else 502, error.reason)


def wanted_range(request: web.Request) -> ByteRange | None:
    """Tell which part is asked for. Who wants several, or one of a certain version, gets the whole (RFC 9110, 14.2)."""
    if hdrs.IF_RANGE in request.headers:
        return None
    ranges = parse_ranges(request.headers.get(hdrs.RANGE, ""))
    return ranges[0] if len(ranges) == 1 else None


async def slices(body: bytes) -> AsyncGenerator[bytes, None]:
    """Yield a body in pieces, so that a slow viewer shows."""
    for start in range(0, len(body), _SLICE):
        yield body[start : start + _SLICE]


async def deliver(
    request: web.Request, response: web.StreamResponse, viewer: HlsViewer, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Send a body as fast as the viewer takes it. It is complete, or its connection is broken off."""
    stuck_timeout = request.app[SETTINGS].config.relay.stuck_timeout
    complete = stuck = False
    try:
        async with aclosing(pieces):
            await response.prepare(request)
            async for piece in pieces:
                async with asyncio.timeout(stuck_timeout):
                    await response.write(piece)
                viewer.sent += len(piece)
                if viewer.stopped:
                    raise ConnectionResetError("the viewer was disconnected")
        complete = True
    except TimeoutError:
        stuck = True
    except (UpstreamError, ConnectionError) as error:
        # The upstream's failure was logged where it was fetched, once for all; the other is how watching ends.
        _log.debug("answer_broken_off", client=request.remote, reason=type(error).__name__)
    finally:
        if not complete:
            _break_off(request, response, stuck=stuck)
    return response


def _break_off(request: web.Request, response: web.StreamResponse, *, stuck: bool) -> None:
    """Close the connection such that the viewer knows that there should have been more."""
    response.force_close()
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    framed = {hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING} & response.headers.keys()
    if connection is not None and (stuck or not framed):
        # A reset: to HTTP/1.0 any other end is the end of the body, and a viewer who does not read would never see one.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
