"""Answers of upstreams: fetched once for all who want them, passed on while they arrive, and kept for a while."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import structlog

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamStalled
from streamproxy.formats.byterange import ByteRange, RangeNotSatisfiable, Span
from streamproxy.formats.packing import DamagedError, Unpacker
from streamproxy.model import Upstream
from streamproxy.outputs.transfer import Facts, Transfer
from streamproxy.sources.client import Client
from streamproxy.tasks import Tasks

_log = structlog.stdlib.get_logger("streamproxy")

_PIECE = 1 << 16
_READ_AHEAD = 1 << 17

_PATIENCE = 10.0
"""Seconds for the rest of what nobody waits for any more."""

_WHOLE = ByteRange(0, None)

_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"#extm3u")
_PAGE_BLANKS = b"\xef\xbb\xbf \t\r\n"
_PAGE_START = 512


class NoRoom(UpstreamError):
    """The memory there is for answers is taken by those that others are reading."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What an answer has to be like to be passed on.

    Attributes:
        sizes: Bytes that its body may have; None for any number. What is restricted like this is passed on only when it
            is there whole, so they should be few.
        page: Whether it may be a text that stands in for media: an HTML page, or a playlist.
        timeout: Seconds for the upstream to answer; None as the settings say.
    """

    sizes: frozenset[int] | None = None
    page: bool = False
    timeout: float | None = None

    def accept(self, head: bytes, *, complete: bool) -> bool:
        """Judge what has arrived.

        Args:
            head: The beginning of the body.
            complete: Whether this is all of it.

        Returns:
            Whether it may be passed on; if not, more has to arrive first.

        Raises:
            ValueError: It must not be; the text says what it is.
        """
        if complete and not head:
            raise ValueError("nothing")
        if self.sizes is not None and (len(head) > max(self.sizes) or (complete and len(head) not in self.sizes)):
            raise ValueError("something of another size")
        # Media may begin with any byte, an encrypted segment even with `<`: only a whole mark is proof.
        start = head[:_PAGE_START].lstrip(_PAGE_BLANKS).lower()
        if not self.page and start.startswith(_PAGES):
            raise ValueError("a playlist" if start.startswith(b"#") else "an HTML page")
        if complete or self.sizes is not None:
            return complete
        return self.page or len(head) >= _PAGE_START or not any(page.startswith(start) for page in _PAGES)


_ANYTHING = Demand()


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader gets.

    Attributes:
        facts: What the answer says of itself.
        span: Which part of the resource it is; None for all of it.
        size: Bytes of the whole resource; None where that is not known yet.
        age: Seconds since the origin made it.
    """

    facts: Facts
    span: Span | None
    size: int | None
    age: float
    _transfer: Transfer = field(repr=False)

    @property
    def length(self) -> int | None:
        """Bytes that there are to be read; None where that is not known yet."""
        return self.size if self.span is None else self.span.size

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Give it in pieces of up to 64 KiB as they arrive: all of it, or an UpstreamError."""
        if self.span is None:
            return self._transfer.read(0, None)
        begin = self.facts.span.first if self.facts.span else 0
        return self._transfer.read(self.span.first - begin, self.span.last - begin)


_Place = tuple[Hashable, ByteRange | None]


class SharedResponses:
    """Answers of upstreams, each fetched once for all who want it, within a budget of memory.

    An upstream is read as fast as it sends, so that a slow reader holds up nobody; who comes later gets the beginning
    at once. What is complete is kept until it is too old or its memory is needed, the one used least recently first.
    What failed or was cut short fails for everybody who reads it, and is not kept.

    A fetch ends with its last reader, with two exceptions: where more than half has arrived, as a player that gave up
    on a segment mostly asks for it again, and where a part was asked for and the upstream sends the whole, as the other
    parts will be wanted too. Then it has ten seconds for the rest.

    Attributes:
        held: Bytes of memory taken by what is kept and what is on its way, together.
        capacity: Bytes that this may be at most.
        largest: Bytes of one answer at most.
        stall_timeout: Seconds of silence after which an upstream counts as lost.
    """

    def __init__(
        self,
        client: Client,
        tasks: Tasks,
        *,
        capacity: int = 256 << 20,
        largest: int = 64 << 20,
        stall_timeout: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            client: What to ask with.
            tasks: Who owns what is being fetched.
            capacity: See above.
            largest: See above.
            stall_timeout: See above.
            clock: Tells the time in seconds.
        """
        self.held = 0
        self.capacity = capacity
        self.largest = largest
        self.stall_timeout = stall_timeout
        self._client = client
        self._tasks = tasks
        self._clock = clock
        self._flights: OrderedDict[_Place, _Flight] = OrderedDict()

    @asynccontextmanager
    async def open(
        self, key: Hashable, upstream: Upstream, wanted: ByteRange | None = None, demand: Demand = _ANYTHING
    ) -> AsyncIterator[Reading]:
        """Read a resource; entered when its body has begun.

        Args:
            key: What tells it from others, and those who may have it from those who may not.
            upstream: Where it is.
            wanted: Which part; None for all of it.
            demand: What it has to be like.

        Raises:
            NoRoom: There is no memory for it now.
            RangeNotSatisfiable: It has nothing of what is wanted.
            UpstreamError: It cannot be had.
        """
        flight = self._find(key, wanted) or self._start(key, upstream, wanted, demand)
        transfer = flight.transfer
        transfer.readers += 1
        try:
            facts = await transfer.begun()
            yield await self._reading(transfer, facts, wanted)
        finally:
            transfer.readers -= 1
            if not transfer.readers:
                self._leave(flight)

    def peek(self, key: Hashable) -> Facts | None:
        """Tell what is known of a resource that is here whole, or on its way; None if it is not."""
        flight = self._find(key, None)
        return flight.transfer.facts if flight else None

    def age(self, facts: Facts) -> float:
        """Tell how many seconds ago the origin made an answer."""
        return facts.age + self._clock() - facts.arrived

    async def _reading(self, transfer: Transfer, facts: Facts, wanted: ByteRange | None) -> Reading:
        span, size = facts.span, facts.size
        if span is None and size is None:
            # A part of what has no length yet cannot be told where it begins; but all of it can be sent as it comes.
            if wanted not in (None, _WHOLE):
                await transfer.ended()
            size = transfer.arrived if transfer.complete else None
        if span is None and size is not None and wanted is not None:
            span = wanted.resolve(size)
            if span is None:
                raise RangeNotSatisfiable(size)
        return Reading(facts, span, size, self.age(facts), transfer)

    def _find(self, key: Hashable, wanted: ByteRange | None) -> "_Flight | None":
        """Look for all of it first: any part can be had from that."""
        for place in dict.fromkeys(((key, None), _place(key, wanted))):
            flight = self._flights.get(place)
            if flight and not flight.is_stale(self._clock()):
                self._flights.move_to_end(place)
                return flight
        return None

    def _start(self, key: Hashable, upstream: Upstream, wanted: ByteRange | None, demand: Demand) -> "_Flight":
        place = _place(key, wanted)
        stale = self._flights.get(place)
        if stale:
            self._remove(stale)
        flight = self._flights[place] = _Flight(upstream.label, place)
        flight.task = self._tasks.start(self._fetch(flight, upstream, place[1], demand), name=f"relay {upstream.label}")
        return flight

    def _leave(self, flight: "_Flight") -> None:
        """Settle what becomes of what has no readers."""
        if flight.transfer.over:
            self._free(flight)
        elif flight.is_worth_finishing:
            asyncio.get_running_loop().call_later(_PATIENCE, self._give_up, flight)
        else:
            self._give_up(flight)

    def _give_up(self, flight: "_Flight") -> None:
        if not flight.transfer.readers and not flight.transfer.over and flight.task:
            self._remove(flight)
            flight.task.cancel()

    def _remove(self, flight: "_Flight") -> None:
        """Give it to nobody else; those who read it go on."""
        if flight.place is not None:
            del self._flights[flight.place]
            flight.place = None
            self._free(flight)

    def _free(self, flight: "_Flight") -> None:
        if flight.place is None and flight.transfer.over and not flight.transfer.readers:
            self._reserve(flight, 0)

    def _reserve(self, flight: "_Flight", size: int) -> None:
        """Set how many bytes it may take, at the cost of what is only kept.

        Raises:
            NoRoom: There are not so many.
        """
        more = size - flight.reserved
        while more > 0 and self.held + more > self.capacity:
            spare = (
                other for other in self._flights.values() if other.transfer.complete and not other.transfer.readers
            )
            oldest = next(spare, None)
            if oldest is None:
                raise NoRoom(flight.label, "too much is being relayed at this moment")
            self._remove(oldest)
        self.held += more
        flight.reserved = size

    async def _fetch(self, flight: "_Flight", upstream: Upstream, wanted: ByteRange | None, demand: Demand) -> None:
        transfer = flight.transfer
        try:
            async with self._client.open(
                upstream,
                headers={"Range": str(wanted)} if wanted else {},
                also=(416,),
                read_ahead=_READ_AHEAD,
                timeout=demand.timeout,
            ) as response:
                facts = Facts.of(response.status, response.headers, wanted, upstream.label, self._clock())
                await self._receive(flight, facts, response, demand)
                transfer.finish()
        except UpstreamError as error:
            _log.info("response_failed", upstream=error.label, reason=error.reason)
            transfer.fail(error)
        except RangeNotSatisfiable as error:
            transfer.fail(error)
        finally:
            if not transfer.over:
                transfer.fail(UpstreamBroken(upstream.label, "fetching it was given up"))
            if not transfer.complete:
                self._remove(flight)
            self._free(flight)

    async def _receive(self, flight: "_Flight", facts: Facts, response: aiohttp.ClientResponse, demand: Demand) -> None:
        head = b""
        async with aclosing(read_body(response, flight.label, stall_timeout=self.stall_timeout)) as pieces:
            async for piece in pieces:
                if flight.transfer.facts:
                    self._add(flight, piece)
                    continue
                head += piece
                if _accept(demand, head, flight.label, complete=False):
                    self._begin(flight, facts, head)
        if not flight.transfer.facts:
            _accept(demand, head, flight.label, complete=True)
            self._begin(flight, facts, head)
        if facts.length not in (None, flight.transfer.arrived):
            raise UpstreamBroken(flight.label, "the upstream's answer was cut short")

    def _begin(self, flight: "_Flight", facts: Facts, head: bytes) -> None:
        if facts.length is not None:
            self._check_size(facts.length, flight.label)
            self._reserve(flight, facts.length)
        if facts.span is None:
            self._promote(flight)
        flight.transfer.begin(facts)
        self._add(flight, head)

    def _promote(self, flight: "_Flight") -> None:
        """Let what was to be a part, and turned out to be the whole, be found by those who want any part of it."""
        if flight.place is None or flight.place[1] is None:
            return
        whole = _place(flight.place[0], None)
        del self._flights[flight.place]
        flight.place = None
        if whole not in self._flights:
            flight.place = whole
            flight.promoted = True
            self._flights[whole] = flight

    def _add(self, flight: "_Flight", piece: bytes) -> None:
        size = flight.transfer.arrived + len(piece)
        self._check_size(size, flight.label)
        self._reserve(flight, max(size, flight.reserved))
        flight.transfer.add(piece)

    def _check_size(self, size: int, label: str) -> None:
        largest = min(self.largest, self.capacity)
        if size > largest:
            raise UpstreamBroken(label, f"the upstream sent more than {largest} bytes at once")


