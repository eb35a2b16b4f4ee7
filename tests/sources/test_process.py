"""However a process behaves, and whatever becomes of the proxy: nothing of it is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamproxy.sources.pipes import pipes
from streamproxy.sources.process import LAST_WORDS, NotStartedError, Process
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.programs import children, death, descriptors, is_alive, is_stopped, program

STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"%d " % os.getpid())
"""
STOPPED = "os.kill(os.getpid(), signal.SIGSTOP)"
SLEEPING = "time.sleep(60)"

PROXY = """
import asyncio, uvloop
from streamproxy.sources.process import Process

async def main():
    async with Process([{first!r}], "tv", grace=30) as first, Process([{second!r}], "tv", grace=30) as second:
        print((await first.read(100, 60) + await second.read(100, 60)).decode(), flush=True)
        await asyncio.sleep(60)

with asyncio.Runner(loop_factory={loop}) as runner:
    runner.run(main())
"""


@asynccontextmanager
async def running(*command: str, grace: float = 3, nice: int = 0) -> AsyncIterator[Process]:
    async with Process(command, "tv", grace=grace, nice=nice) as process:
        yield process


async def everything(process: Process) -> bytes:
    data = b""
    while more := await process.read(1 << 16, 10):
        data += more
    return data


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


async def test_what_it_writes_is_read_to_its_end() -> None:
    async with running("seq", "100000") as process:
        data = await everything(process)
        assert await process.ended() is None
    assert data.splitlines()[-1] == b"100000"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(3)", "failed with status 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
        ("os.closerange(0, 3)\ntime.sleep(60)", "closed its output without an end"),
    ],
)
async def test_how_it_ended_is_told(tmp_path: Path, body: str, said: str) -> None:
    async with running(program(tmp_path, body), grace=0.3) as process:
        assert await everything(process) == b""
        reason = await process.ended()
    assert reason
    assert said in reason


@pytest.mark.parametrize("command", ["/no/such/program", "/"])
async def test_what_cannot_be_started_is_an_error_that_says_why(command: str) -> None:
    before = descriptors()
    with pytest.raises(NotStartedError, match=r"cannot be started: (FileNotFound|Permission)Error"):
        async with running(command):
            pass
    assert descriptors() == before


async def test_without_descriptors_it_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "too many")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = descriptors()
    with pytest.raises(NotStartedError, match="OSError"):
        async with running("true"):
            pass
    assert descriptors() == before


@pytest.mark.parametrize("told", [True, False], ids=["told", "looking"])
@pytest.mark.parametrize("body", [SLEEPING, STOPPED])
async def test_what_does_not_end_when_asked_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, told: bool
) -> None:
    if not told:
        monkeypatch.delattr(os, "pidfd_open")
    async with running(program(tmp_path, STUBBORN + body), grace=0.2) as process:
        pid = int(await process.read(100, 10))
    assert not is_alive(pid)


async def test_what_is_stopped_may_still_end_by_itself(tmp_path: Path) -> None:
    async with running(program(tmp_path, 'os.write(1, b"%d" % os.getpid())\n' + STOPPED), grace=60) as process:
        pid = int(await process.read(100, 10))
        while not is_stopped(pid):
            await asyncio.sleep(0.01)


async def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    body = f"""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
os.write(1, b"%d " % child.pid)
{STOPPED}
"""
    async with running(program(tmp_path, STUBBORN + body), grace=0.2) as process:
        pids = b""
        while pids.count(b" ") < 2:
            pids += await process.read(100, 10)
    await death(*map(int, pids.split()))


async def test_what_it_started_does_not_keep_its_output_open(tmp_path: Path) -> None:
    body = 'os.write(1, b"%d" % subprocess.Popen(["sleep", "60"]).pid)'
    async with running(program(tmp_path, body)) as process:
        pid = int(await everything(process))
        assert await process.ended() is None
        await death(pid)


