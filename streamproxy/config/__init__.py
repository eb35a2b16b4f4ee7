"""The configuration: a YAML file, the environment over it, the command line over both, checked as a whole.

`find` says which file counts, `load` reads it and reports every mistake at once. `schema` puts the sections together.
"""

from streamproxy.config.channels import RESERVED_NAMES, BackupConfig, PlaylistConfig, StreamConfig
from streamproxy.config.continuity import FailoverConfig, RetryConfig, SlateConfig, StrictLiveTsConfig
from streamproxy.config.loader import find, load
from streamproxy.config.management import ApiConfig, WebhookConfig
from streamproxy.config.relaying import HlsConfig, OptionsConfig, RelayConfig
from streamproxy.config.schema import Config
from streamproxy.config.server import LogConfig, ServerConfig
from streamproxy.config.transcoding import ProfileConfig, TranscodeConfig, profile_names, profile_of

__all__ = [
    "RESERVED_NAMES",
    "ApiConfig",
    "BackupConfig",
    "Config",
    "FailoverConfig",
    "HlsConfig",
    "LogConfig",
    "OptionsConfig",
    "PlaylistConfig",
    "ProfileConfig",
    "RelayConfig",
    "RetryConfig",
    "ServerConfig",
    "SlateConfig",
    "StreamConfig",
    "StrictLiveTsConfig",
    "TranscodeConfig",
    "WebhookConfig",
    "find",
    "load",
    "profile_names",
    "profile_of",
]
