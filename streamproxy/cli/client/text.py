"""What a person reads: numbers with units, spans of time, and foreign text that does nothing to a terminal."""

import math
import unicodedata
from datetime import UTC, datetime

UNKNOWN = "–"
"""What is shown where a value is missing or makes no sense."""

LONGEST_CELL = 200
"""Characters of a text from elsewhere that are shown in a table."""

_JOINERS = "\u200c\u200d"
"""Format characters that writing needs: Persian words, and pictures made of several."""
_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of Unicode that a terminal obeys, or that reorder a line or break it."""


def plain(value: object, longest: int = LONGEST_CELL) -> str:
    r"""Make text from elsewhere harmless on a terminal: `\x1b` and the like are shown as they are written here.

    Args:
        value: A text or a number; whatever else it may be counts as nothing.
        longest: Characters that stay.

    Returns:
        One line; empty where there is nothing to show.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number_as_text(value)
    if not isinstance(value, str):
        return ""
    shown = value if len(value) <= longest else f"{value[: longest - 1]}…"
    return "".join(map(_harmless, shown))


def number(value: object) -> float | None:
    """Return a number from 0 up to where it still makes sense; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        return None
    return float(value)


def count(value: object) -> str:
    """Write a whole number."""
    known = number(value)
    return UNKNOWN if known is None else str(int(known))


def rate(value: object) -> str:
    """Write bytes per second as bits per second: `7.9 Mbit/s`."""
    known = number(value)
    if known is None:
        return UNKNOWN
    bits = known * 8
    if bits < 1e6:
        return f"{bits / 1e3:.0f} kbit/s"
    return f"{bits / 1e6:.1f} Mbit/s" if bits < 1e10 else f"{bits / 1e9:.1f} Gbit/s"


def size(value: object) -> str:
    """Write bytes as `12.5 MiB`, and many of them as GiB and TiB."""
    known = number(value)
    if known is None:
        return UNKNOWN
    for unit, power in (("MiB", 20), ("GiB", 30)):
        if known < 1 << (power + 10):
            return f"{known / (1 << power):.1f} {unit}"
    return f"{known / (1 << 40):.1f} TiB"


def span(value: object) -> str:
    """Write seconds in their two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    known = number(value)
    if known is None:
        return UNKNOWN
    seconds = int(known)
    units = (("d", seconds // 86400), ("h", seconds // 3600 % 24), ("min", seconds // 60 % 60), ("s", seconds % 60))
    first = next((index for index, (_, amount) in enumerate(units) if amount), len(units) - 1)
    return " ".join(
        f"{amount} {unit}" for unit, amount in units[first : first + 2] if amount or unit == units[first][0]
    )


def moment(value: object) -> datetime | None:
    """Read a time as ISO 8601, without an offset in UTC, or as seconds since 1970; None where it is neither."""
    try:
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read if read.tzinfo else read.replace(tzinfo=UTC)
        known = number(value)
        return None if known is None else datetime.fromtimestamp(known, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def age(value: object, now: datetime) -> str:
    """Write how long ago something was; what lies ahead, since clocks differ, is now."""
    then = moment(value)
    return UNKNOWN if then is None else span(max(0.0, (now - then).total_seconds()))


def clock(value: object) -> str:
    """Write the time of day of a moment, where the reader is."""
    then = moment(value)
    try:
        return then.astimezone().strftime("%H:%M:%S") if then else "--:--:--"
    except (ValueError, OverflowError, OSError):  # the first and the last day there are
        return "--:--:--"


def _number_as_text(value: float) -> str:
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else UNKNOWN
    return str(value) if abs(value) < 10**18 else UNKNOWN


def _harmless(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    if unicodedata.category(character) not in _HARMFUL or character in _JOINERS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
