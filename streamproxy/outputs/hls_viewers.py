"""Who watches HLS: nobody holds a connection, so a viewer is who asks for something now and then."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, Protocol

import structlog

from streamproxy.audience import Audience, Visitor
from streamproxy.model import Channel
from streamproxy.sources.admission import SharedSlot, SharedSlots

_log = structlog.stdlib.get_logger("streamproxy")

_USUAL_TARGET_DURATION = 6.0
_SILENCE, _ABSENCE = 1.5, 3
"""Target durations after which a viewer who asked for nothing has probably left, since a live playlist is asked for
again within one; and after which they have left."""


class _Identity(NamedTuple):
    """What tells viewers apart in each of their requests."""

    channel: str
    address: str
    agent: str


class Shared(Protocol):
    """What the viewers of a channel hold together."""

    def fall_silent(self, viewer: "HlsViewer", /) -> None:
        """Take note that a viewer has probably left."""

    def leave(self, viewer: "HlsViewer", /) -> None:
        """Take note that a viewer has left."""


class HlsViewers:
    """Counts who watches HLS, from their first playlist to three target durations after their last request.

    For as long, their channel counts as one connection of its provider, however many they are, and whatever they have
    open at the moment. Where others wait for a connection, it is given up for them as soon as all viewers of the
    channel have probably left; who has not is given another with their next request, if there is one.

    Attributes:
        timeout: Seconds after their last request at which they have left; None for three target durations.
    """

    def __init__(self, audience: Audience, slots: SharedSlots) -> None:
        """Prepare.

        Args:
            audience: Where they are counted, among all others.
            slots: Connections of providers that many hold together.
        """
        self.timeout: float | None = None
        self._audience = audience
        self._slots = slots
        self._viewers: dict[_Identity, HlsViewer] = {}

    @contextmanager
    def visit(self, channel: Channel, visitor: Visitor) -> Iterator["HlsViewer"]:
        """Know somebody as present for the length of a request."""
        identity = _Identity(channel.id, visitor.address, visitor.agent)
        viewer = self._viewers.get(identity)
        if viewer is None:
            viewer = self._viewers[identity] = HlsViewer(channel, visitor, self._audience, self._slots)
        viewer.requests += 1
        if viewer.timer:
            viewer.timer.cancel()
        try:
            yield viewer
        finally:
            viewer.requests -= 1
            if not viewer.requests:
                self._await_silence(viewer, identity)

    def _await_silence(self, viewer: "HlsViewer", identity: _Identity) -> None:
        loop = asyncio.get_running_loop()
        if viewer.watching or viewer.stopped:
            silence = _SILENCE / _ABSENCE * self._patience(viewer)
            viewer.timer = loop.call_later(silence, self._await_absence, viewer, identity)
        else:
            viewer.timer = loop.call_soon(self._leave, viewer, identity)

    def _await_absence(self, viewer: "HlsViewer", identity: _Identity) -> None:
        viewer.fall_silent()
        rest = (1 - _SILENCE / _ABSENCE) * self._patience(viewer)
        viewer.timer = asyncio.get_running_loop().call_later(rest, self._leave, viewer, identity)

    def _patience(self, viewer: "HlsViewer") -> float:
        return _ABSENCE * viewer.target_duration if self.timeout is None else self.timeout

    def _leave(self, viewer: "HlsViewer", identity: _Identity) -> None:
        del self._viewers[identity]
        viewer.end()


class HlsViewer:
    """One viewer of one channel.

    Attributes:
        id: Their client id; empty before they got something.
        sent: Bytes of body given to their connections.
        target_duration: Of the playlist they watch, in seconds.
        requests: How many of theirs are being answered now.
        timer: When they will have left, or first fallen silent; None before their first request is answered.
        segments: Segments sent to them.
        watching: Whether they ever got something, and are counted.
        stopped: Whether somebody has ended them; they get nothing more until they have been silent.
    """

    lag = overruns = skipped = 0

    def __init__(self, channel: Channel, visitor: Visitor, audience: Audience, slots: SharedSlots) -> None:
        self.id = ""
        self.sent = 0
        self.segments = 0
        self.stopped = False
        self.target_duration = _USUAL_TARGET_DURATION
        self.requests = 0
        self.timer: asyncio.Handle | None = None
        self.watching = False
        self._channel = channel
        self._visitor = visitor
        self._audience = audience
        self._slots = slots
        self._held: dict[str, SharedSlot] = {}
        self._cut: Shared | None = None
        self._stay = ExitStack()

    async def hold(self, account: str) -> None:
        """Take a connection of a provider for the channel, or share the one it has, until they have left.

        Args:
            account: The name of the provider; empty for none that counts connections.

        Raises:
            UpstreamBusy: There is none.
        """
        if not account:
            return
        slot = self._held.get(account)
        if slot is None:
            # A name that no channel can have: watched as one stream too, it has two connections, each with its viewers.
            slot = self._held[account] = self._slots.of(account, f"hls/{self._channel.id}")
            self._stay.callback(slot.leave, self)
        await slot.hold(self)

    def give_back(self) -> None:
        """Hold no connection of a provider any more: what they watch takes its own."""
        for slot in self._held.values():
            slot.leave(self)
        self._held.clear()

    def keep(self, cut: Shared) -> None:
        """Hold what their channel is cut by until they have left."""
        if cut is not self._cut:
            self._cut = cut
            self._stay.callback(cut.leave, self)

    def fall_silent(self) -> None:
        """Take note that they have probably left."""
        for slot in self._held.values():
            slot.fall_silent(self)
        if self._cut:
            self._cut.fall_silent(self)

    def stop(self) -> None:
        """End them: they count no more, and what they go on asking for is refused."""
        self.stopped = True
        self.end()

    def watch(self, target_duration: float | None = None) -> None:
        """Count them from now on: they get something.

        Args:
            target_duration: Of the playlist they get, if it is one that has it.
        """
        if target_duration is not None:
            self.target_duration = target_duration
        if not (self.watching or self.stopped):
            self.watching = True
            client = self._stay.enter_context(self._audience.attend(self._channel, self._visitor, self))
            self.id = client.id
            _log.info("viewer_joined", channel=self._channel.id, client=self._visitor.address, output="hls")

    def end(self) -> None:
        """Count them no more."""
        self._stay.close()
        if self.watching:
            self.watching = False
            _log.info("viewer_left", channel=self._channel.id, client=self._visitor.address, sent=self.sent)
