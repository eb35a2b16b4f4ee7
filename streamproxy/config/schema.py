"""Every setting: its name, default, unit and limits. `config.example.yml` tells the same to a user.

The sections are in modules of their own; this is how they make the whole.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from streamproxy.config import values
from streamproxy.config.channels import PlaylistConfig, StreamConfig, StreamName
from streamproxy.config.continuity import FailoverConfig, RetryConfig, SlateConfig, StrictLiveTsConfig
from streamproxy.config.folders import default_cache_dir, default_state_dir
from streamproxy.config.management import ApiConfig, WebhookConfig
from streamproxy.config.relaying import HlsConfig, OptionsConfig, RelayConfig
from streamproxy.config.section import Section, folder_of
from streamproxy.config.server import LogConfig, ServerConfig
from streamproxy.config.transcoding import TranscodeConfig


class Config(Section):
    """The whole configuration.

    Validate with a folder as context to make relative paths start there.
    """

    server: ServerConfig = ServerConfig()
    """Where the proxy listens and under which address viewers know it."""
    playlists: tuple[PlaylistConfig, ...] = ()
    """Lists of channels to take in, merged in this order."""
    merge_playlists: Annotated[Literal["none", "tvg-id", "name"], BeforeValidator(values.lower_case)] = "none"
    """What makes entries of several lists one channel with backups: tvg-id, name, or none for nothing."""
    streams: dict[StreamName, StreamConfig] = Field(default_factory=dict)
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
    transcode: TranscodeConfig = TranscodeConfig()
    """How streams are transcoded, and into what."""
    api: ApiConfig = ApiConfig()
    """What may be done through the API."""
    webhooks: tuple[WebhookConfig, ...] = ()
    """Who is told of events, besides those who register through the API."""
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
        return values.file_path(value, folder_of(info)) if isinstance(value, str) else value


def repeated_names(names: Mapping[int, str]) -> dict[int, int]:
    """Find lists whose name an earlier one has: index to the index of the earlier one."""
    first: dict[str, int] = {}
    return {index: first[name] for index, name in names.items() if first.setdefault(name, index) != index}
