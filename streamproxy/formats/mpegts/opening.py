"""What a viewer gets first who starts in the middle of a transport stream (ISO/IEC 13818-1)."""

from collections.abc import Sequence

from streamproxy.formats.mpegts.fields import Columns
from streamproxy.formats.mpegts.packets import PACKET_SIZE, SYNC_BYTE
from streamproxy.formats.mpegts.psi import NULL_PID, Program

_MOST_CHUNKS = 8
_MOST_BYTES = 1 << 20
_MOST_JUMPS = 256
"""PIDs whose jumps are enough to announce; a whole transponder has fewer."""


def opening(tables: bytes, chunks: Sequence[bytes], program: Program | None, *, resumed: bool = False) -> list[bytes]:
    """Make the beginning of a stream for a viewer who starts at an entry point.

    Of every PID but the entry's own, what belongs to a PES packet or section that began before the entry is left out.
    That is looked for until all video and audio has begun, but in no more than 8 chunks or 1 MiB.

    Args:
        tables: The packets of the PAT and PMT to begin with.
        chunks: Whole packets; the first begins with the packet of the entry.
        program: Whose streams are waited for.
        resumed: Whether the viewer had an earlier part of the stream, and what was between is lost to it. Then a packet
            without payload says so on every PID, so that the jump of its continuity counter is no error.

    Returns:
        The tables and the chunks; chunks of which nothing is left out are the same objects.
    """
    if not chunks:
        return [tables]
    begun = {NULL_PID, *_pids(chunks[0][:PACKET_SIZE]), *_pids(tables)}
    awaited = {stream.pid for stream in (program.video, *program.audio) if stream} if program else set()
    result = [tables]
    searched = 0
    for number, chunk in enumerate(chunks):
        if awaited <= begun or number >= _MOST_CHUNKS or searched >= _MOST_BYTES:
            result += chunks[number:]
            break
        searched += len(chunk)
        result.append(_without_remains(chunk, begun))
    return [_discontinuities(result), *result] if resumed else result


def _pids(packets: bytes) -> set[int]:
    headers = set(zip(packets[1::PACKET_SIZE], packets[2::PACKET_SIZE], strict=True))
    return {(high & 0x1F) << 8 | low for high, low in headers}


def _without_remains(chunk: bytes, begun: set[int]) -> bytes:
    """Leave out the payload of PIDs on which nothing has begun, and note on which something begins."""
    columns = Columns(chunk)
    known = 0
    for pid in begun:
        known |= columns.of_pid(pid)
    # What has no payload may be the clock of a PID that never has any.
    pieces = []
    start = 0
    for number in columns.indices(columns.with_payload() & ~known):
        at = number * PACKET_SIZE
        pid = (chunk[at + 1] & 0x1F) << 8 | chunk[at + 2]
        if chunk[at + 1] & 0x40:
            begun.add(pid)
        elif pid not in begun:
            pieces.append(chunk[start:at])
            start = at + PACKET_SIZE
    return b"".join([*pieces, chunk[start:]]) if pieces else chunk


def _discontinuities(pieces: Sequence[bytes]) -> bytes:
    """Make a packet for each PID that says that what comes next does not follow on what came before (2.4.3.5)."""
    packets: dict[int, bytes] = {}
    searched = 0
    for piece in pieces:
        if searched > _MOST_BYTES or len(packets) >= _MOST_JUMPS:
            break
        searched += len(piece)
        columns = Columns(piece)
        for pid in _pids(piece) - packets.keys() - {NULL_PID}:
            first = columns.first(pid)
            if first is not None:
                packets[pid] = _discontinuity(pid, columns.control[first])
    return b"".join(packets.values())


def _discontinuity(pid: int, control: int) -> bytes:
    """Make a packet without payload, to stand before one whose byte 3 is given."""
    has_payload = control >> 4 & 1
    # Such a packet repeats the count that the next with payload goes on from (2.4.3.3).
    counter = (control - has_payload) & 0x0F
    header = bytes((SYNC_BYTE, pid >> 8, pid & 0xFF, 0x20 | counter))
    return (header + bytes((PACKET_SIZE - 5, 0x80))).ljust(PACKET_SIZE, b"\xff")
