"""Pictures that replace each other are cut between them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.multipart import NotPartsError, Parts
from tests.formats.samples import part, parts


@given(st.integers(1, 2000))
def test_how_they_are_cut_on_their_way_does_not_matter(step: int) -> None:
    header, pieces = parts(5)
    data, framing, found = header + b"".join(pieces), Parts(), []
    for at in range(0, len(data), step):
        found += framing.feed(data[at : at + step])
    assert (framing.header, found) == (header, pieces)


def test_a_picture_is_passed_on_with_the_boundary_behind_it_and_not_before() -> None:
    framing, picture = Parts(), part(b"picture")
    assert framing.feed(b"--frame\r\n" + picture[:-1]) == []
    assert framing.feed(picture[-1:]) == [picture]


def test_a_picture_may_hold_what_looks_like_a_boundary() -> None:
    picture = part(b"\r\n--frame\r\n\r\n\r\n")
    framing = Parts()
    assert framing.feed(b"--frame\r\n" + picture * 2) == [picture] * 2


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"-" + b"x" * 10,
        b"--" + b"x" * 200,
        b"--frame\r\nContent-Type: image/jpeg\r\n\r\npicture",
        b"--frame\r\nContent-Length: -3\r\n\r\npicture",
        b"--frame\r\nContent-Length: 9999999\r\n\r\n",
        b"--frame\r\n" + b"x" * 5000,
        b"--frame\r\n" + part(b"picture", boundary=b"other"),
        b"--frame\r\nContent-Length: 3\r\n\r\npicture and much more",
    ],
)
def test_what_are_no_parts_is_refused(data: bytes) -> None:
    with pytest.raises(NotPartsError):
        Parts(limit=1 << 20).feed(data)


@given(st.binary(max_size=200), st.integers(0, 1000), st.integers(1, 64))
def test_damage_is_refused_or_passed_on_but_never_something_else(junk: bytes, at: int, step: int) -> None:
    header, pieces = parts(3)
    data, framing = header + b"".join(pieces), Parts()
    data = data[:at] + junk + data[at:]
    with contextlib.suppress(NotPartsError):
        for start in range(0, len(data), step):
            framing.feed(data[start : start + step])
