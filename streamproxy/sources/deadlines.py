"""One timer for all who wait for the same length of time, and mostly in vain."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from itertools import takewhile
from typing import Protocol

CLOCK_RESOLUTION = 0.001
"""Seconds; a clock in milliseconds, as that of uvloop, may be half of one behind its timers."""


class Waiting(Protocol):
    """Who waits."""

    def expire(self, now: float, /) -> None:
        """Take note that the delay has passed; from now on it passes anew."""


class Deadlines:
    """Tells whoever was not heard of for a delay, time and again.

    Timers of their own, one for each of a hundred channels that are late or not by milliseconds, would cost as much as
    a third of all reading.
    """

    def __init__(self, delay: float) -> None:
        """Start with nobody.

        Args:
            delay: Seconds.
        """
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._due: OrderedDict[Waiting, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiting: Waiting, now: float) -> None:
        """Begin to wait.

        Args:
            waiting: Who is told.
            now: The time of the loop.
        """
        self._due[waiting] = now + self._delay
        if not self._timer:
            self._timer = self._loop.call_later(self._delay, self._expire)

    def postpone(self, waiting: Waiting, now: float) -> None:
        """Wait for the whole delay again."""
        if waiting in self._due:
            self._due[waiting] = now + self._delay
            self._due.move_to_end(waiting)

    def remove(self, waiting: Waiting) -> None:
        """Tell somebody no more."""
        self._due.pop(waiting, None)
        if self._timer and not self._due:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        now = self._loop.time()
        soon = now + CLOCK_RESOLUTION
        overdue = [waiting for waiting, due in takewhile(lambda item: item[1] <= soon, self._due.items())]
        for waiting in overdue:
            self.postpone(waiting, now)
        self._timer = self._loop.call_at(next(iter(self._due.values())), self._expire)
        for waiting in overdue:
            if waiting in self._due:
                self._tell(waiting, now)

    def _tell(self, waiting: Waiting, now: float) -> None:
        """Tell one, and let the others have their turn whatever comes of it."""
        try:
            waiting.expire(now)
        except Exception as error:  # noqa: BLE001 - a mistake of ours, which is reported as that of any timer
            self._loop.call_exception_handler({"message": "Exception in a deadline", "exception": error})


DeadlinesOf = Callable[[float], Deadlines]
"""Gives those of a delay in seconds."""
