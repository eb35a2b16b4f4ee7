"""What was found, kept until it may be otherwise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamproxy import __version__
from streamproxy.errors import StateError
from streamproxy.hwaccel.hardware import Hardware, hardware_from
from streamproxy.state import StateFile

FILE = "hwaccel.json"
"""Its name in the folder for what must survive a restart."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Memory:
    """Keeps what was found in a file, for as long as the machine runs, with the same ffmpeg and the same devices."""

    def __init__(self, folder: Path | None, program: str, nodes: Sequence[str], choice: Sequence[str]) -> None:
        """Take down what it depends on.

        Args:
            folder: Where the file is; None for no file.
            program: Path of ffmpeg.
            nodes: Paths of the devices.
            choice: What is configured.
        """
        self._key = _key(program, nodes, choice)
        self._file = StateFile(folder / FILE) if folder and self._key else None

    def recall(self) -> Hardware | None:
        """Return what was found before; None if that is unknown, or may be otherwise now."""
        if self._file is None:
            return None
        try:
            kept = self._file.read()
        except StateError:
            return None
        return hardware_from(kept.get("hardware")) if isinstance(kept, dict) and kept.get("key") == self._key else None

    async def keep(self, hardware: Hardware) -> None:
        """Write it down.

        Raises:
            StateError: It cannot be written.
        """
        if self._file is not None:
            await self._file.write(lambda: {"key": self._key, "hardware": hardware.as_json()})


def _key(program: str, nodes: Sequence[str], choice: Sequence[str]) -> list[Any]:
    """Return what it depends on; nothing if that cannot be told."""
    try:
        boot = _BOOT.read_text().strip()
        facts = Path(program).stat()
    except OSError:
        return []
    return [__version__, boot, program, facts.st_mtime_ns, facts.st_size, list(nodes), list(choice)]
