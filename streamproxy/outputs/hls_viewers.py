"""Who watches HLS: nobody holds a connection, so a viewer is who asks for something now and then."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import structlog

from streamproxy.metrics import Audience

_log = structlog.stdlib.get_logger("streamproxy")

_USUAL_TARGET_DURATION = 6.0
_ABSENCE = 3
"""Target durations after which a viewer who asked for nothing has left."""
_LONGEST_AGENT = 200


class Identity(NamedTuple):
    """What tells viewers apart: the channel, the address and the User-Agent."""

    channel: str
    address: str
    agent: str

    @classmethod
    def of(cls, channel: str, address: str | None, agent: str) -> "Identity":
        """Make one of what a request says."""
        return cls(channel, address or "", agent[:_LONGEST_AGENT])


class HlsViewers:
    """Counts who watches HLS, from their first playlist to three target durations after their last request."""

    def __init__(self, audience: Audience) -> None:
        """Prepare.

        Args:
            audience: Where they are counted, among all others.
        """
        self._audience = audience
        self._viewers: dict[Identity, HlsViewer] = {}

    @contextmanager
    def visit(self, identity: Identity) -> Iterator["HlsViewer"]:
        """Know somebody as present for the length of a request."""
        viewer = self._viewers.get(identity)
        if viewer is None:
            viewer = self._viewers[identity] = HlsViewer(identity, self._audience)
        viewer.requests += 1
        if viewer.timer:
            viewer.timer.cancel()
        try:
            yield viewer
        finally:
            viewer.requests -= 1
            if not viewer.requests:
                absence = _ABSENCE * viewer.target_duration if viewer.watching else 0
                viewer.timer = asyncio.get_running_loop().call_later(absence, self._leave, viewer)

    def _leave(self, viewer: "HlsViewer") -> None:
        del self._viewers[viewer.identity]
        viewer.end()


class HlsViewer:
    """One viewer of one channel.

    Attributes:
        identity: Who.
        sent: Bytes of body given to their connections.
        target_duration: Of the playlist they watch, in seconds.
        requests: How many of theirs are being answered now.
        timer: When they will have left; None before their first request is answered.
        watching: Whether they ever got something, and are counted.
    """

    def __init__(self, identity: Identity, audience: Audience) -> None:
        self.identity = identity
        self.sent = 0
        self.target_duration = _USUAL_TARGET_DURATION
        self.requests = 0
        self.timer: asyncio.TimerHandle | None = None
        self.watching = False
        self._audience = audience
        self._stay = ExitStack()

    def took_segment(self) -> None:
        """Count a segment that is sent to them."""
        self._audience.segments += 1

    def watch(self, target_duration: float | None = None) -> None:
        """Count them from now on: they get something.

        Args:
            target_duration: Of the playlist they get, if it is one that has it.
        """
        if target_duration is not None:
            self.target_duration = target_duration
        if not self.watching:
            self.watching = True
            self._stay.enter_context(self._audience.attend(self))
            _log.info("viewer_joined", channel=self.identity.channel, client=self.identity.address, output="hls")

    def end(self) -> None:
        """Count them no more."""
        self._stay.close()
        if self.watching:
            _log.info("viewer_left", channel=self.identity.channel, client=self.identity.address, sent=self.sent)
