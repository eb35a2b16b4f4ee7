"""What the README shows works as written."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from streamproxy.config import load
from tests.e2e.test_program import program

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_configuration_can_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "streamproxy.yml"
    file.write_text(text)

    config = load(file, {"PROVIDER_URL": "http://h/list.m3u", "HOME": str(tmp_path)})

    assert config.playlists or config.streams or config.server.public_url


def test_every_request_is_answered(tmp_path: Path) -> None:
    commands = [line for block in blocks("console") for line in block.splitlines() if line.startswith("curl")]
    assert commands
    with program(tmp_path, "demo", "--host", "127.0.0.1", "--port", "0") as (_, base):
        for command in commands:
            words = shlex.split(command.replace("http://127.0.0.1:8080", base))
            assert subprocess.run([*words, "-sS", "-f"], timeout=10, check=True, capture_output=True).stdout


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("script", re.findall(r"\./(scripts/\w+)", README))
def test_every_script_is_there_and_can_be_run(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
