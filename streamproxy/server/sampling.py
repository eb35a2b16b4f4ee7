"""Samples of what runs: whether packets are missing in it, for the statistics."""

import asyncio

from streamproxy.audience import Audience
from streamproxy.broadcast.broadcast import Broadcast, Recalling
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.formats.mpegts.inspection import inspect
from streamproxy.model import TRANSPORT_STREAM

_SAMPLE = 2
"""Pieces of a channel that are looked through at a time."""


async def inspect_running(broadcasts: BroadcastRegistry, audience: Audience) -> None:
    """Look through the newest packets of every channel that runs, as they came and as viewers got them.

    Those of a channel take about half a millisecond, so this is done now and then, and others have their turn between.
    """
    for broadcast in broadcasts.running:
        if not broadcast.closed and broadcast.format.media_type == TRANSPORT_STREAM.media_type:
            _inspect(broadcast, audience)
            await asyncio.sleep(0)


def _inspect(broadcast: Broadcast, audience: Audience) -> None:
    counters = audience.record(broadcast.channel).counters
    came = broadcast.feed.newest(_SAMPLE) if isinstance(broadcast.feed, Recalling) else []
    received = inspect(b"".join(came))
    # Until the first splice, viewers get what came, byte for byte.
    sent = inspect(b"".join(broadcast.newest(_SAMPLE))) if counters.splices else received
    counters.inspected += received.packets
    counters.cc_errors_in += received.cc_errors
    counters.pcr_gaps_in += received.pcr_gaps
    counters.cc_errors_out += sent.cc_errors
    counters.pcr_gaps_out += sent.pcr_gaps
