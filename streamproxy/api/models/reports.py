"""What the API tells of itself and of all it serves."""

from typing import Annotated, Any

from pydantic import StringConstraints

from streamproxy.api.models.fields import Model, Time
from streamproxy.api.models.streams import Client, Stream


class Statistics(Model):
    """What has been served."""

    total_streams: int
    active_streams: int
    total_clients: int
    active_clients: int
    total_bytes_served: int
    total_segments_served: int
    uptime_seconds: int


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
