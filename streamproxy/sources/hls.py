"""HLS as one continuous stream: the playlist is followed, its segments are fetched ahead and written in order."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import structlog

from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamStalled
from streamproxy.formats.hls.model import MediaPlaylist, MediaSegment
from streamproxy.formats.hls.window import Window, patience, reload_wait
from streamproxy.model import TRANSPORT_STREAM, Sink, StreamFormat, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.hls_media import Media
from streamproxy.sources.hls_playlist import PlaylistLoader
from streamproxy.sources.hls_writer import Writer
from streamproxy.sources.retrieval import Sleep, Terms
from streamproxy.sources.segments import Segments

IN_FLIGHT = 64 << 20
"""Bytes of segments held at once, for one channel."""

_MOST_FAILURES = 3
"""Segments in a row that cannot be played, after which a stream counts as lost."""

_SHORTEST_TRY = 1.0
"""Seconds that an answer is waited for, though the stream is as good as lost without it."""

_log = structlog.stdlib.get_logger("streamproxy")


class HlsSource:
    """Restreams one HLS upstream, whatever it lists: live, or with an end.

    What it writes are whole packets of a transport stream, or whole fragments of an MP4 file, so that whoever starts at
    a write starts at something a player can use, once it has the header of the format. That is not written at the
    beginning, but where it changes, and again after a discontinuity.
    """

    def __init__(
        self,
        upstream: Upstream,
        client: Client,
        options: OptionsConfig,
        relay: RelayConfig,
        *,
        quality: str = "best",
        in_flight: int = IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: Where its playlist is.
            client: What to read with.
            options: How many segments are fetched at once, and how long an upstream may be silent.
            relay: Chunk size and chunk delay.
            quality: Which variant to take: `best`, `worst`, a height (`720p`) or a bandwidth (`3000k`).
            in_flight: Bytes of segments held at once.
            clock: Returns a time in seconds that never goes backwards.
            sleep: Waits for the given number of seconds of that clock.
        """
        self._upstream = upstream
        self._client = client
        self._options = options
        self._relay = relay
        self._quality = quality
        self._in_flight = in_flight
        self._clock = clock
        self._sleep = sleep
        self._writer: Writer | None = None
        self._log = _log.bind(upstream=upstream.label)

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed; another header before the write that it is for."""
        return (self._writer.format if self._writer else None) or TRANSPORT_STREAM

    async def run(self, sink: Sink) -> None:
        """Feed the sink until the playlist has ended, and all of it is written.

        Raises:
            UpstreamError: It failed, brought nothing new for too long, or cannot be played.
        """
        label, timeout = self._upstream.label, self._options.timeout
        follower = _Follower(label, self._clock, self._sleep)
        loader = PlaylistLoader(self._upstream, self._client, timeout=timeout, quality=self._quality, clock=self._clock)
        playlist = await loader.find()
        # What comes too late is no use to a live stream; who watches a film can wait.
        terms = Terms(timeout) if playlist.ended else Terms(timeout, max(timeout, patience(playlist)))
        media = Media(self._upstream, self._client, addresses=loader, silence=timeout, sleep=self._sleep)
        self._writer = writer = Writer(sink, media, self._relay, label)

        def fetch(segment: MediaSegment) -> AsyncGenerator[bytes, None]:
            return media.segment(segment, terms)

        async with Segments(fetch, threads=self._options.threads, limit=self._in_flight) as segments:
            following = asyncio.create_task(follower.run(loader, playlist, segments), name=f"playlist of {label}")
            following.add_done_callback(lambda _: segments.finish())
            try:
                await self._deliver(segments, writer)
                # All that was listed is written. If the playlist failed, now is the time to say so.
                await following
            finally:
                following.cancel()
                await asyncio.wait([following])
                if not following.cancelled():
                    following.exception()

    async def _deliver(self, segments: Segments, writer: Writer) -> None:
        """Write one segment after the other.

        Raises:
            UpstreamError: Too many in a row cannot be played, or none of them all.
        """
        failures = 0
        failure: UpstreamError = UpstreamBroken(self._upstream.label, "the upstream's playlist lists no segments")
        async for download in segments:
            try:
                await writer.write(download)
                failures = 0
            except UpstreamError as error:
                failure = error
                failures += 1
                _log.warning(
                    "segment_skipped", upstream=error.label, segment=download.segment.sequence, reason=error.reason
                )
                if failures == _MOST_FAILURES:
                    raise
        if not writer.written:
            raise failure


class _Follower:
    """Loads a playlist again and again, and adds what is new in it to the segments to be fetched."""

    def __init__(self, label: str, clock: Callable[[], float], sleep: Sleep) -> None:
        """Begin before the playlist is loaded for the first time: the time that takes counts."""
        self._label = label
        self._clock = clock
        self._sleep = sleep
        self._window = Window()
        self._asked_at = clock()
        self._log = _log.bind(upstream=label)

    async def run(self, loader: PlaylistLoader, playlist: MediaPlaylist, segments: Segments) -> None:
        """Follow it until it has ended.

        Raises:
            UpstreamStalled: It brought nothing new for too long.
        """
        news_at = self._clock()
        while True:
            step = self._window.advance(playlist)
            if step.restarted:
                self._log.warning("playlist_began_anew")
            if step.missed:
                self._log.warning("segments_missed", count=step.missed)
            segments.add(step.segments)
            if self._window.ended:
                return
            # A viewer who does not take what there is makes the playlist wait, too.
            await segments.all_begun()
            if step.segments:
                news_at = self._clock()
            playlist = await self._reload(loader, playlist, news_at, changed=bool(step.segments))

    async def _reload(
        self, loader: PlaylistLoader, playlist: MediaPlaylist, news_at: float, *, changed: bool
    ) -> MediaPlaylist:
        """Wait until it is due, and load it; where that fails, try for as long as there may be nothing new."""
        stale_at = news_at + patience(playlist)
        while True:
            due = min(self._asked_at + reload_wait(playlist, changed=changed), stale_at)
            await self._sleep(max(0.0, due - self._clock()))
            self._asked_at = self._clock()
            if self._asked_at >= stale_at:
                raise UpstreamStalled(self._label, f"the upstream listed nothing new for {stale_at - news_at:g} s")
            try:
                async with asyncio.timeout(max(_SHORTEST_TRY, stale_at - self._asked_at)):
                    return await loader.reload()
            except TimeoutError:
                continue
            except UpstreamError as error:
                self._log.warning("playlist_not_loaded", reason=error.reason)
                changed = False
