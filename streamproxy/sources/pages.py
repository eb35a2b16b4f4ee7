"""Web pages with a stream in them: streamlink tells where that is, and it is read from there like any other."""

import asyncio
import atexit
import importlib
import logging
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import structlog

from streamproxy.config import Config
from streamproxy.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamNotMedia,
    UpstreamRefused,
    UpstreamStalled,
)
from streamproxy.formats import urls
from streamproxy.model import TRANSPORT_STREAM, Sink, Source, StreamFormat, StreamKind, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.hls import HlsSource
from streamproxy.sources.hls_playlist import PlaylistLoader
from streamproxy.sources.http import HttpSource
from streamproxy.sources.retrieval import EXPIRED, Sleep

_LIFETIME = 300.0
"""Seconds that an address is taken for good without a new look at the page."""
_MOST_KNOWN = 256
"""Addresses that are remembered."""
_MOST_AT_ONCE = 4
"""Pages looked at in the same moment, each in a thread."""
_REQUESTS = 3
"""Requests in a row, each as long as the timeout, that a plugin may need."""

_PAUSE = 5.0
"""Seconds from one look at a page to the next, at least, while a stream is lost."""
_MOST_FAILURES = 3
"""Attempts in a row that brought nothing, after which a stream is lost for good."""

_NOT_FOR_PAGES = frozenset({"dash", "hls", "http"})
"""Plugins that only ask once more for what is known to be a page."""
_OF_THE_SITE = frozenset({"authorization", "cookie"})
"""Request headers of a channel that are for its site only."""

_LINES = re.compile(r"([0-9]{1,6})p")
_KILOBITS = re.compile(r"(?:[0-9]{1,6}p[0-9+]*[a_])?([0-9]{1,9})k")
_HEIGHT = re.compile(r"([0-9]{1,6})p", re.IGNORECASE)
_BANDWIDTH = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([km]?)", re.IGNORECASE)
_FACTORS = {"": 0.001, "k": 1.0, "m": 1000.0}

_log = structlog.stdlib.get_logger("streamproxy")


@dataclass(frozen=True, slots=True)
class ResolvedStream:
    """Where the stream of a page is at present.

    Attributes:
        url: Its address, http or https.
        headers: Request headers it has to be asked for with, cookies included.
        kind: Whether that is a playlist or the stream itself: HLS or LIVE.
        found_at: When that was found, by the clock of who remembers it.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    kind: StreamKind
    found_at: float = 0.0


Find = Callable[[Upstream, str, float], ResolvedStream]
"""Looks at a page, for a quality, with a timeout in seconds for each request; blocks. Raises UpstreamError."""

_Key = tuple[str, str, str, frozenset[tuple[str, str]]]


class _Search:
    """A look at a page, in a thread of its own."""

    def __init__(self, key: _Key, find: Callable[[], ResolvedStream], label: str) -> None:
        self.key = key
        self.found: asyncio.Future[ResolvedStream] = asyncio.get_running_loop().create_future()
        self.label = label
        self._find = find

    def run(self, done: Callable[["_Search", ResolvedStream | UpstreamError], None]) -> None:
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


class PageResolver:
    """Finds the streams of pages, and remembers for a while where they are.

    A page is looked at once for all who ask in the meantime. That cannot be cancelled; so it is done in threads that
    the program does not wait for at its end, and no more than a few at a time.
    """

    def __init__(self, find: Find | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            find: Looks at a page; None for streamlink.
            clock: Returns a time in seconds that never goes backwards.
        """
        self._find = find or find_stream
        self._clock = clock
        self._known: OrderedDict[_Key, ResolvedStream] = OrderedDict()
        self._searches: dict[_Key, _Search] = {}
        self._waiting: deque[_Search] = deque()
        self._running = 0

    async def resolve(
        self, upstream: Upstream, quality: str, *, timeout: float, refused: ResolvedStream | None = None
    ) -> ResolvedStream:
        """Find where the stream of a page is.

        Args:
            upstream: The page; its headers count towards its site.
            quality: Which stream to take: `best`, `worst`, a height (`720p`) or a bandwidth (`3000k`).
            timeout: Seconds for each request.
            refused: What was found before and is good no more.

        Raises:
            UpstreamNotMedia: There is none, none that can be played, or nothing that could find it.
            UpstreamError: The page could not be read.
        """
        key = (upstream.url, upstream.label, quality, frozenset(upstream.headers.items()))
        known = self._known.get(key)
        if known and known is not refused and self._clock() < known.found_at + _LIFETIME:
            return known
        search = self._searches.get(key)
        if search is None:
            search = self._searches[key] = _Search(key, partial(self._find, upstream, quality, timeout), upstream.label)
            self._waiting.append(search)
            self._start()
        await asyncio.wait([search.found], timeout=_REQUESTS * timeout)
        if not search.found.done():
            reason = f"the stream of the web page was not found within {_REQUESTS * timeout:g} s"
            raise UpstreamStalled(upstream.label, reason)
        return search.found.result()

    def _start(self) -> None:
        while self._waiting and self._running < _MOST_AT_ONCE:
            search = self._waiting.popleft()
            self._running += 1
            try:
                threading.Thread(target=search.run, args=(self._go_on,), name="streamlink", daemon=True).start()
            except RuntimeError:  # a limit of the system
                self._finish(search, UpstreamBroken(search.label, "there is no thread to look at the web page in"))

    def _go_on(self, search: _Search, outcome: ResolvedStream | UpstreamError) -> None:
        self._finish(search, outcome)
        self._start()

    def _finish(self, search: _Search, outcome: ResolvedStream | UpstreamError) -> None:
        self._running -= 1
        del self._searches[search.key]
        if isinstance(outcome, UpstreamError):
            search.found.set_exception(outcome)
            search.found.exception()  # nobody may be waiting any more
        else:
            outcome = replace(outcome, found_at=self._clock())
            search.found.set_result(outcome)
            self._remember(search.key, outcome)

    def _remember(self, key: _Key, stream: ResolvedStream) -> None:
        self._known[key] = stream
        self._known.move_to_end(key)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


