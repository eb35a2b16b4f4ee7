"""Playing sources through a splicer, and looking at what comes out."""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field

from streamproxy.formats.mpegts import PACKET_SIZE, Entry
from streamproxy.formats.mpegts.timestamps import payload_position, pes_times
from streamproxy.formats.splice import Candidate, Piece, Splicer
from tests.helpers.tscheck import check

CHUNK = 21 * PACKET_SIZE
"""Small, since the pictures of the tests are."""

_FFMPEG = "ffmpeg -v warning -i - -map 0 -fps_mode passthrough -enc_time_base 1/90000 -f framecrc -"


def packets(data: bytes, first: int, last: int | None = None) -> bytes:
    """Return some packets of a stream, by their numbers."""
    return data[first * PACKET_SIZE : None if last is None else last * PACKET_SIZE]


def chunks(data: bytes, size: int = CHUNK) -> list[bytes]:
    """Cut a stream into chunks."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def faults(data: bytes) -> list[str]:
    """Return what is wrong with a stream."""
    report = check(data)
    return [*report.faults, *(["a packet came twice"] * report.duplicates)]


@dataclass
class Player:
    """What a player of a stream says.

    Attributes:
        complaints: Its warnings.
        frames: Frames that it has decoded, by kind: video or audio.
    """

    complaints: str
    frames: Counter[str]


def decode(data: bytes) -> Player:
    """Let ffmpeg play a stream."""
    done = subprocess.run(_FFMPEG.split(), input=data, capture_output=True, check=False, timeout=60)
    lines = done.stdout.decode().splitlines()
    kinds = dict(re.findall(r"#media_type (\d+): (\w+)", done.stdout.decode()))
    frames = Counter(kinds[line.partition(",")[0]] for line in lines if not line.startswith("#"))
    return Player(done.stderr.decode(), frames)


def pid_at(data: bytes, at: int) -> int:
    """Return the PID of the packet at a position."""
    return (data[at + 1] & 0x1F) << 8 | data[at + 2]


def of_pid(data: bytes, pid: int) -> list[bytes]:
    """Return the packets of a PID."""
    return [data[at : at + PACKET_SIZE] for at in range(0, len(data), PACKET_SIZE) if pid_at(data, at) == pid]


def times(data: bytes, pid: int) -> list[tuple[int, int]]:
    """Return the presentation and decoding times of the PES packets of a PID."""
    found = (pes_times(data, payload_position(data, at) or 0) for at in starts(data, pid))
    return [(presentation, decode) for presentation, decode in found if presentation is not None and decode is not None]


def entries(data: bytes, pid: int) -> list[int]:
    """Return where PES packets of a PID start that are marked as entry points."""
    return [at for at in starts(data, pid) if data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x40]


def starts(data: bytes, pid: int) -> list[int]:
    """Return where PES packets of a PID start."""
    return [at for at in range(0, len(data), PACKET_SIZE) if data[at + 1] & 0x40 and pid_at(data, at) == pid]


@dataclass
class Channel:
    """A splicer, and all that came out of it."""

    splicer: Splicer = field(default_factory=Splicer)
    pieces: list[Piece] = field(default_factory=list)

    @property
    def output(self) -> bytes:
        return b"".join(piece.data for piece in self.pieces)

    @property
    def entries(self) -> list[Entry]:
        return [entry for piece in self.pieces for entry in piece.entries]

    def play(self, data: bytes, size: int = CHUNK) -> None:
        """Feed the source in force."""
        for chunk in chunks(data, size):
            self.pieces += self.splicer.feed(chunk)

    def idle(self) -> None:
        """Hold the line."""
        self.pieces.append(Piece(self.splicer.idle()))

    def finish(self, *, whole: bool = False) -> None:
        """End the source in force."""
        self.pieces += self.splicer.finish(whole=whole)

    def switch(self, data: bytes, size: int = CHUNK, *, replay: bool = False) -> Candidate:
        """Go on with another source as soon as that is ready, and play it."""
        self.finish()
        candidate = Candidate(self.splicer.former() if replay else None)
        rest = chunks(data, size)
        while not candidate.ready:
            candidate.feed(rest.pop(0))
        self.pieces += self.splicer.enter(candidate)
        for chunk in rest:
            self.pieces += self.splicer.feed(chunk)
        return candidate
