"""Tell systemd how the service is doing (sd_notify(3)); without systemd, tell nobody."""

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends state changes to the service manager's socket.

    Attributes:
        watchdog_interval: Seconds between two signs of life, half of what the manager allows; None if it wants none.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Read from the environment where to send to."""
        self._path = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        pid = environ.get("WATCHDOG_PID", "")
        wanted = microseconds.isdigit() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
        self.watchdog_interval = int(microseconds) / 2e6 if wanted else None

    def ready(self, status: str) -> None:
        """Say that requests are being served."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` ends that."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Keep the watchdog quiet."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._path:
            return
        # A leading @ stands for a NUL: an address without a file.
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            # A manager that does not read must not hold up the streams.
            out.setblocking(False)
            try:
                out.sendto(state.encode(), address)
            except OSError:
                # A manager that does not listen is no reason to stop serving.
                return
