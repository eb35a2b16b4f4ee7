"""A server that answers as the API does, or as badly as a test wants, on a real socket in a thread of its own."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Request:
    """What was asked; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Fake:
    """The server.

    Attributes:
        replies: What is answered, by `METHOD path`; of several replies each is used once, the last for ever.
        requests: What was asked.
        released: Ends what hangs.
    """

    port: int = 0
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(self, what: str, *replies: Reply) -> None:
        self.replies[what] = list(replies)

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        replies = self.replies.get(f"{request.method} {request.path}", [says({"detail": "Not Found"}, 404)])
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def hangs(self, head: bytes = b"") -> Reply:
        """Send something, then nothing until the test is over."""

        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(head)
            self.released.wait(20)

        return reply

    def trickles(self, head: bytes) -> Reply:
        """Send a byte now and then, for ever."""

        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(head)
            while not self.released.wait(0.02):
                handler.wfile.write(b"a")

        return reply


def says(document: object, status: int = 200) -> Reply:
    """Answer with JSON."""
    return sends(status, json.dumps(document).encode())


def sends(status: int, body: bytes, **headers: str) -> Reply:
    """Answer with anything."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content_type": "application/json", "content_length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def raw(data: bytes) -> Reply:
    """Send bytes that need not be HTTP, and close."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)

    return reply


def resets(handler: BaseHTTPRequestHandler) -> None:
    """Break the connection off without a word."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def message(document: object, number: int) -> bytes:
    kind = document["event_type"] if isinstance(document, dict) else "x"
    return f"event: {kind}\nid: {number}\ndata: {json.dumps(document)}\n\n".encode()


@contextmanager
def serving(fake: Fake) -> Iterator[None]:
    """Serve on the fake's port for the length of the block; one is chosen the first time."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = fake.answer(Request(self.command, self.path, headers, body))
            try:
                reply(self)
            except OSError:
                self.close_connection = True

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 -- as the library calls them

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def shutdown_request(self, request: Any) -> None:
            with suppress(OSError):
                super().shutdown_request(request)

    with Server(("127.0.0.1", fake.port), Handler) as server:
        fake.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.002})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


STREAM = {
    "stream_id": "76ad525f76ad525f76ad525f76ad525f",
    "name": "Das Erste",
    "group": "News",
    "original_url": "http://provider.example/live/user/secret/1.ts",
    "current_url": "http://backup.example/live/user/secret/1.ts",
    "user_agent": "UA/1",
    "client_count": 2,
    "total_bytes_served": 3 << 30,
    "total_segments_served": 0,
    "error_count": 1,
    "is_active": True,
    "has_failover": True,
    "failover_urls": ["http://backup.example/live/user/secret/1.ts"],
    "current_failover_index": 0,
    "failover_attempts": 1,
    "stream_type": "Live Continuous",
    "created_at": "2020-01-01T00:00:00.000000+00:00",
    "last_access": "2020-01-01T00:00:00.000000+00:00",
    "metadata": {"id": "42"},
    "headers": {},
    "rate": 500000.0,
}
IDLE = STREAM | {"stream_id": "idle", "name": "Nobody", "is_active": False, "client_count": 0}
CLIENT = {
    "client_id": "client_1",
    "stream_id": STREAM["stream_id"],
    "user_agent": "VLC/3.0",
    "ip_address": "192.0.2.7",
    "username": None,
    "bytes_served": 5 << 20,
    "segments_served": 0,
    "created_at": "2020-01-01T00:00:00.000000+00:00",
    "since": "2020-01-01T00:00:00.000000+00:00",
    "rate": 987500.0,
    "lag": 3,
    "overruns": 2,
    "skipped": 3 << 19,
    "is_connected": True,
}
TOTALS = {
    "total_streams": 2,
    "active_streams": 1,
    "total_clients": 9,
    "active_clients": 2,
    "total_bytes_served": 4 << 30,
    "total_segments_served": 7,
    "uptime_seconds": 93784,
}
STATS = {**TOTALS, "proxy_stats": TOTALS, "streams": [STREAM, IDLE], "clients": [CLIENT, CLIENT | {"rate": 12500}]}
