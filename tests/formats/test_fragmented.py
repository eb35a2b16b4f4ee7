"""A live stream of MP4 is what players need first, and then fragments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.fmp4 import NotFragmentsError
from streamproxy.formats.fragmented import FragmentedStream
from tests.formats.samples import box, fragments


@given(st.integers(1, 2000))
def test_how_it_is_cut_on_its_way_does_not_matter(step: int) -> None:
    header, pieces = fragments(4)
    data, framing, found = header + b"".join(pieces), FragmentedStream(), []
    for at in range(0, len(data), step):
        found += framing.feed(data[at : at + step])
    assert (framing.header, b"".join(found)) == (header, b"".join(pieces))
    assert all(piece.startswith(pieces[0][:8]) for piece in found)


@pytest.mark.parametrize("kind", [b"styp", b"sidx", b"emsg", b"prft"])
def test_what_stands_before_the_first_fragment_belongs_to_it(kind: bytes) -> None:
    header, (first,) = fragments(1)
    framing = FragmentedStream()
    assert framing.feed(header + box(kind, bytes(20)) + first) == [box(kind, bytes(20)) + first]
    assert framing.header == header


@pytest.mark.parametrize(
    "data",
    [
        b"\x47" + bytes(187),
        box(b"ftyp") + box(b"mdat", bytes(100)) + box(b"moov"),
        box(b"ftyp") + box(b"moof") + box(b"mdat"),
        box(b"ftyp") + box(b"moov") + b"\0\0\0\1free\0\0\0\0\0\0\0\x10" + box(b"moof") + box(b"mdat"),
    ],
)
def test_what_is_no_fragmented_mp4_is_refused(data: bytes) -> None:
    with pytest.raises(NotFragmentsError):
        FragmentedStream().feed(data)


def test_no_more_is_held_than_the_limit() -> None:
    with pytest.raises(NotFragmentsError, match="more than"):
        FragmentedStream(limit=1 << 20).feed(box(b"moof", bytes(2 << 20)))
