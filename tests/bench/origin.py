"""The upstream: paced transport streams on any path, a long list of channels, and what was asked of it.

    python -m tests.bench.origin BIT_RATE LIST_ENTRIES

Prints the port it listens on, on 127.0.0.1. Streams are sent with sendfile, so that this costs little beside what is
measured.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass

_PACKET = 188
_COUNTER = 16
"""Packets after which the continuity counter starts again."""

_LOOP_PACKETS = _COUNTER * 1400
"""Packets of the loop, 4 MB."""

_TICK = 0.01
"""Seconds from one piece of a stream to the next."""

_OK = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: "


@dataclass(eq=False, slots=True)
class Stream:
    """One connection that is being sent a stream.

    Attributes:
        since: When it began, by the monotonic clock.
        sent: Bytes sent.
    """

    path: str
    connection: socket.socket
    since: float
    sent: int = 0


class Origin:
    """Answers requests until it is cancelled.

    `/list.m3u` is the list of channels, `/stats` tells in JSON how many streams are open now, were opened ever
    (`total`), and were open at once on one path (`peak`); anything else is a stream.
    """

    def __init__(self, bit_rate: float, entries: int) -> None:
        """Prepare.

        Args:
            bit_rate: Bits per second of each stream.
            entries: Channels of the list.
        """
        self._byte_rate = bit_rate / 8
        self._entries = entries
        self._list = b""
        self._loop_file = os.memfd_create("loop.ts")
        os.write(self._loop_file, loop_of_packets(_LOOP_PACKETS // _COUNTER))
        self._streams: set[Stream] = set()
        self._total = 0
        self._peaks: Counter[str] = Counter()

    async def run(self) -> None:
        """Listen on a free port, print it, and serve."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
            listening.setblocking(False)
            # Segments as on Ethernet: loopback's have 64 kB, and so few are acknowledged that a stream stutters.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1448)
            port = listening.getsockname()[1]
            self._list = _list(port, self._entries)
            print(port, flush=True)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pace())
                while True:
                    connection, _ = await loop.sock_accept(listening)
                    tasks.create_task(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection, contextlib.suppress(ConnectionError):
            connection.setblocking(False)
            request = b""
            while b"\r\n\r\n" not in request:
                data = await loop.sock_recv(connection, 1 << 16)
                if not data:
                    return
                request += data
            path = request.split(b" ")[1].decode()
            if path == "/stats":
                await self._send(connection, "application/json", json.dumps(self._stats()).encode())
            elif path == "/list.m3u":
                await self._send(connection, "audio/x-mpegurl", self._list)
            else:
                await self._stream(connection, path)

    async def _send(self, connection: socket.socket, kind: str, body: bytes) -> None:
        head = f"{_OK}{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(connection, head.encode() + body)

    async def _stream(self, connection: socket.socket, path: str) -> None:
        loop = asyncio.get_running_loop()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        await loop.sock_sendall(connection, f"{_OK}video/mp2t\r\n\r\n".encode())
        stream = Stream(path, connection, time.monotonic() - _TICK)
        self._streams.add(stream)
        self._total += 1
        self._peaks[path] = max(self._peaks[path], sum(other.path == path for other in self._streams))
        self._advance(stream, time.monotonic())
        try:
            while await loop.sock_recv(connection, 1 << 16):
                pass
        finally:
            self._streams.discard(stream)

    async def _pace(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            for stream in self._streams:
                self._advance(stream, now)

    def _advance(self, stream: Stream, now: float) -> None:
        """Send what is due. What the other side does not take yet stays due; that it left shows where it is read."""
        size = _LOOP_PACKETS * _PACKET
        target = int((now - stream.since) * self._byte_rate) // _PACKET * _PACKET
        with contextlib.suppress(OSError):
            while stream.sent < target:
                offset = stream.sent % size
                count = min(target - stream.sent, size - offset)
                stream.sent += os.sendfile(stream.connection.fileno(), self._loop_file, offset, count)

    def _stats(self) -> dict[str, int]:
        return {"open": len(self._streams), "total": self._total, "peak": max(self._peaks.values(), default=0)}


def loop_of_packets(groups: int) -> bytes:
    """Make a transport stream that can be sent again and again, in groups of 16 packets: its counter runs on."""
    payload = bytes(range(0x48, 0x48 + 184))
    return b"".join(bytes((0x47, 0x01, 0x00, 0x10 | number)) + payload for number in range(_COUNTER)) * groups


def _list(port: int, entries: int) -> bytes:
    """Write a list as providers do, about 280 bytes for each channel."""
    lines = ["#EXTM3U"]
    for number in range(entries):
        name = f"Channel {number} HD"
        lines.append(
            f'#EXTINF:-1 tvg-id="channel{number}.example" tvg-name="{name}" tvg-chno="{number}" '
            f'tvg-logo="http://pictures.example/channels/logos/large/channel-{number:06}.png" '
            f'group-title="Group {number % 300}" catchup="shift" catchup-days="7",{name}\n'
            f"http://127.0.0.1:{port}/live/a-customer/with-a-password/{number}.ts"
        )
    return "\n".join([*lines, ""]).encode()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Origin(float(sys.argv[1]), int(sys.argv[2])).run())
