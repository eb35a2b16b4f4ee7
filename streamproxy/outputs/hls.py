"""HLS for players: `/hls/{id}/playlist.m3u8`, and everything that its playlists refer to under links of our own."""

import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from urllib.parse import quote

from aiohttp import hdrs, web

from streamproxy.audience import Audience
from streamproxy.errors import UpstreamError, UpstreamNotMedia
from streamproxy.formats import urls
from streamproxy.formats.byterange import RangeNotSatisfiable
from streamproxy.formats.hls.rewrite import Kind
from streamproxy.formats.links import Link, LinkSealer, NotOurLink, content_type
from streamproxy.model import TRANSPORT_STREAM, Channel, StreamKind, Transcode
from streamproxy.outputs.hls_answers import HEADERS, PREFLIGHT, deliver, refusal, refusal_of, slices, wanted_range
from streamproxy.outputs.hls_cut import CutChannels, serve_playlist, serve_segment
from streamproxy.outputs.hls_playlist import Directives
from streamproxy.outputs.hls_playlists import SharedPlaylists, hold_time
from streamproxy.outputs.hls_viewers import HlsViewer, HlsViewers
from streamproxy.outputs.relay import Demand, SharedResponses
from streamproxy.outputs.transfer import Facts
from streamproxy.playlist.variants import media_type_of
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.admission import SharedSlots
from streamproxy.sources.client import Client
from streamproxy.tasks import Tasks
from streamproxy.web import SETTINGS, base_url, find_channel, find_watched, visitor_of

routes = web.RouteTableDef()

_PLAYLISTS = frozenset({Kind.PLAYLIST, Kind.ASSET})

_KEY = Demand(sizes=frozenset({16, 32}))
_MEDIA = Demand()
_ANYTHING = Demand(page=True)


class HlsRelay:
    """All that HLS is served with.

    Attributes:
        sealer: Makes and reads links.
        playlists: The playlists of upstreams.
        responses: Everything else of them.
        viewers: Who watches.
        cuts: The channels that are cut into segments here.
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
        self.cuts = CutChannels(self.viewers, tasks, capacity=cache_size)
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
        self.responses.capacity = self.cuts.capacity = cache_size
        self.viewers.timeout = viewer_timeout
        self.raw_urls = raw_urls


HLS = web.AppKey("hls", HlsRelay)


@routes.options("/hls/{id}/{name}")
async def permit(_: web.Request) -> web.StreamResponse:
    """Tell a browser that a page from anywhere may ask for parts of this."""
    return web.Response(status=204, headers=PREFLIGHT)


@routes.get("/hls/{id}/playlist.m3u8")
async def watch(request: web.Request) -> web.StreamResponse:
    """Send the playlist of a channel."""
    channel = find_watched(request, request.match_info["id"])
    if channel.transcode and channel.id != request.match_info["id"]:
        # What its playlist refers to is found beside it.
        rest = request.rel_url.without_query_params("profile").raw_query_string
        where = f"{base_url(request)}/hls/{quote(channel.id, safe='')}/playlist.m3u8"
        raise web.HTTPFound(f"{where}?{rest}" if rest else where)
    if channel.transcode:
        _check_container(request, channel.transcode)
    raw = _raw_link(request, Kind.PLAYLIST)
    cuts = request.app[HLS].cuts
    if raw is None and (channel.kind is StreamKind.LIVE or cuts.find(channel)):
        return await serve_playlist(request, channel, cuts)
    return await _serve(request, channel, raw or _entry(channel))


def _check_container(request: web.Request, transcode: Transcode) -> None:
    media_type = media_type_of(request.app[SETTINGS].config, transcode)
    if media_type != TRANSPORT_STREAM.media_type:
        text = f"Profile '{transcode.profile}' makes {media_type}, which is no HLS; it is at /stream/{{id}}"
        raise web.HTTPBadRequest(text=text)


@routes.get("/hls/{id}/{name}")
async def follow(request: web.Request) -> web.StreamResponse:
    """Send what a link leads to."""
    channel = find_channel(request, request.match_info["id"])
    name = request.match_info["name"]
    cut = await serve_segment(request, channel, name, request.app[HLS].cuts)
    if cut is not None:
        return cut
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
            return refusal(410, "this viewer was disconnected")
        try:
            await viewer.hold(channel.upstreams[0].account)
            if link.kind in _PLAYLISTS:
                return await _send_playlist(request, channel, link, viewer)
            return await _send_resource(request, channel, link, viewer)
        except UpstreamNotMedia as error:
            if channel.kind is not None or link != _entry(channel):
                return refusal_of(error)
            # It may be a transport stream, which its broadcast finds out; over a connection of its own.
            viewer.give_back()
            return await serve_playlist(request, channel, relay.cuts)
        except (RangeNotSatisfiable, UpstreamError) as error:
            return refusal_of(error)


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
    return await deliver(request, response, viewer, slices(body))


def _playlist_headers(link: Link, age: float | None) -> dict[str, str]:
    # Without a word on it, a browser would keep it for as long as it sees fit.
    said = {hdrs.CONTENT_TYPE: content_type(link, ""), hdrs.CACHE_CONTROL: "no-cache"}
    return HEADERS | said | ({} if age is None else {hdrs.AGE: str(int(age))})


async def _send_resource(request: web.Request, channel: Channel, link: Link, viewer: HlsViewer) -> web.StreamResponse:
    upstream = replace(channel.upstreams[0], url=link.url)
    demand = _demand(link)
    if link.kind is Kind.PART:
        # What was hinted at may not be there yet: then the upstream holds the request until it is.
        demand = replace(demand, timeout=hold_time(viewer.target_duration))
    async with request.app[HLS].responses.open(_key(channel, link), upstream, wanted_range(request), demand) as reading:
        viewer.watch()
        if link.kind is Kind.SEGMENT:
            viewer.segments += 1
        response = web.StreamResponse(headers=_resource_headers(link, reading.facts, reading.age))
        response.content_length = reading.length
        if reading.span:
            response.set_status(206)
            response.headers[hdrs.CONTENT_RANGE] = reading.span.content_range(reading.size)
        return await deliver(request, response, viewer, reading.pieces())


def _demand(link: Link) -> Demand:
    if link.kind is Kind.KEY:
        return _KEY
    return _ANYTHING if link.kind is Kind.DATA else _MEDIA


def _key(channel: Channel, link: Link) -> Hashable:
    # What is good enough for one purpose must not be taken for what is needed for another.
    return channel.id, link.url, _demand(link)


def _resource_headers(link: Link, facts: Facts | None, age: float = 0) -> dict[str, str]:
    said = {hdrs.CONTENT_TYPE: content_type(link, facts.content_type if facts else ""), hdrs.ACCEPT_RANGES: "bytes"}
    if facts:
        life = "no-store" if link.kind is Kind.KEY else f"max-age={int(facts.age + facts.lifetime)}"
        said |= {hdrs.CACHE_CONTROL: life, hdrs.AGE: str(int(age))}
    return HEADERS | said
