"""The clock of WebM and Matroska (RFC 9559): clusters of one run after the other, on one timeline."""

from typing import NamedTuple

_CLUSTER, _TIME, _CHECKSUM = 0x1F43B675, 0xE7, 0xBF
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xA3, 0xA0, 0xA1
_LATEST = (1 << 63) - 1
_LONGEST_STEP = 1000
"""Units of time, milliseconds as a rule: what is longer from one block to the next is a pause."""
_USUAL_STEP = 40


class _Element(NamedTuple):
    """What an element says of itself; its end is None if it does not say."""

    id: int
    body: int
    end: int | None


class ClusterTimes:
    """Moves the times of clusters: the first of a run comes where the last one of the run before it ended.

    Runs are of one program that was started again, so their unit of time is the same.
    """

    def __init__(self) -> None:
        """Start before the first run."""
        self._newest = -1
        self._step = _USUAL_STEP
        self._shift: int | None = 0

    def begin(self, header: bytes) -> None:
        """Say that a run begins.

        Args:
            header: What stands before its first cluster.
        """
        del header
        self._shift = None if self._newest >= 0 else 0

    def feed(self, clusters: bytes) -> bytes:
        """Move whole clusters to where they belong."""
        moved: list[bytes] = []
        position = 0
        while position < len(clusters) and (cluster := _element(clusters, position)):
            body, end = self._move(clusters, cluster)
            if cluster.id == _CLUSTER and self._shift:
                size = b"\x01" + (b"\xff" * 7 if cluster.end is None else len(body).to_bytes(7, "big"))
                moved += (_CLUSTER.to_bytes(4, "big"), size, body)
            else:
                moved.append(clusters[position:end])
            position = end
        moved.append(clusters[position:])
        return b"".join(moved)

    def _move(self, data: bytes, cluster: _Element) -> tuple[bytes, int]:
        """Return what a cluster is made of, with its time moved, and where it ends."""
        position, end = cluster.body, len(data) if cluster.end is None else cluster.end
        time, parts = 0, []
        while cluster.id == _CLUSTER and position < end and (part := _element(data, position)):
            if part.id == _CLUSTER or part.end is None:
                end = position
                break
            if part.id == _TIME:
                time = self._time(int.from_bytes(data[part.body : part.end], "big"))
                parts.append(bytes((_TIME, 0x88)) + time.to_bytes(8, "big"))
            elif part.id != _CHECKSUM:
                # What has changed has another checksum; none is as good (RFC 8794, 11.3.1).
                parts.append(data[position : part.end])
                self._note(data, part, time)
            position = part.end
        return b"".join(parts), end

    def _time(self, time: int) -> int:
        if self._shift is None:
            self._shift = self._newest + self._step - time
        return min(max(0, time + self._shift), _LATEST)

    def _note(self, data: bytes, part: _Element, cluster_time: int) -> None:
        """Take note of when a block is."""
        if part.id == _BLOCK_GROUP:
            inner = _element(data, part.body)
            if inner is None or inner.id != _BLOCK:
                return
            part = inner
        elif part.id != _SIMPLE_BLOCK:
            return
        _, length = _number(data, part.body)
        at = cluster_time + int.from_bytes(data[part.body + length : part.body + length + 2], "big", signed=True)
        if at > self._newest:
            step = at - self._newest
            if self._newest >= 0 and step <= _LONGEST_STEP:
                self._step = max(_USUAL_STEP, step)
            self._newest = at


def _element(data: bytes, position: int) -> _Element | None:
    """Read what an element says of itself; None if it is cut off."""
    if position >= len(data):
        return None
    id_length = 9 - data[position].bit_length()
    value, length = _number(data, position + id_length)
    if not length:
        return None
    body = position + id_length + length
    unknown = value == (1 << 7 * length) - 1
    return _Element(
        int.from_bytes(data[position : position + id_length], "big"), body, None if unknown else body + value
    )


def _number(data: bytes, position: int) -> tuple[int, int]:
    """Read a number of variable length (RFC 8794, 4), and its length; that is 0 if it is cut off."""
    if position >= len(data) or not data[position]:
        return 0, 0
    length = 9 - data[position].bit_length()
    return int.from_bytes(data[position : position + length], "big") & ((1 << 7 * length) - 1), length
