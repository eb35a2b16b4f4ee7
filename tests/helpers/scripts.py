"""What upstreams do in tests: scripts for `tests.helpers.origin`."""

import asyncio
import contextlib

from tests.helpers.origin import OK, Exchange, Script


def sends(*pieces: bytes) -> Script:
    """Send something, piece by piece, and close."""

    async def answer(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)

    return answer


def holds(data: bytes = b"") -> Script:
    """Send something, then nothing, and keep the connection."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(data)
        await asyncio.Event().wait()

    return answer


def repeats(data: bytes, *, before: bytes = b"", pause: float = 0) -> Script:
    """Send something over and over, until the other side closes."""

    async def answer(exchange: Exchange) -> None:
        # uvloop's word for writing to what is closed is RuntimeError
        with contextlib.suppress(ConnectionError, RuntimeError):
            await exchange.send(before)
            while True:
                await exchange.send(data)
                await asyncio.sleep(pause)

    return answer


def redirects(location: bytes) -> Script:
    """Redirect every request to the same place."""
    return sends(b"HTTP/1.1 302 Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location)


async def resets(exchange: Exchange) -> None:
    """Break the connection off without a word."""
    exchange.reset()


class Tap:
    """An upstream that sends what the test says, when it says so."""

    def __init__(self, head: bytes = OK) -> None:
        self._head = head
        self._due: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def answer(self, exchange: Exchange) -> None:
        """Send the head, and what the test says until it says that this is the end."""
        await exchange.send(self._head)
        while (data := await self._due.get()) is not None:
            await exchange.send(data)

    def send(self, data: bytes) -> None:
        """Send this next."""
        self._due.put_nowait(data)

    def end(self) -> None:
        """Close when everything is sent."""
        self._due.put_nowait(None)
