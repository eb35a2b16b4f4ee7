"""One answer of an upstream on its way: what is known of it, what has arrived, and who reads it from where."""

import asyncio
import re
from bisect import bisect_right
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamRefused
from streamproxy.formats.byterange import ByteRange, RangeNotSatisfiable, Span, parse_content_range

_SMALL_PIECE = 1 << 14
"""Bytes below which a piece is joined with the next: each has a cost of its own, and an upstream may send many."""

_SHORTEST_LIFE = 15.0
_USUAL_LIFE = 60.0
_LONGEST_LIFE = 3600.0
"""Seconds that an answer is kept. The shortest counts even where the upstream says not to keep it at all, as nearly all
providers do: those who watch one channel want the same within seconds of each other. The usual counts where it says
nothing; it is short because some encoders use the same few names again and again."""

_DIRECTIVE = re.compile(r"(no-store|no-cache)\b|(s-maxage|max-age)=\"?([0-9]{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer says of itself before its body.

    Attributes:
        content_type: As the upstream says; not to be believed.
        span: Which part of the resource the body is; None for all of it.
        size: Bytes of the whole resource; None where that is not known before its end.
        age: Seconds since the origin made it, when it arrived here.
        lifetime: Seconds from then on that it is kept.
        arrived: When it arrived, by the clock of whom it arrived at.
    """

    content_type: str
    span: Span | None
    size: int | None
    age: float
    lifetime: float
    arrived: float

    @property
    def length(self) -> int | None:
        """Bytes of the body; None where that is not known before its end."""
        return self.size if self.span is None else self.span.size

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], wanted: ByteRange | None, label: str, now: float) -> "Facts":
        """Read them.

        Args:
            status: Of the answer: 200, 203, 206 or 416.
            headers: Of the answer; names are looked up as RFC 9110 writes them.
            wanted: Which part was asked for; None for all.
            label: Who answers.
            now: The time.

        Raises:
            RangeNotSatisfiable: The resource has nothing of it.
            UpstreamError: The answer is to another question.
        """
        told = parse_content_range(headers.get("Content-Range", ""))
        if status == 416:
            if wanted is None:
                raise UpstreamRefused(label, status)
            raise RangeNotSatisfiable(told.size if told else None)
        length = _number(headers.get("Content-Length", ""))
        span, size = None, length
        if status == 206:
            if _is_packed(headers):
                raise UpstreamBroken(label, "the upstream compressed a part of what was asked for as it is")
            if told is None or told.span is None or not _answers(wanted, told.span, told.size):
                raise UpstreamBroken(label, "the upstream sent another range than it was asked for")
            if length not in (None, told.span.size):
                raise UpstreamBroken(label, "the upstream's range and length do not agree")
            span, size = told.span if wanted else None, told.size
        elif _is_packed(headers):
            size = None
        if length == 0:
            raise UpstreamNotMedia(label, "the upstream sent nothing")
        age = float(_number(headers.get("Age", "")) or 0)
        lifetime = _lifetime(headers.get("Cache-Control", ""), age)
        return cls(headers.get("Content-Type", ""), span, size, age, lifetime, now)


def _answers(wanted: ByteRange | None, span: Span, size: int | None) -> bool:
    """Tell whether a part is what was asked for, or less of it from its beginning (RFC 9110, 15.3.7)."""
    if wanted is None:
        return span.first == 0 and span.size == size
    if wanted.first is None:
        return wanted.last is not None and span.size <= wanted.last and (size is None or span.last == size - 1)
    return span.first == wanted.first and (wanted.last is None or span.last <= wanted.last)


def _is_packed(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Encoding", "").strip().lower() not in ("", "identity")


def _number(digits: str) -> int | None:
    digits = digits.strip()
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 18 else None


def _lifetime(cache_control: str, age: float) -> float:
    """Tell how long to keep an answer, from its arrival on."""
    said: dict[str, int] = {}
    for directive in _DIRECTIVE.finditer(cache_control):
        if directive[1]:
            return _SHORTEST_LIFE
        said[directive[2].lower()] = int(directive[3])
    whole = said.get("s-maxage", said.get("max-age", _USUAL_LIFE + age))
    return min(max(whole - age, _SHORTEST_LIFE), _LONGEST_LIFE)


@dataclass(eq=False, slots=True)
class Transfer:
    """One answer, read once, into memory. Each of its readers goes through it at their own pace.

    Attributes:
        facts: What is known of it; None until its body has begun.
        arrived: Bytes of its body that are here.
        complete: Whether that is all of them.
        error: Why there will be no more; None while there may be.
        readers: How many there are now.
    """

    facts: Facts | None = None
    arrived: int = 0
    complete: bool = False
    error: UpstreamError | RangeNotSatisfiable | None = None
    readers: int = 0
    _pieces: list[bytes] = field(default_factory=list, repr=False)
    _ends: list[int] = field(default_factory=list, repr=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.complete or self.error is not None

    def begin(self, facts: Facts) -> None:
        """Say what is coming."""
        self.facts = facts
        self._tell()

    def add(self, data: bytes) -> None:
        """Take more of the body."""
        self.arrived += len(data)
        if self._pieces and len(self._pieces[-1]) < _SMALL_PIECE:
            self._pieces[-1] += data
            self._ends[-1] = self.arrived
        else:
            self._pieces.append(data)
            self._ends.append(self.arrived)
        self._tell()

    def finish(self) -> None:
        """Say that this was all."""
        self.complete = True
        self._tell()

    def fail(self, error: UpstreamError | RangeNotSatisfiable) -> None:
        """Say why there will be no more."""
        self.error = error
        self._tell()

    async def begun(self) -> Facts:
        """Wait for the body to begin.

        Raises:
            RangeNotSatisfiable: The resource has nothing of what was asked for.
            UpstreamError: It failed.
        """
        while self.facts is None:
            await self._wait()
        return self.facts

    async def ended(self) -> None:
        """Wait for all of it.

        Raises:
            UpstreamError: It failed.
        """
        while not self.complete:
            await self._wait()

    async def read(self, first: int, last: int | None) -> AsyncGenerator[bytes, None]:
        """Give a part of the body in pieces as it arrives, all of it or an error.

        Args:
            first: Position of the first byte within the body.
            last: Position of the last one; None for all there is.

        Raises:
            UpstreamError: The rest will not come.
        """
        position = first
        while last is None or position <= last:
            if position < self.arrived:
                piece = self._piece(position, last)
                position += len(piece)
                yield piece
            elif self.complete:
                return
            else:
                await self._wait()

    def _piece(self, position: int, last: int | None) -> bytes:
        index = bisect_right(self._ends, position)
        piece = self._pieces[index]
        start = self._ends[index] - len(piece)
        stop = len(piece) if last is None else min(len(piece), last + 1 - start)
        return piece if stop == len(piece) and start == position else piece[position - start : stop]

    async def _wait(self) -> None:
        if self.error:
            raise self.error
        await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
