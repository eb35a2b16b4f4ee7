"""`streamproxy hwaccel`."""

import asyncio
import json
import sys
from pathlib import Path

import click

from streamproxy.cli.common import config_option, find_config, read_config, refuse, say
from streamproxy.errors import ConfigError, FfmpegMissing
from streamproxy.formats.transcoding import Accelerator, VideoCodec
from streamproxy.hwaccel import Attempt, Hardware, detect

NO_FFMPEG = 69
"""Exit code (EX_UNAVAILABLE of sysexits.h)."""


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, rather than a table for people.")
@click.option("--refresh", is_flag=True, help="Try everything again, rather than tell what was found since the start.")
def hwaccel(path: Path | None, as_json: bool, refresh: bool) -> None:
    """Tell what hardware can transcode here, and why the rest cannot.

    Each encoder has to encode a picture. Exits with 69 if there is no ffmpeg.
    """
    try:
        config = read_config(find_config(path), {})
    except ConfigError as error:
        refuse(error)
    try:
        hardware = asyncio.run(detect(config.transcode, config.state_dir, refresh=refresh))
    except FfmpegMissing as error:
        say(f"streamproxy: {error}")
        say("Install one: apt install ffmpeg, or pip install 'streamproxy[ffmpeg]'; or name it in transcode.ffmpeg.")
        sys.exit(NO_FFMPEG)
    click.echo(json.dumps(hardware.as_json(), indent=2) if as_json else _table(hardware))


def _table(hardware: Hardware) -> str:
    rows = [_row(attempt) for attempt in hardware.attempts]
    rows.append(("software", "yes", _codecs(hardware.software)))
    lines = [
        f"{kind:<13} {works:<6} {text}" for kind, works, text in [("HARDWARE", "WORKS", "WHAT, OR WHY NOT"), *rows]
    ]
    best = next(iter(hardware.working), hardware.software)
    return "\n".join(
        [
            f"ffmpeg {hardware.version or 'of an unknown version'} at {hardware.ffmpeg}",
            "",
            *lines,
            "",
            f"H.264 is encoded by {best.encoder(VideoCodec.H264) or 'nothing that works here'}.",
        ]
    )


def _row(attempt: Attempt) -> tuple[str, str, str]:
    kind = str(attempt.acceleration)
    if not attempt.works:
        return kind, "no", attempt.reason
    device = f" on {attempt.device}" if attempt.device else ""
    return kind, "yes", _codecs(attempt.accelerator) + device + (" (low power)" if attempt.low_power else "")


def _codecs(accelerator: Accelerator) -> str:
    named = [(codec, accelerator.encoder(codec)) for codec in VideoCodec]
    return ", ".join(f"{codec} ({name})" for codec, name in named if name) or "nothing"
