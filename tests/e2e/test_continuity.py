"""Whatever becomes of its upstreams, a viewer of the running program gets one stream without a fault."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from streamproxy.broadcast.continuity import Continuity
from streamproxy.formats.hls import window
from streamproxy.formats.mpegts import PACKET_SIZE
from streamproxy.server import feeds, wiring
from streamproxy.server.app import make_app
from streamproxy.sources.slate import Slate, slate_clip
from streamproxy.web import BROADCASTS
from tests.formats.splice.playing import decode, entries, faults, of_pid, starts, times
from tests.formats.splice.sources import cut, foreign, hevc, open_groups_of_hevc, radio, usual, wrapping
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import Answer, HlsOrigin, hls_origin, media
from tests.helpers.media import transport_stream
from tests.helpers.origin import OK, Exchange, Script
from tests.helpers.proxy import Proxy, config, running
from tests.helpers.scripts import Tap, holds, sends
from tests.helpers.tscheck import check
from tests.helpers.wire import dial

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the streams are made by ffmpeg")
one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])
"""For what is about the stream alone."""

RELAY = {"chunk_size": 21 * PACKET_SIZE, "chunk_delay": 0.01, "queue": 1000, "stall_timeout": 0.3}
"""Small chunks, since the pictures of the tests are; and nobody waits long."""

AT_ONCE = {"attempts": 0, "delay": 0.1, "jitter": 0}
"""Straight to the next upstream; for what has played for so short a while, 0.1 s after it was opened at the soonest."""
AGAIN = AT_ONCE | {"attempts": 3}

NULL_PID = 0x1FFF
VIDEO_TYPES = {0x02, 0x1B, 0x24}


def after_ok(data: bytes, then: Script) -> Script:
    """Send the beginning of a stream without a length, and do something else."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(OK + data)
        await then(exchange)

    return answer


def closes(data: bytes) -> Script:
    return sends(OK + data)


def resets(data: bytes) -> Script:
    async def reset(exchange: Exchange) -> None:
        # What was sent is lost where a reset overtakes it.
        await asyncio.sleep(0.05)
        exchange.reset()

    return after_ok(data, reset)


def stalls(data: bytes) -> Script:
    return holds(OK + data)


def ends_short(data: bytes) -> Script:
    return sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(data) + 1), data)


def breaks_a_chunk_off(data: bytes) -> Script:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(data) + 1)
    return sends(head, data)


LOSSES = [closes, resets, stalls, ends_short, breaks_a_chunk_off]


@asynccontextmanager
async def on_air(provider: HlsOrigin, folder: Path, *, mode: str = "shared", **settings: Any) -> AsyncIterator[Proxy]:
    """Run the proxy, with a channel of two upstreams: /one and, if anything is served there, /two."""
    backups = [provider.url("/two")] if "/two" in provider.answers else []
    streams = {"news": {"url": provider.url("/one"), "failover": backups, "mode": mode}}
    settings = {"relay": RELAY, "retry": AT_ONCE, "streams": streams, "options": {"timeout": 2}} | settings
    async with running(config(folder, **settings)) as proxy:
        yield proxy


async def watched(
    folder: Path, one: list[Answer], two: list[Answer] | None = None, *, viewers: int = 1, **settings: Any
) -> tuple[list[bytes], list[str]]:
    """Watch a channel until it ends.

    Args:
        folder: Of the test.
        one: What its first upstream does, connection by connection. Bytes come with their length, and so are the end.
        two: What its second does; None for none.
        viewers: How many watch.
        settings: Of the proxy.

    Returns:
        What each viewer got, and the upstreams in the order in which they were opened.
    """
    async with hls_origin() as provider:
        provider.serve("/one", *one)
        if two:
            provider.serve("/two", *two)
        async with on_air(provider, folder, **settings) as proxy:
            answers = await asyncio.gather(*(proxy.get("/stream/news.ts") for _ in range(viewers)))
        assert [answer.status for answer in answers] == [200] * viewers
        return [answer.body for answer in answers], provider.paths


def pid_of_video(data: bytes) -> int:
    return next(pid for pid, stream_type in check(data).stream_types.items() if stream_type in VIDEO_TYPES)


def pictures_in(data: bytes) -> int:
    """Count the pictures that begin; in a piece that is torn off, the last is not whole."""
    return len(starts(data, pid_of_video(data)))


def assert_seamless(data: bytes, *, pictures: int) -> None:
    """Look at what a viewer got, with the checker's eyes and with a player's."""
    assert faults(data) == []
    player = decode(data)
    assert player.complaints == ""
    assert player.frames["video"] == pictures


