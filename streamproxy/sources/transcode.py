"""A stream sent through ffmpeg: from another channel into its standard input, and from its output into the sink."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Protocol

from streamproxy.config import RelayConfig
from streamproxy.errors import TranscodeFailed, UpstreamBroken, UpstreamStalled
from streamproxy.formats.cluster_times import ClusterTimes
from streamproxy.formats.fmp4 import NotFragmentsError
from streamproxy.formats.fragment_times import FragmentTimes
from streamproxy.formats.fragmented import FragmentedStream
from streamproxy.formats.mpegts import NotTransportStreamError, Packetizer
from streamproxy.formats.multipart import NotPartsError, Parts
from streamproxy.formats.webm import Clusters, NotMatroskaError
from streamproxy.model import TRANSPORT_STREAM, Sink, StreamFormat
from streamproxy.sources.chunker import Chunker
from streamproxy.sources.deadlines import Deadlines
from streamproxy.sources.pipes import Pipe, pipes
from streamproxy.sources.process import GRACE, NotStartedError, Process
from streamproxy.sources.slots import ProcessSlots
from streamproxy.tasks import until_over

START_TIMEOUT = 20.0
"""Seconds of input until the first output, unless said otherwise: ffmpeg looks at its input for several of them, and
an encoder keeps pictures back."""

_READ = 1 << 16


class Input(Protocol):
    """What is transcoded. A reader of a broadcast is one."""

    @property
    def format(self) -> StreamFormat:
        """How it is packed; its header is given to ffmpeg first."""

    async def get(self) -> bytes:
        """Wait for the next piece; an empty one is the end."""


class Cutter(Protocol):
    """Finds where a stream can be joined."""

    @property
    def header(self) -> bytes:
        """What whoever joins must get first; known with the first piece."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came, and return the pieces that are complete with it."""


class Timeline(Protocol):
    """Keeps time over all runs of ffmpeg, each of which begins at zero."""

    def begin(self, header: bytes) -> None:
        """Say that a run begins, with its header."""

    def feed(self, piece: bytes) -> bytes:
        """Move a piece to where it belongs."""


_CUTTERS: MappingProxyType[str, Callable[[], Cutter]] = MappingProxyType(
    {
        "audio/mp4": FragmentedStream,
        "audio/webm": Clusters,
        "audio/x-matroska": Clusters,
        "multipart/x-mixed-replace": Parts,
        "video/mp4": FragmentedStream,
        "video/webm": Clusters,
        "video/x-matroska": Clusters,
    }
)
_TIMELINES: MappingProxyType[Callable[[], Cutter], Callable[[], Timeline]] = MappingProxyType(
    {FragmentedStream: FragmentTimes, Clusters: ClusterTimes}
)
_NOT_WHAT_WAS_ASKED_FOR = (NotFragmentsError, NotMatroskaError, NotPartsError, NotTransportStreamError)


def timeline_of(media_type: str) -> Timeline | None:
    """Make what lets runs of ffmpeg follow each other in a stream, without its clock going back.

    Returns:
        None for MPEG-TS, which is spliced where it is passed on, and for what has no times.
    """
    make = _TIMELINES.get(_CUTTERS.get(_essence(media_type), Parts))
    return make() if make else None


