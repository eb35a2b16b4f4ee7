"""Undoing gzip piece by piece, within limits."""

import zlib
from collections.abc import Iterator

MOST_MEMBERS = 16
"""Members of one stream. Each costs more than its bytes, and a million of them are no playlist."""

_MAGIC = b"\x1f\x8b"
_PIECE = 1 << 16


class DamagedError(ValueError):
    """It is no gzip, or not all of it."""


class Unpacker:
    """Undoes gzip (RFC 1952), and passes on as it is what only claims to be gzip."""

    def __init__(self) -> None:
        self._members = 0
        self._member = zlib.decompressobj(wbits=31)
        self._within = False
        self._plain = False
        self._start = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take a piece; give what it holds in pieces of at most 64 KiB, since that may be a thousand times its size.

        Raises:
            DamagedError: It cannot be undone.
        """
        while data:
            if not self._within and not self._plain:
                data = self._begin(self._start + data)
            if self._within:
                yield from self._inflate(data)
                data = self._member.unused_data
            elif data:
                yield data
                return

    def finish(self) -> bytes:
        """Say that this was all; give what is left.

        Raises:
            DamagedError: More should have come.
        """
        if self._within:
            raise DamagedError("gzip data that was cut short")
        return b"" if self._members else self._start

    def _begin(self, data: bytes) -> bytes:
        """See what begins here; return what of it there is to be looked at now."""
        self._start = b""
        if data.startswith(_MAGIC):
            self._members += 1
            if self._members > MOST_MEMBERS:
                raise DamagedError(f"gzip data of more than {MOST_MEMBERS} members")
            self._member = zlib.decompressobj(wbits=31)
            self._within = True
            return data
        if len(data) < len(_MAGIC) and _MAGIC.startswith(data):
            self._start = data
            return b""
        # What is no gzip behind the end is padding; at the beginning, it is what the header lied about.
        self._plain = not self._members
        return data if self._plain else b""

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        while self._within:
            try:
                piece = self._member.decompress(data, _PIECE)
            except zlib.error:
                raise DamagedError("damaged gzip data") from None
            data = self._member.unconsumed_tail
            self._within = not self._member.eof
            if piece:
                yield piece
            if not data:
                return
