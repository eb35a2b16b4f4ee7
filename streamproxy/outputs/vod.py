"""Files for players: whole or in parts, from any position, one upstream connection per viewer."""

import secrets
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import structlog
from aiohttp import hdrs, web

from streamproxy.errors import UpstreamError
from streamproxy.formats.byterange import MAX_RANGES, ByteRange, Multipart, RangeNotSatisfiable, parse_ranges, resolve
from streamproxy.model import Channel
from streamproxy.sources.filefacts import FileFacts
from streamproxy.sources.vod import RemoteFile
from streamproxy.web import ACCOUNTS, AUDIENCE, CLIENT, SETTINGS, visitor_of

_log = structlog.stdlib.get_logger("streamproxy")

_HEADERS = {
    # Who keeps it has to ask whether it is still the same, and is answered with 304 if so.
    "Cache-Control": "no-cache",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, Accept-Ranges, ETag",
    "X-Content-Type-Options": "nosniff",
    # nginx would copy the file to its disk
    "X-Accel-Buffering": "no",
}
_CONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


async def serve_file(request: web.Request, channel: Channel) -> web.StreamResponse:
    """Answer a GET or HEAD for a file.

    Once the answer has begun, a viewer gets all that its head promised, or a connection that is broken off. For as
    long as it takes, it counts as one connection of the provider's account.

    Args:
        request: What is asked for; its `Range` and its conditions count as RFC 9110 says.
        channel: The file; its first upstream is read.

    Raises:
        UpstreamBusy: All connections of the provider are in use; nothing was sent yet.
        UpstreamError: It cannot be had; nothing was sent yet.
    """
    ranges = parse_ranges(", ".join(request.headers.getall(hdrs.RANGE, [])))
    if len(ranges) > MAX_RANGES and request.method != hdrs.METH_HEAD:
        return _nothing(RangeNotSatisfiable(None))
    upstream = channel.upstreams[0]
    file = RemoteFile(upstream, request.app[CLIENT], stall_timeout=request.app[SETTINGS].config.relay.stall_timeout)
    # A name that no channel can have: what is said of the channel's viewers is not said of this one.
    async with request.app[ACCOUNTS].slot(upstream.account, f"file/{channel.id}"):
        if request.method == hdrs.METH_HEAD:
            facts = await file.describe()
            return _refusal(request, facts) or _response(200, facts, facts.size)
        return await _serve(request, channel, file, ranges)


async def _serve(
    request: web.Request, channel: Channel, file: RemoteFile, ranges: list[ByteRange]
) -> web.StreamResponse:
    try:
        if len(ranges) > 1:
            return await _serve_parts(request, channel, file, ranges)
        return await _serve_part(request, channel, file, ranges[0] if ranges else None)
    except RangeNotSatisfiable as error:
        # It may be a part of another version of the file that was wanted; then it is the whole of this one now.
        if hdrs.IF_RANGE not in request.headers:
            return _nothing(error)
    return await _serve_part(request, channel, file, None)


async def _serve_part(
    request: web.Request, channel: Channel, file: RemoteFile, wanted: ByteRange | None
) -> web.StreamResponse:
    async with file.open(wanted) as reading:
        facts, span = reading.facts, reading.span
        if refusal := _refusal(request, facts):
            return refusal
        if wanted is None or _may_be_a_part(request, facts):
            # Who asks for everything in the form of a range learns from a 200 that there will be no other ranges.
            if wanted is None or span is None or (span.size == facts.size and not facts.seekable):
                response = _response(200, facts, facts.size)
            else:
                response = _response(206, facts, span.size)
                response.headers[hdrs.CONTENT_RANGE] = span.content_range(facts.size)
            return await _deliver(request, channel, response, reading)
    return await _serve_part(request, channel, file, None)


