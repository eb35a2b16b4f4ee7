"""Types of media files, by their names and by what servers say they are."""

import re
from collections.abc import Mapping
from types import MappingProxyType

BY_EXTENSION: Mapping[str, str] = MappingProxyType(
    {
        "3gp": "video/3gpp",
        "aac": "audio/aac",
        "ac3": "audio/ac3",
        "asf": "video/x-ms-asf",
        "avi": "video/x-msvideo",
        "divx": "video/x-msvideo",
        "eac3": "audio/eac3",
        "flac": "audio/flac",
        "flv": "video/x-flv",
        "m2ts": "video/mp2t",
        "m4a": "audio/mp4",
        "m4b": "audio/mp4",
        "m4v": "video/mp4",
        "mka": "audio/x-matroska",
        "mkv": "video/x-matroska",
        "mov": "video/quicktime",
        "mp3": "audio/mpeg",
        "mp4": "video/mp4",
        "mpeg": "video/mpeg",
        "mpg": "video/mpeg",
        "mts": "video/mp2t",
        "oga": "audio/ogg",
        "ogg": "audio/ogg",
        "ogv": "video/ogg",
        "opus": "audio/ogg",
        "rmvb": "application/vnd.rn-realmedia-vbr",
        "ts": "video/mp2t",
        "vob": "video/mpeg",
        "wav": "audio/wav",
        "webm": "video/webm",
        "wma": "audio/x-ms-wma",
        "wmv": "video/x-ms-wmv",
    }
)
"""Media types by extension in lower case. Python's own table is the system's, which may take `.ts` for a text."""

UNKNOWN = "application/octet-stream"

_MEDIA = re.compile(
    r"(?:audio|video)/[a-z0-9][a-z0-9.+-]{0,60}|application/(?:mp4|ogg|x-matroska|vnd\.rn-realmedia(?:-vbr)?)"
)
_PAGES = (b"<", b"{", b"#EXTM3U")


def media_type(said: str, url: str) -> str:
    """Tell the type of a file.

    Args:
        said: What its server says (`Content-Type`); many say nothing, or that it is text, or bytes.
        url: Where it is.
    """
    essence = said.partition(";")[0].strip().lower()
    return essence if _MEDIA.fullmatch(essence) else BY_EXTENSION.get(extension(url), UNKNOWN)


def extension(url: str) -> str:
    """Return the extension of a URL's path in lower case, without its dot; empty where there is none."""
    path = url.partition("#")[0].partition("?")[0]
    above, _, name = path.rpartition("/")
    _, dot, ending = name.rpartition(".")
    # Behind `://` alone stands a host.
    return ending.lower() if dot and not above.endswith(":/") else ""


def is_page(head: bytes) -> bool:
    """Tell whether a file that begins like this is text that stands in for media: no media file begins like these."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PAGES)
