"""A file at an upstream, with everything that can be wrong with how it is served."""

import asyncio
import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.helpers.origin import Exchange

MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
_STATUS = {200: "200 OK", 206: "206 Partial Content", 416: "416 Range Not Satisfiable"}


def noise(size: int, *, seed: int = 0) -> bytes:
    """Make a file of which no two places are alike."""
    return b"\0\0\0\x18ftyp"[:size] + random.Random(seed).randbytes(max(0, size - 8))


def digest(data: bytes) -> str:
    """Name contents, so that a failed comparison does not print megabytes."""
    return f"{len(data)}:{hashlib.sha256(data).hexdigest()}"


@dataclass
class FileServer:
    """The script of an origin that serves one file at every path.

    Attributes:
        data: The file.
        headers: What is said of it.
        ranges: Whether parts can be had; if not, Range is ignored.
        head: Whether HEAD is answered properly; if not, with 405.
        length: Whether lengths are told; if not, a body ends with its connection.
        chunked: Whether a body without length comes in chunks.
        cuts: Bytes of body after which the next connections break, one after the other; None for one that does not.
        reset: Whether they break with a reset, not with an end.
        most: Bytes that are sent of a range at most, whatever was asked for.
        sent: Bytes of body given to the kernel, all connections together.
        waiting: Set when the other side has taken nothing for a moment.
    """

    data: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "video/mp4", "ETag": '"v1"'})
    ranges: bool = True
    head: bool = True
    length: bool = True
    chunked: bool = False
    cuts: Iterator[int | None] = field(default_factory=lambda: iter(()))
    reset: bool = False
    most: int | None = None
    sent: int = 0
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        is_head = exchange.raw.startswith(b"HEAD ")
        if is_head and not self.head:
            await exchange.send(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        status, first, last = self._part("" if is_head else self._range(exchange))
        await exchange.send(self._answer(status, first, last).encode())
        if not is_head and status != 416:
            await self._send(exchange, memoryview(self.data)[first : last + 1])

    def _range(self, exchange: Exchange) -> str:
        condition = exchange.headers.get("If-Range")
        if condition and condition not in (self.headers.get("ETag"), self.headers.get("Last-Modified")):
            return ""
        return exchange.headers.get("Range", "")

    def _part(self, value: str) -> tuple[int, int, int]:
        end = len(self.data) - 1
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", value)
        if not match or not self.ranges:
            return 200, 0, end
        if not match[1]:
            first, last = max(0, end + 1 - int(match[2])), end
        else:
            first, last = int(match[1]), min(end, int(match[2] or end))
        if first > last:
            return 416, 0, -1
        return 206, first, min(last, first + self.most - 1) if self.most else last

    def _answer(self, status: int, first: int, last: int) -> str:
        headers = {"Connection": "close", "Accept-Ranges": "bytes" if self.ranges else "none"} | self.headers
        if status == 206:
            headers.setdefault("Content-Range", f"bytes {first}-{last}/{len(self.data)}")
        if status == 416:
            headers["Content-Range"] = f"bytes */{len(self.data)}"
        if self.length:
            headers.setdefault("Content-Length", str(last + 1 - first))
        elif self.chunked:
            headers["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {_STATUS[status]}", *(f"{name}: {value}" for name, value in headers.items() if value)]
        return "\r\n".join(lines) + "\r\n\r\n"

    async def _send(self, exchange: Exchange, body: memoryview) -> None:
        cut = next(self.cuts, None)
        for start in range(0, len(body), 1 << 16):
            piece = body[start : start + (1 << 16)]
            broken = cut is not None and start + len(piece) >= cut
            if broken:
                piece = piece[: (cut or 0) - start]
            await self._pass_on(exchange, bytes(piece))
            if broken:
                break
        else:
            if self.chunked:
                await exchange.send(b"0\r\n\r\n")
            return
        if self.reset:
            await asyncio.sleep(0.02)  # a reset takes back what has not arrived yet
            exchange.reset()

    async def _pass_on(self, exchange: Exchange, piece: bytes) -> None:
        if self.chunked and piece:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        exchange.writer.write(piece)
        try:
            async with asyncio.timeout(0.3):
                await exchange.writer.drain()
        except TimeoutError:
            self.waiting.set()
            await exchange.writer.drain()
        self.sent += len(piece)
