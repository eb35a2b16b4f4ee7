import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamproxy.config import TranscodeConfig
from streamproxy.errors import FfmpegMissing
from streamproxy.formats.transcoding import BUILT_IN, PREFERENCE, Acceleration
from streamproxy.hwaccel import Hardware, detect, find_ffmpeg
from streamproxy.hwaccel import simple as simple_module
from streamproxy.hwaccel.hardware import hardware_from
from tests.helpers.ffmpegs import each_ffmpeg

NVIDIA, VAAPI, QSV, AMF, V4L2M2M = (
    Acceleration.NVIDIA,
    Acceleration.VAAPI,
    Acceleration.QSV,
    Acceleration.AMF,
    Acceleration.V4L2M2M,
)
WORKS = "echo '0,          0,          0,        1,     4155, 0x29467dc4'"
LISTED = ("libx264", "h264_nvenc", "hevc_nvenc", "h264_vaapi", "hevc_vaapi", "h264_qsv", "h264_v4l2m2m")

Make = Callable[..., TranscodeConfig]


@pytest.fixture
def nodes(tmp_path: Path) -> list[str]:
    """A graphics card, as far as can be told before it is used."""
    return ["/dev/dri/renderD128", "/dev/dri/renderD129", "/dev/video0"]


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make an ffmpeg that does as it is told for an encoder, and complains of all others."""
    # Whether devices may be opened is the system's affair.
    monkeypatch.setattr(os, "access", lambda path, mode: True)

    def make(
        *, encoders: tuple[str, ...] = LISTED, settings: dict[str, Any] | None = None, **does: str
    ) -> TranscodeConfig:
        listing = "\n".join(f" V....D {name:<20} of {name}" for name in encoders)
        cases = "\n".join(f"*{pattern.replace('__', '?')}*) {what};;" for pattern, what in does.items())
        program = tmp_path / "ffmpeg"
        program.write_text(
            f"""#!/bin/sh
