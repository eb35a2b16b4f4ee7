"""What a decoder can begin with is told by how pictures are coded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.mpegts.entry import begins_picture
from streamproxy.formats.mpegts.psi import Codec

CODE = b"\0\0\1"
H264_DELIMITER, HEVC_DELIMITER, VVC_DELIMITER = CODE + b"\x09\xf0", CODE + b"\x46\x01\x50", CODE + b"\x00\xa1\x50"
H264_PICTURE = CODE + b"\x41\x9a\x00"


@pytest.mark.parametrize(
    ("codec", "data", "verdict"),
    [
        pytest.param(Codec.H264, H264_DELIMITER + CODE + b"\x65\x88", True, id="h264 IDR"),
        pytest.param(Codec.H264, H264_DELIMITER + CODE + b"\x67\x42", True, id="h264 parameters"),
        pytest.param(Codec.H264, CODE + b"\x06\x06\x01\xc4\x80" + H264_PICTURE, True, id="h264 recovery point"),
        pytest.param(
            Codec.H264,
            CODE + b"\x06\x00\x01\x80\x01\x02\x00\x00\x06\x01\xc4\x80" + H264_PICTURE,
            True,
            id="h264 recovery point after other messages",
        ),
        pytest.param(
            Codec.H264,
            CODE + b"\x06\xff\x01\x02\x06\x06\x80" + H264_PICTURE,
            False,
            id="h264 other message with a 6 in it",
        ),
        pytest.param(
            Codec.H264,
            CODE + b"\x06\x05\xff\x01" + b"x" * 256 + b"\x06\x01\xc4\x80" + H264_PICTURE,
            True,
            id="h264 recovery point after a long message",
        ),
        pytest.param(
            Codec.H264,
            CODE + b"\x06\x05\x03\x00\x00\x03\x00\x06\x01\xc4\x80" + H264_PICTURE,
            True,
            id="h264 recovery point after an escaped message",
        ),
        pytest.param(Codec.H264, H264_DELIMITER + H264_PICTURE, False, id="h264 other picture"),
        pytest.param(Codec.H264, H264_DELIMITER, None, id="h264 only the delimiter"),
        pytest.param(Codec.H264, H264_DELIMITER + CODE + b"\x65", None, id="h264 cut off"),
        pytest.param(Codec.HEVC, HEVC_DELIMITER + CODE + b"\x26\x01", True, id="hevc IDR"),
        pytest.param(Codec.HEVC, HEVC_DELIMITER + CODE + b"\x2a\x01", True, id="hevc CRA"),
        pytest.param(Codec.HEVC, HEVC_DELIMITER + CODE + b"\x20\x01", True, id="hevc BLA"),
        pytest.param(Codec.HEVC, HEVC_DELIMITER + CODE + b"\x40\x01", True, id="hevc VPS"),
        pytest.param(Codec.HEVC, HEVC_DELIMITER + CODE + b"\x42\x01", True, id="hevc SPS"),
        pytest.param(Codec.HEVC, HEVC_DELIMITER + CODE + b"\x02\x01", False, id="hevc TRAIL"),
        pytest.param(Codec.HEVC, HEVC_DELIMITER + CODE + b"\x12\x01", False, id="hevc RASL"),
        pytest.param(Codec.HEVC, HEVC_DELIMITER, None, id="hevc only the delimiter"),
        pytest.param(Codec.VVC, VVC_DELIMITER + CODE + b"\x00\x39", True, id="vvc IDR"),
        pytest.param(Codec.VVC, VVC_DELIMITER + CODE + b"\x00\x49", True, id="vvc CRA"),
        pytest.param(Codec.VVC, VVC_DELIMITER + CODE + b"\x00\x79", True, id="vvc SPS"),
        pytest.param(Codec.VVC, VVC_DELIMITER + CODE + b"\x00\x01", False, id="vvc TRAIL"),
        pytest.param(Codec.VVC, VVC_DELIMITER, None, id="vvc only the delimiter"),
        pytest.param(Codec.MPEG2, CODE + b"\xb3\x14\x00", True, id="mpeg2 sequence"),
        pytest.param(Codec.MPEG2, CODE + b"\x00\x00\x0a", True, id="mpeg2 I"),
        pytest.param(Codec.MPEG2, CODE + b"\x00\x00\x12", False, id="mpeg2 P"),
        pytest.param(Codec.MPEG2, CODE + b"\x00\x00", None, id="mpeg2 cut off"),
        pytest.param(Codec.MPEG2, CODE + b"\xb8\x00\x08", None, id="mpeg2 only the group"),
        pytest.param(Codec.MPEG4, CODE + b"\xb0\x01" + CODE + b"\xb6\x10", True, id="mpeg4 I"),
        pytest.param(Codec.MPEG4, CODE + b"\xb6\x50", False, id="mpeg4 P"),
        pytest.param(Codec.MPEG4, CODE + b"\xb0\x01", None, id="mpeg4 only the header"),
        pytest.param(Codec.UNKNOWN, CODE + b"\x65\x88", None, id="unknown codec"),
        pytest.param(Codec.H264, b"no start code at all", None, id="no start code"),
        pytest.param(Codec.H264, b"", None, id="nothing"),
    ],
)
def test_pictures_tell(codec: Codec, data: bytes, verdict: bool | None) -> None:
    assert begins_picture(codec, data) is verdict


def test_no_more_than_sixteen_units_are_looked_at() -> None:
    assert begins_picture(Codec.H264, H264_DELIMITER * 15 + CODE + b"\x65\x88") is True
    assert begins_picture(Codec.H264, H264_DELIMITER * 16 + CODE + b"\x65\x88") is None


def test_no_more_than_sixteen_messages_are_looked_at() -> None:
    assert begins_picture(Codec.H264, CODE + b"\x06" + b"\x01\x01\x01" * 15 + b"\x06\x01\xc4\x80") is True
    assert begins_picture(Codec.H264, CODE + b"\x06" + b"\x01\x01\x01" * 16 + b"\x06\x01\xc4\x80") is None


codes = st.sampled_from([b"\0\0\1", b"\0\0\0\1", b"\0\0\3", b"\xff\xff", b"\6", b"\6\6"])
contents = st.lists(st.one_of(codes, st.binary(max_size=6)), max_size=12).map(b"".join)


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec is not Codec.H264])
@given(data=contents, more=contents)
def test_more_bytes_do_not_change_what_fewer_have_told(codec: Codec, data: bytes, more: bytes) -> None:
    verdict = begins_picture(codec, data)

    assert verdict is None or begins_picture(codec, data + more) is verdict


@given(contents)
def test_nonsense_does_no_harm(data: bytes) -> None:
    assert begins_picture(Codec.H264, data) in (True, False, None)
