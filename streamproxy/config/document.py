"""YAML to nodes, strictly.

No scalar is ever guessed to be something else: `0123`, `no`, `12:30:45`, `1.10` and `true` arrive as the text that was
written, and the schema, which knows what is wanted, reads numbers from text. So the only YAML type that is resolved is
null. Duplicate keys, unknown tags and files that grow without bounds by aliases are mistakes.
"""

import re
from collections.abc import Iterator
from typing import NoReturn

import yaml

from streamproxy.config.node import Mistake, Node, Place, Position, in_order
from streamproxy.config.tags import Tags
from streamproxy.errors import ConfigError

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML built without libyaml: the same events, more slowly
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]  # mypy sees the first import only

MAX_SIZE = 16 * 1024 * 1024
"""Bytes a file may have."""
MAX_DEPTH = 32
"""How deep lists and mappings may nest, aliases followed."""
MAX_NODES = 1_000_000
"""How many values a file may have, each alias counted with all that it stands for."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_CORE = "tag:yaml.org,2002:"
_CORE_TAGS = frozenset({None, "!", *(_CORE + name for name in ("str", "int", "float", "bool", "null", "seq", "map"))})
# YAML 1.2.2, 5.1, c-printable; a byte order mark may only stand at the start
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def compose(raw: bytes, name: str, tags: Tags) -> tuple[Node, list[Mistake]]:
    """Read a file's content.

    Args:
        raw: UTF-8, at most `MAX_SIZE` bytes, one YAML document.
        name: The file's name in positions.
        tags: What stands for a tagged scalar.

    Returns:
        The root, always a mapping and empty for an empty file, and the mistakes that left the rest readable.

    Raises:
        ConfigError: It cannot be read to the end; lists the mistakes up to there.
    """
    text = _decode(raw, name)
    composer = _Composer(_events(text), name, tags)
    try:
        return composer.document(), composer.mistakes
    except yaml.YAMLError as error:
        raise ConfigError(in_order([*composer.mistakes, _syntax_mistake(error, text, name)])) from None


def _decode(raw: bytes, name: str) -> str:
    if len(raw) > MAX_SIZE:
        raise ConfigError([f"{name}: must be at most {MAX_SIZE} bytes"])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _position(name, error.object[: error.start].decode(errors="replace"))
        raise ConfigError([f"{place}: must be UTF-8 text; save the file as UTF-8"]) from None
    if found := _UNPRINTABLE.search(text):
        place = _position(name, text[: found.start()])
        raise ConfigError([f"{place}: the character U+{ord(found[0]):04X} must not stand in YAML"])
    return text


def _position(name: str, before: str) -> Position:
    lines = (before + ".").splitlines()
    return Position(name, len(lines), len(lines[-1]))


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except (ValueError, OverflowError) as error:  # the pure Python scanner lets chr() fail on "\UFFFFFFFF"
        raise yaml.YAMLError("an escape names no character") from error


class _Composer:
    """Makes nodes of the parser's events."""

    def __init__(self, events: Iterator[yaml.Event], name: str, tags: Tags) -> None:
        self._events = events
        self._name = name
        self._tags = tags
        self._anchors: dict[str, Node] = {}
        self._path: list[str | int] = []
        self._nodes = 0
        self.mistakes: list[Mistake] = []

    def document(self) -> Node:
        next(self._events)  # the start of the stream
        empty = Node({}, Position(self._name, 1, 1))
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return empty
        root = self._node(next(self._events), None, 0)
        next(self._events)  # the end of the document
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            self._note(self._place(following), "a second document: a file must hold one, so remove this '---' line")
        if root.value is None:
            return empty
        if not isinstance(root.value, dict):
            self._note(root.place, "must be a mapping of sections, such as 'server:'")
            return empty
        return root

    def _node(self, event: yaml.Event, key_place: Position | None, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            node = self._target(event)
            self._admit(node, self._place(event), depth)
            return node._replace(key_place=key_place)
        assert isinstance(event, yaml.NodeEvent)
        place = self._place(event)
        self._count(place, depth)
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)  # an alias inside of it must not find an older one
        node = self._read(event, place, key_place, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _read(self, event: yaml.NodeEvent, place: Position, key_place: Position | None, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place, key_place)
        assert isinstance(event, yaml.CollectionStartEvent)
        if event.tag not in _CORE_TAGS:
            self._note(place, f"{event.tag} is no tag for a list or mapping")
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(self._list(depth), place, key_place)
        return Node(self._mapping(depth), place, key_place)

    def _scalar(self, event: yaml.ScalarEvent, place: Position, key_place: Position | None) -> Node:
        if stand_in := self._tags.get(event.tag or ""):
            try:
                return Node(stand_in(event.value), place, key_place, secret=True)
            except ValueError as error:
                self._note(place, str(error))
                return Node(None, place, key_place)
        if event.tag not in _CORE_TAGS:
            self._note(place, f"{event.tag} is no tag; there are {', '.join(self._tags)}")
            return Node(None, place, key_place)
        unquoted = event.implicit[0]
        if event.tag == _CORE + "null" or (unquoted and event.value in _NULLS):
            return Node(None, place, key_place)
        return Node(event.value, place, key_place)

    def _list(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            self._path.append(len(items))
            items.append(self._node(event, None, depth + 1))
            self._path.pop()
        return items

    def _mapping(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        merged: Node | None = None
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = self._place(event)
            key = self._key(event, depth)
            self._path.append(key)
            first = merged if _is_merge(event) else entries.get(key)
            if first is not None:
                self._note_duplicate(place, first)
            node = self._node(next(self._events), place, depth + 1)
            self._path.pop()
            if _is_merge(event):
                merged = merged or node
            else:
                entries.setdefault(key, node)
        return entries if merged is None else self._merge(entries, merged)

    def _key(self, event: yaml.Event, depth: int) -> str:
        if isinstance(event, yaml.ScalarEvent) and event.tag in _CORE_TAGS and event.anchor is None:
            self._count(self._place(event), depth)
            return event.value  # also for null, on, 0123: a key is what was written
        place = self._place(event)
        node = self._node(event, None, depth + 1)
        if isinstance(node.value, str) and not node.secret:
            return node.value
        self._note(place, "a key must be text, without a tag of its own")
        return f"line {place.line}"

    def _merge(self, entries: dict[str, Node], merged: Node) -> dict[str, Node]:
        """Put the entries that `<<` names below the mapping's own (https://yaml.org/type/merge.html)."""
        bases = merged.value if isinstance(merged.value, list) else [merged]
        result = dict(entries)
        for base in bases:
            if not isinstance(base.value, dict):
                self._note(base.place, "'<<' must name a mapping or a list of mappings")
                continue
            for key, node in base.value.items():
                result.setdefault(key, node)
        return result

    def _target(self, event: yaml.AliasEvent) -> Node:
        try:
            return self._anchors[event.anchor or ""]
        except KeyError:
            self._stop(self._place(event), f"the alias *{event.anchor} names nothing above it")

    def _admit(self, node: Node, place: Position, depth: int) -> None:
        """Count a node again, with all below it, where an alias repeats it."""
        self._count(place, depth)
        if isinstance(node.value, dict):
            for child in node.value.values():
                self._admit(child, place, depth + 1)
        elif isinstance(node.value, list):
            for child in node.value:
                self._admit(child, place, depth + 1)

    def _count(self, place: Position, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._stop(place, f"must not nest deeper than {MAX_DEPTH} levels")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(place, f"must not hold more than {MAX_NODES} values, aliases followed")

    def _place(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        assert mark is not None, "a parser marks all its events"
        return Position(self._name, mark.line + 1, mark.column + 1)

    def _note(self, place: Place, text: str) -> None:
        self.mistakes.append(Mistake(place, tuple(self._path), text))

    def _note_duplicate(self, place: Position, first: Node) -> None:
        known = first.key_place
        where = f" on line {known.line}, column {known.column}" if isinstance(known, Position) else ""
        self._note(place, f"duplicate key, first{where}; remove one of them")

    def _stop(self, place: Position, text: str) -> NoReturn:
        self._note(place, text)
        raise ConfigError(in_order(self.mistakes))


def _is_merge(event: yaml.Event) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]


def _syntax_mistake(error: yaml.YAMLError, text: str, name: str) -> Mistake:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Mistake(name, (), f"not YAML: {error}")
    mark, reason = error.problem_mark, f"not YAML: {error.problem}"
    if error.context and error.context_mark:
        if error.problem and "end of stream" in error.problem:
            mark = error.context_mark  # where the quote or bracket begins that nothing closes
        reason += f" ({error.context} from line {error.context_mark.line + 1}, column {error.context_mark.column + 1})"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if line[mark.column : mark.column + 1] == "\t":
        reason = "a tab must not indent; use blanks"
    snippet = f"\n  | {_masked(line)}\n  | {' ' * mark.column}^"
    return Mistake(Position(name, mark.line + 1, mark.column + 1), (), reason + snippet)


def _masked(line: str) -> str:
    """Show a line's shape and its key; its value may hold a password."""
    found = re.match(r"[\s-]*(?:[\w.-]+:(?=\s|$))?", line)
    start = found.end() if found else 0
    return line[:start].replace("\t", " ") + re.sub(r"[^\W_]", "*", line[start:]).replace("\t", " ")
