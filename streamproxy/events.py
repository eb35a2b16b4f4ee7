"""What happens, for whoever wants to know: one frozen dataclass per event, and the bus on which they are published.

The first six are m3u-proxy's, with its payloads. The wire name comes from the class name.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar

import structlog

_log = structlog.stdlib.get_logger("streamproxy")

_SECRET = {"secret": True}
"""Marks a field that holds addresses of providers."""
_IF_KNOWN = {"if_known": True}
"""Marks a field that is left out of the payload where it is None."""


def _wire_name(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a stream.

    Attributes:
        stream_id: Which stream.
        at: When, in UTC.
        id: Tells it from all others.
    """

    name: ClassVar[str] = ""

    stream_id: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __init_subclass__(cls) -> None:
        cls.name = _wire_name(cls.__name__)

    def payload(self, show: Callable[[str], str]) -> dict[str, Any]:
        """Write it as webhooks and the event stream carry it.

        Args:
            show: What becomes of the addresses of providers.
        """
        return {
            "event_id": self.id,
            "event_type": self.name,
            "stream_id": self.stream_id,
            # Without an offset, as m3u-proxy's clients read it.
            "timestamp": self.at.replace(tzinfo=None).isoformat(timespec="microseconds"),
            "data": self._data(show),
        }

    def _data(self, show: Callable[[str], str]) -> dict[str, Any]:
        data = {}
        common = {own.name for own in fields(Event)}
        for own in fields(self):
            value = getattr(self, own.name)
            if own.name in common or (value is None and own.metadata.get("if_known")):
                continue
            if own.metadata.get("secret"):
                value = _shown(value, show)
            data[own.name] = dict(value) if isinstance(value, Mapping) else value
        return data


def _shown(value: Any, show: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return show(value)
    return value if value is None else [show(each) for each in value]


@dataclass(frozen=True, kw_only=True)
class StreamStarted(Event):
    """A stream was made through the API, or its first viewer gets it.

    Attributes:
        primary_url: Its address, where it was made.
        failover_urls: Its further addresses, where it was made.
        user_agent: Its own User-Agent; empty for none.
        stream_type: `direct`, `hls` or `transcoded`, where it was made.
        url: Its address, where somebody begins to watch.
        client_id: Who does.
        mode: How they get it.
        profile: What it is transcoded with.
        metadata: Its own.
    """

    primary_url: str | None = field(default=None, repr=False, metadata=_SECRET | _IF_KNOWN)
    failover_urls: Sequence[str] | None = field(default=None, repr=False, metadata=_SECRET | _IF_KNOWN)
    user_agent: str | None = field(default=None, metadata=_IF_KNOWN)
    stream_type: str | None = field(default=None, metadata=_IF_KNOWN)
    url: str | None = field(default=None, repr=False, metadata=_SECRET | _IF_KNOWN)
    client_id: str | None = field(default=None, metadata=_IF_KNOWN)
    mode: str | None = field(default=None, metadata=_IF_KNOWN)
    profile: str | None = field(default=None, metadata=_IF_KNOWN)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StreamStopped(Event):
    """The last viewer of a stream has left, or it was stopped.

    Attributes:
        reason: `last_client_disconnected`, `manual_deletion`, `metadata_filter_deletion`, `oldest_stream_deletion` or
            `inactive_timeout`.
        client_id: Who was the last.
        bytes_served: Bytes that the last viewer got.
        timeout_seconds: After what time it was forgotten.
        filter_field: By what it was chosen for deletion.
        filter_value: By which value.
        was_transcoded: Whether it was transcoded.
        metadata: Its own.
    """

    reason: str
    client_id: str | None = field(default=None, metadata=_IF_KNOWN)
    bytes_served: int | None = field(default=None, metadata=_IF_KNOWN)
    timeout_seconds: float | None = field(default=None, metadata=_IF_KNOWN)
    filter_field: str | None = field(default=None, metadata=_IF_KNOWN)
    filter_value: str | None = field(default=None, metadata=_IF_KNOWN)
    was_transcoded: bool | None = field(default=None, metadata=_IF_KNOWN)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StreamFailed(Event):
    """A stream was given up: no upstream of it can be had.

    Attributes:
        error: Why, in words.
        error_type: Why, as the class of the error.
        reason: `no_failover_available`.
        bytes_served: Bytes that were sent of it to all viewers so far.
        metadata: Its own.
    """

    error: str
    error_type: str
    reason: str
    bytes_served: int
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClientConnected(Event):
    """Somebody begins to watch.

    Attributes:
        client_id: Who.
        user_agent: Their User-Agent.
        ip_address: Where from.
        username: The name they gave; None for none.
        stream_client_count: How many watch the stream now.
        metadata: The stream's.
    """

    client_id: str
    user_agent: str
    ip_address: str
    username: str | None
    stream_client_count: int
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClientDisconnected(Event):
    """Somebody has left.

    Attributes:
        client_id: Who.
        bytes_served: Bytes they got.
        segments_served: HLS segments they got.
        reason: Why.
        metadata: The stream's.
    """

    client_id: str
    bytes_served: int
    segments_served: int
    reason: str = "client_disconnected"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FailoverTriggered(Event):
    """Another upstream of a stream takes the place of the one that played.

    Attributes:
        old_url: The one that played.
        new_url: The other.
        failover_index: Its number among the further addresses; -1 for the preferred one.
        attempt_number: How many times this has happened to the stream.
        reason: Why.
        client_count: How many watch.
        metadata: The stream's.
    """

    old_url: str = field(repr=False, metadata=_SECRET)
    new_url: str = field(repr=False, metadata=_SECRET)
    failover_index: int
    attempt_number: int
    reason: str
    client_count: int
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class UpstreamFailed(Event):
    """An upstream was lost, or could not be had; it may be tried again.

    Attributes:
        upstream: Its label.
        reason: Why.
        error_type: Why, as the class of the error.
    """

    upstream: str
    reason: str
    error_type: str


@dataclass(frozen=True, kw_only=True)
class UpstreamRecovered(Event):
    """A stream plays again.

    Attributes:
        upstream: The label of what plays now.
        seconds: For how long nothing did.
    """

    upstream: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Splice(Event):
    """Two streams were put together into the one that viewers get.

    Attributes:
        upstream: The label of the second.
    """

    upstream: str


@dataclass(frozen=True, kw_only=True)
class ViewerLagged(Event):
    """A viewer was too slow and lost a part of the stream.

    Attributes:
        client_id: Who.
        overruns: How many times this has happened to them.
        skipped: Bytes they have lost so far.
    """

    client_id: str
    overruns: int
    skipped: int


EVENTS: Mapping[str, type[Event]] = {
    kind.name: kind
    for kind in (
        StreamStarted,
        StreamStopped,
        StreamFailed,
        ClientConnected,
        ClientDisconnected,
        FailoverTriggered,
        UpstreamFailed,
        UpstreamRecovered,
        Splice,
        ViewerLagged,
    )
}
"""All there are, by wire name."""

Listener = Callable[[Event], None]


class EventBus:
    """Hands each event to everybody who listens, at once: a listener that has more to do keeps it for later."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def publish(self, event: Event) -> None:
        """Tell everybody. One listener's mistake is logged, and neither the others' nor the publisher's."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a mistake of one listener's
                _log.exception("listener_failed", event_type=event.name)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Listen for the length of the block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
