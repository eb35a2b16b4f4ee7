"""HLS for players: `/hls/{id}/playlist.m3u8`, and everything that its playlists refer to under links of our own."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import replace

import structlog
from aiohttp import hdrs, web

from streamproxy.audience import Audience
from streamproxy.errors import UpstreamBusy, UpstreamError, UpstreamOffline, UpstreamRefused, UpstreamStalled
from streamproxy.formats import urls
from streamproxy.formats.byterange import ByteRange, RangeNotSatisfiable, parse_ranges
from streamproxy.formats.hls.rewrite import Kind
from streamproxy.formats.links import Link, LinkSealer, NotOurLink, content_type
from streamproxy.model import Channel
from streamproxy.outputs.hls_playlist import Directives
from streamproxy.outputs.hls_playlists import SharedPlaylists, hold_time
from streamproxy.outputs.hls_viewers import HlsViewer, HlsViewers
from streamproxy.outputs.relay import Demand, NoRoom, SharedResponses
from streamproxy.outputs.transfer import Facts
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.admission import SharedSlots
from streamproxy.sources.client import Client
from streamproxy.tasks import Tasks
from streamproxy.web import SETTINGS, base_url, find_channel, visitor_of

routes = web.RouteTableDef()

_log = structlog.stdlib.get_logger("streamproxy")

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, Date, Age, X-Streamproxy-Error",
}
_PREFLIGHT = _CORS | {
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range, Content-Type",
    "Access-Control-Max-Age": "86400",
}
_HEADERS = _CORS | {
    "X-Content-Type-Options": "nosniff",
    # nginx would hold segments back until it has them whole
    "X-Accel-Buffering": "no",
}

_PLAYLISTS = frozenset({Kind.PLAYLIST, Kind.ASSET})
_SLICE = 1 << 18

_KEY = Demand(sizes=frozenset({16, 32}))
_MEDIA = Demand()
_ANYTHING = Demand(page=True)

_PASSED_ON = frozenset({400, 403, 404, 410, 503})
"""Statuses of an upstream that mean something to a player, and that it should see as they are."""


class HlsRelay:
    """All that HLS is served with.

    Attributes:
        sealer: Makes and reads links.
        playlists: The playlists of upstreams.
        responses: Everything else of them.
        viewers: Who watches.
        raw_urls: Whether `?url=` is taken in the place of a link, as m3u-proxy takes it. Whoever reaches this program
            then makes it fetch what they like.
    """

    def __init__(
        self,
        client: Client,
        tasks: Tasks,
        audience: Audience,
        *,
        key: bytes,
        accounts: Accounts | None = None,
        cache_size: int = 256 << 20,
        raw_urls: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            client: What to ask upstreams with.
            tasks: Who owns what is being fetched.
            audience: Where viewers are counted.
            key: What links are sealed with.
            accounts: Whose connections the channels take; None for nobody's.
            cache_size: Bytes of memory for segments, keys and maps.
            raw_urls: See above.
            clock: Tells the time in seconds.
        """
        self.sealer = LinkSealer(key)
        self.playlists = SharedPlaylists(client, self.sealer, clock=clock)
        self.responses = SharedResponses(client, tasks, capacity=cache_size, clock=clock)
        self.viewers = HlsViewers(audience, SharedSlots(accounts or Accounts(), tasks))
        self.raw_urls = raw_urls

    def configure(
        self, *, cache_size: int, stall_timeout: float, raw_urls: bool, viewer_timeout: float | None = None
    ) -> None:
        """Use other settings from now on.

        Args:
            viewer_timeout: Seconds without a request after which a viewer has left; None for three target durations.
            cache_size: Bytes of memory for segments, keys and maps.
            stall_timeout: Seconds of silence after which an upstream counts as lost.
            raw_urls: See above.
        """
        self.playlists.stall_timeout = self.responses.stall_timeout = stall_timeout
        self.responses.capacity = cache_size
        self.viewers.timeout = viewer_timeout
        self.raw_urls = raw_urls


HLS = web.AppKey("hls", HlsRelay)


@routes.options("/hls/{id}/{name}")
async def permit(_: web.Request) -> web.StreamResponse:
    """Tell a browser that a page from anywhere may ask for parts of this."""
    return web.Response(status=204, headers=_PREFLIGHT)


@routes.get("/hls/{id}/playlist.m3u8")
async def watch(request: web.Request) -> web.StreamResponse:
    """Send the playlist of a channel."""
    channel = find_channel(request, request.match_info["id"])
    return await _serve(request, channel, _raw_link(request, Kind.PLAYLIST) or _entry(channel))


@routes.get("/hls/{id}/{name}")
async def follow(request: web.Request) -> web.StreamResponse:
    """Send what a link leads to."""
    channel = find_channel(request, request.match_info["id"])
    name = request.match_info["name"]
    try:
        link = request.app[HLS].sealer.open(channel.id, name)
    except NotOurLink:
        raw = _raw_link(request, Kind.SEGMENT) if name.partition(".")[0] == "segment" else None
        if raw is None:
            raise web.HTTPNotFound(text="Not Found") from None
        link = raw
    return await _serve(request, channel, link)


def _entry(channel: Channel) -> Link:
    return Link(Kind.PLAYLIST, channel.upstreams[0].url)


def _raw_link(request: web.Request, kind: Kind) -> Link | None:
    """Take the address of an upstream from the query, where that is allowed."""
    if not request.app[HLS].raw_urls or "url" not in request.query:
        return None
    if not urls.is_http(request.query["url"]):
        raise web.HTTPBadRequest(text="url must be an http or https URL")
    return Link(kind, request.query["url"])


