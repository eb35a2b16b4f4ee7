"""A file at a provider, read from any position: one connection at a time, and another for the rest where one breaks."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Self

import aiohttp
import structlog
from aiohttp.client_proto import ResponseHandler

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamRefused, UpstreamStalled
from streamproxy.formats.byterange import ByteRange, RangeNotSatisfiable, Span
from streamproxy.formats.kinds import kind_of_bytes
from streamproxy.formats.mediatypes import is_page
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.filefacts import FileFacts, locate, read_facts

_log = structlog.stdlib.get_logger("streamproxy")

_READ_AHEAD = 1 << 16
"""Bytes that may wait for a viewer before the upstream has to, besides what was read at once. More is no faster, and
lost where he seeks, pauses or leaves."""

_ATTEMPTS = 5
"""Connections in a row that may break before they have brought `_PROGRESS` bytes."""
_PROGRESS = 1 << 16

_GONE = frozenset({404, 410})
_ONE_BYTE = ByteRange(0, 0)


class RemoteFile:
    """One version of a file. If it changes while it is being read, reading fails: two versions are never mixed.

    Attributes:
        facts: What is known of it; None before the first answer. It never changes afterwards.
    """

    def __init__(
        self,
        upstream: Upstream,
        client: Client,
        *,
        stall_timeout: float,
        idle_timeout: float = 60,
        retry_delay: float = 0.5,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: Where it is.
            client: What to ask with.
            stall_timeout: Seconds of silence after which a connection counts as lost.
            idle_timeout: Seconds without being read from after which a connection is closed, until reading goes on.
            retry_delay: Seconds between the second and third attempt; twice as many before each further one.
        """
        self.facts: FileFacts | None = None
        self.upstream = upstream
        self.client = client
        self.stall_timeout = stall_timeout
        self.idle_timeout = idle_timeout
        self.retry_delay = retry_delay

    async def describe(self) -> FileFacts:
        """Ask for the facts alone. Servers that do not answer HEAD as they should are asked for one byte.

        Raises:
            UpstreamError: Neither was answered.
        """
        try:
            async with self.client.open(self.upstream, method="HEAD") as response:
                facts = read_facts(response.status, response.headers, None, self.upstream)
            if facts.size is not None:
                self.facts = facts
                return facts
        # An empty file is what a script says to have that never thought of HEAD.
        except (UpstreamBroken, UpstreamNotMedia, UpstreamRefused, UpstreamStalled) as error:
            _log.debug("head_failed", upstream=error.label, reason=error.reason)
        return await self.probe()

    async def probe(self) -> FileFacts:
        """Ask for one byte, to learn the facts and whether parts can be had.

        Raises:
            UpstreamError: It was not answered.
        """
        async with self.open(_ONE_BYTE) as reading:
            return reading.facts

    def open(self, wanted: ByteRange | None = None) -> "Reading":
        """Read a part, or all of it.

        Args:
            wanted: Which part; None for all, asked for without a range.
        """
        return Reading(self, wanted)


