"""How many transcoding processes may run at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from streamproxy.errors import TranscodingBusy


class ProcessSlots:
    """The right to run a process. Who holds it is a set, and its size is the count: it cannot drift."""

    def __init__(self, max_processes: int) -> None:
        """Start with all of them free.

        Args:
            max_processes: How many there are.
        """
        self._max_processes = max_processes
        self._held: set[object] = set()

    @property
    def max_processes(self) -> int:
        """How many may run at once."""
        return self._max_processes

    @property
    def held(self) -> int:
        """How many run."""
        return len(self._held)

    def configure(self, max_processes: int) -> None:
        """Allow another number from now on. What runs goes on, even if that is more."""
        self._max_processes = max_processes

    @contextmanager
    def slot(self, label: str) -> Iterator[None]:
        """Hold the right to one process, for the length of a `with` block.

        Args:
            label: The name of the upstream that it is for.

        Raises:
            TranscodingBusy: None is free.
        """
        if len(self._held) >= self._max_processes:
            raise TranscodingBusy(label, self._max_processes)
        held = object()
        self._held.add(held)
        try:
            yield
        finally:
            self._held.discard(held)