@pytest.mark.parametrize("again", [False, True])
async def test_wherever_it_is_cancelled_nothing_is_left(again: bool) -> None:
    async def use() -> None:
        async with pipes(1, stall_timeout=5) as (pipe,), Process(["cat"], "tv", inputs=[pipe], stdin=pipe) as process:
            pipe.write(b"x")
            await process.read(100, 5)
            await process.read(100, 5)

    # A loop opens some of its own when they are first needed.
    await asyncio.wait([cancelled := asyncio.create_task(use())], timeout=0.05)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    before = descriptors()
    for steps in range(25):
        task = asyncio.create_task(use())
        for _ in range(steps):
            # So many times something happens, or a moment passes.
            await asyncio.sleep(0.001 if steps % 2 else 0)
        task.cancel()
        if again:
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        assert children() == []
        assert task.cancelled()
    await asyncio.sleep(0)
    assert descriptors() <= before


async def test_who_cannot_wait_for_a_kind_end_gets_a_quick_one(tmp_path: Path) -> None:
    async def use() -> None:
        async with running(program(tmp_path, STUBBORN + SLEEPING), grace=60) as process:
            started.set_result(int(await process.read(100, 10)))
            await process.read(100, 60)

    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(use())
    pid = await started
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.1)
    assert not done
    task.cancel()
    await asyncio.wait([task])
    assert not is_alive(pid)


async def test_who_is_cancelled_while_the_killed_dies_waits_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        async with running(program(tmp_path, STUBBORN + SLEEPING), grace=0) as process:
            started.set_result(int(await process.read(100, 10)))

    def signal_group(group: int, number: signal.Signals) -> None:
        if number is signal.SIGKILL and not task.cancelling():
            dying.set()
        else:
            signal_it(group, number)

    signal_it, dying = os.killpg, asyncio.Event()
    monkeypatch.setattr(os, "killpg", signal_group)
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(use())
    await dying.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.1)
    assert not done
    os.kill(await started, signal.SIGKILL)
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
def test_it_dies_with_a_proxy_that_is_killed(tmp_path: Path, loop: str) -> None:
    programs = []
    for number, end in enumerate((SLEEPING, STOPPED)):
        (tmp_path / str(number)).mkdir()
        programs.append(program(tmp_path / str(number), STUBBORN + end))
    code = PROXY.format(first=programs[0], second=programs[1], loop=loop)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as proxy:
        assert proxy.stdout
        pids = [int(pid) for pid in proxy.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_alive, pids))
        proxy.kill()
    try:
        asyncio.run(death(*pids))
    finally:
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)


async def test_a_flood_of_complaints_is_heard_but_not_kept(tmp_path: Path) -> None:
    body = 'for _ in range(100):\n    os.write(2, b"noise\\n" * 170_000)\nos.write(1, b"done")'
    async with running(program(tmp_path, body)) as process:
        assert await everything(process) == b"done"
        await process.ended()
        assert process.said.startswith("noise | noise")
        assert len(process.said) < 2 * LAST_WORDS


async def test_its_last_words_hold_no_address_and_no_credentials(tmp_path: Path) -> None:
    address = "http://alice:pa55@tv.example/live/alice/pa55/1.ts?token=t0ken"
    body = f"""
os.write(2, b"tv.example: alice:pa55 refused {address}\\n")
os.write(2, b"Failed to resolve tv.example of rtmp://other.example/app/k3y: Not found\\n")
os.write(2, b"Error opening /live/alice/pa55/1.ts?token=t0ken, password=0ther\\n")
"""
    async with running(program(tmp_path, body), "-i", address) as process:
        await everything(process)
        await process.ended()
    assert "Not found" in process.said
    for secret in ("alice", "pa55", "tv.example", "other.example", "k3y", "t0ken", "0ther"):
        assert secret not in process.said


async def test_of_words_that_are_cut_off_the_rest_is_not_told(tmp_path: Path) -> None:
    body = f'os.write(2, b"http://h/" + b"secret" * {LAST_WORDS} + b"\\nthe end\\n")'
    async with running(program(tmp_path, body)) as process:
        await everything(process)
        await process.ended()
    assert process.said == "the end"


async def test_it_is_as_nice_as_it_should_be_and_ignores_no_signals() -> None:
    async with running("cat", "/proc/self/stat", "/proc/self/status", nice=7) as process:
        stat, _, status = (await everything(process)).decode().partition("\n")
    assert int(stat.rpartition(")")[2].split()[16]) - os.nice(0) == 7
    ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    assert not ignored & 1 << (signal.SIGPIPE - 1)
