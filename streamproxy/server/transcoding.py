"""Transcoded channels: which ffmpeg and hardware there are, how many may run, and what feeds such a channel."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import structlog

from streamproxy.api.transcode import REMEDY
from streamproxy.audience import StreamRecord
from streamproxy.broadcast.broadcast import Taker
from streamproxy.broadcast.continuity import Continuity
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import Config
from streamproxy.config.transcoding import profile_of
from streamproxy.errors import FfmpegMissing, TranscodingUnavailable, UpstreamError
from streamproxy.events import Event, UpstreamFailed
from streamproxy.formats.transcoding import Acceleration, Accelerator, Container, Profile, ProfileError, arguments
from streamproxy.hwaccel import Hardware, detect
from streamproxy.model import TRANSPORT_STREAM, Channel, Source, StreamFormat, StreamKind, Transcode
from streamproxy.playlist.variants import container_of
from streamproxy.server.feeds import transcoding_terms
from streamproxy.sources.slots import ProcessSlots
from streamproxy.sources.transcode import TranscodeSource, timeline_of
from streamproxy.sources.transcoder import Transcoder
from streamproxy.web import Settings

_log = structlog.stdlib.get_logger("streamproxy")

_IN_REAL_TIME = ("-re",)
_SOON = 2.0
"""Seconds within which what has begun is begun again from its beginning."""


class _Way(NamedTuple):
    """One way of making a stream.

    Attributes:
        kind: What codes the pictures.
        command: The program, and what it is told.
    """

    kind: Acceleration
    command: tuple[str, ...]


class Transcoding:
    """Makes the feeds of transcoded channels. ffmpeg and hardware are looked for when they are first needed, once."""

    def __init__(
        self,
        settings: Settings,
        broadcasts: BroadcastRegistry,
        publish: Callable[[Event], None],
        address_of: Callable[[Channel], str],
    ) -> None:
        """Prepare, without looking for anything.

        Args:
            settings: The settings in force.
            broadcasts: Where what is transcoded runs.
            publish: Tells others of events.
            address_of: Tells where this program serves a file, for ffmpeg to seek in it.
        """
        self._settings = settings
        self._broadcasts = broadcasts
        self._publish = publish
        self._address_of = address_of
        self._slots = ProcessSlots(_most_processes(settings.config))
        self._looking = asyncio.Lock()
        self._hardware: Hardware | None = None

    def configure(self, config: Config) -> None:
        """Use other settings for what starts from now on."""
        self._slots.configure(_most_processes(config))
        self._hardware = None

    async def hardware(self) -> Hardware:
        """Wait until it is known which ffmpeg there is, and what it can do.

        Raises:
            FfmpegMissing: There is none.
        """
        async with self._looking:
            if self._hardware is None:
                config = self._settings.config
                found = await detect(config.transcode, config.state_dir)
                if config is not self._settings.config:
                    return found  # it is looked for again, as the settings that came meanwhile say
                self._hardware = found
            return self._hardware

    async def command(self, channel: Channel) -> list[str]:
        """Tell what ffmpeg is told for a transcoded channel, without anybody's address.

        Raises:
            FfmpegMissing: There is none.
            ProfileError: It cannot be made.
        """
        transcode = channel.transcode
        assert transcode, "it is transcoded"
        profile = profile_of(self._settings.config.transcode, transcode.profile)
        ways = self._ways(transcode, profile, container_of(profile, transcode), await self.hardware())
        return [word if word != self._address_of(transcode.source) else "INPUT" for word in ways[0].command[1:]]

    def keeping(self, transcode: Transcode) -> AbstractContextManager[None]:
        """Keep what is transcoded running while ffmpeg may have to be started again."""
        return self._broadcasts.keeping(transcode.source.id)

    def feed(self, channel: Channel, transcode: Transcode, record: StreamRecord) -> "TranscodedFeed":
        """Make what feeds a transcoded channel, without starting anything."""
        return TranscodedFeed(self, channel, transcode, record)

    async def continuity(self, channel: Channel, transcode: Transcode, record: StreamRecord) -> Continuity:
        """Make what keeps a transcoded channel going.

        Raises:
            UpstreamError: It cannot be made.
        """
        label = f"{transcode.source.name} ({transcode.profile})"
        try:
            profile = profile_of(self._settings.config.transcode, transcode.profile)
            hardware = await self.hardware()
            container = container_of(profile, transcode)
            ways = self._ways(transcode, profile, container, hardware)
        except FfmpegMissing as error:
            raise TranscodingUnavailable(label, f"{error}; {REMEDY}") from None
        except ProfileError as error:
            raise TranscodingUnavailable(label, str(error)) from None

        def fall_back(reason: str) -> None:
            remedy = f"it goes on with {ways[transcoder.number].kind}"
            _log.warning("hardware_failed", channel=channel.id, reason=reason, remedy=remedy)
            text = f"{reason}; {remedy}"
            event = UpstreamFailed(stream_id=channel.id, upstream=label, reason=text, error_type="TranscodeFailed")
            self._publish(event)

        loop = asyncio.get_running_loop()
        begun = loop.time()
        timeline = timeline_of(container.media_type)

        def open_source(command: Sequence[str]) -> Source:
            config = self._settings.config
            if _is_file(transcode):
                # As it is read in real time, that is about where it was when ffmpeg had to be started again.
                command = _from(loop.time() - begun, command)
            relay = config.relay.model_copy(update={"stall_timeout": config.transcode.stall_timeout})
            return TranscodeSource(
                label,
                None if _is_file(transcode) else lambda: self._broadcasts.join(transcode.source),
                command,
                container.media_type,
                relay,
                nice=config.transcode.nice,
                slots=self._slots,
                timeline=timeline,
            )

        transcoder = Transcoder([way.command for way in ways], open_source, on_fallback=fall_back)
        terms = transcoding_terms(self._settings.config, from_file=_is_file(transcode))
        return Continuity(channel, lambda _: transcoder.source(), terms, witness=record)

    def _ways(self, transcode: Transcode, profile: Profile, container: Container, hardware: Hardware) -> list[_Way]:
        """Find the ways of making a stream, the preferred first.

        Raises:
            ProfileError: Nothing here can make it.
        """
        ways = []
        failure: ProfileError | None = None
        for accelerator in hardware.accelerators(profile):
            try:
                told = self._arguments(transcode, profile, container, accelerator)
                ways.append(_Way(accelerator.kind, (hardware.ffmpeg, *told)))
            except ProfileError as error:
                failure = error
        if failure and not ways:
            raise failure
        return ways

    def _arguments(
        self, transcode: Transcode, profile: Profile, container: Container, accelerator: Accelerator
    ) -> list[str]:
        from_file = _is_file(transcode)
        return arguments(
            profile,
            accelerator,
            input=self._address_of(transcode.source) if from_file else "pipe:0",
            threads=self._settings.config.transcode.threads,
            container=container,
            input_options=_IN_REAL_TIME if from_file else (),
            variables=transcode.variables,
        )


class TranscodedFeed:
    """Feeds a transcoded channel, once it is known with what."""

    def __init__(self, transcoding: Transcoding, channel: Channel, transcode: Transcode, record: StreamRecord) -> None:
        self._transcoding = transcoding
        self._channel = channel
        self._transcode = transcode
        self._record = record
        self._continuity: Continuity | None = None

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed; known with its first write."""
        return self._continuity.format if self._continuity else TRANSPORT_STREAM

    def look(self) -> None:
        """Tell the taker of entry points that are not known yet: somebody joins."""
        if self._continuity:
            self._continuity.look()

    def newest(self, count: int) -> list[bytes]:
        """Return the newest pieces that ffmpeg has written as a transport stream, at most so many, oldest first."""
        return self._continuity.newest(count) if self._continuity else []

    async def run(self, sink: Taker) -> None:
        """Transcode until it is given up.

        Raises:
            UpstreamError: Why.
        """
        try:
            self._continuity = await self._transcoding.continuity(self._channel, self._transcode, self._record)
        except UpstreamError as error:
            self._record.gave_up(error)
            raise
        with self._transcoding.keeping(self._transcode):
            await self._continuity.run(sink)


def _from(seconds: float, command: Sequence[str]) -> list[str]:
    """Have ffmpeg read a file from a position on."""
    at = command.index(_IN_REAL_TIME[0])
    return [*command[:at], *(["-ss", f"{seconds:.1f}"] if seconds > _SOON else []), *command[at:]]


def _is_file(transcode: Transcode) -> bool:
    return transcode.source.kind is StreamKind.FILE


def _most_processes(config: Config) -> int:
    return config.transcode.max_processes or os.cpu_count() or 1
