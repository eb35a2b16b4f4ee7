"""Saying where a video ends that another one follows (ITU-T H.265, 7.4.3.6 and 8.1.3)."""

from streamproxy.formats.mpegts.packets import PACKET_SIZE, SYNC_BYTE
from streamproxy.formats.mpegts.psi import Codec, Program
from streamproxy.formats.splice.ending import Ending

_UNITS = {Codec.HEVC: b"\0\0\1\x48\1"}
"""NAL units that end a coded video sequence."""


def sequence_end(program: Program | None, ending: Ending) -> tuple[int, bytes] | None:
    """Make the packet that ends the video of a stream, so that decoders begin anew with what comes next.

    The numbers by which pictures of HEVC refer to each other (POC) go on at a random access picture (CRA) as they do
    behind any other, unless the video before it has ended: those of another source would be taken for those that are
    there. The price is the few pictures that a decoder has yet to show then: it is told not to (C.5.2.2). In H.264
    this is of no use, since behind an end nothing but an IDR picture may follow (H.264, 7.4.2.5).

    Args:
        program: The program of the stream.
        ending: How the stream ends.

    Returns:
        The PID of the video, and the packet, which counts on; None where nothing need be said, or nothing can be: in
        what is scrambled, or what was not seen lately.
    """
    video = program.video if program else None
    unit = _UNITS.get(video.codec) if video else None
    if video is None or unit is None or not ending.last_picture or video.pid not in ending.counters:
        return None
    starts = any(ending.last_picture[4:6])
    # What has no length goes on until the next begins; what has one is complete.
    payload = _pes(ending.last_picture[3], unit) if starts else unit
    return video.pid, _packet(video.pid, (ending.counters[video.pid] + 1) & 0x0F, payload, starts=starts)


def _pes(stream_id: int, payload: bytes) -> bytes:
    """Make a PES packet without times, since no picture begins in it."""
    header = b"\x80\0\0"
    return b"\0\0\1" + bytes((stream_id, 0, len(header) + len(payload))) + header + payload


def _packet(pid: int, counter: int, payload: bytes, *, starts: bool) -> bytes:
    """Make a packet with little payload."""
    head = bytes((SYNC_BYTE, (0x40 if starts else 0) | pid >> 8, pid & 0xFF, 0x30 | counter))
    length = PACKET_SIZE - len(head) - 1 - len(payload)
    return head + (bytes((length, 0))).ljust(1 + length, b"\xff") + payload
