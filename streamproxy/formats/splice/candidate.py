"""A source that gets ready to take over."""

from collections import deque
from collections.abc import Iterator

from streamproxy.formats.mpegts import Entry, Indexer
from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.psi import NULL_PID
from streamproxy.formats.mpegts.timestamps import (
    TICKS_PER_SECOND,
    difference,
    payload_position,
    pes_times,
    read_pcr_base,
)
from streamproxy.formats.splice.chunks import Chunk
from streamproxy.formats.splice.layout import follow
from streamproxy.formats.splice.replay import Former, Recognition
from streamproxy.formats.splice.timing import Beginning

_MOST_BYTES = 8 << 20
_BEFORE_ENTRY = TICKS_PER_SECOND
"""Ticks of what stands before an entry point that are kept: some of its sound may be missing in the output."""
_MOST_BEFORE_ENTRY = 1_024
"""Chunks of it."""


class Candidate:
    """Keeps what comes from a source until the output goes on with it: no more than 8 MiB.

    It begins at the first entry point that was not sent before; if it must wait for long, at the newest.
    """

    def __init__(self, former: Former | None = None) -> None:
        """Start with nothing.

        Args:
            former: What the same source had sent before, which it may send again; None if it is another.
        """
        self.indexer = Indexer()
        self.complete = 0
        self.decode_time: int | None = None
        self._former = former or Former()
        self._recognition = Recognition(self._former.last)
        self._continuation: int | None = None
        self._entry: Entry | None = None
        self._newest: Entry | None = None
        self._any: Entry | None = None
        self._chunks: deque[Chunk] = deque()
        self._size = 0

    @property
    def ready(self) -> bool:
        """Whether it can be entered: where it goes on exactly or where a decoder can start is there."""
        return self._continuation is not None or self._entry is not None

    def feed(self, packets: bytes) -> None:
        """Take the next packets of the source."""
        indexed = self.indexer.feed(packets)
        start = self.indexer.position - len(packets)
        self._chunks.append(Chunk(packets, start, indexed.entries, indexed.decode_time))
        self._size += len(packets)
        self.complete = indexed.complete
        self.decode_time = self.decode_time if indexed.decode_time is None else indexed.decode_time
        if self._continuation is None and (old := self._recognition.feed(packets)) is not None:
            self._continuation = start + old
        for entry in indexed.entries:
            self._consider(entry)
        if indexed.entries and self._continuation is None:
            self._drop_before(self._entry or self._any)
        if self._size > _MOST_BYTES:
            self._shrink()

    def settle(self) -> bool:
        """Accept what there is: the newest entry point even if it was sent before, or else any place to start at.

        Returns:
            Whether it can be entered now.
        """
        if not self.ready:
            self._entry = self._any or self._anywhere()
        return self.ready

    def continuation(self) -> Iterator[bytes] | None:
        """Return what comes exactly behind what was sent before; None if that was not found."""
        position = self._continuation
        if position is None:
            return None
        return (chunk.behind(position).data for chunk in self._chunks if chunk.end > position)

    @property
    def entry(self) -> Entry | None:
        """Where to enter."""
        return self._entry

    def before_entry(self) -> bytes:
        """Return what is there from before the entry point."""
        position = self._entry.position if self._entry else 0
        return b"".join(chunk.before(position).data for chunk in self._chunks if chunk.start < position)

    def from_entry(self) -> list[Chunk]:
        """Return what is there from the entry point on."""
        position = self._entry.position if self._entry else 0
        return [chunk.behind(position) for chunk in self._chunks if chunk.end > position]

    def beginning(self) -> Beginning:
        """Return the times at the entry point."""
        program = follow(self._entry.tables).program if self._entry else None
        if program is None or self._entry is None:
            return Beginning(None, None, None, has_video=False)
        presentation_time, decode_time = self._times_at(self._entry.position)
        clock = self._clock_at(self._entry.position, program.pcr_pid)
        return Beginning(decode_time, presentation_time, clock, has_video=program.video is not None)

    def _consider(self, entry: Entry) -> None:
        self._any = entry
        if not self._former.sent(self._times_at(entry.position)[1]):
            self._newest = entry
            self._entry = self._entry or entry

    def _times_at(self, position: int) -> tuple[int | None, int | None]:
        """Return presentation and decoding time of the PES packet that begins at a position."""
        for chunk in reversed(self._chunks):
            if chunk.start <= position < chunk.end:
                at = position - chunk.start
                payload = payload_position(chunk.data, at)
                if payload is None or chunk.data[at + 3] & 0xC0:
                    break
                return pes_times(chunk.data, payload)
        return None, None

    def _clock_at(self, position: int, pcr_pid: int) -> int | None:
        """Return the newest clock at a position, or else the next."""
        if pcr_pid == NULL_PID:
            return None
        found = None
        for chunk in self._chunks:
            columns = Columns(chunk.data)
            for number in columns.indices(columns.of_pid(pcr_pid) & columns.with_adaptation_flag(0x10)):
                at = number * PACKET_SIZE
                if chunk.start + at > position and found is not None:
                    return found
                found = read_pcr_base(chunk.data, at) if found is None else read_pcr_base(chunk.data, at) or found
        return found

    def _anywhere(self) -> Entry | None:
        """Return the first place at which a PES packet of the video starts, or else one of the sound."""
        program = self.indexer.program
        for stream in (program.video, *program.audio) if program else ():
            position = self._first_start(stream.pid) if stream else None
            if position is not None:
                return Entry(position, self.indexer.tables)
        return None

    def _first_start(self, pid: int) -> int | None:
        for chunk in self._chunks:
            columns = Columns(chunk.data)
            if mask := columns.of_pid(pid) & columns.unit_starts():
                return chunk.start + columns.indices(mask)[0] * PACKET_SIZE
        return None

    def _drop_before(self, entry: Entry | None) -> None:
        """Drop what is of no use if the output goes on at an entry point, or at a later one."""
        if entry is None:
            return
        kept = 0
        entry_time = self._times_at(entry.position)[1]
        for chunk in reversed([chunk for chunk in self._chunks if chunk.end <= entry.position]):
            times_known = entry_time is not None and chunk.decode_time is not None
            if times_known and difference(entry_time or 0, chunk.decode_time or 0) > _BEFORE_ENTRY:
                break
            kept += 1
            if kept == _MOST_BEFORE_ENTRY:
                break
        before = sum(chunk.end <= entry.position for chunk in self._chunks)
        for _ in range(before - kept):
            self._drop_oldest()

    def _shrink(self) -> None:
        """Come back within the limit: begin at the newest entry point, and no more with what was found before it."""
        self._entry = self._newest
        self._continuation = None
        self._drop_before(self._entry or self._any)
        while self._size > _MOST_BYTES:
            self._drop_oldest()
        start = self._chunks[0].start if self._chunks else self.indexer.position
        self._entry, self._newest, self._any = (
            entry if entry and entry.position >= start else None for entry in (self._entry, self._newest, self._any)
        )

    def _drop_oldest(self) -> None:
        self._size -= len(self._chunks.popleft().data)
