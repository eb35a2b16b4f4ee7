"""The demo channel."""

import asyncio

import pytest

from streamproxy.model import TRANSPORT_STREAM
from streamproxy.sources.demo import DemoSource, demo_clip


class FirstWrite:
    """A sink that ends the source with its first write."""

    data = b""
    full = True

    def write(self, data: bytes, /) -> None:
        self.data = data

    async def drain(self) -> None:
        raise asyncio.CancelledError


async def test_the_demo_channel_is_the_demo_clip() -> None:
    sink, source = FirstWrite(), DemoSource()

    with pytest.raises(asyncio.CancelledError):
        await source.run(sink)

    assert sink.data == demo_clip().read(0, len(sink.data) // 188) != b""
    assert b"streamproxy demo" in sink.data
    assert source.format is TRANSPORT_STREAM


def test_the_clip_is_read_once() -> None:
    assert demo_clip() is demo_clip()
