"""A name server on a real socket, which can also be one that does not answer."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

_ANSWERED, _NO_SUCH_NAME = 0x8180, 0x8183
_A, _INTERNET = 1, 1


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Knows IPv4 addresses (RFC 1035).

    Attributes:
        names: Address by name; None for a name that it does not answer for. Any other does not exist.
        asked: Names in the order in which they were asked for.
        questioned: Whether it was asked for anything yet.
        port: Where it listens on 127.0.0.1.
    """

    names: Mapping[str, str | None]
    asked: list[str] = field(default_factory=list)
    questioned: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # Before Python 3.13 the class of the one at hand says nothing of this interface.
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question, or not."""
        labels, position = [], 12
        while length := data[position]:
            labels.append(data[position + 1 : position + 1 + length].decode("ascii").lower())
            position += 1 + length
        question, (kind,) = data[12 : position + 5], struct.unpack_from("!H", data, position + 1)
        name = ".".join(labels)
        self.asked.append(name)
        self.questioned.set()
        address = self.names.get(name, "")
        if address is None:
            return
        answer = b""
        if address and kind == _A:
            answer = struct.pack("!HHHIH", 0xC00C, _A, _INTERNET, 60, 4) + socket.inet_aton(address)
        flags = _ANSWERED if address else _NO_SUCH_NAME
        head = data[:2] + struct.pack("!HHHHH", flags, 1, 1 if answer else 0, 0, 0)
        self._transport.sendto(head + question + answer, addr)


@asynccontextmanager
async def name_server(names: Mapping[str, str | None]) -> AsyncIterator[NameServer]:
    """Run a name server for the length of the block."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(names), ("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
