"""The fields of many packets at once are those of each."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.mpegts.fields import Columns, indices, unit_starts, unit_starts_of
from tests.formats.mpegts.made import PACKET

few = st.sampled_from([0x000, 0x001, 0x100, 0x101, 0x1F01, 0x1FFF])
headers = st.tuples(few, st.integers(0, 7), st.integers(0, 255), st.sampled_from([0, 1, 7, 183]), st.integers(0, 255))
streams = st.lists(headers, max_size=40).map(
    lambda found: b"".join(
        bytes((0x47, bits << 5 | pid >> 8, pid & 0xFF, control, size, flags)).ljust(PACKET, b"\xff")
        for pid, bits, control, size, flags in found
    )
)


def chosen(packets: bytes, condition: Callable[[bytes], object]) -> list[int]:
    """Look at one packet after the other."""
    count = len(packets) // PACKET
    return [number for number in range(count) if condition(packets[number * PACKET : (number + 1) * PACKET])]


@given(streams, few)
def test_the_packets_of_a_pid_are_found(packets: bytes, pid: int) -> None:
    columns = Columns(packets)
    expected = chosen(packets, lambda packet: (packet[1] & 0x1F) << 8 | packet[2] == pid)

    assert columns.indices(columns.of_pid(pid)) == expected
    assert columns.first(pid) == (expected[0] if expected else None)
    assert columns.last(pid) == (expected[-1] if expected else None)


@given(streams)
def test_packets_are_found_by_what_their_headers_say(packets: bytes) -> None:
    columns = Columns(bytearray(packets))

    assert columns.indices(columns.unit_starts()) == chosen(packets, lambda packet: packet[1] & 0x40)
    assert columns.indices(columns.with_payload()) == chosen(packets, lambda packet: packet[3] & 0x10)
    assert columns.indices(columns.scrambled()) == chosen(packets, lambda packet: packet[3] & 0xC0)


@pytest.mark.parametrize("flag", [0x80, 0x40, 0x10, 0x08])
@given(packets=streams)
def test_flags_count_only_where_there_is_room_for_them(packets: bytes, flag: int) -> None:
    columns = Columns(packets)

    found = columns.indices(columns.with_adaptation_flag(flag))

    assert found == chosen(packets, lambda packet: packet[3] & 0x20 and packet[4] and packet[5] & flag)


@given(streams)
def test_masks_combine(packets: bytes) -> None:
    columns = Columns(packets)
    both = columns.of_pid(0x100) & columns.unit_starts()

    assert list(indices(both, columns.count)) == chosen(
        packets, lambda packet: packet[1] & 0x5F == 0x41 and packet[2] == 0
    )


@given(streams)
def test_the_starts_of_units_are_also_there_as_bytes(packets: bytes) -> None:
    assert int.from_bytes(unit_starts(packets), "little") == Columns(packets).unit_starts()
    assert len(unit_starts(packets)) == len(packets) // PACKET


@given(streams)
def test_the_starts_of_a_pid_are_found_without_masks(packets: bytes) -> None:
    columns = Columns(packets)
    for pid in (0, 0x100, 0x1FFF):
        starts = columns.indices(columns.of_pid(pid) & columns.unit_starts())
        assert list(unit_starts_of(pid, packets)) == starts
