"""Modules import downwards only, and what reads and writes formats does neither wait nor talk."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "streamproxy"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE

LAYERS = (
    {"errors", "model"},
    {"formats"},
    {"config", "events", "metrics", "state", "tasks", "logs"},
    {"sources", "broadcast", "playlist", "cluster", "webhooks", "audience", "hwaccel"},
    {"web"},
    {"outputs", "api"},
    {"server"},
    {"cli"},
    {"__main__"},
)
"""From the bottom up. What stands on one line does not know of each other."""

LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}

NO_BUSINESS_OF_FORMATS = {"asyncio", "aiohttp", "socket", "time", "random", "structlog"}


def imports(module: str, source: str) -> Iterator[str]:
    """Return the full names of all that a module imports, wherever in it, relative imports resolved.

    Args:
        module: Full name; that of a package ends with `.__init__`.
        source: Its text.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            origin = [*above, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*origin, alias.name]) for alias in node.names)


def part_of(name: str) -> str:
    """Return the package or module right below the root that a name belongs to; empty for the root itself."""
    root, _, below = name.partition(".")
    part = below.partition(".")[0]
    return part if root == PACKAGE and (part in LEVELS or (ROOT / part).is_dir()) else ""


def violations(module: str, source: str) -> list[str]:
    """Say which imports of a module break the rules."""
    part = part_of(module)
    found = []
    for name in imports(module, source):
        other = part_of(name)
        if part == "formats" and name.partition(".")[0] in NO_BUSINESS_OF_FORMATS:
            found.append(f"{module} imports {name}: formats neither wait nor talk")
        elif other and not part:
            found.append(f"{module} imports {name}: the root knows nobody")
        elif other and other != part and LEVELS[other] >= LEVELS[part]:
            found.append(f"{module} imports {name}: {other} is not below {part}")
    return found


def modules() -> dict[str, Path]:
    paths = {path.relative_to(ROOT.parent).with_suffix(""): path for path in ROOT.rglob("*.py")}
    return {".".join(name.parts): path for name, path in paths.items()}


def test_every_module_has_its_place_in_a_layer() -> None:
    parts = {name.split(".")[1] for name in modules()} - {"__init__"}

    assert parts <= LEVELS.keys()
    assert {"broadcast", "cli", "formats", "model", "web"} <= parts


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_lead_downwards(module: str) -> None:
    assert violations(module, modules()[module].read_text()) == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_nobody_waits_in_a_way_that_swallows_a_cancellation(module: str) -> None:
    # asyncio.wait_for of Python 3.11 does, when the result comes at the same moment; asyncio.timeout does not.
    names = {
        node.attr for node in ast.walk(ast.parse(modules()[module].read_text())) if isinstance(node, ast.Attribute)
    }

    assert "wait_for" not in names


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("streamproxy.model", "from streamproxy.config import Config"),
        ("streamproxy.model", "import streamproxy.errors"),
        ("streamproxy.tasks", "from streamproxy import metrics"),
        ("streamproxy.config.loader", "from streamproxy.logs import configure"),
        ("streamproxy.formats.mpegts", "from streamproxy.broadcast.ring import Ring"),
        ("streamproxy.sources.http", "from streamproxy.broadcast.broadcast import Broadcast"),
        ("streamproxy.broadcast.registry", "def f():\n    from streamproxy.sources import source_of"),
        ("streamproxy.playlist.loader", "if TYPE_CHECKING:\n    from streamproxy.sources.client import Client"),
        ("streamproxy.playlist.loader", "from ..web import find_channel"),
        ("streamproxy.sources.__init__", "from ..playlist import library"),
        ("streamproxy.web", "from streamproxy.outputs import mpegts"),
        ("streamproxy.api.system", "import streamproxy.outputs.mpegts as output"),
        ("streamproxy.server.service", "from streamproxy.cli import main"),
        ("streamproxy.cli.serve", "import streamproxy.__main__"),
        ("streamproxy.__init__", "from streamproxy.model import Channel"),
        ("streamproxy.__init__", "from . import model"),
        ("streamproxy.formats.m3u", "import asyncio"),
        ("streamproxy.formats.m3u", "import aiohttp.web"),
        ("streamproxy.formats.m3u", "from time import monotonic"),
        ("streamproxy.formats.hls.__init__", "async def f():\n    import random"),
        ("streamproxy.formats.hls.media", "from structlog.stdlib import get_logger"),
        ("streamproxy.formats.urls", "import socket as network"),
    ],
)
def test_an_import_upwards_or_sideways_is_noticed(module: str, line: str) -> None:
    assert len(violations(module, f'"""A module."""\n\nimport re\n\n{line}\n')) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("streamproxy.__main__", "from streamproxy.cli import main"),
        ("streamproxy.cli.serve", "from streamproxy.server.service import Service"),
        ("streamproxy.cli.__init__", "from streamproxy import __version__"),
        ("streamproxy.outputs.mpegts", "from streamproxy.web import find_channel"),
        ("streamproxy.broadcast.registry", "from .ring import Ring"),
        ("streamproxy.broadcast.__init__", "from .ring import Ring"),
        ("streamproxy.formats.hls.media", "from ..urls import redact"),
        ("streamproxy.formats.m3u", "import re\nfrom datetime import time\nfrom urllib.parse import quote"),
        ("streamproxy.sources.http", "import asyncio, aiohttp"),
    ],
)
def test_an_import_downwards_or_within_a_package_is_fine(module: str, line: str) -> None:
    assert violations(module, line) == []
