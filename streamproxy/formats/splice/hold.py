"""Holding back the end of a source, so that it can be cut where no picture and no sound is cut."""

from collections import deque
from dataclasses import replace

from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.psi import Program
from streamproxy.formats.splice.chunks import Chunk

MOST_CHUNKS, MOST_BYTES = 8, 1 << 20
"""What is held back at most, whatever comes."""


class Hold:
    """Keeps the newest chunks of a source until all video and audio that begins in them is complete."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._size = 0

    def add(self, chunk: Chunk, complete: int | None) -> list[Chunk]:
        """Take the next chunk, and return those that may pass.

        Args:
            chunk: What comes next.
            complete: Position in the source up to which all video and audio is complete; None if that is not known.
        """
        if chunk.entries and chunk.entries[0].position < chunk.start:
            chunk = self._entrust(chunk)
        self._chunks.append(chunk)
        self._size += len(chunk.data)
        if complete is None:
            return self.release()
        passed = []
        while self._chunks and (self._chunks[0].end <= complete or self._overfull()):
            passed.append(self._pop())
        return passed

    def release(self) -> list[Chunk]:
        """Return all there is."""
        chunks = list(self._chunks)
        self._chunks.clear()
        self._size = 0
        return chunks

    def restore(self, chunks: list[Chunk]) -> None:
        """Hold back again what a cut has left over."""
        self._chunks.extend(chunks)
        self._size += sum(len(chunk.data) for chunk in chunks)

    def cut(self, complete: int, program: Program | None) -> tuple[list[Chunk], list[Chunk]]:
        """End the source where video and audio is complete.

        Args:
            complete: Position in the source up to which it is.
            program: The program of the source; None if there is none to be cut.

        Returns:
            What may pass: all up to there, and the rest of what began before. And what is left over.
        """
        chunks = self.release()
        if program is None:
            return chunks, []
        passed = [chunk.before(complete) for chunk in chunks if chunk.start < complete]
        left = [chunk.behind(complete) for chunk in chunks if chunk.end > complete]
        if not left:
            return passed, []
        remains, others = _part(_joined(left), program)
        return [*passed, *remains], others

    def _overfull(self) -> bool:
        return len(self._chunks) > MOST_CHUNKS or self._size > MOST_BYTES

    def _pop(self) -> Chunk:
        chunk = self._chunks.popleft()
        self._size -= len(chunk.data)
        return chunk

    def _entrust(self, chunk: Chunk) -> Chunk:
        """Give entries that stand in a chunk before to that chunk, if it is still there."""
        begin = self._chunks[0].start if self._chunks else chunk.start
        for number, held in enumerate(self._chunks):
            entries = tuple(entry for entry in chunk.entries if held.start <= entry.position < held.end)
            if entries:
                self._chunks[number] = replace(held, entries=held.entries + entries)
        kept = tuple(entry for entry in chunk.entries if not begin <= entry.position < chunk.start)
        return replace(chunk, entries=kept)


def _joined(chunks: list[Chunk]) -> Chunk:
    entries = tuple(entry for chunk in chunks for entry in chunk.entries)
    return Chunk(b"".join(chunk.data for chunk in chunks), chunks[0].start, entries)


def _part(chunk: Chunk, program: Program) -> tuple[list[Chunk], list[Chunk]]:
    """Part what belongs to PES packets of video and audio that began before a chunk from all the other packets.

    Where the packets of several streams take turns, there may be no place at which none of them is cut.
    """
    columns = Columns(chunk.data)
    starts = columns.unit_starts()
    remains = 0
    for stream in (program.video, *program.audio):
        if stream is None:
            continue
        mask = columns.of_pid(stream.pid)
        begun = mask & starts
        # All bits below the lowest that is set; all there are if none is.
        remains |= mask & ((begun & -begun) - 1 if begun else -1)
    if not remains:
        return [], [chunk]
    taken = columns.indices(remains)
    return _without(chunk, set(range(columns.count)) - set(taken)), _without(chunk, set(taken))


def _without(chunk: Chunk, numbers: set[int]) -> list[Chunk]:
    """Leave packets out of a chunk; what is left ends where it ended."""
    kept = [number for number in range(len(chunk.data) // PACKET_SIZE) if number not in numbers]
    if not kept:
        return []
    data = b"".join(chunk.data[number * PACKET_SIZE : (number + 1) * PACKET_SIZE] for number in kept)
    places = {number: place for place, number in enumerate(kept)}
    start = chunk.end - len(data)
    entries = tuple(
        replace(entry, position=start + places[number] * PACKET_SIZE)
        for entry in chunk.entries
        if (number := (entry.position - chunk.start) // PACKET_SIZE) in places
    )
    return [Chunk(data, start, entries, chunk.decode_time)]
