"""The way in: listening sockets, what accepted connections inherit from them, and how many there may be."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable
from typing import cast

from aiohttp import web

_RESERVED = 64
"""Descriptors kept for files, pipes and whatever libraries need."""

_MOST_DESCRIPTORS = 1 << 20

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n"
    b'Content-Length: 33\r\n\r\n{"detail":"Too many connections"}'
)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; return what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft


def connection_limit(descriptors: int) -> int:
    """Tell how many connections fit: each viewer may need an upstream of its own, which takes two descriptors."""
    return max(1, (descriptors - _RESERVED) // 3)


def listen(host: str, port: int, *, send_buffer: int, patience: float = 10.0) -> list[socket.socket]:
    """Open listening sockets; what is set on them holds for every connection they accept.

    Args:
        host: Address or name to bind; empty for all addresses of both families.
        port: Port; 0 for a free one.
        patience: Seconds after which a peer that acknowledges or takes nothing of what was sent to it is given up.
        send_buffer: Bytes that the kernel may hold for a connection that does not read; by default it holds megabytes.

    Raises:
        OSError: It cannot be bound.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if not host else 0)
            _notice_dead_peers(listening, patience)
            listening.bind(address)
            listening.listen(1024)
            listening.setblocking(False)
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _notice_dead_peers(listening: socket.socket, patience: float) -> None:
    """Make a peer that vanished without a word show soon.

    Keep-alive alone sees it only on an idle connection; while data is on its way the kernel would retry for minutes.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 5),
        ("TCP_KEEPINTVL", 3),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", round(1000 * patience)),
    ):
        if hasattr(socket, name):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Doorkeeper:
    """Admits connections up to a limit, and turns the others away before they cost anything.

    Running out of descriptors instead would stop accepting altogether, with a log line for each attempt.
    """

    def __init__(self, server: web.Server, limit: Callable[[], int]) -> None:
        """Prepare.

        Args:
            server: Makes a protocol for each connection that is admitted.
            limit: Tells how many there may be.
        """
        self._server = server
        self._limit = limit
        self._coming = 0

    def __call__(self) -> asyncio.BaseProtocol:
        """Make the protocol of a new connection."""
        # Of those who come at once, the loop makes all protocols before it connects the first.
        if len(self._server.connections) + self._coming >= self._limit():
            return _Refusal()
        self._coming += 1
        asyncio.get_running_loop().call_soon(self._has_come)
        return self._server()

    def _has_come(self) -> None:
        self._coming -= 1


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not to be asked for its class: uvloop's transports have their own.
        writable = cast(asyncio.WriteTransport, transport)
        writable.write(_BUSY)
        writable.close()
