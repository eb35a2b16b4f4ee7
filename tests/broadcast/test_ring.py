"""Each reader gets the stream in order and whole, save for what is counted as skipped; and nobody waits for another."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamproxy.broadcast import ring as ring_module
from streamproxy.broadcast.reader import END, Reader
from streamproxy.broadcast.ring import Ring
from streamproxy.formats.mpegts import Entry
from streamproxy.formats.mpegts.psi import ElementaryStream, Program, write_pat, write_pmt
from streamproxy.formats.mpegts.sections import packetize
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.tscheck import FaultKind, check


async def backlog(ring: Ring, queue_size: int = 1 << 20) -> list[bytes]:
    """Return what a reader begins with who joins now."""
    reader = ring.join(queue_size)
    ring.leave(reader)
    return [await reader.get() for _ in range(reader.lag)]


async def test_every_reader_gets_the_very_same_objects() -> None:
    ring = Ring(history=0)
    readers = [ring.join(4) for _ in range(3)]
    chunk = b"chunk"

    ring.append(chunk)

    assert all([await reader.get() is chunk for reader in readers])


async def test_a_new_reader_begins_with_the_recent_past() -> None:
    ring = Ring(history=6)

    for chunk in (b"aa", b"bb", b"cc", b"dd"):
        ring.append(chunk)

    assert await backlog(ring) == [b"bb", b"cc", b"dd"]


async def test_history_ends_at_the_chunk_that_does_not_fit() -> None:
    ring = Ring(history=5)

    for chunk in (b"a", b"bbbb", b"cc"):
        ring.append(chunk)

    assert await backlog(ring) == [b"cc"]


async def test_a_chunk_larger_than_the_history_empties_it() -> None:
    ring = Ring(history=5)

    ring.append(b"aa")
    ring.append(b"bbbbbb")

    assert await backlog(ring) == []


async def test_without_history_a_new_reader_begins_with_what_comes_next() -> None:
    ring = Ring(history=0)

    ring.append(b"a")

    assert await backlog(ring) == []


@pytest.mark.parametrize(("queue_size", "newest"), [(1, b""), (4, b"ef"), (5, b"ef"), (100, b"abcdef")])
async def test_the_past_fills_no_more_than_half_of_a_queue(queue_size: int, newest: bytes) -> None:
    ring = Ring(history=100)

    for letter in b"abcdef":
        ring.append(bytes((letter,)))

    assert b"".join(await backlog(ring, queue_size)) == newest


async def test_a_reader_of_a_closed_ring_is_at_its_end() -> None:
    ring = Ring(history=100)
    ring.append(b"a")
    ring.close()

    assert await ring.join(4).get() == END


async def test_who_waits_when_a_ring_is_closed_is_woken() -> None:
    ring = Ring(history=0)
    waiting = asyncio.create_task(ring.join(4).get())
    await asyncio.sleep(0)

    ring.close()

    assert await waiting == END


async def test_who_left_gets_nothing_more() -> None:
    ring = Ring(history=0)
    reader = ring.join(4)
    ring.leave(reader)

    ring.append(b"a")

    assert (reader.lag, ring.readers) == (0, 0)


def test_who_left_may_leave_again() -> None:
    ring = Ring(history=0)
    reader = ring.join(4)

    ring.leave(reader)
    ring.leave(reader)

    assert ring.readers == 0


async def test_what_is_appended_to_a_closed_ring_reaches_nobody() -> None:
    ring = Ring(history=100)
    reader = ring.join(4)
    ring.close()

    ring.append(b"late")

    assert await reader.get() == END
    assert await reader.get() == END


class Chunk(bytes):
    """A chunk with a number, that strikes itself off when nobody holds it any more."""

    number: int
    held: set[int]

    def __del__(self) -> None:
        self.held.discard(self.number)


@dataclass(eq=False)
class Viewer:
    """Whoever reads.

    Attributes:
        reader: Their place in the ring.
        queue_size: Chunks that the place holds.
        start: Number of the first chunk that is theirs.
        received: Numbers of the chunks that came, in order.
        drained: Whether they had taken everything when the ring was closed.
        ended: Whether they were told of the end.
    """

    reader: Reader
    queue_size: int
    start: int
    received: list[int] = field(default_factory=list)
    drained: bool = False
    ended: bool = False
    task: asyncio.Task[bytes | None] | None = None

    def resume(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read on, unless that is under way."""
        self.task = self.task or loop.create_task(self.work())

    def work(self) -> Coroutine[Any, Any, bytes | None]:
        """Do the reader's part."""
        raise NotImplementedError

    def collect(self) -> None:
        """Look at what has become of the work."""
        if self.task and self.task.done():
            task, self.task = self.task, None
            if not task.cancelled():
                self.finish(task.result())

    def finish(self, result: bytes | None) -> None:
        """Take what the work returned."""
        if result:
            self.take(result)
        else:
            self.ended = True

    def take(self, data: bytes) -> None:
        """Take a chunk."""
        assert type(data) is Chunk, "a piece or a copy of a chunk"
        assert not self.ended, "more came after the end"
        self.received.append(data.number)


