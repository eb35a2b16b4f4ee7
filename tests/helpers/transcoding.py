"""Transcoded streams as their viewers get them: recorded up to so many places to begin at, probed and decoded."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest

from streamproxy.formats.fragmented import FragmentedStream
from streamproxy.formats.mpegts import PACKET_SIZE, Indexer, Packetizer
from streamproxy.formats.multipart import Parts
from streamproxy.formats.webm import Clusters
from tests.helpers.media import transport_stream
from tests.helpers.origin import OK, Exchange
from tests.helpers.programs import program
from tests.helpers.proxy import Proxy, Viewer

needs_ffmpeg = pytest.mark.skipif(
    not shutil.which("ffmpeg") or not shutil.which("ffprobe"), reason="needs ffmpeg and ffprobe"
)

LONGEST = 60.0
"""Seconds that a recording may take: machines that do other things too transcode slowly."""

_PICTURES = "multipart/x-mixed-replace"
_PAUSE = 0.02


class Cutter(Protocol):
    """Finds where a stream can be joined; see `streamproxy.sources.transcode`."""

    @property
    def header(self) -> bytes:
        """What a player needs first."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take more; return the pieces that are complete."""


class _Groups:
    """Cuts a transport stream at its entry points."""

    header = b""

    def __init__(self) -> None:
        self._packetizer = Packetizer()
        self._indexer = Indexer()
        self._held = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> list[bytes]:
        packets = self._packetizer.feed(data)
        self._held += packets
        entries = self._indexer.feed(packets).entries if packets else ()
        return [self._cut(entry.position - self._at) for entry in entries]

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._held[:size])
        del self._held[:size]
        self._at += size
        return piece


_CUTTERS: Mapping[str, Callable[[], Cutter]] = {
    "video/mp2t": _Groups,
    "video/mp4": FragmentedStream,
    "video/webm": Clusters,
    "video/x-matroska": Clusters,
    _PICTURES: Parts,
}


@dataclass(frozen=True)
class Recording:
    """What a viewer got, up to the last place at which another could begin.

    Attributes:
        media_type: What it was said to be.
        data: All of it.
        waited: Seconds from the request to the first byte.
    """

    media_type: str
    data: bytes
    waited: float

    def probe(self) -> Mapping[str, Mapping[str, Any]]:
        """Say of its streams, by `video` and `audio`, what ffprobe does; `format` is about all of it."""
        found = json.loads(_run(["ffprobe", "-show_streams", "-show_format", "-of", "json"], self))
        return {stream["codec_type"]: stream for stream in found["streams"]} | {"format": found["format"]}

    def key_frames(self) -> list[float]:
        """List the times of key frames, in seconds."""
        return [time for time, flags in self.pictures() if flags.startswith("K")]

    def pictures(self) -> list[tuple[float, str]]:
        """List the times of pictures, in the order in which they come, and what they are."""
        return self._packets("v:0")

    def sounds(self) -> list[tuple[float, str]]:
        """List the times of what there is of the sound."""
        return self._packets("a:0")

    def _packets(self, which: str) -> list[tuple[float, str]]:
        listed = ["ffprobe", "-select_streams", which, "-show_entries", "packet=pts_time,flags", "-of", "json"]
        packets = json.loads(_run(listed, self))["packets"]
        return [(float(packet["pts_time"]), packet["flags"]) for packet in packets]

    def complaints(self) -> str:
        """Decode all of it; return what ffmpeg complains of."""
        return decode(self.data, _demuxer(self.media_type))


def decode(data: bytes, demuxer: Sequence[str] = ()) -> str:
    """Decode a stream; return what ffmpeg complains of."""
    command = ["ffmpeg", "-v", "warning", "-nostdin", *demuxer, "-i", "pipe:0", "-f", "null", "-"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=LONGEST, check=False)
    return done.stderr.decode() + (f"status {done.returncode}" if done.returncode else "")


def _run(command: list[str], recording: Recording) -> bytes:
    command = [command[0], "-v", "error", *_demuxer(recording.media_type), *command[1:], "pipe:0"]
    return subprocess.run(command, input=recording.data, stdout=subprocess.PIPE, timeout=LONGEST, check=True).stdout


def _demuxer(media_type: str) -> list[str]:
    # It would be taken for something else.
    return ["-f", "mpjpeg"] if media_type.startswith(_PICTURES) else []


