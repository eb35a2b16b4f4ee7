"""Finding in what a provider sends after a reconnect where it goes on from what it had sent before."""

from collections.abc import Iterable
from dataclasses import dataclass

from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.packets import PACKET_SIZE
from streamproxy.formats.mpegts.psi import NULL_PID
from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND, difference

_TELLING = 16
"""Packets that must be the same: stuffing and single packets recur."""
_MOST_PACKETS = 256
_LONGEST_REPLAY = 60 * TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Former:
    """The end of what a source had sent.

    Attributes:
        last: Its last packets, by which to recognise it; empty if they tell too little.
        decode_time: Its last decoding time, in ticks; None if that is not known.
    """

    last: bytes = b""
    decode_time: int | None = None

    @classmethod
    def of(cls, chunks: Iterable[bytes], decode_time: int | None) -> "Former":
        """Note the end of what came: the last 16 packets that are no stuffing, and what stuffing is between."""
        data = b"".join(chunks)[-_MOST_PACKETS * PACKET_SIZE :]
        columns = Columns(data)
        stuffing = set(columns.indices(columns.of_pid(NULL_PID)))
        telling = [number for number in range(columns.count) if number not in stuffing]
        last = data[telling[-_TELLING] * PACKET_SIZE :] if len(telling) >= _TELLING else b""
        return cls(last, decode_time)

    def sent(self, decode_time: int | None) -> bool:
        """Return whether what is to be decoded at a time has been sent before."""
        if decode_time is None or self.decode_time is None:
            return False
        return -_LONGEST_REPLAY <= difference(decode_time, self.decode_time) <= 0


class Recognition:
    """Looks for the end of what was sent before in what is sent now."""

    def __init__(self, last: bytes) -> None:
        """Look for the exact bytes of some packets; if they are none, nothing is ever found."""
        self._last = last
        self._carry = b""

    def feed(self, packets: bytes) -> int | None:
        """Take the next packets, and return how many of their bytes are old; None as long as that is not known."""
        if not self._last:
            return None
        data = self._carry + packets
        at = data.find(self._last)
        while at >= 0 and at % PACKET_SIZE:
            at = data.find(self._last, at + 1)
        if at < 0:
            self._carry = data[max(0, len(data) - len(self._last) + PACKET_SIZE) :]
            return None
        return at + len(self._last) - len(self._carry)
