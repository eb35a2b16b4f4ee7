"""What the program itself adds to a transcoded channel: the processor time of its own process, without ffmpeg's."""

import asyncio
import shutil
import time
from functools import cache

from tests.bench.measure import cpu_alone
from tests.bench.processes import Server
from tests.helpers.media import transport_stream
from tests.helpers.origin import OK, Exchange

_SETTLE = 3.0
"""Seconds after which ffmpeg has begun, and newcomers have got what they get at once."""
_LENGTH = 20
"""Seconds after which the stream begins anew, as that of a clip which is shown over and over."""
_PIECE = 7 * 188
_INTERVAL = 0.005

PROFILE = {"max_height": 90, "video_bitrate": "2M", "effort": "low"}
"""A profile that makes little work for ffmpeg: it is not what is measured, and must keep up."""


def why_not() -> str | None:
    """Say why nothing can be measured on this machine; None if it can."""
    return None if shutil.which("ffmpeg") else "there is no ffmpeg to transcode with"


class Channel:
    """The script of an origin that sends real pictures and sound at 8 Mbit/s, as television does."""

    def __init__(self, bit_rate: float) -> None:
        """Make them.

        Args:
            bit_rate: Bits per second.
        """
        self._data = _television(bit_rate)
        self._rate = bit_rate / 8

    async def answer(self, exchange: Exchange) -> None:
        """Serve a connection."""
        loop = asyncio.get_running_loop()
        begun, sent = loop.time(), 0
        await exchange.send(OK)
        while True:
            due = int((loop.time() - begun) * self._rate)
            while sent < due:
                at = sent % len(self._data)
                await exchange.send(self._data[at : at + _PIECE])
                sent += len(self._data[at : at + _PIECE])
            await asyncio.sleep(_INTERVAL)


async def watch(server: Server, path: str, seconds: float) -> tuple[float, float]:
    """Watch a stream; return the seconds of processor time that the program used in a second, and its bits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode())
        await _read(reader, _SETTLE)
        begun, used = time.monotonic(), cpu_alone(server.pid)
        received = await _read(reader, seconds)
        took = time.monotonic() - begun
        return (cpu_alone(server.pid) - used) / took, received * 8 / took
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, seconds: float) -> int:
    received = 0
    try:
        async with asyncio.timeout(seconds):
            while data := await reader.read(1 << 16):
                received += len(data)
    except TimeoutError:
        return received
    raise RuntimeError("the stream has ended")


@cache
def _television(bit_rate: float) -> bytes:
    pictures = str(round(0.85 * bit_rate))
    rate = ("-b:v", pictures, "-minrate", pictures, "-maxrate", pictures, "-bufsize", "2M", "-qmin", "1")
    muxer = ("-muxrate", str(round(bit_rate)))
    return transport_stream(
        seconds=_LENGTH, video="mpeg2video", size="1280x720", encoder=rate, audio="mp2", muxer=muxer
    )
