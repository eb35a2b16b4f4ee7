"""The media that a playlist names: segments and initialization sections, fetched and decrypted."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia
from streamproxy.formats.hls.decryption import Decryption, NotDecryptable, sequence_iv, unusable
from streamproxy.formats.hls.model import ByteRange, Key, Map, MediaSegment
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.hls_playlist import PlaylistLoader
from streamproxy.sources.retrieval import Renew, Retrieval, Sleep, Terms

_KEPT = 16
"""Keys, and initialization sections, that are kept."""
_LARGEST_KEY = 1 << 10
_LARGEST_HEADER = 1 << 20

_Name = TypeVar("_Name", bound=Hashable)


class Media:
    """Fetches what the playlists of one upstream name, with the headers of that upstream."""

    def __init__(
        self, upstream: Upstream, client: Client, *, addresses: PlaylistLoader, silence: float, sleep: Sleep
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: Whose headers and label are used.
            client: What to ask with.
            addresses: Knows the newest address of a segment.
            silence: Seconds without a byte after which a connection is given up.
            sleep: Waits before something is asked for again.
        """
        self._upstream = upstream
        self._client = client
        self._silence = silence
        self._addresses = addresses
        self._sleep = sleep
        self._keys = LastFew(self._fetch_key, size=_KEPT)
        self._headers = LastFew(self._fetch_header, size=_KEPT)

    async def segment(self, segment: MediaSegment, terms: Terms) -> AsyncGenerator[bytes, None]:
        """Fetch a segment, piece by piece; one that is a gap has none.

        Raises:
            UpstreamError: It cannot be had, or not all of it. What is wrong with its padding shows only at the end.
        """
        if segment.gap:
            return
        if segment.broken:
            raise UpstreamNotMedia(self._upstream.label, f"a segment cannot be fetched: {segment.broken}")

        decryption = await self._decryption(segment.key, segment.sequence)
        retrieval = self._retrieval(
            self._addresses.address(segment), segment.byte_range, terms, partial(self._addresses.renew, segment)
        )
        async with aclosing(retrieval.pieces()) as pieces:
            async for piece in pieces:
                plain = decryption.feed(piece) if decryption else piece
                if plain:
                    yield plain
        if decryption and (rest := self._finished(decryption)):
            yield rest

    async def header(self, section: Map, sequence: int) -> bytes:
        """Fetch an initialization section, or remember it.

        Args:
            section: Which.
            sequence: The number of the segment behind it.

        Raises:
            UpstreamError: It cannot be had.
        """
        # An encrypted one must have an initialization vector (4.4.4.5). Players that bear its absence use the number.
        has_vector = section.key is None or section.key.iv is not None
        return await self._headers.get((section, 0 if has_vector else sequence))

    async def _fetch_header(self, name: tuple[Map, int]) -> bytes:
        section, sequence = name
        if not section.url:
            raise UpstreamNotMedia(self._upstream.label, "an initialization section has no address of http or https")
        terms = Terms(self._silence, limit=_LARGEST_HEADER)
        data = await self._retrieval(section.url, section.byte_range, terms).whole()
        decryption = await self._decryption(section.key, sequence)
        return decryption.feed(data) + self._finished(decryption) if decryption else data

    async def _decryption(self, key: Key | None, sequence: int) -> Decryption | None:
        if key is None:
            return None
        if reason := unusable(key):
            raise UpstreamNotMedia(self._upstream.label, reason)
        secret = await self._keys.get(key.url)
        return Decryption(secret, key.iv if key.iv is not None else sequence_iv(sequence))

    def _finished(self, decryption: Decryption) -> bytes:
        try:
            return decryption.finish()
        except NotDecryptable as error:
            raise UpstreamBroken(self._upstream.label, f"a segment cannot be decrypted: {error}") from None

    async def _fetch_key(self, url: str) -> bytes:
        terms = Terms(self._silence, limit=_LARGEST_KEY)
        try:
            secret = await self._retrieval(url, None, terms).whole()
            Decryption(secret, sequence_iv(0))
        except NotDecryptable as error:
            raise UpstreamNotMedia(self._upstream.label, f"a segment cannot be decrypted: {error}") from None
        except UpstreamError as error:
            raise UpstreamBroken(self._upstream.label, f"the key of a segment cannot be had: {error.reason}") from error
        return secret

    def _retrieval(self, url: str, byte_range: ByteRange | None, terms: Terms, renew: Renew | None = None) -> Retrieval:
        upstream = replace(self._upstream, url=url)
        return Retrieval(upstream, self._client, terms, byte_range=byte_range, sleep=self._sleep, renew=renew)


class LastFew(Generic[_Name]):
    """Fetches each thing once, however many ask for it at the same time, and keeps those that were asked for last."""

    def __init__(self, fetch: Callable[[_Name], Awaitable[bytes]], *, size: int) -> None:
        """Start empty.

        Args:
            fetch: Fetches one.
            size: How many are kept.
        """
        self._fetch = fetch
        self._size = size
        self._entries: dict[_Name, _Entry] = {}

    async def get(self, name: _Name) -> bytes:
        """Fetch something, or remember it. What failed is fetched again; it raises what that raises."""
        entry = self._entries.pop(name, None) or _Entry()
        self._entries[name] = entry
        while len(self._entries) > self._size:
            del self._entries[next(iter(self._entries))]
        async with entry.fetching:
            if entry.data is None:
                entry.data = await self._fetch(name)
            return entry.data


class _Entry:
    def __init__(self) -> None:
        self.fetching = asyncio.Lock()
        self.data: bytes | None = None
