"""Lists of channels (M3U, as IPTV providers write it): read without loss, and shown to viewers without secrets.

A list is kept as the text it is. An entry is a URL line together with the text before it; titles, attributes and
headers are read from that text when asked for, so that 100,000 entries cost little more than their text. What the lines
mean follows Kodi's pvr.iptvsimple. An HLS playlist (RFC 8216) shares the first line and the file extension with such a
list, and little else.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from streamproxy.formats import urls

NOT_A_URL = "not a URL"
"""Why a line is no entry: separators, prose, HTML, and URLs without a usable host or port."""
UNUSABLE_SCHEME = "scheme"
"""Why a line is no entry: neither http nor https (`udp:`, `rtsp:`, `file:`, `pipe:`, ...)."""
NO_BASE = "relative"
"""Why a line is no entry: a relative reference in a list of which the URL is not known."""

UNNAMED = "Channel"
"""The title of an entry that names itself nowhere."""

_BLANKS = " \t\v\f\xa0\ufeff"
_LINE = re.compile(
    rf"[{_BLANKS}]*"
    r"(?:(?i:(#EXTINF)|(#EXTGRP:)|(#EXTM3U)|(#EXT-X-TARGETDURATION)|(#EXT-X-STREAM-INF))|(#)|([^\r\n]))"
    r"[^\r\n]*(?:\r\n?|\n)?"
)
_EXTINF, _EXTGRP, _EXTM3U, _TARGETDURATION, _STREAM_INF, _OTHER_TAG, _NO_TAG = range(1, 8)
_LINES = re.compile(r"[^\r\n]+")

_MARKUP = re.compile(rf"[\s{_BLANKS}]*[<{{]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,31}):(?://|\S*\Z)")
_NO_PATH = re.compile(r"[\s<>\\\"]")
_SOME_PATH = re.compile(r"[/.?]")
_SOME_WORD = re.compile(r"\w")

_ATTRIBUTE = re.compile(r"(?<![^\s\"',])([^\s\"'=,]+)=(?:\"([^\"]*)\"?|'([^']*)'?|(\S*))")
_DURATION = re.compile(r"\s*([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)")
_EPG_ADDRESSES = frozenset({"x-tvg-url", "url-tvg"})

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

_PIECE = 131_072
_STRAY = re.compile("[\udc80-\udcff]")
_PRIVATE = re.compile("[\uf780-\uf7ff]")
_TO_PRIVATE = 0xF780 - 0xDC80
_MOST_SECRETS_TO_SEARCH = 64
_UNMISTAKABLE_SECRET = 8
_WORDS = re.compile(r"[^\s/=&:@?;,|\"'#]+")


@dataclass(frozen=True, slots=True)
class Text:
    """A list's text, and how to get the same bytes back.

    Attributes:
        text: The text; a byte order mark is its first character.
        encoding: The codec that read it, byte order mark aside.
        damaged: Single bytes that are no UTF-8 were read as the private characters U+F780 to U+F7FF.
    """

    text: str = field(repr=False)
    encoding: str
    damaged: bool = False

    def encode(self) -> bytes:
        """Return the bytes it was read from."""
        if self.damaged:
            strays = _PRIVATE.sub(lambda private: chr(ord(private[0]) - _TO_PRIVATE), self.text)
            return strays.encode("utf-8", "surrogateescape")
        return self.text.encode(self.encoding)


def decode(body: bytes, fallback: str = "cp1252") -> Text:
    """Read the bytes of a list, whatever they are.

    What is marked as UTF-16 is read as such, then what is UTF-8, or is for the most part: providers cut titles in the
    middle of a character, and one such title must not garble all the others.

    Args:
        body: The bytes, not compressed.
        fallback: The codec for everything else. Where it cannot read the bytes or would not give the same ones back,
            latin-1 is taken, which always can.

    Raises:
        LookupError: There is no such codec.
    """
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"), (b"", "utf-8")):
        if body.startswith(mark):
            with suppress(UnicodeError):
                return Text(_decoded(body, encoding), encoding)
    damaged = _decoded(body, "utf-8", "surrogateescape")
    pieces = [damaged[start : start + _PIECE] for start in range(0, len(damaged), _PIECE)]
    stray = sum(len(_STRAY.findall(piece)) for piece in pieces)
    # Each byte that continues a character counts for UTF-8; in other encodings hardly any byte looks like one.
    if stray <= len(body) - len(damaged) and not any(map(_PRIVATE.search, pieces)):
        mended = (_STRAY.sub(lambda stray: chr(ord(stray[0]) + _TO_PRIVATE), piece) for piece in pieces)
        return Text("".join(mended), "utf-8", damaged=True)
    with suppress(UnicodeError):
        return Text(_decoded(body, fallback), fallback)
    return Text(body.decode("latin-1"), "latin-1")


def _decoded(body: bytes, encoding: str, errors: str = "strict") -> str:
    # In pieces, since a thread that decodes tens of megabytes in one call lets no other thread run meanwhile.
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    encoder = codecs.getincrementalencoder(encoding)(errors)
    pieces = []
    position = 0
    for start in range(0, len(body), _PIECE):
        final = start + _PIECE >= len(body)
        piece = decoder.decode(body[start : start + _PIECE], final)
        same = encoder.encode(piece, final)
        if not body.startswith(same, position):
            break
        position += len(same)
        pieces.append(piece)
    if position != len(body):
        raise UnicodeError(f"{encoding} is not reversible here")
    return "".join(pieces)


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


class Facts(NamedTuple):
    """What identifies an entry; see the properties of `Entry` that have these names."""

    url: str
    title: str
    tvg_id: str
    group: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One channel of a list: a URL line and what stands before it. Secret, until `ViewerRendering` shows parts of it.

    Attributes:
        before: The text between the entry before and this one's URL line.
        start: Where in `before` this entry's own lines start: behind URL lines that could not be used.
        line: The URL line, line end included.
        directive: The group of the last `#EXTGRP` so far, which stays in force until the next; empty for none.
        base: What a relative reference is resolved against.
    """

    before: str = field(repr=False)
    start: int = field(repr=False)
    line: str = field(repr=False)
    directive: str = field(repr=False)
    base: str = field(repr=False)

    @property
    def own(self) -> str:
        """The lines that belong to this entry, its URL line excepted."""
        return self.before[self.start :]

    @property
    def reference(self) -> str:
        """The URL as it is written, without `|options`."""
        return urls.split_options(_trimmed(self.line))[0]

    @property
    def url(self) -> str:
        """The absolute URL, byte for byte as the list has it, without `|options`."""
        reference = self.reference
        return reference if urls.is_http(reference) else urls.join(self.base, reference)

    @property
    def extinf(self) -> Extinf:
        """What the last `#EXTINF` line before the URL says; each property made of it reads the line again."""
        lines = (_trimmed(line) for line in reversed(_LINES.findall(self.own)))
        return read_extinf(next(filter(_is_extinf, lines), ""))

    @property
    def facts(self) -> Facts:
        """What identifies it, read at once: each property alone reads the `#EXTINF` line again."""
        extinf, url = self.extinf, self.url
        title = extinf.title or extinf.attribute("tvg-name") or urls.last_segment(url) or UNNAMED
        return Facts(url, title, extinf.attribute("tvg-id"), extinf.attribute("group-title") or self.directive)

    @property
    def duration(self) -> float:
        """Seconds; -1 where it is endless or not given."""
        return self.extinf.duration

    @property
    def attributes(self) -> Mapping[str, str]:
        """All attributes of the `#EXTINF` line, in their order."""
        return self.extinf.attributes

    @property
    def title(self) -> str:
        """The title, else `tvg-name`, else what the URL ends in; never empty. For viewers: `ViewerRendering.title`."""
        return self.facts.title

    @property
    def group(self) -> str:
        """The `group-title`, else the group of the `#EXTGRP` in force; a list of groups is separated by `;`."""
        return self.facts.group

    @property
    def tvg_id(self) -> str:
        """The name of the channel in the programme guide; empty for none."""
        return self.extinf.attribute("tvg-id")

    @property
    def headers(self) -> Mapping[str, str]:
        """The HTTP request headers that the list wants sent; of one name the last, and the URL line comes last."""
        found: dict[str, tuple[str, str]] = {}
        for line in _LINES.findall(self.own):
            for name, value in _option_headers(_trimmed(line)) or ():
                found[name.lower()] = (name, value)
        for name, value in urls.split_options(_trimmed(self.line))[1].items():
            found[name.lower()] = (name, value)
        return dict(found.values())


