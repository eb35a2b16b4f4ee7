"""Viewers as StreamPipe serves them: one Streamlink session, and one pull of the channel, for each.

    PYTHON tests/bench/rival.py URL

Runs with whatever Python has Streamlink, so it imports nothing of ours. What is read is thrown away: what it would cost
to send it on is not counted. Each line of input is a number of viewers; when there are so many, and all of them have
got something, it prints how many bytes all have got so far, and how many of them failed.
"""

import sys
import threading
import time

from streamlink import Streamlink  # type: ignore[import-not-found, unused-ignore]

_READ = 8 << 20
_PAUSE = 0.01


class Viewer(threading.Thread):
    """One of them.

    Attributes:
        received: Bytes it has got.
        failed: Whether it gets no more.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.received = 0
        self.failed = False
        self._url = url

    def run(self) -> None:
        """Watch for as long as there is something to see."""
        try:
            session = Streamlink()
            # As StreamPipe sets them.
            session.set_option("http-headers", {"User-Agent": "StreamPipe/1.0"})
            session.set_option("http-timeout", 20.0)
            session.set_option("stream-segment-threads", 4)
            session.set_option("ringbuffer-size", 32 << 20)
            stream = session.streams(self._url)["best"].open()
            while data := stream.read(_READ):
                self.received += len(data)
        finally:
            self.failed = True


def _main(url: str) -> None:
    viewers: list[Viewer] = []
    for line in sys.stdin:
        while len(viewers) < int(line):
            viewers.append(Viewer(url))
            viewers[-1].start()
        while not all(viewer.received or viewer.failed for viewer in viewers):
            time.sleep(_PAUSE)
        print(sum(viewer.received for viewer in viewers), sum(viewer.failed for viewer in viewers), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
