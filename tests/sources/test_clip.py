"""A clip as a stream: what is due is sent, when it is due."""

import asyncio
import time
from collections.abc import Callable

import pytest

from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.sources.clip import INTERVAL, LEAD, ClipSource
from streamproxy.sources.demo import demo_clip
from tests.helpers.tscheck import check

CLIP = demo_clip()


class FakeTime:
    """A clock that moves only while somebody sleeps.

    Args:
        sleeps: How often one may sleep; the next one is cancelled.
        stalls: By how many seconds a sleep takes longer than it should, by its number.
    """

    def __init__(self, *, sleeps: int, stalls: dict[int, float] | None = None) -> None:
        self.now = 0.0
        self._stalls = stalls or {}
        self._sleeps = iter(range(sleeps))

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        number = next(self._sleeps, None)
        if number is None:
            raise asyncio.CancelledError
        self.now += seconds + self._stalls.get(number, 0.0)


class Recorder:
    """A sink that notes what comes when, and may take a while to drain."""

    def __init__(self, clock: Callable[[], float], *, drain: Callable[[], None] = lambda: None) -> None:
        self.writes: list[tuple[float, bytes]] = []
        self._clock = clock
        self._drain = drain
        self._drained = True

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.writes)

    @property
    def sizes(self) -> list[int]:
        """Packets of each write."""
        return [len(data) // PACKET_SIZE for _, data in self.writes]

    def write(self, data: bytes, /) -> None:
        assert self._drained
        assert data
        self._drained = False
        self.writes.append((self._clock(), data))

    @property
    def full(self) -> bool:
        return not self._drained

    async def drain(self) -> None:
        self._drained = True
        self._drain()


async def record(fake: FakeTime, *, drain: Callable[[], None] = lambda: None, lead: float = LEAD) -> Recorder:
    sink = Recorder(fake.clock, drain=drain)
    with pytest.raises(asyncio.CancelledError):
        await ClipSource(CLIP, lead=lead, clock=fake.clock, sleep=fake.sleep).run(sink)
    return sink


def most_packets(seconds: float) -> int:
    """Return how many packets may be due in a time of this length, wherever in the clip it begins."""
    begins = [n / 100 for n in range(int(CLIP.duration * 100))]
    return max(CLIP.packets_until(begin + seconds) - CLIP.packets_until(begin) for begin in begins) + 1


async def test_the_first_seconds_come_at_once() -> None:
    sink = await record(FakeTime(sleeps=0))

    assert sink.writes == [(0.0, CLIP.read(0, CLIP.packets_until(LEAD)))]


async def test_a_source_may_lead_by_less() -> None:
    sink = await record(FakeTime(sleeps=30), lead=0.2)

    assert sink.writes[0] == (0.0, CLIP.read(0, CLIP.packets_until(0.2)))
    assert sum(sink.sizes) == pytest.approx(CLIP.packets_until(30 * INTERVAL + 0.2), abs=1)


async def test_the_beginning_is_the_tables_and_then_a_key_frame() -> None:
    sink = await record(FakeTime(sleeps=0))

    packets = [sink.data[at : at + PACKET_SIZE] for at in range(0, len(sink.data), PACKET_SIZE)]
    pids = [(packet[1] & 0x1F) << 8 | packet[2] for packet in packets]
    assert pids[:4] == [0x0011, 0x0000, 0x1000, 0x0100]
    has_adaptation_field, is_random_access_point = packets[3][3] & 0x20, packets[3][5] & 0x40
    assert has_adaptation_field
    assert is_random_access_point


async def test_what_is_due_is_sent_and_no_more() -> None:
    sink = await record(FakeTime(sleeps=300))

    sent = 0
    for (now, _), size in zip(sink.writes, sink.sizes, strict=True):
        sent += size
        # A hair before and after, since seconds are floating-point numbers.
        assert CLIP.packets_until(now + LEAD - 1e-6) <= sent <= CLIP.packets_until(now + LEAD + 1e-6)
    assert sink.writes[-1][0] == pytest.approx(300 * INTERVAL)
    assert sent > 2 * CLIP.packet_count
    assert max(sink.sizes[1:]) <= most_packets(INTERVAL)


async def test_nothing_is_written_while_nothing_is_due() -> None:
    sink = await record(FakeTime(sleeps=5, stalls=dict.fromkeys(range(5), -INTERVAL)))

    assert len(sink.writes) == 1


async def test_the_stream_is_sound_over_its_seams() -> None:
    sink = await record(FakeTime(sleeps=300))

    assert check(sink.data).faults == []
    assert sink.data == CLIP.read(0, sum(sink.sizes))


async def test_a_short_stall_is_made_up_for() -> None:
    sink = await record(FakeTime(sleeps=30, stalls={10: 1.5}))

    now, _ = sink.writes[-1]
    assert now == pytest.approx(30 * INTERVAL + 1.5)
    assert sum(sink.sizes) == pytest.approx(CLIP.packets_until(now + LEAD), abs=1)
    assert check(sink.data).faults == []


async def test_a_long_stall_is_not_followed_by_a_long_burst() -> None:
    sink = await record(FakeTime(sleeps=30, stalls={10: 3600.0}))

    assert max(sink.sizes[1:]) <= most_packets(LEAD)
    assert sum(sink.sizes) == pytest.approx(CLIP.packets_until(29 * INTERVAL + 2 * LEAD), abs=1)
    assert sink.data == CLIP.read(0, sum(sink.sizes))


async def test_a_sink_that_drains_slowly_loses_nothing() -> None:
    fake = FakeTime(sleeps=30)

    def dawdle() -> None:
        fake.now += 10.0

    sink = await record(fake, drain=dawdle)

    assert max(sink.sizes[1:]) <= most_packets(LEAD)
    assert sink.data == CLIP.read(0, sum(sink.sizes))


async def test_each_run_begins_at_the_beginning() -> None:
    fake = FakeTime(sleeps=25)
    source = ClipSource(CLIP, clock=fake.clock, sleep=fake.sleep)
    first, second = Recorder(fake.clock), Recorder(fake.clock)

    for sink in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await source.run(sink)

    assert first.data[: len(second.data)] == second.data


async def test_it_runs_in_real_time_until_cancelled() -> None:
    sink = Recorder(time.monotonic)
    begun = time.monotonic()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.7):
            await ClipSource(CLIP).run(sink)

    # A busy machine sends late, but nothing early.
    seconds = time.monotonic() - begun
    assert CLIP.packets_until(LEAD) < sum(sink.sizes) <= CLIP.packets_until(LEAD + seconds)
    assert check(sink.data).faults == []
