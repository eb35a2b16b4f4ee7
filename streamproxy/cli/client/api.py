"""HTTP towards the API: one request, one JSON document; or a stream of events."""

import http.client
import json
import math
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import quote, urlencode

import click

from streamproxy import __version__
from streamproxy.cli.client.address import Address
from streamproxy.cli.client.failures import NotAllowed, Refused, Unreachable
from streamproxy.cli.client.text import plain

TIMEOUT = 10.0
"""Seconds until an answer must be complete."""
SILENCE = 60.0
"""Seconds without even a heartbeat after which a stream of events counts as lost."""
LARGEST = 64 << 20
"""Bytes of an answer that are read."""
_PIECE = 1 << 16
_LONGEST_MESSAGE = 2000


class Api:
    """The API of one proxy.

    Every method of it raises `Unreachable`, `NotAllowed` or `Refused`, whose texts never hold the token. Redirects are
    not followed, since the token would go with them, and proxies of the environment are not used.
    """

    def __init__(
        self, address: Address, token: str | None = None, *, timeout: float = TIMEOUT, silence: float = SILENCE
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            address: Where it answers.
            token: Sent with every request; None for none.
            timeout: Seconds until an answer must be complete, or the head of a stream of events.
            silence: Seconds without a byte after which a stream of events counts as lost.
        """
        self.address = address
        self._token = token
        self._timeout = timeout
        self._silence = silence

    def call(self, method: str, *path: str, query: Mapping[str, str] | None = None, body: object = None) -> Any:
        """Make a request, and return the document of the answer.

        Args:
            method: GET, POST or DELETE.
            path: Parts of the path, not yet quoted.
            query: Parameters.
            body: Sent as JSON; None for an empty body.
        """
        target = "/" + "/".join(quote(part, safe="") for part in path) + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        with self._answer(method, target, headers, data) as (response, _):
            content = _whole(response)
        self._check(response, content)
        return _document(content)

    def events(self, last_id: str | None) -> Generator[bytes]:
        """Read the stream of events: an empty piece once it is open, then its bytes as they come, until it ends.

        Args:
            last_id: The last event already known, in visible ASCII; None for none.
        """
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        with self._answer("GET", "/events", headers, None) as (response, lift):
            if response.status != http.client.OK:
                self._check(response, _whole(response))
            if response.headers.get_content_type() != "text/event-stream":
                raise Refused("the server does not know of events; does streamproxy answer there?", response.status)
            lift(self._silence)
            yield b""
            yield from iter(lambda: response.read1(_PIECE), b"")

    @contextmanager
    def _answer(
        self, method: str, target: str, headers: Mapping[str, str], data: bytes | None
    ) -> Iterator[tuple[http.client.HTTPResponse, Callable[[float], None]]]:
        """Send a request; what goes wrong until the block ends is told in our words.

        Gives the answer, and what lifts the deadline: from then on only pauses of so many seconds are too long.
        """
        own = {"User-Agent": f"streamproxy/{__version__}", "Accept": "application/json", "Connection": "close"}
        if self._token:
            own["X-API-Token"] = self._token
        kind = http.client.HTTPSConnection if self.address.secure else http.client.HTTPConnection
        connection = kind(self.address.host, self.address.port, timeout=self._timeout)
        deadline = _Deadline(self._timeout)
        try:
            connection.connect()
            with deadline.over(connection.sock):
                connection.request(method, self.address.path + target, data, {**own, **headers})
                # Nobody else closes it where it is not read to its end.
                with closing(connection.getresponse()) as response:
                    yield response, deadline.lift
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # the last: no possible name of a host
            raise Unreachable(self._why(error, late=deadline.passed)) from error
        finally:
            connection.close()

    def _why(self, error: Exception, *, late: bool) -> str:
        """Say what happened, and what to look at."""
        where = str(self.address)
        if late or isinstance(error, TimeoutError):
            return f"{where} does not answer in time. Is it the right address (--base-url), and is the machine well?"
        if isinstance(error, ConnectionRefusedError | socket.gaierror | UnicodeError):
            reason = "no such host" if isinstance(error, UnicodeError) else error.strerror
            return (
                f"no connection to {where}: {reason}. "
                "Does streamproxy run there? --base-url or STREAMPROXY_BASE_URL says where it is."
            )
        if isinstance(error, OSError):
            reason = plain(error.strerror or str(error))
            return f"the connection to {where} broke: {reason}. Is it the right address, http or https (--base-url)?"
        return f"what answers at {where} does not speak HTTP, or not to the end. Is it the right address (--base-url)?"

    def _check(self, response: http.client.HTTPResponse, content: bytes) -> None:
        """Raise what an answer that is none of success means."""
        if 200 <= response.status < 300:
            return
        message = f"the server answered {response.status} {plain(response.reason)}".rstrip()
        if 300 <= response.status < 400:
            message += "; redirects are not followed: say with --base-url where the API is"
        elif detail := _detail(content):
            message = detail
        if self._token:
            message = message.replace(self._token, "…")
        raise _failure(message, response.status)


class _Deadline:
    """Breaks a connection off when its time is up, however busily the other side trickles bytes."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    @contextmanager
    def over(self, connected: socket.socket) -> Iterator[None]:
        """Watch over a connection; an end that the deadline brought about raises TimeoutError."""
        self._socket = connected
        self._timer.start()
        try:
            yield
        finally:
            self._timer.cancel()
        # The end of what was shut down looks like that of a body without a length.
        if self.passed:
            raise TimeoutError

    def lift(self, silence: float) -> None:
        """Let it take as long as it likes from here on, but for pauses of so many seconds."""
        assert self._socket is not None
        self._timer.cancel()
        self._socket.settimeout(silence)

    def _pass(self) -> None:
        self.passed = True
        assert self._socket is not None
        with suppress(OSError):
            # That of TLS forgets its state as well, under the feet of the thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _whole(response: http.client.HTTPResponse) -> bytes:
    pieces = []
    left = LARGEST
    while piece := response.read(_PIECE):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise Refused(f"the answer is longer than {LARGEST >> 20} MiB", response.status)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(pieces)


def _document(content: bytes) -> Any:
    try:
        return json.loads(content, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise Refused("the answer is not JSON; does streamproxy answer at that address?", 200) from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a number of JSON")
    return value


def _detail(content: bytes) -> str:
    """Return what the server says is wrong, a line for each field; empty where it says nothing."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    detail = document.get("detail") if isinstance(document, dict) else None
    if isinstance(detail, list):
        return "\n".join(filter(None, map(_mistake, detail[:20])))
    return plain(detail, _LONGEST_MESSAGE)


def _mistake(item: object) -> str:
    if not isinstance(item, dict):
        return plain(item)
    place = item.get("loc")
    parts = [plain(part) for part in place if part not in ("body", "query", "path")] if isinstance(place, list) else []
    message = plain(item.get("msg"), _LONGEST_MESSAGE).removeprefix("Value error, ")
    return f"{'.'.join(parts)}: {message}" if parts else message


def _failure(message: str, status: int) -> click.ClickException:
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        return NotAllowed(f"{message}\nThe token is given with STREAMPROXY_TOKEN, API_TOKEN or --token.")
    return Refused(message, status)
