"""Whatever becomes of the upstreams, viewers get one stream without a fault; time is virtual."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from streamproxy.broadcast.continuity import Continuity
from streamproxy.broadcast.interlude import Slates
from streamproxy.errors import UpstreamBroken, UpstreamBusy, UpstreamNotMedia, UpstreamRefused
from streamproxy.formats.health import VitalTerms
from streamproxy.model import TRANSPORT_STREAM, Sink, Splicing, StreamFormat
from tests.broadcast.scene import (
    FAILOVER,
    NULL,
    TERMS,
    Camera,
    Scene,
    Source,
    Viewer,
    arrives,
    fails,
    faults,
    has_pictures,
    in_fragments,
    left_open,
    lost,
    pictures_in,
    says_that_it_leaves,
    shows,
    watch,
)
from tests.formats.splice.synthetic import FRAME, Maker
from tests.helpers.virtual_time import in_virtual_time, now


def test_an_undisturbed_stream_is_passed_on_byte_for_byte() -> None:
    async def scenario() -> None:
        reference = Viewer()
        await Camera().play(reference, 50)
        scene = Scene({"one": [shows(50)]})

        await scene.feed().run(scene.viewer)

        assert scene.viewer.data == reference.data

    in_virtual_time(scenario())


@pytest.mark.parametrize("begin", [0, 1 << 32, 50_000 * 90_000], ids=["again", "half way round", "another clock"])
def test_a_lost_upstream_is_opened_again_and_no_seam_is_seen(begin: int) -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(35, end=lost()), shows(begin=begin)]})

        await watch(scene, has_pictures(80))

        assert faults(scene.viewer.data) == []
        (_, first), (_, second) = scene.opened
        assert second - first == pytest.approx(35 * 0.04, abs=0.01), "the first try is not delayed"

    in_virtual_time(scenario())


def test_an_upstream_whose_clock_begins_anew_each_time_is_not_taken_for_one_that_repeats_itself() -> None:
    async def scenario() -> None:
        terms = replace(TERMS, repeats=False)
        scene = Scene({"one": [shows(250, end=lost()), shows(250, end=lost()), shows()]}, terms)

        await watch(scene, has_pictures(600))

        assert faults(scene.viewer.data) == []
        times = [time for time, data in scene.viewer.pieces if pictures_in(data)]
        assert max(later - earlier for earlier, later in pairwise(times)) < 2

    in_virtual_time(scenario())


def test_a_piece_of_which_viewers_have_all_already_does_not_reach_them_empty() -> None:
    async def goes_on(sink: Sink) -> None:
        maker = Maker()
        for number in range(50):
            sink.write(maker.tables() + maker.picture(number * FRAME, key=number == 0))
            for _ in range(10):
                sink.write(maker.sound((number - 40) * FRAME))
            await asyncio.sleep(0.04)
        await asyncio.Event().wait()

    async def scenario() -> None:
        scene = Scene({"one": [shows(35, end=lost()), goes_on]}, replace(TERMS, repeats=False))

        await watch(scene, has_pictures(70))

        assert all(data for _, data in scene.viewer.pieces)

    in_virtual_time(scenario())


def test_the_next_upstream_takes_over_where_one_is_refused() -> None:
    async def scenario() -> None:
        refused = UpstreamRefused("one", 404)
        scene = Scene({"one": [shows(35, end=lost()), fails(refused)], "two": [shows(begin=12345)]})

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "two"]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_who_waits_for_a_first_picture_is_told_of_the_failure() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [fails(lost("one"))], "two": [fails(lost("two"))]})

        with pytest.raises(UpstreamBroken, match="two"):
            await scene.feed().run(scene.viewer)

        assert (scene.labels, scene.viewer.pieces) == (["one", "two"], [])
        assert now() == 0

    in_virtual_time(scenario())


def test_a_channel_is_given_up_when_nothing_has_played_for_too_long() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(300, end=lost()), fails(lost())]})

        with pytest.raises(UpstreamBroken):
            await scene.feed().run(scene.viewer)

        assert 12 + 45 < now() <= 12 + 60
        assert len(scene.opened) > 4
        assert faults(scene.viewer.data.replace(NULL.ljust(188, b"\xff"), b"")) == []

    in_virtual_time(scenario())


def test_the_line_is_held_while_nothing_plays() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(300, end=lost()), fails(lost()), fails(lost()), shows()]})

        await watch(scene, has_pictures(600))

        nulls = [time for time, data in scene.viewer.pieces if data.startswith(NULL)]
        assert max(later - earlier for earlier, later in pairwise(nulls)) <= 0.5
        assert nulls[-1] - nulls[0] >= 1.5
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_a_loss_that_is_over_at_once_leaves_no_null_packets() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(35, end=lost()), shows(begin=1 << 32)]})

        await watch(scene, has_pictures(80))

        assert [data for _, data in scene.viewer.pieces if data.startswith(NULL)] == []

    in_virtual_time(scenario())


def test_a_slate_is_shown_until_an_upstream_returns() -> None:
    async def scenario() -> None:
        busy: list[bool] = []

        def slate(is_busy: bool) -> Source:
            busy.append(is_busy)
            return Source(scene, "slate")

        failing = [fails(lost()) for _ in range(4)]
        scene = Scene(
            {"one": [shows(300, end=lost()), *failing, shows(begin=99)], "slate": [shows(begin=777)]},
            replace(TERMS, slates=Slates(slate, delay=3)),
        )

        await watch(scene, lambda data: scene.labels.count("one") == 6 and pictures_in(data) > 700)

        assert busy == [False]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_a_switch_by_hand_leaves_one_when_the_other_can_be_played() -> None:
    async def scenario() -> None:
        async def late(sink: Sink) -> None:
            await asyncio.sleep(2)
            await Camera(4_000_000).play(sink)

        scene = Scene({"one": [shows()], "two": [late]})
        feed = scene.feed()
        task = asyncio.create_task(feed.run(scene.viewer))
        await scene.viewer.until(has_pictures(50))

        assert feed.switch()
        await asyncio.sleep(1)
        assert scene.open == ["one", "two"]
        await asyncio.sleep(2)
        assert scene.open == ["two"]
        task.cancel()
        await asyncio.wait([task])

        times = [time for time, _ in scene.viewer.pieces]
        assert max(later - earlier for earlier, later in pairwise(times)) <= 0.081
        assert faults(scene.viewer.data) == []
        assert scene.open == []

    in_virtual_time(scenario())


def test_a_switch_to_one_that_fails_changes_nothing() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows()], "two": [fails(lost("two"))]})
        feed = scene.feed()
        task = asyncio.create_task(feed.run(scene.viewer))
        await scene.viewer.until(has_pictures(50))

        feed.switch(1)
        await asyncio.sleep(10)

        assert (scene.labels, scene.open) == (["one", "two"], ["one"])
        assert faults(scene.viewer.data) == []
        task.cancel()
        await asyncio.wait([task])

    in_virtual_time(scenario())


def test_where_there_is_one_connection_for_both_the_one_makes_room_for_the_other() -> None:
    async def scenario() -> None:
        async def second(sink: Sink) -> None:
            if "one" in scene.open:
                raise UpstreamBusy("provider")
            await Camera(4_000_000).play(sink)

        scene = Scene({"one": [shows()], "two": [second]})
        feed = scene.feed()
        task = asyncio.create_task(feed.run(scene.viewer))
        await scene.viewer.until(has_pictures(50))

        feed.switch()
        await asyncio.sleep(3)

        assert (scene.labels, scene.open) == (["one", "two", "two"], ["two"])
        assert faults(scene.viewer.data) == []
        task.cancel()
        await asyncio.wait([task])

    in_virtual_time(scenario())


def test_the_preferred_upstream_returns_once_it_can_be_played_again() -> None:
    async def scenario() -> None:
        terms = replace(TERMS, failover=replace(FAILOVER, fail_back=30))
        refused = fails(UpstreamRefused("one", 404))
        plays = [shows(300, end=lost()), refused, refused, shows(begin=5)]
        scene = Scene({"one": plays, "two": [shows(begin=12345)]}, terms)

        await watch(scene, lambda _: scene.open == ["one"] and scene.labels.count("one") == 4 and now() > 200)

        assert scene.labels == ["one", "one", "two", "one", "one"]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_what_ends_by_itself_is_over() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(40)], "two": [shows()]})

        await scene.feed().run(scene.viewer)

        assert scene.labels == ["one"]
        assert pictures_in(scene.viewer.data) == 40

    in_virtual_time(scenario())


def test_an_upstream_whose_clock_stands_still_counts_as_lost() -> None:
    async def scenario() -> None:
        async def frozen(sink: Sink) -> None:
            camera, maker = Camera(), Maker()
            await camera.play(sink, 20)
            while True:
                sink.write(maker.picture(0))
                await asyncio.sleep(0.04)

        scene = Scene({"one": [frozen], "two": [shows()]}, replace(TERMS, vitals=VitalTerms(frozen_after=15)))

        await watch(scene, lambda _: scene.open == ["two"])

        assert 15 < now() < 60

    in_virtual_time(scenario())


def test_a_discontinuity_within_an_upstream_is_no_seam_either() -> None:
    async def scenario() -> None:
        async def play(sink: Sink) -> None:
            await Camera(10_000_000).play(sink, 30)
            assert isinstance(sink, Splicing)
            sink.splice(torn=False)
            await Camera(50).play(sink, 30)

        scene = Scene({"one": [play]})

        await scene.feed().run(scene.viewer)

        assert faults(scene.viewer.data) == []
        assert pictures_in(scene.viewer.data) == 60

    in_virtual_time(scenario())


def test_a_discontinuity_right_behind_the_first_bytes_is_none_either() -> None:
    async def scenario() -> None:
        async def play(sink: Sink) -> None:
            maker = Maker()
            sink.write(maker.stream(10_000_000, 20))
            assert isinstance(sink, Splicing)
            sink.splice(torn=False)
            await asyncio.sleep(1)
            await Camera(50).play(sink, 30)

        scene = Scene({"one": [play]})

        await scene.feed().run(scene.viewer)

        assert faults(scene.viewer.data) == []
        assert pictures_in(scene.viewer.data) == 50

    in_virtual_time(scenario())


def test_the_first_bytes_wait_until_there_are_enough_of_them() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows()]}, replace(TERMS, prebuffer_size=100_000, prebuffer_timeout=60))

        await watch(scene, bool)

        assert len(scene.viewer.data) >= 100_000
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_the_first_bytes_do_not_wait_for_ever() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows()]}, replace(TERMS, prebuffer_size=1 << 30, prebuffer_timeout=5))

        await watch(scene, bool)

        assert now() == pytest.approx(5)

    in_virtual_time(scenario())


def test_an_upstream_that_is_packed_in_another_way_is_not_mixed_in() -> None:
    async def scenario() -> None:
        async def fragments(sink: Sink) -> None:
            scene.form = StreamFormat("video/mp4", b"header")
            sink.write(b"fragment")
            raise lost()

        scene = Scene({"one": [fragments, shows()]})

        async def transport_stream(sink: Sink) -> None:
            scene.form = TRANSPORT_STREAM
            await Camera().play(sink)

        scene.plays["one"] = [fragments, transport_stream]
        with pytest.raises(UpstreamNotMedia):
            await scene.feed().run(scene.viewer)

        assert scene.viewer.data == b"fragment"

    in_virtual_time(scenario())


def test_fragments_of_another_header_come_behind_it() -> None:
    async def scenario() -> None:
        scene = Scene({})
        scene.plays["one"] = [
            in_fragments(scene, b"HEADER1 ", b"one ", fails(lost())),
            in_fragments(scene, b"HEADER2 ", b"two "),
        ]

        await scene.feed().run(scene.viewer)

        assert scene.viewer.data == b"one HEADER2 two "

    in_virtual_time(scenario())


def test_whoever_joins_gets_the_newest_header() -> None:
    async def scenario() -> None:
        async def play(sink: Sink) -> None:
            for header in (b"HEADER1 ", b"HEADER2 "):
                scene.form = StreamFormat("video/mp4", header)
                sink.write(header)

        scene = Scene({"one": [play]})
        feed = scene.feed()
        await feed.run(scene.viewer)

        assert feed.format.header == b"HEADER2 "
        assert scene.viewer.data == b"HEADER1 HEADER2 "

    in_virtual_time(scenario())


def test_fragments_of_two_upstreams_do_not_mix_while_one_takes_over() -> None:
    async def scenario() -> None:
        async def fragments(sink: Sink, name: bytes) -> None:
            for number in range(1000):
                sink.write(b"%b%d " % (name, number))
                await asyncio.sleep(0 if number % 3 else 0.01)

        async def first(sink: Sink) -> None:
            await fragments(sink, b"a")

        async def second(sink: Sink) -> None:
            await fragments(sink, b"b")

        scene = Scene({"one": [first], "two": [second]}, form=StreamFormat("video/mp4", b"HEADER "))
        feed = scene.feed()
        task = asyncio.create_task(feed.run(scene.viewer))
        await scene.viewer.until(lambda data: len(data) > 100)
        feed.switch()
        await scene.viewer.until(lambda data: b"b9 " in data)
        task.cancel()
        await asyncio.wait([task])

        pieces = scene.viewer.data.split()
        assert [piece[:1] for piece in pieces] == sorted(piece[:1] for piece in pieces)
        assert pieces[-10:] == [b"b%d" % number for number in range(int(pieces[-1][1:]) - 9, int(pieces[-1][1:]) + 1)]
        assert b"b0" in pieces

    in_virtual_time(scenario())


def test_an_upstream_that_drips_counts_as_lost() -> None:
    async def scenario() -> None:
        async def drips(sink: Sink) -> None:
            await Camera().play(sink, 20)
            await asyncio.sleep(10_000)

        scene = Scene({"one": [drips], "two": [shows()]}, replace(TERMS, vitals=VitalTerms(min_bitrate=1000)))

        await watch(scene, lambda _: scene.open == ["two"])

        assert now() < 60

    in_virtual_time(scenario())


def test_a_mistake_of_ours_is_not_taken_for_one_of_the_upstream() -> None:
    async def scenario() -> None:
        async def play(sink: Sink) -> None:
            raise RuntimeError("a mistake")

        with pytest.raises(RuntimeError, match="a mistake"):
            await Scene({"one": [play]}).feed().run(Viewer())

    in_virtual_time(scenario())


TURNS = range(21)
"""More than it takes from any of the signals until all is done that is done at once."""

Act = Callable[[asyncio.Event], tuple[Scene, Continuity]]


def the_first_arrives(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    scene = Scene({"one": [arrives(signal)]})
    return scene, scene.feed()


def one_arrives_while_the_line_is_held(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    scene = Scene({"one": [shows(35, end=lost()), arrives(signal)]})
    return scene, scene.feed()


def one_arrives_while_a_slate_is_shown(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    async def late(sink: Sink) -> None:
        await asyncio.sleep(5)
        await arrives(signal)(sink)

    terms = replace(TERMS, slates=Slates(lambda _: Source(scene, "slate"), delay=1))
    scene = Scene({"one": [shows(35, end=lost()), late], "slate": [shows()]}, terms)
    return scene, scene.feed()


def one_arrives_that_is_wanted(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    async def first(sink: Sink) -> None:
        await Camera().play(sink, 35)
        feed.switch()
        await Camera(35 * FRAME).play(sink)

    scene = Scene({"one": [first], "two": [arrives(signal)]})
    feed = scene.feed()
    return scene, feed


def one_leaves_that_another_takes_over_from(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    async def first(sink: Sink) -> None:
        await Camera().play(sink, 35)
        feed.switch()
        await Camera(35 * FRAME).play(sink)

    scene = Scene({"one": [says_that_it_leaves(first, signal)], "two": [shows()]})
    feed = scene.feed()
    return scene, feed


def one_leaves_that_has_to_make_room(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    async def first(sink: Sink) -> None:
        await Camera().play(sink, 35)
        feed.switch()
        await Camera(35 * FRAME).play(sink)

    scene = Scene({"one": [says_that_it_leaves(first, signal)], "two": [fails(UpstreamBusy("provider")), shows()]})
    feed = scene.feed()
    return scene, feed


def one_leaves_whose_clock_stands_still(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    async def frozen(sink: Sink) -> None:
        maker = Maker()
        sink.write(maker.stream(0, 20))
        while True:
            sink.write(maker.picture(0))
            await asyncio.sleep(0.04)

    terms = replace(TERMS, vitals=VitalTerms(frozen_after=15))
    scene = Scene({"one": [says_that_it_leaves(frozen, signal), shows()]}, terms)
    return scene, scene.feed()


def one_leaves_without_a_picture(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    async def nulls(sink: Sink) -> None:
        while True:
            sink.write(NULL.ljust(188, b"\xff"))
            await asyncio.sleep(1)

    scene = Scene({"one": [shows(35, end=lost()), says_that_it_leaves(nulls, signal), shows()]})
    return scene, scene.feed()


def a_slate_leaves(signal: asyncio.Event) -> tuple[Scene, Continuity]:
    async def late(sink: Sink) -> None:
        await asyncio.sleep(5)
        await Camera().play(sink)

    terms = replace(TERMS, slates=Slates(lambda _: Source(scene, "slate"), delay=1))
    plays = {"one": [shows(35, end=lost()), late], "slate": [says_that_it_leaves(shows(), signal)]}
    scene = Scene(plays, terms)
    return scene, scene.feed()


ARRIVALS = [
    the_first_arrives,
    one_arrives_while_the_line_is_held,
    one_arrives_while_a_slate_is_shown,
    one_arrives_that_is_wanted,
]
DEPARTURES = [
    one_leaves_that_another_takes_over_from,
    one_leaves_that_has_to_make_room,
    one_leaves_whose_clock_stands_still,
    one_leaves_without_a_picture,
    a_slate_leaves,
]


@pytest.mark.parametrize("slow", [(), ("one",), ("slate",), ("one", "two", "slate")])
@pytest.mark.parametrize("act", ARRIVALS + DEPARTURES)
def test_a_channel_that_is_cancelled_ends_when_every_source_is_shut(act: Act, slow: Sequence[str]) -> None:
    async def scenario() -> None:
        left = {}
        for turns in TURNS:
            signal = asyncio.Event()
            scene, feed = act(signal)
            scene.slow = slow
            left[turns] = await left_open(scene, feed, signal, turns)

        assert {turns: sources for turns, sources in left.items() if sources} == {}

    in_virtual_time(scenario())
