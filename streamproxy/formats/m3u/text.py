"""The bytes of a list as text, and back, without a byte lost."""

import codecs
import re
from contextlib import suppress
from dataclasses import dataclass, field

_PIECE = 131_072
_STRAY = re.compile("[\udc80-\udcff]")
_PRIVATE = re.compile("[\uf780-\uf7ff]")
_TO_PRIVATE = 0xF780 - 0xDC80


@dataclass(frozen=True, slots=True)
class Text:
    """A list's text, and how to get the same bytes back.

    Attributes:
        text: The text; a byte order mark is its first character.
        encoding: The codec that read it, byte order mark aside.
        damaged: Single bytes that are no UTF-8 were read as the private characters U+F780 to U+F7FF.
    """

    text: str = field(repr=False)
    encoding: str
    damaged: bool = False

    def encode(self) -> bytes:
        """Return the bytes it was read from."""
        if self.damaged:
            strays = _PRIVATE.sub(lambda private: chr(ord(private[0]) - _TO_PRIVATE), self.text)
            return strays.encode("utf-8", "surrogateescape")
        return self.text.encode(self.encoding)


def decode(body: bytes, fallback: str = "cp1252") -> Text:
    """Read the bytes of a list, whatever they are.

    What is marked as UTF-16 is read as such, then what is UTF-8, or is for the most part: providers cut titles in the
    middle of a character, and one such title must not garble all the others.

    Args:
        body: The bytes, not compressed.
        fallback: The codec for everything else. Where it cannot read the bytes or would not give the same ones back,
            latin-1 is taken, which always can.

    Raises:
        LookupError: There is no such codec.
    """
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"), (b"", "utf-8")):
        if body.startswith(mark):
            with suppress(UnicodeError):
                return Text(_decoded(body, encoding), encoding)
    damaged = _decoded(body, "utf-8", "surrogateescape")
    pieces = [damaged[start : start + _PIECE] for start in range(0, len(damaged), _PIECE)]
    stray = sum(len(_STRAY.findall(piece)) for piece in pieces)
    # Each byte that continues a character counts for UTF-8; in other encodings hardly any byte looks like one.
    if stray <= len(body) - len(damaged) and not any(map(_PRIVATE.search, pieces)):
        mended = (_STRAY.sub(lambda stray: chr(ord(stray[0]) + _TO_PRIVATE), piece) for piece in pieces)
        return Text("".join(mended), "utf-8", damaged=True)
    with suppress(UnicodeError):
        return Text(_decoded(body, fallback), fallback)
    return Text(body.decode("latin-1"), "latin-1")


def _decoded(body: bytes, encoding: str, errors: str = "strict") -> str:
    # In pieces, since a thread that decodes tens of megabytes in one call lets no other thread run meanwhile.
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    encoder = codecs.getincrementalencoder(encoding)(errors)
    pieces = []
    position = 0
    for start in range(0, len(body), _PIECE):
        final = start + _PIECE >= len(body)
        piece = decoder.decode(body[start : start + _PIECE], final)
        same = encoder.encode(piece, final)
        if not body.startswith(same, position):
            break
        position += len(same)
        pieces.append(piece)
    if position != len(body):
        raise UnicodeError(f"{encoding} is not reversible here")
    return "".join(pieces)
