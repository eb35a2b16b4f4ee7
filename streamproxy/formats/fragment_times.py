"""The clock of fragmented MP4 (ISO/IEC 14496-12, 8.8): fragments of one run after the other, on one timeline."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

_WITHIN = frozenset({b"moov", b"trak", b"mdia", b"mvex", b"moof", b"traf"})

_HAS_BASE, _HAS_DESCRIPTION, _HAS_DURATION = 0x1, 0x2, 0x8
"""Flags of a track fragment's header (8.8.7)."""
_HAS_OFFSET, _HAS_FIRST_FLAGS = 0x1, 0x4
_SAMPLE_FIELDS = (0x100, 0x200, 0x400, 0x800)
"""Flags of a run of samples, each for four bytes of each sample (8.8.8); the first stands for its duration."""


class _Box(NamedTuple):
    kind: bytes
    body: int
    end: int


class FragmentTimes:
    """Moves the times of fragments: the first of a run comes where the last one of the run before it ended.

    Runs are of one encoder that was started again: with other tracks, or other units of time, they go on as well as
    they can. Fragments are numbered anew as well.
    """

    def __init__(self) -> None:
        """Start before the first run."""
        self._units: dict[int, int] = {}
        self._durations: dict[int, int] = {}
        self._end = Fraction(0)
        self._shift: Fraction | None = Fraction(0)
        self._number = 0

    def begin(self, header: bytes) -> None:
        """Say that a run begins.

        Args:
            header: Its file type and movie box.
        """
        track = 0
        for box in _boxes(header, 0, len(header)):
            if box.kind == b"tkhd":
                track = _number(header, box.body + (20 if _version(header, box) else 12), 4)
            elif box.kind == b"mdhd":
                self._units[track] = _number(header, box.body + (20 if _version(header, box) else 12), 4)
            elif box.kind == b"trex":
                self._durations[_number(header, box.body + 4, 4)] = _number(header, box.body + 12, 4)
        self._shift = None if self._end else Fraction(0)

    def feed(self, fragments: bytes) -> bytes:
        """Move whole fragments to where they belong."""
        moved = bytearray(fragments)
        track = default = 0
        for box in _boxes(fragments, 0, len(fragments)):
            if box.kind == b"mfhd":
                self._number += 1
                moved[box.body + 4 : box.body + 8] = (self._number & 0xFFFFFFFF).to_bytes(4, "big")
            elif box.kind == b"tfhd":
                track, default = self._track(fragments, box)
            elif box.kind == b"tfdt":
                at = self._move(moved, box, track)
                self._end = max(self._end, at)
            elif box.kind == b"trun":
                at += Fraction(_duration(fragments, box, default), self._unit(track))
                self._end = max(self._end, at)
        return bytes(moved)

    def _track(self, data: bytes, box: _Box) -> tuple[int, int]:
        """Return the track of a track fragment, and how long its samples are unless they say so themselves."""
        flags, track = _number(data, box.body + 1, 3), _number(data, box.body + 4, 4)
        if not flags & _HAS_DURATION:
            return track, self._durations.get(track, 0)
        before = 8 * bool(flags & _HAS_BASE) + 4 * bool(flags & _HAS_DESCRIPTION)
        return track, _number(data, box.body + 8 + before, 4)

    def _move(self, moved: bytearray, box: _Box, track: int) -> Fraction:
        """Move the time at which a track fragment begins; return that in seconds."""
        size, unit = 8 if _version(moved, box) else 4, self._unit(track)
        at = _number(moved, box.body + 4, size)
        if self._shift is None:
            self._shift = self._end - Fraction(at, unit)
        at = max(0, at + round(self._shift * unit))
        if self._shift and at < 1 << 8 * size:
            moved[box.body + 4 : box.body + 4 + size] = at.to_bytes(size, "big")
        return Fraction(at, unit)

    def _unit(self, track: int) -> int:
        return self._units.get(track) or 1


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    """Give the boxes between two positions, and behind each of those that are made of boxes, what they are made of."""
    while start + 8 <= end:
        size, kind = _number(data, start, 4), bytes(data[start + 4 : start + 8])
        body = start + 8
        if size == 1:
            size, body = _number(data, start + 8, 8), start + 16
        if size < body - start or start + size > end:
            return
        yield _Box(kind, body, start + size)
        if kind in _WITHIN:
            yield from _boxes(data, body, start + size)
        start += size


def _duration(data: bytes, run: _Box, default: int) -> int:
    """Return how long a run of samples is, in the units of its track."""
    flags, count = _number(data, run.body + 1, 3), _number(data, run.body + 4, 4)
    sizes = [4 for flag in _SAMPLE_FIELDS if flags & flag]
    if not flags & _SAMPLE_FIELDS[0]:
        return count * default
    first = run.body + 8 + 4 * bool(flags & _HAS_OFFSET) + 4 * bool(flags & _HAS_FIRST_FLAGS)
    samples = data[first : min(run.end, first + count * sum(sizes))]
    words = struct.unpack(f">{len(samples) // 4}I", samples[: len(samples) // 4 * 4])
    return sum(words[:: len(sizes)])


def _version(data: bytes | bytearray, box: _Box) -> int:
    return _number(data, box.body, 1)


def _number(data: bytes | bytearray, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")
