"""A name server on a real socket, which can also be one that does not answer."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

_ANSWERED, _NO_SUCH_NAME = 0x8180, 0x8183
_A, _AAAA, _INTERNET = 1, 28, 1

Addresses = str | Sequence[str] | None
"""One address or several; None for no answer."""


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Knows addresses (RFC 1035, RFC 3596).

    Attributes:
        names: Addresses by name; None for a name that it does not answer for. Any other does not exist.
        asked: Names in the order in which they were asked for.
        questioned: Whether it was asked for anything yet.
        port: Where it listens on 127.0.0.1.
    """

    names: Mapping[str, Addresses]
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
        known = self.names.get(name, ())
        if known is None:
            return
        known = [known] if isinstance(known, str) else known
        answers = [_record(address) for address in known if (":" in address) == (kind == _AAAA)]
        head = data[:2] + struct.pack("!HHHHH", _ANSWERED if known else _NO_SUCH_NAME, 1, len(answers), 0, 0)
        self._transport.sendto(head + question + b"".join(answers), addr)


def _record(address: str) -> bytes:
    """Write an address as an answer to the question, good for this once."""
    kind, family = (_AAAA, socket.AF_INET6) if ":" in address else (_A, socket.AF_INET)
    packed = socket.inet_pton(family, address)
    return struct.pack("!HHHIH", 0xC00C, kind, _INTERNET, 0, len(packed)) + packed


@asynccontextmanager
async def name_server(names: Mapping[str, Addresses]) -> AsyncIterator[NameServer]:
    """Run a name server for the length of the block."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(names), ("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
