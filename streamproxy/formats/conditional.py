"""Conditional requests of HTTP (RFC 9110, 13): what tells one version of a file from another, and who wants which."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import NamedTuple, Self

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_WEAK = "W/"


class Validators(NamedTuple):
    """What a server says of the version of a file.

    Attributes:
        etag: The entity tag, quotes and all; None where there is none, or none that is well formed.
        modified: When it was last changed, in UTC; None where that is not said.
        modified_is_strong: Whether two versions of the same second can be ruled out (RFC 9110, 8.8.2.2).
    """

    etag: str | None = None
    modified: datetime | None = None
    modified_is_strong: bool = False

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """Take them from an answer; header names are looked up as RFC 9110 writes them."""
        etag = headers.get("ETag", "").strip(" \t")
        modified = parse_date(headers.get("Last-Modified", ""))
        answered = parse_date(headers.get("Date", ""))
        recent = modified is not None and answered is not None and answered - modified < timedelta(seconds=1)
        return cls(etag if _TAG.fullmatch(etag) else None, modified, modified is not None and not recent)

    @property
    def strong(self) -> str | None:
        """The value of `If-Range` that asks for more of this very version; None where nothing identifies it."""
        if self.etag and not self.etag.startswith(_WEAK):
            return self.etag
        return self.last_modified if self.modified_is_strong else None

    @property
    def last_modified(self) -> str | None:
        """The value of `Last-Modified`."""
        return format_datetime(self.modified, usegmt=True) if self.modified else None

    def agree(self, other: "Validators") -> bool:
        """Tell whether both may be of one version: what both have is equal, and where this has any, they share one."""
        pairs = [(self.etag, other.etag), (self.modified, other.modified)]
        shared = [mine == theirs for mine, theirs in pairs if mine is not None and theirs is not None]
        return all(shared) and (bool(shared) or (self.etag is None and self.modified is None))

    def permit_range(self, if_range: str) -> bool:
        """Tell whether `If-Range` lets a part be sent, or wants the whole file: only an exact match does (13.1.5)."""
        if_range = if_range.strip(" \t")
        if _TAG.fullmatch(if_range):
            return if_range == self.etag and not if_range.startswith(_WEAK)
        date = parse_date(if_range)
        return date is not None and date == self.modified and self.modified_is_strong

    def refusal(self, conditions: Mapping[str, str]) -> int | None:
        """Evaluate the preconditions of a GET or HEAD, in the order of RFC 9110, 13.2.2.

        Args:
            conditions: The request's headers.

        Returns:
            304 or 412, the status to answer with instead of the file; None to go on.
        """
        limit = parse_date(conditions.get("If-Unmodified-Since", ""))
        if (wanted := conditions.get("If-Match")) is not None:
            if not self._is_listed(wanted, strongly=True):
                return 412
        elif limit and self.modified and self.modified > limit:
            return 412
        if (known := conditions.get("If-None-Match")) is not None:
            return 304 if self._is_listed(known, strongly=False) else None
        since = parse_date(conditions.get("If-Modified-Since", ""))
        return 304 if since and self.modified and self.modified <= since else None

    def _is_listed(self, tags: str, *, strongly: bool) -> bool:
        if tags.strip(" \t") == "*":
            return True
        if self.etag is None or (strongly and self.etag.startswith(_WEAK)):
            return False
        if strongly:
            return self.etag in _TAG.findall(tags)
        return self.etag.removeprefix(_WEAK) in (tag.removeprefix(_WEAK) for tag in _TAG.findall(tags))


def parse_date(value: str) -> datetime | None:
    """Read a date as HTTP writes it (RFC 9110, 5.6.7); None where it is none."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # One of the three forms names no zone. HTTP knows only GMT.
    return date.replace(tzinfo=UTC) if not date.utcoffset() else None
