"""Where the sound of a variant is: in it, or in a playlist of its own (RFC 8216bis, 4.4.6.1 and 4.4.6.2.1)."""

from collections.abc import Iterator
from dataclasses import replace

from streamproxy.formats.hls.attributes import named
from streamproxy.formats.hls.lines import content, lines
from streamproxy.formats.hls.model import MultivariantPlaylist, Rendition, Variant
from streamproxy.formats.hls.quality import choose_variant, is_alike

_MEDIA_TAG = "#EXT-X-MEDIA:"
_MOST_VARIANTS = 64


class SoundApart(ValueError):
    """Every variant has its sound in a playlist of its own."""


def has_separate_sound(playlist: MultivariantPlaylist, variant: Variant) -> bool:
    """Tell whether no sound comes with a variant: each rendition of it has a playlist of its own."""
    sounds = _sounds(playlist, variant)
    return bool(sounds) and all(each.url not in (None, variant.url) for each in sounds)


def sound_of(playlist: MultivariantPlaylist, variant: Variant) -> Rendition | None:
    """Choose the rendition that is heard with a variant: the default one, or else the first; None if it needs none."""
    if not has_separate_sound(playlist, variant):
        return None
    return next(iter(sorted(_sounds(playlist, variant), key=lambda each: not each.default)), None)


def self_selecting_first(playlist: MultivariantPlaylist, text: str) -> MultivariantPlaylist:
    """Put renditions that may be chosen without being asked for (AUTOSELECT=YES) before those that may not.

    Args:
        playlist: What was read.
        text: What it was read from.

    Raises:
        HlsError: The text is too large to be one.
    """
    chosen = set()
    for _, line in lines(text):
        line = content(line)
        if line.startswith(_MEDIA_TAG):
            tag = named(line.removeprefix(_MEDIA_TAG))
            if tag.get("AUTOSELECT", "").upper() == "YES":
                chosen.add((tag.get("GROUP-ID"), tag.get("NAME")))
    ordered = sorted(playlist.renditions, key=lambda each: (each.group, each.name) not in chosen)
    return replace(playlist, renditions=tuple(ordered))


def in_order(playlist: MultivariantPlaylist, quality: str, *, joins: bool) -> Iterator[Variant]:
    """Give variants, best first.

    Args:
        playlist: What there is.
        quality: See `choose_variant`.
        joins: Whether picture and sound can be joined. Where they can, one that is whole goes first only if it is as
            good; where they cannot, those that are not whole are left out.

    Raises:
        SoundApart: There are only such as would have to be joined.
        ValueError: The quality is none.
    """
    left = list(playlist.variants[:_MOST_VARIANTS])
    whole = [variant for variant in left if not has_separate_sound(playlist, variant)]
    if left and _choose(left, quality) not in whole:
        # Several codecs are picture and sound in one; a variant of one codec would be half of the stream.
        whole = [variant for variant in whole if not variant.codecs or "," in variant.codecs]
        if not whole and not joins:
            raise SoundApart
    if not joins:
        left = whole
    while left:
        variant = _choose(left, quality)
        alike = [each for each in left if each in whole and is_alike(each, variant)]
        if variant not in whole and alike:
            variant = _choose(alike, quality)
        left.remove(variant)
        yield variant


def _choose(variants: list[Variant], quality: str) -> Variant:
    return choose_variant(MultivariantPlaylist("", tuple(variants), ()), quality)


def _sounds(playlist: MultivariantPlaylist, variant: Variant) -> list[Rendition]:
    return [each for each in playlist.renditions if each.kind == "AUDIO" and each.group == variant.audio]
