"""Connections are accepted with what live streams need set on them, and no more of them than there is room for."""

import asyncio
import contextlib
import errno
import gc
import resource
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from streamproxy.server.listener import Doorkeeper, connection_limit, listen, raise_descriptor_limit
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here

SEND_BUFFER = 1 << 16

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="what is inherited differs elsewhere")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", port: int = 0) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(each) for each in listen(host, port, send_buffer=SEND_BUFFER)]


def port_of(sockets: list[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1])


@contextlib.contextmanager
def accepted(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Accept a connection, and give the accepting side of it."""
    with listening(host) as (server, *_), socket.create_connection(server.getsockname()[:2], timeout=5):
        server.settimeout(5)
        connection, _ = server.accept()
        with connection:
            yield connection


@needs_linux
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_accepted_connections_hold_no_more_than_the_send_buffer(host: str) -> None:
    with accepted(host) as connection:
        # The kernel doubles what is asked for, to have room for its own records (socket(7)).
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER


@needs_linux
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_accepted_connections_notice_a_dead_peer_within_fifteen_seconds(host: str) -> None:
    with accepted(host) as connection:
        idle, interval, count, unacknowledged = (
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        )

        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert idle + interval * count <= 15
        assert unacknowledged == 10_000


def test_listening_does_not_block() -> None:
    with listening() as sockets:
        assert [each.getblocking() for each in sockets] == [False]


@needs_ipv6
def test_without_a_host_both_families_are_listened_on() -> None:
    with listening("") as sockets:
        families = {each.family: each.getsockname() for each in sockets}

        assert families.keys() == {socket.AF_INET, socket.AF_INET6}
        assert families[socket.AF_INET][0] == "0.0.0.0"
        assert families[socket.AF_INET6][0] == "::"


@needs_ipv6
def test_the_ipv6_wildcard_takes_ipv4_too() -> None:
    with listening("::") as sockets, socket.create_connection(("127.0.0.1", port_of(sockets)), timeout=5):
        pass


def test_a_port_that_is_taken_is_an_error() -> None:
    with listening() as sockets, pytest.raises(OSError) as caught, listening(port=port_of(sockets)):
        pass

    assert caught.value.errno == errno.EADDRINUSE


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError) as caught, listening("192.0.2.1"):
        pass

    assert caught.value.errno == errno.EADDRNOTAVAIL


@needs_ipv6
@pytest.mark.parametrize("taken", ["0.0.0.0", "::"])
def test_whatever_was_bound_before_an_error_is_closed(taken: str) -> None:
    with warnings.catch_warnings(record=True, action="always") as unclosed, listening(taken) as sockets:
        with pytest.raises(OSError, match="in use"):
            listen("", port_of(sockets), send_buffer=SEND_BUFFER)
        gc.collect()

    assert [str(warning.message) for warning in unclosed] == []


def test_a_port_can_be_listened_on_again_right_after_a_restart() -> None:
    with listening() as sockets:
        port = port_of(sockets)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            sockets[0].settimeout(5)
            connection, _ = sockets[0].accept()
            # Who closes first keeps the port busy for a while.
            connection.close()
            assert client.recv(1) == b""

    with listening(port=port) as sockets:
        assert port_of(sockets) == port


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(1024, 320), (1 << 20, 349_504), (67, 1), (65, 1), (64, 1), (0, 1)]
)
def test_every_connection_has_room_for_an_upstream_of_its_own(descriptors: int, connections: int) -> None:
    assert connection_limit(descriptors) == connections


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """Lower the soft limit of open files; the hard one is what is given."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard <= 512:
        pytest.skip("the hard limit of open files is too low to tell it from the soft one")
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(few_descriptors: int) -> None:
    raised = raise_descriptor_limit()

    assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert raised > 512
    assert raised == 1 << 20 or raised == few_descriptors


def test_raising_the_limit_of_open_files_again_changes_nothing(few_descriptors: int) -> None:
    raised = raise_descriptor_limit()

    assert raise_descriptor_limit() == raised
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (raised, few_descriptors)


class Door:
    """A server behind a doorkeeper.

    Attributes:
        port: Where it listens.
        limit: How many may be connected.
        server: What serves those who are let in.
    """

    def __init__(self, limit: int) -> None:
        self.port = 0
        self.limit = limit
        self.server = web.Server(self._watch, handler_cancellation=True)

    async def emptied(self) -> None:
        """Wait until everybody has left."""
        while self.server.connections:
            await asyncio.sleep(0)

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, and stay until the viewer goes."""
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response


@asynccontextmanager
async def door(limit: int) -> AsyncIterator[Door]:
    opened = Door(limit)
    (listener,) = listen("127.0.0.1", 0, send_buffer=SEND_BUFFER)
    opened.port = port_of([listener])
    accepting = await asyncio.get_running_loop().create_server(
        Doorkeeper(opened.server, lambda: opened.limit), sock=listener, backlog=1024
    )
    try:
        yield opened
    finally:
        accepting.close()
        await opened.server.shutdown(0.1)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def visiting(port: int) -> AsyncIterator[int]:
    """Visit, and give the status of the answer."""
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        status = await reader.readline()
        yield int(status.split()[1])


async def test_viewers_beyond_the_limit_are_told_to_come_back_later() -> None:
    async with door(limit=2) as opened, visiting(opened.port) as first, visiting(opened.port) as second:
        async with connected(opened.port) as (reader, _):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")

        assert (first, second) == (200, 200)
        status, *headers = head.decode().split("\r\n")
        fields = dict(line.split(": ") for line in headers)
        assert status == "HTTP/1.1 503 Service Unavailable"
        assert body == b'{"detail":"Too many connections"}'
        assert fields["Content-Type"] == "application/json"
        assert fields["Content-Length"] == str(len(body))
        assert fields["Connection"] == "close"
        assert int(fields["Retry-After"]) > 0


async def test_a_viewer_who_leaves_makes_room_for_another() -> None:
    async with door(limit=1) as opened:
        async with visiting(opened.port) as first:
            assert first == 200
        await opened.emptied()

        async with visiting(opened.port) as second:
            assert second == 200


async def test_viewers_who_were_turned_away_take_no_room() -> None:
    async with door(limit=1) as opened:
        async with visiting(opened.port):
            for _ in range(5):
                async with connected(opened.port) as (reader, _):
                    assert b" 503 " in await reader.read()
        await opened.emptied()

        async with visiting(opened.port) as status:
            assert status == 200


async def test_another_limit_holds_from_the_next_connection_on() -> None:
    async with door(limit=0) as opened:
        async with connected(opened.port) as (reader, _):
            assert b" 503 " in await reader.read()
        opened.limit = 1

        async with visiting(opened.port) as status:
            assert status == 200


def answer_to(client: socket.socket) -> bytes:
    """Read the first line of an answer."""
    client.settimeout(5)
    with contextlib.suppress(TimeoutError):
        return client.recv(4096).partition(b"\r\n")[0]
    return b""


async def test_a_viewer_who_has_sent_a_request_already_can_read_the_refusal() -> None:
    async with door(limit=0) as opened:
        with socket.create_connection(("127.0.0.1", opened.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")

            assert await asyncio.to_thread(answer_to, client) == b"HTTP/1.1 503 Service Unavailable"


async def test_the_limit_holds_for_viewers_who_come_at_once() -> None:
    async with door(limit=3) as opened:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", opened.port))) for _ in range(20)]
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            answers = await asyncio.gather(*(asyncio.to_thread(answer_to, client) for client in clients))

            assert sum(b" 200 " in answer for answer in answers) == 3
