"""Rates of streams, from what was sent of them between two looks."""

from collections.abc import Mapping
from typing import Any

from streamproxy.cli.client.text import number

TOTAL = ""
"""Stands for all streams together; no stream has this id."""


class Rates:
    """Bytes per second by stream, and in `TOTAL` those of all."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self._at = 0.0

    def update(self, sent: Mapping[str, Any], now: float) -> dict[str, float]:
        """Compare with the last look.

        Args:
            sent: Bytes sent so far, by stream.
            now: Seconds of a clock that never goes back.

        Returns:
            Rates of those that were there the last time. A counter that fell was begun anew, and has none.
        """
        known = {name: amount for name, value in sent.items() if (amount := number(value)) is not None}
        before, elapsed = self._sent, now - self._at
        self._sent, self._at = known, now
        if elapsed <= 0:
            return {}
        return {
            name: (amount - before[name]) / elapsed
            for name, amount in known.items()
            if name in before and amount >= before[name]
        }
