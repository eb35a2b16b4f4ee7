"""What a configuration is made of before it is checked: nodes that know where they were written, and mistakes."""

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""The way from the root to a value: keys of mappings and indexes of lists."""


class Position(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """Write it as editors understand it."""
        return f"{self.file}:{self.line}:{self.column}"


Place: TypeAlias = Position | str
"""Where something was written: a position in a file, an environment variable, or the command line."""


class Node(NamedTuple):
    """A value as it was written; never changed, and shared by all who refer to it by an alias.

    Attributes:
        value: Text for every scalar, whatever it looks like, since only the schema knows what is wanted; None for null.
        place: Where the value was written.
        key_place: Where its key was written; None for list items and the root.
        secret: It came from `!env` or `!secret`: no message shows it.
    """

    value: "str | list[Node] | dict[str, Node] | None"
    place: Place
    key_place: Place | None = None
    secret: bool = False

    def plain(self) -> object:
        """Return the value and all below it without places: text, None, lists and dicts."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def find(self, path: KeyPath) -> tuple["Node", int]:
        """Follow a path as far as it leads; return the last node and how many steps led to it."""
        node = self
        for depth, part in enumerate(path):
            if isinstance(node.value, dict) and part in node.value:
                node = node.value[str(part)]
            elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
            else:
                return node, depth
        return node, len(path)


class Mistake(NamedTuple):
    """One thing that is wrong with a configuration, and what to do about it."""

    place: Place
    path: KeyPath
    text: str

    def __str__(self) -> str:
        """Write place, path and text on one line (a syntax error adds the line it is about)."""
        path = ".".join(map(_shown, self.path))
        return f"{self.place}: {path}: {self.text}" if path else f"{self.place}: {self.text}"


def in_order(mistakes: Iterable[Mistake]) -> list[str]:
    """Write mistakes in the order in which a person reads the file; those of variables and options come last."""
    return [str(mistake) for mistake in sorted(mistakes, key=_order)]


def _order(mistake: Mistake) -> tuple[bool, int, int, str]:
    place = mistake.place
    return (False, place.line, place.column, "") if isinstance(place, Position) else (True, 0, 0, place)


def _shown(part: str | int) -> str:
    text = str(part)
    if "://" in text or "@" in text:
        return "(hidden)"  # an address that slipped into a key may hold a password
    return text if text.isprintable() else text.encode("unicode_escape").decode()
