"""Whatever comes, nothing breaks."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.splice import Candidate, Splicer
from tests.formats.splice.playing import chunks
from tests.formats.splice.synthetic import STREAMS, Maker


def damaged(chance: random.Random) -> bytes:
    """Return a stream with some bytes of its headers, tables and times overwritten."""
    maker = Maker()
    data = bytearray(maker.stream(chance.randrange(1 << 33), chance.randrange(1, 40), every=chance.randrange(1, 12)))
    for _ in range(chance.choice([0, 1, 20, 300])):
        packet = chance.randrange(len(data) // PACKET_SIZE) * PACKET_SIZE
        data[packet + chance.choice([1, 2, 3, 4, 5, chance.randrange(1, 40), chance.randrange(1, PACKET_SIZE)])] = (
            chance.randrange(256)
        )
    if chance.random() < 0.3:
        tables = maker.tables(STREAMS, pcr_pid=chance.randrange(0x2000), pmt_pid=chance.randrange(0x20, 0x1FFF))
        at = chance.randrange(len(data) // PACKET_SIZE) * PACKET_SIZE
        data[at:at] = tables
    return bytes(data)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 64))
def test_no_stream_breaks_a_splicer(seed: int) -> None:
    chance = random.Random(seed)
    splicer = Splicer()
    position = 0
    for _ in range(chance.randrange(1, 5)):
        pieces = []
        candidate = Candidate(splicer.former() if chance.random() < 0.5 else None)
        for chunk in chunks(damaged(chance), chance.randrange(1, 60) * PACKET_SIZE):
            candidate.feed(chunk)
        if candidate.ready or candidate.settle():
            pieces += splicer.enter(candidate)
        for chunk in chunks(damaged(chance), chance.randrange(1, 60) * PACKET_SIZE):
            pieces += splicer.feed(chunk)
        if chance.random() < 0.7:
            pieces += splicer.finish(whole=chance.random() < 0.3)
        output = b"".join(piece.data for piece in pieces)
        assert len(output) % PACKET_SIZE == 0
        assert set(output[::PACKET_SIZE]) <= {0x47}
        for entry in (entry for piece in pieces for entry in piece.entries):
            assert entry.position % PACKET_SIZE == 0
            assert 0 <= entry.position < position + len(output)
        position += len(output)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 64))
def test_packets_of_noise_break_nothing(seed: int) -> None:
    chance = random.Random(seed)
    splicer = Splicer()
    for chunk in chunks(Maker().stream(0, 30)):
        splicer.feed(chunk)
    candidate = Candidate()
    candidate.feed(Maker().stream(7, 5))
    splicer.enter(candidate)
    for _ in range(5):
        splicer.feed(b"".join(b"\x47" + chance.randbytes(PACKET_SIZE - 1) for _ in range(100)))
    splicer.finish()
