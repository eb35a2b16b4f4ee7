"""The checker that other tests rely on sees every fault it claims to see, and only those."""

from collections.abc import Callable
from importlib.resources import files

import pytest

from tests.helpers.tscheck import PACKET_SIZE, FaultKind, check

PAT, PMT, VIDEO, AUDIO, NULL = 0x0000, 0x1000, 0x0100, 0x0101, 0x1FFF

Packets = list[bytearray]


@pytest.fixture
def packets() -> Packets:
    """The demo clip, to be damaged."""
    data = files("streamproxy").joinpath("data", "demo.ts").read_bytes()
    return [bytearray(data[at : at + PACKET_SIZE]) for at in range(0, len(data), PACKET_SIZE)]


def pid(packet: bytearray) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def of_pid(packets: Packets, number: int) -> Packets:
    return [packet for packet in packets if pid(packet) == number]


def place(packets: Packets, packet: bytearray) -> int:
    """Return where a packet is; unlike `index`, which finds the first that is equal."""
    return next(number for number, other in enumerate(packets) if other is packet)


def with_clock(packets: Packets) -> Packets:
    return [packet for packet in packets if packet[3] & 0x20 and packet[4] and packet[5] & 0x10]


def starting_unit(packets: Packets, number: int) -> Packets:
    return [packet for packet in of_pid(packets, number) if packet[1] & 0x40]


def move_clock(packet: bytearray, ticks: int) -> None:
    clock = (int.from_bytes(packet[6:10], "big") << 1 | packet[10] >> 7) + ticks
    packet[6:11] = ((clock % (1 << 33)) << 7 | packet[10] & 0x7F).to_bytes(5, "big")


def move_stamp(packet: bytearray, ticks: int) -> None:
    at = packet.index(b"\0\0\1") + 9
    old = (packet[at] >> 1 & 7) << 30 | packet[at + 1] << 22 | packet[at + 2] >> 1 << 15 | packet[at + 3] << 7
    packet[at : at + 5] = stamp(packet[at] >> 4, (old | packet[at + 4] >> 1) + ticks)


def stamp(prefix: int, ticks: int) -> bytes:
    ticks %= 1 << 33
    high, middle, low = ticks >> 30, ticks >> 15 & 0x7FFF, ticks & 0x7FFF
    return bytes((prefix << 4 | high << 1 | 1, middle >> 7, (middle & 0x7F) << 1 | 1, low >> 7, (low & 0x7F) << 1 | 1))


def picture(counter: int, pts: int, dts: int) -> bytearray:
    """Return a packet with a PES packet that has both stamps."""
    unit = b"\0\0\1\xe0\0\0\x80\xc0\x0a" + stamp(0b0011, pts) + stamp(0b0001, dts)
    return bytearray(bytes((0x47, 0x41, 0x00, 0x10 | counter % 16)) + unit.ljust(184, b"\xff"))


def without_payload(number: int, counter: int) -> bytearray:
    return bytearray(bytes((0x47, number >> 8, number & 0xFF, 0x20 | counter, 183, 0)) + bytes(182))


def kinds(packets: Packets) -> dict[FaultKind, int]:
    report = check(b"".join(packets))
    assert len(report.faults) == report.counts.total()
    return dict(report.counts)


def test_sound_data_has_no_faults_and_is_described(packets: Packets) -> None:
    report = check(b"".join(packets))

    assert report.faults == []
    assert report.duplicates == 0
    assert report.packets == len(packets) == sum(stream.packets for stream in report.streams.values())
    assert report.programs == {1: PMT}
    assert report.stream_types == {VIDEO: 0x1B, AUDIO: 0x0F}
    earliest, latest = report.streams[VIDEO].pts_range or (0, 0)
    assert latest - earliest == 319 * 3600
    first, last = report.streams[VIDEO].pcr_range or (0, 0)
    assert last - first == 319 * 3600 * 300


def test_a_fault_says_where_and_what(packets: Packets) -> None:
    of_pid(packets, AUDIO)[3][1] |= 0x80
    where = place(packets, of_pid(packets, AUDIO)[3]) * PACKET_SIZE

    (fault,) = check(b"".join(packets)).faults

    assert fault == f"byte {where}, PID 0x0101: transport error: a sender marked the packet as damaged"