echo "$*" >>{tmp_path}/asked
case "$*" in
*-version*) echo "ffmpeg version 9.9-test Copyright";;
*-encoders*) echo "{listing}";;
{cases}
*) echo "[dev @ 0x5a] Cannot load libnothing.so" >&2; exit 1;;
esac
"""
        )
        program.chmod(0o755)
        return TranscodeConfig.model_validate({"ffmpeg": str(program), **(settings or {})})

    return make


def by_kind(hardware: Hardware) -> dict[Acceleration, str | tuple[str, ...]]:
    return {attempt.acceleration: attempt.encoders or attempt.reason for attempt in hardware.attempts}


async def test_each_kind_of_hardware_is_told_with_what_works_or_why_it_does_not(ffmpeg: Make, nodes: list[str]) -> None:
    config = ffmpeg(h264_nvenc=WORKS, hevc_nvenc="exit 1", h264_vaapi="kill -ABRT $$", h264_qsv="true")

    hardware = await detect(config, nodes=nodes)

    assert (hardware.version, hardware.encoders) == ("9.9-test", frozenset(LISTED))
    assert [attempt.acceleration for attempt in hardware.attempts] == list(PREFERENCE)
    assert by_kind(hardware) == {
        NVIDIA: ("h264_nvenc",),
        VAAPI: "ffmpeg was ended by signal 6",
        QSV: "ffmpeg wrote nothing",
        Acceleration.VIDEOTOOLBOX: "this ffmpeg was built without it",
        AMF: "this ffmpeg was built without it",
        V4L2M2M: "Cannot load libnothing.so",
    }


async def test_encoder_that_hangs_is_given_up_and_killed_with_all_it_started(
    ffmpeg: Make, tmp_path: Path, nodes: list[str]
) -> None:
    config = ffmpeg(h264_nvenc=f"sleep 600 & echo $! >{tmp_path}/child; wait", h264_vaapi=WORKS)

    hardware = await detect(config, nodes=nodes, patience=0.5)

    assert by_kind(hardware)[NVIDIA] == "it was not done after 0.5 s"
    assert by_kind(hardware)[VAAPI] == ("h264_vaapi",)
    assert await gone(int((tmp_path / "child").read_text()))


async def gone(process: int) -> bool:
    """Wait until a process is no more; one that nobody has asked about yet is a zombie."""
    due = time.monotonic() + 5
    while time.monotonic() < due:
        try:
            os.kill(process, 0)
            if "\nState:\tZ" in Path(f"/proc/{process}/status").read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        await asyncio.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return False


@pytest.mark.parametrize(
    "lie",
    [
        "true",
        "echo '#software: Lavf'",
        "echo '0,          0,          0,        1,        0, 0x00000000'",
        "head -c 100000 /dev/zero",
        f"{WORKS}; exit 1",
        f"{WORKS} >&2",
    ],
)
async def test_encoder_that_only_says_that_it_works_is_not_believed(ffmpeg: Make, lie: str) -> None:
    hardware = await detect(ffmpeg(h264_nvenc=lie), nodes=())

    assert hardware.working == ()


async def test_hardware_without_a_device_is_not_tried(ffmpeg: Make, tmp_path: Path) -> None:
    hardware = await detect(ffmpeg(h264_vaapi=WORKS, h264_qsv=WORKS, h264_v4l2m2m=WORKS), nodes=())

    assert by_kind(hardware)[VAAPI] == "there is no /dev/dri/renderD*; a container has to be given it"
    assert by_kind(hardware)[V4L2M2M] == "there is no /dev/video*; a container has to be given it"
    assert "vaapi" not in (tmp_path / "asked").read_text()


async def test_device_that_may_not_be_opened_is_told_with_the_remedy(
    ffmpeg: Make, nodes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = ffmpeg(h264_vaapi=WORKS)
    here, missing = tmp_path / "card", tmp_path / "none"
    here.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path not in (str(here), str(missing)))

    told = [
        by_kind(await detect(config.model_copy(update={"device": str(device)}), nodes=nodes))[VAAPI]
        for device in (here, missing)
    ]

    assert told == [
        f"{here} may not be opened: add the user to the group it belongs to, which is render as a rule",
        f"there is no {missing}",
    ]


async def test_devices_are_tried_in_turn_until_one_works(ffmpeg: Make, nodes: list[str]) -> None:
    config = ffmpeg(renderD129__=WORKS)

    (vaapi, qsv) = (await detect(config, nodes=nodes)).working

    assert (vaapi.kind, vaapi.device, vaapi.low_power) == (VAAPI, "/dev/dri/renderD129", False)
    assert vaapi.encoders == {"h264_vaapi", "hevc_vaapi"}
    assert (qsv.kind, qsv.encoders) == (QSV, frozenset({"h264_qsv"}))


async def test_low_power_engine_is_tried_where_the_other_does_not_work(ffmpeg: Make, nodes: list[str]) -> None:
    (vaapi,) = (await detect(ffmpeg(**{"h264_vaapi*low_power__1": WORKS}), nodes=nodes)).working

    assert (vaapi.device, vaapi.low_power, vaapi.encoders) == ("/dev/dri/renderD128", True, frozenset({"h264_vaapi"}))


async def test_configured_device_is_the_only_one_that_is_tried(ffmpeg: Make, nodes: list[str], tmp_path: Path) -> None:
    config = ffmpeg(h264_vaapi=WORKS, settings={"device": "/dev/dri/renderD129"})

    (vaapi,) = (await detect(config, nodes=nodes)).working

    assert vaapi.device == "/dev/dri/renderD129"
    assert "renderD128" not in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(("wanted", "works"), [("auto", [NVIDIA, VAAPI]), ("vaapi", [VAAPI]), ("off", []), ("qsv", [])])
async def test_only_what_is_configured_is_used(
    ffmpeg: Make, nodes: list[str], wanted: str, works: list[Acceleration]
) -> None:
    config = ffmpeg(h264_nvenc=WORKS, h264_vaapi=WORKS, settings={"hwaccel": wanted})

    hardware = await detect(config, nodes=nodes)

    assert [one.kind for one in hardware.working] == works


async def test_profile_is_made_by_what_can_and_by_software_where_that_fails(ffmpeg: Make, nodes: list[str]) -> None:
    config = ffmpeg(h264_nvenc=WORKS, h264_vaapi=WORKS, hevc_vaapi=WORKS)
    hardware = await detect(config, nodes=nodes)

    kinds = {name: [str(one.kind) for one in hardware.accelerators(BUILT_IN[name])] for name in BUILT_IN}

    assert kinds["720p"] == ["nvidia", "vaapi", "software"]
    assert kinds["hevc"] == ["vaapi", "software"]
    assert kinds["vp9"] == kinds["audio"] == kinds["mjpeg"] == ["software"]
    assert hardware.software.encoders == {"libx264"}


def asked(tmp_path: Path) -> int:
    return (tmp_path / "asked").read_text().count("\n")


async def test_what_was_found_is_known_until_something_changes(ffmpeg: Make, nodes: list[str], tmp_path: Path) -> None:
    config = ffmpeg(h264_nvenc=WORKS)
    state = tmp_path / "state"
    first = await detect(config, state, nodes=nodes)
    count = asked(tmp_path)

    assert await detect(config, state, nodes=nodes) == first
    assert asked(tmp_path) == count, "nothing was run"

    assert await detect(config, state, nodes=nodes, refresh=True) == first
    assert asked(tmp_path) == 2 * count

    changed = ffmpeg(h264_vaapi=WORKS)
    assert [one.kind for one in (await detect(changed, state, nodes=nodes)).working] == [VAAPI]
    assert (await detect(changed, state, nodes=[])).working == ()


@pytest.mark.parametrize("kept", ["", "{", "null", "[]", '{"key": 1, "hardware": {}}', "{}"])
async def test_file_that_makes_no_sense_is_written_anew(
    ffmpeg: Make, nodes: list[str], tmp_path: Path, kept: str
) -> None:
    (tmp_path / "hwaccel.json").write_text(kept)

    hardware = await detect(ffmpeg(h264_nvenc=WORKS), tmp_path, nodes=nodes)

    assert hardware_from(json.loads((tmp_path / "hwaccel.json").read_text())["hardware"]) == hardware


async def test_encoder_that_was_slow_once_is_tried_again_next_time(ffmpeg: Make, tmp_path: Path) -> None:
    slow = ffmpeg(h264_nvenc="sleep 600")

    await detect(slow, tmp_path, nodes=(), patience=0.3)

    assert not (tmp_path / "hwaccel.json").exists()


async def test_folder_that_cannot_be_written_does_not_matter(ffmpeg: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert (await detect(ffmpeg(h264_nvenc=WORKS), tmp_path / "file" / "below", nodes=())).working


@pytest.mark.parametrize(
    "damage",
    [
        {"attempts": 1},
        {"encoders": [1]},
        {"ffmpeg": None},
        {"attempts": [{}]},
        {"attempts": [{"acceleration": "x", "encoders": [], "device": None, "low_power": False, "reason": ""}]},
    ],
)
async def test_damaged_findings_are_not_taken_for_others(ffmpeg: Make, damage: dict[str, object]) -> None:
    hardware = await detect(ffmpeg(h264_nvenc=WORKS), nodes=())

    assert hardware_from(hardware.as_json()) == hardware
    assert hardware_from({**hardware.as_json(), **damage}) is None


async def test_program_that_does_not_run_is_told(ffmpeg: Make, tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'error while loading shared libraries: libx.so' >&2; exit 127\n")
    program.chmod(0o755)

    with pytest.raises(FfmpegMissing, match="does not run: error while loading shared libraries"):
        await detect(TranscodeConfig(ffmpeg=str(program)))


def test_configured_program_is_not_replaced_by_another(tmp_path: Path) -> None:
    with pytest.raises(FfmpegMissing, match=r"transcode\.ffmpeg names nothing"):
        find_ffmpeg(str(tmp_path / "none"))


def test_packaged_program_is_used_where_there_is_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "packaged"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "imageio_ffmpeg.py").write_text(f"def get_ffmpeg_exe():\n    return {str(program)!r}\n")
    monkeypatch.setenv("PATH", "")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "imageio_ffmpeg", raising=False)

    assert find_ffmpeg() == str(program)


@each_ffmpeg
async def test_real_program_is_looked_at_without_waiting_long(ffmpeg: str) -> None:
    begun = time.monotonic()

    hardware = await detect(TranscodeConfig(ffmpeg=ffmpeg), nodes=("/dev/dri/renderD250",))

    # The tests' machine may be busy with others.
    assert time.monotonic() - begun < 20
    assert "libx264" in hardware.software.encoders
    assert all(attempt.works or attempt.reason for attempt in hardware.attempts)


@pytest.fixture
def simple(ffmpeg: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make an ffmpeg the one on $PATH, for those who configure nothing."""

    def make(**does: str) -> None:
        ffmpeg(**does)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
        simple_module._hardware.cache_clear()

    return make


async def test_those_who_only_want_to_know_may_ask_anywhere(simple: Callable[..., None]) -> None:
    simple(h264_nvenc=WORKS)

    assert simple_module.is_hwaccel_available()
    told = simple_module.get_ffmpeg_hwaccel_args("H264")
    assert told[-6:] == ["-hwaccel_device", "hw", "-hwaccel_output_format", "cuda", "-extra_hw_frames", "8"]
    assert simple_module.get_ffmpeg_hwaccel_args("h264") == told
    for codec in ("hevc", "h265", "av1", "vp9", "nonsense", ""):
        assert simple_module.get_ffmpeg_hwaccel_args(codec) == []
    simple_module._hardware.cache_clear()


def test_without_hardware_there_is_nothing_to_tell_ffmpeg(simple: Callable[..., None]) -> None:
    simple()

    assert not simple_module.is_hwaccel_available()
    assert simple_module.get_ffmpeg_hwaccel_args("h264") == []
    simple_module._hardware.cache_clear()


def test_without_ffmpeg_there_is_no_hardware(simple: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    simple()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(shutil, "which", lambda name: None)

    assert not simple_module.is_hwaccel_available()
    simple_module._hardware.cache_clear()
