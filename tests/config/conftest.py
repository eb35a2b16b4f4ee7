"""A configuration file in a folder of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from streamproxy.config import Config, load
from streamproxy.errors import ConfigError

Load: TypeAlias = Callable[..., Config]
Mistakes: TypeAlias = Callable[..., list[str]]
NONE: Mapping[str, str] = {}


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load `text` as config.yml of the current folder, which is also tmp_path."""
    monkeypatch.chdir(tmp_path)

    def read(text: str | bytes, environ: Mapping[str, str] = NONE, overrides: Mapping[str, object] = NONE) -> Config:
        path = Path("config.yml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, environ, overrides)

    return read


@pytest.fixture
def mistakes(read: Load) -> Mistakes:
    """Load `text` as config.yml and return the mistakes in it."""

    def mistakes(*arguments: object) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(*arguments)
        return caught.value.mistakes

    return mistakes
