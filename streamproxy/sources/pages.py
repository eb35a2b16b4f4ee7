"""Web pages with a stream in them: somebody tells where that is, and it is read from there like any other."""

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamRefused, UpstreamStalled
from streamproxy.model import TRANSPORT_STREAM, Sink, Source, Splicing, StreamFormat, StreamKind, Upstream
from streamproxy.sources.retrieval import EXPIRED

_LIFETIME = 300.0
"""Seconds that an address is taken for good without a new look at the page."""
_PAUSE = 5.0
"""Seconds from the end of one look at a page to the next, at least: until then, what came of it stands."""
_MOST_KNOWN = 256
"""Looks that are remembered."""
_MOST_AT_ONCE = 4
"""Pages looked at in the same moment, each in a thread."""
_REQUESTS = 3
"""Requests in a row, each as long as the timeout, that a look may need."""


@dataclass(frozen=True, slots=True)
class ResolvedStream:
    """Where the stream of a page is at present.

    Attributes:
        url: Its address, http or https.
        headers: Request headers it has to be asked for with, cookies included.
        kind: Whether that is a playlist or the stream itself: HLS or LIVE.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    kind: StreamKind


Find = Callable[[Upstream, str, float], ResolvedStream]
"""Looks at a page, for a quality, with a timeout in seconds for each request; blocks. Raises UpstreamError."""
OpenSource = Callable[[Upstream], Source]

_Key = tuple[str, str, str, frozenset[tuple[str, str]]]


class _Look:
    """A look at a page, in a thread of its own, and what came of it.

    Attributes:
        found: Where the stream is.
        over_at: When it was over; None before.
        doubted: Whether what was found is good no more.
    """

    def __init__(self, find: Callable[[], ResolvedStream], label: str) -> None:
        self.found: asyncio.Future[ResolvedStream] = asyncio.get_running_loop().create_future()
        self.over_at: float | None = None
        self.doubted = False
        self.label = label
        self._find = find

    def run(self, done: Callable[["_Look", ResolvedStream | UpstreamError], None]) -> None:
        """Look, and say in the event loop what came of it."""
        outcome: ResolvedStream | UpstreamError
        try:
            outcome = self._find()
        except UpstreamError as error:
            outcome = error
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the root of a thread, which runs others' plugins
            outcome = UpstreamBroken(self.label, f"streamlink failed at the web page: {type(error).__name__}")
        loop = self.found.get_loop()
        try:
            loop.call_soon_threadsafe(done, self, outcome)
        except RuntimeError:  # the program has ended in the meantime
            return

    def end(self, outcome: ResolvedStream | UpstreamError, now: float) -> None:
        """Tell all who wait."""
        self.over_at = now
        if isinstance(outcome, UpstreamError):
            self.doubted = True
            self.found.set_exception(outcome)
            self.found.exception()  # nobody may be waiting any more
        else:
            self.found.set_result(outcome)

    def brought(self, stream: ResolvedStream) -> bool:
        """Tell whether this is what was found."""
        return self.over_at is not None and not self.found.exception() and self.found.result() is stream

    def stands(self, now: float) -> bool:
        """Tell whether there is no need of another."""
        return self.over_at is None or now < self.over_at + (_PAUSE if self.doubted else _LIFETIME)


class PageResolver:
    """Finds the streams of pages, and remembers for a while where they are.

    A page is looked at once for all who ask in the meantime, and soon after. A look cannot be cancelled; so it is done
    in threads that the program does not wait for at its end, and no more than a few at a time.
    """

    def __init__(self, find: Find, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            find: Looks at a page.
            clock: Returns a time in seconds that never goes backwards.
        """
        self._find = find
        self._clock = clock
        self._looks: OrderedDict[_Key, _Look] = OrderedDict()
        self._waiting: deque[_Look] = deque()
        self._running = 0

    async def resolve(self, upstream: Upstream, quality: str, *, timeout: float) -> ResolvedStream:
        """Find where the stream of a page is.

        Args:
            upstream: The page; its headers count towards its site.
            quality: Which stream to take: `best`, `worst`, a height (`720p`) or a bandwidth (`3000k`).
            timeout: Seconds for each request.

        Raises:
            UpstreamOffline: There is none at present.
            UpstreamNotMedia: There is none that can be played, or nothing that could find it.
            UpstreamError: The page could not be read, or is not to be.
        """
        if upstream.foreign:
            # Whoever looks at pages makes connections of its own, which lead wherever a site wants.
            reason = "the upstream is a web page; such addresses given through the API need api.local_urls"
            raise UpstreamNotMedia(upstream.label, reason)
        key = _key(upstream, quality)
        look = self._looks.get(key)
        if look is None or not look.stands(self._clock()):
            look = self._looks[key] = _Look(partial(self._find, upstream, quality, timeout), upstream.label)
            self._looks.move_to_end(key)
            if len(self._looks) > _MOST_KNOWN:
                self._looks.popitem(last=False)
            self._waiting.append(look)
            self._start()
        await asyncio.wait([look.found], timeout=_REQUESTS * timeout)
        if not look.found.done():
            reason = f"the stream of the web page was not found within {_REQUESTS * timeout:g} s"
            raise UpstreamStalled(upstream.label, reason)
        return look.found.result()

    def forget(self, upstream: Upstream, quality: str, stream: ResolvedStream) -> None:
        """Say that what was found is good no more: another look is taken, but not too soon after the last."""
        look = self._looks.get(_key(upstream, quality))
        if look and look.brought(stream):
            look.doubted = True

    def _start(self) -> None:
        while self._waiting and self._running < _MOST_AT_ONCE:
            look = self._waiting.popleft()
            self._running += 1
            try:
                threading.Thread(target=look.run, args=(self._go_on,), name="streamlink", daemon=True).start()
            except RuntimeError:  # a limit of the system
                self._running -= 1
                look.end(UpstreamBroken(look.label, "there is no thread to look at the web page in"), self._clock())

    def _go_on(self, look: _Look, outcome: ResolvedStream | UpstreamError) -> None:
        self._running -= 1
        look.end(outcome, self._clock())
        self._start()


