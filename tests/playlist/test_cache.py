"""The last good copy of a list."""

from pathlib import Path

import pytest

from streamproxy.config import PlaylistConfig
from streamproxy.playlist.cache import LastGood

SETTINGS = PlaylistConfig(url="http://h/get.php?username=me&password=hunter22", name="provider")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    LastGood(tmp_path).write(SETTINGS, b"first")
    LastGood(tmp_path).write(SETTINGS, b"second")

    assert LastGood(tmp_path).read(SETTINGS) == b"second"


def test_there_is_nothing_for_a_list_that_was_never_loaded(tmp_path: Path) -> None:
    assert LastGood(tmp_path).read(SETTINGS) is None


def test_only_its_owner_can_read_a_copy_and_its_name_tells_nothing(tmp_path: Path) -> None:
    LastGood(tmp_path).write(SETTINGS, b"secret")

    (folder,) = tmp_path.iterdir()
    (file,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    assert "hunter22" not in file.name


def test_a_folder_that_cannot_be_made_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "playlists").write_text("in the way")

    with pytest.raises(OSError):
        LastGood(tmp_path).write(SETTINGS, b"x")
