"""One media playlist followed: loaded again and again, its segments fetched ahead."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamStalled
from streamproxy.formats.hls.model import MediaPlaylist, MediaSegment
from streamproxy.formats.hls.packed_audio import SNIFFED, NotPackedAudioError, PackedAudio, is_packed_audio
from streamproxy.formats.hls.window import LIVE_EDGE, Window, patience, reload_wait
from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.hls_media import Media
from streamproxy.sources.hls_playlist import PlaylistLoader
from streamproxy.sources.hls_writer import Writer
from streamproxy.sources.retrieval import Sleep, Terms
from streamproxy.sources.segments import Download, Segments
from streamproxy.tasks import until_over

_MOST_FAILURES = 3
"""Segments in a row that cannot be played, after which a stream counts as lost."""

_SHORTEST_TRY = 1.0
"""Seconds that an answer is waited for, though the stream is as good as lost without it."""

_log = structlog.stdlib.get_logger("streamproxy")


@dataclass(frozen=True, slots=True)
class Pull:
    """How a playlist is followed.

    Attributes:
        timeout: Seconds that an upstream may be silent.
        threads: How many segments are fetched at once.
        in_flight: Bytes of segments held at once.
        clock: Returns a time in seconds that never goes backwards.
        sleep: Waits for the given number of seconds of that clock.
    """

    timeout: float
    threads: int
    in_flight: int
    clock: Callable[[], float]
    sleep: Sleep


class Track:
    """The segments of one media playlist, in order.

    An async context manager: leaving it ends every connection.

    Attributes:
        media: What fetches them.
        segments: Gives one after the other.
    """

    def __init__(
        self,
        upstream: Upstream,
        client: Client,
        loader: PlaylistLoader,
        playlist: MediaPlaylist,
        pull: Pull,
        *,
        asked_at: float,
        live_edge: int = LIVE_EDGE,
        timed: bool = False,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: Whose headers and label are used.
            client: What to ask with.
            loader: Loads the playlist again.
            playlist: What it loaded first.
            pull: How to follow it.
            asked_at: When the first load was begun, by the clock.
            live_edge: Segments from the end at which a live stream begins.
            timed: Whether sound must say when it is to be heard; else it may follow on what was before it.
        """
        self._label = upstream.label
        self._loader = loader
        self._playlist = playlist
        # What comes too late is no use to a live stream; who watches a film can wait.
        limit = None if playlist.ended else max(pull.timeout, patience(playlist))
        self._terms = Terms(pull.timeout) if limit is None else Terms(pull.timeout, limit)
        self._follower = _Follower(self._label, pull, Window(live_edge=live_edge), asked_at)
        self._timed = timed
        self._position = 0.0
        self._following: asyncio.Task[None] | None = None
        self.media = Media(upstream, client, addresses=loader, silence=pull.timeout, sleep=pull.sleep)
        self.segments = Segments(self._fetch, threads=pull.threads, limit=pull.in_flight)

    async def __aenter__(self) -> Self:
        await self.segments.__aenter__()
        run = self._follower.run(self._loader, self._playlist, self.segments)
        self._following = asyncio.create_task(run, name=f"playlist of {self._label}")
        self._following.add_done_callback(lambda _: self.segments.finish())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._following is not None
        self._following.cancel()
        try:
            await until_over(self._following)
        finally:
            if not self._following.cancelled():
                self._following.exception()
            await self.segments.__aexit__(kind, error, trace)

    async def end(self) -> None:
        """Make sure, when there are no more segments, that this was the end.

        Raises:
            UpstreamError: The playlist failed.
        """
        assert self._following is not None
        await self._following

    def _fetch(self, segment: MediaSegment) -> AsyncGenerator[bytes, None]:
        # The order in which segments are asked for is the order in which they are heard.
        start = int(self._position * TICKS_PER_SECOND)
        self._position += segment.duration
        return self._framed(segment, None if self._timed else start)

    async def _framed(self, segment: MediaSegment, start: int | None) -> AsyncGenerator[bytes, None]:
        """Fetch a segment, and make a transport stream of one that is packed audio."""
        head, packed = b"", None
        async with aclosing(self.media.segment(segment, self._terms)) as pieces:
            async for piece in pieces:
                if len(head) >= SNIFFED:
                    data = piece
                else:
                    data = head = head + piece
                    if len(head) < SNIFFED:
                        continue
                    if segment.map is None and is_packed_audio(head):
                        packed = PackedAudio(segment.sequence, start)
                if made := self._made(packed, data):
                    yield made
        if packed:
            yield self._made(packed, None)
        elif 0 < len(head) < SNIFFED:
            yield head

    def _made(self, packed: PackedAudio | None, data: bytes | None) -> bytes:
        if packed is None:
            return data or b""
        try:
            return packed.finish() if data is None else packed.feed(data)
        except NotPackedAudioError as error:
            raise UpstreamNotMedia(self._label, f"a segment is {error}") from None


class Delivery:
    """Writes segments, and bears that one cannot be played, but not several in a row."""

    def __init__(self, label: str) -> None:
        """Begin.

        Args:
            label: The name of the upstream.
        """
        self._failures = 0
        self._failure: UpstreamError = UpstreamBroken(label, "the upstream's playlist lists no segments")

    async def write(self, download: Download, writer: Writer) -> None:
        """Write a segment; where it cannot be had or played, go on without it.

        Raises:
            UpstreamError: Too many in a row cannot be played.
        """
        try:
            await writer.write(download)
            self._failures = 0
        except UpstreamError as error:
            self._failure = error
            self._failures += 1
            _log.warning(
                "segment_skipped", upstream=error.label, segment=download.segment.sequence, reason=error.reason
            )
            if self._failures == _MOST_FAILURES:
                raise

    def nothing(self) -> UpstreamError:
        """Say why nothing was written at all."""
        return self._failure


class _Follower:
    """Loads a playlist again and again, and adds what is new in it to the segments to be fetched."""

    def __init__(self, label: str, pull: Pull, window: Window, asked_at: float) -> None:
        self._label = label
        self._clock = pull.clock
        self._sleep = pull.sleep
        self._window = window
        # The time that the first load took counts.
        self._asked_at = asked_at
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
