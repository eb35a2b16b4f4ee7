"""An HLS origin on a real socket: what it answers, request by request, is the test's to say. So is its time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.helpers.origin import Exchange, Origin, origin
from tests.helpers.stream import PACKET, packets

Answer = bytes | int | Callable[[Exchange], Awaitable[None]]
"""A body, which is sent in whole or in the part asked for; a status; or what is to be done."""


@dataclass
class HlsOrigin:
    """What tests see and say of an origin.

    Attributes:
        socket: The origin below.
        answers: By path, query included, what is answered to one request after the other; the last to all that follow.
    """

    socket: Origin
    answers: dict[str, list[Answer]] = field(default_factory=dict)

    def serve(self, path: str, *answers: Answer | str) -> None:
        """Say what is answered at a path."""
        self.answers[path] = [answer.encode() if isinstance(answer, str) else answer for answer in answers]

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return self.socket.url(path)

    def requests(self, path: str) -> list[Exchange]:
        """Return what was asked for at a path, in order."""
        return [exchange for exchange in self.socket.exchanges if exchange.path == path]

    @property
    def paths(self) -> list[str]:
        """Paths in the order in which they were asked for."""
        return [exchange.path for exchange in self.socket.exchanges]

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request."""
        left = self.answers.get(exchange.path, [404])
        await reply(exchange, left.pop(0) if len(left) > 1 else left[0])


async def reply(exchange: Exchange, answer: Answer) -> None:
    """Answer a request with a body, a status, or by doing something."""
    if isinstance(answer, bytes):
        await send(exchange, answer)
    elif isinstance(answer, int):
        await exchange.send(b"HTTP/1.1 %d Sorry\r\nContent-Length: 0\r\n\r\n" % answer)
    else:
        await answer(exchange)


async def send(exchange: Exchange, body: bytes, *, of: int | None = None, upto: int | None = None) -> None:
    """Send a body, or the part that is asked for, as a server that knows ranges does.

    Args:
        exchange: The request.
        body: All of it.
        of: Bytes that it is said to have, if not those.
        upto: Bytes of the answer that are really sent.
    """
    size = len(body) if of is None else of
    asked = exchange.headers.get("Range")
    if asked is None:
        head, part = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n", body
    else:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or size - 1), size - 1)
        if start >= size:
            await exchange.send(b"HTTP/1.1 416 No\r\nContent-Range: bytes */%d\r\nContent-Length: 0\r\n\r\n" % size)
            return
        part = body[start : end + 1]
        head = (
            "HTTP/1.1 206 Part\r\n"
            f"Content-Range: bytes {start}-{end}/{size}\r\nContent-Length: {end + 1 - start}\r\n\r\n"
        )
    await exchange.send(head.encode() + part[:upto])


def cut(body: bytes, upto: int, *, reset: bool = False) -> Answer:
    """Send so many bytes of what is asked for, and close or reset the connection."""

    async def answer(exchange: Exchange) -> None:
        await send(exchange, body, upto=upto)
        if reset:
            # What was sent is lost where a reset overtakes it.
            await asyncio.sleep(0.02)
            exchange.reset()

    return answer


def whole(body: bytes) -> Answer:
    """Send all of a body, whatever part of it is asked for."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return answer


def gated(gate: asyncio.Event, answer: Answer) -> Answer:
    """Answer when the gate is open."""

    async def wait(exchange: Exchange) -> None:
        await gate.wait()
        await reply(exchange, answer)

    return wait


def moved(location: str) -> Answer:
    """Redirect."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 302 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    return answer


async def dropped(exchange: Exchange) -> None:
    """Close the connection without an answer."""


def media(
    segments: Iterable[str], *, first: int | None = 0, target: float | None = 4, ended: bool = False, more: str = ""
) -> str:
    """Write a media playlist.

    Args:
        segments: For each, its URI; or its whole lines, if there are several.
        first: The number of the first; None to leave it out.
        target: Seconds of the target duration, which is that of each segment as well; None to leave it out.
        ended: Whether nothing will follow.
        more: Lines at the beginning.
    """
    lines = ["#EXTM3U", "#EXT-X-VERSION:7"]
    if target is not None:
        lines.append(f"#EXT-X-TARGETDURATION:{target:g}")
    if first is not None:
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first}")
    if more:
        lines.append(more)
    lines += [each if "\n" in each else f"#EXTINF:{target or 4:g},\n{each}" for each in segments]
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join([*lines, ""])


SEGMENT = 40
"""Packets of a segment made by `segment`."""


def segment(number: int, count: int = SEGMENT) -> bytes:
    """Make the transport stream of a segment; numbers of packets go on from one segment to the next."""
    return packets(number * SEGMENT, count)


def numbers(data: bytes) -> list[int]:
    """Tell of which segments a stream consists; each must be whole, and nothing else may be there."""
    size = SEGMENT * PACKET
    assert len(data) % size == 0, f"{len(data)} bytes are not whole segments"
    found = [int.from_bytes(data[start + 7 : start + 15], "big") // SEGMENT for start in range(0, len(data), size)]
    assert data == b"".join(map(segment, found))
    return found


@asynccontextmanager
async def hls_origin() -> AsyncIterator[HlsOrigin]:
    """Run an origin."""

    async def answer(exchange: Exchange) -> None:
        await running.answer(exchange)

    async with origin(answer) as seen:
        running = HlsOrigin(seen)
        yield running


class Jumps:
    """A time that passes only while somebody sleeps, and then at once.

    Attributes:
        now: The time.
        waits: How long somebody slept, one after the other.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def clock(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Steps:
    """A time that passes when the test says so.

    Attributes:
        now: The time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    def clock(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has let so much time pass."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waking = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, waking))
        self._changed.set()
        try:
            await waking
        finally:
            self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[1] is not waking]

    async def asleep(self) -> float:
        """Wait until somebody sleeps; return for how long the first to wake will."""
        async with asyncio.timeout(5):
            while not self._sleepers:
                self._changed.clear()
                await self._changed.wait()
        return min(due for due, _ in self._sleepers) - self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whom it is time for."""
        self.now += seconds
        for due, waking in self._sleepers:
            if due <= self.now and not waking.done():
                waking.set_result(None)


class Recorder:
    """A sink that keeps what it is given, and lets more come when the test says so.

    Attributes:
        chunks: What was written, write by write.
        may_go_on: Cleared to be full.
    """

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._changed = asyncio.Event()

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)

    def write(self, data: bytes, /) -> None:
        """Keep it."""
        self.chunks.append(data)
        self._changed.set()

    @property
    def full(self) -> bool:
        """Whether it takes no more for now."""
        return not self.may_go_on.is_set()

    async def drain(self) -> None:
        """Wait while it is full."""
        await self.may_go_on.wait()

    async def holds(self, size: int) -> None:
        """Wait until so many bytes have come."""
        async with asyncio.timeout(5):
            while sum(map(len, self.chunks)) < size:
                self._changed.clear()
                await self._changed.wait()
