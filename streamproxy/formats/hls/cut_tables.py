"""The tables at the beginning of each segment, counted so that segments one after the other are one stream."""

from collections.abc import Iterable, Iterator

from streamproxy.formats.mpegts import PACKET_SIZE, Indexer
from streamproxy.formats.mpegts.fields import Columns


class CountedTables:
    """Puts tables before segments, and counts those that come after on from them (ISO/IEC 13818-1, 2.4.3.3).

    A packet that counts like the one before it would be taken for a repetition. So for each that is put in, all that
    follow on its PID are one ahead of what their sender counted.
    """

    def __init__(self) -> None:
        self._ahead: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def write(self, tables: bytes, chunks: Iterable[bytes], *, inserted: bool) -> list[bytes | memoryview]:
        """Make the next segment.

        Args:
            tables: The packets of its tables.
            chunks: Its packets, as they came.
            inserted: Whether the tables are to be put before them; else they are there.

        Returns:
            The segment in pieces. They refer to the chunks, except for packets of tables that are counted anew.
        """
        pids = {_pid(tables, at) for at in range(0, len(tables), PACKET_SIZE)}
        self._ahead = {pid: self._ahead.get(pid, 0) for pid in pids}
        self._last = {pid: counter for pid, counter in self._last.items() if pid in pids}
        pieces: list[bytes | memoryview] = []
        if inserted:
            pieces.append(b"".join(self._insert(tables)))
        for chunk in chunks:
            pieces += self._count(chunk)
        return pieces

    def _insert(self, tables: bytes) -> Iterator[bytes]:
        known = set(self._last)
        for at in range(0, len(tables), PACKET_SIZE):
            pid, counter = _pid(tables, at), tables[at + 3] & 0x0F
            if pid in known:
                self._ahead[pid] += 1
                counter = self._last[pid] + 1 & 0x0F
            self._last[pid] = counter
            yield _with_counter(tables[at : at + PACKET_SIZE], counter)

    def _count(self, chunk: bytes) -> Iterator[bytes | memoryview]:
        columns = Columns(chunk)
        mask = 0
        for pid in self._ahead:
            mask |= columns.of_pid(pid)
        start = 0
        for number in columns.indices(mask):
            at = number * PACKET_SIZE
            pid = _pid(chunk, at)
            counter = self._last[pid] = chunk[at + 3] + self._ahead[pid] & 0x0F
            if counter != chunk[at + 3] & 0x0F:
                if at > start:
                    yield memoryview(chunk)[start:at]
                yield _with_counter(chunk[at : at + PACKET_SIZE], counter)
                start = at + PACKET_SIZE
        if not start:
            yield chunk
        elif start < len(chunk):
            yield memoryview(chunk)[start:]


class Layout:
    """Knows which streams there are, and sees when there are others."""

    def __init__(self) -> None:
        self._tables = b""
        self._streams: tuple[tuple[int, int], ...] | None = None

    def is_other(self, tables: bytes) -> bool:
        """Tell whether tables say something else of the streams than those before."""
        return uncounted(tables) != self._tables and _streams(tables) != self._streams

    def take(self, tables: bytes) -> None:
        """Take note of the tables of an entry."""
        plain = uncounted(tables)
        if plain != self._tables:
            self._tables, self._streams = plain, _streams(tables)


def _streams(tables: bytes) -> tuple[tuple[int, int], ...] | None:
    index = Indexer()
    index.feed(tables)
    program = index.program
    return tuple((stream.pid, stream.stream_type) for stream in program.streams) if program else None


def uncounted(tables: bytes) -> bytes:
    """Clear continuity counters: the same tables have others each time they are sent."""
    result = bytearray(tables)
    for at in range(3, len(tables), PACKET_SIZE):
        result[at] &= 0xF0
    return bytes(result)


def _pid(packets: bytes, at: int) -> int:
    return (packets[at + 1] & 0x1F) << 8 | packets[at + 2]


def _with_counter(packet: bytes, counter: int) -> bytes:
    return packet[:3] + bytes((packet[3] & 0xF0 | counter,)) + packet[4:]
