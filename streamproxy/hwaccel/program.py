"""Finding ffmpeg, and running it for a moment."""

import asyncio
import contextlib
import importlib
import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from streamproxy.errors import FfmpegMissing
from streamproxy.formats.transcoding.environment import environment

MOST_READ = 1 << 20
"""Bytes that are read of what it writes."""
_LONGEST_DEATH = 5.0
"""Seconds that it is waited for once it is killed."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        status: The exit status, negative for the number of a signal; None if it took too long.
        output: The beginning of its standard output.
        complaints: The beginning of its standard error.
    """

    status: int | None
    output: str = ""
    complaints: str = ""


def find_ffmpeg(configured: str | None = None) -> str:
    """Find ffmpeg: the configured one, or else the one on $PATH, or else that of `streamproxy[ffmpeg]`.

    Args:
        configured: A path, or a name that is looked for on $PATH.

    Returns:
        Its path.

    Raises:
        FfmpegMissing: There is none.
    """
    if configured is not None:
        found = shutil.which(configured)
        if found is None:
            raise FfmpegMissing("transcode.ffmpeg names nothing that can be run")
        return found
    found = shutil.which("ffmpeg") or _packaged()
    if found is None:
        raise FfmpegMissing("there is no ffmpeg")
    return found


def _packaged() -> str | None:
    try:
        path = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError, OSError):  # not installed, or without a program for this machine
        return None
    return shutil.which(str(path))


async def run(command: Sequence[str], *, timeout: float) -> Result:
    """Run a program in a group of its own, and kill all of the group at the end.

    Args:
        command: The program, and what it is told.
        timeout: Seconds that it has.
    """
    # Files: somebody it started may hold on to a pipe for ever.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=complaints,
                env=environment(os.environ),
                start_new_session=True,
            )
        except OSError as error:
            return Result(126, complaints=f"cannot be started: {error.strerror}")
        status: int | None = None
        try:
            async with asyncio.timeout(timeout):
                status = await process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            # A driver that hangs may keep even what is killed.
            await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=_LONGEST_DEATH)
        texts = []
        for file in (output, complaints):
            file.seek(0)
            texts.append(file.read(MOST_READ).decode(errors="replace"))
    return Result(status, *texts)
