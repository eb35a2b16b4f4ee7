"""What the README shows works as written, and its output is what it shows."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import click
import pytest

from streamproxy.cli import main
from streamproxy.config import load
from streamproxy.config.overlay import ALIASES
from streamproxy.formats.transcoding import BUILT_IN
from streamproxy.server.app import make_app
from tests.e2e.test_program import fetch, program

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
"""Where the program is in every example."""
ANYTHING = "…"
"""What stands in an output for whatever differs."""
ON_ITS_OWN = r".*streamproxy (check-config|hwaccel)"
"""What no running program is needed for."""
SECRETS = {"API_TOKEN": "operators", "STREAM_TOKEN": "viewers", "WEBHOOK_SECRET": "between-us"}
OTHERS = {"PROVIDER_URL": "http://h/list.m3u"}


class Block(NamedTuple):
    """A fenced block."""

    section: str
    language: str
    text: str


class Example(NamedTuple):
    """Commands that are run, with the program configured as the section says before them."""

    section: str
    configuration: str
    commands: str
    shown: Block | None


def blocks() -> list[Block]:
    sections = re.split(r"^## (.*)\n", "## \n" + README, flags=re.MULTILINE)[1:]
    return [
        Block(section, language, text)
        for section, body in zip(sections[::2], sections[1::2], strict=True)
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```", body, re.DOTALL | re.MULTILINE)
    ]


BLOCKS = blocks()


def of(language: str) -> list[str]:
    return [block.text for block in BLOCKS if block.language == language]


def examples() -> dict[str, list[Example]]:
    """Return the commands of each section that has some: `sh` is run, `text` or `json` behind it is what comes out."""
    found: dict[str, list[Example]] = {}
    configuration = ""
    for block, after in pairwise([*BLOCKS, Block("", "", "")]):
        if block.section not in found:
            configuration = ""
        if block.language == "yaml":
            configuration = block.text
        if block.language in ("yaml", "sh"):
            found.setdefault(block.section, [])
        if block.language == "sh":
            shown = after if after.language in ("text", "json") else None
            found[block.section].append(Example(block.section, configuration, block.text, shown))
    return {section: each for section, each in found.items() if each}


EXAMPLES = examples()


def environment(folder: Path, base: str) -> dict[str, str]:
    """Return what a person has at hand: `streamproxy` on the path, the tokens, and the address, which is another."""
    (folder / ".curlrc").write_text("fail\n")
    commands = folder / "commands"
    if not commands.exists():
        commands.mkdir()
        (commands / "streamproxy").write_text(f'#!/bin/sh\nexec {sys.executable} -m streamproxy "$@"\n')
        (commands / "streamproxy").chmod(0o755)
    path = f"{commands}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "STREAMPROXY_BASE_URL": base, **SECRETS, **OTHERS}


@contextmanager
def watching(url: str) -> Iterator[None]:
    """Have somebody watch."""
    with subprocess.Popen(["curl", "-s", "-N", "-o", "/dev/null", url]) as viewer:
        try:
            yield
        finally:
            viewer.kill()


def until_there_is_a_viewer(base: str, token: str) -> None:
    while not json.loads(fetch(f"{base}/health?api_token={token}"))["active_clients"]:
        pass


@contextmanager
def configured(folder: Path, configuration: str) -> Iterator[str]:
    """Run the program with a configuration of the README, and somebody who watches the test channel."""
    more = {"STREAMPROXY_SERVER__HOST": "127.0.0.1", "STREAMPROXY_SERVER__PORT": "0", **SECRETS, **OTHERS}
    if "api_token" not in configuration:
        del more["API_TOKEN"]
    if configuration:
        (folder / "streamproxy.yml").write_text(configuration)
        more |= {"STREAMPROXY_STREAMS__DEMO__URL": "demo:", "STREAMPROXY_PLAYLISTS": ""}
    token, stream_token = more.get("API_TOKEN", ""), more["STREAM_TOKEN"]
    with program(folder, **more) as (_, base), watching(f"{base}/stream/demo.ts?token={stream_token}"):
        until_there_is_a_viewer(base, token)
        yield base


def run(commands: str, folder: Path, base: str, shown: str = "") -> str:
    """Run commands as a person does; what would go on until Ctrl-C gets that as soon as it has said what is shown."""
    commands = commands.replace(ADDRESS, base)
    process = subprocess.Popen(
        ["bash", "-euc", commands],
        cwd=folder,
        env=environment(folder, base),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    killing = threading.Timer(30, os.killpg, (process.pid, signal.SIGKILL))
    killing.start()
    try:
        if not commands.startswith("streamproxy events"):
            output, complaints = process.communicate()
            assert process.returncode == 0, output + complaints
            return output
        assert process.stdout
        output = ""
        with happening(base):
            while not is_like(shown, output) and (line := process.stdout.readline()):
                output += line
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
        return output
    finally:
        killing.cancel()


@contextmanager
def happening(base: str) -> Iterator[None]:
    """Have something happen again and again meanwhile: somebody comes and goes."""
    done = threading.Event()

    def come_and_go() -> None:
        while not done.wait(0.1):
            subprocess.run(["curl", "-s", "-r", "0-0", "-m", "0.2", "-o", "/dev/null", f"{base}/stream/demo.ts"])

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def is_like(shown: str, output: str) -> bool:
    """Tell whether an output is what is shown; blanks at the ends of lines do not count."""
    lines = "\n".join(line.rstrip() for line in output.strip().splitlines())
    pattern = re.escape(shown.strip()).replace(ANYTHING, ".*")
    return re.fullmatch(pattern, lines, re.DOTALL) is not None


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ("a\n", "a  \n", True),
        ("a …\nb\n", "a 1 2\nb\n", True),
        ("…\nb\n", "a\na\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_an_output_is_compared_with_what_is_shown(shown: str, output: str, expected: bool) -> None:
    assert is_like(shown, output) is expected


@pytest.mark.parametrize("section", EXAMPLES)
def test_the_commands_of_a_section_do_what_it_shows(tmp_path: Path, section: str) -> None:
    if section == "Transcoding" and not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    with ExitStack() as stack:
        base, configuration = "", None
        for example in EXAMPLES[section]:
            if example.configuration != configuration and not re.match(ON_ITS_OWN, example.commands):
                stack.close()
                configuration = example.configuration
                base = stack.enter_context(configured(tmp_path, configuration))
            shown = example.shown.text.replace(ADDRESS, base) if example.shown else ""
            output = run(example.commands, tmp_path, base, shown)
            if example.shown and example.shown.language == "json":
                assert json.loads(output).items() >= json.loads(shown).items()
            elif example.shown:
                assert is_like(shown, output), output


def test_every_kind_of_block_is_one_that_is_looked_at() -> None:
    # console: what installs something, or needs hardware; none: pictures, and what the program says.
    assert {block.language for block in BLOCKS} == {"sh", "text", "json", "yaml", "python", "console", ""}


@pytest.mark.parametrize("text", of("yaml"))
def test_every_configuration_can_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "streamproxy.yml"
    file.write_text(text)

    config = load(file, {"HOME": str(tmp_path), **SECRETS, **OTHERS})

    assert config.model_fields_set - {"cache_dir", "state_dir"}


def test_the_signature_of_a_webhook_is_checked_as_shown(tmp_path: Path) -> None:
    (code,) = of("python")
    names: dict[str, Callable[[bytes, str, str], bool]] = {}
    exec(code, names)
    (configuration,) = [text for text in of("yaml") if "webhooks:" in text]
    with hook() as (address, got), ExitStack() as stack:
        base = stack.enter_context(configured(tmp_path, configuration.replace("https://example.com/hook", address)))
        urlopen(Request(f"{base}/webhooks/test?webhook_url={address}", method="POST"), timeout=20).close()

    (body, signature), *_ = got
    assert names["is_genuine"](body, signature, SECRETS["WEBHOOK_SECRET"])
    assert not names["is_genuine"](body + b" ", signature, SECRETS["WEBHOOK_SECRET"])


@contextmanager
def hook() -> Iterator[tuple[str, list[tuple[bytes, str]]]]:
    """Take posts; gives the address, and the bodies with their signatures."""
    got: list[tuple[bytes, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((body, self.headers["X-Streamproxy-Signature"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", got
        finally:
            server.shutdown()
            thread.join()


def test_every_command_and_path_is_there() -> None:
    named = set(re.findall(r"`(GET|POST|DELETE) (/[^`]*)`", README))
    commands = set(re.findall(r"`streamproxy ([a-z][a-z-]+)", README))
    routes = {(route.method, resource.canonical) for resource in make_app("").router.resources() for route in resource}

    assert named
    assert named <= routes
    assert {"create", "monitor"} <= commands <= set(main.list_commands(click.Context(main)))


def test_every_built_in_profile_is_named() -> None:
    (named,) = re.findall(r"^There are the profiles (.*)\. A stream", README, re.MULTILINE)

    assert re.findall(r"`(\w+)`", named) == list(BUILT_IN)


def test_every_extra_that_is_named_can_be_installed() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert set(re.findall(r"streamproxy\[(\w+)\]", README)) <= extras.keys()


def test_the_manual_lists_every_name_of_m3u_proxy_that_counts() -> None:
    listed = re.findall(r"\b[A-Z0-9_]+\b", (ROOT / "config.example.yml").read_text())

    assert ALIASES.keys() <= set(listed)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([^)]+)\)", README))
def test_every_link_within_the_page_leads_to_a_heading(anchor: str) -> None:
    headings = re.findall(r"^## (.*)", README, re.MULTILINE)

    assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("script", re.findall(r"\./(scripts/\w+)", README))
def test_every_script_is_there_and_can_be_run(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
