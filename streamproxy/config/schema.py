"""Every setting: its name, default, unit and limits. `config.example.yml` tells the same to a user.

Sections are frozen. A key without a value (null) stands for the default everywhere, so an empty section is a section of
defaults. Values that hold credentials (addresses and headers) are left out of every repr.
"""

import os
from collections.abc import Mapping
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from streamproxy.config import values
from streamproxy.config.values import Number, Seconds, Whole
from streamproxy.model import RelayMode, merged_headers

RESERVED_NAMES = frozenset(
    {
        "api",
        "broadcast",
        "clients",
        "device.xml",
        "discover.json",
        "docs",
        "epg.xml",
        "events",
        "favicon.ico",
        "get.php",
        "health",
        "healthz",
        "hls",
        "info",
        "lineup.json",
        "lineup.m3u",
        "lineup.post",
        "lineup.xml",
        "lineup_status.json",
        "metrics",
        "openapi.json",
        "panel_api.php",
        "player_api.php",
        "playlist.m3u",
        "playlist.m3u8",
        "readyz",
        "redoc",
        "robots.txt",
        "static",
        "stats",
        "stream",
        "streams",
        "transcode",
        "webhooks",
        "xmltv.php",
    }
)
"""What paths begin with that the proxy answers itself, or may by convention come to answer; no stream is called so."""

PACKET = 188
"""Bytes of an MPEG-TS packet (ISO/IEC 13818-1, 2.4.3.2)."""


def _stream_name(value: str) -> str:
    values.label(value)
    if set("/?#") & set(value) or value in (".", ".."):
        raise values.mistake("must be a name without '/', '?' and '#', since it becomes part of an address")
    if value in RESERVED_NAMES:
        raise values.mistake("must not be a name that the proxy uses itself; choose another one")
    return value


def _whole_packets(value: int) -> int:
    return value - value % PACKET


def _distinct(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise values.mistake("must not name a header twice in different case")
    return headers


Kind = Literal["auto", "live", "hls", "file", "page"]
Line = Annotated[str, AfterValidator(values.one_line)]
Switch = Annotated[bool, BeforeValidator(values.truth)]
ServiceAddress = Annotated[str, AfterValidator(values.service_address)]
BackupAddress = Annotated[str, AfterValidator(values.backup_address)]
UserAgent = Annotated[str, AfterValidator(values.header_value)]
Headers = Annotated[
    dict[Annotated[str, AfterValidator(values.header_name)], Annotated[str, AfterValidator(values.header_value)]],
    AfterValidator(_distinct),
]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(values.network)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    short_form: ClassVar[str | None] = None
    """The key that a bare text in place of the whole section stands for; None where there is no such thing."""

    @model_validator(mode="before")
    @classmethod
    def _read_short_form_and_nulls(cls, data: Any) -> Any:
        if data is None:
            return {}
        if isinstance(data, str) and cls.short_form is not None:
            return {cls.short_form: data}
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}
        return data


class ServerConfig(_Section):
    """Where the proxy listens and under which address viewers know it."""

    host: Annotated[str, AfterValidator(values.host)] = "0.0.0.0"  # noqa: S104 - a proxy for the players of a household
    """Address or host name to listen on; 0.0.0.0 is every IPv4 address, and :: every address."""
    port: Annotated[int, BeforeValidator(Whole(0, 65535))] = 8080
    """TCP port to listen on; 0 takes any free one."""
    root_path: Annotated[str, AfterValidator(values.root_path)] = ""
    """Path prefix under which everything is answered too, such as /iptv; empty for none."""
    public_url: Annotated[str, AfterValidator(values.public_url)] | None = None
    """Address that playlists point to, such as https://tv.example; null takes it from each request."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and networks of reverse proxies whose X-Forwarded headers are believed."""
    max_connections: Annotated[int, BeforeValidator(Whole(1, 1_000_000))] | None = None
    """Viewers and other clients at one time; null takes what the limit of open files allows."""


class _Remote(_Section):
    """What is fetched from a provider."""

    kind: Annotated[Kind, BeforeValidator(values.lower_case)] = "auto"
    """live (MPEG-TS), hls, file or page (a web page); auto tells by the address, else by the first answer."""
    user_agent: UserAgent | None = None
    """User-Agent for it; null takes options.user_agent."""
    headers: Headers = Field(default_factory=dict, repr=False)
    """More request headers for it, by name; a User-Agent among them counts unless user_agent is given."""

    @property
    def request_headers(self) -> dict[str, str]:
        """The headers that requests for it carry beyond the program's own, the User-Agent included where it has one."""
        if self.user_agent is None:
            return dict(self.headers)
        return merged_headers(self.headers, {"User-Agent": self.user_agent})


