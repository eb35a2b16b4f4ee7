"""Segments written as one stream: in whole packets, or in whole fragments behind their header."""

from collections.abc import Callable
from typing import Protocol

from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamNotMedia
from streamproxy.formats.fmp4 import Fragments, NotFragmentsError, is_mp4
from streamproxy.formats.hls.model import Map, MediaSegment
from streamproxy.formats.hls.pacing import Pacing
from streamproxy.formats.mpegts import PACKET_SIZE, SYNC_BYTE, NotTransportStreamError, Packetizer, describe
from streamproxy.model import Sink, Splicing, StreamFormat
from streamproxy.sources.hls_media import Media
from streamproxy.sources.retrieval import Sleep
from streamproxy.sources.segments import Download

_TRANSPORT_STREAM = "video/mp2t"
_MP4 = "video/mp4"
_HEAD = 64
_SHORT = 1024
"""Bytes above which a segment is long enough for its packets to be recognised by their sync bytes in a row."""


class _Framing(Protocol):
    """Makes something whole of the bytes of a segment."""

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return what is whole with it."""

    def finish(self) -> bytes:
        """Return what else is whole at the end."""


class _Packets:
    """Whole packets of a transport stream."""

    def __init__(self) -> None:
        self._packetizer = Packetizer()
        self._beginning = b""

    def feed(self, data: bytes) -> bytes:
        if len(self._beginning) < _SHORT:
            self._beginning += data[:_SHORT]
        return self._packetizer.feed(data)

    def finish(self) -> bytes:
        # Of a few packets the packetizer cannot be sure. Here it is known where they end.
        syncs = self._beginning[::PACKET_SIZE]
        if self._packetizer.locked or len(self._beginning) >= _SHORT or syncs.count(SYNC_BYTE) < len(syncs):
            return b""
        return self._beginning[: len(self._beginning) // PACKET_SIZE * PACKET_SIZE]


class Pace:
    """Keeps to a pacing, by a clock."""

    def __init__(self, pacing: Pacing, clock: Callable[[], float], sleep: Sleep) -> None:
        """Begin.

        Args:
            pacing: When what is due.
            clock: Returns a time in seconds that never goes backwards.
            sleep: Waits for the given number of seconds of that clock.
        """
        self._pacing = pacing
        self._clock = clock
        self._sleep = sleep

    def begin(self, segment: MediaSegment) -> None:
        """Say that what is written from now on is of another segment."""
        self._pacing.begin(segment.duration)

    async def keep(self, size: int, download: Download) -> None:
        """Wait until so many bytes more of a segment are due."""
        wait = self._pacing.wait(size, self._clock(), of=download.size)
        if wait:
            await self._sleep(wait)


class Writer:
    """Writes segments into a sink, as one stream.

    Attributes:
        format: What the stream is; None before the first segment. Its header is not written unless it changes, or has
            to be repeated: at the beginning, it is for whoever passes the stream on to send it.
        written: Bytes of segments written.
    """

    def __init__(self, sink: Sink, media: Media, relay: RelayConfig, label: str, pace: Pace | None = None) -> None:
        """Prepare, without writing anything.

        Args:
            sink: Where to write.
            media: Fetches initialization sections.
            relay: Chunk size and chunk delay.
            label: The name of the upstream.
            pace: How fast to write; None for as fast as the sink takes it.
        """
        self.format: StreamFormat | None = None
        self.written = 0
        self._sink = sink
        self._media = media
        self._relay = relay
        self._label = label
        self._pace = pace
        self._map: Map | None = None
        self._interrupted = False
        self._missed = False
        self._torn = False

    async def write(self, download: Download) -> None:
        """Write a segment as it arrives, behind its header if that is not in force already.

        Raises:
            UpstreamError: It cannot be had, or is no media. What was written of it by then is whole in itself.
        """
        segment = download.segment
        self._interrupted |= segment.discontinuity
        if segment.gap:
            self._missed = True
            return
        if self.format is None or self._interrupted or segment.map != self._map:
            await self._begin(segment)
        if (self._interrupted or self._missed) and self.written and isinstance(self._sink, Splicing):
            self._sink.splice(torn=self._torn)
        if self._pace:
            self._pace.begin(segment)
        before = self.written
        self._interrupted, self._missed = False, True
        try:
            await self._write(download)
        finally:
            self._torn = self._missed and self.written > before

    async def _write(self, download: Download) -> None:
        before = self.written
        framing, head = self._framing(), b""
        try:
            while data := await download.take(self._relay.chunk_size, within=self._delay(download.segment)):
                head = head or data[:_HEAD]
                await self._pass_on(framing.feed(data), download)
            await self._pass_on(framing.finish(), download)
        except (NotTransportStreamError, NotFragmentsError):
            raise self._not_media(head) from None
        if self.written == before:
            raise self._not_media(head)
        self._missed = False

    async def _begin(self, segment: MediaSegment) -> None:
        """Set the format that a segment needs, and write its header if the stream has begun without it."""
        header = b"" if segment.map is None else await self._media.header(segment.map, segment.sequence)
        media_type = _MP4 if is_mp4(header) else _TRANSPORT_STREAM
        if self.format and self.written and self.format.media_type != media_type:
            raise UpstreamNotMedia(self._label, f"a segment is {media_type} in a stream of {self.format.media_type}")
        self.format = StreamFormat(media_type)
        if header:
            framing = self._framing()
            try:
                header = framing.feed(header) + framing.finish()
            except (NotTransportStreamError, NotFragmentsError):
                raise self._not_media(header) from None
            self.format = StreamFormat(media_type, header)
            if self.written:
                self._sink.write(header)
        self._map = segment.map

    def _framing(self) -> _Framing:
        return Fragments() if self.format and self.format.media_type == _MP4 else _Packets()

    def _delay(self, segment: MediaSegment) -> float:
        # The first goes out at once, unless its padding may yet tell that it must not.
        return self._relay.chunk_delay if self.written or segment.key else 0

    async def _pass_on(self, data: bytes, download: Download) -> None:
        if data:
            if self._pace:
                await self._pace.keep(len(data), download)
            self.written += len(data)
            self._sink.write(data)
            await self._sink.drain()

    def _not_media(self, head: bytes) -> UpstreamNotMedia:
        if not head:
            return UpstreamNotMedia(self._label, "a segment is empty")
        return UpstreamNotMedia(self._label, f"a segment is {describe(head)}, neither MPEG-TS nor fragmented MP4")
