"""The last good copy of each list, so that the program starts while a provider is down."""

import hashlib
import os
import tempfile
from pathlib import Path

from streamproxy.config import PlaylistConfig


class LastGood:
    """Keeps one file per list, readable by its owner alone: a list holds the provider's credentials."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made when something is kept.

        Args:
            folder: Where the copies are.
        """
        self._folder = folder / "playlists"

    def read(self, playlist: PlaylistConfig) -> bytes | None:
        """Return the last good copy, or None if there is none that can be read."""
        try:
            return self._file(playlist).read_bytes()
        except OSError:
            return None

    def write(self, playlist: PlaylistConfig, body: bytes) -> None:
        """Replace the copy, whole or not at all.

        Raises:
            OSError: The folder cannot be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
            Path(name).replace(self._file(playlist))
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _file(self, playlist: PlaylistConfig) -> Path:
        # Two lists of one name would be a mistake in the configuration; two of one derived name are two accounts of a
        # provider.
        digest = hashlib.blake2b(f"{playlist.name}\n{playlist.url}".encode(), digest_size=12).hexdigest()
        return self._folder / f"{digest}.m3u"
