"""Reducing a playlist to what the `m3u8` package reads right.

The package stops at a number with a fraction, at an attribute it does not know and at a title with attributes in it. So
it gets only the tags that are needed to play, written anew as RFC 8216bis has them. Keys it does not get at all: of
several for one segment it keeps the last, and it compares each with all before it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from streamproxy.formats.hls.attributes import named
from streamproxy.formats.hls.errors import HlsError
from streamproxy.formats.hls.lines import BLANKS, LineKind, content, lines
from streamproxy.formats.hls.variables import Variables

LONGEST_DURATION = 86_400.0
"""Seconds that a segment may last: a day."""

_EXTINF = re.compile(rf"[{BLANKS}]*+#EXTINF:\s*([0-9]{{0,9}}(?:\.[0-9]{{0,9}})?)")
_TAG = re.compile(rf"[{BLANKS}]*+#(EXT[A-Z0-9-]*+)(?:[ \t]*+:)?([^\r\n]*+)")
_NUMBER = re.compile(r"\s*\"?\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)")
# A media sequence number makes an initialization vector, so 64 bits of it are more than enough.
_INTEGER = re.compile(r"\s*\"?\s*([0-9]{1,18})(?![0-9])")
_RESOLUTION = re.compile(r"[0-9]{1,6}x[0-9]{1,6}", re.IGNORECASE)
_METHOD = re.compile(r"[A-Za-z0-9-]{1,32}")
_BREAKS = re.compile(r"[^\S ]|^#")

_ONLY_IN_MULTIVARIANT = frozenset(
    {"EXT-X-STREAM-INF", "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF"}
)


@dataclass(frozen=True, slots=True)
class KeyTag:
    """EXT-X-KEY as it stands, variables expanded."""

    method: str
    uri: str = field(repr=False)
    iv: str
    key_format: str


class CleanPlaylist:
    """A playlist that the `m3u8` package can read, and what that would lose.

    Args:
        text: The playlist.
        variables: The variables known when it begins.

    Attributes:
        lines: What the package is to read.
        keys: The key in force for each segment.
        map_keys: The key in force for each EXT-X-MAP.
        has_sequence: Whether it says at which number it begins.
        multivariant: Whether it lists streams, and no segments.

    Raises:
        HlsError: It is too large, lists streams and segments, is a delta update, or misuses variables.
    """

    def __init__(self, text: str, variables: Variables) -> None:
        self.lines = ["#EXTM3U"]
        self.keys: list[KeyTag | None] = []
        self.map_keys: list[KeyTag | None] = []
        self.has_sequence = False
        self.multivariant = False
        self._variables = variables
        self._duration: str | None = None
        self._byte_range: str | None = None
        self._gap = False
        self._variant: str | None = None
        self._variants = 0
        self._keys: dict[str, KeyTag] = {}
        self._key: KeyTag | None = None
        self._tags: dict[str, Callable[[str], None]] = {
            "EXT-X-TARGETDURATION": self._target_duration,
            "EXT-X-MEDIA-SEQUENCE": self._media_sequence,
            "EXT-X-DISCONTINUITY-SEQUENCE": self._discontinuity_sequence,
            "EXT-X-BYTERANGE": self._take_byte_range,
            "EXT-X-KEY": self._take_key,
            "EXT-X-MAP": self._map,
            "EXT-X-STREAM-INF": self._stream_inf,
            "EXT-X-MEDIA": self._media,
            "EXT-X-DEFINE": variables.define,
            "EXT-X-SKIP": self._skip,
            "EXT-X-DISCONTINUITY": lambda _: self.lines.append("#EXT-X-DISCONTINUITY"),
            "EXT-X-GAP": self._take_gap,
            "EXT-X-ENDLIST": lambda _: self.lines.append("#EXT-X-ENDLIST"),
            "EXT-X-I-FRAMES-ONLY": lambda _: self.lines.append("#EXT-X-I-FRAMES-ONLY"),
        }
        self._read(text)

    def _read(self, text: str) -> None:
        for kind, line in lines(text):
            if kind is LineKind.URI:
                self._uri(line)
            elif kind is LineKind.EXTINF:
                duration = _EXTINF.match(line)
                assert duration is not None  # the number may be missing, so any EXTINF matches
                self._duration = duration[1]
            elif kind is LineKind.TAG:
                self._tag(line)
        if self._variants and self.keys:
            raise HlsError("streams and segments in one playlist")
        if self.keys:
            self.multivariant = False

    def _uri(self, line: str) -> None:
        reference = _written(self._variables.expand(content(line)))
        if reference and self._duration is not None:
            # Below zero, or no number at all: IPTV lists write -1 for what has no end.
            number = self._duration if self._duration.strip(".") else "-1"
            self.lines.append(f"#EXTINF:{number},")
            if self._byte_range is not None:
                self.lines.append(f"#EXT-X-BYTERANGE:{self._byte_range}")
            if self._gap:
                self.lines.append("#EXT-X-GAP")
            self.lines.append(reference)
            self.keys.append(self._key)
        elif reference and self._variant is not None:
            self.lines += (self._variant, reference)
            self._variants += 1
        # What stood before a URI without EXTINF is not for the segment after it.
        self._duration = self._byte_range = self._variant = None
        self._gap = False

    def _tag(self, line: str) -> None:
        tag = _TAG.match(line)
        if not tag:
            return
        if tag[1] in _ONLY_IN_MULTIVARIANT:
            self.multivariant = True
        take = self._tags.get(tag[1])
        if take:
            take(tag[2])

    def _target_duration(self, value: str) -> None:
        number = _NUMBER.match(value)
        if number:
            # The package takes whole numbers only, and of a limit the next one is as good.
            self.lines.append(f"#EXT-X-TARGETDURATION:{math.ceil(float(number[1]))}")

    def _media_sequence(self, value: str) -> None:
        number = _INTEGER.match(value)
        if number:
            self.has_sequence = True
            self.lines.append(f"#EXT-X-MEDIA-SEQUENCE:{number[1]}")

    def _discontinuity_sequence(self, value: str) -> None:
        number = _INTEGER.match(value)
        if number:
            self.lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{number[1]}")

    def _take_byte_range(self, value: str) -> None:
        self._byte_range = _written(value.strip(BLANKS + '"'))

    def _take_gap(self, _: str) -> None:
        self._gap = True

    def _take_key(self, value: str) -> None:
        tag = self._named(value)
        method = tag.get("METHOD", "").upper()
        if method == "NONE":
            self._keys.clear()
        else:
            key_format = tag.get("KEYFORMAT", "").lower() or "identity"
            self._keys[key_format] = KeyTag(
                method if _METHOD.fullmatch(method) else "UNKNOWN", tag.get("URI", ""), tag.get("IV", ""), key_format
            )
        # Keys in several formats open the same segments; only that of `identity` is one a client may fetch and use.
        self._key = self._keys.get("identity") or next(iter(self._keys.values()), None)

    def _map(self, value: str) -> None:
        tag = self._named(value)
        byte_range = f',BYTERANGE="{_written(tag["BYTERANGE"])}"' if "BYTERANGE" in tag else ""
        self.lines.append(f'#EXT-X-MAP:URI="{_written(tag.get("URI", ""))}"{byte_range}')
        self.map_keys.append(self._key)

    def _stream_inf(self, value: str) -> None:
        tag = self._named(value)
        bandwidth = _NUMBER.match(tag.get("BANDWIDTH", ""))
        written = [f"BANDWIDTH={bandwidth[1] if bandwidth else 0}"]
        if _RESOLUTION.fullmatch(tag.get("RESOLUTION", "")):
            written.append(f"RESOLUTION={tag['RESOLUTION'].lower()}")
        written += [f'{name}="{_written(tag[name])}"' for name in ("CODECS", "AUDIO") if name in tag]
        self._variant = f"#EXT-X-STREAM-INF:{','.join(written)}"
        self._duration = None

    def _media(self, value: str) -> None:
        tag = self._named(value)
        names = ("TYPE", "GROUP-ID", "NAME", "LANGUAGE", "DEFAULT", "URI")
        self.lines.append("#EXT-X-MEDIA:" + ",".join(f'{name}="{_written(tag.get(name, ""))}"' for name in names))

    def _skip(self, _: str) -> None:
        raise HlsError("a delta update, which was not asked for")

    def _named(self, attribute_list: str) -> dict[str, str]:
        return {name: self._variables.expand(value) for name, value in named(attribute_list).items()}


def _written(text: str) -> str:
    """Percent-encode what the package would strip from a line, break it at or take for a tag."""
    text = text.strip(BLANKS)
    if text.isprintable() and not text.startswith("#"):
        return text
    return _BREAKS.sub(lambda match: quote(match[0], safe=""), text)
