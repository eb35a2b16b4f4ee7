"""Logging: structlog for this program's events, and the same look for what libraries log."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(level: str, form: str, *, redact: Callable[[str], str]) -> None:
    """Set up logging to standard error.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `console`, `json`, or `auto`: `console` on a terminal, else `json`.
        redact: Masks addresses in a text; applied to every value of every line, as a last safety net.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"

    def mask(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {key: _masked(value, redact) for key, value in event.items()}

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor]
    if form == "console":
        render = [structlog.processors.format_exc_info, mask, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        render = [structlog.processors.format_exc_info, mask, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(threshold)
    for chatty in ("asyncio", "aiohttp"):
        logging.getLogger(chatty).setLevel(max(threshold, logging.WARNING))


def _masked(value: object, redact: Callable[[str], str]) -> object:
    """Mask every text in a value, however deep; what is none of the plain types is shown as its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {redact(str(key)): _masked(inner, redact) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(inner, redact) for inner in value]
    return redact(str(value))


class OneLine(logging.Filter):
    """Cuts the traceback off what a client's malformed request makes the HTTP server log.

    A scanner on a public port would otherwise fill the journal with stacks of our own parser.
    """

    def __init__(self, expected: tuple[type[BaseException], ...]) -> None:
        """Prepare.

        Args:
            expected: The errors that a client can cause.
        """
        super().__init__()
        self._expected = expected

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the expected errors; drop what the library says only for its own debugging."""
        error: Any = record.exc_info[1] if record.exc_info else None
        if isinstance(error, self._expected):
            client = record.args[0] if isinstance(record.args, tuple) and record.args else "unknown"
            record.exc_info = None
            record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.msg, record.args = "malformed_request from %s: %s", (client, type(error).__name__)
        return record.levelno > logging.DEBUG