@dataclass(eq=False, slots=True)
class _Flight:
    """A transfer, and where it is found.

    Attributes:
        label: Of the upstream.
        place: None once nobody is to find it any more.
        reserved: Bytes of memory that it takes or is about to.
        promoted: Whether a part was asked for, and this is the whole.
    """

    label: str
    place: _Place | None
    transfer: Transfer = field(default_factory=Transfer)
    task: asyncio.Task[None] | None = None
    reserved: int = 0
    promoted: bool = False

    @property
    def is_worth_finishing(self) -> bool:
        length = self.transfer.facts.length if self.transfer.facts else None
        return self.promoted or (length is not None and self.transfer.arrived * 2 > length)

    def is_stale(self, now: float) -> bool:
        facts = self.transfer.facts
        return self.transfer.complete and facts is not None and now >= facts.arrived + facts.lifetime


def _place(key: Hashable, wanted: ByteRange | None) -> _Place:
    return key, None if wanted == _WHOLE else wanted


def _accept(demand: Demand, head: bytes, label: str, *, complete: bool) -> bool:
    try:
        return demand.accept(head, complete=complete)
    except ValueError as error:
        raise UpstreamNotMedia(label, f"the upstream sent {error} instead of what was asked for") from None


async def read_body(
    response: aiohttp.ClientResponse, label: str, *, stall_timeout: float
) -> AsyncGenerator[bytes, None]:
    """Read a body in pieces of at most 64 KiB, unpacked.

    Args:
        response: Its answer, headers read.
        label: Of the upstream.
        stall_timeout: Seconds of silence after which it counts as lost.

    Raises:
        UpstreamError: It is cut short, falls silent, or is packed in another way than gzip.
    """
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise UpstreamBroken(label, "the upstream compressed its answer in a way that was not asked for")
    unpacker = Unpacker() if coding.endswith("gzip") else None
    protocol = response.connection.protocol if response.connection else None
    try:
        while data := await _read(response, label, stall_timeout):
            if unpacker is None:
                yield data
                continue
            for piece in unpacker.feed(data):
                yield piece
                await asyncio.sleep(0)
        # Without a length, a connection that was reset reads as an end. Not its truth: that is the length of a queue.
        if protocol is not None and isinstance(protocol.exception(), OSError):
            raise UpstreamBroken(label, "the connection to the upstream broke")
        if unpacker and (rest := unpacker.finish()):
            yield rest
    except DamagedError as error:
        raise UpstreamBroken(label, f"the upstream sent {error}") from None


async def _read(response: aiohttp.ClientResponse, label: str, stall_timeout: float) -> bytes:
    try:
        async with asyncio.timeout(stall_timeout):
            return await response.content.read(_PIECE)
    except TimeoutError:
        raise UpstreamStalled(label, f"the upstream was silent for {stall_timeout:g} s") from None