def steps(data: bytes) -> set[int]:
    """Return the distances between the decoding times of the pictures, in ticks."""
    decode_times = [time for _, time in times(data, pid_of_video(data))]
    return {(later - earlier) % (1 << 33) for earlier, later in pairwise(decode_times)}


# An uninterrupted stream


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_an_undisturbed_stream_arrives_byte_for_byte_at_all_viewers(tmp_path: Path, mode: str) -> None:
    received, opened = await watched(tmp_path, [usual()], viewers=3, mode=mode)

    assert all(data == usual() for data in received)
    assert opened == ["/one"] * (1 if mode == "shared" else 3)


async def test_what_is_torn_at_the_end_is_cut_off(tmp_path: Path) -> None:
    part = cut(usual(), 0, 0.5)

    (data,), _ = await watched(tmp_path, [closes(part)])

    assert part.startswith(data[: -10 * PACKET_SIZE])
    assert_seamless(data, pictures=pictures_in(part) - 1)


# Losses


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_backup_takes_over_whatever_way_an_upstream_is_lost(
    tmp_path: Path, lose: Callable[[bytes], Script]
) -> None:
    part = cut(usual(), 0, 0.5)

    (data,), opened = await watched(tmp_path, [lose(part), 404], [foreign()], retry=AGAIN)

    assert opened == ["/one", "/one", "/two"]
    assert_seamless(data, pictures=pictures_in(part) - 1 + 90)


@pytest.mark.parametrize("lose", [closes, stalls])
async def test_an_upstream_that_is_opened_again_goes_on_where_it_is_by_now(
    tmp_path: Path, lose: Callable[[bytes], Script]
) -> None:
    before, after = cut(usual(), 0, 0.3), usual()[entry(usual(), 2) :]

    (data,), opened = await watched(tmp_path, [lose(before), after], retry=AGAIN)

    assert opened == ["/one", "/one"]
    assert_seamless(data, pictures=pictures_in(before) - 1 + 25)
    assert steps(data) == {3600}


def entry(data: bytes, number: int) -> int:
    """Return where the tables before a key frame begin."""
    return max(position for position in starts(data, 0) if position < key_frames(data)[number])


def key_frames(data: bytes) -> list[int]:
    """Return where key frames begin."""
    return entries(data, pid_of_video(data))


NO_MEDIA: dict[str, Answer] = {
    "a page": sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>Sorry</body></html>"),
    "JSON": sends(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"error": "expired"}'),
    "noise": sends(OK, bytes(range(0x48, 0x100)) * 2000),
    "nothing": sends(OK),
    "silence": holds(OK),
    "403": 403,
    "503": 503,
}

HOPELESS = [NO_MEDIA[name] for name in ("a page", "JSON", "noise", "403")]
"""What is not asked for again, where there is a backup."""


@pytest.mark.parametrize("answer", NO_MEDIA.values(), ids=NO_MEDIA.keys())
async def test_a_backup_takes_over_where_an_upstream_returns_with_something_else(
    tmp_path: Path, answer: Answer
) -> None:
    part = cut(usual(), 0, 0.5)

    (data,), opened = await watched(tmp_path, [closes(part), answer], [foreign()], retry=AGAIN)

    assert opened == ["/one"] * (2 if answer in HOPELESS else 4) + ["/two"]
    assert_seamless(data, pictures=pictures_in(part) - 1 + 90)


@one_loop
@pytest.mark.parametrize("answer", NO_MEDIA.values(), ids=NO_MEDIA.keys())
async def test_a_backup_begins_where_the_first_upstream_has_something_else(tmp_path: Path, answer: Answer) -> None:
    (data,), opened = await watched(tmp_path, [answer], [foreign()])

    assert opened == ["/one", "/two"]
    assert data == foreign()


# Replays


async def test_what_a_provider_sends_again_after_a_reconnect_is_seen_once(tmp_path: Path) -> None:
    whole = usual()
    plays: list[Answer] = [
        closes(cut(whole, 0, 0.4)),
        closes(cut(whole, 0.2, 0.7)),
        resets(cut(whole, 0.4, 0.9)),
        cut(whole, 0.65, 1),
    ]

    received, opened = await watched(tmp_path, plays, viewers=2, retry=AGAIN)

    assert opened == ["/one"] * 4
    assert all(data == whole for data in received)


