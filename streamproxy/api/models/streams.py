"""Streams and those who watch them: what the API takes and answers."""

from typing import Annotated, Literal

from pydantic import Field

from streamproxy.api.models.fields import Address, Headers, HeaderValue, Metadata, Model, Switch, Time


class StreamBody(Model):
    """A stream that is to be made."""

    url: Address
    """Where it is."""
    failover_urls: Annotated[list[Address], Field(max_length=100)] | None = None
    """Where else it is, in order."""
    failover_resolver_url: Address | None = None
    """A service that is asked for another address when one is given up."""
    user_agent: HeaderValue | None = None
    """The User-Agent it is asked with."""
    metadata: Metadata | None = None
    """Anything worth knowing about it; values become text."""
    headers: Headers | None = None
    """More request headers."""
    strict_live_ts: Switch | None = None
    """Whether it is sent as strict_live_ts says; null for what the configuration says."""
    use_sticky_session: Switch | None = None
    """Whether it is taken up where a redirect led; null for what the configuration says."""


class ByMetadata(Model):
    """Which streams are meant."""

    field: Annotated[str, Field(min_length=1)]
    """Name of a metadata entry."""
    value: str
    """Its value, as text."""
    active_only: bool = True
    """Whether only streams that somebody watches count."""


class CountsByMetadata(Model):
    """Which streams are counted."""

    field: Annotated[str, Field(min_length=1)]
    """Name of a metadata entry."""
    values: str
    """Its values, as text, with commas between."""
    active_only: bool = True
    """Whether only streams that somebody watches count."""


class Deletion(Model):
    """Which streams are to be deleted."""

    field: Annotated[str, Field(min_length=1)]
    """Name of a metadata entry."""
    value: str
    """Its value, as text."""
    exclude_channel_id: str | None = None
    """The stream whose metadata entry `id` is this stays."""
    force: bool = True
    """Whether streams that others watch are deleted too."""
    client_id: Annotated[str, Field(max_length=128)] | None = None
    """Who asks: their own watching does not keep a stream."""


class OldestDeletion(Model):
    """Of which streams the oldest is to be deleted."""

    field: Annotated[str, Field(min_length=1)]
    """Name of a metadata entry."""
    value: str
    """Its value, as text."""
    exclude_channel_id: str | None = None
    """The stream whose metadata entry `id` is this stays."""


class Page(Model):
    """Which part of a long list is meant."""

    limit: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    """How many at most; those that are watched come first."""
    offset: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """How many are left out before."""


class Stream(Model):
    """A stream and how it fares."""

    stream_id: str
    original_url: str
    current_url: str
    user_agent: str
    client_count: int
    total_bytes_served: int
    total_segments_served: int
    error_count: int
    is_active: bool
    has_failover: bool
    failover_urls: list[str]
    failover_resolver_url: str | None
    current_failover_index: int
    """Which of failover_urls plays; -1 for the original one."""
    failover_attempts: int
    last_failover_time: Time | None
    stream_type: str
    """HLS, VOD, Live Continuous or Transcoding."""
    created_at: Time
    last_access: Time
    metadata: dict[str, str]
    headers: dict[str, str]
    name: str
    group: str
    rate: float
    """Bytes per second to all viewers lately."""


class Client(Model):
    """Somebody who watches."""

    client_id: str
    stream_id: str
    user_agent: str
    ip_address: str
    username: str | None
    bytes_served: int
    segments_served: int
    created_at: Time
    last_access: Time
    is_connected: bool
    since: Time
    rate: float
    """Bytes per second lately."""
    lag: int
    """Pieces of the stream that wait for them."""
    overruns: int
    """Times that they were too slow and lost a part."""
    skipped: int
    """Bytes that they lost that way."""


class Message(Model):
    """What was done."""

    message: str


class Made(Model):
    """What is told of any stream that was made."""

    left_out_if_none = frozenset({"metadata"})

    stream_id: str
    primary_url: str
    failover_urls: list[str]
    user_agent: str | None
    stream_type: str
    """direct, hls or transcoded."""
    stream_endpoint: str
    direct_url: str
    message: str
    metadata: dict[str, str] | None = None


class StreamMade(Made):
    """A stream that was made."""

    playlist_url: str


class Streams(Model):
    """Streams."""

    streams: list[Stream]
    total: int
    """How many there are in all."""


class StreamAndClients(Model):
    """A stream and who watches it."""

    stream: Stream
    clients: list[Client]
    client_count: int


class FailoverDone(Model):
    """Another upstream takes over."""

    message: str
    new_url: str
    failover_index: int
    failover_attempts: int
    active_clients: int
    stream_type: str


class Filter(Model):
    """By what streams were chosen."""

    field: str
    value: str


class MatchingStream(Model):
    """A stream that was looked for."""

    stream_id: str
    client_count: int
    metadata: dict[str, str]
    last_access: Time
    is_active: bool
    url: str
    stream_type: str


class MatchingStreams(Model):
    """Streams that were looked for."""

    filter: Filter
    active_only: bool
    matching_streams: list[MatchingStream]
    total_matching: int
    total_clients: int


class Counts(Model):
    """How many streams there are of each value."""

    field: str
    counts: dict[str, int]


class ExcludedStream(Model):
    """A stream that was not deleted, as was asked for."""

    stream_id: str
    reason: Literal["excluded_by_channel_id"] = "excluded_by_channel_id"


class WatchedStream(Model):
    """A stream that was not deleted, as others watch it."""

    stream_id: str
    reason: Literal["has_active_clients"] = "has_active_clients"
    active_clients: int


class StreamsDeleted(Model):
    """Streams that were deleted."""

    message: str
    deleted_streams: list[str]
    skipped_streams: list[WatchedStream | ExcludedStream]
    deleted_count: int


class OldestDeleted(Model):
    """The stream that was deleted."""

    left_out_if_none = frozenset({"stream_age_seconds"})

    message: str
    deleted_stream: str | None
    stream_age_seconds: float | None = None
    deleted_count: int


class Clients(Model):
    """Who watches."""

    total_clients: int
    clients: list[Client]
