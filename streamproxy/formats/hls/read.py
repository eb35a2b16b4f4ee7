"""Reading playlists, for where the program must understand them."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import m3u8

from streamproxy.formats.hls.clean import LONGEST_DURATION, CleanPlaylist, KeyTag
from streamproxy.formats.hls.errors import HlsError
from streamproxy.formats.hls.lines import require_playlist
from streamproxy.formats.hls.model import (
    ByteRange,
    Key,
    Map,
    MediaPlaylist,
    MediaSegment,
    MultivariantPlaylist,
    Rendition,
    Variant,
)
from streamproxy.formats.hls.references import References
from streamproxy.formats.hls.variables import Variables

_BYTE_RANGE = re.compile(r"([1-9][0-9]{0,14})(?:@([0-9]{1,15}))?")
_IV = re.compile(r"0[xX]([0-9A-Fa-f]{1,32})")
_IV_SIZE = 16
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


def read(text: str, url: str, *, variables: Mapping[str, str] = _NO_VARIABLES) -> MediaPlaylist | MultivariantPlaylist:
    """Read a playlist.

    Read generously: what is not needed to play is passed over, and a segment that cannot be fetched is marked as broken
    where the rest can; what is at neither http nor https has an empty URL. Parts of segments (EXT-X-PART) are left out,
    as the whole segments follow. A duration that is missing or below zero counts as the target duration.

    Args:
        text: The playlist; not UTF-8 is read with `surrogateescape`.
        url: Where it came from, after redirects.
        variables: What the multivariant playlist defined (`MultivariantPlaylist.variables`), for IMPORT.

    Raises:
        HlsError: It is no playlist or no usable one; the text says why, and shows nothing of it.
    """
    require_playlist(text)
    known = Variables(url, variables)
    clean = CleanPlaylist(text, known)
    try:
        parsed = m3u8.parse("\n".join(clean.lines))
    except (ValueError, TypeError, LookupError) as error:
        # The text of the package's error quotes the playlist.
        raise HlsError(f"not a playlist that can be read: {type(error).__name__}") from None
    references = References(url)
    if clean.multivariant:
        return _multivariant(parsed, url, references, known.defined)
    return _media(parsed, url, references, clean)


def _multivariant(
    parsed: dict[str, Any], url: str, references: References, variables: dict[str, str]
) -> MultivariantPlaylist:
    variants = []
    for entry in parsed["playlists"]:
        stream, variant_url = entry["stream_info"], references.resolve(entry["uri"])
        if variant_url is None:
            continue
        _, _, height = stream.get("resolution", "").partition("x")
        variants.append(
            Variant(
                url=variant_url,
                bandwidth=stream["bandwidth"],
                height=int(height) if height else None,
                audio=stream.get("audio") or None,
                codecs=stream.get("codecs", ""),
            )
        )
    renditions = []
    for media in parsed["media"]:
        media_url = references.resolve(media["uri"]) if media["uri"] else None
        if media_url is None and media["uri"]:
            continue
        renditions.append(
            Rendition(
                kind=_unquoted(media["type"]).upper(),
                group=media["group_id"],
                name=media["name"],
                language=media["language"],
                default=_unquoted(media["default"]).upper() == "YES",
                url=media_url,
            )
        )
    return MultivariantPlaylist(url=url, variants=tuple(variants), renditions=tuple(renditions), variables=variables)


def _unquoted(text: str) -> str:
    return text.strip('"')


def _media(parsed: dict[str, Any], url: str, references: References, clean: CleanPlaylist) -> MediaPlaylist:
    target_duration = min(float(parsed.get("targetduration", 0)), LONGEST_DURATION) or None
    reader = _SegmentReader(references, parsed, target_duration)
    for section, key in zip(parsed["segment_map"], clean.map_keys, strict=True):
        reader.take_map(section, key)
    return MediaPlaylist(
        url=url,
        target_duration=target_duration,
        segments=tuple(
            reader.segment(number, entry, key)
            for number, (entry, key) in enumerate(
                zip(parsed["segments"], clean.keys, strict=True), parsed["media_sequence"]
            )
        ),
        has_sequence=clean.has_sequence,
        ended=parsed["is_endlist"],
        i_frames_only=parsed["is_i_frames_only"],
    )


class _SegmentReader:
    """Makes segments of what the package read, one after the other."""

    def __init__(self, references: References, parsed: dict[str, Any], target_duration: float | None) -> None:
        self._references = references
        self._usual_duration = target_duration or 0.0
        self._discontinuity_sequence: int = parsed.get("discontinuity_sequence", 0)
        # The package gives the same dictionary to every segment that a map is for.
        self._maps: dict[int, tuple[Map | None, str]] = {}
        self._keys: dict[int, tuple[Key | None, str]] = {}
        self._behind: tuple[str, int] | None = None

    def take_map(self, section: dict[str, str], key_tag: KeyTag | None) -> None:
        url = self._references.resolve(section["uri"]) if section["uri"] else None
        key, broken_key = self._key(key_tag)
        byte_range = None
        broken = "" if url is not None else "its map has no address of http or https"
        if "byterange" in section:
            match = _BYTE_RANGE.fullmatch(section["byterange"])
            if match:
                byte_range = ByteRange(length=int(match[1]), offset=int(match[2] or 0))
            else:
                broken = "the byte range of its map is none"
        self._maps[id(section)] = Map(url or "", byte_range, key), broken or broken_key

    def segment(self, number: int, entry: dict[str, Any], key_tag: KeyTag | None) -> MediaSegment:
        address = self._references.resolve(entry["uri"])
        broken = "" if address is not None else "its address is not one of http or https"
        url = address or ""
        key, broken_key = self._key(key_tag)
        map_, broken_map = self._map(entry.get("init_section"))
        byte_range, broken_range = self._byte_range(url, entry.get("byterange"))
        if entry["discontinuity"]:
            self._discontinuity_sequence += 1
        duration: float = entry["duration"]
        return MediaSegment(
            sequence=number,
            url=url,
            duration=min(duration, LONGEST_DURATION) if duration >= 0 else self._usual_duration,
            byte_range=byte_range,
            broken=broken or broken_key or broken_map or broken_range,
            discontinuity=entry["discontinuity"],
            discontinuity_sequence=self._discontinuity_sequence,
            gap=bool(entry["gap_tag"]),
            key=key,
            map=map_,
        )

    def _map(self, section: dict[str, str] | None) -> tuple[Map | None, str]:
        return self._maps[id(section)] if section is not None else (None, "")

    def _byte_range(self, url: str, text: str | None) -> tuple[ByteRange | None, str]:
        behind, self._behind = self._behind, None
        if text is None:
            return None, ""
        match = _BYTE_RANGE.fullmatch(text)
        if not match:
            return None, "its byte range is none"
        if match[2]:
            offset = int(match[2])
        elif behind is not None and behind[0] == url:
            # Without an offset it follows on the range before it, if that was of the same resource (4.4.4.2).
            offset = behind[1]
        else:
            return None, "its byte range has no offset, and nothing to follow on"
        length = int(match[1])
        self._behind = url, offset + length
        return ByteRange(length, offset), ""

    def _key(self, tag: KeyTag | None) -> tuple[Key | None, str]:
        if tag is None:
            return None, ""
        known = self._keys.get(id(tag))
        if known is None:
            known = self._keys[id(tag)] = self._made_key(tag)
        return known

    def _made_key(self, tag: KeyTag) -> tuple[Key, str]:
        url = self._references.resolve(tag.uri) if tag.uri else None
        broken = "" if url is not None else "its key has no address of http or https"
        iv = None
        if tag.iv:
            digits = _IV.fullmatch(tag.iv.strip())
            if digits:
                iv = int(digits[1], 16).to_bytes(_IV_SIZE, "big")
            else:
                broken = broken or "the initialization vector of its key is none"
        return Key(method=tag.method, url=url or "", iv=iv, key_format=tag.key_format), broken