class PageSource:
    """Reads the stream of a page. A live one whose address is good no more is found again, and goes on."""

    def __init__(
        self,
        upstream: Upstream,
        client: Client,
        config: Config,
        pages: PageResolver,
        *,
        quality: str = "best",
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: The page.
            client: What to read its stream with.
            config: Options, and how upstreams are relayed.
            pages: Finds its stream.
            quality: Which to take: `best`, `worst`, a height (`720p`) or a bandwidth (`3000k`).
            clock: Returns a time in seconds that never goes backwards; the one of `pages`.
            sleep: Waits for the given number of seconds of that clock.
        """
        self._upstream = upstream
        self._client = client
        self._config = config
        self._pages = pages
        self._quality = quality
        self._clock = clock
        self._sleep = sleep
        self._asked_at = clock()
        self._output: _Output | None = None
        self._log = _log.bind(upstream=upstream.label)

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed."""
        return self._output.format if self._output else TRANSPORT_STREAM

    async def run(self, sink: Sink) -> None:
        """Feed the sink until the stream ends.

        Raises:
            UpstreamError: It failed, and is not to be had any more; or it cannot be played.
        """
        self._output = output = _Output(sink)
        lost: UpstreamError | None = None
        failures = 0
        stream = await self._find(None)
        while True:
            try:
                if lost:
                    stream = await self._find_again(stream, output)
                    if output.played and await self._has_an_end(stream):
                        break
                await self._play(stream, output)
            except _FormatChanged:
                raise UpstreamBroken(self._upstream.label, "the stream of the web page became another kind") from None
            except UpstreamError as error:
                failures = 0 if output.begun else failures + 1
                output.begun = False
                if failures == _MOST_FAILURES or not (output.played or self._was_remembered(stream, error)):
                    raise
                lost = error
                self._log.warning("page_stream_lost", reason=error.reason)
            else:
                return
        # What has an end would only begin anew.
        assert lost
        raise lost

    async def _find(self, refused: ResolvedStream | None) -> ResolvedStream:
        self._asked_at = self._clock()
        timeout = self._config.options.timeout
        return await self._pages.resolve(self._upstream, self._quality, timeout=timeout, refused=refused)

    async def _find_again(self, refused: ResolvedStream, output: "_Output") -> ResolvedStream:
        if output.played:
            await self._sleep(max(0.0, self._asked_at + _PAUSE - self._clock()))
        return await self._find(refused)

    def _was_remembered(self, stream: ResolvedStream, error: UpstreamError) -> bool:
        """Tell whether something is refused because its address was found for somebody else, a while ago."""
        return isinstance(error, UpstreamRefused) and error.status in EXPIRED and stream.found_at < self._asked_at

    async def _has_an_end(self, stream: ResolvedStream) -> bool:
        if stream.kind is StreamKind.LIVE:
            return False
        loader = PlaylistLoader(
            self._place(stream),
            self._client,
            timeout=self._config.options.timeout,
            quality=self._quality,
            clock=self._clock,
            joins=True,
        )
        return (await loader.find()).picture.playlist.ended

    async def _play(self, stream: ResolvedStream, output: "_Output") -> None:
        source = self._source(stream)
        output.take_from(source)
        try:
            await source.run(output)
        except UpstreamNotMedia as error:
            if error.kind is None:
                raise
            # The kind of what the page leads to is not that of the page.
            reason = f"the web page leads to something that is not played from pages: {error.reason}"
            raise UpstreamNotMedia(error.label, reason) from None

    def _place(self, stream: ResolvedStream) -> Upstream:
        return replace(self._upstream, url=stream.url, headers=stream.headers)

    def _source(self, stream: ResolvedStream) -> Source:
        relay = self._config.relay
        if stream.kind is StreamKind.LIVE:
            return HttpSource(self._place(stream), self._client, relay)
        return HlsSource(
            self._place(stream),
            self._client,
            self._config.options,
            relay,
            quality=self._quality,
            clock=self._clock,
            sleep=self._sleep,
        )


class _FormatChanged(Exception):
    """A stream goes on in a way that its viewers cannot follow."""


class _Output:
    """What one source after the other writes to, as one stream.

    Attributes:
        begun: Whether the source in turn has written.
    """

    def __init__(self, sink: Sink) -> None:
        self.begun = False
        self._sink = sink
        self._source: Source | None = None
        self._next: Source | None = None

    @property
    def played(self) -> bool:
        """Whether there was ever a write."""
        return self._source is not None

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed; as it was, until there is something of the next source."""
        return self._source.format if self._source else TRANSPORT_STREAM

    def take_from(self, source: Source) -> None:
        """Say whose writes follow."""
        self._next = source
        self.begun = False

    def write(self, data: bytes, /) -> None:
        """Pass something on; what another source begins with, behind the header of its format.

        Raises:
            _FormatChanged: It is packed in another way than what came before.
        """
        if not self.begun:
            self._begin()
        self._sink.write(data)

    @property
    def full(self) -> bool:
        """Whether `drain` would wait."""
        return self._sink.full

    async def drain(self) -> None:
        """Wait until more may be written."""
        await self._sink.drain()

    def _begin(self) -> None:
        assert self._next
        form = self._next.format
        if self._source:
            if form.media_type != self._source.format.media_type:
                raise _FormatChanged
            if form.header:
                self._sink.write(form.header)
        self._source = self._next
        self.begun = True


class _Stream(Protocol):
    """What is used of streamlink's streams that are one address."""

    args: Mapping[str, Any]
    url: str

    def to_manifest_url(self) -> str:
        """Return the address of the playlist of all variants; TypeError where there is none."""


def find_stream(upstream: Upstream, quality: str, timeout: float) -> ResolvedStream:
    """Find the stream of a page with streamlink, which is imported here: it takes time and memory. Blocks.

    Args:
        upstream: The page.
        quality: Which stream to take.
        timeout: Seconds for each request.

    Raises:
        UpstreamNotMedia: There is none, none that can be played, or no streamlink.
        UpstreamError: The page could not be read.
    """
    label = upstream.label
    try:
        streamlink = importlib.import_module("streamlink")
    except ModuleNotFoundError as error:
        if error.name != "streamlink":
            raise
        reason = "the upstream is a web page; playing those needs the extra: pip install 'streamproxy[streamlink]'"
        raise UpstreamNotMedia(label, reason) from None
    # What it says holds addresses.
    logging.getLogger("streamlink").setLevel(logging.CRITICAL + 1)
    # One for each look, since plugins leave cookies and headers in it.
    session = streamlink.Streamlink(_options(upstream, timeout))
    with closing(session.http):
        session.http.adapters.pop("file://", None)
        try:
            streams = _plugin_streams(session, upstream)
        except streamlink.PluginError as error:
            raise _read_failure(error, label) from None
        if not streams:
            raise UpstreamNotMedia(label, "the web page has no stream at present")
        return _take(streams, quality, session, upstream)


def _plugin_streams(session: Any, upstream: Upstream) -> Mapping[str, Any]:
    """Have the plugin of a page look at it.

    Not by what the session has for that: it keeps itself for ever, and asks once more for what is no site's page, such
    as a provider's word on an account that has expired.
    """
    name, plugin_class = session.plugins.match_url(upstream.url) or ("", None)
    if plugin_class is None or name in _NOT_FOR_PAGES:
        raise UpstreamNotMedia(upstream.label, "the upstream is a web page that streamlink has no plugin for")
    plugin = plugin_class(session, upstream.url)
    try:
        streams: Mapping[str, Any] = plugin.streams()
    finally:
        # Each plugin leaves its cache there, which would be kept until the program ends.
        if save := getattr(plugin.cache, "_save", None):
            atexit.unregister(save)
    return streams


def _options(upstream: Upstream, timeout: float) -> dict[str, Any]:
    return {
        "http-timeout": timeout,
        "http-headers": {name: value for name, value in upstream.headers.items() if urls.is_header(name, value)},
        # Sites tie addresses to who asked for them, and streams are not read through a proxy of the environment.
        "http-trust-env": False,
        "no-plugin-cache": True,
        "webbrowser": False,
    }


def _read_failure(error: Exception, label: str) -> UpstreamError:
    """Translate what a plugin raised; its text holds addresses."""
    causes: list[BaseException] = [error]
    while cause := getattr(causes[-1], "err", None) or causes[-1].__cause__:
        causes.append(cause)
    for cause in causes:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return UpstreamRefused(label, status)
    return UpstreamBroken(label, f"streamlink cannot read the web page: {type(causes[-1]).__name__}")


def _take(streams: Mapping[str, Any], quality: str, session: Any, upstream: Upstream) -> ResolvedStream:
    """Choose among the streams of a page.

    Of HLS it is the playlist of all variants that is taken, where there is one. So addresses of variants that expire
    can be found again, and variants without sound are known as such.
    """
    for stream, kind in _playable(streams, quality):
        url = _playlist_of_all(stream) or stream.url
        if not urls.is_http(url):
            continue
        request = session.http.prepare_new_request(**{**stream.args, "url": url})
        if request.method == "GET" and not request.body:
            return ResolvedStream(url, _headers(request.headers, url, upstream), kind)
    kinds = ", ".join(sorted({type(stream).shortname() for stream in streams.values()}))
    raise UpstreamNotMedia(upstream.label, f"the streams of the web page are none that can be played: {kinds}")


def _playable(streams: Mapping[str, Any], quality: str) -> Iterator[tuple[_Stream, StreamKind]]:
    """Give those that are HLS or, where there are none, plain HTTP: what to take first, first."""
    hls = importlib.import_module("streamlink.stream.hls")
    http = importlib.import_module("streamlink.stream.http")
    playlists = {name: each for name, each in streams.items() if isinstance(each, hls.HLSStream | hls.MuxedHLSStream)}
    chosen = playlists or {name: each for name, each in streams.items() if isinstance(each, http.HTTPStream)}
    for name in preferred([name for name in streams if name in chosen], quality):
        stream = chosen[name]
        if isinstance(stream, hls.MuxedHLSStream):
            # Its picture and sound are apart. The playlist of all variants may have one that is whole.
            stream = stream.substreams[0]
            if not _playlist_of_all(stream):
                continue
        yield stream, StreamKind.HLS if playlists else StreamKind.LIVE


def _playlist_of_all(stream: _Stream) -> str | None:
    try:
        return stream.to_manifest_url()
    except TypeError:
        return None


def _headers(prepared: Mapping[str, Any], url: str, upstream: Upstream) -> dict[str, str]:
    """Return what streamlink would ask with, without what the channel's configuration means for the page's site."""
    headers = {
        name: value.decode("latin-1") if isinstance(value, bytes) else str(value) for name, value in prepared.items()
    }
    secrets = set()
    if urls.host(url) != urls.host(upstream.url):
        secrets = {value for name, value in upstream.headers.items() if name.lower() in _OF_THE_SITE}
    return {name: value for name, value in headers.items() if urls.is_header(name, value) and value not in secrets}


def preferred(names: Sequence[str], quality: str) -> list[str]:
    """Order the names of streams, as streamlink gives them, by what to take first.

    Args:
        names: Ascending, then `worst` and `best` if it knows them; such as `live`, `720p`, `1080p60`, `3000k`.
        quality: `best` or `worst`; a height (`720p`) or a bandwidth (`3000k`, `2.5m`, `2500000`), for the best that
            are no more, and after those the others, lowest first. Names that do not say come last.
    """
    best = sorted(names, key=lambda name: name != "worst")
    best.reverse()
    height, bandwidth = _HEIGHT.fullmatch(quality), _BANDWIDTH.fullmatch(quality)
    if height:
        most, measure = float(height[1]), _LINES
    elif bandwidth:
        most, measure = float(bandwidth[1]) * _FACTORS[bandwidth[2].lower()], _KILOBITS
    elif quality == "worst":
        return best[::-1]
    else:
        return best
    sizes = {name: float(match[1]) for name in best if (match := measure.match(name))}
    exact = quality.lower()
    within = sorted((name for name in sizes if sizes[name] <= most), key=lambda name: (-sizes[name], name != exact))
    above = sorted((name for name in sizes if sizes[name] > most), key=sizes.__getitem__)
    return [*within, *above, *(name for name in best if name not in sizes)]