async def record(proxy: Proxy, path: str, pieces: int) -> Recording:
    """Watch something until there are so many places to begin at behind each other, each with all up to the next."""
    came = _now()
    async with proxy.open(path) as viewer:
        assert viewer.status == 200, await viewer.reader.read()
        recording = await record_of(viewer, pieces)
        return Recording(recording.media_type, recording.data, recording.waited - came)


async def record_of(viewer: Viewer, pieces: int) -> Recording:
    """Do the same with an answer that has begun; what it waited is a time of the loop."""
    media_type = viewer.headers["content-type"]
    cutter = _CUTTERS[media_type.partition(";")[0]]()
    got: list[bytes] = []
    first = 0.0
    async with asyncio.timeout(LONGEST):
        while len(got) < pieces:
            data = await viewer.reader.read(1 << 16)
            assert data, "the stream has ended"
            first = first or _now()
            got += cutter.feed(data)
    data = b"".join((cutter.header, *got))
    if media_type.startswith(_PICTURES):
        # ffmpeg would look for another picture behind the last boundary.
        data = data[: -len(cutter.header) - 2]
    return Recording(media_type, data, first)


async def read_for(viewer: Viewer, seconds: float) -> bytes:
    """Read what comes within some seconds.

    Raises:
        AssertionError: It ended before.
    """
    data, until = bytearray(), _now() + seconds
    while _now() < until:
        try:
            async with asyncio.timeout_at(until):
                piece = await viewer.reader.read(1 << 16)
        except TimeoutError:
            break
        assert piece, "the stream has ended"
        data += piece
    return bytes(data)


@dataclass
class Live:
    """The script of an origin that sends a stream at the rate of its clock, from where it is on: as television does.

    Attributes:
        data: The stream, at a constant bit rate. It ends when it does.
        rate: Bytes per second.
        connections: How many there were, by path.
    """

    data: bytes
    rate: float
    connections: Counter[str] = field(default_factory=Counter)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        self.connections[exchange.path] += 1
        begun, sent = _now(), 0
        await exchange.send(OK)
        while sent < len(self.data):
            due = int((_now() - begun + _PAUSE) * self.rate) // PACKET_SIZE * PACKET_SIZE
            await exchange.send(self.data[sent:due])
            sent = max(sent, due)
            await asyncio.sleep(_PAUSE)


INTERLACED_RATE = 9_000_000 / 8
"""Bytes per second of `interlaced`."""


@cache
def interlaced(seconds: float) -> bytes:
    """Make 1080i as television sends it: MPEG-2, 25 pictures of two fields a second, with sound, 9 Mbit/s in all."""
    command = ["ffmpeg", "-v", "error", "-nostdin"]
    command += ["-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate=50:duration={seconds}"]
    command += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"]
    command += ["-vf", "tinterlace=interleave_top,fieldorder=tff", "-c:v", "mpeg2video", "-flags", "+ilme+ildct"]
    command += ["-b:v", "7M", "-maxrate", "7M", "-bufsize", "2M", "-g", "12", "-bf", "2", "-c:a", "mp2", "-b:a", "192k"]
    command += ["-muxrate", str(round(INTERLACED_RATE * 8)), "-f", "mpegts", "-"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LONGEST).stdout


@cache
def film(seconds: float) -> bytes:
    """Make a film whose table of contents comes last, so that a player has to seek in it first."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y"]
    command += ["-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration={seconds}"]
    command += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-f", "mp4"]
    # Into a file: it has to go back to where it began.
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        subprocess.run([*command, file.name], check=True, timeout=LONGEST)
        return file.read()


def _now() -> float:
    return asyncio.get_running_loop().time()


TELEVISION_RATE = 1_000_000 / 8
"""Bytes per second of `television`."""


def television(seconds: float) -> bytes:
    """Make a small picture at a constant bit rate, which costs little to transcode."""
    return transport_stream(seconds=seconds, muxer=("-muxrate", str(round(TELEVISION_RATE * 8))))


def stand_in(folder: Path, body: str) -> str:
    """Write a program that is the real ffmpeg, but for what its body does when it is to transcode from its input.

    Args:
        folder: Where to.
        body: Lines of Python, indented by four blanks, in which `real(arguments)` becomes the real one. What they fall
            through to is that too.
    """
    return program(
        folder,
        f"""
def real(arguments):
    os.execv({shutil.which("ffmpeg")!r}, ["ffmpeg", *arguments])

if "pipe:0" in sys.argv:
{body}
real(sys.argv[1:])
""",
    )
