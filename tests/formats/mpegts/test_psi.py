"""Tables are read, written and put together from packets."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamproxy.formats.mpegts.psi import (
    BadSection,
    Codec,
    ElementaryStream,
    Kind,
    Program,
    is_current,
    read_descriptors,
    read_pat,
    read_pmt,
    write_pat,
    write_pmt,
)
from streamproxy.formats.mpegts.sections import SectionAssembler, crc32, packetize
from tests.formats.mpegts.made import PACKET, PMT, Mux, pids, program


def crc_bit_by_bit(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            feedback = register >> 31 ^ byte >> (7 - bit) & 1
            register = (register << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if feedback else 0)
    return register


@given(st.binary(max_size=100))
@example(b"123456789")
def test_the_checksum_is_that_of_the_standard(data: bytes) -> None:
    assert crc32(data) == crc_bit_by_bit(data)
    assert crc32(data + crc32(data).to_bytes(4, "big")) == 0


def test_the_checksum_has_its_known_value() -> None:
    assert crc32(b"123456789") == 0x0376E6E7


free_pids = st.integers(0x10, 0x1FFE)
descriptor_lists = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=3)
descriptor_bytes = descriptor_lists.map(lambda found: b"".join(bytes((tag, len(data))) + data for tag, data in found))
elementary_streams = st.builds(ElementaryStream, free_pids, st.integers(0, 255), descriptor_bytes)
programs = st.builds(
    Program,
    st.integers(1, 0xFFFF),
    st.just(0x0F),
    st.integers(0, 0x1FFF),
    st.lists(elementary_streams, max_size=8, unique_by=lambda stream: stream.pid).map(tuple),
    descriptor_bytes,
    st.integers(0, 31),
)


@given(programs)
def test_a_pmt_is_read_as_it_was_written(written: Program) -> None:
    section = write_pmt(written)

    assert crc_bit_by_bit(section) == 0
    assert is_current(section)
    assert read_pmt(section, 0x0F) == written


@given(st.dictionaries(st.integers(1, 0xFFFF), free_pids, max_size=253), st.integers(0, 31))
def test_a_pat_is_read_as_it_was_written(written: dict[int, int], version: int) -> None:
    section = write_pat(99, written, version)

    assert crc_bit_by_bit(section) == 0
    assert list(read_pat(section).items()) == list(written.items())
    assert (section[3:5], section[5] >> 1 & 31) == (b"\0\x63", version)


@given(descriptor_lists)
def test_descriptors_are_read_one_by_one(descriptors: list[tuple[int, bytes]]) -> None:
    data = b"".join(bytes((tag, len(content))) + content for tag, content in descriptors)

    assert list(read_descriptors(data)) == descriptors
    assert list(read_descriptors(data + b"\x05\x04abc")) == descriptors


def test_a_table_that_does_not_fit_into_one_section_is_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        write_pat(1, dict.fromkeys(range(1, 255), PMT), 0)
    with pytest.raises(ValueError, match="too many"):
        write_pmt(Program(1, PMT, 0x100, (), bytes(5000)))


def sealed(section: bytes) -> bytes:
    """Set the length and the checksum of a section right."""
    body = section[:1] + (0xB000 | len(section) + 1).to_bytes(2, "big") + section[3:]
    return body + crc32(body).to_bytes(4, "big")


def test_pids_that_cannot_be_are_left_out_of_a_pat() -> None:
    assert read_pat(write_pat(1, {0: 0x20, 1: 0x00, 2: 0x1FFF, 3: 0x30}, 0)) == {3: 0x30}


def test_pids_that_cannot_be_are_left_out_of_a_pmt() -> None:
    section = write_pmt(program((0, 2), (0x1FFF, 2), (PMT, 2), (0x100, 2), (0x100, 3)))

    assert read_pmt(section, PMT).streams == (ElementaryStream(0x100, 2),)


@pytest.mark.parametrize(
    "section",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x02\xb0\x0d", id="cut off"),
        pytest.param(write_pat(1, {1: 2000}, 0), id="a PAT"),
        pytest.param(write_pmt(program((0x100, 2)))[:-1], id="too short"),
        pytest.param(write_pmt(program((0x100, 2))) + b"\0", id="too long"),
        pytest.param(sealed(write_pmt(program())[:10] + b"\xf0\xff"), id="descriptors that do not fit"),
        pytest.param(sealed(write_pmt(program())[:12] + b"\x02\xe1\x00\xf0\x01"), id="a stream that does not fit"),
        pytest.param(sealed(write_pmt(program())[:12] + b"\x02\xe1\x00"), id="half a stream"),
    ],
)
def test_what_is_no_pmt_is_refused(section: bytes) -> None:
    with pytest.raises(BadSection):
        read_pmt(section, PMT)


@pytest.mark.parametrize("section", [b"", b"\0\xb0\x0d", write_pmt(program((0x100, 2)))])
def test_what_is_no_pat_is_refused(section: bytes) -> None:
    with pytest.raises(BadSection):
        read_pat(section)


@given(st.binary(max_size=200), st.sampled_from([0, 2]))
def test_nonsense_is_a_table_or_refused(data: bytes, table: int) -> None:
    section = sealed(bytes((table, 0, 0)) + data)
    try:
        read_pat(section)
        read_pmt(section, PMT)
    except BadSection:
        pass


def test_a_table_for_later_is_not_current() -> None:
    section = write_pmt(program((0x100, 2)))

    assert not is_current(section[:5] + bytes((section[5] & ~1,)) + section[6:])
    assert not is_current(b"")


@pytest.mark.parametrize(
    ("stream_type", "descriptors", "kind", "codec"),
    [
        (0x01, b"", Kind.VIDEO, Codec.MPEG2),
        (0x02, b"", Kind.VIDEO, Codec.MPEG2),
        (0x10, b"", Kind.VIDEO, Codec.MPEG4),
        (0x1B, b"", Kind.VIDEO, Codec.H264),
        (0x24, b"", Kind.VIDEO, Codec.HEVC),
        (0x33, b"", Kind.VIDEO, Codec.VVC),
        (0xEA, b"", Kind.VIDEO, Codec.UNKNOWN),
        (0x06, b"\x05\x04HEVC", Kind.VIDEO, Codec.HEVC),
        (0x06, b"\x05\x04AV01", Kind.VIDEO, Codec.UNKNOWN),
        (0x03, b"", Kind.AUDIO, Codec.UNKNOWN),
        (0x0F, b"", Kind.AUDIO, Codec.UNKNOWN),
        (0x11, b"", Kind.AUDIO, Codec.UNKNOWN),
        (0x81, b"", Kind.AUDIO, Codec.UNKNOWN),
        (0x87, b"", Kind.AUDIO, Codec.UNKNOWN),
        (0x06, b"\x0a\x04eng\0\x6a\x01\0", Kind.AUDIO, Codec.UNKNOWN),
        (0x06, b"\x7a\x01\0", Kind.AUDIO, Codec.UNKNOWN),
        (0x06, b"\x05\x04Opus\x7f\x02\x80\x02", Kind.AUDIO, Codec.UNKNOWN),
        (0x06, b"\x7f\x01\x15", Kind.AUDIO, Codec.UNKNOWN),
        (0x06, b"\x56\x05eng\x09\0", Kind.SUBTITLE, Codec.UNKNOWN),
        (0x06, b"\x59\x08eng\x10\0\1\0\1", Kind.SUBTITLE, Codec.UNKNOWN),
        (0x06, b"", Kind.OTHER, Codec.UNKNOWN),
        (0x06, b"\x05\x04KLVA\x7f\x00", Kind.OTHER, Codec.UNKNOWN),
        (0x05, b"", Kind.OTHER, Codec.UNKNOWN),
        (0x15, b"", Kind.OTHER, Codec.UNKNOWN),
        (0x86, b"", Kind.OTHER, Codec.UNKNOWN),
    ],
)
def test_a_stream_is_what_its_type_and_descriptors_say(
    stream_type: int, descriptors: bytes, kind: Kind, codec: Codec
) -> None:
    stream = ElementaryStream(0x100, stream_type, descriptors)

    assert (stream.kind, stream.codec) == (kind, codec)


def test_a_program_knows_its_streams() -> None:
    found = program((0x20, 0x15), (0x21, 0x0F), (0x22, 0x1B), (0x23, 0x02), (0x24, 0x03))

    assert found.video == ElementaryStream(0x22, 0x1B)
    assert [stream.pid for stream in found.audio] == [0x21, 0x24]
    assert found.stream(0x20) == ElementaryStream(0x20, 0x15)
    assert found.stream(0x99) is None
    assert program((0x21, 0x0F)).video is None


@given(st.integers(0, 1021), free_pids, st.integers(0, 15))
def test_a_section_in_packets_comes_out_again(size: int, pid: int, counter: int) -> None:
    section = sealed(b"\x40\0\0" + bytes(size + 2))
    packets = packetize(section, pid, counter)
    assembler = SectionAssembler()

    found = [assembler.feed(packet) for packet in split(packets)]

    assert found == [*[[]] * (len(found) - 1), [section]]
    assert assembler.packets == packets
    assert not assembler.pending
    assert set(pids(packets)) == {pid}
    assert [packet[3] & 15 for packet in split(packets)] == [(counter + n) % 16 for n in range(len(found))]
    assert assembler.counter == packets[-PACKET + 3] & 15


def split(packets: bytes) -> list[bytes]:
    return [packets[at : at + PACKET] for at in range(0, len(packets), PACKET)]


def packed(sections: list[bytes], cuts: list[int], counter: int = 0) -> list[bytes]:
    """Put sections into packets without a gap between them, as multiplexers do to save room.

    Args:
        sections: The sections.
        cuts: How much is in each packet, round and round; one more than fits is as much as fits.
        counter: Continuity counter of the first packet.
    """
    data, starts, at = b"".join(sections), {0}, 0
    for section in sections:
        at += len(section)
        starts.add(at)
    packets = []
    at = number = 0
    while at < len(data):
        size = max(2, cuts[number % len(cuts)])
        # The byte that points to the first start in this packet takes room itself.
        pointed = [start for start in starts if at <= start < min(at + size - 1, len(data))]
        payload = (
            bytes((min(pointed) - at,)) + data[at : at + size - 1]
            if pointed
            else data[at : at + size - (at + size - 1 in starts)]
        )
        at += len(payload) - bool(pointed)
        if at >= len(data):
            payload = payload.ljust(184, b"\xff")
        field = bytes((183 - len(payload), 0)[: min(2, 184 - len(payload))]).ljust(184 - len(payload), b"\xff")
        control = (0x30 if field else 0x10) | (counter + number) & 15
        packets.append(bytes((0x47, 0x40 if pointed else 0, 0x20, control)) + field + payload)
        number += 1
    return packets


sections = st.builds(
    lambda size, byte: sealed(b"\x42\0\0" + bytes((byte,)) * size), st.integers(6, 700), st.integers(0, 255)
)
fillings = st.lists(st.integers(40, 184), min_size=1, max_size=5)


@given(st.lists(sections, min_size=1, max_size=8), fillings)
@settings(deadline=None)
def test_sections_come_out_however_they_are_packed(written: list[bytes], cuts: list[int]) -> None:
    assembler = SectionAssembler()
    packets = packed(written, cuts)
    found = []
    for number, packet in enumerate(packets):
        complete = assembler.feed(packet)
        found += complete
        if complete:
            kept = split(assembler.packets)
            assert kept == packets[number + 1 - len(kept) : number + 1]
            fresh = SectionAssembler()
            again = [section for kept_packet in kept for section in fresh.feed(kept_packet)]
            assert again[-len(complete) :] == complete

    assert found == written


@given(st.lists(sections, min_size=2, max_size=8), fillings, st.data())
@settings(deadline=None)
def test_lost_packets_cost_their_sections_and_no_others(
    written: list[bytes], cuts: list[int], data: st.DataObject
) -> None:
    packets = packed(written, cuts)
    lost = data.draw(st.integers(0, len(packets) - 1))
    assembler = SectionAssembler()
    before, after = packets[:lost], packets[lost + 1 :]

    found = [section for packet in before + after for section in assembler.feed(packet)]

    ends, starts = SectionAssembler(), SectionAssembler()
    assert found == [section for packet in before for section in ends.feed(packet)] + [
        section for packet in after for section in starts.feed(packet)
    ]


def test_a_section_of_which_a_packet_is_lost_is_not_waited_for() -> None:
    packets = split(packetize(sealed(b"\x42\0\0" + bytes(600)), 0x20, 0))
    assembler = SectionAssembler()
    assembler.feed(packets[0])
    assert assembler.pending

    assembler.feed(packets[2])

    assert not assembler.pending


def test_sections_of_which_no_start_is_announced_are_not_piled_up() -> None:
    sections = sealed(b"\x42\0\0" + bytes(85)) * 400
    start = packetize(sections[:180], 0x20, 0)[:PACKET]
    assembler = SectionAssembler()
    assembler.feed(start)

    for number in range(1, 100):
        payload = sections[183 + 184 * (number - 1) :][:184]
        assembler.feed(bytes((0x47, 0, 0x20, 0x10 | number & 15)) + payload)

    assert len(assembler.packets) <= 2 * PACKET


def test_packets_without_payload_and_packets_that_come_twice_change_nothing() -> None:
    section = sealed(b"\x42\0\0" + bytes(600))
    assembler = SectionAssembler()
    empty = Mux().bare(0x20)

    found = [assembler.feed(sent) for packet in split(packetize(section, 0x20, 5)) for sent in (packet, packet, empty)]

    assert [complete for complete in found if complete] == [[section]]
    assert assembler.packets == packetize(section, 0x20, 5)


@pytest.mark.parametrize(("byte", "bits"), [(1, 0x80), (3, 0x80), (3, 0x40)])
def test_a_section_with_a_damaged_or_scrambled_packet_is_left_out(byte: int, bits: int) -> None:
    section = sealed(b"\x42\0\0" + bytes(600))
    packets = split(packetize(section, 0x20, 0))
    damaged = bytearray(packets[1])
    damaged[byte] |= bits
    assembler = SectionAssembler()

    found = [assembler.feed(packet) for packet in (packets[0], bytes(damaged), *packets[2:])]

    assert found == [[]] * len(packets)


def test_a_section_with_a_wrong_checksum_is_left_out() -> None:
    packets = bytearray(packetize(write_pat(1, {1: PMT}, 0), 0, 0))
    packets[15] ^= 1

    assert SectionAssembler().feed(bytes(packets)) == []


def test_a_section_that_is_longer_than_any_can_be_is_not_waited_for() -> None:
    assembler = SectionAssembler()

    assembler.feed(packetize(b"\x42\xbf\xff" + bytes(100), 0x20, 0))

    assert not assembler.pending


def test_a_section_in_crumbs_is_given_up() -> None:
    assembler = SectionAssembler()
    crumbs = [bytes((0x47, 0, 0x20, 0x30 | number & 15, 182, 0)) + b"\xff" * 181 + b"\0" for number in range(1, 100)]
    start = packetize(b"\x42\xb3\xff", 0x20, 0)[:8].ljust(PACKET, b"\0")

    assembler.feed(start)
    assert assembler.pending
    for crumb in crumbs:
        assembler.feed(crumb)

    assert not assembler.pending


@given(st.lists(st.binary(min_size=187, max_size=187), max_size=20))
def test_nonsense_does_no_harm(bodies: list[bytes]) -> None:
    assembler = SectionAssembler()

    for one, other in pairwise(b"\x47" + body for body in bodies):
        assembler.feed(one)
        assembler.feed(b"\x47\x40\0\x10" + other[4:])

    assert len(assembler.packets) <= 32 * PACKET
