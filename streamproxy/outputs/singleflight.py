"""Work that is done once for all who want its result at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, KeysView
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Runs work for as long as somebody waits for it; who wants the same in the meantime waits for that."""

    def __init__(self) -> None:
        self._running: dict[Key, _Flight[Result]] = {}

    @property
    def keys(self) -> KeysView[Key]:
        """What is under way."""
        return self._running.keys()

    async def do(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]], *, name: str) -> Result:
        """Wait for the result of a work.

        Args:
            key: What tells it from others.
            work: Begins it, unless it is under way.
            name: Of its task.

        Returns:
            Its result. What it raises is raised for all who wait for it.
        """
        flight = self._running.get(key)
        if flight is None:
            flight = self._running[key] = _Flight(asyncio.create_task(work(), name=name))
        flight.waiting += 1
        try:
            await asyncio.wait([flight.task])
        finally:
            flight.waiting -= 1
            if self._running.get(key) is flight and (flight.task.done() or not flight.waiting):
                del self._running[key]
            if not flight.waiting and not flight.task.done():
                flight.task.cancel()
                # Its end is waited for, so that no connection of it is left behind.
                await asyncio.wait([flight.task])
            if flight.task.done() and not flight.task.cancelled():
                flight.task.exception()  # who was cancelled at this moment does not ask for it
        return flight.task.result()


@dataclass(slots=True)
class _Flight(Generic[Result]):
    task: asyncio.Task[Result]
    waiting: int = 0
