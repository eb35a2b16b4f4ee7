"""Picture and sound that come in playlists of their own, joined into one transport stream by ffmpeg.

ffmpeg keeps all time stamps, so what belongs together stays together. Where the time line breaks, it is started anew:
each run is for a stretch of both playlists without a discontinuity.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamError
from streamproxy.formats.fmp4 import is_mp4
from streamproxy.formats.hls.model import Map
from streamproxy.model import Sink, Splicing
from streamproxy.sources.ffmpeg import Ffmpeg
from streamproxy.sources.hls_track import Delivery, Track
from streamproxy.sources.hls_writer import Pace, Writer
from streamproxy.sources.pipes import Pipe, pipes
from streamproxy.sources.segments import Download

_LONGEST_ALONE = 10.0
"""Seconds of a stream that picture or sound may go on without the other, where only one has a discontinuity or ends."""

_INTERLEAVED = "20000000"
"""Microseconds of one that ffmpeg holds back for the other, which may be a segment behind."""

_QUEUE = "64"
"""Packets that ffmpeg reads ahead from each."""
_TRANSPORT_STREAM = ["-scan_all_pmts", "0", "-f", "mpegts"]
"""Without the option it waits for seconds of the stream, in case that there is another program."""
_SHORTEST = 0.001
"""Seconds that a segment lasts, whatever the playlist says."""


class Joint:
    """Joins two tracks."""

    def __init__(
        self, program: str, picture: Track, sound: Track, relay: RelayConfig, label: str, pace: Pace | None = None
    ) -> None:
        """Prepare, without starting anything.

        Args:
            program: The path of ffmpeg.
            picture: Has the picture.
            sound: Has the sound.
            relay: Chunk size, chunk delay and stall timeout.
            label: The name of the upstream.
            pace: How fast to go on; None for as fast as the sink takes it.
        """
        self._program = program
        self._lanes = (_Lane(picture, "v", label, pace), _Lane(sound, "a", label, None))
        self._relay = relay
        self._label = label
        self._ran = False

    async def run(self, sink: Sink) -> None:
        """Write both into a sink until one has ended, and all of it is written.

        Raises:
            UpstreamError: One of them failed, or ffmpeg did.
        """
        while not any(lane.over for lane in self._lanes):
            await self._run_stretch(sink)
        for lane in self._lanes:
            if not lane.written:
                raise lane.delivery.nothing()

    async def _run_stretch(self, sink: Sink) -> None:
        stretch = _Stretch()
        async with pipes(len(self._lanes), stall_timeout=self._relay.stall_timeout) as ways:
            feeds = [_Feed(lane, stretch, pipe, self._relay) for lane, pipe in zip(self._lanes, ways, strict=True)]
            tasks = [asyncio.create_task(feed.run(), name=f"{feed.lane.kind}: {self._label}") for feed in feeds]
            for task in tasks:
                task.add_done_callback(partial(_stop_after_failure, tasks))
            try:
                for feed in feeds:
                    await feed.settled.wait()
                _raise_failure(tasks)
                ready = [feed for feed in feeds if feed.pipe.begun.is_set()]
                if ready:
                    if self._ran and isinstance(sink, Splicing):
                        sink.splice(torn=False)
                    self._ran = True
                    await self._run_ffmpeg(ready, tasks, sink)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def _run_ffmpeg(self, feeds: Sequence["_Feed"], tasks: Sequence[asyncio.Task[None]], sink: Sink) -> None:
        async with Ffmpeg(self._program, _arguments(feeds), [feed.pipe for feed in feeds], self._label) as ffmpeg:
            try:
                await ffmpeg.relay(sink, self._relay)
            except UpstreamError:
                # That its input was cut short is the better reason.
                _raise_failure(tasks)
                raise
        _raise_failure(tasks)
        if any(feed.cut_off or not feed.ended for feed in feeds):
            raise UpstreamBroken(self._label, "ffmpeg ended before its input did")


class _Lane:
    """One of the two, from its beginning to its end.

    Attributes:
        kind: What ffmpeg takes of it: `v` or `a`.
        over: Whether there is nothing left of it.
        written: Bytes that were written of it.
    """

    def __init__(self, track: Track, kind: str, label: str, pace: Pace | None) -> None:
        self.track = track
        self.kind = kind
        self.label = label
        self.pace = pace
        self.delivery = Delivery(label)
        self.over = False
        self.written = 0
        self._next: Download | None = None

    async def take(self) -> Download | None:
        """Wait for its next segment; None if it has ended.

        Raises:
            UpstreamError: Its playlist failed.
        """
        if self._next:
            download, self._next = self._next, None
            return download
        try:
            return await anext(self.track.segments)
        except StopAsyncIteration:
            await self.track.end()
            self.over = True
            return None

    def put_back(self, download: Download) -> None:
        """Give back what was taken, for the next stretch."""
        self._next = download


class _Stretch:
    """What one run of ffmpeg can join: no discontinuity is in it."""

    def __init__(self) -> None:
        self._end: float | None = None

    def end(self, position: float) -> None:
        """Say that one of the two has reached its end, after so many seconds."""
        if self._end is None:
            self._end = position

    def is_left(self, position: float) -> bool:
        """Tell whether a position is too far behind the end of the other."""
        return self._end is not None and position >= self._end + _LONGEST_ALONE


class _Feed:
    """Writes one of the two into its pipe, for the length of a stretch. It is the sink of its own writer.

    Attributes:
        settled: Set when the first bytes are in the pipe, or none will come.
        ended: Whether all of it is written.
        cut_off: Whether ffmpeg did not want all of it.
    """

    def __init__(self, lane: _Lane, stretch: _Stretch, pipe: Pipe, relay: RelayConfig) -> None:
        self.lane = lane
        self.pipe = pipe
        self.settled = asyncio.Event()
        self.ended = False
        self.cut_off = False
        self._stretch = stretch
        self._writer = Writer(self, lane.track.media, relay, lane.label, lane.pace)
        self._position = 0.0
        self._map: Map | None = None

    @property
    def demuxer(self) -> list[str]:
        """What ffmpeg is to read it with."""
        assert self._writer.format is not None
        return ["-f", "mp4"] if is_mp4(self._writer.format.header) else _TRANSPORT_STREAM

    @property
    def full(self) -> bool:
        """Whether `drain` would wait."""
        return self.pipe.full

    async def run(self) -> None:
        """Write all of it.

        Raises:
            UpstreamError: It cannot be had, or not be played.
        """
        try:
            while download := await self._next():
                await self.lane.delivery.write(download, self._writer)
            self.ended = True
        except ConnectionError:
            self.cut_off = True
        finally:
            self.lane.written += self._writer.written
            self._stretch.end(self._position)
            self.pipe.end()
            self.settled.set()

    def write(self, data: bytes, /) -> None:
        """Pass it on, the first behind its header."""
        if not self.pipe.begun.is_set() and self._writer.format and self._writer.format.header:
            self.pipe.write(self._writer.format.header)
        self.pipe.write(data)
        self.settled.set()

    async def drain(self) -> None:
        """Wait until ffmpeg takes more.

        Raises:
            ConnectionError: It will not.
        """
        await self.pipe.drain()

    async def _next(self) -> Download | None:
        download = await self.lane.take()
        if download is None:
            return None
        segment, begins = download.segment, not self._position
        if not begins and (segment.discontinuity or segment.map != self._map or self._stretch.is_left(self._position)):
            self.lane.put_back(download)
            return None
        self._map = segment.map
        self._position += max(segment.duration, _SHORTEST)
        return download


def _stop_after_failure(tasks: Sequence[asyncio.Task[None]], done: asyncio.Task[None]) -> None:
    if not done.cancelled() and done.exception():
        for task in tasks:
            task.cancel()


def _raise_failure(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()


def _arguments(feeds: Sequence[_Feed]) -> list[str]:
    arguments = ["-copyts"]
    for feed in feeds:
        arguments += ["-protocol_whitelist", "pipe", "-thread_queue_size", _QUEUE]
        arguments += [*feed.demuxer, "-i", feed.pipe.name]
    for number, feed in enumerate(feeds):
        arguments += ["-map", f"{number}:{feed.lane.kind}:0"]
    arguments += ["-c", "copy", "-map_metadata", "-1", "-max_interleave_delta", _INTERLEAVED]
    return [*arguments, "-f", "mpegts", "pipe:1"]
