"""Server-sent events out of bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.cli.client.sse import LONGEST, Message, Parser


def read(*pieces: bytes) -> list[Message]:
    parser = Parser()
    return [message for piece in pieces for message in parser.feed(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_message_ends_with_an_empty_line_however_lines_end(end: bytes) -> None:
    lines = [b": heartbeat", b"event: splice", b"id: 7", b"data: {", b"data:}", b"", b": heartbeat", b""]

    assert read(end.join(lines)) == [Message("splice", "{\n}")]


def test_a_line_end_may_be_cut_in_two() -> None:
    whole = b"data: 1\r\ndata: 2\r\n\r\n: x"

    for cut in range(len(whole)):
        assert read(whole[:cut], whole[cut:]) == [Message("message", "1\n2")]


def test_a_message_without_data_is_none_and_one_without_a_type_is_a_message() -> None:
    assert read(b"event: x\n\ndata: 1\n\n") == [Message("message", "1")]


def test_an_unfinished_message_is_not_told() -> None:
    assert read(b"data: 1\n") == []


def test_ids_and_pauses_are_kept_where_they_are_usable() -> None:
    parser = Parser()

    list(parser.feed(b"id: 5\nretry: 1500\n\n"))
    list(parser.feed(b"id: \x1b\nid: a b\nretry: soon\nretry: -1\nunknown: 1\nnothing\n\n"))

    assert (parser.last_id, parser.retry) == ("5", 1.5)


@given(
    st.lists(
        st.sampled_from([b"data: 1", b"event: e", b"\r", b"\n", b"\r\n", b"id: 3", b": x", b"\n\n", "ä".encode()])
    ),
    st.lists(st.integers(0, 60)),
)
def test_it_does_not_matter_how_bytes_are_cut(parts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(parts) + b"\n\nx"
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[start:stop] for start, stop in pairwise(edges)]

    assert read(*pieces) == read(whole)


@pytest.mark.parametrize("data", [b"data: " + b"x" * LONGEST, b"data: " + b"x" * 1000 + b"\n"])
def test_a_message_without_an_end_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="too long"):
        read(*[data] * (LONGEST // 1000 + 1))