class TranscodeSource:
    """One run of ffmpeg, with the input that is opened for it. Both are gone when `run` has ended, whatever its end."""

    def __init__(
        self,
        label: str,
        open_input: Callable[[], AbstractAsyncContextManager[Input]] | None,
        command: Sequence[str],
        media_type: str,
        relay: RelayConfig,
        *,
        start_timeout: float = START_TIMEOUT,
        nice: int = 0,
        slots: ProcessSlots | None = None,
        timeline: Timeline | None = None,
        grace: float = GRACE,
    ) -> None:
        """Prepare, without starting anything.

        Args:
            label: The name of the upstream.
            open_input: Joins what is transcoded, which comes to ffmpeg's standard input; None where ffmpeg reads an
                address by itself.
            command: The program, and all that it is told.
            media_type: What it writes to its standard output. MPEG-TS goes on in whole packets, fragmented MP4 in whole
                fragments, WebM and Matroska in whole clusters, pictures that replace each other one by one, and
                anything else as it comes.
            relay: Chunk size, chunk delay and stall timeout.
            start_timeout: Seconds of input until the first output.
            nice: How much ffmpeg stands back for other processes, from 0 to 19.
            slots: Of which one is held while this runs; None for no limit.
            timeline: Where this goes on from what came before it; None for nowhere.
            grace: Seconds that ffmpeg has to end when it is asked to.
        """
        self._label = label
        self._open_input = open_input
        self._command = command
        self._relay = relay
        self._start_timeout = start_timeout
        self._nice = nice
        self._slots = slots
        self._timeline = timeline
        self._grace = grace
        self._format = StreamFormat(media_type)
        self._produced = False

    @property
    def format(self) -> StreamFormat:
        """How the output is packed; its header is known with the first write."""
        return self._format

    async def run(self, sink: Sink) -> None:
        """Transcode until something ends. The end of what is transcoded is that of the stream: it keeps itself going.

        Raises:
            TranscodeFailed: ffmpeg did.
            TranscodingBusy: There is no process for it.
            UpstreamError: The input could not be opened, or ended before there was anything of the stream.
        """
        with self._slots.slot(self._label) if self._slots else nullcontext():
            if self._open_input is None:
                await self._run_by_itself(sink)
            else:
                await self._run_with_input(self._open_input, sink)

    async def _run_by_itself(self, sink: Sink) -> None:
        async with self._running(None) as process:
            try:
                await self._pass_on(process, sink)
            except TimeoutError:
                # It is more likely that the address was silent than that ffmpeg hangs.
                raise UpstreamStalled(self._label, self._silence) from None
            if reason := await process.ended():
                raise self._failure(process, reason)
        self._check_that_there_was_anything()

    async def _run_with_input(self, open_input: Callable[[], AbstractAsyncContextManager[Input]], sink: Sink) -> None:
        async with (
            open_input() as source,
            pipes(1, stall_timeout=self._relay.stall_timeout) as (pipe,),
            self._running(pipe) as process,
            _feeding(source, pipe, self._label) as feeding,
        ):
            try:
                await self._pass_on(process, sink)
            except TimeoutError:
                raise self._failure(process, self._silence) from None
            reason = await process.ended()
            if not (feeding.done() and feeding.result()):
                raise self._failure(process, reason or "ffmpeg ended before its input did")
            self._check_that_there_was_anything()

    def _check_that_there_was_anything(self) -> None:
        if not self._produced:
            raise UpstreamBroken(self._label, "what is transcoded has ended")

    @asynccontextmanager
    async def _running(self, pipe: Pipe | None) -> AsyncIterator[Process]:
        inputs = [pipe] if pipe else []
        try:
            async with Process(
                self._command, self._label, inputs=inputs, stdin=pipe, nice=self._nice, grace=self._grace
            ) as process:
                yield process
        except NotStartedError as error:
            raise TranscodeFailed(self._label, str(error), produced=False) from None

    async def _pass_on(self, process: Process, sink: Sink) -> None:
        """Pass on what ffmpeg writes, until that ends.

        Raises:
            TimeoutError: It was silent for too long.
        """
        essence = _essence(self._format.media_type)
        try:
            if cutter := _CUTTERS.get(essence):
                await self._copy(process, sink, partial(self._write_pieces, cutter(), sink))
            else:
                packets = Packetizer() if essence == TRANSPORT_STREAM.media_type else None
                with Chunker(sink, self._relay, Deadlines) as chunker:
                    await self._copy(process, sink, partial(_write_chunks, packets, chunker))
        except _NOT_WHAT_WAS_ASKED_FOR:
            raise self._failure(process, f"ffmpeg wrote something that is no {essence}") from None

    async def _copy(self, process: Process, sink: Sink, write: Callable[[bytes], bool]) -> None:
        while data := await process.read(_READ, self._patience):
            if write(data):
                self._produced = True
            await sink.drain()

    def _write_pieces(self, cutter: Cutter, sink: Sink, data: bytes) -> bool:
        pieces = cutter.feed(data)
        if pieces and not self._format.header:
            self._format = replace(self._format, header=cutter.header)
            if self._timeline:
                self._timeline.begin(cutter.header)
        for piece in pieces:
            sink.write(self._timeline.feed(piece) if self._timeline else piece)
        return bool(pieces)

    @property
    def _patience(self) -> float:
        return self._relay.stall_timeout if self._produced else self._start_timeout

    @property
    def _silence(self) -> str:
        return f"ffmpeg was silent for {self._patience:g} s"

    def _failure(self, process: Process, reason: str) -> TranscodeFailed:
        process.complain(reason)
        if not self._produced:
            reason += ", before there was anything of the stream"
        return TranscodeFailed(self._label, reason, produced=self._produced, said=process.said)


def _essence(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _write_chunks(packets: Packetizer | None, chunker: Chunker, data: bytes) -> bool:
    chunker.add(packets.feed(data) if packets else data)
    return chunker.passed > 0


@asynccontextmanager
async def _feeding(source: Input, pipe: Pipe, label: str) -> AsyncIterator[asyncio.Task[bool]]:
    """Feed a pipe meanwhile; the result is whether the input has ended, and not the reader of the pipe."""
    task = asyncio.create_task(_feed(source, pipe), name=f"input of ffmpeg for {label}")
    try:
        yield task
    finally:
        task.cancel()
        try:
            await until_over(task)
        finally:
            if not task.cancelled():
                # Whatever it was, there is a better reason already.
                task.exception()


async def _feed(source: Input, pipe: Pipe) -> bool:
    try:
        if source.format.header:
            pipe.write(source.format.header)
        while data := await source.get():
            pipe.write(data)
            await pipe.drain()
    except ConnectionError:
        return False
    finally:
        pipe.end()
    return True
