"""Where an upstream is given up, somebody may know another; time is virtual."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from streamproxy.broadcast.continuity import Continuity
from streamproxy.errors import UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRefused
from streamproxy.model import Channel, Sink, Upstream
from tests.broadcast.scene import (
    TERMS,
    Camera,
    Play,
    Scene,
    fails,
    faults,
    has_pictures,
    lost,
    pictures_in,
    shows,
    watch,
)
from tests.helpers.virtual_time import in_virtual_time, now


@dataclass
class Referring(Scene):
    """A channel of which somebody knows where else it can be had.

    Attributes:
        named: Labels of what is named, one question after the other; then nothing is.
        asked: When it was asked, for which upstream, how many had been named, and why that was lost.
    """

    named: list[str] = field(default_factory=list)
    asked: list[tuple[float, str, int, UpstreamError]] = field(default_factory=list)

    def feed(self) -> Continuity:
        upstreams = tuple(Upstream(f"http://{label}/", label) for label in ("one", "two") if label in self.plays)
        terms = replace(self.terms, resolve=self.resolve)
        return Continuity(Channel("news", "News", upstreams), self.source, terms, jitter=lambda: 0.0)

    async def resolve(self, upstream: Upstream, named: int, error: UpstreamError) -> Upstream | None:
        self.asked.append((now(), upstream.label, named, error))
        label = self.named.pop(0) if self.named else None
        return Upstream(f"http://{label}/", label) if label else None

    @property
    def questions(self) -> list[tuple[str, int]]:
        return [(label, named) for _, label, named, _ in self.asked]


GONE = UpstreamRefused("one", 404)


def lost_for_good() -> list[Play]:
    return [shows(35, end=lost()), fails(GONE)]


def played(scene: Scene, label: str, count: int = 1) -> Callable[[bytes], bool]:
    """Wait for so many connections of an upstream to have shown something."""
    return lambda data: scene.labels.count(label) >= count and pictures_in(data) >= 60


def test_what_is_named_is_played_before_the_next_upstream_is_tried() -> None:
    async def scenario() -> None:
        scene = Referring({"one": lost_for_good(), "two": [shows()], "new": [shows(begin=12345)]}, named=["new"])

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "new"]
        ((_, label, named, error),) = scene.asked
        assert (label, named, error) == ("one", 0, GONE)
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_nobody_is_asked_before_an_upstream_is_given_up() -> None:
    async def scenario() -> None:
        scene = Referring({"one": [shows(35, end=lost()), fails(lost()), shows()], "two": [shows()]}, named=["new"])

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "one"]
        assert scene.asked == []

    in_virtual_time(scenario())


def test_the_only_upstream_is_given_up_when_it_was_tried_again_as_often_as_it_may_be() -> None:
    async def scenario() -> None:
        scene = Referring({"one": [shows(35, end=lost()), fails(lost())], "new": [shows()]}, named=["new"])

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "one", "one", "new"]
        assert scene.questions == [("one", 0)]

    in_virtual_time(scenario())


def test_where_nothing_is_named_the_next_upstream_is_tried_at_once() -> None:
    async def scenario() -> None:
        scene = Referring({"one": lost_for_good(), "two": [shows(begin=777)]})

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "two"]
        assert scene.opened[-1][1] == pytest.approx(35 * 0.04, abs=0.01)
        assert scene.questions == [("one", 0)]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_where_what_is_named_fails_the_next_upstream_is_tried_at_once() -> None:
    async def scenario() -> None:
        scene = Referring({"one": lost_for_good(), "two": [shows()], "new": [fails(lost("new"))]}, named=["new"] * 9)

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "new", "two"]
        assert scene.opened[-1][1] == pytest.approx(35 * 0.04, abs=0.01)

    in_virtual_time(scenario())


def test_what_was_named_is_tried_again_when_it_is_lost_and_left_when_it_is_given_up() -> None:
    async def scenario() -> None:
        new = [shows(35, begin=5, end=lost("new")), shows(35, begin=6, end=lost("new")), fails(lost("new"))]
        scene = Referring({"one": lost_for_good(), "new": new, "newer": [shows(begin=7)]}, named=["new", "newer"])

        await watch(scene, played(scene, "newer"))

        assert scene.questions == [("one", 0), ("new", 1)]
        assert [label for label in scene.labels if label != "one"] == ["new"] * 4 + ["newer"]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_a_channel_that_nobody_has_seen_yet_asks_before_it_is_given_up() -> None:
    async def scenario() -> None:
        scene = Referring({"one": [fails(lost())], "new": [shows()]}, named=["new"])

        await watch(scene, has_pictures(10))

        assert scene.labels == ["one", "new"]

    in_virtual_time(scenario())


def test_nobody_is_asked_more_than_ten_times_in_vain_nor_twice_a_second() -> None:
    async def scenario() -> None:
        scene = Referring({"one": [fails(GONE)], "new": [fails(lost("new"))]}, named=["new"] * 99)

        with pytest.raises(UpstreamRefused, match="one"):
            await scene.feed().run(scene.viewer)

        assert scene.labels == ["one"] + ["new"] * 10
        assert all(later[0] - earlier[0] >= 1 for earlier, later in pairwise(scene.asked))
        assert scene.questions == [("one", 0)] + [("new", number) for number in range(1, 10)]
        assert now() == pytest.approx(9)

    in_virtual_time(scenario())


def test_ten_times_are_counted_from_when_something_last_played() -> None:
    async def scenario() -> None:
        new = [*[fails(lost("new"))] * 8, shows(35, begin=9, end=lost("new")), fails(lost("new"))]
        scene = Referring({"one": [fails(lost())], "new": new}, named=["new"] * 99)

        with pytest.raises(UpstreamError):
            await scene.feed().run(scene.viewer)

        assert len(scene.asked) == 9 + 10

    in_virtual_time(scenario())


@pytest.mark.parametrize(("pictures", "named"), [(300, 0), (200, 1)])
def test_what_was_named_can_be_named_again_when_an_upstream_of_the_channels_own_has_played_well(
    pictures: int, named: int
) -> None:
    async def scenario() -> None:
        two = [shows(pictures, begin=5, end=lost("two")), fails(UpstreamRefused("two", 404))]
        scene = Referring(
            {"one": lost_for_good(), "two": two, "new": [fails(lost("new")), shows(begin=6)]}, named=["new"] * 9
        )

        await watch(scene, played(scene, "new", 2))

        assert scene.questions == [("one", 0), ("two", named)]

    in_virtual_time(scenario())


def test_what_was_named_and_played_well_counts_as_named() -> None:
    async def scenario() -> None:
        new = [shows(300, begin=5, end=lost("new")), fails(UpstreamRefused("new", 404))]
        scene = Referring({"one": lost_for_good(), "two": [shows()], "new": new}, named=["new"])

        await watch(scene, played(scene, "two"))

        assert scene.questions == [("one", 0), ("new", 1)]
        assert scene.labels == ["one", "one", "new", "new", "two"]

    in_virtual_time(scenario())


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_switch_by_hand_leaves_what_was_named(is_shared: bool) -> None:
    async def scenario() -> None:
        async def two(sink: Sink) -> None:
            if is_shared and "new" in scene.open:
                raise UpstreamBusy("provider")
            await Camera(4_000_000).play(sink, 50)
            raise lost("two")

        scene = Referring({"one": lost_for_good(), "two": [two], "new": [shows(begin=12345)]}, named=["new"])
        feed = scene.feed()
        task = asyncio.create_task(feed.run(scene.viewer))
        await scene.viewer.until(has_pictures(80))

        feed.switch(1)
        await asyncio.sleep(5)

        assert scene.labels[:4] == ["one", "one", "new", "two"]
        assert set(scene.labels[4:]) == {"two"}
        assert faults(scene.viewer.data) == []
        task.cancel()
        await asyncio.wait([task])

    in_virtual_time(scenario())


def test_a_question_is_no_reason_for_silence() -> None:
    async def scenario() -> None:
        class Slow(Referring):
            async def resolve(self, upstream: Upstream, named: int, error: UpstreamError) -> Upstream | None:
                await asyncio.sleep(8)
                return await super().resolve(upstream, named, error)

        scene = Slow({"one": lost_for_good(), "new": [shows(begin=5)]}, TERMS, named=["new"])

        await watch(scene, has_pictures(80))

        times = [time for time, _ in scene.viewer.pieces]
        assert max(later - earlier for earlier, later in pairwise(times)) <= 0.5
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_the_first_failure_is_what_is_told_when_nothing_named_plays() -> None:
    async def scenario() -> None:
        scene = Referring({"one": [fails(UpstreamBusy("provider"))], "new": [fails(lost("new"))]}, named=["new"])

        with pytest.raises(UpstreamBusy):
            await scene.feed().run(scene.viewer)

        assert isinstance(scene.asked[1][3], UpstreamBroken)

    in_virtual_time(scenario())


def test_who_knows_another_is_asked_first_when_one_is_wanted_by_hand() -> None:
    async def scenario() -> None:
        scene = Referring({"one": [shows()], "two": [shows()], "named": [shows(begin=7_000_000)]}, named=["named"])
        feed = scene.feed()
        task = asyncio.create_task(feed.run(scene.viewer))
        await scene.viewer.until(has_pictures(50))

        feed.switch()
        await asyncio.sleep(3)
        assert (scene.labels, scene.open) == (["one", "named"], ["named"])

        feed.switch()
        await asyncio.sleep(3)
        assert scene.open == ["two"]
        assert scene.questions == [("one", 0), ("named", 1)]
        assert faults(scene.viewer.data) == []
        task.cancel()
        await asyncio.wait([task])

    in_virtual_time(scenario())


def test_what_is_named_by_hand_takes_the_only_connection_over() -> None:
    async def scenario() -> None:
        async def named(sink: Sink) -> None:
            if "one" in scene.open:
                raise UpstreamBusy("provider")
            await Camera(4_000_000).play(sink)

        scene = Referring({"one": [shows()], "named": [named]}, named=["named"])
        feed = scene.feed()
        task = asyncio.create_task(feed.run(scene.viewer))
        await scene.viewer.until(has_pictures(50))

        feed.switch()
        await asyncio.sleep(3)

        assert (scene.labels, scene.open) == (["one", "named", "named"], ["named"])
        assert faults(scene.viewer.data) == []
        task.cancel()
        await asyncio.wait([task])

    in_virtual_time(scenario())
