"""What the API takes and answers, in m3u-proxy's shapes."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from streamproxy.events import EVENTS
from streamproxy.formats import urls
from streamproxy.webhooks import normalised

_UNWANTED = ("<script", "javascript:", "vbscript:")
_SWITCHES = ("0", "1", "f", "false", "n", "no", "off", "on", "t", "true", "y", "yes")
_M3U_PROXYS_EVENTS = tuple(EVENTS)[:6]


class Model(BaseModel):
    """What every body, query and answer is: fields that are not known are ignored."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="ignore")

    left_out_if_none: ClassVar[frozenset[str]] = frozenset()
    """Names of fields that are left out of an answer where they are None."""

    @property
    def left_out(self) -> set[str]:
        """Names of fields that are left out of this answer."""
        return {name for name in self.left_out_if_none if getattr(self, name) is None}


def _http_address(value: str) -> str:
    value = value.strip()
    if not value:
        raise ValueError("URL cannot be empty")
    parts = urlsplit(value)
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError("URL must use HTTP or HTTPS protocol")
    if not urls.is_http(value):
        raise ValueError("URL must have a valid domain")
    if any(unwanted in value.lower() for unwanted in _UNWANTED):
        raise ValueError("URL contains potentially malicious content")
    return value


def _hook_address(value: str) -> str:
    """Write an address as it is compared with others."""
    return normalised(_http_address(value))


def _texts(value: Any) -> Any:
    """Take what m3u-proxy takes for metadata: texts, numbers and truth values, each as Python writes it."""
    if not isinstance(value, dict):
        return value
    for key, each in value.items():
        if not isinstance(each, str | int | float | bool):
            raise ValueError(f"Metadata value for key '{key}' must be a string, number, or boolean")  # noqa: TRY004
    return {str(key): str(each) for key, each in value.items()}


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")  # noqa: TRY004 - of a validator
    return value


def _event_name(value: str) -> str:
    if value not in EVENTS:
        raise ValueError(f"there is no such event; there are {', '.join(EVENTS)}")
    return value


def _header_name(value: str) -> str:
    if not urls.is_header(value, "x"):
        raise ValueError("is no name of a request header that may be set")
    return value


def _header_value(value: str) -> str:
    if not urls.is_header("X-Any", value):
        raise ValueError("is no value of a request header")
    return value


Address = Annotated[
    str,
    StringConstraints(max_length=8192),
    AfterValidator(_http_address),
    Field(json_schema_extra={"format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://[0-9A-Za-z]"}),
]
HookAddress = Annotated[
    str,
    StringConstraints(max_length=8192),
    AfterValidator(_hook_address),
    Field(json_schema_extra={"format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://[0-9A-Za-z]"}),
]
EventName = Annotated[str, AfterValidator(_event_name), Field(json_schema_extra={"enum": list(EVENTS)})]
Time = Annotated[
    datetime,
    PlainSerializer(lambda value: value.isoformat(timespec="microseconds"), return_type=str),
    Field(json_schema_extra={"format": "date-time"}),
]
Metadata = Annotated[
    dict[str, str],
    BeforeValidator(_texts),
    Field(max_length=100),
    WithJsonSchema(
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}, "maxProperties": 100},
        mode="validation",
    ),
]
_VALUE_OF_A_HEADER: dict[str, Any] = {
    "minLength": 1,
    "maxLength": 8000,
    "pattern": "^[^\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f\\u2028\\u2029]+$",
}
HeaderValue = Annotated[str, AfterValidator(_header_value), Field(json_schema_extra=_VALUE_OF_A_HEADER)]
Headers = Annotated[
    dict[Annotated[str, AfterValidator(_header_name)], HeaderValue],
    Field(max_length=100),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$"},
            "additionalProperties": {"type": "string", **_VALUE_OF_A_HEADER},
            "maxProperties": 100,
        },
        mode="validation",
    ),
]
Switch = Annotated[
    bool,
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": [0, 1, *_SWITCHES]}]}, mode="validation"),
]
"""On or off; also as numbers and texts that say so, which is what is left of it in some databases."""


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


