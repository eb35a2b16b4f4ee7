"""Clips that are part of the package, as streams that need no upstream, no network and no ffmpeg."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files

from streamproxy.formats.clip import Clip
from streamproxy.model import TRANSPORT_STREAM, Sink, StreamFormat

LEAD = 2.0
"""Seconds sent at once in the beginning, with which a player starts immediately, and the most sent at once later."""

INTERVAL = 0.1
"""Seconds between two writes."""


class ClipSource:
    """Feed a clip for ever, in real time, as its clock (PCR) says.

    Each run begins with the clip's first packet: the tables, then a key frame.

    Args:
        clip: What is repeated.
        lead: Seconds sent at once in the beginning, and at most later; more than 0.
        clock: Returns a time in seconds that never goes backwards.
        sleep: Waits for the given number of seconds of that clock.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        lead: float = LEAD,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clip = clip
        self._lead = lead
        self._clock = clock
        self._sleep = sleep

    @property
    def format(self) -> StreamFormat:
        """A transport stream."""
        return TRANSPORT_STREAM

    async def run(self, sink: Sink) -> None:
        """Feed the sink until cancelled."""
        sent, due = 0, 0.0
        then = self._clock() - self._lead
        while True:
            now = self._clock()
            # What is late by more than the lead is late for good: a burst would not give a player the lost time back.
            due += min(now - then, self._lead)
            then = now
            start, sent = sent, self._clip.packets_until(due)
            if start < sent:
                sink.write(self._clip.read(start, sent))
                await sink.drain()
            await self._sleep(INTERVAL)


@cache
def packaged_clip(name: str) -> Clip:
    """Return a clip that is part of the package, by the name of its file without extension."""
    return Clip(files("streamproxy").joinpath("data", f"{name}.ts").read_bytes())
