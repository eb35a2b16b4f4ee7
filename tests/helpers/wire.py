"""One end of a connection on a bare socket: what is sent, how much is read, and when, is the test's to say."""

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Rest:
    """What came until the end.

    Attributes:
        data: The bytes.
        reset: Whether the connection ended with a reset instead of an end.
    """

    data: bytes
    reset: bool


class Line:
    """A client's end of a connection. Nothing is read that was not asked for; every wait has a deadline.

    Attributes:
        raw: The socket.
    """

    def __init__(self, raw: socket.socket, deadline: float) -> None:
        self.raw = raw
        self._deadline = deadline

    async def send(self, data: str | bytes) -> None:
        """Send bytes as they are."""
        data = data.encode("latin-1") if isinstance(data, str) else data
        async with asyncio.timeout(self._deadline):
            await asyncio.get_running_loop().sock_sendall(self.raw, data)

    async def get(self, path: str, *more: str) -> None:
        """Request something, with further header lines."""
        await self.send("\r\n".join((f"GET {path} HTTP/1.1", "Host: proxy", *more, "", "")))

    async def read(self, size: int = 1 << 16) -> bytes:
        """Wait for some bytes; none at the end."""
        async with asyncio.timeout(self._deadline):
            return await asyncio.get_running_loop().sock_recv(self.raw, size)

    async def exactly(self, size: int) -> bytes:
        """Wait for so many bytes."""
        data = bytearray()
        while len(data) < size:
            more = await self.read(size - len(data))
            assert more, f"ended after {len(data)} of {size} bytes"
            data += more
        return bytes(data)

    async def head(self) -> str:
        """Wait for the head of an answer, and not a byte more."""
        data = bytearray()
        while not data.endswith(b"\r\n\r\n"):
            data += await self.exactly(1)
        return data.decode("latin-1")

    async def rest(self) -> Rest:
        """Read to the end."""
        data = bytearray()
        try:
            while more := await self.read():
                data += more
        except ConnectionResetError:
            return Rest(bytes(data), reset=True)
        return Rest(bytes(data), reset=False)

    async def reset_by_peer(self) -> None:
        """Wait until the other side has reset the connection, without reading what came before."""

        def wait() -> bool:
            poll = select.poll()
            poll.register(self.raw, 0)
            return bool(poll.poll(self._deadline * 1000))

        assert await asyncio.to_thread(wait), "the other side did not reset the connection"

    def reset(self) -> None:
        """Break the connection off."""
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.close()


@asynccontextmanager
async def dial(port: int, *, receive_buffer: int | None = None, deadline: float = 5) -> AsyncIterator[Line]:
    """Connect to a port of 127.0.0.1; closed at the end of the block.

    Args:
        port: The port.
        receive_buffer: Bytes that the kernel may hold unread (SO_RCVBUF); None for its own choice.
        deadline: Seconds that each single wait may take.
    """
    raw = socket.socket()
    raw.setblocking(False)
    if receive_buffer is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        async with asyncio.timeout(deadline):
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        yield Line(raw, deadline)
    finally:
        with contextlib.suppress(OSError):
            raw.close()
