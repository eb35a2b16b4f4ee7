"""Up to where the PES packets of a stream are complete (ISO/IEC 13818-1, 2.4.3.6)."""

from collections.abc import Set as AbstractSet

from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.timestamps import payload_position

_PATIENCE = 1 << 20
"""Bytes of the whole stream without a packet of a PID, after which what is open on it will never be complete."""

_LONGEST_UNIT = 1 << 24
"""Bytes of the whole stream that a PES packet is waited for at most."""


class OpenUnits:
    """Know the PES packets that have begun and are not complete.

    Those of video have no length, so they are complete when the next begins; those of audio have one.

    Attributes:
        starts: Positions in the stream at which they begin, by PID. Whoever sees one begin writes it here.
    """

    def __init__(self) -> None:
        self.starts: dict[int, int] = {}
        self._audio: AbstractSet[int] = frozenset()
        self._missing: dict[int, int] = {}
        self._heard: dict[int, int] = {}

    def follow(self, video: AbstractSet[int], audio: AbstractSet[int]) -> None:
        """Forget all PIDs but these."""
        self._audio = audio
        followed = video | audio
        for known in (self.starts, self._missing, self._heard):
            for pid in known.keys() - followed:
                del known[pid]

    def forget(self) -> None:
        """Wait for nothing that has begun: it is not known what came of it since."""
        for known in (self.starts, self._missing, self._heard):
            known.clear()

    def complete(self, packets: bytes, position: int, low_bytes: bytes) -> int:
        """Return the position up to which all is complete.

        Args:
            packets: The newest piece of the stream.
            position: Where in the stream the piece begins.
            low_bytes: The lower eight bits of the PID of each of its packets.
        """
        end = position + len(packets)
        for pid in self._audio & self.starts.keys():
            self._fill(pid, packets, position, low_bytes)
        if end - min(self.starts.values(), default=end) > _PATIENCE:
            self._give_up_lost(packets, end)
        return min(self.starts.values(), default=end)

    def _fill(self, pid: int, packets: bytes, position: int, low_bytes: bytes) -> None:
        """Count what comes of a PES packet whose length is known, and close it when all is there."""
        start = self.starts[pid] - position
        missing = self._missing.pop(pid, None)
        if start >= 0:
            missing = _missing(packets, start)
        if missing is None:
            return
        number = max(-1, start // PACKET_SIZE)
        while missing > 0:
            number = low_bytes.find(pid & 0xFF, number + 1)
            if number < 0:
                self._missing[pid] = missing
                return
            at = number * PACKET_SIZE
            payload = payload_position(packets, at)
            if packets[at + 1] & 0x1F == pid >> 8 and payload is not None:
                missing -= at + PACKET_SIZE - payload
        del self.starts[pid]

    def _give_up_lost(self, packets: bytes, end: int) -> None:
        """Wait no longer for the rest of PES packets whose PIDs have fallen silent."""
        columns = Columns(packets)
        for pid, start in list(self.starts.items()):
            if end - start <= _PATIENCE:
                continue
            # Looked at for the first time, it may have been heard until now.
            if self._heard.get(pid, -1) < start or columns.last(pid) is not None:
                self._heard[pid] = end
            if end - self._heard[pid] > _PATIENCE or end - start > _LONGEST_UNIT:
                del self.starts[pid]


def _missing(packets: bytes, at: int) -> int | None:
    """Return how much of a PES packet is in later packets than the one at `at`; None if it has no length."""
    payload, end = payload_position(packets, at), at + PACKET_SIZE
    if payload is None or payload + 6 > end or packets[payload : payload + 3] != b"\0\0\1":
        return None
    length = packets[payload + 4] << 8 | packets[payload + 5]
    return payload + 6 + length - end if length else None