def test_no_packets_are_a_fault() -> None:
    assert kinds([]) == {FaultKind.EMPTY: 1}


def test_a_cut_packet_is_a_length_fault(packets: Packets) -> None:
    del packets[-1][100:]

    assert kinds(packets) == {FaultKind.LENGTH: 1}


def test_junk_between_packets_is_a_sync_fault(packets: Packets) -> None:
    packets.insert(100, bytearray(b"\x47junk" * 20))
    packets[100][0] = 0

    assert kinds(packets) == {FaultKind.SYNC: 1}


def test_a_beginning_within_a_packet_is_a_sync_fault(packets: Packets) -> None:
    del packets[0][:50]

    assert kinds(packets) == {FaultKind.SYNC: 1}


def test_nothing_but_junk_is_a_sync_fault() -> None:
    assert kinds([bytearray(b"<html>" * 100)]) == {FaultKind.SYNC: 1, FaultKind.EMPTY: 1}


def test_a_damaged_sync_byte_is_a_sync_fault_and_a_lost_packet(packets: Packets) -> None:
    of_pid(packets, AUDIO)[3][0] = 0x48

    assert kinds(packets) == {FaultKind.SYNC: 1, FaultKind.CONTINUITY: 1}


@pytest.mark.parametrize("number", [PAT, PMT, VIDEO, AUDIO])
def test_a_lost_packet_is_a_continuity_fault(packets: Packets, number: int) -> None:
    del packets[place(packets, of_pid(packets, number)[5])]

    assert kinds(packets) == {FaultKind.CONTINUITY: 1}


def test_a_counter_that_jumps_is_a_continuity_fault(packets: Packets) -> None:
    for packet in of_pid(packets, VIDEO)[200:]:
        packet[3] = packet[3] & 0xF0 | (packet[3] + 3) & 0x0F

    assert kinds(packets) == {FaultKind.CONTINUITY: 1}


def test_a_counter_may_jump_where_a_discontinuity_is_indicated(packets: Packets) -> None:
    flagged = with_clock(packets)[50]
    flagged[5] |= 0x80
    for packet in packets[place(packets, flagged) :]:
        if pid(packet) == VIDEO:
            packet[3] = packet[3] & 0xF0 | (packet[3] + 3) & 0x0F

    assert kinds(packets) == {}


def test_a_packet_may_come_twice_but_is_counted(packets: Packets) -> None:
    twice = with_clock(packets)[50]
    packets.insert(place(packets, twice), bytearray(twice))

    report = check(b"".join(packets))

    assert (report.faults, report.duplicates) == ([], 1)


def test_a_packet_that_comes_twice_may_have_its_clock_set_anew(packets: Packets) -> None:
    twice = with_clock(packets)[50]
    again = bytearray(twice)
    move_clock(again, 100)
    packets.insert(place(packets, twice) + 1, again)

    report = check(b"".join(packets))

    assert (report.faults, report.duplicates) == ([], 1)


def test_a_packet_must_not_come_a_third_time(packets: Packets) -> None:
    thrice = of_pid(packets, PAT)[5]
    where = place(packets, thrice)
    packets[where:where] = [bytearray(thrice), bytearray(thrice)]

    report = check(b"".join(packets))

    assert (report.counts, report.duplicates) == ({FaultKind.CONTINUITY: 1}, 1)


def test_a_counter_that_stands_still_over_different_packets_is_a_continuity_fault(packets: Packets) -> None:
    for packet in of_pid(packets, VIDEO)[200:]:
        packet[3] = packet[3] & 0xF0 | (packet[3] - 1) & 0x0F

    assert kinds(packets) == {FaultKind.CONTINUITY: 1}


def test_a_packet_without_payload_is_not_counted(packets: Packets) -> None:
    before = of_pid(packets, VIDEO)[100]
    packets.insert(place(packets, before) + 1, without_payload(VIDEO, before[3] & 0x0F))

    assert kinds(packets) == {}


