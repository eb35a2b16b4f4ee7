"""What all tests share."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_WHERE_THE_LOOP_MATTERS = {"api", "broadcast", "hwaccel", "outputs", "server", "sources", "e2e"}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    """Run what touches sockets and tasks under both event loops."""
    del config
    if _WHERE_THE_LOOP_MATTERS.isdisjoint(Path(item.path).relative_to(Path(__file__).parent).parts):
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
