"""What is wrong with a live stream although bytes come: too few of them, or no picture, or always the same one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from streamproxy.formats.loops import LoopFinder
from streamproxy.formats.mpegts import Indexed
from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.psi import Program
from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND, difference

_INTERVAL = 0.5
"""Seconds from one look at pieces in which nothing begins to the next."""

_GRACE = 10.0
"""Seconds after the first bytes in which their rate is not judged."""
_WINDOW = 5.0
"""Seconds over which a rate is a mean."""
_LOW_WINDOWS = 3
"""Windows in a row that make a rate too low."""


class Ailment(StrEnum):
    """Why a stream is no good."""

    NO_MEDIA = "no_media"
    """There is no program in it."""
    NO_VIDEO = "no_video"
    """The video of its program is missing, while other packets come."""
    FROZEN = "frozen"
    """Its decoding times stand still, while bytes come."""
    LOOP = "loop"
    """It is a short clip, over and over."""
    LOW_BITRATE = "low_bitrate"
    """Fewer bytes come than it takes."""


@dataclass(frozen=True, slots=True)
class VitalTerms:
    """What counts as an ailment. Nothing does, unless it is set.

    Attributes:
        min_bitrate: Bytes per second that must come; means over 5 seconds are judged, after the first 10 seconds, and
            three in a row that are lower make an ailment. A playlist's segments come in bursts: where they last longer
            than 10 seconds this is to stay off. 0 for off.
        media_within: Seconds within which a program must be found; 0 for off.
        media_within_bytes: Bytes within which a program must be found; 0 for off.
        video_within: Seconds that the program's video may be missing; longer than the longest pause between the
            pictures of a slide show. 0 for off.
        frozen_after: Seconds that decoding times may stand still; 0 for off.
        loops: Whether a clip that loops is an ailment: the same pictures, for three rounds of at most 60 seconds. A
            clip with fewer than three different pictures to start at is not told from a still picture, which is none.
    """

    min_bitrate: int = 0
    media_within: float = 0.0
    media_within_bytes: int = 0
    video_within: float = 0.0
    frozen_after: float = 0.0
    loops: bool = False

    @property
    def thorough(self) -> bool:
        """Whether every piece must be looked through: for the others, some every few seconds will do."""
        return self.loops or self.min_bitrate > 0


class Index(Protocol):
    """What is known of a stream, as an `Indexer` tells it."""

    @property
    def position(self) -> int:
        """Bytes fed so far."""

    @property
    def program(self) -> Program | None:
        """The program that is followed; None as long as there is none."""


class Vitals:
    """Watches what one connection delivers; made anew for the next, so that no stream pays for another's past.

    A piece of 64 KiB costs some microseconds: nothing is done per packet, save for a few at each entry point.
    """

    def __init__(self, terms: VitalTerms, index: Index) -> None:
        """Start with a connection.

        Args:
            terms: What counts as an ailment.
            index: That of this connection, made for it.
        """
        self._index = index
        self._rate = _Rate(terms.min_bitrate)
        self._search = _Search(terms.media_within, terms.media_within_bytes)
        self._video = _Video(terms.video_within)
        self._motion = _Motion(terms.frozen_after)
        self._loop = LoopFinder(on=terms.loops)
        self._look_at = -math.inf
        self._ailment: Ailment | None = None

    def look_through(self, now: float, found: Sequence[Indexed]) -> Ailment | None:
        """Take the next pieces of the stream, which the index has read already.

        Args:
            now: The time in seconds; never goes backwards.
            found: What the index found, piece by piece.

        Returns:
            What is wrong, for as long as it is.
        """
        last = len(found) - 1
        for number, indexed in enumerate(found):
            if number == last or indexed.entries or self._loop.reading or not self._settled:
                if number:
                    self._loop.pass_by(found[number - 1].packets)
                self.feed(now, indexed.packets, indexed)
        return self._ailment

    @property
    def _settled(self) -> bool:
        """Whether pieces in which nothing begins may be passed over."""
        return self._index.program is not None and not self._rate.counts

    def feed(self, now: float, packets: bytes, indexed: Indexed) -> Ailment | None:
        """Take the next piece of the stream, which the index has been fed already.

        Args:
            now: The time in seconds; never goes backwards.
            packets: The piece: whole packets, 188 bytes each.
            indexed: What the index found in it.

        Returns:
            What is wrong, for as long as it is.
        """
        if now < self._look_at and not (indexed.entries or self._loop.reading or self._rate.counts):
            self._loop.pass_by(packets)
            return self._ailment
        program = self._index.program
        # Until there is a program, bytes are counted.
        self._look_at = now + _INTERVAL if program else -math.inf
        video = program.video if program else None
        pid = video.pid if video else None
        no_media = self._search.is_vain(now, len(packets), found=program is not None)
        no_video = self._video.is_gone(now, packets, pid)
        frozen = self._motion.is_frozen(now, indexed)
        start = indexed.start if indexed.packets else self._index.position - len(packets)
        loops = self._loop.is_closed(now, packets, start, indexed.entries, pid)
        low = self._rate.is_low(now, len(packets))
        self._ailment = _first(no_media=no_media, no_video=no_video, frozen=frozen, loops=loops, low=low)
        return self._ailment

    def elapse(self, now: float) -> Ailment | None:
        """Let time pass in which nothing came; to be called every few seconds, for streams that come in drips.

        Args:
            now: The time in seconds; never goes backwards.

        Returns:
            What is wrong, for as long as it is.
        """
        no_media = self._search.is_vain(now, 0, found=self._index.program is not None)
        return _first(no_media=no_media, low=self._rate.is_low(now, 0))


def _first(
    *, no_media: bool, low: bool, no_video: bool = False, frozen: bool = False, loops: bool = False
) -> Ailment | None:
    """Name the worst."""
    if no_media:
        return Ailment.NO_MEDIA
    if no_video:
        return Ailment.NO_VIDEO
    if frozen:
        return Ailment.FROZEN
    if loops:
        return Ailment.LOOP
    return Ailment.LOW_BITRATE if low else None


class _Rate:
    """Judges how many bytes come, window by window."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._ends: float | None = None
        self._bytes = 0
        self._low = 0

    @property
    def counts(self) -> bool:
        """Whether it has to see every piece."""
        return self._least > 0

    def is_low(self, now: float, size: int) -> bool:
        if not self._least:
            return False
        if self._ends is None:
            self._ends = now + _GRACE + _WINDOW
        if now >= self._ends:
            self._low = self._low + 1 if self._bytes < self._least * _WINDOW else 0
            # The windows that have passed since were empty.
            passed = int((now - self._ends) // _WINDOW)
            self._low += passed
            self._ends += (passed + 1) * _WINDOW
            self._bytes = 0
        if now >= self._ends - _WINDOW:
            self._bytes += size
        return self._low >= _LOW_WINDOWS


class _Search:
    """Waits for a program to be found."""

    def __init__(self, seconds: float, size: int) -> None:
        self._seconds = seconds
        self._size = size
        self._began: float | None = None
        self._bytes = 0

    def is_vain(self, now: float, size: int, *, found: bool) -> bool:
        if found:
            return False
        if self._began is None:
            self._began = now
        self._bytes += size
        too_long = self._seconds > 0 and now - self._began >= self._seconds
        return too_long or 0 < self._size <= self._bytes


class _Patience:
    """Counts the time in which something is missing although other things come.

    Time in which nothing came at all is somebody else's concern, so a step counts as a quarter of the whole at most.
    """

    def __init__(self, seconds: float) -> None:
        self._longest_step = seconds / 4
        self._seconds = seconds
        self._then: float | None = None
        self._missed = 0.0

    @property
    def over(self) -> bool:
        return self._missed >= self._seconds

    def step(self, now: float, *, missing: bool) -> None:
        then = now if self._then is None else self._then
        self._then = now
        self._missed = self._missed + min(now - then, self._longest_step) if missing else 0.0


class _Video:
    """Looks for packets of the video: at every piece while they are missing, and else only now and then."""

    def __init__(self, seconds: float) -> None:
        self._on = seconds > 0
        self._interval = seconds / 8
        self._patience = _Patience(seconds)
        self._missing = False
        self._look_at = -math.inf

    def is_gone(self, now: float, packets: bytes, pid: int | None) -> bool:
        if not self._on:
            return False
        if pid is None:
            self._missing = False
        elif packets and (self._missing or now >= self._look_at):
            self._look_at = now + self._interval
            self._missing = Columns(packets).first(pid) is None
        if packets:
            self._patience.step(now, missing=self._missing)
        return self._patience.over


class _Motion:
    """Follows the decoding times.

    A piece without any tells nothing: the pictures of a slide show are far apart, and video that is missing altogether
    is another ailment. A large step back begins a new timeline; after a small one it must get ahead of itself again.
    """

    def __init__(self, seconds: float) -> None:
        self._on = seconds > 0
        self._restart = seconds / 2 * TICKS_PER_SECOND
        self._patience = _Patience(seconds)
        self._furthest: int | None = None

    def is_frozen(self, now: float, indexed: Indexed) -> bool:
        if not self._on:
            return False
        if (decode_time := indexed.decode_time) is not None:
            ahead = 1 if self._furthest is None else difference(decode_time, self._furthest)
            moved = ahead > 0 or -ahead > self._restart
            if moved:
                self._furthest = decode_time
            self._patience.step(now, missing=not moved)
        return self._patience.over
