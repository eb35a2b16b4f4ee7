"""Tasks that have an owner and a name, and whose failures are seen."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

import structlog

_log = structlog.stdlib.get_logger("streamproxy")


async def until_over(task: asyncio.Task[Any]) -> None:
    """Wait until a task has ended, however; a cancellation waits for that too."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled


class Tasks:
    """Owns background tasks for the length of an `async with` block; on the way out they are cancelled and awaited.

    A failing task is logged with its name and disturbs no other: unlike with `asyncio.TaskGroup`, one broken channel is
    not the end of all.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Until none is left: what is being stopped may start something to tidy up.
        while tasks := list(self._running):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run something in the background."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("task_failed", task=task.get_name(), exc_info=error)