@dataclass(frozen=True, slots=True)
class Playlist:
    """A list of channels, as it was read.

    Attributes:
        entries: The channels, in order.
        tail: The text behind the last one.
        header: The attributes of all `#EXTM3U` lines, merged as `ViewerRendering.header` does.
        skipped: How many lines are no entry, by reason; comments and empty lines are not counted.
        is_hls: This is an HLS playlist, given by mistake: its URLs are segments or renditions of one channel.
    """

    entries: tuple[Entry, ...] = field(repr=False)
    tail: str = field(repr=False)
    header: Mapping[str, str] = field(repr=False)
    skipped: Mapping[str, int]
    is_hls: bool


def parse(text: str, base: str = "") -> Playlist:
    """Read a list of channels. Any text can be read; what is of no use is counted and kept for `render`.

    Args:
        text: The list.
        base: The URL it came from, after redirects; without an http(s) URL here, relative references are not used.
    """
    reading = _Reading(text, base)
    for match in _LINE.finditer(text):
        reading.line(match)
    return reading.playlist()


class _Reading:
    """A list that is being read."""

    def __init__(self, text: str, base: str) -> None:
        self._text = text
        self._base = base if urls.is_http(base) else ""
        self._markup = _MARKUP.match(text) is not None
        self._entries: list[Entry] = []
        self._skipped: Counter[str] = Counter()
        self._headers: list[Mapping[str, str]] = []
        self._directive = ""
        self._end_of_entry = 0
        self._start_of_lines = 0
        self._extinf_pending = False
        self._tags_seen: set[int] = set()

    def line(self, match: re.Match[str]) -> None:
        tag = match.lastindex or _OTHER_TAG
        if tag == _EXTINF:
            self._extinf_pending = True
        elif tag == _NO_TAG:
            line = _trimmed(match[0])
            if line:
                self._text_line(match, line)
        elif tag == _EXTGRP:
            self._directive = _trimmed(match[0].partition(":")[2])
        elif tag == _EXTM3U:
            self._headers.append(_attributes(match[0]))
        if tag != _OTHER_TAG:
            self._tags_seen.add(tag)

    def _text_line(self, match: re.Match[str], line: str) -> None:
        reference = urls.split_options(line)[0]
        reason = self._why_not(reference)
        if not reason:
            before = self._text[self._end_of_entry : match.start()]
            start = self._start_of_lines - self._end_of_entry
            self._entries.append(Entry(before, start, match[0], self._directive, self._base))
            self._end_of_entry = match.end()
        else:
            self._skipped[reason] += 1
            # A title that was wrapped onto a line of its own ends no entry; a URL that is of no use does.
            if not _SCHEME.match(reference) and reason == NOT_A_URL:
                return
        self._start_of_lines = match.end()
        self._extinf_pending = False

    def _why_not(self, reference: str) -> str:
        if urls.is_http(reference):
            # A page with an error message may hold addresses, too.
            return NOT_A_URL if self._markup and not self._extinf_pending else ""
        scheme = _SCHEME.match(reference)
        if scheme:
            return NOT_A_URL if scheme[1].lower() in {"http", "https"} else UNUSABLE_SCHEME
        if not self._extinf_pending or not _looks_like_a_path(reference):
            return NOT_A_URL
        if not self._base:
            return NO_BASE
        return "" if urls.is_http(urls.join(self._base, reference)) else NOT_A_URL

    def playlist(self) -> Playlist:
        return Playlist(
            entries=tuple(self._entries),
            tail=self._text[self._end_of_entry :],
            header=MappingProxyType(_merged(self._headers)),
            skipped=MappingProxyType(dict(self._skipped)),
            is_hls=self._is_hls(),
        )

    def _is_hls(self) -> bool:
        if _TARGETDURATION in self._tags_seen:
            return "#EXTINF:-1" not in self._text  # some channel lists carry HLS tags, but no segment is endless
        return _STREAM_INF in self._tags_seen and _EXTINF not in self._tags_seen


