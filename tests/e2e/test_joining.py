"""Whoever comes to a channel that is running sees and hears it from the newest key frame on, without a fault."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamproxy.formats.mpegts import PACKET_SIZE
from tests.formats.splice.playing import decode, entries, faults, of_pid, starts
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.media import transport_stream
from tests.helpers.origin import origin
from tests.helpers.proxy import config, running
from tests.helpers.scripts import Tap
from tests.helpers.tscheck import check

pytestmark = [
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the streams are made by ffmpeg"),
    pytest.mark.asyncio(loop_factories=["uvloop"]),
]

GROUP = 10
"""Seconds from one key frame to the next."""

VIDEO_TYPES = {0x02, 0x1B, 0x24}


def stream(**more: Any) -> bytes:
    """Make a stream with a key frame each 10 seconds."""
    return transport_stream(seconds=22, rate=25, group=25 * GROUP, **more)


STREAMS: dict[str, Callable[[], bytes]] = {
    "H.264": stream,
    "H.264 with B-frames": lambda: stream(b_frames=3),
    "H.264, interlaced": lambda: stream(encoder=("-flags", "+ilme+ildct", "-slices", "4")),
    "HEVC": lambda: stream(video="libx265", b_frames=2),
    "MPEG-2": lambda: stream(video="mpeg2video", audio="mp2"),
    "MPEG-2, interlaced": lambda: stream(video="mpeg2video", audio="mp2", encoder=("-flags", "+ilme+ildct")),
}


def of_video(data: bytes) -> int:
    return next(pid for pid, stream_type in check(data).stream_types.items() if stream_type in VIDEO_TYPES)


def whole_packets(position: float) -> int:
    return int(position) // PACKET_SIZE * PACKET_SIZE


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS.keys())
async def test_who_joins_in_the_middle_of_a_group_of_pictures_sees_no_damage(
    tmp_path: Path, make: Callable[[], bytes]
) -> None:
    whole = make()
    video = of_video(whole)
    _, second, third = entries(whole, video)
    middle = whole_packets(second + 0.37 * (third - second))
    tap = Tap(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole))

    tap.send(whole[:middle])
    async with origin(tap.answer) as upstream:
        relay = {"chunk_size": 21 * PACKET_SIZE, "chunk_delay": 0.01, "queue": 1000, "history": 0}
        settings = config(tmp_path, streams={"news": upstream.url()}, relay=relay)
        async with running(settings) as proxy, proxy.open("/stream/news") as first:
            # What is held back for a clean cut is no more than that.
            seen = await first.reader.readexactly(middle - 12 * 21 * PACKET_SIZE)
            async with proxy.open("/stream/news") as joining:
                tap.send(whole[middle:])
                joined = await joining.reader.read()
            seen += await first.reader.read()

    assert decode(whole[middle:]).complaints, "there would have been no damage anyway"
    assert seen == whole
    assert faults(joined) == []
    player = decode(joined)
    assert player.complaints == ""
    assert player.frames["video"] == sum(at >= second for at in starts(whole, video))
    assert entries(joined, video)[0] == starts(joined, video)[0]
    assert all(of_pid(joined, pid)[0][1] & 0x40 for pid in check(joined).stream_types), "something begins in its middle"
    assert player.frames["audio"] >= 0.95 * 12 * 38
