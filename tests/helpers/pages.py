"""An upstream made of pages, for tests of what is fetched piece by piece."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.helpers.origin import Exchange

Page = bytes | str | Callable[[Exchange], Awaitable[None]]


def answer(body: bytes | str, *lines: str, status: str = "200 OK", length: bool = True) -> bytes:
    """Write an answer."""
    data = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", "Connection: close", *lines]
    if length:
        head.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*head, "", ""]).encode() + data


def redirect(location: str) -> bytes:
    return answer("", f"Location: {location}", status="302 Found")


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A page that sends one part at once, and the rest when it is told."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self.opened = asyncio.Event()
        self._first = first
        self._rest = rest

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.send(self._first)
        await self.opened.wait()
        await exchange.send(self._rest)


class Late:
    """A page that comes after so many seconds."""

    def __init__(self, seconds: float, page: bytes) -> None:
        self._seconds = seconds
        self._page = page

    async def __call__(self, exchange: Exchange) -> None:
        await asyncio.sleep(self._seconds)
        await exchange.send(self._page)


@dataclass
class Site:
    """An upstream made of pages, by path; what is no text is sent as it is. What is missing is answered with 404."""

    pages: dict[str, Page] = field(default_factory=dict)

    async def answer(self, exchange: Exchange) -> None:
        page = self.pages.get(exchange.path, self.pages.get(exchange.path.partition("?")[0]))
        if page is None:
            await exchange.send(answer("", status="404 Not Found"))
        elif isinstance(page, str):
            await exchange.send(answer(page, "Content-Type: application/x-mpegURL"))
        elif isinstance(page, bytes):
            await exchange.send(page)
        else:
            await page(exchange)
