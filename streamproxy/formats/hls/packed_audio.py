"""Packed audio (RFC 8216bis, 3.1.4): segments of bare sound, whose time stands in an ID3 tag. Made MPEG-TS of here.

So every segment keeps its own time, and whatever takes a transport stream takes it.
"""

import re

from streamproxy.formats.hls.audio_frames import HEADER_SIZE, AudioCodec, AudioFrame, read_frame
from streamproxy.formats.mpegts.packets import PACKET_SIZE, SYNC_BYTE
from streamproxy.formats.mpegts.psi import PAT_PID, ElementaryStream, Program, write_pat, write_pmt
from streamproxy.formats.mpegts.sections import packetize
from streamproxy.formats.mpegts.timestamps import TICKS_PER_SECOND, WRAP, write_timestamp

SNIFFED = 10
"""Bytes of a segment that tell whether it is packed audio."""

_STAMP = re.compile(rb"PRIV.{6}com\.apple\.streaming\.transportStreamTimestamp\0(.{8})", re.DOTALL)
"""A private frame of ID3: its name, size and flags, its owner and what is the owner's."""
_TAG_HEADER = 10
_LARGEST_TAG = 1 << 20
"""Bytes of a tag; covers of records stand in them."""
_MOST_JUNK = 1 << 16
"""Bytes without a frame that are passed over."""

_GROUP = 0.06
"""Seconds of sound from one time stamp, and one clock, to the next; the clock must come every 0.1 s."""
_LARGEST_GROUP = 1 << 14
_AHEAD = TICKS_PER_SECOND // 2
"""Ticks that sound is sent before it is heard."""

_PMT_PID = 0x1000
_PID = 0x101
_COUNTERS = 16
_PRIVATE_STREAM, _AUDIO_STREAM = 0xBD, 0xC0
_STREAM_TYPES = {
    AudioCodec.AAC: (0x0F, b""),
    AudioCodec.MPEG1: (0x03, b""),
    AudioCodec.MPEG2: (0x04, b""),
    AudioCodec.AC3: (0x81, b"\x05\x04AC-3"),
    AudioCodec.EAC3: (0x87, b"\x05\x04EAC3"),
}
"""Stream types and descriptors (ISO/IEC 13818-1, table 2-34; ATSC A/52, A.3 and G.3)."""


class NotPackedAudioError(ValueError):
    """The bytes are no packed audio, or do not say when they are to be heard."""


def is_packed_audio(head: bytes) -> bool:
    """Tell whether a segment that begins with these `SNIFFED` bytes, or fewer if it has no more, is packed audio."""
    return head.startswith(b"ID3") or (len(head) >= HEADER_SIZE and read_frame(head) is not None)


def read_timestamp(tag: bytes) -> int | None:
    """Return the time of the first sample behind an ID3 tag, in ticks of 90 kHz; None if the tag does not say.

    Args:
        tag: All of it.
    """
    stamp = _STAMP.search(tag)
    return int.from_bytes(stamp[1], "big") % WRAP if stamp else None


