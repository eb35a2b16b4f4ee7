"""An upstream that is a live HLS channel, and has been one for hours.

    python -m tests.bench.hls_origin BIT_RATE

Prints the port it listens on, on 127.0.0.1. The playlist is at /live.m3u8; connections may be used again and again, and
any number of segments may be fetched at a time. `/stats` tells in JSON how often segments were fetched (`total`).
"""

import asyncio
import contextlib
import json
import socket
import sys
import time

from tests.bench.origin import loop_of_packets

DURATION = 2
"""Seconds of a segment, and of the target duration."""

_LISTED = 6


class HlsOrigin:
    """Answers requests until it is cancelled."""

    def __init__(self, bit_rate: float) -> None:
        """Prepare.

        Args:
            bit_rate: Bits per second of the channel.
        """
        groups = round(bit_rate / 8 * DURATION / len(loop_of_packets(1)))
        self._segment = loop_of_packets(groups)
        self._fetched = 0

    async def run(self) -> None:
        """Listen on a free port, print it, and serve."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
            listening.setblocking(False)
            print(listening.getsockname()[1], flush=True)
            async with asyncio.TaskGroup() as tasks:
                while True:
                    connection, _ = await loop.sock_accept(listening)
                    tasks.create_task(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection, contextlib.suppress(ConnectionError):
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            received = b""
            while True:
                while b"\r\n\r\n" not in received:
                    data = await loop.sock_recv(connection, 1 << 16)
                    if not data:
                        return
                    received += data
                request, _, received = received.partition(b"\r\n\r\n")
                kind, body = self._answer(request.split(b" ")[1].decode())
                head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
                await loop.sock_sendall(connection, head.encode())
                await loop.sock_sendall(connection, body)

    def _answer(self, path: str) -> tuple[str, bytes]:
        if path == "/stats":
            return "application/json", json.dumps({"total": self._fetched}).encode()
        if path.endswith(".ts"):
            self._fetched += 1
            return "video/mp2t", self._segment
        return "application/vnd.apple.mpegurl", _playlist(time.time())


def _playlist(now: float) -> bytes:
    """List the newest segments at a time; one is added when it is complete."""
    first = int(now / DURATION) - _LISTED
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{DURATION}", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for number in range(first, first + _LISTED):
        lines += [f"#EXTINF:{DURATION},", f"{number}.ts"]
    return "\n".join([*lines, ""]).encode()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(HlsOrigin(float(sys.argv[1])).run())
