"""A file that survives a restart: written whole or not at all, and not for others to read."""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamproxy.errors import StateError

_LARGEST = 256 << 20
"""Bytes that are read at most."""


class StateFile:
    """Keeps one JSON value in a file."""

    def __init__(self, path: Path) -> None:
        """Prepare, without touching the file."""
        self._path = path
        self._writing = asyncio.Lock()
        self._wanted = 0
        self._written = 0

    def read(self) -> Any:
        """Read it; None if there is no such file.

        Raises:
            StateError: It cannot be read, or is damaged.
        """
        try:
            with self._path.open("rb") as file:
                return json.loads(file.read(_LARGEST))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self._path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise StateError(f"{self._path} is damaged: it is no JSON") from error

    def set_aside(self) -> None:
        """Keep what is damaged under another name, so that it is not written over."""
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_name(f"{self._path.name}.damaged"))

    async def write(self, value: Callable[[], Any]) -> None:
        """Write it, and return when it is on the disk. Of several who wait, one writes for all.

        Args:
            value: Makes what is to be written, as late as possible.

        Raises:
            StateError: It cannot be written; the old file is still there.
        """
        self._wanted += 1
        # Who asks may leave meanwhile: it is written all the same, and nobody writes beside it.
        await asyncio.shield(asyncio.create_task(self._write(value, self._wanted), name="write state"))

    async def _write(self, value: Callable[[], Any], mine: int) -> None:
        async with self._writing:
            if self._written >= mine:
                return
            # Before the value is made: what is changed from now on is another's to write.
            written = self._wanted
            text = value()
            try:
                await asyncio.to_thread(self._replace, text)
            except OSError as error:
                raise StateError(f"{self._path} cannot be written: {error.strerror}") from error
            self._written = written

    def _replace(self, value: Any) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(value, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
