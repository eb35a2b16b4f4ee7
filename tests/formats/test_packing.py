"""Undoing gzip piece by piece."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.packing import MOST_MEMBERS, DamagedError, Unpacker

PIECE = 1 << 16


def unpack(data: bytes, step: int) -> list[bytes]:
    unpacker = Unpacker()
    pieces: list[bytes] = []
    for start in range(0, len(data), step):
        pieces += unpacker.feed(data[start : start + step])
    return [*pieces, unpacker.finish()]


bodies = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda size, byte: byte * size, st.integers(0, 3 * PIECE), st.binary(min_size=1, max_size=1)),
    st.builds(lambda more: b"x" * (2 * PIECE + more), st.integers(-2, 2)),
)


@given(st.lists(bodies, min_size=1, max_size=4), st.integers(1, 2 * PIECE), st.sampled_from([b"", bytes(100)]))
def test_what_was_packed_comes_out_in_small_pieces(members: list[bytes], step: int, padding: bytes) -> None:
    packed = b"".join(gzip.compress(member, 1) for member in members) + padding

    pieces = unpack(packed, step)

    assert b"".join(pieces) == b"".join(members)
    assert max(map(len, pieces)) <= PIECE


@given(st.binary(max_size=100).filter(lambda data: not data.startswith(b"\x1f\x8b")), st.integers(1, 100))
def test_what_only_claims_to_be_packed_comes_out_as_it_is(data: bytes, step: int) -> None:
    assert b"".join(unpack(data, step)) == data


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"abc" * 100)[:-1],
        gzip.compress(b"abc")[:5],
        gzip.compress(b"abc")[:-8] + bytes(8),
        b"\x1f\x8b" + b"x" * 50,
        gzip.compress(b"") * (MOST_MEMBERS + 1),
    ],
    ids=["cut short", "cut within its header", "wrong checksum", "no gzip behind its mark", "too many members"],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_damaged_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(DamagedError):
        unpack(data, step)


def test_a_bomb_is_unpacked_no_further_than_somebody_wants() -> None:
    bomb = gzip.compress(bytes(1 << 26), 9)

    pieces = Unpacker().feed(bomb)

    assert [len(next(pieces)) for _ in range(3)] == [PIECE] * 3
