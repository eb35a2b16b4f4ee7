"""The key of the links, in a file that this program makes when there is none."""

import os
import secrets
from pathlib import Path

from streamproxy.errors import ConfigError
from streamproxy.formats.links import KEY_SIZE

FILE_NAME = "hls-link.key"

_OTHERS = 0o077


def link_key(folder: Path) -> bytes:
    """Read the key; make it if there is none. Of several who make one at the same time, one wins, for all of them.

    Args:
        folder: Where it is kept; made if need be.

    Raises:
        ConfigError: It is damaged, or not secret, or cannot be read or written.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(KEY_SIZE + 1)
    except OSError as error:
        raise ConfigError([f"{path}: the key of HLS links cannot be kept here: {error.strerror}"]) from error
    if mode & _OTHERS:
        raise ConfigError([f"{path}: others may read or write this key; delete it, and a new one will be made"])
    if len(key) != KEY_SIZE:
        raise ConfigError([f"{path}: damaged: it should have {KEY_SIZE} bytes; delete it, and a new one will be made"])
    return key


def _make(path: Path) -> None:
    """Write the file whole under another name first: nobody shall ever read half of it."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_SIZE))
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, this leaves alone what somebody else was faster to put there.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
