"""Frames of compressed sound, as far as their headers tell where they end and how long they last."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

HEADER_SIZE = 8
"""Bytes of a frame that must be there to read its header."""

_ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_MPEG_RATES = (44_100, 48_000, 32_000)
_MPEG_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Thousands of bits per second, by version (2 for 2.5, too) and layer (ISO/IEC 11172-3, 2.4.2.3; 13818-3, 2.4.2.3)."""
_AC3_RATES = (48_000, 44_100, 32_000)
_AC3_BIT_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AC3_SAMPLES = 1536
_EAC3_BLOCKS = (1, 2, 3, 6)
_EAC3_BLOCK = 256
_ADTS_SAMPLES = 1024


class AudioCodec(Enum):
    """How sound is compressed: the kinds that HLS has as packed audio (RFC 8216bis, 3.1.4)."""

    AAC = "AAC"
    MPEG1 = "MPEG-1 audio"
    MPEG2 = "MPEG-2 audio"
    AC3 = "AC-3"
    EAC3 = "E-AC-3"


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """What the header of a frame says.

    Attributes:
        codec: How it is compressed.
        size: Bytes it has, header included.
        samples: How many it lasts; 0 for what is heard together with the frame before it.
        rate: Samples per second.
    """

    codec: AudioCodec
    size: int
    samples: int
    rate: int


def read_frame(head: bytes) -> AudioFrame | None:
    """Read the header of a frame.

    Args:
        head: `HEADER_SIZE` bytes, or more.

    Returns:
        What it says; None if no frame begins here, or one of unknown length.
    """
    if head[0] == 0x0B and head[1] == 0x77:
        return _read_ac3(head)
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    read: Callable[[bytes], AudioFrame | None] = _read_mpeg if head[1] & 0x06 else _read_adts
    return read(head)


def _read_adts(head: bytes) -> AudioFrame | None:
    """Read an ADTS header (ISO/IEC 14496-3, 1.A.2.2)."""
    rate = head[2] >> 2 & 0x0F
    size = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    if head[1] & 0xF0 != 0xF0 or rate >= len(_ADTS_RATES) or size <= HEADER_SIZE:
        return None
    return AudioFrame(AudioCodec.AAC, size, _ADTS_SAMPLES * ((head[6] & 0x03) + 1), _ADTS_RATES[rate])


def _read_mpeg(head: bytes) -> AudioFrame | None:
    """Read a header of MPEG audio (ISO/IEC 11172-3, 2.4.1.3); 2.5 halves the rates of version 2 once more."""
    kind, layer = head[1] >> 3 & 0x03, 4 - (head[1] >> 1 & 0x03)
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 0x03
    if kind == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    version = 1 if kind == 3 else 2
    per_second = _MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[kind]
    bits = _MPEG_BIT_RATES[version, layer][bit_rate - 1] * 1000
    samples = {1: 384, 2: 1152, 3: 1152 // version}[layer]
    # Layer I is counted in slots of four bytes.
    slot = 4 if layer == 1 else 1
    size = (samples // 8 // slot * bits // per_second + (head[2] >> 1 & 1)) * slot
    codec = AudioCodec.MPEG1 if version == 1 else AudioCodec.MPEG2
    return AudioFrame(codec, size, samples, per_second)


def _read_ac3(head: bytes) -> AudioFrame | None:
    """Read a header of AC-3 or E-AC-3 (ETSI TS 102 366, 4.3 and E.1.2)."""
    version, rate = head[5] >> 3, head[4] >> 6
    if version > 16:
        return None
    if version > 10:
        return _read_eac3(head, rate)
    code = head[4] & 0x3F
    if rate == 3 or code >= 2 * len(_AC3_BIT_RATES):
        return None
    bits = _AC3_BIT_RATES[code >> 1]
    words = (2 * bits, 320 * bits // 147 + (code & 1), 3 * bits)[rate]
    return AudioFrame(AudioCodec.AC3, 2 * words, _AC3_SAMPLES, _AC3_RATES[rate])


def _read_eac3(head: bytes, rate: int) -> AudioFrame | None:
    size = 2 * (((head[2] & 0x07) << 8 | head[3]) + 1)
    code = head[4] >> 4 & 0x03
    if size <= HEADER_SIZE or head[2] >> 6 == 3 or rate == code == 3:
        return None
    if rate == 3:
        per_second, blocks = _AC3_RATES[code] // 2, _EAC3_BLOCKS[-1]
    else:
        per_second, blocks = _AC3_RATES[rate], _EAC3_BLOCKS[code]
    dependent = head[2] >> 6 == 1
    return AudioFrame(AudioCodec.EAC3, size, 0 if dependent else blocks * _EAC3_BLOCK, per_second)
