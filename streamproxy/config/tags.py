"""The tags `!env` and `!secret`, which keep credentials out of the file."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

MAX_SECRET_SIZE = 65536
RUN_SECRETS = Path("/run/secrets")
"""Where Docker, Podman and Kubernetes put secrets by convention."""

Tags: TypeAlias = Mapping[str, Callable[[str], str]]
"""What stands for a tagged scalar: the text behind the tag in, the value out; ValueError says why there is none."""


def tags(environ: Mapping[str, str]) -> Tags:
    """Return the tags as they read in this environment.

    systemd puts the credentials of a unit in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)); that folder is asked first.
    """
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    folders = ([Path(credentials)] if credentials else []) + [RUN_SECRETS]
    return {"!env": partial(from_environment, environ), "!secret": partial(from_secret, folders)}


def from_environment(environ: Mapping[str, str], text: str) -> str:
    """Read `NAME` or `NAME default words`; an empty variable counts as not set.

    Raises:
        ValueError: The name is not one, or the variable is not set and there is no default.
    """
    name, _, default = text.strip().partition(" ")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("!env must be followed by the name of an environment variable")
    value = environ.get(name) or default.strip()
    if not value:
        raise ValueError(f"the environment variable {name} is not set; set it, or write a default behind its name")
    return value


def from_secret(folders: Sequence[Path], text: str) -> str:
    """Read the file `NAME` from the first folder that has it, without the line break at its end.

    Raises:
        ValueError: The name is not one, no folder has it, or it cannot be read as UTF-8 of at most 64 KiB.
    """
    name = text.strip()
    if not name.isprintable() or "/" in name or name in ("", ".", ".."):
        raise ValueError("!secret must be followed by the name of a file, without a folder")
    for folder in folders:
        try:
            with (folder / name).open("rb") as file:
                raw = file.read(MAX_SECRET_SIZE + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ValueError(f"the secret {name} cannot be read: {error.strerror}") from error
        return _text(name, raw)
    raise ValueError(f"there is no secret {name} in {' or '.join(map(str, folders))}")


def _text(name: str, raw: bytes) -> str:
    if len(raw) > MAX_SECRET_SIZE:
        raise ValueError(f"the secret {name} is larger than {MAX_SECRET_SIZE} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the secret {name} is not UTF-8 text") from error
    return text.removesuffix("\n").removesuffix("\r")
