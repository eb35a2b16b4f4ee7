"""MPEG transport stream packets (ISO/IEC 13818-1, 2.4.3): finding them in bytes that came over a wire."""

PACKET_SIZE = 188
SYNC_BYTE = 0x47

_STRIDES = (188, 192, 204)
"""Packet to packet: plain; with a time stamp before each packet (M2TS); with 16 parity bytes after it (DVB)."""

_CONFIRM = 5
"""Sync bytes in a row that make a lock: one or two also occur in payload."""

_WINDOW = (_CONFIRM - 1) * max(_STRIDES) + 1
"""Bytes that must be there to judge a position, whatever the stride: how the input was cut must not matter."""

_HEAD_SIZE = 64


class NotTransportStreamError(ValueError):
    """No packets were found in as many bytes as one is willing to search."""


class Packetizer:
    """Turn bytes as they come into whole 188-byte packets, and find the way back after junk.

    Attributes:
        skipped: Bytes thrown away because they were in no packet.
        resyncs: Times that sync was lost after it had been found.
        head: The first bytes, as long as there was no packet: for saying what came instead.
    """

    def __init__(self, *, search_limit: int = 1 << 18) -> None:
        """Start without sync.

        Args:
            search_limit: Bytes to search for packets, at the start or after a loss, before giving up.
        """
        self.skipped = 0
        self.resyncs = 0
        self.head = b""
        self._ever_locked = False
        self._search_limit = search_limit
        self._searched = 0
        self._stride = 0
        self._rest = b""
        self._owed = 0

    @property
    def locked(self) -> bool:
        """Whether the last bytes were packets."""
        return self._stride != 0

    def feed(self, data: bytes | memoryview) -> bytes:
        """Take what came, and return the whole packets that are complete with it.

        What is kept of a memoryview is copied, once.

        Raises:
            NotTransportStreamError: Nothing that looks like packets within the search limit.
        """
        if self._stride == PACKET_SIZE:
            whole = (len(self._rest) + len(data)) // PACKET_SIZE * PACKET_SIZE
            if not whole:
                self._rest += data
                return b""
            used = whole - len(self._rest)
            if isinstance(data, bytes) and used == len(data) and not self._rest:
                packets = data
            else:
                # One copy, not two: a slice of a memoryview is none.
                packets = b"".join((self._rest, memoryview(data)[:used]))
            if packets[::PACKET_SIZE].count(SYNC_BYTE) * PACKET_SIZE == whole:
                self._rest = bytes(data[used:])
                return packets
        if not self._ever_locked:
            self.head += data[: _HEAD_SIZE - len(self.head)]
        return self._feed_with_care(self._rest + data)

    def _feed_with_care(self, data: bytes) -> bytes:
        found: list[bytes] = []
        position = min(self._owed, len(data))
        self._owed -= position
        while True:
            if not self._stride:
                position = self._search(data, position)
                if not self._stride:
                    break
            position, packets = self._take(data, position)
            found.append(packets)
            if self._stride:
                break
        self._rest = data[position:]
        return b"".join(found)

    def _take(self, data: bytes, position: int) -> tuple[int, bytes]:
        """Take packets up to the first without its sync byte; there, sync is lost."""
        stride = self._stride
        count = max(0, (len(data) - position - PACKET_SIZE) // stride + 1)
        syncs = data[position : position + count * stride : stride]
        good = count - len(syncs.lstrip(b"\x47"))
        if good < count:
            self._stride = 0
            self._searched = 0
            self.resyncs += 1
        end = position + good * stride
        if stride == PACKET_SIZE:
            return end, data[position:end]
        packets = b"".join([data[start : start + PACKET_SIZE] for start in range(position, end, stride)])
        # The packet is complete; what stands between it and the next may still be on its way.
        missing = max(0, end - len(data))
        self._owed += missing
        return end - missing, packets

    def _search(self, data: bytes, position: int) -> int:
        """Look for packets; without success, return where the next search begins."""
        last = len(data) - _WINDOW
        best, best_stride = last + 1, 0
        for stride in _STRIDES:
            for phase in range(min(stride, max(0, best - position))):
                # The sync column of one phase, so that the work per byte is done in C.
                row = data[position + phase :: stride].find(b"\x47" * _CONFIRM)
                start = position + phase + row * stride
                if row >= 0 and start < best:
                    best, best_stride = start, stride
        best = max(best, position)
        self.skipped += best - position
        self._searched += best - position
        self._stride = best_stride
        self._ever_locked = self._ever_locked or best_stride > 0
        if not best_stride and self._searched > self._search_limit:
            raise NotTransportStreamError(f"no transport stream packets in {self._searched} bytes")
        return best


def describe(head: bytes) -> str:
    """Say what the first bytes of something are that should have been a transport stream."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, name in (
        (b"#EXTM3U", "a playlist"),
        (b"<", "a web page or XML"),
        (b"{", "JSON"),
        (b"\x1f\x8b", "gzip"),
        (b"\x1aE\xdf\xa3", "Matroska or WebM"),
        (b"FLV", "FLV"),
        (b"ID3", "an audio file"),
    ):
        if text.startswith(magic):
            return name
    return "an MP4 file" if head[4:8] == b"ftyp" else "something else"
