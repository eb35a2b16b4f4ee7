"""How a transport stream ends: all that whatever follows it has to go on from (ISO/IEC 13818-1)."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median_low

from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.psi import NULL_PID, Program
from streamproxy.formats.mpegts.timestamps import (
    TICKS_PER_SECOND,
    WRAP,
    difference,
    payload_position,
    pes_times,
    read_pcr_base,
)

_JUMP = 10 * TICKS_PER_SECOND
"""Ticks between two decoding times that are no longer a gap but another time base."""
_STEPS = 16
"""Newest steps that the duration of a picture or a PES packet of sound is taken from."""
_LONGEST_STEP = TICKS_PER_SECOND
_LONGEST_CLOCK_STEP = TICKS_PER_SECOND // 2
_USUAL_STEP = {"picture": TICKS_PER_SECOND // 25, "sound": TICKS_PER_SECOND * 1024 // 48_000, "clock": 1_800}
"""Durations to go by where a stream is too short to tell."""

_HEADER_SIZE = 6
_HIGH_BITS = bytes(byte & 0x1F for byte in range(256))


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a stream. All times are ticks of 90 kHz, modulo 2^33; None where there is no such stream.

    Attributes:
        counters: The last continuity counter of each PID that was seen.
        decode_time: The decoding time that a next picture would have.
        presentation_time: The presentation time of a next picture, after all that are there.
        sound: The presentation time at which the sound of each PID ends.
        clock: The clock (PCR) that would come next.
        last_picture: The first 6 bytes of the PES packet of the video that began last, up to its length; empty if it
            is scrambled, or was not seen.
    """

    counters: Mapping[int, int] = field(default_factory=dict)
    decode_time: int | None = None
    presentation_time: int | None = None
    sound: Mapping[int, int] = field(default_factory=dict)
    clock: int | None = None
    last_picture: bytes = b""

    @property
    def sound_time(self) -> int | None:
        """Where the sound ends that ends last."""
        times = list(self.sound.values())
        return max(times, key=lambda time: difference(time, times[0])) if times else None


def read_ending(chunks: Iterable[bytes], program: Program | None) -> Ending:
    """Read the end of a stream.

    Args:
        chunks: The newest packets, oldest chunk first; takes about 1 ms per 4 MiB.
        program: The program to look at; None if none is known, and so no times.
    """
    counters: dict[int, int] = {}
    sound = {stream.pid: _Times() for stream in program.audio} if program else {}
    video = {program.video.pid: _Times()} if program and program.video else {}
    tracks = {**video, **sound}
    lead_pid, lead = next(iter(tracks.items()), (NULL_PID, _Times()))
    clock = _Clock(program.pcr_pid if program else NULL_PID, lead_pid, lead)
    last_picture = b""
    for chunk in chunks:
        columns = Columns(chunk)
        pids = zip(columns.flags.translate(_HIGH_BITS), columns.pid_low, strict=True)
        # Of the packets of a PID the last comes last, and so it is the one that stays.
        last = dict(zip(pids, columns.control, strict=True))
        counters |= {high << 8 | low: control & 0x0F for (high, low), control in last.items()}
        clock.read(chunk, columns)
        _read_times(chunk, columns, tracks)
        for pid in video:
            last_picture = _newest_header(chunk, columns, pid, last_picture)
    return Ending(
        counters,
        lead.next_decode_time if video else None,
        lead.next_presentation_time if video else None,
        {pid: end for pid, times in sound.items() if (end := times.sound_end) is not None},
        clock.next,
        last_picture,
    )


def _read_times(chunk: bytes, columns: Columns, tracks: Mapping[int, "_Times"]) -> None:
    for number in columns.indices(columns.unit_starts() & ~columns.scrambled()):
        at = number * PACKET_SIZE
        track = tracks.get((chunk[at + 1] & 0x1F) << 8 | chunk[at + 2])
        payload = payload_position(chunk, at)
        if track is not None and payload is not None:
            track.add(*pes_times(chunk, payload))


def _newest_header(chunk: bytes, columns: Columns, pid: int, before: bytes) -> bytes:
    """Return the first bytes of the last PES packet that begins on a PID; what was found before if none does."""
    packets = columns.of_pid(pid)
    if packets & columns.scrambled():
        return b""
    numbers = columns.indices(packets & columns.unit_starts())
    if not numbers:
        return before
    at = numbers[-1] * PACKET_SIZE
    payload = payload_position(chunk, at)
    header = b"" if payload is None else chunk[payload : min(payload + _HEADER_SIZE, at + PACKET_SIZE)]
    return header if len(header) == _HEADER_SIZE and header.startswith(b"\0\0\1") else b""