def _looks_like_a_path(reference: str) -> bool:
    return (
        _NO_PATH.search(reference) is None
        and _SOME_PATH.search(reference) is not None
        and _SOME_WORD.search(reference) is not None
    )


def render(playlist: Playlist, mapping: Callable[[str], str]) -> str:
    """Write a list with other URLs and nothing else changed.

    Args:
        playlist: The list.
        mapping: Gives the new text for a URL as it is written, relative ones included; `|options` behind it stay.
    """
    return "".join(_rendered(playlist, mapping))


def _rendered(playlist: Playlist, mapping: Callable[[str], str]) -> Iterator[str]:
    for entry in playlist.entries:
        reference = entry.reference
        start = len(entry.line) - len(entry.line.lstrip(_BLANKS))
        yield entry.before
        yield entry.line[:start]
        yield mapping(reference)
        yield entry.line[start + len(reference) :]
    yield playlist.tail


def read_extinf(line: str) -> Extinf:
    """Read an `#EXTINF` line, however badly it is quoted."""
    body = line.partition(":")[2]
    head, title = _split_title(body)
    duration = _DURATION.match(head)
    return Extinf(float(duration[1]) if duration else -1.0, _attributes(head), title.strip())


def _split_title(body: str) -> tuple[str, str]:
    """Cut at the comma that follows the last quote, else at the last comma that stands in no quotes."""
    comma = body.find(",", body.rfind('"') + 1) if '"' in body else -1
    if comma < 0:
        comma = body.rfind(",")
        if comma < 0 or body.count('"', 0, comma) % 2:
            return body, ""
    return body[:comma], body[comma + 1 :]


