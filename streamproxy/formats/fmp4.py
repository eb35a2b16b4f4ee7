"""Fragmented MP4 (ISO/IEC 14496-12, 4.2 and 8.8): a stream of it cut between fragments, where a player can join it."""

import re
from typing import NamedTuple

_HEADER = 8
_LONG_HEADER = 16
_TYPE = re.compile(rb"[ -~\xa9]{4}")
_OPENINGS = frozenset({b"ftyp", b"moov", b"styp", b"sidx", b"moof", b"emsg", b"prft"})
_MEDIA = b"mdat"

_OPEN_END = 1 << 63
"""Beyond all others: where a box ends that says it goes on to the end of the file."""


class NotFragmentsError(ValueError):
    """The bytes are no boxes of an MP4 file, or boxes larger than one is willing to hold."""


def is_mp4(head: bytes) -> bool:
    """Tell whether an initialization section, or a segment, begins as one of fragmented MP4 does."""
    return head[4:8] in _OPENINGS


class _Box(NamedTuple):
    kind: bytes
    end: int


class Fragments:
    """Turn bytes as they come into whole fragments: each is a media box (`mdat`) and what stands in front of it."""

    def __init__(self, *, limit: int = 1 << 26) -> None:
        """Start at the beginning of a segment.

        Args:
            limit: Bytes that a fragment may have.
        """
        self._limit = limit
        self._held = bytearray()
        self._whole = 0

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return the whole fragments that are complete with it.

        Raises:
            NotFragmentsError: This is no MP4, or one that cannot be held.
        """
        self._held += data
        complete = 0
        while (box := self._box()) and box.end <= len(self._held):
            self._whole = box.end
            if box.kind == _MEDIA:
                complete = box.end
        fragments = bytes(memoryview(self._held)[:complete])
        del self._held[:complete]
        self._whole -= complete
        if len(self._held) > self._limit:
            raise NotFragmentsError(f"a fragment of more than {self._limit >> 20} MiB")
        return fragments

    def finish(self) -> bytes:
        """Return what else is whole at the end of the segment."""
        box = self._box()
        return bytes(self._held if box and box.end == _OPEN_END else self._held[: self._whole])

    def _box(self) -> _Box | None:
        """Read the header of the box behind those that are whole, if it is there."""
        header = self._held[self._whole : self._whole + _LONG_HEADER]
        if len(header) < _HEADER:
            return None
        size, kind = int.from_bytes(header[:4], "big"), bytes(header[4:_HEADER])
        if not _TYPE.fullmatch(kind):
            raise NotFragmentsError("no boxes of an MP4 file")
        if size == 0:
            return _Box(kind, _OPEN_END)
        least = _HEADER
        if size == 1:
            if len(header) < _LONG_HEADER:
                return None
            size, least = int.from_bytes(header[_HEADER:], "big"), _LONG_HEADER
        if size < least:
            raise NotFragmentsError("a box that is smaller than its header")
        if size > self._limit:
            raise NotFragmentsError(f"a box of more than {self._limit >> 20} MiB")
        return _Box(kind, self._whole + size)
