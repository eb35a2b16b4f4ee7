"""What there is to watch: lists of channels, and streams of one's own."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from streamproxy.config import values
from streamproxy.config.section import Headers, Line, Section, ServiceAddress, Switch, UserAgent, folder_of
from streamproxy.config.values import Seconds, Whole
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
        "test-connection",
        "token",
        "transcode",
        "webhooks",
        "xmltv.php",
    }
)
"""What paths begin with that the proxy answers itself, or may by convention come to answer; no stream is called so."""


def _stream_name(value: str) -> str:
    values.label(value)
    if set("/?#") & set(value) or value in (".", ".."):
        raise values.mistake("must be a name without '/', '?' and '#', since it becomes part of an address")
    if value in RESERVED_NAMES:
        raise values.mistake("must not be a name that the proxy uses itself; choose another one")
    return value


Kind = Literal["auto", "live", "hls", "file", "page"]
StreamName = Annotated[str, AfterValidator(_stream_name)]
BackupAddress = Annotated[str, AfterValidator(values.backup_address)]


class _Remote(Section):
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
    profile: Line | None = None
    """Name of the profile it is transcoded with unless a viewer asks for another; null for none."""


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
        return values.playlist_address(value, folder_of(info))

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
