"""What is tried is what is run: ffmpeg is told the same of its environment."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import uvloop

from streamproxy.hwaccel.program import run
from streamproxy.sources.process import Process
from tests.helpers.programs import children, death, program

CANNOT_BE_BURIED = """
import ctypes
libc = ctypes.CDLL(None)
libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, PR_SET_PTRACER_ANY
if os.fork():
    time.sleep(100)
os.setsid()
attached = libc.ptrace(0x4206, os.getppid(), None, None) == 0  # PTRACE_SEIZE
with open({note!r} + ".new", "w") as note:
    note.write(f"{{os.getppid()}} {{os.getpid()}} {{attached:d}}")
os.rename({note!r} + ".new", {note!r})
time.sleep(100)
"""
"""A program that somebody else traces: once it is killed, it stays until that one takes note, and that one does not."""
SHOW = "import json; os.write(1, json.dumps(dict(os.environ)).encode())"


async def test_hardware_is_tried_and_used_in_the_same_environment_which_holds_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"XDG_RUNTIME_DIR": "/run/user/1", "LIBVA_DRIVER_NAME": "iHD", "CUDA_VISIBLE_DEVICES": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("API_TOKEN", "s3cret")
    command = [program(tmp_path, SHOW)]

    tried = json.loads((await run(command, timeout=10)).output)
    async with Process(command, "tv") as process:
        used = json.loads(await process.read(1 << 16, 10))

    # The interpreter's own.
    for environment in (tried, used):
        environment.pop("LC_CTYPE", None)
    assert used == tried
    assert used | told == used
    assert "API_TOKEN" not in used


async def test_what_stays_although_it_is_killed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.version_info >= (3, 12) and not isinstance(asyncio.get_running_loop(), uvloop.Loop):
        pytest.skip(
            "this event loop stands still until the one who traces takes note: no hanging driver does that to it"
        )
    monkeypatch.setattr("streamproxy.hwaccel.program._LONGEST_DEATH", 0.1)
    note = tmp_path / "note"
    running = asyncio.create_task(run([program(tmp_path, CANNOT_BE_BURIED.format(note=str(note)))], timeout=60))
    async with asyncio.timeout(5):
        while not note.exists():
            await asyncio.sleep(0.01)
    killed, tracer, attached = map(int, note.read_text().split())
    try:
        if not attached:
            pytest.skip("the system lets nobody trace")
        running.cancel()
        ended, _ = await asyncio.wait([running], timeout=5)
        assert ended
        await death(killed)
        assert killed in children(), "it was buried, so nothing was tried"
    finally:
        running.cancel()
        os.kill(tracer, signal.SIGKILL)
        # Now it can be buried, for which somebody still waits.
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=5)
