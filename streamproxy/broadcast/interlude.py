"""What viewers get while nothing plays: packets that mean nothing, and after a while a picture that says so."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from streamproxy.broadcast.line import Line
from streamproxy.broadcast.take import Take
from streamproxy.model import Source, Upstream

_IDLE = 0.3
"""Seconds between packets that mean nothing."""
_PATIENCE = 10.0
"""Seconds to wait for the slate's first picture."""
_SLATE = Upstream("", "slate")


@dataclass(frozen=True, slots=True)
class Slates:
    """What viewers see while nothing plays.

    Attributes:
        make: Makes the source of a slate, given whether every connection of the provider is in use.
        delay: Seconds without a stream after which it is shown.
    """

    make: Callable[[bool], Source]
    delay: float


class Interlude:
    """Holds a line, for as long as it runs."""

    def __init__(
        self,
        line: Line,
        slates: Slates | None,
        *,
        busy: Callable[[], bool],
        coming: Callable[[], bool],
        shown: Callable[[], object],
    ) -> None:
        """Prepare.

        Args:
            line: What to hold.
            slates: What is shown after a while; None for nothing.
            busy: Tells whether nothing plays because every connection of the provider is in use.
            coming: Tells whether an upstream is sending already. It may go on exactly where the last one ended, unless
                something is put in between.
            shown: Called when a slate is put on the line.
        """
        self._line = line
        self._slates = slates if line.splices else None
        self._busy = busy
        self._coming = coming
        self._shown = shown

    async def run(self) -> None:
        """Hold the line until cancelled; what was put on it is off it again then."""
        if self._slates is None:
            await self._idle(lambda: True)
            return
        shown_at = _now() + self._slates.delay
        await self._idle(lambda: _now() < shown_at)
        slate = Take(_SLATE, self._slates.make(self._busy()), self._line, former=lambda: None, watched=False)
        try:
            await slate.prepare(_PATIENCE)
            await self._idle(self._coming)
            slate.enter()
            self._shown()
            await slate.over
        finally:
            await slate.stop()
            self._line.finish()

    async def _idle(self, condition: Callable[[], bool]) -> None:
        while condition():
            # First of all a pause: most losses are over by then, and nothing stands where they were.
            await asyncio.sleep(_IDLE)
            self._line.idle()


def _now() -> float:
    return asyncio.get_running_loop().time()
