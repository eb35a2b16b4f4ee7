"""Hardware that fails is given up for software; time is virtual."""

import asyncio
from collections.abc import Sequence

import pytest

from streamproxy.errors import TranscodeFailed, UpstreamBroken, UpstreamError
from streamproxy.model import TRANSPORT_STREAM, Sink, StreamFormat
from streamproxy.sources.transcoder import SOON, Command, Transcoder
from tests.helpers.hls_origin import Recorder
from tests.helpers.virtual_time import in_virtual_time

HARDWARE, BACKUP, SOFTWARE = ("ffmpeg", "-hwaccel"), ("ffmpeg", "-backup"), ("ffmpeg",)
AT_ONCE = TranscodeFailed("tv", "ffmpeg failed with status 1", produced=False)
LATER = TranscodeFailed("tv", "ffmpeg was ended by signal 11", produced=True)
ENDED = UpstreamBroken("tv", "what is transcoded has ended")


class Stage:
    """Where commands run, and end as they are told.

    Attributes:
        ran: Which ran.
        reasons: Why some were given up.
    """

    def __init__(self, *commands: Command, ends: dict[Command, UpstreamError]) -> None:
        self.ran: list[Command] = []
        self.reasons: list[str] = []
        self.ends = ends
        self.transcoder = Transcoder(commands, lambda command: Run(self, command), on_fallback=self.reasons.append)

    async def play(self, times: int = 1) -> Sequence[Command]:
        """Run a source so many times; return which commands ran."""
        self.ran.clear()
        for _ in range(times):
            with pytest.raises(UpstreamError):
                await self.transcoder.source().run(Recorder())
        return list(self.ran)


class Run:
    def __init__(self, stage: Stage, command: Command) -> None:
        self._stage = stage
        self._command = command

    @property
    def format(self) -> StreamFormat:
        return TRANSPORT_STREAM if self._command == SOFTWARE else StreamFormat("video/mp4")

    async def run(self, sink: Sink) -> None:
        self._stage.ran.append(self._command)
        raise self._stage.ends[self._command]


async def test_what_fails_at_once_is_followed_by_the_next_in_the_same_run_and_for_good() -> None:
    stage = Stage(HARDWARE, SOFTWARE, ends={HARDWARE: AT_ONCE, SOFTWARE: LATER})
    source = stage.transcoder.source()
    with pytest.raises(TranscodeFailed, match="signal 11"):
        await source.run(Recorder())
    assert stage.ran == [HARDWARE, SOFTWARE]
    assert source.format == TRANSPORT_STREAM
    assert stage.reasons == [AT_ONCE.reason]
    assert await stage.play(3) == [SOFTWARE] * 3
    assert len(stage.reasons) == 1


async def test_the_last_is_never_given_up() -> None:
    stage = Stage(HARDWARE, SOFTWARE, ends={HARDWARE: AT_ONCE, SOFTWARE: AT_ONCE})
    assert await stage.play(3) == [HARDWARE, SOFTWARE, SOFTWARE, SOFTWARE]
    assert len(stage.reasons) == 1


def test_what_fails_twice_within_a_minute_is_given_up() -> None:
    async def scene() -> None:
        stage = Stage(HARDWARE, BACKUP, SOFTWARE, ends=dict.fromkeys((HARDWARE, BACKUP, SOFTWARE), LATER))
        assert await stage.play(1) == [HARDWARE]
        await asyncio.sleep(SOON + 1)
        assert await stage.play(1) == [HARDWARE]
        await asyncio.sleep(SOON - 1)
        assert await stage.play(1) == [HARDWARE]
        assert stage.reasons == [LATER.reason]
        assert await stage.play(3) == [BACKUP, BACKUP, SOFTWARE]

    in_virtual_time(scene())


async def test_the_end_of_the_input_is_nobodys_fault() -> None:
    stage = Stage(HARDWARE, SOFTWARE, ends={HARDWARE: ENDED})
    assert await stage.play(5) == [HARDWARE] * 5
    assert stage.reasons == []


async def test_a_run_that_began_before_says_nothing_of_the_next_command() -> None:
    stage = Stage(HARDWARE, BACKUP, SOFTWARE, ends={HARDWARE: AT_ONCE, BACKUP: LATER, SOFTWARE: LATER})
    early = stage.transcoder.source()
    assert await stage.play() == [HARDWARE, BACKUP]
    with pytest.raises(TranscodeFailed):
        await early.run(Recorder())
    assert stage.ran == [HARDWARE, BACKUP, HARDWARE, BACKUP]
    assert len(stage.reasons) == 2
