"""A list and its entries, read without loss."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from streamproxy.formats import urls
from streamproxy.formats.m3u.lines import (
    BLANKS,
    LINES,
    Extinf,
    is_extinf,
    merge_headers,
    option_headers,
    read_attributes,
    read_extinf,
    trimmed,
)

NOT_A_URL = "not a URL"
"""Why a line is no entry: separators, prose, HTML, and URLs without a usable host or port."""
UNUSABLE_SCHEME = "scheme"
"""Why a line is no entry: neither http nor https (`udp:`, `rtsp:`, `file:`, `pipe:`, ...)."""
NO_BASE = "relative"
"""Why a line is no entry: a relative reference in a list of which the URL is not known."""

UNNAMED = "Channel"
"""The title of an entry that names itself nowhere."""

_LINE = re.compile(
    rf"[{BLANKS}]*"
    r"(?:(?i:(#EXTINF)|(#EXTGRP:)|(#EXTM3U)|(#EXT-X-TARGETDURATION)|(#EXT-X-STREAM-INF))|(#)|([^\r\n]))"
    r"[^\r\n]*(?:\r\n?|\n)?"
)
_EXTINF, _EXTGRP, _EXTM3U, _TARGETDURATION, _STREAM_INF, _OTHER_TAG, _NO_TAG = range(1, 8)

_MARKUP = re.compile(rf"[\s{BLANKS}]*[<{{]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,31}):(?://|\S*\Z)")
_NO_PATH = re.compile(r"[\s<>\\\"]")
_SOME_PATH = re.compile(r"[/.?]")
_SOME_WORD = re.compile(r"\w")


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
        return urls.split_options(trimmed(self.line))[0]

    @property
    def url(self) -> str:
        """The absolute URL, byte for byte as the list has it, without `|options`."""
        reference = self.reference
        return reference if urls.is_http(reference) else urls.join(self.base, reference)

    @property
    def extinf(self) -> Extinf:
        """What the last `#EXTINF` line before the URL says; each property made of it reads the line again."""
        lines = (trimmed(line) for line in reversed(LINES.findall(self.own)))
        return read_extinf(next(filter(is_extinf, lines), ""))

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
        for line in LINES.findall(self.own):
            for name, value in option_headers(trimmed(line)) or ():
                found[name.lower()] = (name, value)
        for name, value in urls.split_options(trimmed(self.line))[1].items():
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
            line = trimmed(match[0])
            if line:
                self._text_line(match, line)
        elif tag == _EXTGRP:
            self._directive = trimmed(match[0].partition(":")[2])
        elif tag == _EXTM3U:
            self._headers.append(read_attributes(match[0]))
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
            header=MappingProxyType(merge_headers(self._headers)),
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
        start = len(entry.line) - len(entry.line.lstrip(BLANKS))
        yield entry.before
        yield entry.line[:start]
        yield mapping(reference)
        yield entry.line[start + len(reference) :]
    yield playlist.tail
