"""The key of the links, in its file."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from streamproxy.errors import ConfigError
from streamproxy.formats.links import KEY_SIZE
from streamproxy.outputs.link_key import FILE_NAME, link_key


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    key = link_key(folder)

    assert len(key) == KEY_SIZE
    assert link_key(folder) == key
    assert [file.name for file in folder.iterdir()] == [FILE_NAME]
    assert link_key(tmp_path / "c") != key


@pytest.mark.parametrize("mask", [0, 0o022, 0o177])
def test_nobody_else_can_read_it(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        link_key(tmp_path)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def make_key(arguments: tuple[Path, float]) -> bytes:
    folder, _ = arguments
    return link_key(folder)


def test_workers_that_start_together_have_the_same_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        for number in range(20):
            folder = tmp_path / str(number)

            keys = pool.map(make_key, [(folder, 0.0)] * 4, chunksize=1)

            assert len(set(keys)) == 1
            assert [file.name for file in folder.iterdir()] == [FILE_NAME]


def test_who_was_faster_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = os.urandom(KEY_SIZE)
    link = os.link

    def late(draft: Path, path: Path) -> None:
        if not path.exists():
            path.write_bytes(others)
            path.chmod(0o600)
        link(draft, path)

    monkeypatch.setattr(os, "link", late)

    assert link_key(tmp_path) == others
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("size", [0, KEY_SIZE - 1, KEY_SIZE + 1])
def test_a_damaged_key_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(bytes(size))
    path.chmod(0o600)

    with pytest.raises(ConfigError, match="damaged"):
        link_key(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    link_key(tmp_path)
    (tmp_path / FILE_NAME).chmod(mode)

    with pytest.raises(ConfigError, match="others"):
        link_key(tmp_path)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="file/below"):
        link_key(tmp_path / "file" / "below")
