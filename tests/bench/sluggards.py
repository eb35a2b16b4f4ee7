"""Viewers that do not read as they should. Each is a context manager, and there when its block is entered."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench.load import Plan, Visit
from tests.bench.processes import Server, viewers

_HERE, _THERE = "198.18.83.1", "198.18.83.2"
"""The two ends of a cable; the network is reserved for benchmarks (RFC 2544)."""


@contextmanager
def never_reading(server: Server, path: str) -> Iterator[None]:
    """Ask for a stream, and read nothing of it."""
    with _asking(server, path):
        yield


@contextmanager
def trickling(server: Server, path: str) -> Iterator[None]:
    """Ask for a stream, and read 1 kB of it each second."""
    over = threading.Event()

    def read(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(1) and connection.recv(1000):
                pass

    with _asking(server, path) as connection:
        thread = threading.Thread(target=read, args=(connection,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def why_not_vanishing() -> str | None:
    """Say why nobody can vanish on this machine; None if somebody can."""
    if os.geteuid() != 0:
        return "only root can make a network to take away"
    if not shutil.which("ip"):
        return "there is no ip (iproute2) to make a network with"
    name = f"bench-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        return "this machine lets nobody make a network namespace"
    _do("ip", "netns", "delete", name)
    return None


@contextmanager
def vanishing(server: Server, path: str) -> Iterator[Callable[[], None]]:
    """Ask for a stream from another network, whose cable is cut when what this gives is called: no FIN, no RST.

    The server has to listen on all addresses.
    """
    # The names of interfaces have at most 15 characters.
    here, there, namespace = f"bench{os.getpid()}h", f"bench{os.getpid()}t", f"bench-{os.getpid()}"
    inside = ["ip", "netns", "exec", namespace]
    _do("ip", "netns", "add", namespace)
    try:
        _do("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", namespace)
        _do("ip", "address", "add", f"{_HERE}/30", "dev", here)
        _do("ip", "link", "set", here, "up")
        _do(*inside, "ip", "address", "add", f"{_THERE}/30", "dev", there)
        _do(*inside, "ip", "link", "set", there, "up")
        plan = Plan(_HERE, server.port, [Visit(0, path)], weigh_at=0, count_from=1, count_for=3600, pid=server.pid)
        with viewers(plan, prefix=inside) as viewer:
            viewer.wait_until_counting()
            yield lambda: _do(*inside, "ip", "link", "set", there, "down")
    finally:
        # With one end goes the whole cable; the namespace itself may outlive its name for as long as a socket is in it.
        subprocess.run(["ip", "link", "delete", here], check=False, capture_output=True)
        _do("ip", "netns", "delete", namespace)


@contextmanager
def _asking(server: Server, path: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        yield connection


def _do(*command: str) -> None:
    subprocess.run(command, check=True)
