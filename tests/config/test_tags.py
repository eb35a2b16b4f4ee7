import os
from pathlib import Path

import pytest

from streamproxy.config.tags import MAX_SECRET_SIZE, from_environment, from_secret, tags


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NAME", "value"),
        (" NAME ", "value"),
        ("NAME other", "value"),
        ("NONE two words", "two words"),
        ("EMPTY d", "d"),
    ],
)
def test_env_reads_the_variable_or_the_default(text: str, value: str) -> None:
    assert from_environment({"NAME": "value", "EMPTY": ""}, text) == value


@pytest.mark.parametrize("text", ["NONE", "EMPTY", "", " ", "A-B", "1A", "A/B", "A=B", "\0", "Ä"])
def test_env_without_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="environment variable"):
        from_environment({"EMPTY": ""}, text)


def test_secret_is_read_from_the_first_folder_that_has_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (first / "a").write_text("1")
    (second / "a").write_text("2")
    (second / "b").write_text("3")

    assert [from_secret([first, second], name) for name in ("a", "b")] == ["1", "3"]


@pytest.mark.parametrize(
    ("content", "value"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("ä", "ä"), ("", "")]
)
def test_secret_loses_only_the_line_break_at_its_end(tmp_path: Path, content: str, value: str) -> None:
    (tmp_path / "a").write_bytes(content.encode())

    assert from_secret([tmp_path], "a") == value


@pytest.mark.parametrize("name", ["", ".", "..", "/etc/passwd", "../a", "a/b", "a\0b", "a\nb"])
def test_secret_name_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="without a folder"):
        from_secret([tmp_path / "secrets"], name)


def test_missing_secret_names_the_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"there is no secret a in {tmp_path} or /nowhere"):
        from_secret([tmp_path, Path("/nowhere")], "a")


def test_unreadable_secret_tells_why(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * (MAX_SECRET_SIZE + 1))

    for name, reason in (
        ("folder", os.strerror(21)),
        ("binary", "not UTF-8"),
        ("large", "larger"),
        ("x" * 300, "cannot"),
    ):
        with pytest.raises(ValueError, match=reason):
            from_secret([tmp_path], name)


def test_credentials_directory_is_asked_first(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")

    assert tags({"CREDENTIALS_DIRECTORY": str(tmp_path)})["!secret"]("a") == "1"
