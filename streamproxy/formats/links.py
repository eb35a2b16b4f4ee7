"""Links to what the playlists of a channel name: made here, opaque to everybody else, and the same each time.

A link is the name of a file, `TOKEN.EXTENSION`. The token is the URL and what belongs to it, sealed with AES-SIV
(RFC 5297): who has no key can neither read it nor make one that is accepted. It depends on nothing but the key, the
channel and the target, so that links survive a restart, are the same in every worker, and the part that a player finds
is the one whose coming was hinted at. All that a token gives away is its length, and which others are equal to it.
"""

import json
import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from streamproxy.formats.hls.rewrite import Kind
from streamproxy.formats.mediatypes import BY_EXTENSION, UNKNOWN, extension

KEY_SIZE = 64
"""Bytes of a key: two of AES-256."""

LONGEST_NAME = 7000
"""Characters of a link; what it is requested with must fit into the 8190 bytes of a request line."""

_FAMILIAR = (
    *("3gp", "aac", "ac3", "avi", "eac3", "flac", "m4a", "m4v", "mkv", "mov"),
    *("mp3", "mp4", "mpeg", "mpg", "oga", "ogg", "ogv", "ts", "vob", "wav"),
)
MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        **{name: BY_EXTENSION[name] for name in _FAMILIAR},
        "cmfa": "audio/mp4",
        "cmfv": "video/mp4",
        "ec3": "audio/eac3",
        "fmp4": "video/mp4",
        "m4s": "video/mp4",
        "mp2": "audio/mpeg",
        "mpegts": "video/mp2t",
        "vtt": "text/vtt; charset=utf-8",
        "webvtt": "text/vtt; charset=utf-8",
    }
)
"""Types by the extensions that FFmpeg takes for segments (`allowed_segment_extensions`, 7.1.1); it refuses others."""

_MEDIA = frozenset(MEDIA_TYPES)

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"

_OTHER_TYPES = {
    "bin": UNKNOWN,
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "key": UNKNOWN,
    "m3u8": PLAYLIST_TYPE,
    "png": "image/png",
    "webp": "image/webp",
}
_DATA = frozenset(_OTHER_TYPES) - {"key", "m3u8"}

_ALWAYS = {Kind.PLAYLIST: "m3u8", Kind.KEY: "key"}
_WHERE_KNOWN = {
    Kind.SEGMENT: (_MEDIA, "ts"),
    Kind.PART: (_MEDIA, "ts"),
    Kind.MAP: (_MEDIA, "mp4"),
    Kind.ASSET: (frozenset({"json"}), "m3u8"),
    Kind.DATA: (_DATA, "bin"),
}
"""By what a link leads to: the extensions it may have of its target, and the one it has where that is none of them."""

# One letter each, for ever: links outlive the program that made them.
_LETTERS = {
    Kind.PLAYLIST: "p",
    Kind.SEGMENT: "s",
    Kind.PART: "t",
    Kind.MAP: "m",
    Kind.KEY: "k",
    Kind.ASSET: "a",
    Kind.DATA: "d",
}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}

_NAME = re.compile(r"([A-Za-z0-9_-]{24,})\.([a-z0-9]{1,8})")
_FIT_FOR_URLS = bytes.maketrans(b"+/", b"-_")
_MIN_PASSPHRASE = 32


class NotOurLink(ValueError):
    """A link that was not made with this key for this channel."""


class UrlTooLong(ValueError):
    """A URL that makes a link longer than a request can carry."""


class Link(NamedTuple):
    """What a link leads to.

    Attributes:
        kind: What it is.
        url: Where it is. A secret.
        variables: Of a media playlist, what the multivariant playlist defined (EXT-X-DEFINE). Secrets too.
    """

    kind: Kind
    url: str
    variables: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Link(kind={self.kind.value!r})"