async def _serve_parts(
    request: web.Request, channel: Channel, file: RemoteFile, ranges: list[ByteRange]
) -> web.StreamResponse:
    facts = await file.probe()
    # Who wants several parts of what comes only from its beginning gets it all: there is nothing to be gained.
    if facts.size is None or not facts.seekable or not _may_be_a_part(request, facts):
        return await _serve_part(request, channel, file, None)
    spans = resolve(ranges, facts.size)
    if not spans:
        raise RangeNotSatisfiable(facts.size)
    if len(spans) == 1:
        return await _serve_part(request, channel, file, ByteRange(*spans[0]))
    if refusal := _refusal(request, facts):
        return refusal
    multipart = Multipart(spans, facts.size, facts.content_type, secrets.token_hex(16))
    response = _response(206, facts, multipart.size)
    response.headers[hdrs.CONTENT_TYPE] = multipart.content_type
    async with aclosing(_parts(file, multipart)) as pieces:
        return await _deliver(request, channel, response, pieces)


async def _parts(file: RemoteFile, multipart: Multipart) -> AsyncGenerator[bytes, None]:
    for head, span in multipart.parts:
        yield head
        async with file.open(ByteRange(*span)) as reading:
            async for piece in reading:
                yield piece
    yield multipart.end


def _may_be_a_part(request: web.Request, facts: FileFacts) -> bool:
    condition = request.headers.get(hdrs.IF_RANGE)
    return condition is None or facts.validators.permit_range(condition)


def _refusal(request: web.Request, facts: FileFacts) -> web.Response | None:
    """Answer without the file, if that is what the request's conditions come to."""
    conditions = {name: ", ".join(request.headers.getall(name)) for name in _CONDITIONS if name in request.headers}
    status = facts.validators.refusal(conditions)
    return web.Response(status=status, headers=_HEADERS | _version(facts)) if status else None


def _nothing(error: RangeNotSatisfiable) -> web.Response:
    headers = _HEADERS | ({} if error.size is None else {hdrs.CONTENT_RANGE: error.content_range})
    return web.json_response({"detail": str(error)}, status=416, headers=headers)


def _response(status: int, facts: FileFacts, length: int | None) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=_HEADERS | _version(facts))
    response.headers[hdrs.CONTENT_TYPE] = facts.content_type
    response.headers[hdrs.ACCEPT_RANGES] = "bytes" if facts.offers_ranges else "none"
    response.content_length = length
    return response


def _version(facts: FileFacts) -> dict[str, str]:
    said = {"ETag": facts.validators.etag, hdrs.LAST_MODIFIED: facts.validators.last_modified}
    return {name: value for name, value in said.items() if value}


class _Viewer:
    """Who gets a file.

    Attributes:
        sent: Bytes of body given to the connection.
    """

    segments = lag = overruns = skipped = 0

    def __init__(self, request: web.Request) -> None:
        self.sent = 0
        self._request = request

    def stop(self) -> None:
        """End it."""
        if self._request.transport:
            self._request.transport.close()


async def _deliver(
    request: web.Request, channel: Channel, response: web.StreamResponse, pieces: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send a body, as fast as the viewer takes it. It is complete, or its connection is broken off."""
    log = _log.bind(channel=channel.id, client=request.remote)
    viewer = _Viewer(request)
    complete = False
    try:
        with request.app[AUDIENCE].attend(channel, visitor_of(request), viewer):
            _allow_pauses(request)
            await response.prepare(request)
            async for piece in pieces:
                await response.write(piece)
                viewer.sent += len(piece)
        complete = True
    except UpstreamError as error:
        log.warning("upstream_failed", upstream=error.label, reason=error.reason)
    except ConnectionError:
        pass  # the viewer went away, which is how watching ends, and what every seek looks like
    finally:
        if not complete:
            _break_off(request, response)
        log.info("file_served", range=response.headers.get(hdrs.CONTENT_RANGE), sent=viewer.sent, complete=complete)
    return response


def _allow_pauses(request: web.Request) -> None:
    """Keep the kernel from dropping a viewer who takes nothing for seconds, as it is told to: here it is a pause.

    It stays so for the connection: at the end of the file, the last of it may still wait in the kernel.
    """
    transport = request.transport
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if transport is not None and not transport.is_closing() and option is not None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, 0)


def _break_off(request: web.Request, response: web.StreamResponse) -> None:
    """Close the connection such that the viewer knows that there should have been more."""
    transport = request.transport
    if transport is None:
        return
    if not {hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING} & response.headers.keys() and not transport.is_closing():
        # To HTTP/1.0, the end of the connection is the end of the file, unless it is a reset.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
