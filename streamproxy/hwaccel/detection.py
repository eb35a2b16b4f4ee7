"""Finding out what works: each encoder has to encode one picture, in a process of its own.

That an encoder is compiled in says nothing: most programs have those of every maker, and need libraries, drivers and
devices for them, without which some builds abort.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamproxy.config import TranscodeConfig
from streamproxy.errors import FfmpegMissing, StateError
from streamproxy.formats.transcoding import ENCODERS, PREFERENCE, Acceleration, Accelerator, probe_arguments
from streamproxy.hwaccel.hardware import Attempt, Hardware
from streamproxy.hwaccel.memory import Memory
from streamproxy.hwaccel.program import Result, find_ffmpeg, run

PATIENCE = 5.0
"""Seconds that an encoder has for a picture; a graphics card that slept takes two."""

MOST_DEVICES = 4
"""Devices of one kind that are tried."""

_AT_ONCE = 4
_PACKET = re.compile(r"^\d+, *-?\d+, *-?\d+, *\d+, *([1-9]\d*),", re.MULTILINE)
"""A line of the format framecrc about a packet that is not empty."""
_ENCODER = re.compile(r"^ [VAS][.A-Z]{5} ([A-Za-z0-9_-]+) ", re.MULTILINE)
_VERSION = re.compile(r"^ffmpeg version (\S+)")
_SPEAKER = re.compile(r"^(?:\[[^]]*\] *)+")

_NODES: dict[Acceleration, str] = {
    Acceleration.VAAPI: "/dev/dri/renderD",
    Acceleration.QSV: "/dev/dri/renderD",
    Acceleration.V4L2M2M: "/dev/video",
}
"""What the names of devices begin with, for those that cannot do without."""

_ADVICE = (
    (
        "libcuda",
        "NVIDIA's driver is not here; containers need its container toolkit, and "
        "NVIDIA_DRIVER_CAPABILITIES=compute,video,utility",
    ),
    ("libnvidia-encode", "NVIDIA's driver lacks its encoder; install libnvidia-encode"),
    ("No VA display", "install the card's driver: intel-media-va-driver, i965-va-driver or mesa-va-drivers"),
    ("vaInitialize", "install the card's driver: intel-media-va-driver, i965-va-driver or mesa-va-drivers"),
    ("MFX", "install Intel's libraries: libvpl2 and libmfx-gen1.2, or libmfx1 for older graphics"),
    ("libamfrt", "install AMD's library of that name"),
)
"""What is often missing, by what ffmpeg complains of."""


async def detect(
    config: TranscodeConfig,
    state_dir: Path | None = None,
    *,
    refresh: bool = False,
    nodes: Sequence[str] | None = None,
    patience: float = PATIENCE,
) -> Hardware:
    """Find ffmpeg, and what it can code pictures with here.

    Args:
        config: Which ffmpeg, hardware and device to look at.
        state_dir: Where what was found before is kept; None for nowhere.
        refresh: Whether to try again all the same.
        nodes: Paths of the devices that there are; None to look.
        patience: Seconds that an encoder has.

    Raises:
        FfmpegMissing: There is no ffmpeg, or one that does not run.
    """
    program = await asyncio.to_thread(find_ffmpeg, config.ffmpeg)
    nodes = device_nodes() if nodes is None else tuple(nodes)
    memory = Memory(state_dir, program, nodes, (config.hwaccel, config.device or ""))
    if not refresh and (known := memory.recall()):
        return known
    version, encoders = await asyncio.gather(
        run([program, "-hide_banner", "-version"], timeout=patience),
        run([program, "-hide_banner", "-encoders"], timeout=patience),
    )
    names = frozenset(_ENCODER.findall(encoders.output))
    if not names:
        raise FfmpegMissing(f"{program} does not run: {_complaint(encoders, patience)}")
    found = _VERSION.search(version.output)
    probes = _Probes(program, names, nodes, config, patience)
    attempts = await asyncio.gather(*(probes.attempt(acceleration) for acceleration in PREFERENCE))
    hardware = Hardware(program, found[1] if found else "", names, tuple(attempts))
    if all(attempt.final for attempt in attempts):
        # What cannot be kept is found out again next time.
        with contextlib.suppress(StateError):
            await memory.keep(hardware)
    return hardware


def device_nodes() -> tuple[str, ...]:
    """List the devices that may code pictures."""
    names = set(_NODES.values()) | {"/dev/nvidia"}
    found = [path for start in names for path in Path("/dev").glob(start.removeprefix("/dev/") + "[0-9]*")]
    return tuple(sorted((str(path) for path in found), key=lambda path: (len(path), path)))


class _Probes:
    """Tries one kind of hardware after the other, a few encoders at once."""

    def __init__(
        self, program: str, encoders: frozenset[str], nodes: Sequence[str], config: TranscodeConfig, patience: float
    ) -> None:
        self._program = program
        self._encoders = encoders
        self._nodes = nodes
        self._config = config
        self._patience = patience
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def attempt(self, acceleration: Acceleration) -> Attempt:
        """Try one kind: its first encoder on each device until one works there, and then the others."""
        wanted = self._config.hwaccel
        if wanted not in ("auto", acceleration):
            return Attempt(acceleration, reason=f"not tried, as transcode.hwaccel is {wanted}")
        known = [name for names in ENCODERS[acceleration].values() for name in names if name in self._encoders]
        if not known:
            return Attempt(acceleration, reason="this ffmpeg was built without it")
        candidates = list(self._candidates(acceleration))
        if not candidates:
            return Attempt(acceleration, reason=self._no_device(acceleration))
        reasons, final = [], True
        for candidate in candidates:
            result = await self._try(candidate, known[0])
            if _works(result):
                return await self._with_others(candidate, known)
            reasons.append(_complaint(result, self._patience))
            final &= result.status is not None
        return Attempt(acceleration, reason=reasons[0], final=final)

    def _candidates(self, acceleration: Acceleration) -> Iterator[Accelerator]:
        for device in self._devices(acceleration):
            yield Accelerator(acceleration, device=device)
        if acceleration in (Acceleration.VAAPI, Acceleration.QSV):
            # Intel's newer graphics have no other engine than this.
            for device in self._devices(acceleration):
                yield Accelerator(acceleration, device=device, low_power=True)

    def _devices(self, acceleration: Acceleration) -> list[str | None]:
        device = self._config.device
        if acceleration is Acceleration.NVIDIA:
            return [device if device and device.isdigit() else None]
        if acceleration not in _NODES:
            return [None]
        if acceleration is Acceleration.V4L2M2M:
            # It takes the first that can.
            return [None] if self._of_kind(acceleration) else []
        if device and not device.isdigit():
            return [device]
        return list(self._of_kind(acceleration)[:MOST_DEVICES])

    def _of_kind(self, acceleration: Acceleration) -> list[str]:
        return [node for node in self._nodes if node.startswith(_NODES[acceleration])]

    @staticmethod
    def _no_device(acceleration: Acceleration) -> str:
        return f"there is no {_NODES[acceleration]}*; a container has to be given it"

    async def _with_others(self, candidate: Accelerator, known: list[str]) -> Attempt:
        results = await asyncio.gather(*(self._try(candidate, encoder) for encoder in known[1:]))
        working = [known[0], *(name for name, result in zip(known[1:], results, strict=True) if _works(result))]
        final = all(result.status is not None for result in results)
        return Attempt(candidate.kind, tuple(working), candidate.device, candidate.low_power, final=final)

    async def _try(self, candidate: Accelerator, encoder: str) -> Result:
        if candidate.device and candidate.device.startswith("/") and not os.access(candidate.device, os.R_OK | os.W_OK):
            return Result(1, complaints=_no_access(candidate.device))
        async with self._places:
            return await run([self._program, *probe_arguments(candidate, encoder)], timeout=self._patience)


def _no_access(device: str) -> str:
    if not Path(device).exists():
        return f"there is no {device}"
    return f"{device} may not be opened: add the user to the group it belongs to, which is render as a rule"


def _works(result: Result) -> bool:
    # Some say that all went well, and have written nothing.
    return result.status == 0 and _PACKET.search(result.output) is not None


def _complaint(result: Result, patience: float) -> str:
    """Say what went wrong: what was complained of first is the cause of the rest."""
    if result.status is None:
        return f"it was not done after {patience:g} s"
    lines = (_SPEAKER.sub("", line).strip() for line in result.complaints.splitlines())
    said = next(("".join(filter(str.isprintable, line))[:200] for line in lines if line), "")
    if not said:
        if result.status < 0:
            said = f"ffmpeg was ended by signal {-result.status}"
        else:
            said = f"ffmpeg failed with status {result.status}" if result.status else "ffmpeg wrote nothing"
    advice = next((f"; {text}" for sign, text in _ADVICE if sign in result.complaints), "")
    return said.rstrip(".") + advice