class _Viewed(_Remote):
    """What becomes channels."""

    quality: Annotated[str, AfterValidator(values.quality)] = "best"
    """Which variant of HLS is sent as MPEG-TS: best, worst, or at most a height (720p) or bits per second (3000k)."""
    strict_live_ts: Switch | None = None
    """Whether it is sent as strict_live_ts says; null takes strict_live_ts.enabled."""
    use_sticky_session: Switch | None = None
    """Whether a live stream that was lost is taken up where a redirect led; null takes options.use_sticky_session."""


def _playlist_name(data: Mapping[str, Any]) -> str:
    """Name a list such that order, tokens and credentials do not matter, and nothing of the provider shows."""
    url: str = data.get("url", "")
    if not values.is_address(url):
        return Path(url).stem or "playlist"
    return "playlist-" + blake2b(values.host_and_path(url).encode(), digest_size=3).hexdigest()


class PlaylistConfig(_Viewed):
    """A list of channels (M3U) to take in; a bare text is its url."""

    short_form = "url"

    url: str = Field(repr=False)
    """Address (http, https) or path of the list; a relative path starts at the configuration file's folder."""
    name: Annotated[str, AfterValidator(values.label)] = Field(default_factory=_playlist_name)
    """Name in logs, and part of what channel ids are made of; null derives one from the path, or from host and path."""
    timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 60.0
    """Seconds that fetching the whole list may take."""
    encoding: Annotated[str, AfterValidator(values.encoding)] = "cp1252"
    """Character encoding of the list where it is not UTF-8."""
    max_connections: Annotated[int, BeforeValidator(Whole(1, 1_000_000))] | None = None
    """Upstream connections that the provider's account allows at one time; null is without limit."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        return values.playlist_address(value, _folder(info))

    @property
    def path(self) -> Path | None:
        """The file to read; None where the list is fetched from an address."""
        return None if values.is_address(self.url) else Path(self.url)


class BackupConfig(_Remote):
    """Another upstream of a stream; a bare text is its url."""

    short_form = "url"

    url: BackupAddress = Field(repr=False)
    """Address (http, https, or demo: for the embedded test channel)."""
    user_agent: UserAgent | None = None
    """User-Agent for it; null takes the stream's."""
    headers: Headers = Field(default_factory=dict, repr=False)
    """Request headers for it that differ from the stream's, by name."""
    account: Line | None = None
    """Name of the list whose account it takes a connection of; null for none that counts."""


class StreamConfig(_Viewed):
    """A stream under a name of its own; a bare text is its url."""

    short_form = "url"

    url: Annotated[str, AfterValidator(values.stream_address)] | None = Field(default=None, repr=False)
    """Address (http, https, or demo: for the embedded test channel); null answers viewers with status 500."""
    title: Line | None = None
    """Title shown to people; null shows the stream's name."""
    logo: Line | None = None
    """Address of a picture; null for none."""
    group: Line = ""
    """Group that players list it under; empty for none."""
    mode: Annotated[RelayMode, BeforeValidator(values.lower_case)] = RelayMode.SHARED
    """shared: one upstream connection for all its viewers; direct: one for each."""
    account: Line | None = None
    """Name of the list whose account it takes a connection of; null for none that counts."""
    failover: tuple[BackupConfig, ...] = ()
    """Further upstreams, in the order in which they are tried when the one before is lost."""
    failover_urls: tuple[BackupAddress, ...] = Field(default=(), repr=False)
    """The same in m3u-proxy's words, bare addresses only; tried after those of failover."""
    failover_resolver_url: ServiceAddress | None = Field(default=None, repr=False)
    """Address of a service that is asked for another upstream; null takes failover.resolver_url."""
    metadata: dict[str, Annotated[str, BeforeValidator(values.as_text)]] = Field(default_factory=dict)
    """Anything worth knowing about it, by name, for the API; numbers and booleans are kept as text."""


class OptionsConfig(_Section):
    """How upstreams are asked."""

    user_agent: UserAgent = "VLC/3.0.21 LibVLC/3.0.21"
    """User-Agent for upstreams and lists that have none of their own."""
    threads: Annotated[int, BeforeValidator(Whole(1, 64))] = 4
    """Segments of one HLS channel fetched at once."""
    timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 10.0
    """Seconds for an upstream to answer: name, connection, redirects and headers together."""
    buffer_size: Annotated[int, BeforeValidator(Whole(PACKET, 1 << 30, "bytes"))] = 8388608
    """Bytes read ahead for a viewer who has an upstream connection of their own."""
    use_sticky_session: Switch = False
    """Whether a live stream that was lost is taken up where a redirect had led, until that fails; HLS always is."""


