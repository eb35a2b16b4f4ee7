"""Every ffmpeg at hand, so that what is told to one is understood by all."""

import importlib
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

OTHERS = "FFMPEGS"
"""Environment variable with the paths of further ones, parted by colons."""


def _packaged() -> str | None:
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def _found() -> list[str]:
    named = [path for path in os.environ.get(OTHERS, "").split(":") if path]
    paths = [path for path in (shutil.which("ffmpeg"), _packaged(), *named) if path]
    return list(dict.fromkeys(str(Path(path).resolve()) for path in paths))


PROGRAMS = _found()
each_ffmpeg = pytest.mark.parametrize("ffmpeg", PROGRAMS, ids=lambda path: Path(path).name)
"""Runs a test with each, as its argument `ffmpeg`; skips it where there is none."""


@cache
def encoders(program: str) -> frozenset[str]:
    """Tell the encoders that are compiled in."""
    listed = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=30).stdout
    return frozenset(re.findall(r"^ [VA]\S{5} (\S+) ", listed, re.MULTILINE))
