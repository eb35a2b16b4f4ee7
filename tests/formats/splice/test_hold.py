"""What is held back of a source, and where it is cut."""

import pytest

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.splice import Splicer
from tests.formats.splice import sources
from tests.formats.splice.playing import CHUNK, Channel, chunks, decode, faults, packets, starts, times
from tests.formats.splice.synthetic import AUDIO, FRAME, VIDEO, Maker


def waiting(splicer: Splicer, fed: list[bytes]) -> list[int]:
    """Return after each chunk how many are held back."""
    passed, counts = 0, []
    for number, chunk in enumerate(fed):
        passed += len(splicer.feed(chunk))
        counts.append(number + 1 - passed)
    return counts


def test_the_first_two_chunks_pass_at_once() -> None:
    source = Maker()
    begun = source.tables() + source.picture(0, key=True)

    assert waiting(Splicer(), [begun, source.sound(0), source.sound(FRAME), source.picture(FRAME)]) == [0, 0, 1, 2]


def test_what_is_complete_passes() -> None:
    source = Maker()
    first, second = source.tables() + source.picture(0, key=True), source.picture(FRAME)
    fed = [first, second, *(source.picture(number * FRAME) for number in range(2, 10))]

    assert waiting(Splicer(), fed) == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]


def test_nothing_is_held_back_of_what_has_no_tables() -> None:
    source = Maker()

    assert set(waiting(Splicer(), [source.picture(number * FRAME) for number in range(50)])) == {0}


def test_no_more_than_eight_chunks_are_held_back() -> None:
    source = Maker()
    endless = chunks(source.tables() + source.picture(0, key=True, size=20_000), PACKET_SIZE)

    assert max(waiting(Splicer(), endless)) == 8


def test_no_more_than_a_mebibyte_is_held_back() -> None:
    source = Maker()
    picture = source.tables() + source.picture(0, key=True, size=4 << 20)

    assert 1 < max(waiting(Splicer(), chunks(picture, 1_000 * PACKET_SIZE))) <= 1 + (1 << 20) // (1_000 * PACKET_SIZE)


def test_however_much_has_passed_something_is_held_back() -> None:
    source = Maker()
    fed = [source.tables() + source.picture(0, key=True, size=1 << 18)]
    fed += [source.picture(number * FRAME, size=1 << 18) for number in range(1, 12)]

    assert waiting(Splicer(), fed) == [0, 0, *[1] * 10]


def test_a_stream_that_falls_silent_delays_the_others_by_no_more_than_that() -> None:
    source = Maker()
    fed = [source.tables() + source.picture(0, key=True) + source.sound(0)]
    fed += [source.picture(number * FRAME) for number in range(1, 100)]

    assert max(waiting(Splicer(), fed)) == 8


@pytest.mark.parametrize("lost", range(200, 420, 11))
def test_a_source_is_cut_where_nothing_is_cut(lost: int) -> None:
    source = sources.usual()
    channel = Channel()
    channel.play(packets(source, 0, lost))
    channel.finish()
    output = channel.output

    assert source.startswith(output)
    assert lost * PACKET_SIZE - len(output) <= 9 * CHUNK
    # What follows begins something new, of each stream that is not done.
    for pid in (0x100, 0x101):
        rest = [at for at in range(len(output), len(source), PACKET_SIZE) if at in starts(source, pid)]
        behind = [
            at
            for at in range(len(output), len(source), PACKET_SIZE)
            if (source[at + 1] & 0x1F) << 8 | source[at + 2] == pid
        ]
        assert rest[:1] == behind[:1]


@pytest.mark.parametrize("lost", range(230, 420, 37))
def test_where_streams_take_turns_what_has_begun_is_completed(lost: int) -> None:
    source = sources.taking_turns()
    channel = Channel()
    channel.play(packets(source, 0, lost))
    channel.finish()
    channel.switch(sources.foreign())
    channel.finish()

    assert faults(channel.output) == []
    assert decode(channel.output).complaints == ""


def test_what_is_complete_of_the_next_source_is_published_at_once() -> None:
    channel, source = Channel(), Maker()
    channel.play(sources.usual())
    channel.finish()
    before = len(starts(channel.output, 0x100))
    begun = [source.tables(), source.picture(0, key=True), source.picture(FRAME), source.picture(2 * FRAME)]

    channel.switch(b"".join(begun), size=1_000 * PACKET_SIZE)

    assert len(starts(channel.output, 0x100)) == before + 2


def test_sound_that_has_come_further_than_pictures_is_not_lost_with_them() -> None:
    source = Maker()
    # How large pictures are is known from those before.
    stream = source.tables() + b"".join(
        source.picture(number * FRAME, key=not number, size=4_500) + source.sound(number * FRAME)
        for number in range(20)
    )
    pictures = source.picture(20 * FRAME, size=3_000)
    sound = [source.sound((20 + number) * FRAME) for number in range(4)]
    turns = pictures[: 5 * PACKET_SIZE] + b"".join(sound) + pictures[5 * PACKET_SIZE :]
    channel = Channel()
    channel.play(stream + turns, 4 * PACKET_SIZE)
    channel.finish()

    assert len(times(channel.output, VIDEO)) == 20
    assert len(times(channel.output, AUDIO)) == 20


def test_finishing_twice_does_nothing_more() -> None:
    splicer = Splicer()
    for chunk in chunks(sources.usual()):
        splicer.feed(chunk)

    assert splicer.finish()
    assert splicer.finish() == []
