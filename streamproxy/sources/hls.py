"""HLS as one continuous stream: the playlist is followed, its segments are fetched ahead and written in order."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.formats.hls.alignment import Listing, first_of_sound
from streamproxy.formats.hls.model import MediaPlaylist
from streamproxy.formats.hls.pacing import Pacing
from streamproxy.formats.hls.window import LIVE_EDGE
from streamproxy.model import TRANSPORT_STREAM, Sink, StreamFormat, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.ffmpeg import find_ffmpeg
from streamproxy.sources.hls_join import Joint
from streamproxy.sources.hls_playlist import Found, PlaylistLoader
from streamproxy.sources.hls_track import Delivery, Pull, Track
from streamproxy.sources.hls_writer import Pace, Writer
from streamproxy.sources.retrieval import Sleep

IN_FLIGHT = 64 << 20
"""Bytes of segments held at once, for one channel."""

_SHARE_OF_SOUND = 4
"""Of so many connections, and bytes, one is for the sound, where that comes apart."""


class HlsSource:
    """Restreams one HLS upstream, whatever it lists: live, or with an end.

    What it writes are whole packets of a transport stream, or whole fragments of an MP4 file, so that whoever starts at
    a write starts at something a player can use, once it has the header of the format. That is not written at the
    beginning, but where it changes, and again after a discontinuity.

    Sound that comes in a playlist of its own is joined with its picture by ffmpeg, into a transport stream.
    """

    def __init__(
        self,
        upstream: Upstream,
        client: Client,
        options: OptionsConfig,
        relay: RelayConfig,
        *,
        quality: str = "best",
        ffmpeg: str = "ffmpeg",
        in_flight: int = IN_FLIGHT,
        paced: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: Where its playlist is.
            client: What to read with.
            options: How many segments are fetched at once, and how long an upstream may be silent.
            relay: Chunk size, chunk delay and stall timeout.
            quality: Which variant to take: `best`, `worst`, a height (`720p`) or a bandwidth (`3000k`).
            ffmpeg: The path of ffmpeg, or its name on $PATH. Where it is missing, so is sound that comes apart.
            in_flight: Bytes of segments held at once.
            paced: Whether what has ended is written no faster than it is played: for a sink that never waits.
            clock: Returns a time in seconds that never goes backwards.
            sleep: Waits for the given number of seconds of that clock.
        """
        self._upstream = upstream
        self._client = client
        self._options = options
        self._relay = relay
        self._quality = quality
        self._ffmpeg = ffmpeg
        self._in_flight = in_flight
        self._paced = paced
        self._clock = clock
        self._sleep = sleep
        self._writer: Writer | None = None

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed; another header before the write that it is for."""
        return (self._writer.format if self._writer else None) or TRANSPORT_STREAM

    async def run(self, sink: Sink) -> None:
        """Feed the sink until the playlist has ended, and all of it is written.

        Raises:
            UpstreamError: It failed, brought nothing new for too long, or cannot be played.
        """
        program = find_ffmpeg(self._ffmpeg)
        asked_at = self._clock()
        loader = PlaylistLoader(
            self._upstream,
            self._client,
            timeout=self._options.timeout,
            quality=self._quality,
            clock=self._clock,
            joins=program is not None,
        )
        found = await loader.find()
        if program is not None and found.sound is not None:
            await self._join(program, loader, found, found.sound, asked_at, sink)
        else:
            await self._play(loader, found, asked_at, sink)

    async def _play(self, loader: PlaylistLoader, found: Found, asked_at: float, sink: Sink) -> None:
        """Write what comes as one."""
        pull = self._pull(self._options.threads, self._in_flight)
        track = Track(self._upstream, self._client, loader, found.picture.playlist, pull, asked_at=asked_at)
        delivery = Delivery(self._upstream.label)
        pace = self._pace(found.picture.playlist)
        self._writer = writer = Writer(sink, track.media, self._relay, self._upstream.label, pace)
        async with track:
            async for download in track.segments:
                await delivery.write(download, writer)
            if not writer.written:
                raise delivery.nothing()
            # All that was listed is written. If the playlist failed, now is the time to say so.
            await track.end()

    async def _join(
        self, program: str, loader: PlaylistLoader, found: Found, sound: Listing, asked_at: float, sink: Sink
    ) -> None:
        """Write what comes apart."""
        first = first_of_sound(found.picture, sound)
        heard = replace(sound.playlist, segments=sound.playlist.segments[first:])
        threads, in_flight = self._options.threads // _SHARE_OF_SOUND or 1, self._in_flight // _SHARE_OF_SOUND
        picture = Track(
            self._upstream,
            self._client,
            loader,
            found.picture.playlist,
            self._pull(max(1, self._options.threads - threads), self._in_flight - in_flight),
            asked_at=asked_at,
        )
        voice = Track(
            self._upstream,
            self._client,
            loader.for_sound(found),
            heard,
            self._pull(threads, in_flight),
            asked_at=asked_at,
            live_edge=len(heard.segments) or LIVE_EDGE,
            timed=True,
        )
        async with picture, voice:
            pace = self._pace(found.picture.playlist)
            await Joint(program, picture, voice, self._relay, self._upstream.label, pace).run(sink)

    def _pull(self, threads: int, in_flight: int) -> Pull:
        return Pull(self._options.timeout, threads, in_flight, self._clock, self._sleep)

    def _pace(self, playlist: MediaPlaylist) -> Pace | None:
        """Make what keeps viewers who share the stream from being left behind; a live stream does not need it."""
        if not (self._paced and playlist.ended):
            return None
        half_a_queue = self._relay.queue * self._relay.chunk_size // 2
        return Pace(Pacing(playlist, most=half_a_queue), self._clock, self._sleep)
