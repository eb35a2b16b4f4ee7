"""What kind of stream something is, by its address or by its first bytes."""

import re

from streamproxy.formats.mediatypes import BY_EXTENSION, extension
from streamproxy.model import StreamKind

_PLAYLISTS = frozenset({"m3u8", "m3u"})
_LIVE = frozenset({"ts", "m2ts", "mts"})
_ON_DEMAND = re.compile(r"/(?:movie|movies|series|timeshift|vod)/", re.IGNORECASE)
_PAGE = re.compile(
    rb"<!--|(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body|title|meta|link|base|style|script)(?:[\s/>]|\Z)",
    re.IGNORECASE,
)
"""What HTML begins with (WHATWG MIME Sniffing, 7.1), unlike other XML, such as a DASH manifest."""


def kind_of_url(url: str) -> StreamKind | None:
    """Tell by its address what something is; None where that does not show, as with Xtream's `/USER/PASSWORD/ID`.

    A transport stream is taken for a live one.
    """
    ending = extension(url)
    if ending in _PLAYLISTS:
        return StreamKind.HLS
    if ending in _LIVE:
        return StreamKind.FILE if _ON_DEMAND.search(url.partition("?")[0]) else StreamKind.LIVE
    return StreamKind.FILE if ending in BY_EXTENSION else None


def kind_of_bytes(head: bytes) -> StreamKind | None:
    """Tell by its first bytes what something is that is no transport stream; None for what is not media."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"#EXTM3U"):
        return StreamKind.HLS
    if _PAGE.match(text):
        return StreamKind.PAGE
    if head[4:8] == b"ftyp" or head.startswith((b"\x1aE\xdf\xa3", b"FLV", b"ID3", b"RIFF", b"OggS", b"fLaC")):
        return StreamKind.FILE
    return None