class PullingViewer(Viewer):
    """Asks for one chunk at a time."""

    def work(self) -> Coroutine[Any, Any, bytes | None]:
        return self.reader.get()


@dataclass(eq=False)
class FedViewer(Viewer):
    """Has a connection that is full after so many chunks.

    Attributes:
        room: Chunks until then.
        has_room: Set when there is room again.
    """

    room: int = 0
    has_room: asyncio.Event = field(default_factory=asyncio.Event)

    def work(self) -> Coroutine[Any, Any, bytes | None]:
        return self.reader.feed(self)

    @property
    def full(self) -> bool:
        return self.room == 0

    def write(self, data: bytes, /) -> bool:
        # To write nothing changes nothing on a connection.
        if data:
            assert not self.full, "written to a viewer who is behind"
            self.take(data)
            self.room -= 1
        return not self.full

    async def drain(self) -> None:
        while self.full:
            self.has_room.clear()
            await self.has_room.wait()

    def make_room(self, chunks: int) -> None:
        self.room += chunks
        self.has_room.set()


viewers = st.integers(0, 1 << 10)


class RingMachine(RuleBasedStateMachine):
    """A ring and its readers, with every step of the event loop in the hands of the test."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.complaints: list[dict[str, Any]] = []
        self.viewers: list[Viewer] = []
        self.held: set[int] = set()
        self.edges = [0]
        """Bytes of the stream before each chunk, and of the whole of it."""

    @initialize(history=st.sampled_from([0, 1, 5, 12, 40]))
    def begin(self, history: int) -> None:
        self.ring = Ring(history)
        self.history = history

    @property
    def count(self) -> int:
        """Chunks appended so far."""
        return len(self.edges) - 1

    @property
    def kept_from(self) -> int:
        """Number of the oldest chunk of the longest recent past that fits."""
        return next(number for number in range(self.count + 1) if self.edges[-1] - self.edges[number] <= self.history)

    def step(self) -> None:
        """Run what is ready, and no more."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        for viewer in self.viewers:
            viewer.collect()

    @precondition(lambda self: len(self.viewers) < 5)
    @rule(queue_size=st.integers(1, 6), fed=st.booleans(), room=st.integers(0, 3))
    def join(self, queue_size: int, fed: bool, room: int) -> None:
        reader = self.ring.join(queue_size)
        start = self.count if self.ring.closed else max(self.kept_from, self.count - queue_size // 2)
        viewer = (
            FedViewer(reader, queue_size, start, drained=self.ring.closed, room=room)
            if fed
            else PullingViewer(reader, queue_size, start, drained=self.ring.closed)
        )
        assert self.pending(viewer) == self.count - start
        self.viewers.append(viewer)
        if fed:
            viewer.resume(self.loop)

    @precondition(lambda self: not self.ring.closed)
    @rule(size=st.integers(1, 7))
    def append(self, size: int) -> None:
        chunk = Chunk(size)
        chunk.number, chunk.held = self.count, self.held
        self.held.add(chunk.number)
        before = [(viewer.reader.lag, viewer.reader.overruns, len(viewer.received)) for viewer in self.viewers]
        self.edges.append(self.edges[-1] + size)

        self.ring.append(chunk)

        for viewer, (lag, overruns, received) in zip(self.viewers, before, strict=True):
            if len(viewer.received) > received:
                assert (lag, viewer.reader.lag, viewer.reader.overruns) == (0, 0, overruns), "overtook what was queued"
            elif lag < viewer.queue_size:
                assert (viewer.reader.lag, viewer.reader.overruns) == (lag + 1, overruns), "lost without need"
            else:
                assert (viewer.reader.lag, viewer.reader.overruns) == (1, overruns + 1), "lapped, but not moved forward"

    @precondition(lambda self: self.viewers)
    @rule(which=viewers, chunks=st.integers(1, 4))
    def read(self, which: int, chunks: int) -> None:
        viewer = self.viewers[which % len(self.viewers)]
        if isinstance(viewer, FedViewer):
            viewer.make_room(chunks)
        else:
            viewer.resume(self.loop)

    @rule()
    def pass_a_moment(self) -> None:
        self.step()

    @rule()
    def come_to_rest(self) -> None:
        for _ in range(10):
            self.step()
        for viewer in self.viewers:
            if isinstance(viewer, FedViewer) and not viewer.full:
                assert self.pending(viewer) == 0, "the viewer has room, and waits"
                assert viewer.ended == self.ring.closed

    @precondition(lambda self: self.viewers)
    @rule(which=viewers)
    def interrupt_and_resume(self, which: int) -> None:
        viewer = self.viewers[which % len(self.viewers)]
        self.interrupt(viewer)
        viewer.resume(self.loop)

    @precondition(lambda self: self.viewers)
    @rule(which=viewers, interrupted_first=st.booleans())
    def leave(self, which: int, interrupted_first: bool) -> None:
        viewer = self.viewers[which % len(self.viewers)]
        if interrupted_first:
            self.interrupt(viewer)
        self.ring.leave(viewer.reader)
        self.interrupt(viewer)
        self.viewers.remove(viewer)

    def interrupt(self, viewer: Viewer) -> None:
        if viewer.task:
            viewer.task.cancel()
            self.step()
            assert viewer.task is None, "not to be interrupted"

    @rule()
    def close(self) -> None:
        for viewer in self.viewers:
            viewer.drained |= viewer.reader.lag == 0
        self.ring.close()

    @invariant()
    def order_is_kept_and_nothing_comes_twice(self) -> None:
        for viewer in self.viewers:
            assert viewer.received == sorted(set(viewer.received))
            assert not viewer.received or viewer.start <= viewer.received[0]

    @invariant()
    def what_is_missing_was_counted(self) -> None:
        for viewer in self.viewers:
            taken = self.count - self.pending(viewer)
            got = sum(self.edges[number + 1] - self.edges[number] for number in viewer.received)
            assert all(number < taken for number in viewer.received[-1:])
            assert viewer.reader.skipped == self.edges[taken] - self.edges[viewer.start] - got

    @invariant()
    def no_queue_outgrows_its_size(self) -> None:
        assert all(viewer.reader.lag <= viewer.queue_size for viewer in self.viewers)

    @invariant()
    def only_the_recent_past_and_what_is_queued_is_held(self) -> None:
        needed = set() if self.ring.closed else set(range(self.kept_from, self.count))
        for viewer in self.viewers:
            needed.update(range(self.count - self.pending(viewer), self.count))
        on_their_way = {viewer.received[-1] for viewer in self.viewers if viewer.received}
        assert needed <= self.held <= needed | on_their_way

    @invariant()
    def all_readers_are_counted(self) -> None:
        assert self.ring.readers == len(self.viewers)

    @invariant()
    def nothing_goes_wrong_behind_the_scenes(self) -> None:
        assert not self.complaints

    def pending(self, viewer: Viewer) -> int:
        """Count the chunks that a viewer has yet to take; the mark of the end is none."""
        return 0 if viewer.drained else viewer.reader.lag

    def teardown(self) -> None:
        try:
            self.close()
            self.read_to_the_end()
            for viewer in self.viewers:
                assert viewer.ended, "not told of the end"
            self.what_is_missing_was_counted()
            self.only_the_recent_past_and_what_is_queued_is_held()
            self.nothing_goes_wrong_behind_the_scenes()
        finally:
            for viewer in self.viewers:
                self.interrupt(viewer)
            self.loop.close()

    def read_to_the_end(self) -> None:
        for _ in range(40):
            for viewer in self.viewers:
                if isinstance(viewer, FedViewer):
                    viewer.make_room(1)
                elif not viewer.ended:
                    viewer.resume(self.loop)
            self.step()


TestRingUnderAnyUse = RingMachine.TestCase
TestRingUnderAnyUse.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# From here on the chunks are of a program whose decoders can start at some packets only.

VIDEO, SOUND = 0x100, 0x101
PROGRAM = Program(1, 0x1000, VIDEO, (ElementaryStream(VIDEO, 0x1B), ElementaryStream(SOUND, 0x0F)))
TABLES = packetize(write_pat(1, {1: PROGRAM.pmt_pid}, 0), 0, 3) + packetize(write_pmt(PROGRAM), PROGRAM.pmt_pid, 7)


def packet(pid: int, counter: int, *, starts: bool = False) -> bytes:
    head = bytes((0x47, (0x40 if starts else 0) | pid >> 8, pid & 0xFF, 0x10 | counter & 15))
    return head.ljust(188, b"\0" if starts else b"\x11")


def at(position: int) -> Entry:
    return Entry(position, TABLES)


async def taken(reader: Reader) -> bytes:
    return b"".join([await reader.get() for _ in range(reader.lag)])


async def test_a_new_reader_begins_with_the_tables_and_the_newest_entry_point() -> None:
    ring = Ring(history=0)
    older, newer = packet(VIDEO, 1, starts=True), packet(VIDEO, 3, starts=True)
    rest = packet(SOUND, 0, starts=True)
    ring.append(older + packet(VIDEO, 2), [at(0)])
    ring.append(packet(VIDEO, 15) + newer, [at(3 * 188)])
    ring.append(rest)

    assert await taken(ring.join(4)) == TABLES + newer + rest


async def test_a_new_reader_begins_at_an_entry_point_that_was_found_late() -> None:
    ring = Ring(history=1000)
    chunks = [packet(VIDEO, 1, starts=True), packet(VIDEO, 2), packet(VIDEO, 3)]
    ring.append(chunks[0])
    ring.append(chunks[1])
    ring.append(chunks[2], [at(0)])

    assert await taken(ring.join(4)) == TABLES + b"".join(chunks)


async def test_an_entry_point_may_be_told_after_its_chunk() -> None:
    ring = Ring(history=1000)
    ring.append(packet(VIDEO, 1, starts=True))
    ring.append(packet(VIDEO, 2))

    ring.note([at(0)])

    assert await taken(ring.join(4)) == TABLES + packet(VIDEO, 1, starts=True) + packet(VIDEO, 2)


async def test_an_entry_point_in_what_is_gone_is_of_no_use() -> None:
    ring = Ring(history=188)
    ring.append(packet(VIDEO, 1, starts=True))
    ring.append(packet(VIDEO, 2))
    ring.append(packet(VIDEO, 3), [at(0)])

    assert await taken(ring.join(4)) == packet(VIDEO, 3)


@pytest.mark.parametrize("position", [0, 188])
async def test_an_entry_point_that_is_told_after_the_end_is_of_no_use(position: int) -> None:
    ring = Ring(history=1000)
    ring.append(packet(VIDEO, 1, starts=True))
    ring.close()

    ring.note([at(position)])

    assert await ring.join(4).get() == END


async def test_what_began_before_the_entry_point_is_left_out() -> None:
    ring = Ring(history=0)
    picture, torn, sound = packet(VIDEO, 1, starts=True), packet(SOUND, 5), packet(SOUND, 6, starts=True)

    ring.append(picture + torn + sound, [at(0)])

    assert await taken(ring.join(4)) == TABLES + picture + sound


async def test_who_joins_later_gets_the_same_beginning_and_what_came_since() -> None:
    ring = Ring(history=0)
    ring.append(packet(VIDEO, 1, starts=True), [at(0)])
    first = await taken(ring.join(4))
    ring.append(packet(VIDEO, 2))

    assert await taken(ring.join(4)) == first + packet(VIDEO, 2)


async def test_all_is_kept_as_far_back_as_the_newest_entry_point() -> None:
    ring = Ring(history=188)
    ring.append(packet(SOUND, 0), [])
    ring.append(packet(VIDEO, 1, starts=True), [at(188)])
    for counter in range(2, 300):
        ring.append(packet(VIDEO, counter))

    reader = ring.join(4)

    assert len(await taken(reader)) == len(TABLES) + 299 * 188


async def test_a_way_back_that_is_too_long_is_given_up() -> None:
    ring = Ring(history=2 << 20)
    ring.append(packet(VIDEO, 0, starts=True), [at(0)])
    large = packet(VIDEO, 1) * 5577
    for _ in range(40):
        ring.append(large)

    reader = ring.join(100)

    assert await taken(reader) == large * 2


async def test_a_lapped_reader_resumes_at_the_newest_entry_point() -> None:
    ring = Ring(history=0)
    reader = ring.join(2)
    picture = packet(VIDEO, 9, starts=True)
    for counter in (1, 2):
        ring.append(packet(VIDEO, counter))
    ring.append(picture, [at(2 * 188)])
    ring.append(packet(VIDEO, 10))

    received = await taken(reader)

    assert received.endswith(TABLES + picture + packet(VIDEO, 10))
    assert (reader.overruns, reader.skipped) == (1, 2 * 188)


async def test_a_lapped_reader_is_told_that_its_counters_jump() -> None:
    ring = Ring(history=0)
    received = TABLES + packet(VIDEO, 1, starts=True)
    ring.append(packet(VIDEO, 1, starts=True), [at(0)])
    reader = ring.join(1)
    assert await taken(reader) == received
    for counter in (2, 3):
        ring.append(packet(VIDEO, counter))
    ring.append(packet(VIDEO, 9, starts=True), [at(3 * 188)])

    received += await taken(reader)

    assert check(received).counts[FaultKind.CONTINUITY] == 0


async def test_a_lapped_reader_who_is_past_the_newest_entry_point_waits_for_the_next() -> None:
    ring = Ring(history=0)
    ring.append(packet(VIDEO, 0, starts=True), [at(0)])
    reader = ring.join(2)
    await taken(reader)
    for counter in range(1, 6):
        ring.append(packet(VIDEO, counter))
    assert (reader.lag, ring.readers) == (0, 1)
    next_picture = packet(VIDEO, 6, starts=True)
    ring.append(next_picture, [at(6 * 188)])

    assert (await taken(reader)).endswith(TABLES + next_picture)
    assert (reader.overruns, reader.skipped) == (1, 5 * 188)


async def test_who_leaves_while_lapped_is_gone() -> None:
    ring = Ring(history=0)
    ring.append(packet(VIDEO, 0, starts=True), [at(0)])
    reader = ring.join(1)
    await taken(reader)
    for counter in range(1, 4):
        ring.append(packet(VIDEO, counter))

    ring.leave(reader)
    ring.append(packet(VIDEO, 4, starts=True), [at(4 * 188)])

    assert (reader.lag, ring.readers) == (0, 0)


async def test_a_lapped_reader_is_told_of_the_end() -> None:
    ring = Ring(history=0)
    ring.append(packet(VIDEO, 0, starts=True), [at(0)])
    reader = ring.join(1)
    await taken(reader)
    for counter in range(1, 4):
        ring.append(packet(VIDEO, counter))

    ring.close()

    assert await reader.get() == END
    assert reader.skipped == 3 * 188


# What is kept for the sake of an entry point, and no longer than that.

MIB = 1 << 20
LARGE = bytes(4 * MIB)
"""What a test appends over and over takes no memory of its own."""


def kept(ring: Ring) -> int:
    """Return the bytes that a ring keeps."""
    return sum(map(len, ring.newest(1 << 20)))


@pytest.mark.parametrize("history", [0, 32 * MIB, 40 * MIB])
async def test_an_entry_point_is_given_up_when_it_lies_further_back_than_32_mib_and_the_history(history: int) -> None:
    ring = Ring(history)
    longest = max(history, 32 * MIB)
    ring.append(b"before")
    ring.append(LARGE, [at(6)])
    for _ in range(longest // len(LARGE) - 1):
        ring.append(LARGE)
    assert kept(ring) == longest

    ring.append(b"x")

    assert kept(ring) == (longest - len(LARGE) + 1 if history else 0)


async def test_how_far_back_an_entry_point_lies_is_counted_from_itself_and_not_from_its_chunk() -> None:
    ring = Ring(history=0)
    ring.append(b"before" + LARGE, [at(6)])
    for _ in range(7):
        ring.append(LARGE)

    assert kept(ring) == 6 + 32 * MIB


@pytest.mark.parametrize(("position", "left"), [(0, 9), (5, 9), (6, 3), (8, 3)])
async def test_a_chunk_is_kept_as_long_as_the_entry_point_lies_in_it(position: int, left: int) -> None:
    ring = Ring(history=0)
    ring.append(b"before", [at(0)])
    ring.append(b"now", [at(position)])

    assert kept(ring) == left


async def test_of_an_entry_point_that_was_given_up_nothing_is_held() -> None:
    ring = Ring(history=2 * MIB)
    held: set[int] = set()
    ring.append(packet(VIDEO, 0, starts=True), [at(0)])
    await backlog(ring)
    for number in range(36):
        chunk = Chunk(MIB)
        chunk.number, chunk.held = number, held
        held.add(number)
        ring.append(chunk)
    del chunk

    assert held == {34, 35}


CHUNKS = st.lists(st.tuples(st.integers(1, 4), st.none() | st.integers(0, 12)), max_size=25)
"""Packets of each chunk, and how many packets before its end an entry point is told of with it."""


@given(chunks=CHUNKS, history=st.sampled_from([0, 1, 187, 188, 189, 1000]), most=st.sampled_from([0, 376, 1500]))
@settings(deadline=None)
def test_it_keeps_its_history_and_what_the_newest_entry_point_needs(
    chunks: list[tuple[int, int | None]], history: int, most: int
) -> None:
    async def work() -> None:
        ring = Ring(history)
        sent: list[bytes] = []
        starts = [0]
        first, entry = 0, None
        for count, back in chunks:
            sent.append(b"".join(packet(VIDEO, starts[-1] // 188 + each, starts=True) for each in range(count)))
            starts.append(starts[-1] + len(sent[-1]))
            told = None if back is None else max(0, starts[-1] - 188 * (1 + back))
            ring.append(sent[-1], [] if told is None else [at(told)])

            entry = told if told is not None and told >= starts[first] else entry
            if entry is not None and starts[-1] - entry > max(history, most):
                entry = None
            needed = starts[-1] if entry is None else entry
            while starts[-1] - starts[first] > history and starts[first + 1] <= needed:
                first += 1
            assert ring.newest(1000) == sent[first:]
            expected = sent[first:] if entry is None else [TABLES, b"".join(sent)[entry:]]
            assert b"".join(await backlog(ring)) == b"".join(expected)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring_module, "_LONGEST_WAY_BACK", most)
        asyncio.run(work())
