"""Mistakes in a user's words: where, which key, what it must be, and what it is unless that is a secret."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from pydantic_core import ErrorDetails

from streamproxy.config.keys import ROOT, Kind, kind_at
from streamproxy.config.node import KeyPath, Mistake, Node

_KEY = "[key]"
"""What the schema's library puts behind the path where a key itself is wrong."""
_WANTED = {
    "string_type": "must be text",
    "string_unicode": "must be text without halves of surrogate pairs",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "tuple_type": "must be a list",
    "path_type": "must be a path",
}
# Follows from another mistake, or is told better by whoever asked.
_CONSEQUENCES = frozenset({"default_factory_not_called", "impossible_profile", "repeated_names"})


def mistakes(errors: Iterable[ErrorDetails], root: Node) -> Iterator[Mistake]:
    """Tell the schema's errors about a tree of nodes as mistakes."""
    for error in errors:
        if error["type"] not in _CONSEQUENCES:
            yield _mistake(error, root)


def _mistake(error: ErrorDetails, root: Node) -> Mistake:
    path = error["loc"]
    node, depth = root.find(path)
    if depth < len(path) and path[-1] == _KEY:
        return Mistake(node.key_place or node.place, path[:-1], error["msg"])
    if error["type"] == "extra_forbidden":
        return Mistake(node.key_place or node.place, path, _unknown(path))
    if error["type"] == "missing":
        return Mistake(node.place, path, "required key is missing")
    # A short form is checked as the mapping that it stands for: the path is longer than what was written.
    return Mistake(node.place, path[:depth], _wanted(error) + _but(node, path))


def _wanted(error: ErrorDetails) -> str:
    if error["type"] in ("literal_error", "enum"):
        return f"must be {error['ctx']['expected']}"
    return _WANTED.get(error["type"], error["msg"])


def _but(node: Node, path: KeyPath) -> str:
    kind = kind_at(path)
    if node.value is None:
        return ", not null"
    if isinstance(node.value, list):
        return "" if kind and kind.is_list else ", not a list"
    if isinstance(node.value, dict):
        return "" if kind and (kind.is_map or kind.fields) else ", not a mapping"
    if kind is None or not kind.is_single:
        return ", not text"
    if kind.secret or node.secret or "://" in node.value or "@" in node.value:
        return ""
    return f", not {node.value!r}" if len(node.value) <= 40 else f", not {node.value[:40]!r}..."


def _unknown(path: KeyPath) -> str:
    key = str(path[-1])
    section = kind_at(path[:-1])
    assert section is not None, "only a section forbids keys"
    elsewhere = [f"{name}.{field}" for name in ROOT.fields for field in Kind(ROOT.fields[name].annotation).fields]
    guesses = [
        *get_close_matches(key.lower(), section.fields, 1),
        *(dotted for dotted in elsewhere if dotted.endswith(f".{key}")),
        *get_close_matches(key.lower(), elsewhere, 1),
    ]
    if guesses:
        return f"unknown key, did you mean {guesses[0]!r}?"
    return f"unknown key; here may stand {', '.join(section.fields)}"
