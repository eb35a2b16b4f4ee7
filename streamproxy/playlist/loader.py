"""One list: from its address or path, through decompression and decoding, to its entries."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from streamproxy.config import PlaylistConfig
from streamproxy.errors import PlaylistError, UpstreamError
from streamproxy.formats import m3u
from streamproxy.model import Upstream

MAX_SIZE = 64 << 20
"""Bytes of a list, unpacked; 100,000 entries are about 28 MB."""

Fetch = Callable[[Upstream, float], Awaitable[bytes]]
"""Downloads an upstream whole, within so many seconds. Raises UpstreamError."""


@dataclass(frozen=True, slots=True)
class LoadedList:
    """A list that can be used.

    Attributes:
        settings: What the configuration says of it.
        body: Its bytes, unpacked.
        playlist: Its entries.
    """

    settings: PlaylistConfig
    body: bytes
    playlist: m3u.Playlist


async def load(settings: PlaylistConfig, fetch: Fetch) -> LoadedList:
    """Fetch a list and read it; off the event loop what takes long.

    Raises:
        PlaylistError: It cannot be had, or holds no channel.
    """
    try:
        if settings.path is None:
            upstream = Upstream(settings.url, settings.name, settings.request_headers)
            body = await fetch(upstream, settings.timeout)
        else:
            body = await asyncio.to_thread(_read, settings.path)
    except UpstreamError as error:
        raise PlaylistError(f"{settings.name}: {error.reason}") from error
    except OSError as error:
        raise PlaylistError(f"{settings.name}: {error.strerror}: {settings.path}") from error
    return await asyncio.to_thread(read, settings, body)


def read(settings: PlaylistConfig, body: bytes) -> LoadedList:
    """Make something of a list's bytes.

    Raises:
        PlaylistError: They hold no channel.
    """
    body = _unpack(body, settings.name)
    base = settings.url if settings.path is None else ""
    playlist = m3u.parse(m3u.decode(body, settings.encoding).text, base=base)
    if playlist.is_hls:
        raise PlaylistError(
            f"{settings.name}: this is one HLS stream, not a list of channels; put its address under 'streams'"
        )
    if not playlist.entries:
        skipped = ", ".join(f"{count} x {reason}" for reason, count in playlist.skipped.items())
        raise PlaylistError(f"{settings.name}: no channel in it" + (f" ({skipped})" if skipped else ""))
    return LoadedList(settings, body, playlist)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SIZE + 1)


def _unpack(body: bytes, name: str) -> bytes:
    """Undo gzip, which lists come in whether or not their headers say so; sometimes twice."""
    for _ in range(2):
        if not body.startswith(b"\x1f\x8b"):
            break
        unpacker = zlib.decompressobj(wbits=31)
        try:
            body = unpacker.decompress(body, MAX_SIZE + 1)
        except zlib.error:
            raise PlaylistError(f"{name}: damaged gzip data") from None
    if len(body) > MAX_SIZE:
        raise PlaylistError(f"{name}: more than {MAX_SIZE >> 20} MiB")
    return body