def _attributes(text: str) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, quoted, single_quoted, bare in _ATTRIBUTE.findall(text):
        attributes.setdefault(name, quoted or single_quoted or bare)
    return attributes


def _trimmed(line: str) -> str:
    return line.strip(_BLANKS + "\r\n")


def _is_extinf(line: str) -> bool:
    return line[:7].upper() == "#EXTINF"


def _option_headers(line: str) -> list[tuple[str, str]] | None:
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


class ViewerRendering:
    """What viewers see of lists: everything but their URLs, their HTTP options, and what would give an account away.

    Entries are asked for in the order in which they are shown.

    Attributes:
        withheld: How many attributes, lines and titles were kept back because they carry credentials, by kind.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Know what must not be shown.

        Args:
            secrets: User names, passwords and tokens of the lists and their entries (`urls.secrets_of`). Those of an
                entry's own URL need not be among them.
        """
        self.withheld: Counter[str] = Counter()
        self._secrets = frozenset(filter(None, secrets))
        self._holds_a_secret = _finder(self._secrets)
        self._names_a_secret = _finder(secret for secret in self._secrets if len(secret) >= _UNMISTAKABLE_SECRET)
        self._directive = ""

    def lines(self, entry: Entry) -> str:
        """Write the lines in front of an entry's URL.

        Returns:
            Lines that each end in LF: tags and comments as the list has them, with one `#EXTINF` line among them.
        """
        url, own = entry.url, entry.own
        secrets = urls.secrets_of(url)
        if url in own:
            secrets |= {url}
        kept: list[str] = []
        extinf = -1
        directed = entry.directive == self._directive
        for line in _LINES.findall(own):
            tag = line.strip(_BLANKS)
            if _is_extinf(tag):
                if extinf >= 0:
                    del kept[extinf]
                extinf = len(kept)
                kept.append(tag)
            elif self._may_be_seen(tag, secrets):
                kept.append(tag)
                directed = directed or tag[:8].upper() == "#EXTGRP:"
        if extinf >= 0:
            kept[extinf] = self._extinf(kept[extinf], entry, secrets)
        else:
            kept.append(f"#EXTINF:-1,{self.title(entry)}")
        directive = f"#EXTGRP:{entry.directive}"
        # The line that set the group stood before an entry that is not shown, or the entry before is of another list.
        if not directed and self._may_be_seen(directive, secrets):
            kept.insert(0, directive)
        self._directive = entry.directive
        kept.append("")
        return "\n".join(kept)

    def title(self, entry: Entry) -> str:
        """Name an entry: its title, or what its URL ends in where the title gives an account away.

        User names and passwords of fewer than eight characters are not looked for here, since they may be plain words.
        """
        secrets = [secret for secret in urls.secrets_of(entry.url) if len(secret) >= _UNMISTAKABLE_SECRET]
        for title in (entry.title, urls.last_segment(entry.url)):
            if title and not (
                self._names_a_secret(title)
                or any(secret in title for secret in secrets)
                or urls.carries_credentials(title)
            ):
                return title
        return UNNAMED

    def header(self, playlists: Iterable[Playlist]) -> str:
        """Write the one `#EXTM3U` line for several lists.

        Of an attribute that several have, the first value is shown; addresses of programme guides are united.

        Returns:
            One line that ends in LF.
        """
        merged = _merged([dict(self._header_attributes(playlist)) for playlist in playlists])
        return " ".join(["#EXTM3U", *(f"{name}={_quoted(value)}" for name, value in merged.items())]) + "\n"

    def _header_attributes(self, playlist: Playlist) -> Iterator[tuple[str, str]]:
        for name, value in playlist.header.items():
            values = value.split(",") if name.lower() in _EPG_ADDRESSES else [value]
            shown = [value for value in values if not self._gives_away(f"{name}={value}", frozenset())]
            if name.lower() == "catchup-source" and _leads_to(value, playlist.entries):
                shown = []
            self._withhold("attributes", len(values) - len(shown))
            if shown:
                yield name, ",".join(shown)

    def _gives_away(self, text: str, secrets: frozenset[str]) -> bool:
        return self._holds_a_secret(text) or any(secret in text for secret in secrets) or urls.carries_credentials(text)

    def _may_be_seen(self, tag: str, secrets: frozenset[str]) -> bool:
        if not tag.startswith("#") or tag[:7].upper() == "#EXTM3U" or _option_headers(tag) is not None:
            return False
        if self._gives_away(tag, secrets):
            self._withhold("lines", 1)
            return False
        return True

    def _extinf(self, line: str, entry: Entry, secrets: frozenset[str]) -> str:
        if "catchup-source" not in line.lower() and not self._gives_away(line, secrets):
            return line
        head, title = _split_title(line.partition(":")[2])
        attributes = list(_ATTRIBUTE.finditer(head))
        shown = [attribute[0] for attribute in attributes if not self._is_secret(attribute, entry, secrets)]
        self._withhold("attributes", len(attributes) - len(shown))
        visible_title = self.title(entry)
        if visible_title != entry.title:
            self._withhold("titles", 1)
            title = visible_title
        elif len(shown) == len(attributes) and not self._gives_away(_ATTRIBUTE.sub("", head), secrets):
            return line
        duration = _DURATION.match(head)
        seconds = duration[1] if duration and not self._gives_away(duration[1], secrets) else "-1"
        return " ".join([f"#EXTINF:{seconds}", *shown]) + f",{title}"

    def _is_secret(self, attribute: re.Match[str], entry: Entry, secrets: frozenset[str]) -> bool:
        if self._gives_away(attribute[0], secrets):
            return True
        if attribute[1].lower() != "catchup-source":
            return False
        return urls.host(attribute[2] or attribute[3] or attribute[4] or "") == urls.host(entry.url)

    def _withhold(self, kind: str, count: int) -> None:
        if count:
            self.withheld[kind] += count


