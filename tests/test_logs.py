"""A log line is one line, for people or for machines, and holds no secret."""

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamproxy import logs
from streamproxy.formats.urls import redact
from streamproxy.logs import OneLine
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.proxy import config, running

SECRET = "hunter2"
URL = f"http://user:{SECRET}@provider:8080/live/user/{SECRET}/1.ts?token={SECRET}"

log = structlog.stdlib.get_logger()


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put logging back as it was."""
    loggers = [logging.getLogger(name) for name in (None, "asyncio", "aiohttp")]
    before = structlog.get_config(), loggers[0].handlers[:], [logger.level for logger in loggers]
    yield
    structlog.configure(**before[0])
    loggers[0].handlers = before[1]
    for logger, level in zip(loggers, before[2], strict=True):
        logger.setLevel(level)


class Screen(io.StringIO):
    """Standard error, on a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def logging_to(*, level: str = "info", form: str = "json", terminal: bool = False) -> Screen:
    """Set up logging to a screen."""
    screen = Screen(terminal=terminal)
    with contextlib.redirect_stderr(screen):
        logs.configure(level, form, redact=redact)
    return screen


def test_an_event_is_one_json_object_on_one_line() -> None:
    screen = logging_to()

    log.bind(channel="news").warning("upstream_failed", reason="line one\nline two", bytes=3)

    (line,) = screen.objects
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "upstream_failed",
        "level": "warning",
        "channel": "news",
        "reason": "line one\nline two",
        "bytes": 3,
    }


def test_what_a_library_logs_looks_the_same() -> None:
    screen = logging_to()

    logging.getLogger("some.library").warning("%d is too many", 3)

    (line,) = screen.objects
    assert (line["event"], line["level"]) == ("3 is too many", "warning")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_less_important_than_the_level_is_not_shown(level: str, shown: list[str]) -> None:
    screen = logging_to(level=level)

    for own in (log, logging.getLogger("some.library")):
        own.debug("event")
        own.info("event")
        own.warning("event")
        own.error("event")

    assert [line["level"] for line in screen.objects] == shown * 2


def test_the_chatter_of_libraries_is_not_shown_even_when_debugging() -> None:
    screen = logging_to(level="debug")

    logging.getLogger("asyncio").info("Using selector: EpollSelector")
    logging.getLogger("aiohttp.client").info("chatter")

    assert screen.lines == []


def test_configuring_again_replaces_what_was_configured() -> None:
    before = logging_to(level="debug")
    after = logging_to(level="info")

    log.debug("event")
    log.info("event")

    assert (len(before.lines), len(after.lines)) == (0, 1)


def test_a_collected_log_is_for_machines_unless_something_else_is_wanted() -> None:
    screen = logging_to(form="auto")

    log.info("event")

    assert screen.objects[0]["event"] == "event"


def test_a_log_on_a_terminal_is_for_people_unless_something_else_is_wanted() -> None:
    screen = logging_to(form="auto", terminal=True)

    log.info("channel_started", channel="news")

    (line,) = screen.lines
    assert "channel_started" in line
    assert not line.startswith("{")


def test_a_collected_log_for_people_has_no_colours() -> None:
    screen = logging_to(form="console")

    log.info("channel_started", channel="news")

    (line,) = screen.lines
    assert "channel_started" in line
    assert "channel=news" in line
    assert "\x1b" not in line


def test_a_log_for_machines_may_be_looked_at() -> None:
    screen = logging_to(terminal=True)

    log.info("event")

    assert screen.objects[0]["event"] == "event"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_address_is_shown_with_its_credentials(form: str) -> None:
    screen = logging_to(form=form)

    log.info("event", url=URL, text=f"cannot open {URL}, sorry")
    log.info(f"cannot open {URL}")
    logging.getLogger("some.library").warning("cannot open %s", URL)

    assert len(screen.lines) == 3
    assert SECRET not in screen.getvalue()
    assert "provider" in screen.getvalue()


@pytest.mark.parametrize(
    "form",
    ["json", "console"],
)
def test_no_address_in_a_traceback_is_shown_with_its_credentials(form: str) -> None:
    screen = logging_to(form=form)
    error = ValueError(f"cannot open {URL}")

    log.error("task_failed", exc_info=error)
    logging.getLogger("some.library").error("failed", exc_info=error)

    assert "ValueError" in screen.getvalue()
    assert SECRET not in screen.getvalue()


@pytest.mark.parametrize("value", [ValueError(URL), [f"config.yml:3: {URL} is no address"], {"url": URL}, (URL,)])
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_address_within_a_value_is_shown_with_its_credentials(form: str, value: object) -> None:
    screen = logging_to(form=form)

    log.error("reload_refused", mistakes=value)

    assert "reload_refused" in screen.getvalue()
    assert SECRET not in screen.getvalue()


@pytest.mark.parametrize("text", [f"/live/user/{SECRET}/1.ts", f"/get.php?username=user&password={SECRET}"])
def test_no_account_is_shown_where_an_address_has_no_host(text: str) -> None:
    assert SECRET not in redact(text)
    screen = logging_to()

    log.info("event", path=text)

    assert "event" in screen.getvalue()
    assert SECRET not in screen.getvalue()


class TroublesomeClientError(Exception):
    """What a client can cause."""


def record_of(error: BaseException, level: int = logging.ERROR) -> logging.LogRecord:
    message = "Error handling request from %s"
    return logging.LogRecord("http", level, __file__, 1, message, ("192.0.2.1",), (type(error), error, None))


def test_what_a_client_caused_is_shortened_to_one_line() -> None:
    record = record_of(TroublesomeClientError("GET /secret"))

    assert OneLine((TroublesomeClientError,)).filter(record)

    line = logging.Formatter("%(levelname)s %(message)s").format(record)
    assert line == "WARNING malformed_request from 192.0.2.1: TroublesomeClientError"


def test_what_we_caused_keeps_its_traceback() -> None:
    record = record_of(ZeroDivisionError())

    assert OneLine((TroublesomeClientError,)).filter(record)

    assert record.exc_info
    assert record.getMessage() == "Error handling request from 192.0.2.1"
    assert record.levelname == "ERROR"


def test_what_is_said_without_an_error_passes_as_it_is() -> None:
    record = logging.LogRecord("http", logging.INFO, __file__, 1, "hello", None, None)

    assert OneLine((TroublesomeClientError,)).filter(record)

    assert record.getMessage() == "hello"


@pytest.mark.parametrize("level", ["debug", "info"])
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET / HTTP/1.1\r\nno colon\r\n\r\n", id="no header"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nA b: c\r\n\r\n", id="space in a name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", id="no length"),
        pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", id="long line"),
        pytest.param(b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", id="NUL"),
        pytest.param(b"GET / HTTP/x\r\nHost: h\r\n\r\n", id="no version"),
    ],
)
async def test_a_malformed_request_is_answered_and_is_one_line_in_the_log(
    tmp_path: Path, request_: bytes, level: str
) -> None:
    screen = logging_to(level=level)

    async with running(config(tmp_path)) as proxy:
        assert (await exchange(proxy.port, request_)).split()[1] == b"400"

    (line,) = [line for line in screen.objects if "malformed_request" in line["event"]]
    assert line["level"] == "warning"
    assert "Traceback" not in screen.getvalue()


async def test_what_is_no_http_at_all_leaves_no_traceback(tmp_path: Path) -> None:
    screen = logging_to()

    async with running(config(tmp_path)) as proxy:
        await exchange(proxy.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n")

    assert "Traceback" not in screen.getvalue()
    assert sum("malformed_request" in line["event"] for line in screen.objects) <= 1


async def exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
