"""What only the configuration as a whole can tell: profiles that cannot be, and names that lead to none."""

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from streamproxy.config.node import KeyPath, Mistake, Node, Place
from streamproxy.config.transcoding import ProfileConfig, merged
from streamproxy.formats.transcoding import BUILT_IN, ProfileError


def mistakes_in_profiles(values: Mapping[str, object], root: Node) -> Iterator[Mistake]:
    """Tell of profiles that cannot be, and of streams and lists whose profile is none."""
    profiles = _mapping(_mapping(values.get("transcode")).get("profiles"))
    for name, profile in profiles.items():
        path: KeyPath = ("transcode", "profiles", name)
        try:
            merged(name, ProfileConfig.model_validate(profile))
        except ProfileError as error:
            yield Mistake(_place(root, path), path, str(error))
        except ValidationError:
            continue  # it has been reported
    known = [*BUILT_IN, *(name for name in profiles if name not in BUILT_IN)]
    for path, user in _users(values):
        wanted = _mapping(user).get("profile")
        if isinstance(wanted, str) and wanted not in known:
            yield Mistake(_place(root, (*path, "profile")), (*path, "profile"), f"must be one of {', '.join(known)}")


def _users(values: Mapping[str, object]) -> Iterator[tuple[KeyPath, object]]:
    lists = values.get("playlists")
    for index, playlist in enumerate(lists if isinstance(lists, list) else []):
        yield ("playlists", index), playlist
    for name, stream in _mapping(values.get("streams")).items():
        yield ("streams", name), stream


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _place(root: Node, path: KeyPath) -> Place:
    return root.find(path)[0].place
