"""References of a playlist made absolute, without a byte changed that need not be."""

import re
from urllib.parse import quote

from streamproxy.formats import urls
from streamproxy.formats.hls.lines import BLANKS

# The name of a file: none that changes the directory, or holds a scheme.
_NAME = r"[^/?#:.][^/?#:]*+(?:\?[^#]*+)?"
_FILE_NAME = re.compile(_NAME)
# No directory that makes it a host behind `//`.
_IN_A_DIRECTORY = re.compile(rf"((?:[^?#]*[^?#/])?/|)({_NAME})")
_MOST_DIRECTORIES = 1000
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_NEVER_A_FILE_NAME = re.compile(
    r"""about|async|blob|cache|chrome|concatf?|content|crypto|data|fd|file|filesystem|ftp|gopher|https?|ipfs|javascript|jar
    |mailto|md5|mms|pipe|rtmp|rtp|rtsp|sftp|skd|smb|srt|subfile|tcp|tee|tel|tls|udp|unix|urn|vbscript|view-source|wss?""",
    re.IGNORECASE | re.VERBOSE,
)
_STRAY_BYTES = re.compile("[\udc80-\udcff]+")

LONGEST_REFERENCE = 65_536
"""Length of a reference, which no server takes anyway; `data:` may be longer."""


class References:
    """What references of a playlist lead to.

    Args:
        base: Where the playlist came from, after redirects.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._directories: dict[str, str | None] = {}

    def resolve(self, reference: str) -> str | None:
        """Return the absolute URL, or None if it is not one of http or https, or longer than `LONGEST_REFERENCE`.

        Bytes that are no UTF-8, read with `surrogateescape`, are percent-encoded. `a:b.ts` is a file's name, though
        strictly it is a URL of the scheme `a`.
        """
        reference = reference.strip(BLANKS)
        if len(reference) > LONGEST_REFERENCE:
            return None
        if not reference.isascii():
            reference = _STRAY_BYTES.sub(lambda stray: quote(stray[0], errors="surrogateescape"), reference)
        # Nearly all segments lie in one directory; to join each of them anew would take most of the time.
        if _FILE_NAME.fullmatch(reference):
            directory, name = "", reference
        elif place := _IN_A_DIRECTORY.fullmatch(reference):
            directory, name = place.groups()
        else:
            return self._resolved(reference)
        known = self._directories[directory] if directory in self._directories else self._learn(directory)
        return known and known + name

    def _learn(self, directory: str) -> str | None:
        if len(self._directories) >= _MOST_DIRECTORIES:
            self._directories.clear()
        url = self._resolved(f"{directory}x")
        self._directories[directory] = known = url and url[:-1]
        return known

    def _resolved(self, reference: str) -> str | None:
        scheme = _SCHEME.match(reference)
        if scheme and (scheme[2] or _NEVER_A_FILE_NAME.fullmatch(scheme[1])):
            return reference if urls.is_http(reference) else None
        url = urls.join(self._base, f"./{reference}" if scheme else reference)
        return url if urls.is_http(url) else None


def scheme_of(reference: str) -> str:
    """Return the scheme of a reference in lower case; empty if it has none."""
    scheme = _SCHEME.match(reference.strip(BLANKS))
    return scheme[1].lower() if scheme else ""
