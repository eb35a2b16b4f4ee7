"""Program specific information: which streams there are, and on which PIDs (ISO/IEC 13818-1, 2.4.4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from streamproxy.formats.mpegts.sections import HEADER_SIZE, crc32, section_length

PAT_PID = 0
NULL_PID = 0x1FFF

_PAT_TABLE, _PMT_TABLE = 0, 2
_LOWEST_FREE_PID = 0x10
_CRC_SIZE = 4
_LONGEST_TABLE = 1024
"""Bytes of a PAT or PMT section (2.4.4.3 and 2.4.4.8)."""


class BadSection(ValueError):
    """A section is not the table it should be."""


class Kind(StrEnum):
    """What a stream is for."""

    VIDEO = "video"
    AUDIO = "audio"
    SUBTITLE = "subtitle"
    OTHER = "other"


class Codec(StrEnum):
    """How pictures are coded, where it matters for finding those to begin at."""

    H264 = "h264"
    HEVC = "hevc"
    VVC = "vvc"
    MPEG2 = "mpeg2"
    """MPEG-1 as well: the start codes are the same."""
    MPEG4 = "mpeg4"
    """Part 2."""
    UNKNOWN = "unknown"


_PRIVATE_DATA = 0x06
_CODECS = {
    0x01: Codec.MPEG2,
    0x02: Codec.MPEG2,
    0x10: Codec.MPEG4,
    0x1B: Codec.H264,
    0x24: Codec.HEVC,
    0x33: Codec.VVC,
    0xDB: Codec.H264,
}
_VIDEO_TYPES = frozenset((*_CODECS, 0x1E, 0x1F, 0x20, 0x21, 0x25, 0x42, 0xD1, 0xD2, 0xD4, 0xEA))
"""Beyond 2.4.4.10: Dirac, AVS2, AVS3, VC-1, and H.264 as HLS encrypts samples of it."""

_AUDIO_TYPES = frozenset((0x03, 0x04, 0x0F, 0x11, 0x1C, 0x2D, 0x2E, 0x81, 0x83, 0x84, 0x85, 0x87, 0x8A, 0xA1, 0xA2))
"""Beyond 2.4.4.10: those of ATSC and Blu-ray. Without 0x82 and 0x86, which in broadcasts are not DTS but sections of
SCTE 27 and SCTE 35."""
_ENCRYPTED_AUDIO_TYPES = frozenset((0xC1, 0xC2, 0xCF))
"""AC-3, E-AC-3 and AAC as HLS encrypts samples of them."""

_REGISTRATION, _EXTENSION = 0x05, 0x7F
_VIDEO_REGISTRATIONS = {b"HEVC": Codec.HEVC, b"VVC ": Codec.VVC, b"AV01": Codec.UNKNOWN}
_AUDIO_REGISTRATIONS = frozenset((b"AC-3", b"EAC3", b"AC-4", b"Opus", b"DTS1", b"DTS2", b"DTS3", b"BSSD"))
_AUDIO_DESCRIPTORS = frozenset((0x6A, 0x7A, 0x7B, 0x7C, 0x81))
"""AC-3, E-AC-3, DTS and AAC of DVB (ETSI EN 300 468), AC-3 of ATSC."""
_AUDIO_EXTENSIONS = frozenset((0x0E, 0x15, 0x80))
"""DTS-HD and AC-4 of DVB, Opus."""
_SUBTITLE_DESCRIPTORS = frozenset((0x46, 0x56, 0x59))
"""Teletext twice, and subtitles, of DVB."""


@dataclass(frozen=True, slots=True)
class ElementaryStream:
    """One stream of a program.

    Attributes:
        pid: The PID of its packets.
        stream_type: What the PMT says it is (2.4.4.9).
        descriptors: What else the PMT says of it, verbatim.
    """

    pid: int
    stream_type: int
    descriptors: bytes = b""

    @property
    def kind(self) -> Kind:
        """What it is for; private data are what their descriptors say."""
        if self.stream_type in _VIDEO_TYPES:
            return Kind.VIDEO
        if self.stream_type in _AUDIO_TYPES or self.stream_type in _ENCRYPTED_AUDIO_TYPES:
            return Kind.AUDIO
        if self.stream_type != _PRIVATE_DATA:
            return Kind.OTHER
        kinds = (_kind_by_descriptor(tag, content) for tag, content in read_descriptors(self.descriptors))
        return next((kind for kind in kinds if kind is not Kind.OTHER), Kind.OTHER)

    @property
    def codec(self) -> Codec:
        """How its pictures are coded."""
        if self.stream_type != _PRIVATE_DATA:
            return _CODECS.get(self.stream_type, Codec.UNKNOWN)
        for tag, content in read_descriptors(self.descriptors):
            if tag == _REGISTRATION and content[:4] in _VIDEO_REGISTRATIONS:
                return _VIDEO_REGISTRATIONS[content[:4]]
        return Codec.UNKNOWN


def _kind_by_descriptor(tag: int, content: bytes) -> Kind:
    if tag == _REGISTRATION and content[:4] in _VIDEO_REGISTRATIONS:
        return Kind.VIDEO
    if (
        tag in _AUDIO_DESCRIPTORS
        or (tag == _REGISTRATION and content[:4] in _AUDIO_REGISTRATIONS)
        or (tag == _EXTENSION and content and content[0] in _AUDIO_EXTENSIONS)
    ):
        return Kind.AUDIO
    return Kind.SUBTITLE if tag in _SUBTITLE_DESCRIPTORS else Kind.OTHER


@dataclass(frozen=True, slots=True)
class Program:
    """A program: streams that belong together and share a clock.

    Attributes:
        number: Its number in the PAT.
        pmt_pid: The PID of its PMT.
        pcr_pid: The PID whose packets carry the clock; 0x1FFF for none.
        streams: In the order of the PMT, each PID once.
        descriptors: What the PMT says of the program, verbatim.
        version: Of the PMT: 0 to 31.
    """

    number: int
    pmt_pid: int
    pcr_pid: int
    streams: tuple[ElementaryStream, ...]
    descriptors: bytes = b""
    version: int = 0

    @property
    def video(self) -> ElementaryStream | None:
        """The first video stream, if there is one."""
        return next((stream for stream in self.streams if stream.kind is Kind.VIDEO), None)

    @property
    def audio(self) -> tuple[ElementaryStream, ...]:
        """All audio streams."""
        return tuple(stream for stream in self.streams if stream.kind is Kind.AUDIO)

    def stream(self, pid: int) -> ElementaryStream | None:
        """Return the stream of a PID, if there is one."""
        return next((stream for stream in self.streams if stream.pid == pid), None)


def read_descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each descriptor; one that is cut off ends the list."""
    at = 0
    while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


