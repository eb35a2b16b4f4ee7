import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamproxy.cli import main

SCRIPT = """#!/bin/sh
case "$*" in
*-version*) echo "ffmpeg version 9.9 Copyright";;
*-encoders*) echo " V....D libx264 x"; echo " V....D h264_nvenc x"; echo " V....D hevc_nvenc x";;
*h264_nvenc*) echo "0, 0, 0, 1, 4155, 0x29467dc4";;
*) echo "[hevc @ 0x1] No capable devices found" >&2; exit 1;;
esac
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ffmpeg"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    monkeypatch.setenv("STREAMPROXY_TRANSCODE__FFMPEG", str(path))
    monkeypatch.setenv("STREAMPROXY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["hwaccel", *arguments], catch_exceptions=False)


def test_table_tells_what_works_and_why_the_rest_does_not(program: Path) -> None:
    result = run()

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"ffmpeg 9.9 at {program}"
    assert [line.split()[:2] for line in lines[3:10]] == [
        ["nvidia", "yes"],
        ["vaapi", "no"],
        ["qsv", "no"],
        ["videotoolbox", "no"],
        ["amf", "no"],
        ["v4l2m2m", "no"],
        ["software", "yes"],
    ]
    assert lines[3].endswith("h264 (h264_nvenc)")
    assert lines[4].endswith("this ffmpeg was built without it")
    assert lines[-1] == "H.264 is encoded by h264_nvenc."


def test_programs_get_json(program: Path) -> None:
    result = run("--json")

    told = json.loads(result.stdout)
    assert (result.exit_code, told["ffmpeg"], told["version"]) == (0, str(program), "9.9")
    assert told["attempts"][0] == {
        "acceleration": "nvidia",
        "works": True,
        "encoders": ["h264_nvenc"],
        "device": None,
        "low_power": False,
        "reason": "",
    }


def test_what_is_known_is_found_out_again_when_asked_for(program: Path) -> None:
    times = program.stat()
    run()
    program.write_text(SCRIPT.replace("*h264_nvenc*)", "*h264_vvvvv*)"))
    os.utime(program, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert "H.264 is encoded by h264_nvenc." in run().stdout
    assert "H.264 is encoded by libx264." in run("--refresh").stdout


def test_without_ffmpeg_both_remedies_are_told(program: Path) -> None:
    program.unlink()

    result = run()

    assert result.exit_code == 69
    assert "apt install ffmpeg" in result.stderr
    assert "pip install 'streamproxy[ffmpeg]'" in result.stderr


def test_mistake_in_the_configuration_is_told(program: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("transcode: {hwaccel: gpu}")

    result = run("-c", "bad.yml")

    assert result.exit_code == 78
    assert "transcode.hwaccel" in result.stderr


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_real_ffmpeg_is_looked_at(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMPROXY_TRANSCODE__FFMPEG")

    assert "libx264" in run().stdout