class LinkSealer:
    """Makes links, and understands those it made."""

    def __init__(self, key: bytes) -> None:
        """Take the key.

        Args:
            key: `KEY_SIZE` random bytes; 32 and 48 are taken too.
        """
        self._cipher = AESSIV(key)

    def seal(self, channel_id: str, link: Link) -> str:
        """Make a link.

        Args:
            channel_id: The channel it belongs to; it opens for no other.
            link: What it leads to.

        Returns:
            The name of a file, which is fit for a URL as it is.

        Raises:
            UrlTooLong: It would be longer than `LONGEST_NAME`.
        """
        kind = extension_of(link)
        text = _LETTERS[link.kind] + link.url
        if link.variables:
            # A line break is in no URL.
            text += "\n" + json.dumps(link.variables, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        sealed = self._cipher.encrypt(text.encode("utf-8", "surrogatepass"), _bound_to(channel_id, kind))
        name = f"{_encode(sealed)}.{kind}"
        if len(name) > LONGEST_NAME:
            raise UrlTooLong(f"a URL that makes a link of more than {LONGEST_NAME} characters")
        return name

    def open(self, channel_id: str, name: str) -> Link:
        """Read a link.

        Args:
            channel_id: The channel it was requested for.
            name: The link, extension included.

        Raises:
            NotOurLink: It was not made with this key, for this channel, or not like this.
        """
        match = _NAME.fullmatch(name) if len(name) <= LONGEST_NAME else None
        sealed = _decode(match[1]) if match else None
        if not match or not sealed:
            raise NotOurLink("not the form of a link")
        try:
            text = self._cipher.decrypt(sealed, _bound_to(channel_id, match[2])).decode("utf-8", "surrogatepass")
        except InvalidTag:
            raise NotOurLink("not a link of this channel") from None
        url, _, variables = text[1:].partition("\n")
        if text[:1] not in _KINDS:
            raise NotOurLink("a link of a later version")
        return Link(_KINDS[text[0]], url, json.loads(variables) if variables else {})


def extension_of(link: Link) -> str:
    """Choose the extension that a link has: its target's own where players take it, else what they take best.

    FFmpeg takes `.ts` for MPEG-TS, fragmented MP4 and AAC alike, so it stands for segments that call themselves `.php`,
    `.jpg` or nothing at all.
    """
    kind = link.kind
    if kind in _ALWAYS:
        return _ALWAYS[kind]
    own = extension(link.url)
    known, otherwise = _WHERE_KNOWN[kind]
    return own if own in known else otherwise


def content_type(link: Link, said: str) -> str:
    """Tell the media type of what a link leads to.

    Args:
        link: The link.
        said: What its server says (`Content-Type`); only believed where that is audio or video. A page of somebody
            else's must not run as if it were one of ours.
    """
    kind = extension_of(link)
    if kind not in MEDIA_TYPES:
        return _OTHER_TYPES[kind]
    essence = said.partition(";")[0].strip().lower()
    return essence if essence in _MEDIA_TYPES else MEDIA_TYPES[kind]


_MEDIA_TYPES = frozenset(MEDIA_TYPES.values()) | {"audio/mp2t", "audio/mp4", "video/iso.segment", "audio/x-aac"}


def key_from(passphrase: str) -> bytes:
    """Make a key from a text of the configuration, so that several machines make the same links.

    Raises:
        ValueError: It is shorter than 32 characters; who has a link could try out all that are likely.
    """
    if len(passphrase) < _MIN_PASSPHRASE:
        raise ValueError(f"must have at least {_MIN_PASSPHRASE} characters")
    return blake2b(passphrase.encode("utf-8", "surrogatepass"), digest_size=KEY_SIZE, person=b"hls link key").digest()


@lru_cache(maxsize=256)
def _bound_to(channel_id: str, kind: str) -> list[bytes]:
    # Kept: a playlist has thousands of links, and all of them are bound to the same.
    return [channel_id.encode("utf-8", "surrogatepass"), kind.encode()]


def _encode(sealed: bytes) -> str:
    return b2a_base64(sealed, newline=False).translate(_FIT_FOR_URLS).rstrip(b"=").decode()


def _decode(token: str) -> bytes | None:
    try:
        sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return None
    # The last character may hold bits that nobody reads: only one spelling is ours.
    return sealed if _encode(sealed) == token else None
