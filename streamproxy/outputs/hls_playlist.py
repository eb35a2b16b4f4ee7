"""One HLS playlist on its way through: what players may ask of it, what has to be known of it, and its rewriting."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from streamproxy.formats.hls.errors import HlsError
from streamproxy.formats.hls.references import References
from streamproxy.formats.hls.rewrite import Kind, Rewriter, Target
from streamproxy.formats.hls.variables import Variables
from streamproxy.formats.links import Link, LinkSealer, UrlTooLong

USUAL_TARGET_DURATION = 6.0
"""Seconds; of a playlist that does not say."""

_SHORTEST_TARGET_DURATION = 1.0
_LONGEST_TARGET_DURATION = 60.0
_SETTLED = 10.0
"""Seconds that a playlist is used which lists variants, or has ended. Tokens in it expire, so it is not longer."""

_VALUE = re.compile(r"[ \t]*:[ \t]*([^\r\n]*)")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_PART_TARGET = re.compile(r"PART-TARGET[ \t]*=[ \t]*([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_DEFINE = re.compile(r"#EXT-X-DEFINE[ \t]*:([^\r\n]*)")

_DIRECTIVES = {
    "_HLS_msn": re.compile(r"[0-9]{1,19}"),
    "_HLS_part": re.compile(r"[0-9]{1,9}"),
    "_HLS_skip": re.compile(r"YES|v2"),
    "_HLS_primary_id": re.compile(r"[A-Za-z0-9._~-]{1,128}"),
    "_HLS_start_offset": re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?"),
}
_BLOCKING = ("_HLS_msn", "_HLS_part")
_SKIPPING = ("_HLS_skip",)

_ADDRESSES = 4
_HEAD = 64
_LONGEST_ASSET_LIST = 1 << 20
_BLANKS = "\ufeff \t\r\n"


class Directives(dict[str, str]):
    """What a player asks of a playlist besides the playlist itself (RFC 8216bis, 6.2.5)."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Directives":
        """Take them from a request; what is none, or makes no sense as one, is left out."""
        return cls(
            {name: query[name] for name, form in _DIRECTIVES.items() if name in query and form.fullmatch(query[name])}
        )

    @property
    def blocking(self) -> bool:
        """Whether the answer may wait for what the playlist does not hold yet."""
        return "_HLS_msn" in self

    def understood_by(self, playlist: "Playlist") -> "Directives":
        """Leave out what the server of a playlist says nothing of: it may take the query for a part of a signed URL."""
        foreign = (() if playlist.blocks else _BLOCKING) + (() if playlist.skips else _SKIPPING)
        return Directives({name: value for name, value in self.items() if name not in foreign})

    def added_to(self, url: str) -> str:
        """Add them to the query of a URL."""
        address, mark, fragment = url.partition("#")
        added = "&".join(f"{name}={value}" for name, value in self.items())
        joint = "&" if "?" in address else "?"
        return f"{address}{joint}{added}{mark}{fragment}" if added else url


