"""A loss while the beginning is gathered costs viewers nothing of what was gathered; time is virtual."""

import asyncio
from dataclasses import replace

import pytest

from tests.broadcast.scene import (
    TERMS,
    Scene,
    fails,
    faults,
    has_pictures,
    in_fragments,
    lost,
    pictures_in,
    shows,
    stays,
    watch,
)
from tests.helpers.virtual_time import in_virtual_time

STRICT = replace(TERMS, prebuffer_size=100_000, prebuffer_timeout=60)


@pytest.mark.parametrize("shown", [1, 2, 35])
def test_what_follows_is_spliced_to_what_was_gathered_before_the_loss(shown: int) -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(shown, end=lost()), shows(begin=1 << 32)]}, STRICT)

        await watch(scene, has_pictures(shown + 40))

        assert scene.labels == ["one", "one"]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_another_upstream_is_wanted_while_the_first_is_gathered() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows()], "two": [shows(begin=1 << 32)]}, STRICT)
        feed = scene.feed()
        task = asyncio.create_task(feed.run(scene.viewer))
        await asyncio.sleep(0.5)
        assert scene.viewer.data == b""

        feed.switch(1)
        await scene.viewer.until(has_pictures(100))

        task.cancel()
        await asyncio.wait([task])
        assert scene.labels == ["one", "two"]
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_what_ends_while_it_is_gathered_reaches_its_viewers() -> None:
    async def scenario() -> None:
        scene = Scene({"one": [shows(35)]}, STRICT)

        await scene.feed().run(scene.viewer)

        assert pictures_in(scene.viewer.data) == 35
        assert faults(scene.viewer.data) == []

    in_virtual_time(scenario())


def test_fragments_that_were_gathered_before_the_loss_come_before_the_header_of_the_next() -> None:
    async def scenario() -> None:
        scene = Scene({}, STRICT)
        scene.plays["one"] = [
            in_fragments(scene, b"HEADER1 ", b"one ", fails(lost())),
            in_fragments(scene, b"HEADER2 ", b"two " * 50_000, stays),
        ]

        await watch(scene, lambda data: b"two " in data)

        assert scene.viewer.data.startswith(b"one HEADER2 two ")

    in_virtual_time(scenario())
