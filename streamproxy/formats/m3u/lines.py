"""Single lines of a list: `#EXTINF`, and options that carry request headers."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streamproxy.formats import urls

BLANKS = " \t\v\f\xa0\ufeff"
"""What is trimmed off lines."""
LINES = re.compile(r"[^\r\n]+")
"""Lines, without their ends."""
ATTRIBUTE = re.compile(r"(?<![^\s\"',])([^\s\"'=,]+)=(?:\"([^\"]*)\"?|'([^']*)'?|(\S*))")
"""A name, and its value: in double quotes, in single quotes or bare."""
DURATION = re.compile(r"\s*([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)")
"""Seconds at the beginning of what an `#EXTINF` line says."""
EPG_ADDRESSES = frozenset({"x-tvg-url", "url-tvg"})
"""Attributes of a list that name programme guides, several with commas between."""

_OPTION = re.compile(r"#(?:EXTVLCOPT(?::|--)|KODIPROP:|(EXTHTTP:))\s*(.*)", re.IGNORECASE | re.DOTALL)
_OPTION_HEADERS = {
    "http-user-agent": "User-Agent",
    "http-referrer": "Referer",
    "http-referer": "Referer",
    "http-origin": "Origin",
}
_OPTION_HEADER_PAIRS = frozenset(
    {
        "inputstream.adaptive.stream_headers",
        "inputstream.adaptive.manifest_headers",
        "inputstream.adaptive.common_headers",
    }
)
_LONGEST_JSON = 65_536


class Extinf(NamedTuple):
    """What an `#EXTINF` line says.

    Attributes:
        duration: Seconds; -1 where it is endless or not given.
        attributes: All of them in their order, the first of those that share a name; without their quotes.
        title: Without blanks around it; empty where there is none.
    """

    duration: float
    attributes: Mapping[str, str]
    title: str

    def attribute(self, name: str) -> str:
        """Look up an attribute by its name in lower case, however the list spells it; empty where there is none."""
        value = self.attributes.get(name)
        if value is None:
            value = next((value for key, value in self.attributes.items() if key.lower() == name), "")
        return value.strip()


def read_extinf(line: str) -> Extinf:
    """Read an `#EXTINF` line, however badly it is quoted."""
    body = line.partition(":")[2]
    head, title = split_title(body)
    duration = DURATION.match(head)
    return Extinf(float(duration[1]) if duration else -1.0, read_attributes(head), title.strip())


def split_title(body: str) -> tuple[str, str]:
    """Cut at the comma that follows the last quote, else at the last comma that stands in no quotes."""
    comma = body.find(",", body.rfind('"') + 1) if '"' in body else -1
    if comma < 0:
        comma = body.rfind(",")
        if comma < 0 or body.count('"', 0, comma) % 2:
            return body, ""
    return body[:comma], body[comma + 1 :]


def read_attributes(text: str) -> dict[str, str]:
    """Read all attributes in their order; of those that share a name, the first."""
    attributes: dict[str, str] = {}
    for name, quoted, single_quoted, bare in ATTRIBUTE.findall(text):
        attributes.setdefault(name, quoted or single_quoted or bare)
    return attributes


def trimmed(line: str) -> str:
    """Take blanks and the line end off."""
    return line.strip(BLANKS + "\r\n")


def is_extinf(line: str) -> bool:
    """Tell an `#EXTINF` line."""
    return line[:7].upper() == "#EXTINF"


def option_headers(line: str) -> list[tuple[str, str]] | None:
    """Read the request headers in a line.

    Returns:
        None where the line is about something else; an empty list where it is about headers, but none may be sent.
    """
    option = _OPTION.match(line)
    if not option:
        return None
    if option[1]:
        return _headers_in_json(option[2])
    name, _, value = option[2].partition("=")
    name, value = name.strip().lower(), value.strip()
    if name in _OPTION_HEADERS:
        header = _OPTION_HEADERS[name]
        return [(header, value)] if urls.is_header(header, value) else []
    return urls.header_pairs(value) if name in _OPTION_HEADER_PAIRS else None


def _headers_in_json(text: str) -> list[tuple[str, str]]:
    if len(text) > _LONGEST_JSON:
        return []
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(members, dict):
        return []
    return [(name, value) for name, value in members.items() if isinstance(value, str) and urls.is_header(name, value)]


def merge_headers(headers: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Merge attributes, in order: the first value of each, and all addresses of programme guides."""
    spelling: dict[str, str] = {}
    values: dict[str, dict[str, None]] = {}
    for header in headers:
        for name, value in header.items():
            known = spelling.setdefault(name.lower(), name)
            united = known.lower() in EPG_ADDRESSES
            if united or known not in values:
                values.setdefault(known, {}).update(dict.fromkeys(value.split(",") if united else [value]))
    return {name: ",".join(value) for name, value in values.items()}
