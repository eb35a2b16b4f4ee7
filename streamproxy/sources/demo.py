"""The demo channel: a test pattern that needs no upstream, no network and no ffmpeg."""

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


class DemoSource:
    """Feed the demo clip for ever, in real time, as its clock (PCR) says.

    Each run begins with the clip's first packet: the tables, then a key frame.

    Args:
        clock: Returns a time in seconds that never goes backwards.
        sleep: Waits for the given number of seconds of that clock.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep

    @property
    def format(self) -> StreamFormat:
        """A transport stream."""
        return TRANSPORT_STREAM

    async def run(self, sink: Sink) -> None:
        """Feed the sink until cancelled."""
        clip = demo_clip()
        sent, due = 0, 0.0
        then = self._clock() - LEAD
        while True:
            now = self._clock()
            # What is late by more than the lead is late for good: a burst would not give a player the lost time back.
            due += min(now - then, LEAD)
            then = now
            start, sent = sent, clip.packets_until(due)
            if start < sent:
                sink.write(clip.read(start, sent))
                await sink.drain()
            await self._sleep(INTERVAL)


@cache
def demo_clip() -> Clip:
    """Return the clip that the demo channel repeats; part of the package."""
    return Clip(files("streamproxy").joinpath("data", "demo.ts").read_bytes())
