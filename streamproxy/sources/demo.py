"""The demo channel: a test pattern that needs no upstream, no network and no ffmpeg."""

from streamproxy.formats.clip import Clip
from streamproxy.sources.clip import ClipSource, packaged_clip


class DemoSource(ClipSource):
    """Feed the demo clip for ever, in real time."""

    def __init__(self) -> None:
        super().__init__(demo_clip())


def demo_clip() -> Clip:
    """Return the clip that the demo channel repeats."""
    return packaged_clip("demo")
