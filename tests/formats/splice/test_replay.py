"""A source that was lost and comes back, and sends again what it had sent before."""

import itertools
import random

import pytest

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.mpegts.psi import NULL_PID
from streamproxy.formats.mpegts.timestamps import difference
from streamproxy.formats.splice import Candidate
from streamproxy.formats.splice.replay import Former, Recognition
from tests.formats.splice import sources
from tests.formats.splice.playing import CHUNK, Channel, chunks, decode, entries, faults, packets, times
from tests.helpers.tscheck import check

NULL = bytes((0x47, 0x1F, 0xFF, 0x10)).ljust(PACKET_SIZE, b"\xff")


def numbered(number: int, pid: int = 0x100) -> bytes:
    return bytes((0x47, pid >> 8, pid & 0xFF, 0x10 | number & 0x0F)).ljust(PACKET_SIZE - 4, b".") + number.to_bytes(4)


def differing(data: bytes) -> bytes:
    """Return a stream that says the same in other bytes."""
    changed = bytearray(data)
    for at in range(1, len(changed), PACKET_SIZE):
        changed[at] |= 0x20  # transport_priority
    return bytes(changed)


@pytest.mark.parametrize("size", [CHUNK, 348 * PACKET_SIZE])
@pytest.mark.parametrize("seed", range(4))
def test_a_replay_goes_on_byte_by_byte_where_it_broke_off(seed: int, size: int) -> None:
    chance = random.Random(seed)
    source = sources.usual()
    count = len(source) // PACKET_SIZE
    lost = chance.randrange(150, count - 100)
    again = chance.randrange(0, lost - 20)
    channel = Channel()
    channel.play(packets(source, 0, 2), PACKET_SIZE)
    channel.play(packets(source, 2, lost), size)
    channel.finish()
    candidate = channel.switch(packets(source, again), chance.randrange(1, 80) * PACKET_SIZE, replay=True)
    channel.finish(whole=True)

    assert candidate.continuation() is not None
    assert channel.output == source
    assert [entry.position for entry in channel.entries] == entries(source, 0x100)


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_of_a_source_that_is_rewritten_goes_on_as_if_nothing_had_happened(seed: int) -> None:
    chance = random.Random(seed)
    source = sources.foreign()
    lost = chance.randrange(250, len(source) // PACKET_SIZE - 50)
    channel, undisturbed = Channel(), Channel()
    for each in (channel, undisturbed):
        each.play(sources.cut(sources.usual(), 0, 0.8))
    undisturbed.switch(source)
    undisturbed.finish(whole=True)
    channel.switch(packets(source, 0, lost))
    channel.finish()
    channel.switch(packets(source, chance.randrange(0, lost - 20)), replay=True)
    channel.finish(whole=True)

    assert channel.output == undisturbed.output
    assert channel.entries == undisturbed.entries


def test_where_streams_take_turns_a_replay_repeats_nothing_and_lacks_nothing() -> None:
    source = sources.taking_turns()
    channel = Channel()
    channel.play(packets(source, 0, 300))
    channel.finish()
    channel.switch(packets(source, 100), replay=True)
    channel.finish(whole=True)

    assert sorted(chunks(channel.output, PACKET_SIZE)) == sorted(chunks(source, PACKET_SIZE))
    assert faults(channel.output) == []


def test_a_replay_in_other_bytes_is_skipped_by_its_times() -> None:
    source = sources.usual()
    lost = entries(source, 0x100)[1] // PACKET_SIZE + 40
    channel = Channel()
    channel.play(packets(source, 0, lost))
    channel.finish()
    candidate = channel.switch(differing(source), replay=True)
    channel.finish()

    assert candidate.continuation() is None
    assert faults(channel.output) == []
    assert decode(channel.output).complaints == ""
    begun = times(packets(source, 0, lost), 0x100)
    rest = times(source[entries(source, 0x100)[2] :], 0x100)
    assert len(times(channel.output, 0x100)) == len(begun) - 1 + len(rest) - 1


def test_a_replay_is_not_entered_while_it_is_old() -> None:
    source = sources.usual()
    channel = Channel()
    channel.play(source)
    channel.finish()
    candidate = Candidate(channel.splicer.former())
    candidate.feed(packets(differing(source), 0, 400))

    assert not candidate.ready
    assert candidate.settle()
    assert candidate.ready


def test_a_source_that_comes_back_with_another_clock_is_entered_at_once() -> None:
    source = sources.usual()
    channel = Channel()
    channel.play(source)
    channel.finish()
    candidate = Candidate(channel.splicer.former())
    candidate.feed(packets(sources.foreign(), 0, 100))

    assert candidate.ready
    assert candidate.continuation() is None


def test_another_source_is_entered_though_it_is_older() -> None:
    channel = Channel()
    channel.play(sources.usual())
    channel.finish()
    candidate = Candidate()
    candidate.feed(packets(sources.usual(), 0, 100))

    assert candidate.ready
    assert candidate.continuation() is None


def test_a_candidate_for_a_source_still_in_force_recognises_nothing() -> None:
    channel = Channel()
    channel.play(sources.usual())
    candidate = Candidate(channel.splicer.former())
    candidate.feed(sources.usual())

    assert candidate.continuation() is None


@pytest.mark.parametrize("size", [1, 3, 16, 40])
def test_what_was_last_is_found_wherever_chunks_begin(size: int) -> None:
    stream = [numbered(number) for number in range(100)]
    former = Former.of(stream[10:61], None)
    recognition = Recognition(former.last)
    found = None
    for at in range(0, len(stream), size):
        old = recognition.feed(b"".join(stream[at : at + size]))
        if old is not None:
            found = at + old // PACKET_SIZE
            break

    assert found == 61


def test_stuffing_is_nothing_to_recognise_a_source_by() -> None:
    stream = [numbered(number) for number in range(20)]
    former = Former.of([*stream, *[NULL] * 50], None)
    recognition = Recognition(former.last)

    assert Former.of([NULL] * 200, None).last == b""
    assert Recognition(b"").feed(NULL) is None
    assert recognition.feed(NULL * 100) is None
    assert recognition.feed(b"".join(stream)) is None
    assert recognition.feed(NULL * 60) == 50 * PACKET_SIZE
    assert NULL_PID == 0x1FFF


def test_what_is_found_across_packets_is_not_it() -> None:
    stream = b"".join(numbered(number) for number in range(16))
    shifted = stream[100:] + stream[:100]
    recognition = Recognition(Former.of([stream], None).last)

    assert recognition.feed(b"x" * 100 + stream + b"x" * 88) is None
    assert recognition.feed(shifted) is None


def test_a_continuation_that_is_kept_for_too_long_is_given_up() -> None:
    source = sources.usual()
    channel = Channel()
    channel.play(packets(source, 0, 300))
    channel.finish()
    candidate = Candidate(channel.splicer.former())
    candidate.feed(source)
    assert candidate.continuation() is not None
    for _ in range(9 * (1 << 20) // len(sources.foreign())):
        candidate.feed(sources.foreign())

    assert candidate.continuation() is None
    assert sum(len(chunk.data) for chunk in candidate.from_entry()) <= 8 << 20
    assert candidate.ready


def test_a_source_that_repeats_itself_goes_on_at_the_first_place_that_fits() -> None:
    source = sources.usual()
    channel = Channel()
    channel.play(packets(source, 0, 300))
    channel.finish()
    candidate = Candidate(channel.splicer.former())
    candidate.feed(source)
    candidate.feed(source)

    assert b"".join(candidate.continuation() or ()) == packets(source, 300) + source


def test_times_go_on_after_a_replay_by_times() -> None:
    source = sources.usual()
    channel = Channel()
    channel.play(packets(source, 0, 330))
    channel.switch(differing(source), CHUNK, replay=True)
    channel.finish()

    decode_times = [decode for _, decode in times(channel.output, 0x100)]
    steps = [difference(later, earlier) for earlier, later in itertools.pairwise(decode_times)]
    assert set(steps) == {3600}
    assert check(channel.output).faults == []


@pytest.mark.parametrize("same_bytes", [True, False])
def test_what_a_candidate_brought_along_was_sent_before(same_bytes: bool) -> None:
    channel = Channel()
    channel.play(sources.usual())
    candidate = Candidate()
    candidate.feed(sources.foreign())
    channel.pieces += channel.splicer.enter(candidate)
    channel.finish()
    again = Candidate(channel.splicer.former())
    again.feed(sources.foreign() if same_bytes else differing(sources.foreign()))

    assert (again.continuation() is not None) == same_bytes
    assert again.ready == same_bytes
