"""Which variant of a stream to take."""

import re
from collections.abc import Callable

from streamproxy.formats.hls.model import MultivariantPlaylist, Variant

_HEIGHT = re.compile(r"([0-9]{1,6})p", re.IGNORECASE)
_BANDWIDTH = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([km]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000}
_HARDLY_FEWER = 0.8
_SOUND = re.compile(r"\s*(?:mp4a|ac-3|ec-3|ac-4|opus|flac|alac|mp3|vorbis|dts)", re.IGNORECASE)


def choose_variant(playlist: MultivariantPlaylist, quality: str) -> Variant:
    """Choose a variant; those with nothing but sound only where there are no others.

    Args:
        playlist: What there is.
        quality: `best` or `worst`; `720p` for the best of no more than so many lines; `3000k`, `2.5m` or `2500000` for
            the best of no more than so many bits per second. Where all are above, the lowest is taken; where none says
            how many lines it has, the best.

    Raises:
        ValueError: There is no variant, or the quality is none of these.
    """
    variants = [variant for variant in playlist.variants if not _only_sound(variant)] or list(playlist.variants)
    height, bandwidth = _HEIGHT.fullmatch(quality), _BANDWIDTH.fullmatch(quality)
    if not (height or bandwidth or quality in {"best", "worst"}):
        raise ValueError(f"{quality!r} is neither best nor worst, a height (720p) nor a bandwidth (3000k)")
    if not variants:
        raise ValueError("the playlist lists no streams")
    ranked = sorted(variants, key=_rank(variants), reverse=True)
    if quality == "worst":
        return ranked[-1]
    if height:
        lines = int(height[1])
        ranked = [variant for variant in ranked if variant.height is not None] or ranked[:1]
        return next((variant for variant in ranked if (variant.height or 0) <= lines), ranked[-1])
    if bandwidth:
        most = float(bandwidth[1]) * _FACTORS[bandwidth[2].lower()]
        ranked.sort(key=lambda variant: variant.bandwidth, reverse=True)
        return next((variant for variant in ranked if variant.bandwidth <= most), ranked[-1])
    return ranked[0]


def is_alike(variant: Variant, other: Variant) -> bool:
    """Tell whether a variant is as good as another: of as many lines, and of hardly fewer bits."""
    return variant.height == other.height and variant.bandwidth >= _HARDLY_FEWER * other.bandwidth


def _only_sound(variant: Variant) -> bool:
    codecs = variant.codecs.split(",") if variant.codecs else []
    return variant.height is None and bool(codecs) and all(map(_SOUND.match, codecs))


def _rank(variants: list[Variant]) -> Callable[[Variant], tuple[int, int]]:
    # Where some do not say how many lines they have, only bandwidth compares them.
    by_height = all(variant.height is not None for variant in variants)
    return lambda variant: (variant.height or 0 if by_height else 0, variant.bandwidth)
