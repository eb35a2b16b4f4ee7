"""Small programs that stand for ffmpeg, and what is left of processes."""

import asyncio
import os
import stat
import sys
from pathlib import Path

_SCRIPT = """#!{python} -IS
import os, signal, subprocess, sys, time
{body}
"""


def program(folder: Path, body: str) -> str:
    """Write a program in Python; return its path."""
    path = folder / "ffmpeg"
    path.write_text(_SCRIPT.format(python=sys.executable, body=body))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has buried yet does not."""
    return _status(pid)[:1] not in ([], ["Z"])


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped."""
    return _status(pid)[:1] == ["T"]


async def death(*pids: int) -> None:
    """Wait until none of some processes is alive, but not for long."""
    async with asyncio.timeout(5):
        while any(map(is_alive, pids)):
            await asyncio.sleep(0.01)


def children(parent: int | None = None) -> list[int]:
    """Return the processes that were started here, or by another one, with those that nobody has buried yet."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _status(pid)[1:2] == [str(parent or os.getpid())]]


def descriptors() -> int:
    """Return how many descriptors are open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _status(pid: int) -> list[str]:
    """Return what the system says of a process, from its state on; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
