"""Settings from the environment, put over those of the file.

`STREAMPROXY_SERVER__PORT` is `server.port`; `STREAMPROXY_PLAYLISTS__0__URL` is the url of the first list, and
`STREAMPROXY_STREAMS__NEWS__TITLE` the title of the stream `news`. Names that m3u-proxy documents are understood too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches

from streamproxy.config.keys import ROOT, Kind
from streamproxy.config.node import KeyPath, Mistake, Node

PREFIX = "STREAMPROXY_"
NOT_SETTINGS = frozenset({"STREAMPROXY_BASE_URL", "STREAMPROXY_CONFIG", "STREAMPROXY_TOKEN"})
"""Variables with the prefix that are no settings."""

ALIASES: Mapping[str, KeyPath] = {
    # m3u-proxy's own names
    "HOST": ("server", "host"),
    "PORT": ("server", "port"),
    "ROOT_PATH": ("server", "root_path"),
    "PUBLIC_URL": ("server", "public_url"),
    "LOG_LEVEL": ("log", "level"),
    "DEFAULT_USER_AGENT": ("options", "user_agent"),
    "DEFAULT_CONNECTION_TIMEOUT": ("options", "timeout"),
    "LIVE_CHUNK_TIMEOUT_SECONDS": ("relay", "stall_timeout"),
    "CHANGE_BUFFER_CHUNKS": ("relay", "queue"),
    "API_TOKEN": ("server", "api_token"),
    "CLIENT_TIMEOUT": ("hls", "viewer_timeout"),
    "STREAM_TIMEOUT": ("api", "stream_timeout"),
    "SHARED_STREAM_GRACE": ("relay", "linger"),
    "USE_STICKY_SESSION": ("options", "use_sticky_session"),
    "STREAM_RETRY_ATTEMPTS": ("retry", "attempts"),
    "STREAM_RETRY_DELAY": ("retry", "delay"),
    "STREAM_RETRY_EXPONENTIAL_BACKOFF": ("retry", "backoff"),
    "STREAM_TOTAL_TIMEOUT": ("retry", "total_timeout"),
    "ENABLE_BITRATE_MONITORING": ("failover", "min_bitrate"),
    "HW_ACCEL_TYPE": ("transcode", "hwaccel"),
    "HW_ACCEL_DEVICE": ("transcode", "device"),
    "STRICT_LIVE_TS": ("strict_live_ts", "enabled"),
    "STRICT_LIVE_TS_PREBUFFER_SIZE": ("strict_live_ts", "prebuffer_size"),
    "STRICT_LIVE_TS_PREBUFFER_TIMEOUT": ("strict_live_ts", "prebuffer_timeout"),
    "STRICT_LIVE_TS_CIRCUIT_BREAKER_TIMEOUT": ("strict_live_ts", "circuit_breaker_timeout"),
    "STRICT_LIVE_TS_CIRCUIT_BREAKER_COOLDOWN": ("strict_live_ts", "circuit_breaker_cooldown"),
    # those of its README
    "M3U_PROXY_HOST": ("server", "host"),
    "M3U_PROXY_PORT": ("server", "port"),
}
"""Other names of settings, weaker than those with the prefix; of two for one setting the later wins."""

# What m3u-proxy takes for true and false.
_TRUTH = dict.fromkeys(("1", "on", "t", "true", "y", "yes"), "true") | dict.fromkeys(
    ("0", "off", "f", "false", "n", "no"), "false"
)


def _truth(value: str, _: Mapping[str, str]) -> str:
    return _TRUTH.get(value.lower(), value)


def _backoff(value: str, environ: Mapping[str, str]) -> str:
    return {"true": "1.5", "false": "1"}.get(_truth(value, environ), value)


def _min_bitrate(value: str, environ: Mapping[str, str]) -> str:
    threshold = environ.get("MIN_BITRATE_THRESHOLD") or "62500"
    bits = str(8 * int(threshold)) if re.fullmatch("[0-9]{1,12}", threshold) else threshold
    return {"true": bits, "false": "0"}.get(_truth(value, environ), value)


def _hwaccel(value: str, environ: Mapping[str, str]) -> str:
    if _truth(environ.get("HW_ACCEL_AVAILABLE", ""), environ) == "false":
        return "off"
    return {"cpu": "off", "none": "off", "intel": "vaapi", "amd": "vaapi"}.get(value.lower(), value)


_TRANSLATIONS: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
    "HW_ACCEL_TYPE": _hwaccel,
    "USE_STICKY_SESSION": _truth,
    "STRICT_LIVE_TS": _truth,
    "STREAM_RETRY_EXPONENTIAL_BACKOFF": _backoff,
    "ENABLE_BITRATE_MONITORING": _min_bitrate,
}
"""What turns the value of an alias into one of ours, where m3u-proxy writes or measures it otherwise.

