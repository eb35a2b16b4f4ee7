"""The list of channels for players: `/playlist.m3u`, and the same under `/playlist.m3u8`."""

import asyncio
import contextlib
import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Callable

from aiohttp import web

from streamproxy.web import LIBRARY, SETTINGS, base_url

routes = web.RouteTableDef()

_HEADERS = {
    "Content-Type": "audio/x-mpegurl; charset=utf-8",
    "Content-Disposition": 'inline; filename="playlist.m3u"',
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding, Host",
    "Access-Control-Allow-Origin": "*",
}

_WORTH_PACKING = 1 << 12
"""Bytes from which on a list is sent gzipped to those who take it."""

_SLOW_TO_PACK = 1 << 20
"""Bytes from which on packing takes so long that it is done while the first who ask get the list as it is."""

_AS_STREAMS = frozenset({"ts", "mpegts"})

_PART = 1 << 20
"""Bytes written at a time."""

_KEPT = 4
"""Written lists to keep: a household reaches the proxy at two or three addresses."""


class WrittenLists:
    """The lists as they were last sent, so that asking again costs nothing."""

    def __init__(self) -> None:
        self._plain: OrderedDict[str, bytes] = OrderedDict()
        self._packed: dict[str, asyncio.Task[bytes]] = {}

    def plain(self, tag: str, write: Callable[[], bytes]) -> bytes:
        """Return the list of this tag; write it if it is not there."""
        body = self._plain.get(tag)
        if body is None:
            body = self._plain[tag] = write()
            while len(self._plain) > _KEPT:
                oldest, _ = self._plain.popitem(last=False)
                self._packed.pop(oldest, None)
        self._plain.move_to_end(tag)
        return body

    async def packed(self, tag: str, body: bytes) -> bytes | None:
        """Return the list of this tag gzipped, or None if it is large and not packed yet."""
        task = self._packed.get(tag)
        if task is None:
            task = self._packed[tag] = asyncio.create_task(asyncio.to_thread(_pack, body), name="pack playlist")
        if len(body) > _SLOW_TO_PACK and not task.done():
            return None
        return await asyncio.shield(task)


WRITTEN_LISTS = web.AppKey("written_lists", WrittenLists)


@routes.get("/playlist.m3u")
@routes.get("/playlist.m3u8")
async def playlist(request: web.Request) -> web.StreamResponse:
    """Send the list, written for the address that this client reaches the proxy at.

    `?group=` asks for one group of it, `?output=ts` and `?output=hls` for HLS channels in that form.
    """
    catalog = request.app[LIBRARY].catalog
    base = base_url(request)
    group = request.query.get("group")
    as_streams = request.query.get("output", request.app[SETTINGS].config.hls.output) in _AS_STREAMS
    tag = _tag(catalog.version, base, group, as_streams)
    headers = _HEADERS | {"ETag": f'W/"{tag}"'}
    if any(known.value in (tag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    written = request.app[WRITTEN_LISTS]
    body = written.plain(tag, lambda: catalog.render(base, group, as_streams=as_streams))
    if len(body) > _WORTH_PACKING and _takes_gzip(request):
        packed = await written.packed(tag, body)
        if packed is not None:
            return await _send(request, packed, headers | {"Content-Encoding": "gzip"})
    return await _send(request, body, headers)


async def _send(request: web.Request, body: bytes, headers: dict[str, str]) -> web.StreamResponse:
    """Send a body in parts, as fast as the client takes them: in one part, the library would copy it whole for each."""
    if request.method == "HEAD" or len(body) <= _PART:
        return web.Response(body=body, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    view = memoryview(body)
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(body), _PART):
            await response.write(view[start : start + _PART])
    return response


def _takes_gzip(request: web.Request) -> bool:
    """Tell whether the client takes gzip (RFC 9110, 12.5.3)."""
    for coding in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() in ("gzip", "x-gzip"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _tag(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def _pack(body: bytes) -> bytes:
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(body) + packer.flush()
