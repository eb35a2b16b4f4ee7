"""Whether a live stream is a short clip, over and over."""

from collections import deque
from itertools import islice

from streamproxy.formats.mpegts import PACKET_SIZE, Entry
from streamproxy.formats.mpegts.timestamps import payload_position

_LONGEST_ROUND = 60.0
"""Seconds after which a repetition is no loop any more."""
_ROUNDS = 3
_FEWEST_DIFFERENT = 3
"""Different entries that a clip has. A channel with a still picture has one that repeats for ever, or two: consecutive
IDR pictures of H.264 must differ in their idr_pic_id (ITU-T H.264, 7.4.3)."""
_MOST_ENTRIES = 512
"""Entries that are remembered, at most."""

_PICTURE_PACKETS = 4
"""Packets of a picture that tell it from others."""
_MOST_PACKETS = 256
"""Packets among which these are looked for."""


class LoopFinder:
    """Notices that the pictures one can start at come again and again, in the same order."""

    def __init__(self, *, on: bool) -> None:
        """Start with a stream.

        Args:
            on: Whether to look at all.
        """
        self._on = on
        self._rounds = _Rounds()
        self._opening: _Opening | None = None
        self._last_piece = b""
        self._read_until = 0

    @property
    def reading(self) -> bool:
        """Whether the next piece belongs to a picture that is being read."""
        return self._opening is not None

    def pass_by(self, packets: bytes) -> None:
        """Take note of a piece in which nothing begins, as far as is known."""
        self._last_piece = packets

    def is_closed(self, now: float, packets: bytes, start: int, entries: tuple[Entry, ...], pid: int | None) -> bool:
        """Read the pictures of a piece.

        Args:
            now: The time.
            packets: The piece.
            start: Its position.
            entries: The places in or shortly before it at which pictures begin.
            pid: That of the video; None for none, and then nothing is a loop.
        """
        if not self._on or pid is None:
            return False
        if self._opening:
            self._read(now, packets, 0, start)
        for entry in entries:
            self._begin(now, entry.position - start, packets, start, pid)
        self._last_piece = packets
        return self._rounds.closed

    def _begin(self, now: float, at: int, packets: bytes, start: int, pid: int) -> None:
        """Read a picture, unless that before it reaches into it; one that began two pieces ago is gone."""
        if self._opening or start + at < self._read_until or at < -len(self._last_piece):
            return
        self._opening = _Opening(pid)
        if at < 0:
            before = self._last_piece
            self._read(now, before, len(before) + at, start - len(before))
            at = 0
        self._read(now, packets, at, start)

    def _read(self, now: float, packets: bytes, at: int, start: int) -> None:
        if self._opening is None:
            return
        end = self._opening.read(packets, at)
        if end is not None:
            self._read_until = start + end
            self._rounds.add(self._opening.digest, now)
            self._opening = None


class _Opening:
    """The first packets of a picture, without what differs when the same is sent again: counters, clocks and times."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._content = b""
        self._taken = 0
        self._seen = 0

    @property
    def digest(self) -> int:
        return hash(self._content)

    def read(self, packets: bytes, start: int) -> int | None:
        """Take the packets from `start` on; return where those end that are needed, if they do."""
        for at in range(start, len(packets), PACKET_SIZE):
            self._seen += 1
            if (packets[at + 1] & 0x1F) << 8 | packets[at + 2] == self._pid:
                self._take(packets[at : at + PACKET_SIZE])
            if self._taken == _PICTURE_PACKETS or self._seen == _MOST_PACKETS:
                return at + PACKET_SIZE
        return None

    def _take(self, packet: bytes) -> None:
        begin = payload_position(packet, 0)
        if begin is None:
            return
        payload = packet[begin:]
        if packet[1] & 0x40 and payload.startswith(b"\0\0\1"):
            payload = payload[9 + payload[8] :] if len(payload) > 8 else b""
        self._content += payload
        self._taken += 1


class _Rounds:
    """Finds the period of a sequence.

    Attributes:
        closed: Whether the last three rounds are the same, each with enough different members.
    """

    def __init__(self) -> None:
        self.closed = False
        self._past: deque[tuple[int, float]] = deque()
        self._number = 0
        self._newest: dict[int, int] = {}
        self._period = 0
        self._run = 0

    def add(self, digest: int, now: float) -> None:
        """Take the next member, and the time at which it came."""
        while self._past and (now - self._past[0][1] > _LONGEST_ROUND or len(self._past) == _MOST_ENTRIES):
            self._forget()
        if 0 < self._period <= len(self._past) and self._past[-self._period][0] == digest:
            self._run += 1
        else:
            self._period = self._number - self._newest.get(digest, self._number)
            self._run = 1 if self._period else 0
        self._past.append((digest, now))
        self._newest[digest] = self._number
        self._number += 1
        self.closed = self._run >= (_ROUNDS - 1) * self._period > 0 and self._is_clip()

    def _forget(self) -> None:
        digest, _ = self._past.popleft()
        if self._newest[digest] == self._number - len(self._past) - 1:
            del self._newest[digest]

    def _is_clip(self) -> bool:
        last_round = islice(reversed(self._past), self._period)
        return len({digest for digest, _ in last_round}) >= _FEWEST_DIFFERENT
