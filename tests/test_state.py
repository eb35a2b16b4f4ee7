"""What must survive a restart is written whole or not at all."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamproxy.errors import StateError
from streamproxy.state import StateFile


async def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "below" / "state.json"

    await StateFile(path).write(lambda: {"a": [1, "ü"]})

    assert StateFile(path).read() == {"a": [1, "ü"]}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_there_is_nothing_at_first(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "state.json").read() is None


async def test_of_many_who_write_at_once_each_finds_theirs_written_and_few_write(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    value: list[int] = []
    made = 0

    def snapshot() -> list[int]:
        nonlocal made
        made += 1
        return list(value)

    async def add(number: int) -> None:
        value.append(number)
        await file.write(snapshot)
        assert number in file.read()

    await asyncio.gather(*(add(number) for number in range(50)))

    assert sorted(file.read()) == list(range(50))
    assert made <= 3


async def test_what_is_to_be_written_is_written_though_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    loop, free, begun = asyncio.get_running_loop(), threading.Event(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    other = loop.run_in_executor(None, free.wait)
    value = ["old"]

    def snapshot() -> list[str]:
        begun.set()
        return list(value)

    first = asyncio.create_task(file.write(snapshot))
    await begun.wait()
    value.append("new")
    second = asyncio.create_task(file.write(snapshot))
    # One step, with which it stands behind the first.
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait((first, second))
    free.set()
    await other
    async with asyncio.timeout(5):
        while file.read() != ["old", "new"]:
            await asyncio.sleep(0.01)

    assert first.cancelled()
    assert second.cancelled()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_damaged_is_told_and_can_be_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    file = StateFile(path)

    with pytest.raises(StateError, match="damaged"):
        file.read()
    file.set_aside()

    assert file.read() is None
    assert (tmp_path / "state.json.damaged").read_bytes() == content


async def test_what_cannot_be_written_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    file = StateFile(path)
    await file.write(lambda: [1])

    with pytest.raises(TypeError):
        await file.write(lambda: [object()])

    assert json.loads(path.read_text()) == [1]
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match="cannot be written"):
        await StateFile(tmp_path / "file" / "state.json").write(lambda: 1)
