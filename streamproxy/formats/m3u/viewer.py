"""What viewers see of lists: everything but addresses and secrets."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from streamproxy.formats import urls
from streamproxy.formats.m3u.lines import (
    ATTRIBUTE,
    BLANKS,
    DURATION,
    EPG_ADDRESSES,
    LINES,
    is_extinf,
    merge_headers,
    option_headers,
    split_title,
)
from streamproxy.formats.m3u.playlist import UNNAMED, Entry, Playlist

_MOST_SECRETS_TO_SEARCH = 64
_UNMISTAKABLE_SECRET = 8
_WORDS = re.compile(r"[^\s/=&:@?;,|\"'#]+")


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
        for line in LINES.findall(own):
            tag = line.strip(BLANKS)
            if is_extinf(tag):
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
        merged = merge_headers([dict(self._header_attributes(playlist)) for playlist in playlists])
        return " ".join(["#EXTM3U", *(f"{name}={_quoted(value)}" for name, value in merged.items())]) + "\n"

    def _header_attributes(self, playlist: Playlist) -> Iterator[tuple[str, str]]:
        for name, value in playlist.header.items():
            values = value.split(",") if name.lower() in EPG_ADDRESSES else [value]
            shown = [value for value in values if not self._gives_away(f"{name}={value}", frozenset())]
            if name.lower() == "catchup-source" and _leads_to(value, playlist.entries):
                shown = []
            self._withhold("attributes", len(values) - len(shown))
            if shown:
                yield name, ",".join(shown)

    def _gives_away(self, text: str, secrets: frozenset[str]) -> bool:
        return self._holds_a_secret(text) or any(secret in text for secret in secrets) or urls.carries_credentials(text)

    def _may_be_seen(self, tag: str, secrets: frozenset[str]) -> bool:
        if not tag.startswith("#") or tag[:7].upper() == "#EXTM3U" or option_headers(tag) is not None:
            return False
        if self._gives_away(tag, secrets):
            self._withhold("lines", 1)
            return False
        return True

    def _extinf(self, line: str, entry: Entry, secrets: frozenset[str]) -> str:
        if "catchup-source" not in line.lower() and not self._gives_away(line, secrets):
            return line
        head, title = split_title(line.partition(":")[2])
        attributes = list(ATTRIBUTE.finditer(head))
        shown = [attribute[0] for attribute in attributes if not self._is_secret(attribute, entry, secrets)]
        self._withhold("attributes", len(attributes) - len(shown))
        visible_title = self.title(entry)
        if visible_title != entry.title:
            self._withhold("titles", 1)
            title = visible_title
        elif len(shown) == len(attributes) and not self._gives_away(ATTRIBUTE.sub("", head), secrets):
            return line
        duration = DURATION.match(head)
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
