"""The sources that the tests play: small pictures and few seconds, but everything else as different as can be."""

from collections.abc import Callable

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.formats.mpegts.psi import PAT_PID, write_pat
from streamproxy.formats.mpegts.sections import packetize
from tests.helpers.media import transport_stream


def usual() -> bytes:
    """H.264 and AAC; no picture refers to a later one."""
    return transport_stream()


def foreign() -> bytes:
    """Also H.264 and AAC, but all is different: PIDs, clock, size, frame rate, order of pictures, sample rate."""
    return transport_stream(
        rate=30, b_frames=3, tracks=(44_100,), start_pid=0x200, pmt_pid=0x300, clock=50_000, size="256x144"
    )


def wrapping() -> bytes:
    """The usual one, but its times wrap after a second and a half."""
    return transport_stream(clock=95_442)


def hevc() -> bytes:
    return transport_stream(video="libx265", b_frames=2, start_pid=0x120, clock=700)


def mpeg2() -> bytes:
    return transport_stream(video="mpeg2video", audio="mp2", start_pid=0x400, pmt_pid=0x41, clock=3)


def radio() -> bytes:
    return transport_stream(video=None, start_pid=0x150, clock=1_234)


def two_tracks() -> bytes:
    return transport_stream(tracks=(48_000, 48_000), start_pid=0x210, clock=20)


def rare_tables() -> bytes:
    """Its tables come with entry points only, as in segments of HLS."""
    return transport_stream(clock=99, start_pid=0x130, muxer=("-pat_period", "60", "-sdt_period", "60"))


def fine_sound(*, sample_rate: int = 48_000, clock: float = 0) -> bytes:
    """Every frame of sound has a PES packet of its own."""
    return transport_stream(tracks=(sample_rate,), clock=clock, muxer=("-pes_payload_size", "16"))


def open_groups_of_hevc(start_pid: int, clock: float, muxer: tuple[str, ...]) -> bytes:
    """Like `open_groups`, in HEVC: but for the first, no entry point makes decoders begin anew."""
    # A multiple of four: what is decoded behind an entry point comes in fours, the last of which is one.
    return transport_stream(video="libx265", b_frames=3, group=24, start_pid=start_pid, clock=clock, muxer=muxer)


def open_groups() -> bytes:
    """Pictures that come after an entry point refer to some before it."""
    return transport_stream(video="mpeg2video", audio="mp2", b_frames=2, clock=60)


BY_LETTER: dict[str, Callable[[], bytes]] = {
    "A": usual,
    "F": foreign,
    "W": wrapping,
    "H": hevc,
    "M": mpeg2,
    "R": radio,
    "T": two_tracks,
    "S": rare_tables,
    "O": open_groups,
}


def cut(data: bytes, first: float, last: float) -> bytes:
    """Return the part of a stream between two places, as shares of its length; it is cut anywhere between packets."""
    count = len(data) // PACKET_SIZE
    return data[int(first * count) * PACKET_SIZE : int(last * count) * PACKET_SIZE]


def two_programs() -> bytes:
    """The usual and the foreign source at the same time, as two programs."""
    one = transport_stream(clock=10, start_pid=0x500, pmt_pid=0x50, muxer=("-mpegts_service_id", "7"))
    other = transport_stream(start_pid=0x600, pmt_pid=0x60, rate=30, muxer=("-mpegts_service_id", "8"))
    pat = write_pat(1, {7: 0x50, 8: 0x60}, 0)
    result: list[bytes] = []
    count = 0
    for at in range(0, max(len(one), len(other)), PACKET_SIZE):
        for packet in (one[at : at + PACKET_SIZE], other[at : at + PACKET_SIZE]):
            pid = (packet[1] & 0x1F) << 8 | packet[2] if packet else PAT_PID
            if packet and pid > 0x20:
                result.append(packet)
        if at // PACKET_SIZE % 20 == 0:
            result.append(packetize(pat, PAT_PID, count % 16))
            count += 1
    return b"".join([packetize(pat, PAT_PID, 15), *result])


def taking_turns() -> bytes:
    """The usual source, but packets of its streams take turns, so that everywhere some PES packet is cut."""
    source = usual()
    others: list[bytes] = []
    sound: list[bytes] = []
    for at in range(0, len(source), PACKET_SIZE):
        packet = source[at : at + PACKET_SIZE]
        (sound if (packet[1] & 0x1F) << 8 | packet[2] == 0x101 else others).append(packet)
    turns: list[tuple[float, bytes]] = [(place, packet) for place, packet in enumerate(others)]
    turns += [(place * len(others) / len(sound) + 0.5, packet) for place, packet in enumerate(sound)]
    return b"".join(packet for _, packet in sorted(turns, key=lambda turn: turn[0]))
