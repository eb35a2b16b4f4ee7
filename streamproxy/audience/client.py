"""Somebody who watches: what they say of themselves, what serves them, and what they get."""

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

_LONGEST_TEXT = 200
"""Characters kept of what a client says about itself."""
_SMOOTHING = 3.0
"""Seconds over which a rate is taken."""


class Viewer(Protocol):
    """What serves somebody: a connection, or for HLS whoever asks now and then."""

    @property
    def sent(self) -> int:
        """Bytes of media sent to them so far."""

    @property
    def segments(self) -> int:
        """HLS segments sent to them so far."""

    @property
    def lag(self) -> int:
        """Chunks that wait for them."""

    @property
    def overruns(self) -> int:
        """Times that they were too slow and lost a part."""

    @property
    def skipped(self) -> int:
        """Bytes that they lost that way."""

    def stop(self) -> None:
        """End them, soon."""


class Visitor(NamedTuple):
    """What a client says of itself.

    Attributes:
        address: Its IP address.
        agent: Its User-Agent.
        username: The name it gave; None for none.
        client_id: The id it gave; None for none.
    """

    address: str
    agent: str
    username: str | None = None
    client_id: str | None = None

    @classmethod
    def of(cls, address: str | None, agent: str, username: str | None, client_id: str | None) -> "Visitor":
        """Make one of what a request says, whatever that is."""
        return cls(
            _text(address or ""),
            _text(agent),
            _text(username) if username else None,
            _text(client_id) if client_id else None,
        )

    def id_on(self, stream_id: str) -> str:
        """Return the id it has as a client of a stream: its own, else one that is the same each time it comes."""
        if self.client_id:
            return self.client_id
        told = f"{self.address}-{self.agent}-{stream_id}-{self.username}"
        return f"client_{hashlib.sha256(told.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _text(value: str) -> str:
    """Make a text fit to be kept and sent on: short, and without what no encoding has."""
    return value[:_LONGEST_TEXT].encode("utf-8", "replace").decode()


class Client:
    """Somebody who watches a stream.

    Attributes:
        id: Tells them from others on the same stream.
        visitor: What they say of themselves.
        viewer: What serves them.
        since: When they came, in UTC.
        seen: When they last got something, in UTC.
        rate: Bytes per second lately.
    """

    __slots__ = ("_overruns", "_sent", "id", "rate", "seen", "since", "viewer", "visitor")

    def __init__(self, client_id: str, visitor: Visitor, viewer: Viewer) -> None:
        self.id = client_id
        self.visitor = visitor
        self.viewer = viewer
        self.since = self.seen = datetime.now(UTC)
        self.rate = 0.0
        self._sent = 0
        self._overruns = 0

    def sample(self, seconds: float) -> bool:
        """Take note of what they got in the time since the last sample; tell whether they lost a part in it."""
        sent = self.viewer.sent
        if sent != self._sent:
            self.seen = datetime.now(UTC)
        weight = min(1.0, seconds / _SMOOTHING)
        self.rate += weight * ((sent - self._sent) / seconds - self.rate)
        self._sent = sent
        lost = self.viewer.overruns > self._overruns
        self._overruns = self.viewer.overruns
        return lost
