"""The documentation of the API as a page: `/docs`, made of files that come with the program.

All addresses in it are relative, so that it works wherever a reverse proxy puts it.
"""

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

routes = web.RouteTableDef()

_FOLDER = Path(__file__).resolve().parents[1] / "static"
_TYPES = {
    "docs.css": "text/css; charset=utf-8",
    "docs.html": "text/html; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "rapidoc-min.js": "text/javascript; charset=utf-8",
}
"""The files that are served, and what they are; nothing else is ever looked for in the file system."""

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        # RapiDoc's elements have styles of their own in them.
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    hdrs.VARY: hdrs.ACCEPT_ENCODING,
}
_A_YEAR = "public, max-age=31536000, immutable"
"""For what is asked for with its version."""
_A_DAY = "public, max-age=86400"
_WORTH_PACKING = 1 << 10


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, ready to be sent.

    Attributes:
        body: What is in it.
        packed: The same, gzipped; None where that is not worth while.
        media_type: What it is.
        version: Tells it from other versions of itself.
    """

    body: bytes
    packed: bytes | None
    media_type: str
    version: str


class Assets:
    """The files, read when they are asked for the first time."""

    def __init__(self) -> None:
        self._read: dict[str, asyncio.Task[Asset]] = {}

    async def get(self, name: str) -> Asset | None:
        """Return a file; None if there is none of this name."""
        if name not in _TYPES:
            return None
        task = self._read.get(name)
        if task is None:
            task = self._read[name] = asyncio.create_task(asyncio.to_thread(_read, name), name=f"read {name}")
        return await asyncio.shield(task)


ASSETS = web.AppKey("assets", Assets)


@routes.get("/docs")
async def docs(request: web.Request) -> web.StreamResponse:
    """Send the page."""
    return await _send(request, "docs.html", "no-cache")


@routes.get("/redoc")
async def redoc(_: web.Request) -> web.StreamResponse:
    """Lead to the page from where m3u-proxy has another."""
    return _moved("docs")


@routes.get("/docs/")
@routes.get("/redoc/")
async def docs_below(_: web.Request) -> web.StreamResponse:
    """Lead to the page from where the addresses in it would lead elsewhere."""
    return _moved("../docs")


@routes.get("/static/{name}")
async def static(request: web.Request) -> web.StreamResponse:
    """Send a file that pages are made of."""
    return await _send(request, request.match_info["name"], _A_YEAR if request.query_string else _A_DAY)


@routes.get("/favicon.ico")
async def icon(request: web.Request) -> web.StreamResponse:
    """Send the picture that browsers show beside a page's name."""
    return await _send(request, "icon.svg", _A_DAY)


def _moved(where: str) -> web.StreamResponse:
    # Not the exception of the library, which would make the address absolute.
    return web.Response(status=307, headers={hdrs.LOCATION: where, hdrs.CACHE_CONTROL: "no-cache"})


async def _send(request: web.Request, name: str, caching: str) -> web.StreamResponse:
    asset = await request.app[ASSETS].get(name)
    if asset is None:
        raise web.HTTPNotFound(text="Not Found")
    headers = {**_HEADERS, hdrs.ETAG: f'W/"{asset.version}"', hdrs.CACHE_CONTROL: caching}
    if any(known.value in (asset.version, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = asset.media_type
    if asset.packed and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        return web.Response(body=asset.packed, headers=headers | {hdrs.CONTENT_ENCODING: "gzip"})
    return web.Response(body=asset.body, headers=headers)


def _read(name: str) -> Asset:
    body = (_FOLDER / name).read_bytes()
    if name.endswith(".html"):
        body = _with_versions(body)
    packed = gzip.compress(body, 6, mtime=0) if len(body) > _WORTH_PACKING else None
    return Asset(body, packed, _TYPES[name], hashlib.sha256(body).hexdigest()[:16])


def _with_versions(page: bytes) -> bytes:
    """Have a page ask for each file with its version, so that browsers may keep them for as long as they like."""
    for name in _TYPES:
        address = f'"static/{name}"'.encode()
        if address in page:
            version = hashlib.sha256((_FOLDER / name).read_bytes()).hexdigest()[:16]
            page = page.replace(address, f'"static/{name}?{version}"'.encode())
    return page
