"""Server-sent events as bytes: the stream format of the HTML standard (9.2.6), one message at a time."""

import re
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 1 << 20
"""Bytes of one message."""

# A CR at the very end may be the first half of a CR LF.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_USABLE_ID = re.compile(r"[!-~]{1,200}")


class Message(NamedTuple):
    """A message.

    Attributes:
        event: Its type; `message` where it names none.
        data: Its text.
    """

    event: str
    data: str


class Parser:
    """Takes the bytes of one connection as they come.

    Attributes:
        last_id: Id of the last message; None before the first. One that would not fit into a header is not kept.
        retry: Seconds that the server wants between two connections; None where it does not say.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.retry: float | None = None
        self._rest = bytearray()
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take bytes, and return the messages that they complete.

        Raises:
            ValueError: A message is longer than `LONGEST`.
        """
        self._rest += data
        if b"\n" in data or b"\r" in data or self._rest.endswith(b"\r", 0, len(self._rest) - len(data)):
            *lines, rest = _LINE_END.split(bytes(self._rest))
            self._rest = bytearray(rest)
            for line in lines:
                yield from self._take(line)
        if len(self._rest) + self._size > LONGEST:
            raise ValueError("an event is too long")

    def _take(self, line: bytes) -> Iterator[Message]:
        if not line:
            if self._data:
                yield Message(self._event or "message", "\n".join(self._data))
            self._event, self._data, self._size = "", [], 0
            return
        self._size += len(line)
        name, _, value = line.decode("utf-8", "replace").partition(":")
        self._set(name, value.removeprefix(" "))

    def _set(self, name: str, value: str) -> None:
        """Take a field; a comment has an empty name."""
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and _USABLE_ID.fullmatch(value):
            self.last_id = value
        elif name == "retry" and re.fullmatch("[0-9]{1,9}", value):
            self.retry = int(value) / 1000
