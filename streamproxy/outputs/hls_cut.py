"""HLS of channels that are no HLS: their broadcasts are cut into segments here, in memory, while somebody watches."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import hdrs, web

from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.errors import TranscodingBusy, UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamOffline
from streamproxy.formats.byterange import RangeNotSatisfiable, Span
from streamproxy.formats.hls.cutting import Cutter
from streamproxy.formats.hls.published import TARGET_DURATION, Segment
from streamproxy.formats.links import PLAYLIST_TYPE
from streamproxy.model import TRANSPORT_STREAM, Channel
from streamproxy.outputs.hls_answers import HEADERS, deliver, refusal, refusal_of, slices, wanted_range
from streamproxy.outputs.hls_viewers import HlsViewer, HlsViewers
from streamproxy.playlist.variants import passes_when_full
from streamproxy.tasks import Tasks
from streamproxy.web import BROADCASTS, SETTINGS, base_url, visitor_of

_log = structlog.stdlib.get_logger("streamproxy")

_PATIENCE = 15.0
"""Seconds to wait for the first segment; players give up soon after."""
_CAPACITY = 64 << 20
"""Bytes that a channel keeps at most: a minute at 8 Mbit/s."""
_LIFETIME = 3600
"""Seconds for which a segment may be kept by whoever got it. It never changes, and nothing else has its name."""

_NAME = re.compile(r"([0-9a-f]{8}-)([0-9]{1,12})\.ts")
"""Shorter than any link, so neither is taken for the other."""


class CutChannel:
    """Cuts the broadcast of a channel for as long as somebody watches it.

    When all its viewers have fallen silent it leaves the broadcast, and when one comes back it joins anew. What it had
    cut can be had until the last has left.

    Attributes:
        channel: What is cut.
        prefix: What the names of its segments begin with; another each time, since caches outlive it.
        cutter: Cuts it.
    """

    def __init__(self, channel: Channel, tasks: Tasks, on_empty: Callable[[], object], *, capacity: int) -> None:
        """Prepare, without joining anything.

        Args:
            channel: What to cut.
            tasks: Where it runs.
            on_empty: Called when nobody watches it any more.
            capacity: Bytes that are kept at most.
        """
        self.channel = channel
        self.prefix = f"{secrets.token_hex(4)}-"
        # Who watched before goes on with higher numbers, whatever was forgotten of them here.
        self.cutter = Cutter(capacity=capacity, first_number=int(time.time()))
        self._tasks = tasks
        self._on_empty = on_empty
        self._viewers: set[HlsViewer] = set()
        self._silent: set[HlsViewer] = set()
        self._task: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[None] | None = None

    async def started(self, broadcasts: BroadcastRegistry) -> None:
        """Join the broadcast unless that is done, and wait until there is a segment of it.

        Args:
            broadcasts: Where it runs.

        Raises:
            UpstreamError: It failed, or nothing that can be played has come in time.
        """
        if self._task is None or self._task.done() or self._begun is None:
            begun = self._begun = asyncio.get_running_loop().create_future()
            self._task = self._tasks.start(self._run(broadcasts, begun), name=f"HLS of {self.channel.id}")
            # Whoever waits for what is cancelled, or has failed in a way of its own, does not wait for ever.
            stopped = UpstreamOffline(self.channel.upstreams[0].label, "the channel was stopped")
            self._task.add_done_callback(lambda _: _fail(begun, stopped))
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.shield(self._begun)
        except TimeoutError:
            label = self.channel.upstreams[0].label
            raise UpstreamOffline(label, f"nothing that can be played came within {_PATIENCE:g} s") from None

    def enter(self, viewer: HlsViewer) -> None:
        """Take note that somebody watches it, still or again."""
        self._viewers.add(viewer)
        self._silent.discard(viewer)
        viewer.keep(self)

    def fall_silent(self, viewer: HlsViewer) -> None:
        """Leave the broadcast when all have probably left; see `Shared`."""
        if viewer in self._viewers:
            self._silent.add(viewer)
            self._stop_if_silent()

    def leave(self, viewer: HlsViewer) -> None:
        """Leave the broadcast after the last; see `Shared`."""
        self._viewers.discard(viewer)
        self._silent.discard(viewer)
        self._stop_if_silent()
        if not self._viewers:
            self._on_empty()

    def _stop_if_silent(self) -> None:
        if self._task and self._viewers == self._silent:
            self._task.cancel()
            self._task = None

    async def _run(self, broadcasts: BroadcastRegistry, begun: asyncio.Future[None]) -> None:
        failure: UpstreamError
        try:
            await self._cut(broadcasts, begun)
            failure = UpstreamBroken(self.channel.upstreams[0].label, "the stream ended before anything could be cut")
        except UpstreamError as error:
            failure = error
        _fail(begun, failure)

    async def _cut(self, broadcasts: BroadcastRegistry, begun: asyncio.Future[None]) -> None:
        first = self.cutter.published.next_number
        async with broadcasts.join(self.channel) as reader:
            media_type = reader.format.media_type
            if media_type != TRANSPORT_STREAM.media_type:
                label = self.channel.upstreams[0].label
                raise UpstreamNotMedia(label, f"the upstream sends {media_type}, which cannot be cut")
            _log.info("cutting_started", channel=self.channel.id)
            try:
                while chunk := await reader.get():
                    self.cutter.feed(chunk, time.time())
                    if not begun.done() and self.cutter.published.next_number > first:
                        begun.set_result(None)
            finally:
                self.cutter.finish()
                _log.info("cutting_ended", channel=self.channel.id, segments=self.cutter.published.next_number - first)
        if not begun.done() and self.cutter.published.next_number > first:
            begun.set_result(None)


def _fail(begun: asyncio.Future[None], failure: UpstreamError) -> None:
    if not begun.done():
        begun.set_exception(failure)
        # Nobody may be waiting any more; that is no mistake worth a line in the log.
        begun.exception()


class CutChannels:
    """The channels that are cut, by their ids: those that somebody watches.

    Attributes:
        viewers: Who watches.
        capacity: Bytes that a channel which begins to be cut may keep; it keeps no more than 64 MiB.
    """

    def __init__(self, viewers: HlsViewers, tasks: Tasks, *, capacity: int) -> None:
        """Start with none.

        Args:
            viewers: See above.
            tasks: Where they run.
            capacity: See above.
        """
        self.viewers = viewers
        self.capacity = capacity
        self._tasks = tasks
        self._cuts: dict[str, CutChannel] = {}

    def find(self, channel: Channel) -> CutChannel | None:
        """Return what cuts a channel; None if nobody watches it so."""
        return self._cuts.get(channel.id)

    def of(self, channel: Channel) -> CutChannel:
        """Return what cuts a channel, for somebody to enter at once."""
        cut = self._cuts.get(channel.id)
        if cut is None:

            def forget() -> None:
                del self._cuts[channel.id]

            capacity = min(self.capacity, _CAPACITY)
            cut = self._cuts[channel.id] = CutChannel(channel, self._tasks, forget, capacity=capacity)
        cut.channel = channel
        return cut


async def serve_playlist(request: web.Request, channel: Channel, cuts: CutChannels) -> web.StreamResponse:
    """Send the playlist of a channel that is cut; it begins to be, if need be."""
    response = web.StreamResponse(headers=HEADERS | {hdrs.CONTENT_TYPE: PLAYLIST_TYPE, hdrs.CACHE_CONTROL: "no-cache"})
    if request.method == hdrs.METH_HEAD:
        return response
    with cuts.viewers.visit(channel, visitor_of(request)) as viewer:
        if viewer.stopped:
            return refusal(410, "this viewer was disconnected")
        cut = cuts.of(channel)
        cut.enter(viewer)
        try:
            await cut.started(request.app[BROADCASTS])
        except TranscodingBusy as error:
            transcode = channel.transcode
            if transcode and passes_when_full(request.app[SETTINGS].config, transcode):
                source = quote(transcode.source.id, safe="")
                query = request.rel_url.update_query(profile="none").raw_query_string
                raise web.HTTPFound(f"{base_url(request)}/hls/{source}/playlist.m3u8?{query}") from None
            return refusal_of(error)
        except UpstreamError as error:
            return refusal_of(error)
        if viewer.stopped:
            return refusal(410, "this viewer was disconnected")
        viewer.watch(TARGET_DURATION)
        response.headers["X-Client-ID"], response.headers["X-Stream-ID"] = viewer.id, channel.id
        # With the path: whoever showed their token in another way than in this one asks for segments without it.
        where = f"{urlsplit(base_url(request)).path}/hls/{quote(channel.id, safe='')}/"
        body = cut.cutter.published.playlist(where + cut.prefix).encode()
        response.content_length = len(body)
        return await deliver(request, response, viewer, slices(body))


async def serve_segment(
    request: web.Request, channel: Channel, name: str, cuts: CutChannels
) -> web.StreamResponse | None:
    """Send a segment of a channel that is cut; None if the name is none of such a segment."""
    named = _NAME.fullmatch(name)
    if not named:
        return None
    cut = cuts.find(channel)
    segment = cut.cutter.published.find(int(named[2])) if cut and cut.prefix == named[1] else None
    if cut is None or segment is None:
        return refusal(404, "there is no such segment, or not any more")
    try:
        span, response = _answer(request, segment)
    except RangeNotSatisfiable as error:
        return refusal_of(error)
    if request.method == hdrs.METH_HEAD:
        return response
    with cuts.viewers.visit(channel, visitor_of(request)) as viewer:
        if viewer.stopped:
            return refusal(410, "this viewer was disconnected")
        cut.enter(viewer)
        viewer.watch(TARGET_DURATION)
        viewer.segments += 1
        return await deliver(request, response, viewer, _pieces(segment, span))


def _answer(request: web.Request, segment: Segment) -> tuple[Span, web.StreamResponse]:
    """Begin an answer with a segment, or the part of it that is asked for.

    Raises:
        RangeNotSatisfiable: It has nothing of that.
    """
    said = {
        hdrs.CONTENT_TYPE: TRANSPORT_STREAM.media_type,
        hdrs.CACHE_CONTROL: f"max-age={_LIFETIME}",
        hdrs.ACCEPT_RANGES: "bytes",
    }
    response = web.StreamResponse(headers=HEADERS | said)
    span = Span(0, segment.size - 1)
    # A range has a meaning in GET only (RFC 9110, 14.2).
    wanted = wanted_range(request) if request.method == hdrs.METH_GET else None
    if wanted:
        found = wanted.resolve(segment.size)
        if found is None:
            raise RangeNotSatisfiable(segment.size)
        span = found
        response.set_status(206)
        response.headers[hdrs.CONTENT_RANGE] = span.content_range(segment.size)
    response.content_length = span.size
    return span, response


async def _pieces(segment: Segment, span: Span) -> AsyncGenerator[bytes, None]:
    for piece in segment.read(*span):
        yield piece