@dataclass(eq=False, slots=True)
class Playlist:
    """A playlist as an upstream sent it.

    Attributes:
        text: Bytes read as UTF-8 with `surrogateescape`.
        url: Where it came from, after redirects; what its references are relative to.
        age: Seconds since the origin made it, when it arrived.
        arrived: When it arrived.
        lifetime: Seconds from then on that it may be given to others too.
        target_duration: Seconds; None where it lists variants.
        blocks: Whether its server holds requests for what is to come.
        skips: Whether its server leaves out what is known.
        written: What became of it, by `view`.
        refused: How many references in it lead nowhere now, because they named no place that may be fetched.
    """

    text: str = field(repr=False)
    url: str = field(repr=False)
    age: float
    arrived: float
    lifetime: float
    target_duration: float | None
    blocks: bool
    skips: bool
    written: dict[str, bytes] = field(default_factory=dict, repr=False)
    refused: int = 0

    @classmethod
    def of(cls, text: str, url: str, *, age: float, arrived: float, awaited: bool = False) -> "Playlist":
        """Read what has to be known of it.

        Args:
            text: See above.
            url: See above.
            age: See above.
            arrived: See above.
            awaited: Whether it was held until there was something new.
        """
        control = _tag(text, "SERVER-CONTROL")
        duration = None
        lifetime = _SETTLED
        if "#EXT-X-STREAM-INF" not in text:
            found = _SECONDS.match(_tag(text, "TARGETDURATION"))
            duration = float(found[0]) if found else USUAL_TARGET_DURATION
            duration = min(max(duration, _SHORTEST_TARGET_DURATION), _LONGEST_TARGET_DURATION)
            if "#EXT-X-ENDLIST" not in text:
                part = None if awaited else _PART_TARGET.search(_tag(text, "PART-INF"))
                lifetime = min(duration, float(part[1]) if part else duration) / 2
        return cls(
            text, url, age, arrived, lifetime, duration, "CAN-BLOCK-RELOAD=YES" in control, "CAN-SKIP" in control
        )

    @property
    def weight(self) -> int:
        """Bytes of memory it takes with what became of it, more or less: links are longer than what they stand for."""
        return 4 * len(self.text)

    def view(self, base: str) -> str:
        """Tell what of the address it is written for makes a difference: its path, unless it has absolute links."""
        return base if "X-ASSET-" in self.text or is_asset_list(self.text[:_HEAD]) else urlsplit(base).path

    def keep(self, view: str, body: bytes) -> bytes:
        """Remember what became of it, for the addresses by which this program is commonly known."""
        self.written[view] = body
        while len(self.written) > _ADDRESSES:
            del self.written[next(iter(self.written))]
        return body

    def rewrite(self, link: Link, sealer: LinkSealer, channel_id: str, base: str) -> Iterator[bytes]:
        """Replace what it refers to by links.

        Args:
            link: What it was fetched for.
            sealer: Makes the links.
            channel_id: The channel they belong to.
            base: Under which URL players reach this program, without a slash at its end.

        Returns:
            Pieces, each the work of a few milliseconds.

        Raises:
            HlsError: It cannot be used.
        """
        variables = self._variables(link)
        folder = f"{base}/hls/{quote(channel_id, safe='')}/"
        path = urlsplit(folder).path

        def link_to(target: Target) -> str | None:
            # The same rendition is named by the multivariant playlist and by the reports in each other rendition.
            passed_on = variables if target.kind is Kind.PLAYLIST else {}
            try:
                name = sealer.seal(channel_id, Link(target.kind, target.url, passed_on))
            except UrlTooLong:
                return None
            return (folder if target.kind is Kind.ASSET else path) + name

        if is_asset_list(self.text[:_HEAD]):
            yield _rewrite_asset_list(self.text, self.url, link_to)
            return
        rewriter = Rewriter(self.url, link_to, variables=link.variables)
        for piece in rewriter.slices(self.text):
            yield piece.encode("utf-8", "surrogateescape")
        self.refused = rewriter.refused

    def _variables(self, link: Link) -> Mapping[str, str]:
        """Find what the playlists it refers to may import."""
        if self.target_duration is not None:
            return link.variables
        variables = Variables(self.url, link.variables)
        for definition in _DEFINE.finditer(self.text):
            variables.define(definition[1])
        return variables.defined


def _tag(text: str, name: str) -> str:
    """Return the value of the first tag of a name; empty if there is none."""
    # No pattern, as it would take ten times as long to find that there is none.
    start = text.find(f"#EXT-X-{name}")
    value = _VALUE.match(text, start + len("#EXT-X-") + len(name)) if start >= 0 else None
    return value[1] if value else ""


def is_asset_list(head: str) -> bool:
    """Tell by its beginning whether this is a list of what an interstitial plays, in JSON, and no playlist."""
    return head.lstrip(_BLANKS).startswith("{")


def _rewrite_asset_list(text: str, url: str, link_to: Callable[[Target], str | None]) -> bytes:
    """Replace the addresses in a list of assets (RFC 8216bis, appendix D.2)."""
    if len(text) > _LONGEST_ASSET_LIST:
        raise HlsError(f"a list of assets of more than {_LONGEST_ASSET_LIST} characters")
    try:
        document = json.loads(text.strip(_BLANKS))
    except (ValueError, RecursionError):
        raise HlsError("a list of assets that is no JSON") from None
    references = References(url)
    assets = []
    for asset in _dictionaries(document.get("ASSETS")):
        reference = asset.get("URI")
        address = references.resolve(reference) if isinstance(reference, str) else None
        link = link_to(Target(Kind.ASSET, address, str(reference))) if address else None
        if link:
            assets.append({**asset, "URI": link})
    return json.dumps({**document, "ASSETS": assets}).encode()


def _dictionaries(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
