"""Which entries of several lists are the same channel."""

from collections.abc import Iterable, Iterator
from typing import Literal
from urllib.parse import unquote

from streamproxy.formats.m3u import UNNAMED, Entry, Facts

Rule = Literal["none", "tvg-id", "name"]

_SEPARATOR = "\x1f"
"""A blank, as far as Python is concerned: a text without blanks does not hold it."""


def keys(entries: Iterable[tuple[Entry, Facts]], rule: Rule) -> Iterator[str]:
    """Yield what each entry of one list has in common with the entries of other lists that are the same channel.

    The second entry of a list with the same guide id or title has another key than the first: entries of one list are
    never the same, and the second of a list goes with the second of another.

    Args:
        entries: The entries in order, with what identifies them.
        rule: What counts: nothing, the guide id, or the title. Case never does, nor do blanks around a text or more
            than one between words; everything else does, so that "News" and "News HD" are two channels.

    Yields:
        A key, the same one only once; empty for what is never merged.
    """
    if rule == "none":
        return ("" for _ in entries)
    text_of = _guide_id if rule == "tvg-id" else _title
    return _numbered(text_of(entry, facts) for entry, facts in entries)


def _numbered(texts: Iterable[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for text in texts:
        if before := seen.get(text, 0):
            yield f"{text}{_SEPARATOR}{before}" if text else ""
        else:
            yield text
        seen[text] = before + 1


def _guide_id(_: Entry, facts: Facts) -> str:
    return _plain(facts.tvg_id)


def _title(entry: Entry, facts: Facts) -> str:
    # Where an entry has no title, the end of its URL stands for it: a number that is another channel elsewhere.
    if facts.title == UNNAMED or facts.title in unquote(facts.url):
        extinf = entry.extinf
        return _plain(extinf.title or extinf.attribute("tvg-name"))
    return _plain(facts.title)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
