"""A sample of a stream shows what is missing in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.mpegts.inspection import Inspection, inspect
from streamproxy.formats.mpegts.timestamps import WRAP


def packet(pid: int, counter: int, *, payload: bool = True, jump: bool = False, clock: int | None = None) -> bytes:
    adaptation = b""
    if jump or clock is not None or not payload:
        flags = 0x80 * jump | 0x10 * (clock is not None)
        field = bytes([flags]) + (((clock % WRAP) << 15 | 0x7E << 8).to_bytes(6, "big") if clock is not None else b"")
        field = field.ljust(183 if not payload else len(field), b"\xff")
        adaptation = bytes([len(field)]) + field
    control = 0x20 * bool(adaptation) | 0x10 * payload
    head = bytes([0x47, pid >> 8, pid & 0xFF, control | counter & 0x0F])
    return (head + adaptation).ljust(188, b"\xaa")


def stream(*counters: int, pid: int = 256) -> bytes:
    return b"".join(packet(pid, counter) for counter in counters)


@pytest.mark.parametrize(
    ("counters", "errors"),
    [
        ((14, 15, 0, 1), 0),
        ((3, 3, 4), 0),
        ((3, 5, 6), 1),
        ((3, 2), 1),
        ((0, 8, 0, 8), 3),
    ],
)
def test_a_packet_that_does_not_follow_the_one_before_is_an_error(counters: tuple[int, ...], errors: int) -> None:
    assert inspect(stream(*counters)) == Inspection(len(counters), errors, 0)


def test_each_pid_counts_for_itself_and_null_packets_do_not() -> None:
    mixed = b"".join(packet(pid, counter) for counter in range(4) for pid in (256, 257, 17))
    nulls = stream(0, 7, 3, pid=0x1FFF)

    assert inspect(mixed + nulls).cc_errors == 0


def test_without_payload_a_counter_stands_still() -> None:
    still = packet(256, 3) + packet(256, 3, payload=False) + packet(256, 4)
    counted = packet(256, 3) + packet(256, 4, payload=False)

    assert (inspect(still).cc_errors, inspect(counted).cc_errors) == (0, 1)


def test_a_jump_that_is_announced_is_none() -> None:
    announced = packet(256, 3, clock=0) + packet(256, 9, jump=True, clock=WRAP // 3) + packet(256, 10)

    assert inspect(announced) == Inspection(3, 0, 0)


@pytest.mark.parametrize(("later", "gaps"), [(9000, 0), (9001, 1), (-1, 1), (WRAP // 2, 1)])
@pytest.mark.parametrize("first", [0, WRAP - 4500])
def test_a_clock_that_jumps_is_a_gap(first: int, later: int, gaps: int) -> None:
    clocks = packet(256, 3, clock=first) + packet(257, 3, clock=77) + packet(256, 4, clock=first + later)

    assert inspect(clocks) == Inspection(3, 0, gaps)


@given(st.binary(max_size=2000))
def test_whatever_comes_is_looked_through(data: bytes) -> None:
    assert inspect(data).packets == len(data) // 188


@given(st.integers(0, 15), st.integers(1, 60), st.data())
def test_of_a_run_with_one_packet_lost_one_error_is_found(first: int, count: int, data: st.DataObject) -> None:
    packets = [packet(256, first + number) for number in range(count + 2)]
    del packets[data.draw(st.integers(1, count))]

    assert inspect(b"".join(packets)).cc_errors == 1
