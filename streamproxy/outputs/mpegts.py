"""Live MPEG-TS for players: `/stream/{id}`, `/stream/{id}.ts` and, for the configuration's own streams, `/{name}`."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import Sequence

import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from streamproxy.broadcast.broadcast import Feed
from streamproxy.broadcast.reader import Reader
from streamproxy.errors import TranscodingBusy, UpstreamError, UpstreamNotMedia
from streamproxy.formats.mpegts import Entry
from streamproxy.model import Channel, RelayMode, StreamKind
from streamproxy.outputs.vod import serve_file
from streamproxy.playlist.variants import media_type_of, passes_when_full
from streamproxy.web import AUDIENCE, BROADCASTS, OPEN_FEED, SETTINGS, find_watched, visitor_of

routes = web.RouteTableDef()

_log = structlog.stdlib.get_logger("streamproxy")

_HEADERS = {
    "Content-Type": "video/mp2t",
    "Cache-Control": "no-store",
    "Accept-Ranges": "none",
    "Access-Control-Allow-Origin": "*",
    # nginx would buffer the stream
    "X-Accel-Buffering": "no",
}

_HIGH_WATER = 1 << 18
"""Bytes held for a viewer beyond what the kernel holds, before it counts as behind; references, not copies."""

_FLUSH_TIME = 1.0
"""Seconds that a viewer has, once its stream has ended, to take what is on its way."""


class LiveResponse(web.StreamResponse):
    """A body without length that ends with its connection: no chunk headers, so each write is one bytes object."""

    _length_check = False

    def __init__(self) -> None:
        super().__init__(headers=_HEADERS)
        self.force_close()


class Connection:
    """One viewer's connection: what is written goes to the kernel at once, and back-pressure is this viewer's alone.

    Attributes:
        sent: Bytes written to it.
    """

    __slots__ = ("_stuck_timeout", "_transport", "_writer", "sent")

    def __init__(self, transport: asyncio.Transport, writer: AbstractStreamWriter, *, stuck_timeout: float) -> None:
        """Wrap a connection on which a response has begun.

        Args:
            transport: Where to write.
            writer: What the response was begun with.
            stuck_timeout: Seconds without a single byte taken after which the viewer is dropped.
        """
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.sent = 0
        self._transport = transport
        self._writer = writer
        self._stuck_timeout = stuck_timeout

    @property
    def full(self) -> bool:
        """Whether more is waiting than should be."""
        return self._transport.get_write_buffer_size() > _HIGH_WATER

    def write(self, data: bytes, /) -> bool:
        """Send; tell whether there is room for more.

        To a connection that is gone this does nothing: its handler is about to be cancelled.
        """
        transport = self._transport
        if not transport.is_closing():
            transport.write(data)
            self.sent += len(data)
        return transport.get_write_buffer_size() <= _HIGH_WATER

    def close(self) -> None:
        """End it, once what waits is sent; what is written from now on is not."""
        self._transport.close()

    async def drain(self) -> None:
        """Wait until the viewer has taken what waits in this process.

        Raises:
            ConnectionResetError: It took nothing for too long and was dropped, or it went away.
        """
        while self.full:
            await self._drain(self._stuck_timeout)

    async def finish(self) -> None:
        """Let the viewer have what is on its way; one that does not take it is cut off."""
        self._transport.set_write_buffer_limits(high=0)
        with contextlib.suppress(ConnectionResetError):
            await self._drain(_FLUSH_TIME)

    async def _drain(self, patience: float) -> None:
        """Wait until the transport wants more; break the connection off when the viewer takes nothing for so long."""
        draining = asyncio.ensure_future(self._writer.drain())
        try:
            backlog = self._backlog()
            # Waiting with a timeout would cancel the future that the library keeps for its next drain.
            while not (await asyncio.wait([draining], timeout=patience))[0]:
                before, backlog = backlog, self._backlog()
                if backlog >= before:
                    self._break_off()
                    raise ConnectionResetError("the viewer is stuck")
            if draining.exception():
                raise ConnectionResetError("the viewer is gone")
        finally:
            draining.cancel()

    def _break_off(self) -> None:
        """Reset the connection: a proper end would wait, in the kernel, for the very viewer that does not read."""
        connection = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _backlog(self) -> int:
        """Count what the viewer has yet to acknowledge, in this process and in the kernel."""
        unacknowledged = 0
        with contextlib.suppress(OSError):
            descriptor = self._transport.get_extra_info("socket").fileno()
            (unacknowledged,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        return self._transport.get_write_buffer_size() + int(unacknowledged)


class SharedViewer:
    """A viewer who shares a channel's stream with others."""

    __slots__ = ("_connection", "_reader")
    segments = 0

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader

    @property
    def sent(self) -> int:
        """Bytes written to it."""
        return self._connection.sent

    @property
    def lag(self) -> int:
        """Chunks that wait for it."""
        return self._reader.lag

    @property
    def overruns(self) -> int:
        """Times that it was lapped."""
        return self._reader.overruns

    @property
    def skipped(self) -> int:
        """Bytes that it lost that way."""
        return self._reader.skipped

    def stop(self) -> None:
        """End it."""
        self._connection.close()


