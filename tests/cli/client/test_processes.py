"""The commands as processes of their own: exit codes, Ctrl-C, terminals, and servers that come and go."""

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from tests.cli.client.conftest import Start
from tests.cli.client.fake import EVENT_STREAM, STATS, STREAM, Fake, message, raw, says, serving, until

EVENT = {
    "event_id": "e1",
    "event_type": "stream_stopped",
    "stream_id": "s1",
    "timestamp": "2026-11-20T10:51:47.124000",
    "data": {
        "reason": "last one\x1b[2J\x9b",
        "bytes_served": 5,
        "url": "http://h/live/u/secret/1.ts",
        "metadata": {"a": 1},
    },
}
RETRY = b"retry: 50\n\n"


def line_of(process: "subprocess.Popen[str]") -> str:
    """Read a line of its output; a process that says nothing is ended, and the line is empty."""
    assert process.stdout
    watchdog = threading.Timer(10, process.kill)
    watchdog.start()
    try:
        return process.stdout.readline()
    finally:
        watchdog.cancel()


def interrupt(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Press Ctrl-C; returns the exit code and what it said."""
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)
    return process.returncode, told


@pytest.mark.parametrize(
    ("arguments", "code"), [(["list"], 0), (["info", "x"], 1), (["list", "--base-url", "http://127.0.0.1:1"], 69)]
)
def test_a_command_ends_with_its_code_and_no_traceback(
    fake: Fake, start: Start, arguments: list[str], code: int
) -> None:
    fake.on("GET /streams", says({"streams": [STREAM]}))

    process = start(*arguments)
    shown, told = process.communicate(timeout=10)

    assert process.returncode == code
    assert bool(shown) == (code == 0)
    assert bool(told) == (code != 0)
    assert "Traceback" not in told


def test_a_terminal_without_our_letters_is_no_reason_to_fail(fake: Fake, start: Start) -> None:
    fake.on("GET /streams", says({"streams": [STREAM | {"name": "Ä日"}]}))

    process = start("list", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    shown, _ = process.communicate(timeout=10)

    assert process.returncode == 0
    assert r"\xc4\u65e5" in shown


def test_a_reader_that_leaves_ends_it_quietly(fake: Fake, start: Start) -> None:
    fake.on("GET /stats", says(STATS))
    process = start("monitor", "--interval", "0.1")
    line_of(process)

    assert process.stdout
    process.stdout.close()

    assert process.wait(10) == 1
    assert process.stderr
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("command", ["list", "monitor", "events"])
def test_ctrl_c_ends_what_waits_for_an_answer_with_130(fake: Fake, start: Start, command: str) -> None:
    for asked in ("GET /streams", "GET /stats", "GET /events"):
        fake.on(asked, fake.hangs())
    process = start(command)
    until(lambda: fake.requests)

    assert interrupt(process) == (130, "")


def test_monitor_writes_json_lines_with_rates_where_there_is_no_terminal(fake: Fake, start: Start) -> None:
    grown = {**STATS, "total_bytes_served": 5 << 30, "streams": [STREAM | {"total_bytes_served": 4 << 30}]}
    fake.on("GET /stats", says(STATS), says(grown))
    process = start("monitor", "--interval", "0.1")

    first, second = json.loads(line_of(process)), json.loads(line_of(process))

    assert (first["rate"], first["rates"], first["stats"]) == (None, {}, STATS)
    assert second["rate"] > 0
    assert list(second["rates"]) == [STREAM["stream_id"]]
    assert interrupt(process) == (130, "")


def test_monitor_tells_when_the_server_is_gone_and_when_it_is_back(fake: Fake, start: Start) -> None:
    port_is_free = Fake()
    port_is_free.on("GET /stats", says(STATS))
    with serving(port_is_free):
        process = start("monitor", "--interval", "0.1", STREAMPROXY_BASE_URL=port_is_free.url)
        assert line_of(process)
    assert process.stderr
    gone = process.stderr.readline()
    with serving(port_is_free):
        back = process.stderr.readline()
        assert interrupt(process)[0] == 130

    assert "no connection" in gone
    assert re.fullmatch(r"the server is back after \d+ s\n", back)


@pytest.mark.parametrize(("status", "code"), [(401, 77), (404, 1)])
def test_monitor_bears_a_server_that_stumbles_but_not_one_that_refuses(
    fake: Fake, start: Start, status: int, code: int
) -> None:
    fake.on("GET /stats", says(STATS), says({"detail": "starting"}, 503), says(STATS), says({"detail": "no"}, status))

    process = start("monitor", "--interval", "0.1")
    shown, told = process.communicate(timeout=10)

    assert process.returncode == code
    assert len(shown.splitlines()) == 2
    assert told.startswith("starting Trying again.\nthe server is back")


class Terminal:
    """The other side of a terminal: what was written to it so far."""

    def __init__(self, descriptor: int) -> None:
        self.text = ""
        self._descriptor = descriptor

    def until(self, pattern: str, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text, re.DOTALL):
            ready, _, _ = select.select([self._descriptor], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"not on the terminal: {pattern}\n{self.text[-2000:]!r}"
            self.text += os.read(self._descriptor, 1 << 16).decode("utf-8", "replace")


@contextmanager
def terminal(lines: int = 24, columns: int = 160) -> Iterator[tuple[Terminal, int]]:
    """Open a terminal; gives it, and the descriptor for the process that runs on it."""
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        yield Terminal(ours), theirs
    finally:
        os.close(ours)
        os.close(theirs)


def test_monitor_redraws_its_table_in_place_and_gives_the_cursor_back(fake: Fake, start: Start) -> None:
    evil = STREAM | {"stream_id": "evil", "name": "\x1b]0;owned\x07"}
    many = [STREAM | {"stream_id": f"id{index}", "name": f"Stream {index}"} for index in range(50)]
    grown = [STREAM | {"total_bytes_served": (3 << 30) + 10_000_000}, evil | {"total_bytes_served": 4 << 30}, *many]
    fake.on("GET /stats", says({**STATS, "streams": [STREAM, evil, *many]}), says({**STATS, "streams": grown}))
    with terminal() as (seen, descriptor):
        process = start("monitor", "--interval", "0.2", stdout=descriptor)
        seen.until(
            r"\x1b\[\?25l.*Das Erste [^\n]* 2 +4\.0 Mbit/s.*… and 35 more.*\x1b\[1A.*Das Erste [^\n]* 2 +[\d.]+ .bit/s"
        )

        assert interrupt(process) == (130, "")
        seen.until(r"\x1b\[\?25h")
        assert seen.text.rindex("owned") < seen.text.rindex("Das Erste")

    assert r"\x1b]0;owned\x07" in seen.text
    assert "\x1b]0;owned" not in seen.text
    assert "Nobody" not in seen.text


def test_monitor_keeps_the_table_and_tells_what_happened_to_the_server(fake: Fake, start: Start) -> None:
    fake.on("GET /stats", says(STATS), says({"detail": "starting \x1b[2J"}, 503), says(STATS))
    with terminal() as (seen, descriptor):
        process = start("monitor", "--interval", "0.1", stdout=descriptor)
        seen.until(r"no answer for 0 s.*Das Erste.*starting \\x1b\[2J.*the server is back after 0 s")

        assert interrupt(process) == (130, "")


def test_monitor_writes_lines_to_a_terminal_that_cannot_redraw(fake: Fake, start: Start) -> None:
    fake.on("GET /stats", says(STATS))
    with terminal() as (seen, descriptor):
        start("monitor", "--interval", "0.1", stdout=descriptor, TERM="dumb")
        seen.until(r'\{"time".*\}\r\n\{"time".*\}\r\n')


def test_a_narrow_terminal_cuts_names_and_not_ids(fake: Fake, start: Start) -> None:
    fake.on("GET /streams", says({"streams": [STREAM | {"name": "a rather long name of a stream " * 3}]}))
    with terminal(columns=110) as (seen, descriptor):
        process = start("list", stdout=descriptor)
        assert process.wait(10) == 0
        seen.until(f"{STREAM['stream_id']} .*a rath[^\n]*…[^\n]*\n")

    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in seen.text.split("\r\n")) <= 110


def test_events_are_lines_and_go_on_after_a_break_where_they_were(fake: Fake, start: Start) -> None:
    def waits(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(EVENT_STREAM + b": heartbeat\n\n" + message(EVENT | {"stream_id": "s2"}, 8))
        fake.released.wait(20)

    fake.on("GET /events", raw(EVENT_STREAM + RETRY + message(EVENT, 7)), says({"detail": "starting"}, 503), waits)
    process = start("events", TZ="UTC")

    shown = [line_of(process), line_of(process)]

    assert shown[0] == (
        '10:51:47  stream_stopped       s1  reason="last one\\x1b[2J\\x9b"  bytes_served=5  url=http://h…\n'
    )
    assert "  s2  " in shown[1]
    assert [request.headers.get("last-event-id") for request in fake.requests] == [None, "7", "7"]
    code, told = interrupt(process)
    assert code == 130
    assert re.fullmatch(r"the server ended the stream of events; trying again\nthe server is back after \d+ s\n", told)


def test_events_as_json_are_what_webhooks_get(fake: Fake, start: Start) -> None:
    fake.on("GET /events", fake.hangs(EVENT_STREAM + b"data: nonsense\n\ndata: [1]\n\n" + message(EVENT, 1)))
    process = start("events", "--json")

    assert json.loads(line_of(process)) == [1]
    line = line_of(process)
    assert json.loads(line) == EVENT
    assert line.isascii()
    assert interrupt(process) == (130, "an event that is no JSON: message\n")


def test_an_event_without_an_end_is_given_up(fake: Fake, start: Start) -> None:
    endless = raw(EVENT_STREAM + RETRY + b"data: " + b"x" * 10_000_000)
    fake.on("GET /events", endless, fake.hangs(EVENT_STREAM + message(EVENT, 1)))
    process = start("events")

    assert "stream_stopped" in line_of(process)
    code, told = interrupt(process)
    assert code == 130
    assert "an event is too long" in told
