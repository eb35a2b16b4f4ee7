"""What is read because somebody joins is seen by whoever judges the stream, once."""

from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.formats.mpegts import Entry, Indexed
from streamproxy.formats.splice import Splicer
from tests.formats.splice.playing import chunks
from tests.formats.splice.synthetic import FRAME, Maker

SIZE = 7 * 188
_SOURCE = Maker().stream(0, 400, every=25)

Seen = tuple[int, bytes, int, int | None, tuple[Entry, ...]]


def seen(found: Sequence[Indexed]) -> list[Seen]:
    return [(each.start, each.packets, each.complete, each.decode_time, each.entries) for each in found]


def judged(joins: Callable[[int], int]) -> tuple[list[Seen], list[Entry]]:
    """Feed a stream, and return what was found in it, and the entry points that viewers are told of.

    Args:
        joins: Tells how many viewers join behind a chunk.
    """
    splicer = Splicer(thorough=True)
    found: list[Seen] = []
    entries: list[Entry] = []
    pieces = chunks(_SOURCE, SIZE)
    for number, chunk in enumerate(pieces):
        for piece in splicer.feed(chunk):
            entries += piece.entries
        found += seen(splicer.found)
        for _ in range(joins(number)):
            entries += splicer.look()
    # What has been left for later shows with the next feed.
    entries += splicer.look()
    splicer.feed(Maker().picture(400 * FRAME))
    return found + seen(splicer.found), entries


ALONE = judged(lambda number: 0)


def test_without_joins_every_chunk_is_found_once() -> None:
    found, _ = ALONE

    assert b"".join(packets for _, packets, _, _, _ in found) == _SOURCE


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_what_viewers_who_join_have_read_is_judged_once(joins: list[int]) -> None:
    assert judged(lambda number: joins[number % len(joins)]) == ALONE


def test_what_a_viewer_who_joins_has_read_is_found_with_the_next_chunk() -> None:
    splicer = Splicer(thorough=True)
    pieces = chunks(_SOURCE, SIZE)
    for chunk in pieces[:100]:
        splicer.feed(chunk)
    while splicer.indexer.unread != 5:
        splicer.feed(pieces[100])
    left = splicer.indexer.unread

    splicer.look()
    splicer.feed(pieces[101])

    assert len(splicer.found) == left
