"""Pictures that a decoder can begin with, recognised by how they are coded."""

from collections.abc import Callable, Iterator
from itertools import islice

from streamproxy.formats.mpegts.psi import Codec

_START_CODE = b"\0\0\1"
_RECOVERY_POINT = 6
_MOST_UNITS = 16
"""Units, and messages in one of them, to look at: pictures have fewer before what tells, unless somebody is wicked."""


def begins_picture(codec: Codec, data: bytes) -> bool | None:
    """Say whether a decoder can begin with a picture.

    Args:
        codec: How it is coded.
        data: The first bytes of the coded picture, as far as they are known.

    Returns:
        None if these bytes do not tell: more of them may, unless the codec is unknown.

    Such are, for H.264, pictures with a parameter set before them, IDR pictures, and those at which a decoder recovers
    (ITU-T H.264, D.2.8): many broadcasts have nothing else. For HEVC and VVC, random access pictures and parameter sets
    (H.265 and H.266, 7.4.2.2); for MPEG video, sequence headers and I pictures.
    """
    judge = _JUDGES.get(codec)
    if judge is None:
        return None
    for at in islice(_units(data), _MOST_UNITS):
        verdict = judge(data, at)
        if verdict is not None:
            return verdict
    return None


def _units(data: bytes) -> Iterator[int]:
    """Yield where units begin, behind their start codes, with at least two bytes there."""
    at = data.find(_START_CODE) + 3
    while 3 <= at < len(data) - 1:
        yield at
        at = data.find(_START_CODE, at) + 3


def _h264(data: bytes, at: int) -> bool | None:
    unit_type = data[at] & 0x1F
    if unit_type in (5, 7):
        return True
    if unit_type == 6:
        return True if _has_recovery_point(data, at + 1) else None
    return False if 1 <= unit_type <= 4 else None


def _has_recovery_point(data: bytes, at: int) -> bool:
    """Look through the messages of a supplemental enhancement information unit (H.264, 7.3.2.3)."""
    end = data.find(_START_CODE, at)
    # Bytes put in so that no start code comes about in the messages do not count.
    unit = data[at : end if end >= 0 else len(data)].replace(b"\0\0\3", b"\0\0")
    at = 0
    for _ in range(_MOST_UNITS):
        message_type, at = _variable(unit, at)
        if message_type == _RECOVERY_POINT:
            return True
        size, at = _variable(unit, at)
        at += size
        if at >= len(unit):
            break
    return False


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """Read a number coded as any count of 0xFF and the rest; return it and the position behind it."""
    number = 0
    while at < len(data) and data[at] == 0xFF:
        number += 0xFF
        at += 1
    return number + (data[at] if at < len(data) else 0), at + 1


def _hevc(data: bytes, at: int) -> bool | None:
    unit_type = data[at] >> 1 & 0x3F
    if 16 <= unit_type <= 21 or unit_type in (32, 33):
        return True
    return False if unit_type <= 9 else None


def _vvc(data: bytes, at: int) -> bool | None:
    unit_type = data[at + 1] >> 3
    if 7 <= unit_type <= 10 or unit_type in (14, 15):
        return True
    return False if unit_type <= 3 else None


def _mpeg2(data: bytes, at: int) -> bool | None:
    if data[at] == 0xB3:
        return True
    if data[at] != 0x00 or at + 2 >= len(data):
        return None
    return data[at + 2] >> 3 & 0x7 == 1


def _mpeg4(data: bytes, at: int) -> bool | None:
    return data[at + 1] >> 6 == 0 if data[at] == 0xB6 else None


_JUDGES: dict[Codec, Callable[[bytes, int], bool | None]] = {
    Codec.H264: _h264,
    Codec.HEVC: _hevc,
    Codec.VVC: _vvc,
    Codec.MPEG2: _mpeg2,
    Codec.MPEG4: _mpeg4,
}
