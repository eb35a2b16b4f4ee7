"""The service manager is told how it goes; without one, nobody is."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamproxy.server.notify import Notifier


@pytest.fixture(params=["file", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a manager listens, as it says it in the environment."""
    return str(tmp_path / "notify") if request.param == "file" else f"@streamproxy-{uuid.uuid4()}"


@pytest.fixture
def manager(address: str) -> Iterator[socket.socket]:
    """A manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        listening.settimeout(5)
        yield listening


@pytest.fixture
def notifier(address: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": address})


def test_manager_hears_that_requests_are_being_served(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready("3 channels")

    assert manager.recv(4096) == b"READY=1\nSTATUS=3 channels"


def test_manager_hears_of_a_reload_and_when_it_began(manager: socket.socket, notifier: Notifier) -> None:
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    after = time.monotonic_ns() // 1000

    state, _, microseconds = manager.recv(4096).decode().partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert before <= int(microseconds) <= after


def test_manager_hears_signs_of_life(manager: socket.socket, notifier: Notifier) -> None:
    notifier.alive()
    notifier.alive()

    assert [manager.recv(4096), manager.recv(4096)] == [b"WATCHDOG=1", b"WATCHDOG=1"]


def test_manager_hears_that_the_end_has_begun(manager: socket.socket, notifier: Notifier) -> None:
    notifier.stopping()

    assert manager.recv(4096) == b"STOPPING=1"


def test_a_status_in_another_script_arrives(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready("3 канала")

    assert manager.recv(4096).decode() == "READY=1\nSTATUS=3 канала"


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({})

    notifier.ready("3 channels")
    notifier.reloading()
    notifier.alive()
    notifier.stopping()


@pytest.mark.parametrize("path", ["nowhere", "a/b/c", "x" * 200])
def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path, path: str) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / path)}).alive()


def test_a_manager_that_does_not_read_does_not_hold_up_the_program(manager: socket.socket, notifier: Notifier) -> None:
    def send_more_than_any_queue_holds() -> None:
        for _ in range(2000):
            notifier.alive()

    sending = threading.Thread(target=send_more_than_any_queue_holds, daemon=True)
    sending.start()
    sending.join(timeout=0.5)
    held_up = sending.is_alive()
    manager.close()
    sending.join()

    assert not held_up


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "1"}, 5e-7),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "1.5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_due_twice_as_often_as_the_manager_demands(
    environ: dict[str, str], interval: float | None
) -> None:
    assert Notifier(environ).watchdog_interval == interval


def test_by_default_the_environment_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    assert Notifier().watchdog_interval == 2.0
