"""A deadline for whole tests that also holds under uvloop, where the signal of pytest-timeout does not get through."""

import asyncio
from collections.abc import AsyncIterator

import pytest

LONGEST = 15.0
"""Seconds that a test may take."""


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """Cancel a test that does not end, so that it fails where it waits; a module that imports this has it for all."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel(f"no end after {LONGEST:g} s")

    timer = loop.call_later(LONGEST, end)
    yield
    timer.cancel()
