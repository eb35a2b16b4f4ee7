"""The configuration: a YAML file, the environment over it, the command line over both, checked as a whole.

`find` says which file counts, `load` reads it and reports every mistake at once. The sections are in `schema`.
"""

from streamproxy.config.loader import find, load
from streamproxy.config.schema import (
    RESERVED_NAMES,
    BackupConfig,
    Config,
    FailoverConfig,
    HlsConfig,
    LogConfig,
    OptionsConfig,
    PlaylistConfig,
    RelayConfig,
    RetryConfig,
    ServerConfig,
    SlateConfig,
    StreamConfig,
    StrictLiveTsConfig,
)

__all__ = [
    "RESERVED_NAMES",
    "BackupConfig",
    "Config",
    "FailoverConfig",
    "HlsConfig",
    "LogConfig",
    "OptionsConfig",
    "PlaylistConfig",
    "RelayConfig",
    "RetryConfig",
    "ServerConfig",
    "SlateConfig",
    "StreamConfig",
    "StrictLiveTsConfig",
    "find",
    "load",
]