class Statistics(Model):
    """What has been served."""

    total_streams: int
    active_streams: int
    total_clients: int
    active_clients: int
    total_bytes_served: int
    total_segments_served: int
    uptime_seconds: int


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


class Stats(Statistics):
    """What has been served in all, by stream and by client."""

    proxy_stats: Statistics
    streams: list[Stream]
    clients: list[Client]


class DetailedStats(Model):
    """What has been served, what connections there are, and what went wrong."""

    proxy_stats: Statistics
    connection_pool_stats: dict[str, Any]
    failover_stats: dict[str, Any]
    performance_metrics: dict[str, Any]
    error_stats: dict[str, Any]
    stream_count: int
    client_count: int


class PerformanceStats(Model):
    """How fast everything is, and what went wrong."""

    connection_pool: dict[str, Any]
    performance_metrics: dict[str, Any]
    failover_stats: dict[str, Any]
    error_stats: dict[str, Any]
    timestamp: Time


class StreamStats(Model):
    """Streams that were made through the API or have been watched."""

    total_streams: int
    streams: list[Stream]


class Root(Model):
    """It runs."""

    status: str
    message: str
    version: str
    uptime: int
    streams: int
    stats: Statistics


class Health(Model):
    """It is well."""

    status: str
    root_path: str
    version: str
    uptime_seconds: int
    streams: int
    active_streams: int
    active_clients: int
    total_bytes_served: int
    stats: Statistics


class Info(Model):
    """What it is and how it is set up."""

    version: str
    ffmpeg_version: str | None
    streamlink_version: str | None
    ytdlp_version: str | None
    hardware_acceleration: dict[str, Any]
    redis: dict[str, Any]
    transcoding: dict[str, Any]
    configuration: dict[str, Any]
    worker: dict[str, Any]


class ConnectionBody(Model):
    """An address that is to be tried."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    """Where."""


class ConnectionTried(Model):
    """How the address answered."""

    left_out_if_none = frozenset({"status_code", "error"})

    success: bool
    message: str
    status_code: int | None = None
    error: str | None = None
    url_tested: str


class WebhookBody(Model):
    """An address that is to be told of events."""

    url: HookAddress
    """Where events are posted to, as JSON."""
    events: list[EventName] = list(_M3U_PROXYS_EVENTS)
    """Which events; an empty list for all there are, no list for those of m3u-proxy."""
    headers: Headers = {}
    """Request headers, by name."""
    timeout: Annotated[float, Field(ge=1, le=3600), BeforeValidator(_number)] = 10
    """Seconds for it to answer."""
    retry_attempts: Annotated[int, Field(ge=0, le=100), BeforeValidator(_number)] = 3
    """Times that an event is sent again, after 1, 2, 4 … seconds."""
    secret: Annotated[str, StringConstraints(max_length=1024, pattern="^[!-~]+$")] | None = None
    """What each post is signed with (HMAC-SHA256 in X-Streamproxy-Signature); null for no signature."""


class WebhookQuery(Model):
    """Which webhook is meant."""

    webhook_url: str | None = None
    """Its address."""


class WebhookRegistered(Model):
    """An address that is told of events from now on."""

    message: str
    webhook_url: str
    """The address as it is known from now on."""
    events: list[str]


class Webhook(Model):
    """An address that is told of events; its request headers and its secret are shown to nobody."""

    url: str
    events: list[str]
    timeout: float
    retry_attempts: int
    delivered: int
    """Events that it has taken since the start."""
    failed: int
    """Events that it has not, however often they were sent."""
    dropped: int
    """Events that were not sent, since too many waited."""
    pending: int
    """Events that wait, with what is being sent."""
    configured: bool
    """Whether it is one of the configuration, which the API cannot remove."""


class Webhooks(Model):
    """Who is told of events."""

    webhooks: list[Webhook]


class WebhookTried(Model):
    """A webhook was sent an event that is none."""

    message: str
    event_id: str
    delivered: bool
    """Whether it has taken it."""