def _key(upstream: Upstream, quality: str) -> _Key:
    return upstream.url, upstream.label, quality, frozenset(upstream.headers.items())


class PageSource:
    """Reads the stream of a page from where that is at present.

    Where it is lost, its address may be good no more: whoever opens the page again has it found again.
    """

    def __init__(
        self,
        upstream: Upstream,
        pages: PageResolver,
        open_source: Mapping[StreamKind, OpenSource],
        *,
        quality: str,
        timeout: float,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: The page.
            pages: Finds its stream.
            open_source: Makes the source of that, by its kind.
            quality: Which to take: `best`, `worst`, a height (`720p`) or a bandwidth (`3000k`).
            timeout: Seconds for each request that finding it takes.
        """
        self._upstream = upstream
        self._pages = pages
        self._open_source = open_source
        self._quality = quality
        self._timeout = timeout
        self._source: Source | None = None

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed."""
        return self._source.format if self._source else TRANSPORT_STREAM

    async def run(self, sink: Sink) -> None:
        """Feed the sink until the stream ends.

        Raises:
            UpstreamError: It was lost, or cannot be played.
        """
        witness = _Witness(sink)
        stream = await self._find()
        try:
            await self._play(stream, witness)
        except UpstreamRefused as error:
            if witness.written or error.status not in EXPIRED:
                raise
            # It may have been found a while ago, for somebody else.
            another = await self._find()
            if another is stream:
                raise
            await self._play(another, witness)

    async def _find(self) -> ResolvedStream:
        return await self._pages.resolve(self._upstream, self._quality, timeout=self._timeout)

    async def _play(self, stream: ResolvedStream, sink: Sink) -> None:
        place = replace(self._upstream, url=stream.url, headers=stream.headers, kind=stream.kind)
        self._source = self._open_source[stream.kind](place)
        try:
            await self._source.run(sink)
        except UpstreamError as error:
            self._pages.forget(self._upstream, self._quality, stream)
            if not isinstance(error, UpstreamNotMedia) or error.kind is None:
                raise
            # The kind of what the page leads to is not that of the page.
            reason = f"the web page leads to something that is not played from pages: {error.reason}"
            raise UpstreamNotMedia(error.label, reason) from None


class _Witness:
    """Passes on what is written, and notes that it was.

    Attributes:
        written: Whether anything was.
    """

    def __init__(self, sink: Sink) -> None:
        self.written = False
        self._sink = sink

    def write(self, data: bytes, /) -> None:
        self.written = True
        self._sink.write(data)

    def splice(self, *, torn: bool) -> None:
        if isinstance(self._sink, Splicing):
            self._sink.splice(torn=torn)

    @property
    def full(self) -> bool:
        return self._sink.full

    async def drain(self) -> None:
        await self._sink.drain()