async def test_what_a_provider_packs_anew_and_sends_again_is_not_seen_twice(tmp_path: Path) -> None:
    before = cut(usual(), 0, 0.5)
    again = transport_stream(muxer=("-pat_period", "0.3", "-pes_payload_size", "500"), start_pid=0x123)
    assert [time for time, _ in times(again, 0x123)] == [time for time, _ in times(usual(), 0x100)]

    (data,), opened = await watched(tmp_path, [closes(before), again], retry=AGAIN)

    assert opened == ["/one", "/one"]
    # It is entered at the first key frame that was not there before.
    later = 25 * (1 + pictures_in(before) // 25)
    assert_seamless(data, pictures=pictures_in(before) - 1 + 75 - later)


# There and back


SEQUENCES = {
    "another frame rate, size, order, PID, sample rate and clock": (usual, foreign, [(0, 0.4), (0, 0.6), (0.4, 1)]),
    "another codec": (usual, hevc, [(0, 0.4), (0, 0.6), (0.4, 1)]),
    "a wrap after the first part": (wrapping, foreign, [(0, 0.45), (0, 0.6), (0.6, 1)]),
    "a wrap in the first part": (wrapping, foreign, [(0, 0.6), (0, 0.6), (0.6, 1)]),
    "a wrap in the last part": (wrapping, foreign, [(0, 0.2), (0, 0.6), (0.3, 1)]),
    "a wrap in the other part": (usual, wrapping, [(0, 0.6), (0, 0.9), (0.6, 1)]),
}


@one_loop
@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES.keys())
async def test_there_is_no_seam_on_the_way_to_a_backup_and_back(tmp_path: Path, sequence: Any) -> None:
    one, two, shares = sequence
    first, second, third = (cut(source(), *share) for source, share in zip((one, two, one), shares, strict=True))

    (data,), opened = await watched(tmp_path, [closes(first), third], [closes(second)])

    assert opened == ["/one", "/two", "/one"]
    expected = pictures_in(first) - 1 + pictures_in(second) - 1 + from_entry(third)
    player = decode(data)
    assert (player.complaints, player.frames["video"]) == ("", expected)
    assert without_pauses(data, other_codec=two is hevc) == []


@one_loop
async def test_pictures_of_hevc_that_refer_to_others_are_not_mixed_up(tmp_path: Path) -> None:
    first = cut(open_groups_of_hevc(0x100, 0, ()), 0, 0.6)
    second = cut(open_groups_of_hevc(0x140, 700, ()), 0.1, 1)

    (data,), opened = await watched(tmp_path, [closes(first), 404], [second], retry=AGAIN)

    assert opened == ["/one", "/one", "/two"]
    assert faults(data) == []
    player = decode(data)
    assert player.complaints == ""
    # Three pictures are seen before the entry point, and so are left out; two have yet to be shown at the seam.
    expected = pictures_in(first) - 1 + from_entry(second) - 3
    assert expected - 2 <= player.frames["video"] <= expected


def from_entry(part: bytes) -> int:
    """Count the pictures from the first key frame on."""
    return sum(at >= key_frames(part)[0] for at in starts(part, pid_of_video(part)))


def without_pauses(data: bytes, *, other_codec: bool) -> list[str]:
    """Return the faults; but of PIDs that were not in use for some time the checker can only say that."""
    found = faults(data)
    return (
        [fault for fault in found if not re.search(r" time moves by \d|: the clock moves by \d", fault)]
        if other_codec
        else found
    )


@one_loop
@pytest.mark.parametrize("share", [0.3, 0.45, 0.55])
async def test_an_upstream_whose_clock_wraps_is_opened_again_without_a_seam(tmp_path: Path, share: float) -> None:
    before, after = cut(wrapping(), 0, share), cut(wrapping(), share, 1)

    (data,), _ = await watched(tmp_path, [closes(before), after], retry=AGAIN)

    assert_seamless(data, pictures=pictures_in(before) - 1 + from_entry(after))


@one_loop
async def test_radio_is_kept_going_too(tmp_path: Path) -> None:
    first, second = cut(radio(), 0, 0.5), transport_stream(video=None, clock=99, tracks=(48_000,))

    (data,), opened = await watched(tmp_path, [closes(first), 404], [second], retry=AGAIN)

    assert opened == ["/one", "/one", "/two"]
    assert faults(data) == []
    player = decode(data)
    assert player.complaints == ""
    assert abs(player.frames["audio"] - decode(first).frames["audio"] - 142) <= 8