def is_current(section: bytes) -> bool:
    """Return whether a table is valid now, and not only soon (current_next_indicator)."""
    return len(section) > HEADER_SIZE and bool(section[5] & 0x01)


def read_pat(section: bytes) -> dict[int, int]:
    """Read a PAT section, whose CRC is right.

    Returns:
        Program numbers and the PIDs of their PMTs, in the order of the table. Without number 0, which is the network's
        own table, and without PIDs that cannot be.

    Raises:
        BadSection: It is no PAT.
    """
    _check(section, _PAT_TABLE, HEADER_SIZE)
    programs: dict[int, int] = {}
    for at in range(HEADER_SIZE, len(section) - _CRC_SIZE - 3, 4):
        number, pid = int.from_bytes(section[at : at + 2], "big"), _pid(section, at + 2)
        if number and _LOWEST_FREE_PID <= pid < NULL_PID:
            programs.setdefault(number, pid)
    return programs


def read_pmt(section: bytes, pmt_pid: int) -> Program:
    """Read a PMT section, whose CRC is right.

    Streams on PIDs that cannot be, on the PID of the PMT itself, and on the PID of an earlier one are left out.

    Args:
        section: The whole section.
        pmt_pid: The PID it came on.

    Raises:
        BadSection: It is no PMT, or its parts do not fit into it.
    """
    _check(section, _PMT_TABLE, 12)
    end = len(section) - _CRC_SIZE
    at = 12 + section_length(section, 10)
    descriptors = section[12:at]
    streams: dict[int, ElementaryStream] = {}
    while at + 5 <= end:
        stream_type, pid, start = section[at], _pid(section, at + 1), at + 5
        at = start + section_length(section, at + 3)
        if at <= end and _LOWEST_FREE_PID <= pid < NULL_PID and pid != pmt_pid:
            streams.setdefault(pid, ElementaryStream(pid, stream_type, section[start:at]))
    if at != end:
        raise BadSection("what the PMT contains does not end where it ends")
    number, version = int.from_bytes(section[3:5], "big"), section[5] >> 1 & 0x1F
    return Program(number, pmt_pid, _pid(section, 8), tuple(streams.values()), descriptors, version)


def _check(section: bytes, table: int, least: int) -> None:
    if len(section) < least + _CRC_SIZE or section[0] != table or not section[1] & 0x80:
        raise BadSection(f"not a section of table {table}")
    if len(section) != 3 + section_length(section, 1):
        raise BadSection("a section is not as long as it says")


def _pid(data: bytes, at: int) -> int:
    return (data[at] & 0x1F) << 8 | data[at + 1]


def write_pat(transport_stream_id: int, programs: Mapping[int, int], version: int) -> bytes:
    """Make a PAT section.

    Args:
        transport_stream_id: 16 bits that name the stream within a network.
        programs: Program numbers and the PIDs of their PMTs.
        version: 0 to 31, which changes with the content.

    Raises:
        ValueError: Too many programs for one section.
    """
    content = b"".join(
        number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for number, pid in programs.items()
    )
    return _section(_PAT_TABLE, transport_stream_id, version, content)


def write_pmt(program: Program) -> bytes:
    """Make a PMT section.

    Raises:
        ValueError: Too many streams or descriptors for one section.
    """
    content = [(0xE000 | program.pcr_pid).to_bytes(2, "big"), _with_length(program.descriptors)]
    for stream in program.streams:
        content.append(bytes((stream.stream_type,)) + (0xE000 | stream.pid).to_bytes(2, "big"))
        content.append(_with_length(stream.descriptors))
    return _section(_PMT_TABLE, program.number, program.version, b"".join(content))


def _with_length(descriptors: bytes) -> bytes:
    if len(descriptors) > _LONGEST_TABLE:
        raise ValueError("too many descriptors for one section")
    return (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors


def _section(table: int, name: int, version: int, content: bytes) -> bytes:
    size = HEADER_SIZE + len(content) + _CRC_SIZE
    if size > _LONGEST_TABLE:
        raise ValueError(f"{size} bytes are too many for one section")
    head = bytes((table,)) + (0xB000 | size - 3).to_bytes(2, "big") + name.to_bytes(2, "big")
    # The only section of a table that is valid now.
    body = head + bytes((0xC1 | (version & 0x1F) << 1, 0, 0)) + content
    return body + crc32(body).to_bytes(4, "big")
