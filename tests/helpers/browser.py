"""A browser without a window, driven by Chromium's DevTools protocol: pages that tests open and talk to."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium")
"""Where the browser is; None where there is none."""

_FLAGS = (
    "--headless",
    "--no-sandbox",  # as root it does not start with one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
)

LONGEST = 30.0
"""Seconds that the browser may take to start, and for an answer."""


@contextmanager
def browser() -> Iterator[str]:
    """Run a browser with a profile of its own, which is gone afterwards; gives the address of its debugger."""
    assert PROGRAM
    # not below pytest's folder: the browser puts a socket there, whose path must be short
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        command = (PROGRAM, *_FLAGS, f"--user-data-dir={folder}/profile", "about:blank")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        with (
            (Path(folder) / "complaints").open("w+") as complaints,
            subprocess.Popen(
                command,
                env={**kept, "HOME": folder, "TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield f"http://127.0.0.1:{_port(process, Path(folder))}"
            finally:
                _end(process)


def _port(process: "subprocess.Popen[bytes]", folder: Path) -> int:
    """Wait until the debugger listens."""
    told = folder / "profile" / "DevToolsActivePort"
    deadline = time.monotonic() + LONGEST
    while not told.exists() or "\n" not in told.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(
                f"the browser did not start: {(folder / 'complaints').read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.05)
    return int(told.read_text().split()[0])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let it end its processes, and kill them all where that takes long."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


@dataclass
class Page:
    """A page in a browser.

    Attributes:
        complaints: Errors of its scripts, and what the browser refused it, such as an answer without CORS headers.
    """

    socket: "aiohttp.ClientWebSocketResponse"
    complaints: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Do something by its name in the DevTools protocol, and return what comes of it."""
        number = next(self._numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        try:
            async with asyncio.timeout(LONGEST):
                while (message := await self.socket.receive_json()).get("id") != number:
                    self._hear(message)
        except TimeoutError:
            raise AssertionError("\n".join((f"no end of {parameters}", *self.complaints))) from None
        assert "error" not in message, message["error"]
        result: dict[str, Any] = message["result"]
        return result

    async def run(self, script: str) -> Any:
        """Run a script in the page, and return its value, or that of its promise.

        Raises:
            AssertionError: It threw something, or its promise was rejected.
        """
        came = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in came:
            raise AssertionError("\n".join((_text(came["exceptionDetails"]), *self.complaints)))
        return came["result"].get("value")

    def _hear(self, message: dict[str, Any]) -> None:
        if message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(_text(message["params"]["exceptionDetails"]))
        elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            entry = message["params"]["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")


def _text(details: dict[str, Any]) -> str:
    thrown = details.get("exception", {})
    return str(thrown.get("description") or thrown.get("value") or details["text"])


@asynccontextmanager
async def page(debugger: str, url: str) -> AsyncIterator[Page]:
    """Open a page, and close it at the end of the block.

    Args:
        debugger: What `browser` gave.
        url: Its address; the block begins when it is loaded.
    """
    async with aiohttp.ClientSession(debugger) as session:
        async with session.put("/json/new?about:blank") as answer:
            target = await answer.json(content_type=None)
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=1 << 24) as socket:
            opened = Page(socket)
            for domain in ("Runtime", "Log", "Page"):
                await opened.call(f"{domain}.enable")
            await opened.call("Page.navigate", url=url)
            await opened.run(_LOADED)
            yield opened
        async with session.get(f"/json/close/{target['id']}") as answer:
            await answer.read()


_LOADED = 'new Promise(done => document.readyState == "complete" ? done() : addEventListener("load", () => done()))'