What m3u-proxy would refuse stays as it is, for the schema to tell.
"""

# Kubernetes tells every container about a service called "streamproxy" in variables with the same prefix.
_SERVICE_LINK = re.compile(r"STREAMPROXY_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)")
_SERVICE_LINK_PORT = re.compile(r"(?:tcp|udp|sctp)://.*")


def overlay(root: Node, environ: Mapping[str, str]) -> tuple[Node, list[Mistake]]:
    """Put the environment's settings over a file's; empty variables are ignored.

    Returns:
        The new root, in which a value's place is its variable's name, and the mistakes in names.
    """
    mistakes: list[Mistake] = []
    for alias, setting in ALIASES.items():
        if value := environ.get(alias):
            translated = _TRANSLATIONS[alias](value, environ) if alias in _TRANSLATIONS else value
            root = put(root, setting, translated, alias)
    settings: list[tuple[KeyPath, str]] = []
    for variable in filter(lambda name: _is_setting(name, environ[name]), environ):
        if path := _path(variable):
            settings.append((path, variable))
        else:
            mistakes.append(Mistake(variable, (), _unknown(variable)))
    settings.sort()  # the items of a list in order, and a short form before its parts
    for path, variable in settings:
        try:
            root = put(root, path, environ[variable], variable)
        except IndexError as error:
            mistakes.append(Mistake(variable, path, str(error)))
    return root, mistakes


def put(root: Node, path: KeyPath, value: str, place: str) -> Node:
    """Return a tree that holds the value at the path; the tree given is left alone.

    Raises:
        IndexError: The path leaves out an item of a list.
    """
    return _put(root, ROOT, path, Node(value, place, place))


def _put(node: Node, kind: Kind, path: KeyPath, new: Node) -> Node:
    if not path:
        return new
    part, rest = path[0], path[1:]
    below = kind.child(part)
    assert below is not None, "paths are made by the schema"
    if isinstance(part, int):
        return _put_item(node, part, below, rest, new)
    if isinstance(node.value, str) and kind.short_form:
        node = node._replace(value={kind.short_form: node})
    return _put_entry(node, part, below, rest, new)


def _put_item(node: Node, index: int, kind: Kind, rest: KeyPath, new: Node) -> Node:
    if not isinstance(node.value, list | None):
        return node  # the file's value is of the wrong kind, which will be told as the file's mistake
    items = node.value or []
    if index > len(items):
        raise IndexError(f"must not skip an item: the next one has the index {len(items)}")
    old = items[index] if index < len(items) else Node(None, new.place)
    return node._replace(value=[*items[:index], _put(old, kind, rest, new), *items[index + 1 :]])


def _put_entry(node: Node, part: str, kind: Kind, rest: KeyPath, new: Node) -> Node:
    if not isinstance(node.value, dict | None):
        return node
    entries = node.value or {}
    # Variables are written in capitals; the file may write a stream's name in any case.
    key = part if part in entries else next((name for name in entries if name.lower() == part), part)
    old = entries.get(key, Node(None, new.place, new.place))
    return node._replace(value={**entries, key: _put(old, kind, rest, new)})


def _is_setting(variable: str, value: str) -> bool:
    if not variable.startswith(PREFIX) or not value or variable in NOT_SETTINGS or _SERVICE_LINK.fullmatch(variable):
        return False
    return variable != "STREAMPROXY_PORT" or not _SERVICE_LINK_PORT.fullmatch(value)


def _path(variable: str) -> KeyPath | None:
    path: list[str | int] = []
    kind: Kind | None = ROOT
    for text in _parts(variable):
        if kind is None or not text:
            return None
        part = int(text) if kind.is_list and re.fullmatch(r"[0-9]{1,6}", text) else text
        path.append(part)
        kind = kind.child(part)
    if kind is None or not (kind.is_single or kind.short_form):
        return None
    return tuple(path)


def _parts(variable: str) -> list[str]:
    return variable.removeprefix(PREFIX).lower().split("__")


def _unknown(variable: str) -> str:
    known = ["__".join(names) for names in _names(ROOT, _parts(variable))]
    typed = variable.removeprefix(PREFIX).lower()
    close = get_close_matches(typed, known, 1)
    close += [name for name in known if name.startswith(f"{typed}__") or name.endswith(f"__{typed}")]
    suggestion = f", did you mean {PREFIX + close[0].upper()}?" if close else "; config.example.yml lists all there are"
    return "unknown setting" + suggestion


def _names(kind: Kind, typed: list[str]) -> Iterator[list[str]]:
    """List the names there are; where any would do, the one that was typed is taken."""
    if kind.is_single or kind.short_form:
        yield []
    if kind.is_list:
        steps = [typed[0] if typed and typed[0].isdecimal() else "0"]
    elif kind.is_map:
        steps = [(typed and typed[0]) or "name"]
    else:
        steps = list(kind.fields)
    for step in steps:
        below = kind.child(0 if kind.is_list else step)
        assert below is not None, "the step was read from the schema"
        for rest in _names(below, typed[1:]):
            yield [step, *rest]
