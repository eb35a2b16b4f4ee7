"""What takes part in a measurement, each in a process of its own. All are context managers."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from tests.bench.load import Account, Plan

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 60.0
"""Seconds for anything to start or to happen; many times what it takes."""


class Server(NamedTuple):
    """What viewers are sent to.

    Attributes:
        pid: Its process.
        port: Where it listens on 127.0.0.1.
    """

    pid: int
    port: int


class Origin:
    """The upstream that is running.

    Attributes:
        port: Where it listens on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def streams(self, count: int) -> dict[str, str]:
        """Make the configuration of that many channels: c0, c1 and so on."""
        return {f"c{number}": self.url(f"/{number}.ts") for number in range(count)}

    def stats(self) -> dict[str, int]:
        """Ask what was asked of it."""
        with urlopen(self.url("/stats"), timeout=_PATIENCE) as answer:
            stats: dict[str, int] = json.load(answer)
        return stats


class Rival:
    """Another program's viewers, in a process of its own.

    Attributes:
        pid: Its process.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self.pid = process.pid
        self._input = process.stdin
        self._output = process.stdout

    def viewers(self, count: int) -> tuple[int, int]:
        """Wait until so many watch; return how many bytes all have got so far, and how many of them failed."""
        self._input.write(f"{count}\n")
        self._input.flush()
        line = self._output.readline()
        if not line:
            raise RuntimeError("the rival's process failed")
        received, failed = map(int, line.split())
        return received, failed


class Proxy:
    """The program that is running.

    Attributes:
        server: Where it is.
        started_in: Seconds from its start until it served.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Wait until it serves.

        Raises:
            RuntimeError: It does not.
        """
        self._process = process
        self._log = folder / "log"
        self._config = folder / "config.yml"
        begin = time.monotonic()
        port = self._wait_for(r"^Playlist: \S+:(\d+)/", 0)
        self.started_in = time.monotonic() - begin
        self.server = Server(process.pid, int(port))

    def reload(self, channels: int, **changes: Any) -> float:
        """Change the configuration and have it read again; return the seconds until there are so many channels."""
        self._config.write_text(json.dumps(json.loads(self._config.read_text()) | changes))
        known = self._log.stat().st_size
        begin = time.monotonic()
        self._process.send_signal(signal.SIGHUP)
        self.wait_for_channels(channels, known)
        return time.monotonic() - begin

    def wait_for_channels(self, channels: int, offset: int = 0) -> None:
        """Wait until a catalog of that many channels is in place; `offset` is where in the log to begin to look."""
        self._wait_for(rf'^(?=.*"catalog_ready").*"channels": ({channels})\b', offset)

    def _wait_for(self, pattern: str, offset: int) -> str:
        """Wait until a line of the log matches, and return what its group holds."""
        begin = time.monotonic()
        while self._process.poll() is None and time.monotonic() - begin < _PATIENCE:
            if match := re.search(pattern, self._log.read_text()[offset:], flags=re.MULTILINE):
                return match[1]
            time.sleep(0.005)
        raise RuntimeError(f"the proxy does not say {pattern}; its log ends with\n{self._log.read_text()[-2000:]}")


class Load:
    """Viewers that are on their way."""

    def __init__(self, process: subprocess.Popen[str], plan: Plan) -> None:
        """Send them off."""
        assert process.stdin
        self._process = process
        process.stdin.write(json.dumps(asdict(plan)))
        process.stdin.close()

    def wait_until_counting(self) -> None:
        """Wait for the moment from which on it counts."""
        self._read_line()

    def account(self) -> Account:
        """Wait until they are through."""
        return Account(**json.loads(self._read_line()))

    def _read_line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the viewers' process failed")
        return line


class Poller:
    """Somebody who asks the proxy all the time how it is; asked every 5 ms, so a longer silence is one of the proxy."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._input = process.stdin
        self._output = process.stdout

    def slowest(self) -> float:
        """Tell the longest wait for an answer since this was last asked, in seconds."""
        self._input.write("\n")
        self._input.flush()
        line = self._output.readline()
        if not line:
            raise RuntimeError("the proxy left a question for its health unanswered")
        return float(line)


@contextmanager
def running_origin(bit_rate: float, *, entries: int = 0) -> Iterator[Origin]:
    """Run an upstream.

    Args:
        bit_rate: Bits per second of each of its streams.
        entries: Channels of its list, at /list.m3u.
    """
    with _talking(*_module("origin", str(bit_rate), str(entries))) as process:
        assert process.stdout
        yield Origin(int(process.stdout.readline()))


@contextmanager
def running_hls_origin(bit_rate: float) -> Iterator[Origin]:
    """Run an upstream that is a live HLS channel, at /live.m3u8, of so many bits per second."""
    with _talking(*_module("hls_origin", str(bit_rate))) as process:
        assert process.stdout
        yield Origin(int(process.stdout.readline()))


@contextmanager
def running_rival(python: str, url: str) -> Iterator[Rival]:
    """Run the viewers of another program, with a Python that has it."""
    with _talking(python, str(Path(__file__).with_name("rival.py")), url) as process:
        yield Rival(process)


@contextmanager
def running_proxy(folder: Path, **config: Any) -> Iterator[Proxy]:
    """Run the program as a user does, with its defaults.

    Args:
        folder: Where its configuration, its cache and its log go.
        config: Sections of its configuration.
    """
    server = {"host": "127.0.0.1", "port": 0}
    # JSON is YAML.
    settings = {"server": server, "log": {"format": "json"}, "cache_dir": str(folder / "cache")} | config
    (folder / "config.yml").write_text(json.dumps(settings))
    # Settings of whoever starts this would change what is measured.
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    command = [sys.executable, "-m", "streamproxy", "serve", "-c", str(folder / "config.yml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, process_group=0)
    with process, _ended(process):
        yield Proxy(process, folder)


@contextmanager
def running_floor(folder: Path, bit_rate: float, chunk: int = 1 << 16) -> Iterator[Server]:
    """Compile and run the bare sender.

    Args:
        folder: Where the program goes.
        bit_rate: Bits per second of its stream.
        chunk: Bytes of each send.
    """
    program = folder / "floor"
    source = Path(__file__).with_name("floor.c")
    subprocess.run([str(compiler()), "-O2", "-o", str(program), str(source)], check=True)
    with _talking(str(program), str(chunk), str(bit_rate)) as process:
        assert process.stdout
        yield Server(process.pid, int(process.stdout.readline()))


@contextmanager
def viewers(plan: Plan, *, prefix: Sequence[str] = ()) -> Iterator[Load]:
    """Send viewers.

    Args:
        plan: Who does what.
        prefix: A command that runs their process, such as one that puts it elsewhere.
    """
    with _talking(*prefix, *_module("load")) as process:
        yield Load(process, plan)


@contextmanager
def polling(server: Server) -> Iterator[Poller]:
    """Ask the proxy every 5 ms how it is."""
    with _talking(*_module("poller", str(server.port))) as process:
        yield Poller(process)


def compiler() -> str | None:
    """Find a C compiler."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"tests.bench.{name}", *arguments]


@contextmanager
def _talking(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command whose input and output are in our hands."""
    # In a group of its own, so that Ctrl-C reaches only whoever ends all of them.
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    )
    with process, _ended(process):
        yield process


@contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End a process at the end of the block, whatever happens."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
