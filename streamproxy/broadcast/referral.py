"""Being referred elsewhere: somebody may know where else a channel can be had."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from streamproxy.errors import UpstreamError
from streamproxy.model import Upstream

_PAUSE = 1.0
"""Seconds from one question to the next, at least."""
_MOST = 10
"""Questions in a row after which nothing played."""

Resolve = Callable[[Upstream, int, UpstreamError], Awaitable[Upstream | None]]
"""Asks for another upstream, given the one that was lost, how many it has named so far, and why that one was lost."""


class Referrals:
    """Asks where else a channel can be had: not too often, and not for ever where nothing comes of it."""

    def __init__(self, resolve: Resolve | None) -> None:
        """Prepare.

        Args:
            resolve: Whom to ask; None for nobody.
        """
        self._resolve = resolve
        self._asked_at = -math.inf
        self._in_vain = 0
        self._named = 0

    async def ask(self, lost: Upstream, error: UpstreamError) -> Upstream | None:
        """Ask for another upstream, if need be after a pause; return None if there is none.

        Args:
            lost: The upstream that was lost.
            error: Why.
        """
        if self._resolve is None or self._in_vain == _MOST:
            return None
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._asked_at + _PAUSE - loop.time())
        self._asked_at = loop.time()
        self._in_vain += 1
        upstream = await self._resolve(lost, self._named, error)
        if upstream:
            self._named += 1
        return upstream

    def played(self) -> None:
        """Say that something plays."""
        self._in_vain = 0

    def start_over(self) -> None:
        """Say that one of the channel's own upstreams has played well: what was named before can be named again."""
        self._named = 0
