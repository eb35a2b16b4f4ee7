"""WebM and Matroska (RFC 9559, in EBML: RFC 8794): a live stream of it, cut where a player can join it."""

from collections.abc import Iterator
from typing import NamedTuple

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_CLUSTER, _TRACKS = 0x1F43B675, 0x1654AE6B
_TOP_LEVEL = frozenset(
    {_CLUSTER, _TRACKS, 0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, _EBML, _SEGMENT}
)
"""What cannot be within a cluster: the elements of a segment, and what a file begins with."""
_TRACK_ENTRY, _TRACK_NUMBER, _TRACK_TYPE = 0xAE, 0xD7, 0x83
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK, _REFERENCE = 0xA3, 0xA0, 0xA1, 0xFB
_VIDEO = 1
_KEY_FRAME = 0x80

_LONGEST_ID = 4
_LONGEST_HEAD = 12
_MOST_LOOKED_AT = 4096
"""Elements of a cluster among which its first picture is looked for."""


class NotMatroskaError(ValueError):
    """The bytes are no live stream of Matroska, or one with parts larger than one is willing to hold."""


class _Element(NamedTuple):
    """What an element says of itself.

    Attributes:
        body: Where its body begins.
        end: Where it ends; None if it does not say (RFC 8794, 6.2).
    """

    id: int
    body: int
    end: int | None