class DirectViewer:
    """The taker of a feed that serves one viewer alone: the answer begins with the first bytes."""

    segments = lag = overruns = skipped = 0

    def __init__(self, request: web.Request, response: LiveResponse, feed: Feed) -> None:
        self.connection: Connection | None = None
        self._request = request
        self._response = response
        self._feed = feed
        self._first: list[bytes] = []

    @property
    def sent(self) -> int:
        """Bytes written to it."""
        return self.connection.sent if self.connection else 0

    def stop(self) -> None:
        """End it."""
        if self._request.transport:
            self._request.transport.close()

    def write(self, data: bytes, entries: Sequence[Entry] = (), /) -> None:
        """Send, or keep until the answer has begun."""
        if self.connection:
            self.connection.write(data)
        else:
            self._first.append(data)

    @property
    def full(self) -> bool:
        """Whether the answer has yet to begin, or the viewer is behind."""
        return bool(self._first) if self.connection is None else self.connection.full

    async def drain(self) -> None:
        """Begin the answer if need be; then wait until the viewer has room."""
        if not self.connection:
            if not self._first:
                return
            form = self._feed.format
            self._response.headers["Content-Type"] = form.media_type
            self.connection = await _begin(self._request, self._response)
            for data in (form.header, *self._first):
                self.connection.write(data)
            self._first.clear()
        await self.connection.drain()


@routes.get("/stream/{id}", allow_head=False)
async def watch(request: web.Request) -> web.StreamResponse:
    """Stream a channel for as long as its viewer stays."""
    return await _serve(request, find_watched(request, request.match_info["id"]))


@routes.get("/{name}", allow_head=False)
async def watch_by_name(request: web.Request) -> web.StreamResponse:
    """Stream one of the configuration's own streams, at the address that StreamPipe gives it."""
    return await _serve(request, _named(request))


@routes.head("/stream/{id}")
async def probe(request: web.Request) -> web.StreamResponse:
    """Say what a channel would be, without opening it: players ask before they watch, and providers count.

    Of a file, length and type are asked for; that costs no stream.
    """
    return await _probe(request, find_watched(request, request.match_info["id"]))


@routes.head("/{name}")
async def probe_by_name(request: web.Request) -> web.StreamResponse:
    """Say what a stream would be, without opening it."""
    return await _probe(request, _named(request))


def _named(request: web.Request) -> Channel:
    name = request.match_info["name"]
    stream = request.app[SETTINGS].config.streams.get(name)
    if stream is None:
        raise web.HTTPNotFound(text="Not Found")
    if not stream.url:
        raise web.HTTPInternalServerError(text=f"No URL configured for stream '{name}'")
    return find_watched(request, name)


async def _probe(request: web.Request, channel: Channel) -> web.StreamResponse:
    if channel.kind is StreamKind.FILE:
        return await serve_file(request, channel)
    response = web.Response(headers=_HEADERS)
    if channel.transcode:
        response.headers["Content-Type"] = media_type_of(request.app[SETTINGS].config, channel.transcode)
    return response


async def _serve(request: web.Request, channel: Channel) -> web.StreamResponse:
    if channel.kind is StreamKind.FILE:
        return await serve_file(request, channel)
    serve = _serve_alone if channel.mode is RelayMode.DIRECT else _serve_shared
    try:
        return await serve(request, channel, LiveResponse())
    except UpstreamNotMedia as error:
        if channel.kind is None and error.kind == StreamKind.FILE:
            return await serve_file(request, channel)
        raise
    except TranscodingBusy:
        if channel.transcode and passes_when_full(request.app[SETTINGS].config, channel.transcode):
            return await _serve(request, channel.transcode.source)
        raise


async def _serve_shared(request: web.Request, channel: Channel, response: LiveResponse) -> web.StreamResponse:
    came = asyncio.get_running_loop().time()
    async with request.app[BROADCASTS].join(channel) as reader:
        response.headers["Content-Type"] = reader.format.media_type
        try:
            connection = await _begin(request, response)
        except ConnectionError:
            return response
        audience = request.app[AUDIENCE]
        waited = asyncio.get_running_loop().time() - came
        audience.first_byte.add(waited)
        if reader.decodable:
            audience.key_frame.add(waited)
        with audience.attend(channel, visitor_of(request), SharedViewer(connection, reader)):
            _log.info("viewer_joined", channel=channel.id, client=request.remote)
            try:
                if reader.format.header:
                    connection.write(reader.format.header)
                await reader.feed(connection)
                await connection.finish()
            except ConnectionError:
                pass  # a viewer who goes away while being written to: the ordinary end of watching
            finally:
                lost = {"overruns": reader.overruns, "skipped": reader.skipped}
                _log.info("viewer_left", channel=channel.id, client=request.remote, sent=connection.sent, **lost)
    return response


async def _serve_alone(request: web.Request, channel: Channel, response: LiveResponse) -> web.StreamResponse:
    feed = request.app[OPEN_FEED](channel)
    viewer = DirectViewer(request, response, feed)
    log = _log.bind(channel=channel.id, client=request.remote)
    with request.app[AUDIENCE].attend(channel, visitor_of(request), viewer):
        try:
            await feed.run(viewer)
            if viewer.connection:
                await viewer.connection.finish()
        except ConnectionError:
            pass
        except UpstreamError as error:
            log.warning("upstream_failed", upstream=error.label, reason=error.reason)
            if not viewer.connection:
                raise
            await viewer.connection.finish()
        finally:
            log.info("viewer_left", sent=viewer.sent)
    return response


async def _begin(request: web.Request, response: LiveResponse) -> Connection:
    """Send the headers.

    Raises:
        ConnectionResetError: The viewer is gone.
    """
    try:
        writer = await response.prepare(request)
    except ConnectionError:
        # The library's own class is also one of a client's errors, for which an upstream would be blamed.
        raise ConnectionResetError("the viewer is gone") from None
    if request.transport is None or writer is None:
        raise ConnectionResetError("the viewer is gone")
    return Connection(request.transport, writer, stuck_timeout=request.app[SETTINGS].config.relay.stuck_timeout)
