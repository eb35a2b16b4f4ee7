"""The systemd unit is valid, hardened, and says what the program needs."""

import re
import shutil
import subprocess
import sys
import urllib.request
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.test_program import environment
from tests.helpers import sandbox

UNIT = Path(__file__).resolve().parents[1] / "config" / "streamproxy.service"


def settings(section: str) -> dict[str, list[str]]:
    """The settings of a section: for each name the values in order. configparser refuses a name that occurs twice."""
    (body,) = re.findall(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", UNIT.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = defaultdict(list)
    for line in body.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


@pytest.fixture
def analyze() -> str:
    """The path of systemd-analyze, of a systemd that can judge a unit that is not installed (250)."""
    path = shutil.which("systemd-analyze")
    if path is None:
        pytest.skip("systemd-analyze is not installed")
    banner = subprocess.run([path, "--version"], check=True, capture_output=True, text=True, timeout=20).stdout
    version = int(banner.split()[1])
    if version < 250:
        pytest.skip(f"systemd-analyze {version} has no --offline; 250 has")
    return path


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists here: systemd-analyze wants to see it."""
    return written(tmp_path)


def written(folder: Path, settings: str = "") -> Path:
    """Write the unit, with a program that exists here and with more settings of its service."""
    true = shutil.which("true")
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={true}", UNIT.read_text(), flags=re.MULTILINE)
    copy = folder / UNIT.name
    copy.write_text(text.replace("\n[Install]", f"{settings}\n[Install]"))
    return copy


def drop_ins() -> dict[str, str]:
    """What the unit's comments propose for graphics cards, by maker."""
    found = re.findall(r"^#   \[Service\] +(.*)\n((?:#   \w.*\n)+)", UNIT.read_text(), flags=re.MULTILINE)
    return {maker: re.sub(r"^#   ", "", lines, flags=re.MULTILINE) for maker, lines in found}


@cache
def members(group: str) -> frozenset[str]:
    """The system calls of a group of systemd's, such as @system-service."""
    command = ["systemd-analyze", "syscall-filter", group]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    names = {line.strip() for line in listed.splitlines()[1:] if line.strip() and not line.strip().startswith("#")}
    return frozenset().union(*(members(name) if name.startswith("@") else {name} for name in names))


def allowed_system_calls() -> frozenset[str]:
    """What is left by the unit's filters, one after the other."""
    allowed = members("@default")
    for setting in settings("Service")["SystemCallFilter"]:
        for name in setting.removeprefix("~").split():
            some = members(name) if name.startswith("@") else frozenset({name})
            allowed = allowed - some if setting.startswith("~") else allowed | some
    return allowed


def test_systemd_finds_no_fault_with_the_unit(analyze: str, unit: Path) -> None:
    verdict = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=40, check=False)

    complaints = [line for line in verdict.stderr.splitlines() if unit.name in line]
    assert (verdict.returncode, complaints) == (0, [])


def test_systemd_rates_the_exposure_of_the_unit_at_2_or_better(analyze: str, unit: Path) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(unit)]
    verdict = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)

    assert verdict.returncode == 0, verdict.stdout[-200:] + verdict.stderr


def test_unit_tells_systemd_when_the_program_is_ready_and_lets_it_watch() -> None:
    service = settings("Service")

    assert service["Type"] == ["notify"]
    assert int(service["WatchdogSec"][0]) > 0
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_unit_runs_the_command_with_the_configuration_of_its_folder() -> None:
    service = settings("Service")

    assert service["ExecStart"] == [
        "/opt/streamproxy/.venv/bin/streamproxy serve -c /etc/streamproxy/config.yml",
    ]
    assert service["ConfigurationDirectory"] == ["streamproxy"]


def test_unit_gives_the_program_longer_to_end_than_the_5_s_it_takes() -> None:
    assert int(settings("Service")["TimeoutStopSec"][0]) > 5


def test_unit_is_not_restarted_over_a_mistake_that_a_restart_cannot_mend() -> None:
    service = settings("Service")

    assert service["Restart"] == ["on-failure"]
    assert {"2", "78"} <= set(service["RestartPreventExitStatus"][0].split())


def test_unit_allows_the_sockets_the_program_uses() -> None:
    families = set(settings("Service")["RestrictAddressFamilies"][0].split())

    assert families == {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}  # Unix: sd_notify; netlink: the system resolver


def test_unit_lets_the_program_hold_many_viewers() -> None:
    assert int(settings("Service")["LimitNOFILE"][0]) >= 65536


@pytest.mark.parametrize("maker", ["Intel and AMD", "NVIDIA"])
def test_what_the_unit_proposes_for_a_graphics_card_is_valid_and_still_rated_at_2_or_better(
    analyze: str, tmp_path: Path, maker: str
) -> None:
    unit = written(tmp_path, drop_ins()[maker])
    verdict = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=40, check=False)
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(unit)]
    rating = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)

    assert [line for line in verdict.stderr.splitlines() if unit.name in line] == []
    assert rating.returncode == 0, rating.stdout[-200:]


def test_the_program_transcodes_with_the_system_calls_that_the_unit_allows(analyze: str, tmp_path: Path) -> None:
    if sandbox.library() is None or not shutil.which("ffmpeg"):
        pytest.skip("libseccomp or ffmpeg is not installed")
    assert settings("Service")["MemoryDenyWriteExecute"] == ["yes"]
    confined = [sys.executable, sandbox.__file__, *sorted(allowed_system_calls()), "--"]
    command = [*confined, sys.executable, "-m", "streamproxy", "demo", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        try:
            said = iter(process.stderr)
            base = next(match[1] for match in (re.match(r"Playlist: (\S+)/playlist", line) for line in said) if match)
            with urllib.request.urlopen(f"{base}/stream/demo.ts?profile=lowlatency", timeout=20) as stream:
                assert stream.read(10 * 188)[::188] == b"G" * 10
        finally:
            process.kill()
