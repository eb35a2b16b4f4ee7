"""Clocks and time stamps are read and written where they are, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.mpegts.timestamps import (
    WRAP,
    difference,
    payload_position,
    pes_times,
    read_pcr_base,
    read_timestamp,
    shift_pcr,
    write_timestamp,
)
from tests.formats.mpegts.made import PACKET, VIDEO, Mux, pes

times = st.integers(0, WRAP - 1)


@given(times, st.integers(-(1 << 32), (1 << 32) - 1))
def test_the_way_from_one_time_to_another_is_the_shorter_one_round_the_circle(time: int, step: int) -> None:
    assert difference((time + step) % WRAP, time) == step


@given(times, st.sampled_from([0x20, 0x30, 0x10]))
def test_a_time_stamp_is_read_as_it_was_written(time: int, prefix: int) -> None:
    buffer = bytearray(b"<" + bytes((prefix | 0x0F,)) + b"\xff\xff\xff\xff>")

    write_timestamp(buffer, 1, time)

    assert read_timestamp(buffer, 1) == time
    assert buffer[1] & 0xF0 == prefix
    assert buffer[1] & buffer[3] & buffer[5] & 1 == 1
    assert (bytes(buffer[:1]), bytes(buffer[6:])) == (b"<", b">")


def test_a_time_stamp_is_laid_out_as_the_standard_says() -> None:
    buffer = bytearray(b"\x21\0\0\0\0")

    write_timestamp(buffer, 0, 0b101_000000000000011_100000000000001)

    assert buffer == bytes((0b0010_101_1, 0, 0b0000011_1, 0b10000000, 0b0000001_1))


def test_a_time_stamp_wraps() -> None:
    buffer = bytearray(b"\x21\0\0\0\0")

    write_timestamp(buffer, 0, WRAP + 5)

    assert read_timestamp(buffer, 0) == 5


def clock_packet(clock: int, extension: int = 0x1FF, flags: int = 0x10, size: int = 183) -> bytes:
    field = (clock << 15 | 0x3F << 9 | extension).to_bytes(6, "big")
    return (bytes((0x47, 1, 0, 0x20, size, flags)) + field + field).ljust(PACKET, b"\xff")


@given(times, st.integers(-WRAP, WRAP), st.integers(0, 299))
def test_a_clock_is_moved_without_its_extension(clock: int, ticks: int, extension: int) -> None:
    buffer = bytearray(b"\xff" * PACKET + clock_packet(clock, extension))

    shift_pcr(buffer, PACKET, ticks)

    assert buffer == b"\xff" * PACKET + clock_packet((clock + ticks) % WRAP, extension)[:12] + buffer[PACKET + 12 :]
    assert read_pcr_base(buffer, PACKET) == (clock + ticks) % WRAP
    assert buffer[PACKET + 12 : PACKET + 18] == clock_packet(clock, extension)[12:18]


@pytest.mark.parametrize(("flags", "moved"), [(0x18, (7, 7)), (0x08, (7, 2)), (0x10, (7, 2)), (0x00, (2, 2))])
def test_the_original_clock_is_moved_as_well(flags: int, moved: tuple[int, int]) -> None:
    buffer = bytearray(clock_packet(2, flags=flags))

    shift_pcr(buffer, 0, 5)

    assert (int.from_bytes(buffer[6:11], "big") >> 7, int.from_bytes(buffer[12:17], "big") >> 7) == moved


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(Mux().unit(VIDEO, bytes(500))[:PACKET], id="no adaptation field"),
        pytest.param(clock_packet(9, flags=0), id="no flag"),
        pytest.param(clock_packet(9, size=6), id="too short a field"),
        pytest.param(clock_packet(9, size=0), id="an empty field"),
        pytest.param(clock_packet(9, size=184), id="too long a field"),
    ],
)
def test_where_there_is_no_clock_none_is_read_or_moved(packet: bytes) -> None:
    buffer = bytearray(packet)

    shift_pcr(buffer, 0, 1)

    assert buffer == packet
    assert read_pcr_base(packet) is None


@given(times, times, st.integers(0, 150))
def test_the_times_of_a_pes_packet_are_found(pts: int, dts: int, size: int) -> None:
    packet = b"\xff" * PACKET + Mux().unit(VIDEO, pes(bytes(size), pts, dts))
    at = payload_position(packet, PACKET)

    assert at is not None
    assert pes_times(packet, at) == (pts, dts)


def test_where_only_one_time_is_given_it_is_both() -> None:
    assert pes_times(pes(b"", 7), 0) == (7, 7)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pes(b"picture"), id="no times"),
        pytest.param(b"\0\0\2" + pes(b"", 7)[3:], id="no start code"),
        pytest.param(pes(b"", 7, stream_id=0xBE), id="padding"),
        pytest.param(pes(b"", 7, stream_id=0xB3), id="no PES packet"),
        pytest.param(pes(b"", 7)[:13], id="cut off"),
        pytest.param(b"\0\0\1\xe0\0\0\x80\x80\x04\x21\0\1\0\1", id="a header too short for a time"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_has_no_times_gives_none(data: bytes) -> None:
    assert pes_times(data, 0) == (None, None)


def test_a_time_that_is_split_over_two_packets_is_not_read_from_the_wrong_one() -> None:
    data = b"\xff" * (PACKET - 12) + pes(b"", 7) + b"\xff" * PACKET

    assert pes_times(data, PACKET - 12) == (None, None)


@pytest.mark.parametrize(
    ("control", "size", "position"),
    [(0x10, 99, 4), (0x30, 0, 5), (0x30, 182, 187), (0x30, 183, None), (0x20, 183, None), (0x00, 0, None)],
)
def test_the_payload_is_behind_the_adaptation_field(control: int, size: int, position: int | None) -> None:
    packet = bytes((0x47, 1, 0, control, size)).ljust(PACKET, b"\xff")

    assert payload_position(packet, 0) == position