class Clusters:
    """Turn bytes as they come into runs of whole clusters: each run begins with a cluster that begins with a key frame.

    As long as every cluster does, each is a run of its own. Once one did not, a run is complete when the next begins,
    and the stream is held back by the distance of its key frames.

    Attributes:
        header: What stands before the first cluster: whoever joins must get it first. Empty before it is known.
    """

    def __init__(self, *, limit: int = 1 << 26, header_limit: int = 1 << 20) -> None:
        """Start at the beginning of a stream.

        Args:
            limit: Bytes that a cluster may have; a run that grows to as many is passed on before it is complete.
            header_limit: Bytes that may stand before the first cluster.
        """
        self.header = b""
        self._limit = limit
        self._header_limit = header_limit
        self._held = bytearray()
        # All before is whole, and belongs to the run that has begun.
        self._whole = 0
        # How far the cluster behind that was looked at, if its size is unknown; then it ends where another begins.
        self._within: int | None = None
        # Whether the cluster behind that was seen to begin a run or to be part of one.
        self._judged = False
        self._aligned = True
        self._pictures: frozenset[int] = frozenset()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came, and return the runs that are complete with it.

        Raises:
            NotMatroskaError: This is no Matroska, or one that cannot be held.
        """
        self._held += data
        if not self.header and not self._take_header():
            return []
        runs: list[bytes] = []
        while self._step(runs):
            pass
        if self._whole and (self._aligned or self._whole >= self._limit):
            runs.append(self._cut())
        if len(self._held) - self._whole > self._limit:
            raise NotMatroskaError(f"a cluster of more than {self._limit >> 20} MiB")
        return runs

    def finish(self) -> bytes:
        """Return the clusters that are whole at the end of the stream."""
        if self._within is not None:
            self._whole = self._within
        return self._cut()

    def _take_header(self) -> bool:
        """Look for the first cluster; tell whether it has come."""
        end = self._end_of_header()
        if end is None:
            if len(self._held) > self._header_limit:
                raise NotMatroskaError(f"more than {self._header_limit >> 10} KiB before the first cluster")
            return False
        self.header = bytes(self._held[:end])
        del self._held[:end]
        return True

    def _end_of_header(self) -> int | None:
        position = 0
        for level, expected in enumerate((_EBML, _SEGMENT)):
            element = self._element(position)
            if element is None:
                return None
            if element.id != expected or (level == 0 and element.end is None):
                raise NotMatroskaError("no Matroska")
            position = element.end if level == 0 and element.end is not None else element.body
        while element := self._element(position):
            if element.id == _CLUSTER:
                return position
            if element.end is None:
                raise NotMatroskaError("an element of unknown size before the first cluster")
            if element.end > len(self._held):
                return None
            if element.id == _TRACKS:
                self._pictures = frozenset(self._video_tracks(element.body, element.end))
            position = element.end
        return None

    def _step(self, runs: list[bytes]) -> bool:
        """Go on by one element, if it is there; note the run that is complete with it."""
        if self._within is not None:
            return self._step_within(self._within)
        element = self._element(self._whole)
        if element is None:
            return False
        if element.id in {_EBML, _SEGMENT}:
            raise NotMatroskaError("another file behind the first")
        if element.end is not None and element.end - self._whole > self._limit:
            raise NotMatroskaError(f"a cluster of more than {self._limit >> 20} MiB")
        if element.id != _CLUSTER:
            return self._pass_over(element)
        if not self._judged:
            begins = self._begins_with_picture(element)
            if begins is None:
                return False
            if begins and self._whole:
                # What was looked at moves to the front; it is read once more, which is cheap.
                runs.append(self._cut())
                self._judged = True
                return True
            self._judged = True
            self._aligned = self._aligned and begins
        if element.end is None:
            self._within = element.body
            return True
        return self._pass_over(element)

    def _pass_over(self, element: _Element) -> bool:
        if element.end is None:
            raise NotMatroskaError("an element of unknown size that is no cluster")
        if element.end > len(self._held):
            return False
        self._whole = element.end
        self._judged = False
        return True

    def _step_within(self, position: int) -> bool:
        """Go on by one element of a cluster of unknown size; another element of the segment ends it."""
        element = self._element(position)
        if element is None:
            return False
        if element.id in _TOP_LEVEL:
            self._whole = position
            self._within = None
            self._judged = False
            return True
        if element.end is None:
            raise NotMatroskaError("an element of unknown size in a cluster")
        if element.end > len(self._held):
            return False
        self._within = element.end
        return True

    def _cut(self) -> bytes:
        run = bytes(memoryview(self._held)[: self._whole])
        del self._held[: self._whole]
        if self._within is not None:
            self._within -= self._whole
        self._whole = 0
        return run

    def _begins_with_picture(self, cluster: _Element) -> bool | None:
        """Tell whether the first picture of a cluster is a key frame; None if it has not come yet."""
        if not self._pictures:
            return True
        position = cluster.body
        for _ in range(_MOST_LOOKED_AT):
            if cluster.end is not None and position >= cluster.end:
                return False
            element = self._element(position)
            if element is None:
                return None
            if element.id in _TOP_LEVEL:
                return False
            if element.end is None:
                raise NotMatroskaError("an element of unknown size in a cluster")
            if element.end > len(self._held):
                return None
            key = self._key(element, element.end)
            if key is not None:
                return key
            position = element.end
        return False

    def _key(self, element: _Element, end: int) -> bool | None:
        """Tell whether an element of a cluster is a key frame; None if it is no picture."""
        if element.id == _SIMPLE_BLOCK:
            track, flags = self._block(element.body)
            return bool(flags & _KEY_FRAME) if track in self._pictures else None
        if element.id == _BLOCK_GROUP:
            parts = list(self._children(element.body, end))
            if any(part.id == _BLOCK and self._block(part.body)[0] in self._pictures for part in parts):
                return all(part.id != _REFERENCE for part in parts)
        return None

    def _block(self, position: int) -> tuple[int, int]:
        """Return track and flags of a block (RFC 9559, 10)."""
        track, length = self._number(position, _LONGEST_HEAD) or (0, 0)
        flags = self._held[position + length + 2 : position + length + 3]
        return track, flags[0] if length and flags else 0

    def _video_tracks(self, start: int, end: int) -> Iterator[int]:
        for entry in self._children(start, end):
            if entry.id != _TRACK_ENTRY or entry.end is None:
                continue
            values = {part.id: self._unsigned(part) for part in self._children(entry.body, entry.end)}
            if values.get(_TRACK_TYPE) == _VIDEO:
                yield values.get(_TRACK_NUMBER, 0)

    def _unsigned(self, element: _Element) -> int:
        return int.from_bytes(self._held[element.body : element.end][:8], "big")

    def _children(self, start: int, end: int) -> Iterator[_Element]:
        """Give the elements that lie whole between two positions."""
        while start < end and (element := self._element(start)) and element.end is not None and element.end <= end:
            yield element
            start = element.end

    def _element(self, position: int) -> _Element | None:
        """Read what an element says of itself; None if that has not come yet."""
        if position >= len(self._held):
            return None
        length = 9 - self._held[position].bit_length()
        if length > _LONGEST_ID:
            raise NotMatroskaError("no element of Matroska")
        size = self._number(position + length, 8)
        if size is None:
            return None
        number = int.from_bytes(self._held[position : position + length], "big")
        value, size_length = size
        body = position + length + size_length
        unknown = value == (1 << 7 * size_length) - 1
        return _Element(number, body, None if unknown else body + value)

    def _number(self, position: int, longest: int) -> tuple[int, int] | None:
        """Read a number of variable length (RFC 8794, 4), and its length; None if it has not come yet."""
        if position >= len(self._held):
            return None
        length = 9 - self._held[position].bit_length()
        if length > min(longest, 8):
            raise NotMatroskaError("a number that is too long")
        data = self._held[position : position + length]
        if len(data) < length:
            return None
        return int.from_bytes(data, "big") & ((1 << 7 * length) - 1), length
