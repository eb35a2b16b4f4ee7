"""Lists of channels (M3U, as IPTV providers write it): read without loss, and shown to viewers without secrets.

A list is kept as the text it is. An entry is a URL line together with the text before it; titles, attributes and
headers are read from that text when asked for, so that 100,000 entries cost little more than their text. What the lines
mean follows Kodi's pvr.iptvsimple. An HLS playlist (RFC 8216) shares the first line and the file extension with such a
list, and little else.
"""

from streamproxy.formats.m3u.lines import Extinf, read_extinf
from streamproxy.formats.m3u.playlist import (
    NO_BASE,
    NOT_A_URL,
    UNNAMED,
    UNUSABLE_SCHEME,
    Entry,
    Facts,
    Playlist,
    parse,
    render,
)
from streamproxy.formats.m3u.text import Text, decode
from streamproxy.formats.m3u.viewer import ViewerRendering

__all__ = [
    "NOT_A_URL",
    "NO_BASE",
    "UNNAMED",
    "UNUSABLE_SCHEME",
    "Entry",
    "Extinf",
    "Facts",
    "Playlist",
    "Text",
    "ViewerRendering",
    "decode",
    "parse",
    "read_extinf",
    "render",
]