class PackedAudio:
    """Makes a transport stream of one segment.

    The streams of successive segments continue each other: the packets of sound in each are a multiple of 16.
    """

    def __init__(self, sequence: int, start: int | None) -> None:
        """Begin a segment.

        Args:
            sequence: Its media sequence number.
            start: When it is heard, in ticks, if it does not say so itself; None if that is not known.
        """
        self._sequence = sequence
        self._time = start
        self._held = bytearray()
        self._junk = 0
        self._codec: AudioCodec | None = None
        self._group = bytearray()
        self._group_time = 0
        self._samples = 0
        self._rate = 1
        self._group_begins = 0
        self._packets = 0

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return the packets that are complete with it.

        Raises:
            NotPackedAudioError: This is no packed audio.
        """
        self._held += data
        return self._take(final=False)

    def finish(self) -> bytes:
        """Return the rest; the last frame is left out if it is cut short.

        Raises:
            NotPackedAudioError: There was no frame at all.
        """
        packets = self._take(final=True)
        if self._codec is None:
            raise NotPackedAudioError("an audio file without sound")
        return packets + self._pass_on(last=True)

    def _take(self, *, final: bool) -> bytes:
        made: list[bytes] = []
        at = 0
        while (end := self._step(at, made, final=final)) > at:
            at = end
        del self._held[:at]
        return b"".join(made)

    def _step(self, at: int, made: list[bytes], *, final: bool) -> int:
        """Take a tag or a frame, or pass over a byte; return where the next begins, which is `at` if more must come."""
        head = bytes(self._held[at : at + _TAG_HEADER])
        if len(head) < (HEADER_SIZE if final else _TAG_HEADER):
            return at
        if head.startswith(b"ID3"):
            return self._take_tag(at, head)
        frame = read_frame(head)
        if frame is not None and self._codec in (None, frame.codec):
            end = at + frame.size
            if end + HEADER_SIZE > len(self._held) and not final:
                return at
            if end <= len(self._held) and self._is_end(end, frame):
                made.append(self._add(frame, at))
                return end
        self._junk += 1
        if self._junk > _MOST_JUNK:
            raise NotPackedAudioError("an audio file of a kind that HLS has not")
        return at + 1

    def _take_tag(self, at: int, head: bytes) -> int:
        if len(head) < _TAG_HEADER:
            return at
        size = _TAG_HEADER + (_TAG_HEADER if head[5] & 0x10 else 0)
        for shift, byte in zip((21, 14, 7, 0), head[6:], strict=True):
            size += (byte & 0x7F) << shift
        if size > _LARGEST_TAG:
            raise NotPackedAudioError(f"an audio file with a tag of more than {_LARGEST_TAG >> 20} MiB")
        if at + size > len(self._held):
            return at
        time = read_timestamp(bytes(self._held[at : at + size]))
        if time is not None:
            self._time = time
            self._samples = 0
        return at + size

    def _is_end(self, end: int, frame: AudioFrame) -> bool:
        """Tell whether a frame seems to end here: bits of sound may look like a header."""
        behind = bytes(self._held[end : end + HEADER_SIZE])
        if len(behind) < HEADER_SIZE or behind.startswith((b"ID3", b"TAG")):
            return True
        follower = read_frame(behind)
        return follower is not None and follower.codec is frame.codec

    def _add(self, frame: AudioFrame, at: int) -> bytes:
        if self._time is None:
            raise NotPackedAudioError("an audio file that does not say when it is to be heard")
        made = b""
        if self._codec is None:
            self._codec = frame.codec
            made = _tables(frame.codec, self._sequence)
        if frame.rate != self._rate:
            self._time += self._samples * TICKS_PER_SECOND // self._rate
            self._samples, self._rate = 0, frame.rate
        time = self._time + self._samples * TICKS_PER_SECOND // self._rate
        full = not 0 <= time - self._group_time < _GROUP * TICKS_PER_SECOND or len(self._group) > _LARGEST_GROUP
        if frame.samples and self._group and full:
            made += self._pass_on(last=False)
        if not self._group:
            self._group_time = time
        self._group += self._held[at : at + frame.size]
        self._samples += frame.samples
        return made

    def _pass_on(self, *, last: bool) -> bytes:
        """Put what is gathered into packets (ISO/IEC 13818-1, 2.4.3.6)."""
        assert self._codec is not None
        private = self._codec in (AudioCodec.AC3, AudioCodec.EAC3)
        header = bytearray(b"\0\0\1\0\0\0\x84\x80\x05\x21\0\1\0\1")
        header[3] = _PRIVATE_STREAM if private else _AUDIO_STREAM
        if last:
            # Enough for as many packets as may be needed.
            header[8] += _COUNTERS
            header += b"\xff" * _COUNTERS
        header[4:6] = (len(self._group) + len(header) - 6).to_bytes(2, "big")
        write_timestamp(header, 9, self._group_time)
        unit = bytes(header + self._group)
        clock = (self._group_time - _AHEAD) % WRAP
        sizes = _sizes(len(unit), self._packets if last else None)
        packets, at = bytearray(), 0
        for number, size in enumerate(sizes):
            counter = (self._packets + number) % _COUNTERS
            packets += _packet(unit[at : at + size], counter, clock if number == 0 else None)
            at += size
        self._packets += len(sizes)
        self._group.clear()
        return bytes(packets)


_WITH_CLOCK = PACKET_SIZE - 4 - 8
_WITHOUT_CLOCK = PACKET_SIZE - 4


def _sizes(size: int, before: int | None) -> list[int]:
    """Say how many bytes each packet of a unit takes.

    Args:
        size: Bytes of the unit.
        before: Packets in front of it, if together they are to be a multiple of 16; else None.
    """
    full, rest = divmod(max(0, size - _WITH_CLOCK), _WITHOUT_CLOCK)
    sizes = [min(size, _WITH_CLOCK), *[_WITHOUT_CLOCK] * full, *([rest] if rest else [])]
    missing = 0 if before is None else -(before + len(sizes)) % _COUNTERS
    if not missing:
        return sizes
    count = len(sizes) + missing - 1
    # The time stamp belongs into the first.
    first = min(_WITH_CLOCK, size - count)
    each, more = divmod(size - first, count)
    return [first] + [each + 1] * more + [each] * (count - more)


def _packet(payload: bytes, counter: int, clock: int | None) -> bytes:
    room = _WITHOUT_CLOCK - len(payload)
    field = b""
    if clock is not None:
        # The extension of the clock is 0, and the six bits in front of it are ones.
        field = b"\x10" + (clock << 15 | 0x3F << 9).to_bytes(6, "big")
    elif room > 1:
        field = b"\0"
    if room:
        field = bytes((room - 1,)) + field.ljust(room - 1, b"\xff")
    start = 0x40 if clock is not None else 0
    control = (0x30 if room else 0x10) | counter
    return bytes((SYNC_BYTE, start | _PID >> 8, _PID & 0xFF, control)) + field + payload


def _tables(codec: AudioCodec, sequence: int) -> bytes:
    stream_type, descriptors = _STREAM_TYPES[codec]
    program = Program(1, _PMT_PID, _PID, (ElementaryStream(_PID, stream_type, descriptors),))
    counter = sequence % _COUNTERS
    return packetize(write_pat(1, {1: _PMT_PID}, 0), PAT_PID, counter) + packetize(
        write_pmt(program), _PMT_PID, counter
    )
