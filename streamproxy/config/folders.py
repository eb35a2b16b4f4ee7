"""Where files are kept when nothing is configured."""

from collections.abc import Mapping
from pathlib import Path


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
