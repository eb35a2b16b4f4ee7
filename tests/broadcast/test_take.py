"""An upstream that gets ready beside what plays is not waited for without end; time is virtual."""

import asyncio

import pytest

from streamproxy.errors import UpstreamNotMedia, UpstreamRefused
from streamproxy.model import Sink, Splicing
from tests.broadcast.scene import (
    NULL,
    Play,
    Scene,
    fails,
    faults,
    has_pictures,
    lost,
    shows,
    watch,
)
from tests.formats.splice.synthetic import Maker
from tests.helpers.virtual_time import in_virtual_time, now


async def sends_null_packets(sink: Sink) -> None:
    while True:
        sink.write(7 * NULL.ljust(188, b"\xff"))
        await asyncio.sleep(0.1)


async def sends_tables(sink: Sink) -> None:
    maker = Maker()
    while True:
        sink.write(maker.tables())
        await asyncio.sleep(0.1)


EMPTY = pytest.mark.parametrize("empty", [sends_null_packets, sends_tables])


@EMPTY
def test_a_backup_in_which_nothing_begins_is_given_up_for_the_next(empty: Play) -> None:
    async def scenario() -> None:
        gone = fails(UpstreamRefused("one", 404))
        scene = Scene({"one": [shows(35, end=lost()), gone], "two": [empty], "three": [shows(begin=12345)]})

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "two", "three"]
        (_, opened), (_, left) = scene.opened[-2:]
        assert left - opened == pytest.approx(25, abs=1)
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


@EMPTY
def test_an_upstream_that_comes_back_with_nothing_is_given_up_for_the_next(empty: Play) -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(35, end=lost()), empty], "two": [shows(begin=12345)]})

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "two"]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


@EMPTY
def test_viewers_of_an_upstream_that_comes_back_with_nothing_are_told_that_there_is_no_program(empty: Play) -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(300, end=lost()), empty]})

        with pytest.raises(UpstreamNotMedia, match="no program"):
            async with asyncio.timeout(1000):
                await scene.feed().run(scene.viewer)

        assert now() < 12 + 60 + 27
        assert scene.open == []

    in_virtual_time(scenario())


def test_a_backup_that_takes_its_time_until_anything_comes_is_left_alone() -> None:
    async def scenario() -> None:
        async def late(sink: Sink) -> None:
            await asyncio.sleep(40)
            await shows(begin=12345)(sink)

        scene = Scene({"one": [shows(35, end=lost()), fails(UpstreamRefused("one", 404))], "two": [late]})

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one", "one", "two"]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


@EMPTY
def test_an_upstream_that_goes_on_with_nothing_behind_a_splice_is_given_up(empty: Play) -> None:
    async def scenario() -> None:
        async def breaks_off(sink: Sink) -> None:
            assert isinstance(sink, Splicing)
            await shows(35)(sink)
            sink.splice(torn=False)
            await empty(sink)

        scene = Scene({"one": [breaks_off, fails(UpstreamRefused("one", 404))], "two": [shows(begin=12345)]})

        await watch(scene, has_pictures(80))

        assert scene.labels[-1] == "two"
        assert now() < 60
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_an_upstream_that_takes_its_time_behind_a_splice_is_left_alone() -> None:
    async def scenario() -> None:
        async def goes_on(sink: Sink) -> None:
            assert isinstance(sink, Splicing)
            await shows(35)(sink)
            sink.splice(torn=False)
            await asyncio.sleep(20)
            sink.write(NULL.ljust(188, b"\xff"))
            await asyncio.sleep(9)
            await shows(begin=12345)(sink)

        scene = Scene({"one": [goes_on]})

        await watch(scene, has_pictures(80))

        assert scene.labels == ["one"]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())
