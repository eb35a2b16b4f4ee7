"""Rewriting a playlist line by line, so that every URI in it leads back here and everything else stays as it was.

What carries a URI is listed in RFC 8216bis, 4.4; tags of vendors are added. Text is what `bytes.decode("utf-8",
"surrogateescape")` gives, so that encoding the result in the same way gives back every byte that is not part of a URI.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from streamproxy.formats.hls.attributes import Attribute, attributes
from streamproxy.formats.hls.lines import BLANKS, LineKind, content, lines
from streamproxy.formats.hls.references import References, scheme_of
from streamproxy.formats.hls.variables import Variables

SLICE_LINES = 1000
"""How many lines are rewritten in one go."""
_SLICE_CHARACTERS = 65_536


class Kind(StrEnum):
    """What a URI leads to."""

    PLAYLIST = "playlist"
    SEGMENT = "segment"
    PART = "part"
    MAP = "map"
    KEY = "key"
    ASSET = "asset"
    """What an interstitial plays: a playlist, or a JSON list of playlists. RFC 8216bis wants an absolute URL here."""
    DATA = "data"
    """Session data, images, and whatever else a tag of a vendor names."""


class Target(NamedTuple):
    """What a URI of a playlist leads to. A hint of what is to come has the kind of what it announces.

    Attributes:
        kind: What it is.
        url: Absolute, http or https, not quoted anew. A secret.
        reference: As it stands in the playlist, variables expanded. A secret.
    """

    kind: Kind
    url: str
    reference: str

    def __repr__(self) -> str:
        return f"Target(kind={self.kind.value!r})"


Link = Callable[[Target], str | None]
"""Gives what to write in the place of a reference, or None to refuse it. One target must always give the same link:
players match the hint of a part with the part by its URI."""


class _UriTag(NamedTuple):
    """What the URIs of a tag are.

    Attributes:
        kind: What they lead to.
        needed: Whether other lines make no sense, or another one, without it.
    """

    kind: Kind
    needed: bool = False


_URI_TAGS = {
    "EXT-X-KEY": _UriTag(Kind.KEY, needed=True),
    "EXT-X-SESSION-KEY": _UriTag(Kind.KEY),
    "EXT-X-MAP": _UriTag(Kind.MAP, needed=True),
    "EXT-X-MEDIA": _UriTag(Kind.PLAYLIST, needed=True),
    "EXT-X-I-FRAME-STREAM-INF": _UriTag(Kind.PLAYLIST),
    "EXT-X-IMAGE-STREAM-INF": _UriTag(Kind.PLAYLIST),
    "EXT-X-RENDITION-REPORT": _UriTag(Kind.PLAYLIST),
    "EXT-X-PART": _UriTag(Kind.PART, needed=True),
    "EXT-X-PRELOAD-HINT": _UriTag(Kind.PART),
    "EXT-X-DATERANGE": _UriTag(Kind.ASSET),
    "EXT-X-PREFETCH": _UriTag(Kind.SEGMENT),
    "EXT-X-TWITCH-PREFETCH": _UriTag(Kind.SEGMENT),
}
_ANY_OTHER_TAG = _UriTag(Kind.DATA)
_URI_ATTRIBUTES = frozenset({"URI", "X-URI", "X-ASSET-URI", "X-ASSET-LIST"})
_PREFETCH = frozenset({"EXT-X-PREFETCH", "EXT-X-TWITCH-PREFETCH"})
_DROPPED = frozenset({"EXT-X-CONTENT-STEERING"})

# Looked up once: to find a member of an enumeration takes longer than to compare it.
_URI, _EXTINF, _TAG_LINE = LineKind.URI, LineKind.EXTINF, LineKind.TAG

_TAG = re.compile(rf"[{BLANKS}]*+#(EXT[A-Z0-9_-]*+)(?:[ \t]*+:[ \t]*+([^\r\n]*+))?")
_WORTH_READING = re.compile(r"\{\$|URI|LIST", re.IGNORECASE)
_BARE_URL = re.compile(r"https?://", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)

_REFUSED = {
    Kind.PLAYLIST: "refused.m3u8",
    Kind.SEGMENT: "refused.ts",
    Kind.PART: "refused.ts",
    Kind.MAP: "refused.mp4",
    Kind.KEY: "refused.key",
}
_OPAQUE_KEYS = frozenset({"data", "skd", "urn"})
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


def rewrite(text: str, base_url: str, link: Link, *, variables: Mapping[str, str] = _NO_VARIABLES) -> str:
    """Rewrite a playlist in one go; see `Rewriter`."""
    return "".join(Rewriter(base_url, link, variables=variables).slices(text))


class Rewriter:
    """Rewrites one playlist.

    Every URI that leads to http or https is replaced by what `link` gives. Variables are expanded and their definitions
    left out, as the player would look for them in another URL. EXT-X-CONTENT-STEERING is left out: what it leads to
    names hosts that are not ours. Keys of other formats than `identity` stay, and so do `skd:` and `urn:` of keys, and
    `data:` of what is no playlist: they name no place.

    Any other URI (`file:`, `pipe:`, `concat:`, `rtmp:`, ...) is refused, and counted. A segment becomes a gap, so that
    the numbers of those behind it stay right. Variants, renditions, keys, maps and parts become a link that leads
    nowhere (`refused.ts`, ...): without its key, an encrypted segment would be taken for a clear one. Any other tag
    is left out.

    Args:
        base_url: Where the playlist came from, after redirects.
        link: What to write for each URI, called in order of the lines. For EXT-X-RENDITION-REPORT, which wants a
            relative reference, scheme and host of the link are cut off.
        variables: What the multivariant playlist defined (`MultivariantPlaylist.variables`), for IMPORT.

    Attributes:
        refused: How many URIs were refused up to now.
        variables: What the playlist defined up to now; the playlists below it may import it.
    """

    def __init__(self, base_url: str, link: Link, *, variables: Mapping[str, str] = _NO_VARIABLES) -> None:
        self.refused = 0
        self._link = link
        self._references = References(base_url)
        self._variables = Variables(base_url, variables)
        self.variables: Mapping[str, str] = self._variables.defined
        self._after_stream_inf = False

    def slices(self, text: str, slice_lines: int = SLICE_LINES) -> Iterator[str]:
        """Rewrite the playlist, once.

        Args:
            text: The playlist.
            slice_lines: How many lines to rewrite before the caller may do something else; fewer where they are long.

        Returns:
            Pieces which joined are the playlist. None of them should be sent before the last one is there.

        Raises:
            PlaylistTooLarge: It is beyond the limits of `lines`, or grows beyond them by its variables.
            UndefinedVariable: It refers to a variable that is not defined.
            HlsError: It defines a variable twice.
        """
        done: list[str] = []
        characters = 0
        for kind, line in lines(text):
            characters += len(line)
            if kind is _URI:
                line = self._uri_line(line)
            elif kind is _EXTINF:
                self._after_stream_inf = False
            elif kind is _TAG_LINE:
                line = self._tag_line(line)
            done.append(line)
            if len(done) >= slice_lines or characters >= _SLICE_CHARACTERS:
                yield "".join(done)
                done.clear()
                characters = 0
        yield "".join(done)

    def _uri_line(self, line: str) -> str:
        reference = content(line)
        kind = Kind.PLAYLIST if self._after_stream_inf else Kind.SEGMENT
        self._after_stream_inf = False
        before, _, after = line.partition(reference)
        link = self._linked(kind, self._variables.expand(reference) if "{$" in reference else reference)
        if link is None:
            link = _REFUSED[kind]
            if kind is Kind.SEGMENT:
                before += "#EXT-X-GAP" + (after.lstrip(BLANKS) or "\n")
        return before + link + after

    def _tag_line(self, line: str) -> str:
        tag = _TAG.match(line)
        if not tag:
            return line
        name, value = tag[1], tag[2]
        if name == "EXT-X-STREAM-INF":
            self._after_stream_inf = True
        if name in _DROPPED:
            return ""
        if not value:
            return line
        if name == "EXT-X-DEFINE":
            self._variables.define(value)
            return ""
        if name in _PREFETCH or _BARE_URL.match(value):
            value = value.rstrip(BLANKS)
            rewritten = self._linked(_URI_TAGS.get(name, _ANY_OTHER_TAG).kind, self._variables.expand(value))
        elif _WORTH_READING.search(value):
            rewritten = self._attribute_list(name, value)
        else:
            return line
        if rewritten is None:
            return ""
        start = tag.start(2)
        return line[:start] + rewritten + line[start + len(value) :]

    def _attribute_list(self, name: str, text: str) -> str | None:
        """Rewrite the URIs of a tag; None if one is refused that the playlist can do without."""
        tag = _URI_TAGS.get(name, _ANY_OTHER_TAG)
        pieces: list[str] = []
        end = 0
        found = attributes(text)
        for attribute in found:
            value = self._variables.expand(attribute.value)
            if attribute.name in _URI_ATTRIBUTES and value:
                link = self._attribute_link(name, tag.kind, value, found)
                if link is None:
                    if not tag.needed:
                        return None
                    link = _REFUSED[tag.kind]
                value = link
            pieces += (text[end : attribute.start], value)
            end = attribute.end
        pieces.append(text[end:])
        return "".join(pieces)

    def _attribute_link(self, name: str, kind: Kind, reference: str, others: list[Attribute]) -> str | None:
        if kind is Kind.KEY:
            key_format = self._variables.expand(_value(others, "KEYFORMAT"))
            if key_format.lower() not in {"", "identity"} and self._references.resolve(reference) is not None:
                return reference
        elif name == "EXT-X-PRELOAD-HINT" and _value(others, "TYPE") == "MAP":
            kind = Kind.MAP
        link = self._linked(kind, reference)
        if name == "EXT-X-RENDITION-REPORT" and link and link != reference:
            link = _ORIGIN.sub("", link, count=1) or "/"
        return link

    def _linked(self, kind: Kind, reference: str) -> str | None:
        """Return what to write for a reference; None, and counted, if it is refused."""
        url = self._references.resolve(reference)
        if url is not None:
            link = self._link(Target(kind, url, reference))
        else:
            link = reference if _names_no_place(kind, scheme_of(reference)) else None
        if link is None:
            self.refused += 1
        return link


def _value(found: list[Attribute], name: str) -> str:
    return next((attribute.value for attribute in found if attribute.name == name), "")


def _names_no_place(kind: Kind, scheme: str) -> bool:
    if kind is Kind.KEY:
        return scheme in _OPAQUE_KEYS
    # A playlist within a URL could name any place, and would not come by here.
    return scheme == "data" and kind not in {Kind.PLAYLIST, Kind.ASSET}
