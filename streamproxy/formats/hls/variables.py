"""Variables of playlists: EXT-X-DEFINE and `{$name}` (RFC 8216bis, 4.3 and 4.4.2.3)."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from streamproxy.formats.hls.attributes import named
from streamproxy.formats.hls.errors import HlsError, PlaylistTooLarge, UndefinedVariable
from streamproxy.formats.hls.lines import MOST_CHARACTERS

_REFERENCE = re.compile(r"\{\$([A-Za-z0-9_-]+)\}")
_UNFIT = re.compile(r'[\x00-\x1f\x7f\x85\u2028\u2029"]')
_SHOWN = 40


class Variables:
    """The variables of one playlist, as its lines define them.

    Args:
        url: Where the playlist came from, after redirects: QUERYPARAM looks into its query.
        imported: What the multivariant playlist defined, for IMPORT.
    """

    def __init__(self, url: str, imported: Mapping[str, str]) -> None:
        self.defined: dict[str, str] = {}
        self._url = url
        self._imported = imported
        self._room = MOST_CHARACTERS

    def define(self, attribute_list: str) -> None:
        """Take a definition.

        Raises:
            HlsError: The name is taken, or the value holds what no quoted string may.
            UndefinedVariable: There is nothing to import, or no such parameter in the query.
        """
        tag = named(attribute_list)
        if "NAME" in tag:
            self._add(tag["NAME"], self.expand(tag.get("VALUE", "")))
        elif "QUERYPARAM" in tag:
            self._add(tag["QUERYPARAM"], _parameter(self._url, tag["QUERYPARAM"]))
        elif "IMPORT" in tag:
            self._add(tag["IMPORT"], self._imported.get(tag["IMPORT"]))

    def _add(self, name: str, value: str | None) -> None:
        if value is None:
            raise UndefinedVariable(f"nothing to define the variable {name[:_SHOWN]!r} by")
        if name in self.defined:
            raise HlsError(f"the variable {name[:_SHOWN]!r} is defined twice")
        if _UNFIT.search(value):
            raise HlsError(f"the variable {name[:_SHOWN]!r} holds a quote or a control character")
        self.defined[name] = value

    def expand(self, text: str) -> str:
        """Put values in the place of references.

        Raises:
            UndefinedVariable: A reference is to nothing.
            PlaylistTooLarge: The values put in, in all, are longer than a playlist may be.
        """
        return _REFERENCE.sub(self._value, text) if "{$" in text else text

    def _value(self, reference: re.Match[str]) -> str:
        value = self.defined.get(reference[1])
        if value is None:
            raise UndefinedVariable(f"the variable {reference[1][:_SHOWN]!r} is not defined")
        # Values may refer to each other, so that each line can double what the one before it has become.
        self._room -= len(value)
        if self._room < 0:
            raise PlaylistTooLarge("variables that grow beyond the length of a playlist")
        return value


def _parameter(url: str, name: str) -> str | None:
    query = url.partition("#")[0].partition("?")[2]
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if unquote(key) == name and value:
            return unquote(value, errors="surrogateescape")
    return None