class Reading:
    """A part of a file, as it arrives; an async context manager, entered when its first bytes are there.

    Iterating gives it in pieces as the upstream's connection does. Either all of `span` comes, or an error.

    Attributes:
        span: What of the file it is; None for all of it, up to an end that is not known before it comes.
    """

    def __init__(self, file: RemoteFile, wanted: ByteRange | None) -> None:
        self.span: Span | None = None
        self._file = file
        self._wanted = wanted
        self._begun = False
        self._position = 0
        self._pieces = self._read()
        self._first = b""

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            RangeNotSatisfiable: The file has nothing of what is wanted.
            UpstreamError: It cannot be had, or not from there on.
        """
        self._first = await anext(self._pieces, b"")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pieces.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Give the next piece.

        Raises:
            UpstreamError: The rest cannot be had.
        """
        if self._first:
            first, self._first = self._first, b""
            return first
        return await anext(self._pieces)

    @property
    def facts(self) -> FileFacts:
        """What is known of the file."""
        assert self._file.facts is not None  # they came with the first bytes
        return self._file.facts

    async def _read(self) -> AsyncGenerator[bytes, None]:
        """Read over as many connections as it takes."""
        failures = 0
        while not self._complete:
            start = self._position
            try:
                async with aclosing(self._read_once()) as pieces:
                    async for piece in pieces:
                        self._position += len(piece)
                        yield piece
                if self.span is None:
                    return
            except UpstreamError as error:
                failures = 1 if self._position - start >= _PROGRESS else failures + 1
                if not self._may_go_on(error) or failures > _ATTEMPTS:
                    raise
                _log.info("upstream_resumed", upstream=error.label, reason=error.reason, position=self._position)
                await asyncio.sleep(self._file.retry_delay * 2 ** (failures - 2) if failures > 1 else 0)

    @property
    def _may_rest(self) -> bool:
        """Whether the connection can be closed and the rest asked for later."""
        return self.span is not None and self.facts.identifiable

    @property
    def _complete(self) -> bool:
        return self._begun and self.span is not None and self._position > self.span.last

    def _may_go_on(self, error: UpstreamError) -> bool:
        """Tell whether to ask again: only for a version already promised to somebody, and while there is hope."""
        if isinstance(error, _FileChanged | UpstreamNotMedia):
            return False
        if isinstance(error, UpstreamRefused) and error.status in _GONE:
            return False
        facts = self._file.facts
        return facts is not None and facts.identifiable and (self.span is not None or not self._begun)

    async def _read_once(self) -> AsyncGenerator[bytes, None]:
        """Read over one connection, until all is there, or nobody wants more for a while."""
        file = self._file
        wanted = ByteRange(self._position, self.span.last) if self.span else self._wanted
        unknown = file.facts is None
        async with file.client.open(
            file.upstream, headers=self._headers(wanted), also=(416,), read_ahead=_READ_AHEAD
        ) as response:
            protocol = response.connection.protocol if response.connection else None
            position = self._begin(response.status, response.headers, wanted)
            while self.span is None or position <= self.span.last:
                data = await self._receive(response)
                if not data:
                    break
                if unknown and position == 0 and is_page(data):
                    kind = kind_of_bytes(data)
                    raise UpstreamNotMedia(file.upstream.label, "the upstream sent a text, not a media file", kind)
                start = max(0, self._position - position)
                piece = data[start : None if self.span is None else self.span.last + 1 - position]
                position += len(data)
                if not piece:  # still on the way there
                    continue
                with _Idle(response, file.idle_timeout if self._may_rest else None) as idle:
                    yield piece
                if idle.closed:
                    return
            if self.span is None and _broke(protocol):
                raise UpstreamBroken(file.upstream.label, "the connection to the upstream broke")
            if self.span is None and not position:
                raise UpstreamNotMedia(file.upstream.label, "the upstream's file is empty")
            if self.span is not None and not self._complete:
                raise UpstreamBroken(file.upstream.label, "the upstream sent less of the file than it was asked for")

    def _headers(self, wanted: ByteRange | None) -> dict[str, str]:
        if wanted is None:
            return {}
        version = self._file.facts and self._file.facts.validators.strong
        return {"Range": str(wanted), "If-Range": version} if version else {"Range": str(wanted)}

    def _begin(self, status: int, headers: Mapping[str, str], wanted: ByteRange | None) -> int:
        """Take in what was answered; return where in the file its body begins."""
        file = self._file
        known = file.facts
        try:
            facts = read_facts(status, headers, wanted, file.upstream)
            if known and not known.agree(facts):
                raise _FileChanged(file.upstream.label, "the file at the upstream changed while it was being sent")
            first, span = locate(status, headers, wanted, file.upstream)
        except RangeNotSatisfiable:
            if known:
                raise _FileChanged(file.upstream.label, "the file at the upstream became shorter") from None
            raise
        if not known:
            file.facts = facts
        if not self._begun:
            self._begun = True
            self.span = span
            self._position = span.first if span else 0
        return first

    async def _receive(self, response: aiohttp.ClientResponse) -> bytes:
        """Wait for what comes next; nothing at the end."""
        try:
            async with asyncio.timeout(self._file.stall_timeout):
                # As it came from the socket, without copying it; between chunks of HTTP there may be nothing.
                data, between = await response.content.readchunk()
                while between and not data:
                    data, between = await response.content.readchunk()
                return data
        except TimeoutError:
            silent = f"the upstream was silent for {self._file.stall_timeout:g} s"
            raise UpstreamStalled(self._file.upstream.label, silent) from None


class _FileChanged(UpstreamBroken):
    """What the upstream has now is not the rest of what it had."""


class _Idle:
    """Closes a connection to an upstream if a block takes too long: a viewer who pauses shall not hold it.

    Attributes:
        closed: Whether it did.
    """

    def __init__(self, response: aiohttp.ClientResponse, timeout: float | None) -> None:
        self.closed = False
        self._response = response
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if self._timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(self._timeout, self._close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer:
            self._timer.cancel()

    def _close(self) -> None:
        # Where all has arrived, nothing is held any more.
        if self._response.connection is not None:
            self.closed = True
            self._response.close()


def _broke(protocol: ResponseHandler | None) -> bool:
    """Tell whether a body ended with a reset, which reads as its end where it has no length."""
    # Not its truth: it has the length of a queue of its own, which is empty.
    return protocol is not None and isinstance(protocol.exception(), OSError)