# Switches by hand


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch) -> list[web.Application]:
    """The running program's insides, as the handlers of its interface see them."""
    made: list[web.Application] = []

    def make(root_path: str) -> web.Application:
        made.append(make_app(root_path))
        return made[-1]

    monkeypatch.setattr(wiring, "make_app", make)
    return made


def running_feed(apps: list[web.Application]) -> Continuity:
    (broadcast,) = apps[0][BROADCASTS].running
    assert isinstance(broadcast.feed, Continuity)
    return broadcast.feed


class Watcher:
    """A viewer who keeps what came.

    Attributes:
        data: All of it.
    """

    def __init__(self, read: Callable[[int], Awaitable[bytes]]) -> None:
        self.data = b""
        self._read = read

    async def until(self, condition: Callable[[bytes], bool]) -> None:
        """Read until something holds of what came."""
        while not condition(self.data):
            data = await self._read(1 << 16)
            assert data, "the stream ended"
            self.data += data

    async def more(self, size: int) -> None:
        """Read until so many bytes more have come."""
        size += len(self.data)
        await self.until(lambda data: len(data) >= size)

    async def pictures(self, count: int) -> None:
        """Read until so many pictures have begun."""
        await self.until(lambda data: len(starts(data[: len(data) // PACKET_SIZE * PACKET_SIZE], 0x100)) >= count)

    async def rest(self) -> None:
        """Read to the end."""
        while data := await self._read(1 << 16):
            self.data += data


@asynccontextmanager
async def watching(proxy: Proxy) -> AsyncIterator[Watcher]:
    async with proxy.open("/stream/news.ts") as viewer:
        assert viewer.status == 200
        yield Watcher(viewer.reader.read)


def head(length: int) -> bytes:
    """Say how long a stream is: with it, the channel comes to its end."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


async def test_a_switch_by_hand_leaves_no_gap_and_two_upstreams_are_open_only_until_it_is_done(
    tmp_path: Path, apps: list[web.Application]
) -> None:
    other = transport_stream(clock=7_000, start_pid=0x222)
    no_entry, from_entry_on = cut(other, 0.1, 0.25), other[entry(other, 1) :]
    one, two = Tap(), Tap(head(len(no_entry + from_entry_on)))
    async with hls_origin() as provider:
        provider.serve("/one", one.answer)
        provider.serve("/two", two.answer)
        async with on_air(provider, tmp_path, relay=RELAY | {"stall_timeout": 60}) as proxy:
            one.send(cut(usual(), 0, 0.3))
            async with watching(proxy) as viewer:
                await viewer.pictures(15)
                assert running_feed(apps).switch(1)
                await provider.socket.until(lambda seen: seen.open["/two"] == 1)

                one.send(cut(usual(), 0.3, 0.5))
                await viewer.pictures(30)
                two.send(no_entry)
                one.send(cut(usual(), 0.5, 0.7))
                await viewer.pictures(45)
                assert +provider.socket.open == {"/one": 1, "/two": 1}

                two.send(from_entry_on)
                await provider.socket.until(lambda seen: not seen.open["/one"])
                await viewer.rest()

    assert provider.paths == ["/one", "/two"]
    assert_seamless(viewer.data, pictures=pictures_in(cut(usual(), 0, 0.7)) - 1 + 50)
    assert steps(viewer.data) == {3600}
    assert of_pid(viewer.data, NULL_PID) == []


async def test_a_switch_by_hand_to_what_cannot_be_played_changes_nothing(
    tmp_path: Path, apps: list[web.Application]
) -> None:
    one = Tap(head(len(usual())))
    async with hls_origin() as provider:
        provider.serve("/one", one.answer)
        provider.serve("/two", 404)
        async with on_air(provider, tmp_path) as proxy:
            one.send(cut(usual(), 0, 0.5))
            async with watching(proxy) as viewer:
                await viewer.pictures(15)
                running_feed(apps).switch()
                await provider.socket.until(lambda seen: seen.total["/two"] == 1 and not seen.open["/two"])
                one.send(cut(usual(), 0.5, 1))
                await viewer.rest()

    assert viewer.data == usual()


# Slates


def back_in(time: asyncio.Event, data: bytes) -> Answer:
    """Answer 503 until it is time."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head(len(data)) + data if time.is_set() else b"HTTP/1.1 503 Sorry\r\n\r\n")

    return answer


SOON = AGAIN | {"backoff": 1}


async def test_a_slate_is_seen_while_there_is_no_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_SLATE_DELAY", 0.2)
    before, after, time = cut(usual(), 0, 0.5), usual()[entry(usual(), 2) :], asyncio.Event()
    async with hls_origin() as provider:
        provider.serve("/one", closes(before), back_in(time, after))
        async with on_air(provider, tmp_path, retry=SOON, slate={"enabled": True}) as proxy, watching(proxy) as viewer:
            await viewer.until(lambda data: is_seen(slate_sample(), data))
            await viewer.pictures(pictures_in(before) + 40)
            time.set()
            await viewer.rest()

    assert faults(viewer.data) == []
    player = decode(viewer.data)
    assert player.complaints == ""
    assert player.frames["video"] == len(starts(viewer.data, 0x100)) > 25 + 40 + 25
    assert viewer.data.endswith(payload(after[-PACKET_SIZE:]))


def slate_sample() -> bytes:
    """Return a packet of a picture of the slate."""
    clip = slate_clip(Slate.UNAVAILABLE)
    data = clip.read(0, clip.packets_until(1.0))
    middle = starts(data, pid_of_video(data))[0] + PACKET_SIZE
    return data[middle : middle + PACKET_SIZE]


def payload(packet: bytes) -> bytes:
    return packet[4:]


def is_seen(packet: bytes, data: bytes) -> bool:
    return payload(packet) in data


async def test_without_a_slate_null_packets_hold_the_line(tmp_path: Path) -> None:
    before, after, time = cut(usual(), 0, 0.5), usual()[entry(usual(), 2) :], asyncio.Event()
    async with hls_origin() as provider:
        provider.serve("/one", closes(before), back_in(time, after))
        async with on_air(provider, tmp_path, retry=SOON) as proxy, watching(proxy) as viewer:
            await viewer.until(lambda data: data.count(b"\x47\x1f\xff\x10\xff\xff\xff") >= 14)
            time.set()
            await viewer.rest()

    assert len(of_pid(viewer.data, NULL_PID)) >= 14
    assert_seamless(viewer.data, pictures=pictures_in(before) - 1 + 25)


# Viewers

STEP = 350 * PACKET_SIZE
"""Bytes that are sent and watched at a time, where a test goes by steps."""


def rich(**more: Any) -> bytes:
    """Make so much of a stream that it does not fit into the buffers of a connection."""
    return transport_stream(seconds=12, size="640x360", encoder=("-crf", "8"), **more)


async def test_a_switch_is_seamless_for_the_quick_the_slow_and_the_late_and_the_lapped_resume(tmp_path: Path) -> None:
    first = cut(rich(), 0, 0.5)
    second = rich(clock=777, start_pid=0x333)
    second = second[entry(second, 5) :]
    relay = RELAY | {"queue": 96, "send_buffer": 1 << 16, "stuck_timeout": 60, "history": 1 << 16}
    one, two = Tap(), Tap(head(len(second)))
    async with hls_origin() as provider, AsyncExitStack() as stack:
        provider.serve("/one", one.answer)
        provider.serve("/two", two.answer)
        proxy = await stack.enter_async_context(on_air(provider, tmp_path, relay=relay))

        async def come(*, receive_buffer: int | None = None) -> Watcher:
            line = await stack.enter_async_context(dial(proxy.port, receive_buffer=receive_buffer))
            await line.get("/stream/news.ts")
            await line.head()
            return Watcher(line.read)

        one.send(first[:STEP])
        quick, slow, lapped = await come(), await come(receive_buffer=1 << 14), await come(receive_buffer=4096)
        sent, present = STEP, [quick]

        async def play(tap: Tap, data: bytes) -> None:
            nonlocal sent
            for at in range(0, len(data), STEP):
                tap.send(data[at : at + STEP])
                sent += len(data[at : at + STEP])
                missed = sent - 2 * STEP - len(quick.data)
                for viewer in present:
                    await viewer.more(missed)
                await slow.until(lambda data: len(data) >= len(quick.data) - 4 * STEP)

        await play(one, first[STEP:])
        one.end()
        await play(two, second[: 4 * STEP])
        late = await come()
        present.append(late)
        await play(two, second[4 * STEP :])
        for viewer in (quick, slow, lapped, late):
            await viewer.rest()

    assert_seamless(quick.data, pictures=pictures_in(first) - 1 + pictures_in(second))
    # They came a moment later, and so they begin with tables.
    assert slow.data[2 * PACKET_SIZE :] == quick.data[-len(slow.data) + 2 * PACKET_SIZE :]
    assert late.data[2 * PACKET_SIZE :] in quick.data
    assert_seamless(late.data, pictures=pictures_in(late.data))
    assert len(lapped.data) < len(quick.data) - 4 * STEP
    assert faults(lapped.data) == []
    resumed = lapped.data[jump(lapped.data) :]
    assert_seamless(resumed, pictures=pictures_in(resumed))
    assert pictures_in(resumed) >= 25


def jump(data: bytes) -> int:
    """Return where the first packet is that only says that counters jump from here on (ISO/IEC 13818-1, 2.4.3.5)."""
    only = (data[at : at + 6] for at in range(0, len(data), PACKET_SIZE))
    return next(number for number, at in enumerate(only) if at[3] >> 4 == 2 and at[5] & 0x80) * PACKET_SIZE


async def test_who_has_an_upstream_connection_alone_has_its_losses_alone(tmp_path: Path) -> None:
    part = cut(usual(), 0, 0.5)
    async with hls_origin() as provider:
        provider.serve("/one", closes(part), usual())
        provider.serve("/two", foreign())
        async with on_air(provider, tmp_path, mode="direct") as proxy:
            disturbed, undisturbed = [await proxy.get("/stream/news.ts") for _ in range(2)]

    assert sorted(provider.paths) == ["/one", "/one", "/two"]
    assert undisturbed.body == usual()
    assert_seamless(disturbed.body, pictures=pictures_in(part) - 1 + 90)


# Players that need one steady stream


async def test_nothing_is_sent_before_the_head_start_is_there(tmp_path: Path) -> None:
    sent = 0

    async def dribble(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(head(len(usual())))
        for at in range(0, len(usual()), 20 * PACKET_SIZE):
            sent = min(len(usual()), at + 20 * PACKET_SIZE)
            await exchange.send(usual()[at:sent])
            await asyncio.sleep(0.005)

    strict = {"enabled": True, "prebuffer_size": 60_000}
    async with hls_origin() as provider:
        provider.serve("/one", dribble)
        async with on_air(provider, tmp_path, strict_live_ts=strict) as proxy, watching(proxy) as viewer:
            assert sent >= 60_000
            await viewer.rest()

    assert viewer.data == usual()


async def test_a_head_start_that_does_not_come_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    strict = {"enabled": True, "prebuffer_size": 10_000_000, "prebuffer_timeout": 0.1}
    async with hls_origin() as provider:
        provider.serve("/one", stalls(usual()))
        async with on_air(provider, tmp_path, strict_live_ts=strict) as proxy, watching(proxy) as viewer:
            await viewer.pictures(50)


@pytest.mark.parametrize("mode", ["shared", "direct"])
async def test_a_short_silence_leads_to_the_backup_where_a_steady_stream_is_needed(tmp_path: Path, mode: str) -> None:
    part = cut(usual(), 0, 0.5)
    strict = {"enabled": True, "prebuffer_size": 20_000, "circuit_breaker_timeout": 0.2}

    (data,), opened = await watched(
        tmp_path, [stalls(part)], [foreign()], strict_live_ts=strict, relay=RELAY | {"stall_timeout": 60}, mode=mode
    )

    assert opened == ["/one", "/two"]
    assert_seamless(data, pictures=pictures_in(part) - 1 + 90)


# HLS


async def test_a_playlist_takes_over_from_a_transport_stream(tmp_path: Path) -> None:
    part = cut(usual(), 0, 0.5)
    async with hls_origin() as provider:
        provider.serve("/one", closes(part))
        provider.serve("/two", media(["a.ts", "b.ts"], target=2, ended=True))
        provider.serve("/a.ts", foreign()[: entry(foreign(), 2)])
        provider.serve("/b.ts", foreign()[entry(foreign(), 2) :])
        async with on_air(provider, tmp_path, mode="direct") as proxy:
            answer = await proxy.get("/stream/news.ts")

    assert_seamless(answer.body, pictures=pictures_in(part) - 1 + 90)


@one_loop
async def test_a_transport_stream_takes_over_from_a_playlist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "SHORTEST_PATIENCE", 0.5)
    playlist = media(["a.ts"], target=1)
    async with hls_origin() as provider:
        provider.serve("/one", playlist, playlist, 404)
        provider.serve("/a.ts", usual())
        provider.serve("/two", foreign())
        async with on_air(provider, tmp_path) as proxy:
            answer = await proxy.get("/stream/news.ts")

    assert_seamless(answer.body, pictures=75 + 90)
