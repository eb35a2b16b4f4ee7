"""What was found: a value that can be kept in a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamproxy.formats.transcoding import ENCODERS, Acceleration, Accelerator, Profile, VideoCodec


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of trying one kind of hardware.

    Attributes:
        acceleration: Which kind.
        encoders: ffmpeg's encoders of it that work, the first tried first; empty if it is of no use here.
        device: The one that works; None if there is none, or no choice.
        low_power: Whether only the low-power engine works.
        reason: Why it is of no use, with a remedy where there is one; empty if it is.
        final: Whether it would come out the same if it was tried again.
    """

    acceleration: Acceleration
    encoders: tuple[str, ...] = ()
    device: str | None = None
    low_power: bool = False
    reason: str = ""
    final: bool = True

    @property
    def works(self) -> bool:
        """Whether it is of use."""
        return bool(self.encoders)

    @property
    def accelerator(self) -> Accelerator:
        """What is to be told to ffmpeg."""
        return Accelerator(self.acceleration, frozenset(self.encoders), self.device, self.low_power)


@dataclass(frozen=True, slots=True)
class Hardware:
    """Which ffmpeg there is, and what it can code pictures with.

    Attributes:
        ffmpeg: Its path.
        version: What it calls its version; empty if it does not say.
        encoders: All encoders that are compiled into it, also those that do not work here.
        attempts: Kinds of hardware, the preferred first.
    """

    ffmpeg: str
    version: str
    encoders: frozenset[str]
    attempts: tuple[Attempt, ...]

    @property
    def working(self) -> tuple[Accelerator, ...]:
        """The hardware that works, the preferred first."""
        return tuple(attempt.accelerator for attempt in self.attempts if attempt.works)

    @property
    def software(self) -> Accelerator:
        """What needs no hardware."""
        names = {name for some in ENCODERS[Acceleration.SOFTWARE].values() for name in some}
        return Accelerator(Acceleration.SOFTWARE, frozenset(names & self.encoders))

    def accelerators(self, profile: Profile) -> tuple[Accelerator, ...]:
        """Return what a profile can be made with, the best first; the last is software, which may lack it too."""
        if profile.template is not None or profile.video in (None, VideoCodec.COPY):
            return (self.software,)
        assert profile.video is not None, "looked at above"
        able = [one for one in self.working if one.encoder(profile.video)]
        return (*able, self.software)

    def as_json(self) -> dict[str, Any]:
        """Write it as values of JSON."""
        return {
            "ffmpeg": self.ffmpeg,
            "version": self.version,
            "encoders": sorted(self.encoders),
            "attempts": [
                {
                    "acceleration": str(attempt.acceleration),
                    "works": attempt.works,
                    "encoders": list(attempt.encoders),
                    "device": attempt.device,
                    "low_power": attempt.low_power,
                    "reason": attempt.reason,
                }
                for attempt in self.attempts
            ],
        }


def hardware_from(value: Any) -> Hardware | None:
    """Read what `as_json` wrote; None if it is something else."""
    try:
        attempts = tuple(_attempt(one) for one in value["attempts"])
        encoders = frozenset(_text(name) for name in value["encoders"])
        return Hardware(_text(value["ffmpeg"]), _text(value["version"]), encoders, attempts)
    except (KeyError, TypeError, ValueError):
        return None


def _attempt(value: Mapping[str, Any]) -> Attempt:
    device = value["device"]
    return Attempt(
        Acceleration(value["acceleration"]),
        tuple(_text(name) for name in value["encoders"]),
        None if device is None else _text(device),
        value["low_power"] is True,
        _text(value["reason"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
