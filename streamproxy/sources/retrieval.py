"""Getting what a playlist names: over as many connections as it takes, each going on where the last one broke off."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import aiohttp
from aiohttp.client_proto import ResponseHandler

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamRefused, UpstreamStalled, UpstreamUnreachable
from streamproxy.formats.byterange import parse_content_range
from streamproxy.formats.hls.model import ByteRange
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.deadlines import CLOCK_RESOLUTION

EXPIRED = frozenset({401, 403, 404, 410})
"""Statuses that mean, among other things, that an address was good for a while only."""

_PIECE = 1 << 16
_READ_AHEAD = 1 << 17
_PROGRESS = 1 << 16
"""Bytes after which a connection that broke counts as the first to do so."""
_ATTEMPTS = 4
_DELAY = 0.5
_MOST_SKIPPED = 64 << 20
"""Bytes fetched for nothing, at most, to get to a part that the server does not send alone."""

Sleep = Callable[[float], Awaitable[None]]
Renew = Callable[[str], Awaitable[str | None]]
"""Finds another address of something, given the one that was refused; None if there is no other."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things may take, and how large they may be.

    Attributes:
        silence: Seconds without a byte after which a connection is given up.
        patience: Seconds that all of it may take, without those in which nobody takes what is there.
        limit: Bytes it may have.
    """

    silence: float
    patience: float = math.inf
    limit: int = 64 << 20


class Retrieval:
    """One resource, or a part of one, to be read once.

    Two connections bring the same bytes of it: what a playlist lists does not change. Where its size does, this fails.
    """

    def __init__(
        self,
        upstream: Upstream,
        client: Client,
        terms: Terms,
        *,
        byte_range: ByteRange | None = None,
        sleep: Sleep = asyncio.sleep,
        renew: Renew | None = None,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: Where it is.
            client: What to ask with.
            terms: What it may take.
            byte_range: The part; None for all.
            sleep: Waits before it is asked for again.
            renew: Asked where the address is refused.
        """
        self._upstream = upstream
        self._client = client
        self._terms = terms
        self._first = byte_range.offset if byte_range else 0
        self._wanted = byte_range.length if byte_range else None
        self._sleep = sleep
        self._renew = renew
        self._position = 0
        self._size: int | None = None
        self._deadline = math.inf

    async def whole(self) -> bytes:
        """Read all of it.

        Raises:
            UpstreamError: It cannot be had.
        """
        async with aclosing(self.pieces()) as pieces:
            return b"".join([piece async for piece in pieces])

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Read it in pieces of at most 64 KiB.

        Raises:
            UpstreamError: It cannot be had, or not all of it.
        """
        self._deadline = _now() + self._terms.patience
        failures: Counter[bool] = Counter()
        while True:
            start = self._position
            try:
                async with aclosing(self._read_once()) as pieces:
                    async for piece in pieces:
                        paused = _now()
                        yield piece
                        self._deadline += _now() - paused
            except _NotToBeHad:
                raise
            except UpstreamError as error:
                if self._position - start >= _PROGRESS:
                    failures.clear()
                # A connection that broke says nothing about how often to believe a refusal.
                refused = isinstance(error, UpstreamRefused)
                failures[refused] += 1
                if failures[refused] >= _attempts(error) or _now() + CLOCK_RESOLUTION >= self._deadline:
                    raise
                await self._prepare_again(error, failures[refused])
            else:
                return

    async def _prepare_again(self, error: UpstreamError, failures: int) -> None:
        # A connection that was dropped is often one that the other side had just given up; the next one works.
        if failures > 1 or isinstance(error, UpstreamRefused | UpstreamUnreachable):
            await self._sleep(_DELAY * 2 ** max(0, failures - 2))
        if self._renew and isinstance(error, UpstreamRefused) and error.status in EXPIRED:
            url = await self._renew(self._upstream.url)
            if url is not None:
                self._upstream = replace(self._upstream, url=url)

    async def _read_once(self) -> AsyncGenerator[bytes, None]:
        async with self._client.open(
            self._upstream, headers=self._headers(), also=(416,), read_ahead=_READ_AHEAD
        ) as response:
            protocol = response.connection.protocol if response.connection else None
            if self._ends_here(response):
                return
            skip = self._begin(response)
            while self._wanted is None or self._position < self._wanted:
                piece = await self._receive(response)
                if not piece:
                    break
                if skip:
                    piece, skip = piece[skip:], max(0, skip - len(piece))
                if self._wanted is not None:
                    piece = piece[: self._wanted - self._position]
                self._position += len(piece)
                if self._position > self._terms.limit:
                    raise self._too_large()
                if piece:
                    yield piece
            self._check_end(protocol)

    def _headers(self) -> dict[str, str]:
        if self._wanted is not None:
            return {"Range": f"bytes={self._first + self._position}-{self._first + self._wanted - 1}"}
        return {"Range": f"bytes={self._position}-"} if self._position else {}

    def _begin(self, response: aiohttp.ClientResponse) -> int:
        """Look at what is answered; return how many bytes of it stand in front of what is wanted."""
        if response.status == 416:
            raise self._not_to_be_had("the upstream has nothing of the part that was asked for")
        if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
            raise self._not_to_be_had("the upstream compressed what was asked for as it is")
        size, skip = response.content_length, self._first + self._position
        if response.status == 206:
            told = parse_content_range(response.headers.get("Content-Range", ""))
            if not told or not told.span or told.span.first != skip:
                raise self._not_to_be_had("the upstream sent another part than was asked for")
            size, skip = told.size, 0
        if skip > _MOST_SKIPPED:
            raise self._not_to_be_had("the upstream cannot send a part of its file")
        if size is not None:
            if self._size not in (None, size):
                raise self._not_to_be_had("the upstream's file changed while it was being read")
            self._size = size
        if (self._wanted if self._wanted is not None else size or 0) > self._terms.limit:
            raise self._too_large()
        return skip

    def _ends_here(self, response: aiohttp.ClientResponse) -> bool:
        """Tell whether the rest is refused because there is none: all had come before the connection broke."""
        if response.status != 416 or self._wanted is not None or not self._position:
            return False
        told = parse_content_range(response.headers.get("Content-Range", ""))
        return told is not None and told.size == self._position

    def _check_end(self, protocol: ResponseHandler | None) -> None:
        """Make sure that the end is one; without a length, a reset looks like it."""
        expected = self._size if self._wanted is None else self._wanted
        if expected is not None and self._position < expected:
            raise UpstreamBroken(self._upstream.label, "the upstream sent less than was asked for")
        # Not its truth: it has the length of a queue of its own, which is empty.
        if expected is None and protocol is not None and isinstance(protocol.exception(), OSError):
            raise UpstreamBroken(self._upstream.label, "the connection to the upstream broke")

    async def _receive(self, response: aiohttp.ClientResponse) -> bytes:
        silence, left = self._terms.silence, self._deadline - _now()
        try:
            async with asyncio.timeout(min(silence, left)):
                return await response.content.read(_PIECE)
        except TimeoutError:
            late = f"the upstream needed more than {self._terms.patience:g} s for a segment"
            silent = f"the upstream was silent for {silence:g} s"
            raise UpstreamStalled(self._upstream.label, silent if silence <= left else late) from None

    def _too_large(self) -> "_NotToBeHad":
        return self._not_to_be_had(f"the upstream sent more than {self._terms.limit >> 10} KiB")

    def _not_to_be_had(self, reason: str) -> "_NotToBeHad":
        return _NotToBeHad(self._upstream.label, reason)


class _NotToBeHad(UpstreamBroken):
    """Asking again would bring the same."""


def _attempts(error: UpstreamError) -> int:
    """Say how often something is asked for in all; who says no to a client's face will do so again."""
    if not isinstance(error, UpstreamRefused):
        return _ATTEMPTS
    return 2 if error.status < 500 else 3


def _now() -> float:
    return asyncio.get_running_loop().time()