def _merged(headers: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Merge attributes, in order: the first value of each, and all addresses of programme guides."""
    spelling: dict[str, str] = {}
    values: dict[str, dict[str, None]] = {}
    for header in headers:
        for name, value in header.items():
            known = spelling.setdefault(name.lower(), name)
            united = known.lower() in _EPG_ADDRESSES
            if united or known not in values:
                values.setdefault(known, {}).update(dict.fromkeys(value.split(",") if united else [value]))
    return {name: ",".join(value) for name, value in values.items()}


def _quoted(value: str) -> str:
    quote = "'" if '"' in value else '"'
    return f"{quote}{value.replace(quote, '')}{quote}"


def _leads_to(address: str, entries: tuple[Entry, ...]) -> bool:
    host = urls.host(address)
    return bool(host) and any(host in entry.line.lower() and host == urls.host(entry.url) for entry in entries)


def _finder(secrets: Iterable[str]) -> Callable[[str], bool]:
    """Make a test for texts that hold one of several strings. Very many are looked for as whole words: it is faster."""
    wanted = frozenset(secrets)
    if not wanted:
        return lambda text: False
    if len(wanted) <= _MOST_SECRETS_TO_SEARCH:
        search = re.compile("|".join(map(re.escape, sorted(wanted)))).search
        return lambda text: search(text) is not None
    return lambda text: not wanted.isdisjoint(_WORDS.findall(text))