async def _serve(request: web.Request, channel: Channel, link: Link) -> web.StreamResponse:
    relay = request.app[HLS]
    if request.method == hdrs.METH_HEAD:
        return _describe(relay, channel, link)
    with relay.viewers.visit(channel, visitor_of(request)) as viewer:
        if viewer.stopped:
            return _refusal(410, "this viewer was disconnected")
        try:
            await viewer.hold(channel.upstreams[0].account)
            if link.kind in _PLAYLISTS:
                return await _send_playlist(request, channel, link, viewer)
            return await _send_resource(request, channel, link, viewer)
        except RangeNotSatisfiable as error:
            return _refusal(416, str(error), {hdrs.CONTENT_RANGE: error.content_range})
        except (NoRoom, UpstreamBusy, UpstreamOffline) as error:
            return _refusal(503, error.reason, {hdrs.RETRY_AFTER: "1"})
        except UpstreamRefused as error:
            return _refusal(error.status if error.status in _PASSED_ON else 502, error.reason)
        except UpstreamError as error:
            return _refusal(504 if isinstance(error, UpstreamStalled) else 502, error.reason)


def _refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    """Answer in JSON what went wrong; unlike an exception, so that a page may read it."""
    said = {"X-Streamproxy-Error": reason, hdrs.CACHE_CONTROL: "no-store"}
    return web.json_response({"detail": reason}, status=status, headers=_HEADERS | said | (headers or {}))


def _describe(relay: HlsRelay, channel: Channel, link: Link) -> web.StreamResponse:
    """Say what something is as far as that is known: players ask before they watch, and providers count."""
    if link.kind in _PLAYLISTS:
        playlist = relay.playlists.known(channel, link)
        age = None if playlist is None else relay.playlists.age(playlist)
        return web.StreamResponse(headers=_playlist_headers(link, age))
    facts = relay.responses.peek(_key(channel, link))
    response = web.StreamResponse(headers=_resource_headers(link, facts, relay.responses.age(facts) if facts else 0))
    response.content_length = facts.size if facts else None
    return response


async def _send_playlist(request: web.Request, channel: Channel, link: Link, viewer: HlsViewer) -> web.StreamResponse:
    playlists = request.app[HLS].playlists
    playlist = await playlists.get(channel, link, Directives.of(request.query))
    body = await playlists.write(channel, link, playlist, base_url(request))
    viewer.watch(playlist.target_duration)
    response = web.StreamResponse(headers=_playlist_headers(link, playlists.age(playlist)))
    response.headers["X-Client-ID"], response.headers["X-Stream-ID"] = viewer.id, channel.id
    response.content_length = len(body)
    return await _deliver(request, response, viewer, _slices(body))


def _playlist_headers(link: Link, age: float | None) -> dict[str, str]:
    # Without a word on it, a browser would keep it for as long as it sees fit.
    said = {hdrs.CONTENT_TYPE: content_type(link, ""), hdrs.CACHE_CONTROL: "no-cache"}
    return _HEADERS | said | ({} if age is None else {hdrs.AGE: str(int(age))})


async def _slices(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _SLICE):
        yield body[start : start + _SLICE]


async def _send_resource(request: web.Request, channel: Channel, link: Link, viewer: HlsViewer) -> web.StreamResponse:
    upstream = replace(channel.upstreams[0], url=link.url)
    demand = _demand(link)
    if link.kind is Kind.PART:
        # What was hinted at may not be there yet: then the upstream holds the request until it is.
        demand = replace(demand, timeout=hold_time(viewer.target_duration))
    async with request.app[HLS].responses.open(_key(channel, link), upstream, _wanted(request), demand) as reading:
        viewer.watch()
        if link.kind is Kind.SEGMENT:
            viewer.segments += 1
        response = web.StreamResponse(headers=_resource_headers(link, reading.facts, reading.age))
        response.content_length = reading.length
        if reading.span:
            response.set_status(206)
            response.headers[hdrs.CONTENT_RANGE] = reading.span.content_range(reading.size)
        return await _deliver(request, response, viewer, reading.pieces())


def _demand(link: Link) -> Demand:
    if link.kind is Kind.KEY:
        return _KEY
    return _ANYTHING if link.kind is Kind.DATA else _MEDIA


def _key(channel: Channel, link: Link) -> Hashable:
    # What is good enough for one purpose must not be taken for what is needed for another.
    return channel.id, link.url, _demand(link)


def _wanted(request: web.Request) -> ByteRange | None:
    """Tell which part is asked for. Who wants several, or one of a certain version, gets the whole (RFC 9110, 14.2)."""
    if hdrs.IF_RANGE in request.headers:
        return None
    ranges = parse_ranges(request.headers.get(hdrs.RANGE, ""))
    return ranges[0] if len(ranges) == 1 else None


def _resource_headers(link: Link, facts: Facts | None, age: float = 0) -> dict[str, str]:
    said = {hdrs.CONTENT_TYPE: content_type(link, facts.content_type if facts else ""), hdrs.ACCEPT_RANGES: "bytes"}
    if facts:
        life = "no-store" if link.kind is Kind.KEY else f"max-age={int(facts.age + facts.lifetime)}"
        said |= {hdrs.CACHE_CONTROL: life, hdrs.AGE: str(int(age))}
    return _HEADERS | said


async def _deliver(
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
