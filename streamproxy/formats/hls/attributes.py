"""Attribute lists (RFC 8216bis, 4.2), as packagers write them: with blanks, without commas, with quotes left open."""

import re
from typing import NamedTuple

from streamproxy.formats.hls.errors import PlaylistTooLarge

MOST_ATTRIBUTES = 1000
"""Number of attributes of one tag."""

# Every part is possessive: whatever the list holds, it is read once, from left to right.
_ATTRIBUTE = re.compile(r'([^=,"]*+)(?:=[ \t]*+(?:"([^"]*+)"?|([^,"\s]*+)))?+,?')
_NAME = 1


class Attribute(NamedTuple):
    """One attribute, and where its value stands in the list.

    Attributes:
        name: In upper case.
        value: Without quotes.
        start: Where the value begins.
        end: Where it ends.
    """

    name: str
    value: str
    start: int
    end: int


def attributes(text: str) -> list[Attribute]:
    """Read an attribute list; what has no `=` is left out.

    A quoted value without a closing quote goes on to the end: a URI in it must not slip through.

    Raises:
        PlaylistTooLarge: There are more than `MOST_ATTRIBUTES`.
    """
    found = []
    for number, match in enumerate(_ATTRIBUTE.finditer(text)):
        if number > MOST_ATTRIBUTES:
            raise PlaylistTooLarge(f"a tag of more than {MOST_ATTRIBUTES} attributes")
        group = match.lastindex or _NAME
        if group != _NAME:
            # A comma left out before this attribute leaves a word of the one before in front of its name.
            name = match[_NAME].upper().split()[-1:]
            found.append(Attribute("".join(name), match[group], *match.span(group)))
    return found


def named(text: str) -> dict[str, str]:
    """Read an attribute list into values by name; of two with one name the first counts.

    Raises:
        PlaylistTooLarge: There are more than `MOST_ATTRIBUTES`.
    """
    return {attribute.name: attribute.value for attribute in reversed(attributes(text))}