class RelayConfig(_Section):
    """How one upstream is shared by many viewers."""

    chunk_size: Annotated[int, BeforeValidator(Whole(1316, 1 << 20, "bytes")), AfterValidator(_whole_packets)] = 65424
    """Bytes written to viewers at a time; rounded down to whole packets of 188 bytes."""
    chunk_delay: Annotated[float, BeforeValidator(Seconds(0, 10))] = 0.1
    """Seconds that a byte waits at most for its chunk to fill."""
    history: Annotated[int, BeforeValidator(Whole(0, 1 << 30, "bytes"))] = 1048576
    """Bytes of the recent past that are kept; more, as far back as the newest entry point, where new viewers start."""
    queue: Annotated[int, BeforeValidator(Whole(4, 100_000))] = 128
    """Chunks that a viewer may lag behind before it is moved forward."""
    linger: Annotated[float, BeforeValidator(Seconds(0))] = 0.0
    """Seconds that an upstream stays open after its last viewer left."""
    stall_timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 15.0
    """Seconds of silence after which an upstream counts as lost."""
    stuck_timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 15.0
    """Seconds after which a viewer who takes no data is dropped."""
    send_buffer: Annotated[int, BeforeValidator(Whole(4096, 1 << 26, "bytes"))] = 262144
    """Bytes of kernel memory for each viewer's connection (SO_SNDBUF)."""


class RetryConfig(_Section):
    """How an upstream that was lost is tried again."""

    attempts: Annotated[int, BeforeValidator(Whole(0, 1000))] = 3
    """Times that an upstream which was lost is tried again before the next one is; 0 for straight to the next."""
    delay: Annotated[float, BeforeValidator(Seconds(0.1, 3600))] = 1.0
    """Seconds before the second try; the first comes at once if the stream had been playing that long."""
    backoff: Annotated[float, BeforeValidator(Number(1, 100))] = 2.0
    """What the delay is multiplied by after each further failure."""
    max_delay: Annotated[float, BeforeValidator(Seconds(0.1, 3600))] = 15.0
    """Seconds that the delay grows to at most, jitter not counted."""
    jitter: Annotated[float, BeforeValidator(Number(0, 1))] = 0.2
    """Share by which a delay is longer at most, by chance, so that channels lost together do not come together."""
    total_timeout: Annotated[float, BeforeValidator(Seconds(0))] = 60.0
    """Seconds from a loss after which a channel is given up; 0 for never. A slate's limit counts in place of it."""


class FailoverConfig(_Section):
    """What counts as lost, and how the upstreams of a channel take turns."""

    cooldown: Annotated[float, BeforeValidator(Seconds(0))] = 60.0
    """Seconds for which an upstream that was given up is left alone while another can be tried."""
    fail_back: Annotated[float, BeforeValidator(Seconds(1))] | None = None
    """Seconds since the preferred upstream was left after which it is tried again; null for never."""
    healthy_after: Annotated[float, BeforeValidator(Seconds(0))] = 10.0
    """Seconds of playing after which a loss counts as a new one, and not as more of the last."""
    min_bitrate: Annotated[int, BeforeValidator(Whole(0, 1_000_000_000, "bits per second"))] = 0
    """Bits per second below which a live stream counts as lost; 0 for none."""
    watch: Switch = True
    """Whether a live stream counts as lost if its picture freezes or vanishes, or if it repeats a short clip."""
    resolver_url: ServiceAddress | None = Field(default=None, repr=False)
    """Address of a service that is asked first when an upstream is given up, as m3u-proxy asks it; null for none."""
    resolver_timeout: Annotated[float, BeforeValidator(Seconds(0.1, 3600))] = 10.0
    """Seconds for that service to answer."""


class SlateConfig(_Section):
    """What viewers see while there is no upstream; a bare text tells whether there is a slate."""

    short_form = "enabled"

    enabled: Switch = True
    """Whether they see a slate that says so; otherwise the last picture stands still."""
    limit: Annotated[float, BeforeValidator(Seconds(0))] = 300.0
    """Seconds that it is shown before the channel is given up; 0 for never."""


class StrictLiveTsConfig(_Section):
    """How live channels are sent to players that need one steady stream; a bare text tells whether all are."""

    short_form = "enabled"

    enabled: Switch = False
    """Whether all live channels are sent so; files never are."""
    prebuffer_size: Annotated[int, BeforeValidator(Whole(0, 1 << 26, "bytes"))] = 262144
    """Bytes that are gathered before a viewer gets the first one."""
    prebuffer_timeout: Annotated[float, BeforeValidator(Seconds(0))] = 10.0
    """Seconds that gathering takes at most; then what there is is sent."""
    circuit_breaker_timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 2.0
    """Seconds of silence after which an upstream counts as lost, in place of relay.stall_timeout."""
    circuit_breaker_cooldown: Annotated[float, BeforeValidator(Seconds(0))] = 60.0
    """Seconds for which an upstream that was given up is left alone, in place of failover.cooldown."""


