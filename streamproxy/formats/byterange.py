"""Byte ranges of HTTP (RFC 9110, 14): what is asked for, what that is of a file, and how several parts are sent."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MAX_RANGES = 16
"""Ranges that one request may name; who names more is no player."""

_RANGES = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_CONTENT_RANGE = re.compile(r"bytes[ =](?:([0-9]+)-([0-9]+)|\*)/([0-9]+|\*)", re.IGNORECASE)

_HUGE = 10**18
"""Beyond every file. Numbers are cut off here: reading one of thousands of digits is an error in Python."""


class RangeNotSatisfiable(ValueError):
    """A file has none of the bytes asked for.

    Attributes:
        size: Bytes of the file; None where that is not known.
    """

    def __init__(self, size: int | None) -> None:
        super().__init__("the file has none of the bytes asked for")
        self.size = size

    @property
    def content_range(self) -> str:
        """The value of `Content-Range` that says so."""
        return f"bytes */{'*' if self.size is None else self.size}"


class Span(NamedTuple):
    """Bytes of a file, both ends included. An empty file is the span from 0 to -1."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many they are."""
        return self.last - self.first + 1

    def content_range(self, size: int | None) -> str:
        """Write the value of `Content-Range`.

        Args:
            size: Bytes of the whole file; None where that is not known.
        """
        return f"bytes {self.first}-{self.last}/{'*' if size is None else size}"


class ByteRange(NamedTuple):
    """One range as it is asked for.

    Attributes:
        first: Position of the first byte; None asks for the end of the file.
        last: Position of the last byte, None for the end; without a first position, how many bytes from the end.
    """

    first: int | None
    last: int | None

    def __str__(self) -> str:
        """Write the value of `Range`."""
        return f"bytes={'' if self.first is None else self.first}-{'' if self.last is None else self.last}"

    def resolve(self, size: int) -> Span | None:
        """Find what this is of a file of so many bytes; None where the file has nothing of it."""
        if self.first is None:
            assert self.last is not None
            return Span(max(0, size - self.last), size - 1) if self.last and size else None
        if self.first >= size:
            return None
        return Span(self.first, size - 1 if self.last is None else min(self.last, size - 1))


def parse_ranges(value: str) -> list[ByteRange]:
    """Read the value of `Range`.

    Returns:
        The ranges in order; none where the header is to be ignored, because its unit is another or its syntax wrong.
        There may be more of them than `MAX_RANGES`.
    """
    ranges = _RANGES.fullmatch(value)
    if not ranges:
        return []
    found = []
    for text in ranges[1].split(","):
        if text := text.strip(" \t"):  # empty elements of a list are to be borne (RFC 9110, 5.6.1.2)
            one = _parse_range(text)
            if one is None:
                return []
            found.append(one)
    return found


def _parse_range(text: str) -> ByteRange | None:
    match = _RANGE.fullmatch(text)
    if not match or text == "-":
        return None
    first, last = (_number(digits) if digits else None for digits in match.groups())
    if first is not None and last is not None and last < first:
        return None
    return ByteRange(first, last)


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 18 else _HUGE


class ContentRange(NamedTuple):
    """What a part is of its file.

    Attributes:
        span: Where it belongs; None in the answer that there is nothing of what was asked for.
        size: Bytes of the whole file; None where the server does not know.
    """

    span: Span | None
    size: int | None


def parse_content_range(value: str) -> ContentRange | None:
    """Read the value of `Content-Range`; None where it makes no sense."""
    match = _CONTENT_RANGE.fullmatch(value.strip(" \t"))
    if not match:
        return None
    size = None if match[3] == "*" else _number(match[3])
    if match[1] is None:
        return None if size is None else ContentRange(None, size)
    span = Span(_number(match[1]), _number(match[2]))
    if span.last < span.first or (size is not None and span.last >= size):
        return None
    return ContentRange(span, size)


def resolve(ranges: Iterable[ByteRange], size: int) -> list[Span]:
    """Find what several ranges are of a file of so many bytes.

    Returns:
        Spans that neither overlap nor touch, in the order asked for; one that joins several stands where their first
        stood. None at all where the file has nothing of it.
    """
    spans: list[Span] = []
    for span in filter(None, (one.resolve(size) for one in ranges)):
        near = [other for other in spans if other.first <= span.last + 1 and span.first <= other.last + 1]
        place = spans.index(near[0]) if near else len(spans)
        joined = [span, *near]
        spans = [other for other in spans if other not in near]
        spans.insert(place, Span(min(one.first for one in joined), max(one.last for one in joined)))
    return spans


class Multipart:
    """The frame around several parts of a file (RFC 9110, 14.6).

    Attributes:
        content_type: Of the whole.
        parts: In order, the bytes that go before each span.
        end: The bytes behind the last.
        size: Bytes of everything.
    """

    def __init__(self, spans: Sequence[Span], size: int, content_type: str, boundary: str) -> None:
        """Draw it up.

        Args:
            spans: The parts.
            size: Bytes of the whole file.
            content_type: Of the file.
            boundary: What separates parts: 1 to 70 letters and digits that occur in none, such as a long random text.
        """
        self.content_type = f"multipart/byteranges; boundary={boundary}"
        self.parts = [
            (
                f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
                f"Content-Range: {span.content_range(size)}\r\n\r\n".encode(),
                span,
            )
            for span in spans
        ]
        self.end = f"\r\n--{boundary}--\r\n".encode()
        self.size = sum(len(head) + span.size for head, span in self.parts) + len(self.end)
