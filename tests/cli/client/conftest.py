"""A fake server, and the commands towards it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamproxy.cli import main
from tests.cli.client.fake import Fake, serving

Run = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[str]"]

CLEAN = {"COLUMNS": "200", "NO_COLOR": None, "FORCE_COLOR": None}


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    with serving(server):
        yield server
        server.released.set()


@pytest.fixture
def run(fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in this process, towards the fake server."""
    for name in [name for name in os.environ if name.startswith(("STREAMPROXY_", "API_TOKEN", "PORT", "HOST"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, base_url: str | None = fake.url, **environment: str) -> Result:
        more = {"STREAMPROXY_BASE_URL": base_url} if base_url else {}
        return CliRunner().invoke(main, arguments, env={**CLEAN, **more, **environment}, prog_name="streamproxy")

    return invoke


@pytest.fixture
def start(fake: Fake, tmp_path: Path) -> Iterator[Start]:
    """Start a command as a process of its own, towards the fake server; its output can be read as text."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> "subprocess.Popen[str]":
        kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        more = {"HOME": str(tmp_path), "STREAMPROXY_BASE_URL": fake.url, "TERM": "xterm", "PYTHONUTF8": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "streamproxy", *arguments],
            cwd=tmp_path,
            env={**kept, **more, **environment},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()