class HlsConfig(_Section):
    """How HLS is passed on."""

    output: Annotated[Literal["hls", "ts"], BeforeValidator(values.lower_case)] = "hls"
    """How HLS channels are listed: hls, or ts for one continuous MPEG-TS stream; ?output= chooses for one request."""
    cache_size: Annotated[int, BeforeValidator(Whole(1 << 20, 1 << 36, "bytes"))] = 268435456
    """Bytes of memory for segments that viewers share."""
    link_key: Annotated[str, AfterValidator(values.link_key)] | None = Field(default=None, repr=False)
    """A secret text that links in playlists are sealed with; null makes a key and keeps it in state_dir."""
    raw_urls: Switch = False
    """Whether ?url= is accepted, as m3u-proxy does: whoever reaches the proxy makes it fetch any address."""


class LogConfig(_Section):
    """What is logged, and how it looks."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(values.lower_case)] = "info"
    """The least important that is logged: debug, info, warning or error."""
    format: Annotated[Literal["auto", "console", "json"], BeforeValidator(values.lower_case)] = "auto"
    """console for people, json for machines, auto for console on a terminal and json elsewhere."""


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Return where what must survive a restart is kept when nothing is configured.

    The folder that systemd made for the unit (`StateDirectory=`, systemd.exec(5)), else the user's by the XDG base
    directory specification; /var/lib/streamproxy where there is no home.
    """
    return _default_dir(environ, "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state", "/var/lib/streamproxy")


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return where the last good copies of lists are kept when nothing is configured.

    The folder that systemd made for the unit (`CacheDirectory=`, systemd.exec(5)), else the user's by the XDG base
    directory specification, which ignores relative paths; /var/cache/streamproxy where there is no home.
    """
    return _default_dir(environ, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache", "/var/cache/streamproxy")


def _default_dir(environ: Mapping[str, str], service: str, user: str, below_home: str, system: str) -> Path:
    if made := environ.get(service, "").partition(":")[0]:
        return Path(made)
    for name, below in ((user, "streamproxy"), ("HOME", f"{below_home}/streamproxy")):
        if environ.get(name, "").startswith("/"):
            return Path(environ[name]) / below
    return Path(system)


class Config(_Section):
    """The whole configuration.

    Validate with a folder as context to make relative paths start there.
    """

    server: ServerConfig = ServerConfig()
    """Where the proxy listens and under which address viewers know it."""
    playlists: tuple[PlaylistConfig, ...] = ()
    """Lists of channels to take in, merged in this order."""
    merge_playlists: Annotated[Literal["none", "tvg-id", "name"], BeforeValidator(values.lower_case)] = "none"
    """What makes entries of several lists one channel with backups: tvg-id, name, or none for nothing."""
    streams: dict[Annotated[str, AfterValidator(_stream_name)], StreamConfig] = Field(default_factory=dict)
    """Single streams by the name under which they are served."""
    options: OptionsConfig = OptionsConfig()
    """How upstreams are asked."""
    relay: RelayConfig = RelayConfig()
    """How one upstream is shared by many viewers."""
    retry: RetryConfig = RetryConfig()
    """How an upstream that was lost is tried again."""
    failover: FailoverConfig = FailoverConfig()
    """What counts as lost, and how the upstreams of a channel take turns."""
    slate: SlateConfig = SlateConfig()
    """What viewers see while there is no upstream."""
    strict_live_ts: StrictLiveTsConfig = StrictLiveTsConfig()
    """How live channels are sent to players that need one steady stream."""
    hls: HlsConfig = HlsConfig()
    """How HLS is passed on."""
    log: LogConfig = LogConfig()
    """What is logged, and how it looks."""
    cache_dir: Path = Field(default_factory=lambda: default_cache_dir(os.environ))
    """Folder for the last good copy of each list; a relative path starts at the configuration file's folder."""
    state_dir: Path = Field(default_factory=lambda: default_state_dir(os.environ))
    """Folder for what must survive a restart; a relative path starts at the configuration file's folder."""

    @field_validator("playlists")
    @classmethod
    def _names_are_unique(cls, value: tuple[PlaylistConfig, ...]) -> tuple[PlaylistConfig, ...]:
        if repeated_names({index: playlist.name for index, playlist in enumerate(value)}):
            raise PydanticCustomError("repeated_names", "must have different names")
        return value

    @field_validator("cache_dir", "state_dir", mode="before")
    @classmethod
    def _path(cls, value: Any, info: ValidationInfo) -> Any:
        return values.file_path(value, _folder(info)) if isinstance(value, str) else value


def _folder(info: ValidationInfo) -> Path:
    return info.context if isinstance(info.context, Path) else Path()


def repeated_names(names: Mapping[int, str]) -> dict[int, int]:
    """Find lists whose name an earlier one has: index to the index of the earlier one."""
    first: dict[str, int] = {}
    return {index: first[name] for index, name in names.items() if first.setdefault(name, index) != index}
