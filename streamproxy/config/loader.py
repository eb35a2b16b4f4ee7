"""Finds, reads and checks the configuration: file, then environment, then command line, each over the one before."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from streamproxy.config.channels import PlaylistConfig
from streamproxy.config.document import MAX_SIZE, compose
from streamproxy.config.folders import default_cache_dir, default_state_dir
from streamproxy.config.node import KeyPath, Mistake, Node, in_order
from streamproxy.config.overlay import overlay, put
from streamproxy.config.references import mistakes_in_profiles
from streamproxy.config.schema import Config, repeated_names
from streamproxy.config.tags import tags
from streamproxy.config.wording import mistakes as worded
from streamproxy.errors import ConfigError

COMMAND_LINE = "command line"
"""The place of a mistake in an override."""
SYSTEM_FILES = (Path("/etc/streamproxy/config.yml"), Path("/config/config.yml"))
NO_OVERRIDES: Mapping[str, object] = MappingProxyType({})


def find(environ: Mapping[str, str], cwd: Path, system_files: Sequence[Path] = SYSTEM_FILES) -> Path | None:
    """Find the configuration file where none is named on the command line.

    `$STREAMPROXY_CONFIG`, whether it exists or not; then the first that exists of ./streamproxy.yml, ./config.yml
    (StreamPipe's default), $XDG_CONFIG_HOME/streamproxy/config.yml and the system's files.

    Returns:
        Its path; None where there is none.
    """
    if named := environ.get("STREAMPROXY_CONFIG"):
        return cwd / named
    candidates = [cwd / "streamproxy.yml", cwd / "config.yml"]
    for name, below in (("XDG_CONFIG_HOME", "streamproxy/config.yml"), ("HOME", ".config/streamproxy/config.yml")):
        if environ.get(name, "").startswith("/"):
            candidates.append(Path(environ[name]) / below)
            break
    return next(filter(_is_file, [*candidates, *system_files]), None)


def load(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = NO_OVERRIDES) -> Config:
    """Read and check the configuration.

    Args:
        path: The file; None for a configuration of the environment and the command line alone.
        environ: The environment's variables.
        overrides: Values from the command line by dotted path, such as `server.port`; None stands for not given.

    Raises:
        ConfigError: It cannot be used; lists every mistake in file, environment and command line.
    """
    root, found = (Node({}, "environment"), []) if path is None else compose(_read(path), str(path), tags(environ))
    root, more = overlay(root, environ)
    found += more
    for dotted, value in overrides.items():
        if value is not None:
            root = put(root, tuple(dotted.split(".")), str(value), COMMAND_LINE)
    folder = (path or Path("config.yml")).absolute().parent
    folders = {"cache_dir": str(default_cache_dir(environ)), "state_dir": str(default_state_dir(environ))}
    values = folders | _without_nulls(root)
    try:
        config = Config.model_validate(values, context=folder)
    except ValidationError as error:
        # What could not be read stands as null, and is not to be told a second time.
        unread = {mistake.place for mistake in found}
        errors = error.errors(include_url=False, include_context=True, include_input=False)
        found += [mistake for mistake in worded(errors, root) if mistake.place not in unread]
    names = _names(values.get("playlists"), folder)
    found += _repeated(names, root)
    found += _unknown_accounts(values, names, root)
    found += mistakes_in_profiles(values, root)
    if found:
        raise ConfigError(in_order(found))
    return config


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        reason = "there is no such file; name another one with -c, or write one as config.example.yml shows"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except ValueError:
        reason = "is not the name of a file"
    raise ConfigError([f"{path}: {reason}"])


def _without_nulls(root: Node) -> dict[str, object]:
    values = root.plain()
    assert isinstance(values, dict), "the root of a document is a mapping"
    return {key: value for key, value in values.items() if value is not None or key not in Config.model_fields}


def _names(entries: object, folder: Path) -> dict[int, str]:
    """Name the lists, by index; those that are wrong are left out."""
    names: dict[int, str] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        try:
            names[index] = PlaylistConfig.model_validate(entry, context=folder).name
        except ValidationError:
            continue  # it has been reported
    return names


def _repeated(names: Mapping[int, str], root: Node) -> Iterator[Mistake]:
    """Tell of lists with the same name, also where other lists are wrong."""
    for index, first in repeated_names(names).items():
        path = ("playlists", index, "name")
        node, depth = root.find(path)
        if depth == len(path):
            yield Mistake(node.place, path, f"must differ from the name of playlists.{first}")
        else:
            text = f"the name derived from its address is that of playlists.{first} too; add a 'name' of its own"
            yield Mistake(node.place, path[:2], text)


def _unknown_accounts(values: Mapping[str, object], names: Mapping[int, str], root: Node) -> Iterator[Mistake]:
    """Tell of streams and backups whose account is no list's: without a list nothing would limit them."""
    lists = values.get("playlists") or []
    if not isinstance(lists, list) or len(names) < len(lists):
        return  # the name may be that of a list that could not be read
    known = sorted(set(names.values()))
    for path, account in _accounts(values.get("streams")):
        if account not in known:
            text = f"must be the name of a list: {', '.join(known)}" if known else "must be the name of a list"
            yield Mistake(root.find(path)[0].place, path, text)


def _accounts(streams: object) -> Iterator[tuple[KeyPath, str]]:
    """Yield the accounts that streams and their backups name, and where they do."""
    for name, stream in streams.items() if isinstance(streams, dict) else ():
        if not isinstance(stream, dict):
            continue
        backups = stream.get("failover")
        users: list[tuple[KeyPath, object]] = [(("streams", name), stream)]
        users += (
            (("streams", name, "failover", i), x) for i, x in enumerate(backups if isinstance(backups, list) else ())
        )
        for path, user in users:
            if isinstance(user, dict) and isinstance(user.get("account"), str):
                yield (*path, "account"), user["account"]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be entered
        return False