class _Steps:
    """The newest distances between two times."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._steps: deque[int] = deque(maxlen=_STEPS)

    def add(self, step: int) -> None:
        if 0 < step <= self._longest:
            self._steps.append(step)

    def usual(self, otherwise: int) -> int:
        """Return the one in the middle."""
        return median_low(self._steps) if self._steps else otherwise

    def longest_usual(self, otherwise: int) -> int:
        """Return the longest, but for those that only a loss can have made."""
        usual = self.usual(otherwise)
        return max((step for step in self._steps if 2 * step <= 3 * usual), default=usual)


class _Times:
    """The times of a PID's PES packets, one after another."""

    def __init__(self) -> None:
        self._decode: int | None = None
        self._latest = 0  # presentation time
        self._last = 0  # presentation time
        self._untimed = 0
        self._steps = _Steps(_LONGEST_STEP)

    def add(self, presentation: int | None, decode: int | None) -> None:
        if presentation is None or decode is None:
            self._untimed += 1
            return
        step = None if self._decode is None else difference(decode, self._decode)
        if step is None or abs(step) > _JUMP:
            self._latest = presentation
        else:
            # Not every picture of MPEG-2 has its own time.
            self._steps.add(step // (1 + self._untimed))
            if difference(presentation, self._latest) > 0:
                self._latest = presentation
        self._decode, self._last, self._untimed = decode, presentation, 0

    @property
    def decode_time(self) -> int | None:
        return self._decode

    @property
    def next_decode_time(self) -> int | None:
        if self._decode is None:
            return None
        return (self._decode + (1 + self._untimed) * self._steps.usual(_USUAL_STEP["picture"])) % WRAP

    @property
    def next_presentation_time(self) -> int | None:
        if self._decode is None:
            return None
        return (self._latest + (1 + self._untimed) * self._steps.usual(_USUAL_STEP["picture"])) % WRAP

    @property
    def sound_end(self) -> int | None:
        # A PES packet may hold more frames than the one before it: rather a hole of a frame than two at a time.
        if self._decode is None:
            return None
        return (self._last + self._steps.longest_usual(_USUAL_STEP["sound"])) % WRAP


class _Clock:
    """The clock of a program, and how far the stream that leads it has come since."""

    def __init__(self, pid: int, lead_pid: int, lead: _Times) -> None:
        self._pid = pid
        self._lead_pid = lead_pid
        self._lead = lead
        self._last: int | None = None
        self._lead_then: int | None = None
        self._steps = _Steps(_LONGEST_CLOCK_STEP)

    def read(self, chunk: bytes, columns: Columns) -> None:
        """Read a chunk whose times have not been read yet."""
        if self._pid == NULL_PID:
            return
        number = -1
        for number in columns.indices(columns.of_pid(self._pid) & columns.with_adaptation_flag(0x10)):
            base = read_pcr_base(chunk, number * PACKET_SIZE)
            if base is None:
                continue
            if self._last is not None:
                self._steps.add(difference(base, self._last))
            self._last = base
        if number >= 0:
            self._lead_then = self._decode_time_at(number, chunk, columns)

    def _decode_time_at(self, number: int, chunk: bytes, columns: Columns) -> int | None:
        """Return the newest decoding time when the packet of a number came."""
        starts = columns.of_pid(self._lead_pid) & columns.unit_starts() & ~columns.scrambled()
        for start in reversed(columns.indices(starts & (1 << 8 * (number + 1)) - 1)):
            payload = payload_position(chunk, start * PACKET_SIZE)
            decode_time = None if payload is None else pes_times(chunk, payload)[1]
            if decode_time is not None:
                return decode_time
        return self._lead.decode_time

    @property
    def next(self) -> int | None:
        if self._last is None:
            return None
        step = self._steps.usual(_USUAL_STEP["clock"])
        if self._lead_then is not None and self._lead.next_decode_time is not None:
            # The clock does not come with every picture, but it goes on with every one.
            since = difference(self._lead.next_decode_time, self._lead_then)
            step = since if 0 < since <= _LONGEST_CLOCK_STEP else step
        return (self._last + step) % WRAP
