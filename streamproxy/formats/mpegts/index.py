"""Where a viewer may start in a transport stream, and up to where it may be cut off (ISO/IEC 13818-1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from streamproxy.formats.mpegts.entry import begins_picture
from streamproxy.formats.mpegts.fields import Columns, starts_among, unit_starts_of
from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.programs import ProgramFollower
from streamproxy.formats.mpegts.psi import Codec, Program
from streamproxy.formats.mpegts.timestamps import payload_position, pes_times
from streamproxy.formats.mpegts.units import OpenUnits

_TRUST = 1 << 24
"""Bytes after a picture that is marked in which those without a mark are believed: looking into them takes a while."""

_MOST_PACKETS = 4
"""Packets of a picture to look at: what tells whether one can begin with it stands in the first, or the second."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A place to start at.

    Attributes:
        position: Of its first packet: bytes since the beginning of all that was fed.
        tables: The packets to send before it: the PAT and the PMT as they stood there.
    """

    position: int
    tables: bytes


class Indexed:
    """What was found in a piece of the stream.

    Attributes:
        entries: Places to start at, ascending. One that could not be told before may stand before the piece.
        complete: Position up to which every PES packet of video and audio is complete: the stream can be cut there
            without a picture or sound being cut. Never goes back.
        start: Position of the piece.
        packets: The piece.
        starts: Where in the piece PES packets of the video start, or of the first audio stream if there is no video.
    """

    __slots__ = ("_is_time_known", "_time", "complete", "entries", "packets", "start", "starts")

    def __init__(
        self,
        entries: tuple[Entry, ...],
        complete: int,
        decode_time: int | None = None,
        *,
        start: int = 0,
        packets: bytes = b"",
        starts: Sequence[int] = (),
    ) -> None:
        """Note what was found.

        Args:
            entries: See above.
            complete: See above.
            decode_time: The newest decoding time, where that is known.
            start: See above.
            packets: See above.
            starts: See above. The newest decoding time is read when it is asked for: of few pieces it is, and it takes
                a while.
        """
        self.entries = entries
        self.complete = complete
        self.start = start
        self.packets = packets
        self.starts = starts
        self._time = decode_time
        self._is_time_known = not starts

    @property
    def timed(self) -> bool:
        """Whether a PES packet begins in the piece that may have a decoding time."""
        return not self._is_time_known or self._time is not None

    @property
    def decode_time(self) -> int | None:
        """The newest decoding time of the video, or of the first audio stream if there is no video, at 90 kHz.

        None if none begins in the piece.
        """
        if not self._is_time_known:
            self._time = _newest_time(self.packets, self.starts)
            self._is_time_known = True
        return self._time


class _Role(Enum):
    """What the packets of a PID are looked at for."""

    TABLE = auto()
    VIDEO = auto()
    LEAD_AUDIO = auto()
    """The first audio stream where there is no video: one may start at any of its PES packets."""
    AUDIO = auto()


@dataclass(slots=True)
class _Undecided:
    """The beginning of a picture that is not long enough to tell whether one can start with it.

    Attributes:
        entry: The entry that it is if so.
        pid: The PID its other packets come on.
        codec: How it is coded.
        data: Its PES packet so far.
        packets: Packets it came in.
    """

    entry: Entry
    pid: int
    codec: Codec
    data: bytes
    packets: int = 1

    def decide(self) -> bool | None:
        """Return whether one can start with it; None if more of it must be known."""
        if len(self.data) < 9:
            return None if self.packets < _MOST_PACKETS else False
        if not self.data.startswith(b"\0\0\1"):
            return False
        verdict = begins_picture(self.codec, self.data[9 + self.data[8] :])
        return False if verdict is None and self.packets >= _MOST_PACKETS else verdict


class Indexer:
    """Find the entry points of a stream, at a cost that hardly depends on how many packets there are.

    A decoder can start at PES packets of the video that are marked so (random_access_indicator), or whose pictures tell
    where a stream has no marks; those that are scrambled tell nothing. How the stream is cut into pieces changes
    nothing but when an entry is found.

    Attributes:
        position: Bytes read so far.
    """

    def __init__(self) -> None:
        self.position = 0
        self._programs = ProgramFollower()
        self._roles = dict.fromkeys(self._programs.pids, _Role.TABLE)
        self._video_pid: int | None = None
        self._codec = Codec.UNKNOWN
        self._units = OpenUnits()
        self._undecided: _Undecided | None = None
        self._marked_at = -_TRUST
        self._unread: list[tuple[bytes, bytes, bytes]] = []

    @property
    def program(self) -> Program | None:
        """The program that is followed; None as long as there is none."""
        return self._programs.program

    @property
    def tables(self) -> bytes:
        """The packets of the newest PAT and PMT; empty as long as there is no program."""
        return self._programs.tables

    @property
    def unread(self) -> int:
        """How many pieces were noted and not read."""
        return len(self._unread)

    def feed(self, packets: bytes) -> Indexed:
        """Take the next piece of the stream, whole packets of 188 bytes each, and read it and all before it."""
        self.note(packets)
        return self.read()[-1]

    def note(self, packets: bytes) -> None:
        """Take the next piece of the stream, to be read later.

        Reading several pieces one after the other takes a third of the time, where a hundred streams take turns: what
        is needed for it is at hand then. What would be far to fetch by that time is taken from the piece now.
        """
        self._unread.append((packets, packets[1::PACKET_SIZE], packets[2::PACKET_SIZE]))

    def read(self) -> list[Indexed]:
        """Read all that was noted, and return what was found, piece by piece."""
        unread, self._unread = self._unread, []
        return [self._read(*piece) for piece in unread]

    def go_to(self, position: int) -> None:
        """Go on at another position, further on or further back; what was noted is not read.

        What was open before is not waited for. Tables are what they were until they come again.
        """
        self.position = position
        self._unread.clear()
        self._undecided = None
        self._units.forget()

    @property
    def marked_pid(self) -> int | None:
        """The PID of the video, if its entry points are known by their marks; see `find_mark`."""
        return self._video_pid if self.position - self._marked_at < _TRUST else None

    def _read(self, packets: bytes, flags: bytes, low_bytes: bytes) -> Indexed:
        entries = self._decide(packets, 0) if self._undecided else []
        leading: list[int] = []
        starts = self._with_pending(starts_among(flags), packets, self._programs.pids)
        number = starts.find(0xFF)
        while number >= 0:
            at = number * PACKET_SIZE
            pid = (packets[at + 1] & 0x1F) << 8 | packets[at + 2]
            role = self._roles.get(pid)
            if role is _Role.TABLE:
                starts = self._read_table(pid, packets, at, starts)
            elif role is not None and packets[at + 1] & 0x40:
                self._units.starts[pid] = self.position + at
                if role is not _Role.AUDIO:
                    leading.append(at)
                    entries += self._entries_at(pid, packets, at)
            number = starts.find(0xFF, number + 1)
        start = self.position
        complete = self._units.complete(packets, start, low_bytes)
        self.position += len(packets)
        return Indexed(tuple(entries), complete, start=start, packets=packets, starts=leading)

    def _with_pending(self, starts: bytes, packets: bytes, pids: Iterable[int]) -> bytes:
        """Add the packets of those PIDs on which a table has begun that is not complete."""
        for pid in pids:
            if self._programs.pids[pid].pending:
                mask = int.from_bytes(starts, "little") | Columns(packets).of_pid(pid)
                starts = mask.to_bytes(len(starts), "little")
        return starts

    def _read_table(self, pid: int, packets: bytes, at: int, starts: bytes) -> bytes:
        was_pending = self._programs.pids[pid].pending
        if not (packets[at + 1] & 0x40 or was_pending):
            return starts
        if self._programs.repeats(pid, packets[at : at + PACKET_SIZE]):
            return starts
        if self._programs.feed(pid, packets[at : at + PACKET_SIZE]):
            self._assign_roles()
        if was_pending or pid not in self._programs.pids:
            return starts
        return self._with_pending(starts, packets, (pid,))

    def _assign_roles(self) -> None:
        program = self._programs.program
        video, audio = (program.video, program.audio) if program else (None, ())
        self._roles = {stream.pid: _Role.AUDIO for stream in audio}
        self._video_pid = video.pid if video else None
        if video:
            self._roles[video.pid] = _Role.VIDEO
            self._codec = video.codec
        elif audio:
            self._roles[audio[0].pid] = _Role.LEAD_AUDIO
        self._roles |= dict.fromkeys(self._programs.pids, _Role.TABLE)
        self._units.follow({video.pid} if video else set(), {stream.pid for stream in audio})

    def _entries_at(self, pid: int, packets: bytes, at: int) -> list[Entry]:
        """Return the entry at which a PES packet starts, if it is one and that can be told."""
        self._undecided = None
        control = packets[at + 3]
        if _has_mark(packets, at):
            self._marked_at = self.position + at
            return [Entry(self.position + at, self.tables)]
        if self._roles[pid] is _Role.LEAD_AUDIO:
            return [Entry(self.position + at, self.tables)]
        if self.position + at - self._marked_at < _TRUST:
            return []
        payload = payload_position(packets, at)
        if control & 0xC0 or payload is None or self._codec is Codec.UNKNOWN:
            return []
        end = at + PACKET_SIZE
        # Most pictures tell with their first packet that one cannot start with them, so they are no objects yet.
        if packets[payload : payload + 3] == b"\0\0\1" and payload + 9 < end:
            verdict = begins_picture(self._codec, packets[payload + 9 + packets[payload + 8] : end])
            if verdict is not None:
                return [Entry(self.position + at, self.tables)] if verdict else []
        entry = Entry(self.position + at, self.tables)
        self._undecided = _Undecided(entry, pid, self._codec, packets[payload:end])
        return self._decide(packets, end)

    def _decide(self, packets: bytes, start: int) -> list[Entry]:
        """Read on in a picture until it tells, or the next begins."""
        undecided = self._undecided
        verdict = undecided.decide() if undecided else False
        for at in range(start, len(packets), PACKET_SIZE):
            if undecided is None or verdict is not None:
                break
            if (packets[at + 1] & 0x1F) << 8 | packets[at + 2] != undecided.pid:
                continue
            payload = payload_position(packets, at)
            if packets[at + 1] & 0x40 or packets[at + 3] & 0xC0:
                verdict = False
            elif payload is not None:
                undecided.data += packets[payload : at + PACKET_SIZE]
                undecided.packets += 1
                verdict = undecided.decide()
        if undecided is None or verdict is None:
            return []
        self._undecided = None
        return [undecided.entry] if verdict else []


def find_mark(packets: bytes, pid: int) -> int:
    """Return where the first picture begins that is marked as one to start at; -1 if there is none.

    Args:
        packets: Whole packets.
        pid: That of the video.
    """
    for number in unit_starts_of(pid, packets):
        if _has_mark(packets, number * PACKET_SIZE):
            return number * PACKET_SIZE
    return -1


def _has_mark(packets: bytes, at: int) -> bool:
    """Tell whether a decoder can start at a packet, by its random_access_indicator (2.4.3.5)."""
    return bool(packets[at + 3] & 0x20 and packets[at + 4] and packets[at + 5] & 0x40)


def _newest_time(packets: bytes, starts: Sequence[int]) -> int | None:
    """Return the decoding time of the last PES packet that has one.

    Args:
        packets: The packets.
        starts: Positions of those in which PES packets start.
    """
    for at in reversed(starts):
        payload = payload_position(packets, at)
        if payload is not None and not packets[at + 3] & 0xC0:
            _, decode_time = pes_times(packets, payload)
            if decode_time is not None:
                return decode_time
    return None