def test_a_counter_that_counts_packets_without_payload_is_a_continuity_fault(packets: Packets) -> None:
    before = of_pid(packets, VIDEO)[100]
    packets.insert(place(packets, before) + 1, without_payload(VIDEO, (before[3] + 1) & 0x0F))
    for packet in packets[place(packets, before) + 2 :]:
        if pid(packet) == VIDEO:
            packet[3] = packet[3] & 0xF0 | (packet[3] + 1) & 0x0F

    assert kinds(packets) == {FaultKind.CONTINUITY: 1}


def test_null_packets_may_hold_anything(packets: Packets) -> None:
    packets[50:50] = [bytearray(bytes((0x47, 0x5F, 0xFF, 0xF0 | counter)) + bytes(184)) for counter in (3, 3, 3, 9)]

    report = check(b"".join(packets))

    assert report.faults == []
    assert report.streams[NULL].packets == 4


@pytest.mark.parametrize("number", [PAT, PMT])
@pytest.mark.parametrize("at", [10, 14, 18])
def test_a_damaged_table_is_a_crc_fault(packets: Packets, number: int, at: int) -> None:
    of_pid(packets, number)[5][at] ^= 0x04

    assert kinds(packets) == {FaultKind.CRC: 1}


@pytest.mark.parametrize(("last_bit", "faults"), [(0, {}), (1, {FaultKind.CRC: 1})])
def test_a_table_is_checked_when_its_section_spans_two_packets(
    packets: Packets, last_bit: int, faults: dict[FaultKind, int]
) -> None:
    whole = of_pid(packets, PMT)[-1]
    section = whole[5 : 5 + 3 + whole[7]]
    section[-1] ^= last_bit
    counter = whole[3] & 0x0F
    head = bytes((0x47, 0x50, 0x00, 0x30 | counter, 172, 0)) + b"\xff" * 171 + b"\0" + section[:10]
    tail = bytes((0x47, 0x10, 0x00, 0x10 | (counter + 1) % 16)) + bytes(section[10:]).ljust(184, b"\xff")
    where = place(packets, whole)

    packets[where : where + 1] = [bytearray(head), bytearray(tail)]

    assert [len(packet) for packet in packets[where : where + 2]] == [PACKET_SIZE] * 2
    assert kinds(packets) == faults


@pytest.mark.parametrize("seconds", [2, -5, 10, 0.6, -0.05])
def test_a_clock_that_jumps_is_a_pcr_fault(packets: Packets, seconds: float) -> None:
    for packet in with_clock(packets)[50:]:
        move_clock(packet, int(seconds * 90_000))

    assert kinds(packets) == {FaultKind.PCR: 1}


def test_a_clock_that_stands_still_is_a_pcr_fault(packets: Packets) -> None:
    move_clock(with_clock(packets)[50], -3600)

    assert kinds(packets) == {FaultKind.PCR: 1}


@pytest.mark.parametrize(("missing", "faults"), [(10, {}), (14, {FaultKind.PCR: 1})])
def test_half_a_second_without_a_clock_is_a_pcr_fault(
    packets: Packets, missing: int, faults: dict[FaultKind, int]
) -> None:
    for packet in with_clock(packets)[50 : 50 + missing]:
        packet[5] &= ~0x10

    assert kinds(packets) == faults


def test_a_clock_that_never_comes_is_a_pcr_fault(packets: Packets) -> None:
    for packet in with_clock(packets):
        packet[5] &= ~0x10

    assert kinds(packets) == {FaultKind.PCR: 2}  # the picture's and the sound's


@pytest.mark.parametrize("number", [VIDEO, AUDIO])
@pytest.mark.parametrize("seconds", [2, -5, 1.5, -0.5])
def test_time_stamps_that_jump_are_a_dts_fault(packets: Packets, number: int, seconds: float) -> None:
    for packet in starting_unit(packets, number)[20:]:
        move_stamp(packet, int(seconds * 90_000))

    assert kinds(packets) == {FaultKind.DTS: 1}


def test_a_time_stamp_that_repeats_is_a_dts_fault(packets: Packets) -> None:
    move_stamp(starting_unit(packets, VIDEO)[50], -3600)

    assert kinds(packets) == {FaultKind.DTS: 1}


