"""What an upstream's answer says of a file: how large it is, which version, and what part of it follows."""

from collections.abc import Mapping
from dataclasses import dataclass

from streamproxy.errors import UpstreamBroken, UpstreamNotMedia, UpstreamRefused
from streamproxy.formats.byterange import ByteRange, RangeNotSatisfiable, Span, parse_content_range
from streamproxy.formats.conditional import Validators
from streamproxy.formats.mediatypes import media_type
from streamproxy.model import Upstream

MAX_SKIP = 64 << 20
"""Bytes fetched for nothing, at most, to get somewhere in a file whose server does not know ranges."""

_ALL = ByteRange(0, None)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a server says of a file.

    Attributes:
        size: Its bytes; None where that is not known.
        content_type: Its media type.
        seekable: Whether parts of it can be had; None where that was not tried.
        validators: What tells this version of it from others.
    """

    size: int | None
    content_type: str
    seekable: bool | None
    validators: Validators

    @property
    def offers_ranges(self) -> bool:
        """Whether parts of it can be promised: also where they have to be cut out of the whole, if that is small."""
        if self.seekable or self.size is None:
            return bool(self.seekable)
        return self.seekable is None or self.size <= MAX_SKIP

    @property
    def identifiable(self) -> bool:
        """Whether the rest of this version could be told from that of another."""
        return self.size is not None or self.validators.strong is not None

    def agree(self, other: "FileFacts") -> bool:
        """Tell whether both are of one version, as far as one can see."""
        if self.size is not None and other.size is not None and self.size != other.size:
            return False
        return self.validators.agree(other.validators)


def read_facts(status: int, headers: Mapping[str, str], wanted: ByteRange | None, upstream: Upstream) -> FileFacts:
    """Read what an answer says of the file.

    Args:
        status: Its status: 200, 203, 206 or 416.
        headers: Its headers, whose names are looked up as RFC 9110 writes them.
        wanted: What was asked for; None for the whole file.
        upstream: Who answers.

    Raises:
        RangeNotSatisfiable: The file has nothing of it.
        UpstreamError: The answer says nothing of a file, or of an empty one.
    """
    if headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise UpstreamBroken(upstream.label, "the upstream compressed a file that was asked for as it is")
    told = parse_content_range(headers.get("Content-Range", ""))
    size = _length(headers) if status not in (206, 416) else told.size if told else None
    if size == 0:
        raise UpstreamNotMedia(upstream.label, "the upstream's file is empty")
    if status == 416:
        if wanted is None:
            raise UpstreamRefused(upstream.label, status)
        if size is not None and wanted.resolve(size):
            raise UpstreamBroken(upstream.label, "the upstream refused a range that its file has")
        raise RangeNotSatisfiable(size)
    seekable = True if status == 206 else None
    if status != 206 and (wanted or headers.get("Accept-Ranges", "").strip().lower() == "none"):
        seekable = False
    kind = media_type(headers.get("Content-Type", ""), upstream.url)
    return FileFacts(size, kind, seekable, Validators.of(headers))


def locate(
    status: int, headers: Mapping[str, str], wanted: ByteRange | None, upstream: Upstream
) -> tuple[int, Span | None]:
    """Find where in the file an answer's body belongs.

    Takes what `read_facts` takes, after that.

    Returns:
        The position at which the body begins, and what of the file is there of what was wanted: None for all of it, up
        to an end that is not known.

    Raises:
        RangeNotSatisfiable: The file has nothing of it.
        UpstreamError: The body is something else.
    """
    if status == 206:
        span = _part(headers, wanted)
        if span:
            return span.first, span
        raise UpstreamBroken(upstream.label, "the upstream sent another range than it was asked for")
    size = _length(headers)
    if size is None and (wanted is None or wanted.first == 0):
        return 0, None
    span = (wanted or _ALL).resolve(size) if size else None
    if size and not span:
        raise RangeNotSatisfiable(size)
    if not span or span.first > MAX_SKIP:
        raise UpstreamBroken(upstream.label, "the upstream cannot send a part of the file")
    return 0, span


def _part(headers: Mapping[str, str], wanted: ByteRange | None) -> Span | None:
    told = parse_content_range(headers.get("Content-Range", ""))
    if not wanted or not told or not told.span or _length(headers) not in (None, told.span.size):
        return None
    # Where the size is not told, the file is as good as over where the part is.
    span = wanted.resolve(told.span.last + 1 if told.size is None else told.size)
    # Less than was asked for is allowed (RFC 9110, 15.3.7): there will be another request for the rest.
    return span if span and told.span.first == span.first and told.span.last <= span.last else None


def _length(headers: Mapping[str, str]) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and length.isascii() and len(length) <= 18 else None
