"""Everybody who watches anything, and what has been served since the start."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType

from streamproxy.audience.client import Client, Viewer, Visitor
from streamproxy.audience.record import StreamRecord
from streamproxy.events import Event
from streamproxy.metrics import Histogram
from streamproxy.model import Channel


class Audience:
    """Who is watching, and what has been served since the start.

    Attributes:
        total: Viewers ever.
        records: What is known of each stream that was made through the API or watched, by stream id.
        first_byte: Seconds from a viewer's request to the first byte they are sent.
        key_frame: The same, of those who begin with a picture that can be decoded.
    """

    def __init__(self, publish: Callable[[Event], None] = lambda _: None) -> None:
        """Start with nobody.

        Args:
            publish: Tells others of events.
        """
        self.total = 0
        self.records: dict[str, StreamRecord] = {}
        self.first_byte = Histogram()
        self.key_frame = Histogram()
        self._publish = publish
        self._sent_before = 0
        self._segments_before = 0
        self._since = time.monotonic()
        self._sampled = self._since

    @property
    def present(self) -> int:
        """Viewers now."""
        return sum(len(record.clients) for record in self.records.values())

    @property
    def sent(self) -> int:
        """Bytes sent to all viewers, those who left included."""
        return self._sent_before + sum(record.sent for record in self.records.values())

    @property
    def segments(self) -> int:
        """HLS segments sent to all viewers, those who left included."""
        return self._segments_before + sum(record.segments for record in self.records.values())

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._since

    def record(self, channel: Channel) -> StreamRecord:
        """Return what is known of a stream, from now on if nothing was."""
        record = self.records.get(channel.id)
        if record is None:
            record = self.records[channel.id] = StreamRecord(channel, self._publish)
        record.channel = channel
        return record

    def forget(self, stream_id: str) -> None:
        """Drop what is known of a stream, unless somebody watches it; what was served still counts."""
        record = self.records.get(stream_id)
        if record and not record.clients:
            del self.records[stream_id]
            self._sent_before += record.sent
            self._segments_before += record.segments

    def retain(self, is_known: Callable[[str], bool]) -> None:
        """Drop what is known of streams that are no more.

        Args:
            is_known: Tells whether there is a stream of an id.
        """
        for stream_id in [known for known in self.records if not is_known(known)]:
            self.forget(stream_id)

    def clients(self, client_id: str | None = None) -> Iterator[tuple[StreamRecord, Client]]:
        """Yield who watches, with what.

        Args:
            client_id: Only who has this id, which may be on several streams; None for everybody.
        """
        for record in self.records.values():
            if client_id is None:
                yield from ((record, client) for client in record.clients.values())
            elif client_id in record.clients:
                yield record, record.clients[client_id]

    def attend(self, channel: Channel, visitor: Visitor, viewer: Viewer) -> "Attendance":
        """Count a viewer for the length of a `with` block."""
        return Attendance(self, channel, visitor, viewer)

    def sample(self) -> None:
        """Take note of what everybody got lately; to be called about once a second."""
        now = time.monotonic()
        seconds, self._sampled = now - self._sampled, now
        if seconds > 0:
            for record in self.records.values():
                record.sample(seconds)


class Attendance:
    """One viewer's stay; written out, since there is one for each: a generator would take twice the memory."""

    __slots__ = ("_audience", "_channel", "_client", "_record", "_viewer", "_visitor")

    def __init__(self, audience: Audience, channel: Channel, visitor: Visitor, viewer: Viewer) -> None:
        self._audience = audience
        self._channel = channel
        self._visitor = visitor
        self._viewer = viewer

    def __enter__(self) -> Client:
        self._audience.total += 1
        self._record = self._audience.record(self._channel)
        self._client = self._record.enter(self._visitor, self._viewer)
        return self._client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._record.leave(self._client)
