"""The lines of a playlist, within limits."""

import re
from collections.abc import Iterator
from enum import Enum, auto

from streamproxy.formats.hls.errors import HlsError, PlaylistTooLarge

MOST_CHARACTERS = 8 * 1024 * 1024
"""Length of a playlist."""
LONGEST_LINE = 1024 * 1024
"""Length of a line, its end included."""
MOST_LINES = 500_000
"""Number of lines, blank ones included."""
MOST_SEGMENTS = 100_000
"""Number of lines that are URIs."""

BLANKS = " \t\v\f\xa0\ufeff"
"""What may surround the content of a line, a byte order mark in front of the first one included."""


class LineKind(Enum):
    """What a line is."""

    EXTINF = auto()
    TAG = auto()
    """A tag other than EXTINF."""
    OTHER = auto()
    """A comment, or nothing."""
    URI = auto()


_KINDS = (LineKind.OTHER, LineKind.EXTINF, LineKind.TAG, LineKind.OTHER, LineKind.URI)
# Only CR, LF and CRLF end a line: str.splitlines would break a title at U+2028, and with it lose the segment.
_LINE = re.compile(rf"[{BLANKS}]*+(?:(#EXTINF:)|(#EXT)|(#)|([^\r\n]))?+[^\r\n]*+(?:\r\n?|\n)?+")

_BEGINNING = 1024
_SOMETHING_ELSE = (
    ("<!doctype html", "an HTML page"),
    ("<html", "an HTML page"),
    ("<mpd", "a DASH manifest"),
    ("<", "HTML or XML"),
    ("{", "JSON"),
    ("[", "JSON"),
)


def lines(text: str) -> Iterator[tuple[LineKind, str]]:
    """Take a playlist apart.

    Returns:
        Every line with what it is, its end included, so that all of them joined are the text again.

    Raises:
        PlaylistTooLarge: Text, line or number of lines are beyond the limits above; those before it were returned.
    """
    if len(text) > MOST_CHARACTERS:
        raise PlaylistTooLarge(f"a playlist of more than {MOST_CHARACTERS} characters")
    references, uri = 0, LineKind.URI
    for number, match in enumerate(_LINE.finditer(text)):
        line = match[0]
        kind = _KINDS[match.lastindex or 0]
        if kind is uri:
            references += 1
            if references > MOST_SEGMENTS:
                raise PlaylistTooLarge(f"a playlist of more than {MOST_SEGMENTS} segments")
        if len(line) > LONGEST_LINE:
            raise PlaylistTooLarge(f"a line of more than {LONGEST_LINE} characters")
        if number > MOST_LINES:
            raise PlaylistTooLarge(f"a playlist of more than {MOST_LINES} lines")
        yield kind, line


def content(line: str) -> str:
    """Return a line without its end and what surrounds it."""
    return line.strip(BLANKS + "\r\n")


def require_playlist(text: str) -> None:
    """Make sure that a text begins as a playlist does (4.4.1.1); providers answer with anything else, and status 200.

    Raises:
        HlsError: It does not; the text says what it looks like instead.
    """
    beginning = text[:_BEGINNING].lstrip(BLANKS + "\r\n")
    if beginning.startswith("#EXTM3U"):
        return
    if not beginning:
        raise HlsError("empty instead of a playlist")
    for mark, what in _SOMETHING_ELSE:
        if beginning.lower().startswith(mark):
            raise HlsError(f"{what} instead of a playlist")
    raise HlsError("no playlist: #EXTM3U is missing at its beginning")
