"""Pictures that replace each other (`multipart/x-mixed-replace`, in parts as of RFC 2046, 5.1), cut between them."""

import re

_LONGEST_BOUNDARY = 74
"""RFC 2046, 5.1.1, with the line's two dashes and its end."""
_LONGEST_FIELDS = 4096
_END_OF_FIELDS = b"\r\n\r\n"
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,9})[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


class NotPartsError(ValueError):
    """The bytes are no parts with a length, or a part is larger than one is willing to hold."""


class Parts:
    """Turn bytes as they come into whole parts.

    The boundary that stands before a part is passed on with the part before it, since only then do browsers show that.

    Attributes:
        header: The boundary before the first part: whoever joins must get it first. Empty before it is known.
    """

    def __init__(self, *, limit: int = 1 << 23) -> None:
        """Start at the beginning of a stream.

        Args:
            limit: Bytes that a part may have.
        """
        self.header = b""
        self._limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came, and return the parts that are complete with it.

        Raises:
            NotPartsError: These are no parts, or one that cannot be held.
        """
        self._held += data
        if not self.header:
            self._take_header()
        parts: list[bytes] = []
        while self.header and (end := self._end_of_part()):
            parts.append(bytes(memoryview(self._held)[:end]))
            del self._held[:end]
        return parts

    def _take_header(self) -> None:
        end = self._held.find(b"\r\n")
        if not b"--".startswith(self._held[:2]) or (end < 0 and len(self._held) > _LONGEST_BOUNDARY):
            raise NotPartsError("no boundary at the beginning")
        if end >= 0:
            self.header = bytes(self._held[: end + 2])
            del self._held[: end + 2]

    def _end_of_part(self) -> int | None:
        """Return where the boundary behind the part that has begun ends; None if that has not come yet."""
        fields = self._held.find(_END_OF_FIELDS, 0, _LONGEST_FIELDS)
        if fields < 0:
            if len(self._held) >= _LONGEST_FIELDS:
                raise NotPartsError("fields without an end")
            return None
        length = _LENGTH.search(self._held, 0, fields + 2)
        if not length:
            raise NotPartsError("a part that does not say its length")
        size = int(length[1])
        if size > self._limit:
            raise NotPartsError(f"a part of more than {self._limit >> 20} MiB")
        body_end = fields + len(_END_OF_FIELDS) + size
        boundary = b"\r\n" + self.header
        end = body_end + len(boundary)
        if len(self._held) < end:
            return None
        if self._held[body_end:end] != boundary:
            raise NotPartsError("a part without a boundary behind it")
        return end
