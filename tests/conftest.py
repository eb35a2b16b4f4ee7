"""What all tests share."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_WHERE_THE_LOOP_MATTERS = {"api", "broadcast", "hwaccel", "outputs", "server", "sources", "e2e"}


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run a worker more than there are cores: many tests wait for sockets and players."""
    del config
    return (os.cpu_count() or 1) + 1


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    """Run what touches sockets and tasks under both event loops."""
    del config
    if _WHERE_THE_LOOP_MATTERS.isdisjoint(Path(item.path).relative_to(Path(__file__).parent).parts):
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