def test_times_may_jump_where_the_clock_indicates_a_discontinuity(packets: Packets) -> None:
    flagged = with_clock(packets)[50]
    flagged[5] |= 0x80
    for packet in packets[place(packets, flagged) :]:
        if packet[1] & 0x40 and pid(packet) in {VIDEO, AUDIO}:
            move_stamp(packet, 900_000)
    for packet in with_clock(packets)[50:]:
        move_clock(packet, 900_000)

    assert kinds(packets) == {}


@pytest.mark.parametrize("wrap", [0, 12, 13, 14])
def test_times_may_wrap(packets: Packets, wrap: int) -> None:
    shift = (1 << 33) - 90_000 * wrap
    for packet in with_clock(packets):
        move_clock(packet, shift)
    for number in (VIDEO, AUDIO):
        for packet in starting_unit(packets, number):
            move_stamp(packet, shift)

    report = check(b"".join(packets))

    assert report.faults == []
    earliest, latest = report.streams[VIDEO].pts_range or (0, 0)
    assert latest - earliest == 319 * 3600


def test_pictures_may_be_shown_in_another_order_than_they_are_decoded() -> None:
    order = [2, 5, 3, 4, 8, 6, 7]

    report = check(b"".join(picture(n, 3600 * shown, 3600 * n) for n, shown in enumerate(order)))

    assert report.faults == []
    assert report.streams[VIDEO].pts_range == (7200, 28_800)


def test_a_presentation_time_that_jumps_is_a_pts_fault() -> None:
    times = [(7200, 0), (10_800, 3600), (10_800 + 180_000, 7200)]

    assert kinds([picture(n, pts, dts) for n, (pts, dts) in enumerate(times)]) == {FaultKind.PTS: 1}


def test_a_presentation_time_before_the_decoding_time_is_a_pts_fault() -> None:
    assert kinds([picture(0, 7200, 0), picture(1, 7199, 7200)]) == {FaultKind.PTS: 1}


def test_a_decoding_time_that_runs_backwards_is_a_dts_fault() -> None:
    assert kinds([picture(0, 72_000, 3600), picture(1, 75_600, 0)]) == {FaultKind.DTS: 1}


def test_a_time_stamp_without_its_fixed_bits_is_malformed(packets: Packets) -> None:
    unit = starting_unit(packets, VIDEO)[50]
    unit[unit.index(b"\0\0\1") + 13] &= 0xFE

    assert kinds(packets) == {FaultKind.MALFORMED: 1}


def damage(packet: bytearray) -> None:
    packet[1] |= 0x80


def scramble(packet: bytearray) -> None:
    packet[3] |= 0x80


def overrun(packet: bytearray) -> None:
    packet[3:5] = bytes((packet[3] | 0x30, 183))


def reserve(packet: bytearray) -> None:
    packet[3] &= 0xCF


@pytest.mark.parametrize(
    ("injure", "faults"),
    [
        (damage, {FaultKind.TRANSPORT_ERROR: 1}),
        (scramble, {FaultKind.SCRAMBLED: 1}),
        (overrun, {FaultKind.MALFORMED: 1, FaultKind.CONTINUITY: 1}),
        (reserve, {FaultKind.MALFORMED: 1, FaultKind.CONTINUITY: 1}),
    ],
)
def test_a_wrong_header_is_a_fault(
    packets: Packets, injure: Callable[[bytearray], None], faults: dict[FaultKind, int]
) -> None:
    injure(of_pid(packets, AUDIO)[5])

    assert kinds(packets) == faults


def test_any_bytes_can_be_checked(packets: Packets) -> None:
    for number in (PAT, PMT, VIDEO):
        for filler in (0x00, 0x01, 0xFF):
            for control in range(4):
                for length in range(184):
                    header = bytes((0x47, 0x40 | number >> 8, number & 0xFF, control << 4))
                    head = header + bytes((length, filler)) + b"\0\0\1" * (filler & 1)
                    assert check(b"".join(packets[:3]) + head.ljust(PACKET_SIZE, bytes((filler,)))).packets == 4
