"""The container files fit the checkout and one another. No engine is needed, so nothing is built."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.test_program import program, run

ROOT = Path(__file__).resolve().parents[1]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, in order: name and arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines) if name]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, in order, the FROM it begins with first; one without a name is called ''."""
    found: dict[str, list[tuple[str, str]]] = {}
    current = ""
    for name, arguments in instructions():
        if name == "FROM":
            current = arguments.partition(" AS ")[2]
        found.setdefault(current, []).append((name, arguments))
    return found


def of_image(name: str) -> list[str]:
    """The arguments of an instruction in the stage that becomes the image."""
    return [arguments for each, arguments in stages()["slim"] if each == name]


def copied_from_the_checkout() -> list[str]:
    copies = [arguments.split() for name, arguments in instructions() if name == "COPY"]
    return [source for words in copies if not words[0].startswith("--from=") for source in words[:-1]]


def is_ignored(path: str) -> bool:
    """Judge a path as .dockerignore does: the last pattern that fits it, or a folder above it, decides."""
    parts = path.split("/")
    folders_and_file = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if any(re.fullmatch(pattern, each) for each in folders_and_file):
                ignored = not line.startswith("!")
    return ignored


def document(name: str) -> dict[str, Any]:
    """What a file for compose says."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "config" / name).read_text())
    return read


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return document("compose.yml")


@pytest.fixture(scope="module")
def service(compose: dict[str, Any]) -> dict[str, Any]:
    only: dict[str, Any] = compose["services"]["streamproxy"]
    return only


@pytest.mark.parametrize("source", copied_from_the_checkout())
def test_what_the_image_is_made_of_exists_and_reaches_the_engine(source: str) -> None:
    assert (ROOT / source).exists()
    assert not is_ignored(source)


@pytest.mark.parametrize("name", ["streamproxy/data/demo.ts", "streamproxy/py.typed", "streamproxy/__main__.py"])
def test_files_of_the_package_reach_the_engine(name: str) -> None:
    assert (ROOT / name).exists()
    assert not is_ignored(name)


@pytest.mark.parametrize("name", [".git/config", ".venv/bin/python", "tests", "streamproxy/__pycache__/x.pyc"])
def test_what_the_image_does_not_need_stays_away_from_the_engine(name: str) -> None:
    assert is_ignored(name)


def test_image_is_built_from_all_that_the_wheel_needs() -> None:
    assert {"pyproject.toml", "README.md", "LICENSE", "streamproxy"} == {
        source.removeprefix("./") for source in copied_from_the_checkout()
    }


def test_the_program_is_built_with_the_python_that_it_runs_with() -> None:
    assert {name: each[0][1].split()[0] for name, each in stages().items()} == {
        "build": "docker.io/library/python:3.13-slim-trixie",
        "slim": "docker.io/library/python:3.13-slim-trixie",
        "full": "slim",
        "": "slim",
    }


def test_where_no_target_is_named_the_slim_image_is_built() -> None:
    assert list(stages().values())[-1] == [("FROM", "slim")]


def test_the_full_image_has_ffmpeg_and_drivers_and_runs_as_nobody_in_particular_too() -> None:
    full = stages()["full"]
    (install,) = [arguments for name, arguments in full if name == "RUN"]

    assert {"ffmpeg", "mesa-va-drivers", "intel-media-va-driver", "i965-va-driver", "libvpl2", "libmfx-gen1.2"} <= set(
        re.findall(r"[\w.-]+", install)
    )
    assert [arguments for name, arguments in full if name == "USER"][-1] == "10001:10001"
    assert "rm -rf /var/lib/apt/lists/*" in install


def test_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    assert of_image("USER") == ["10001:10001"]


def test_image_asks_the_program_for_its_health() -> None:
    (check,) = of_image("HEALTHCHECK")

    assert json.loads(check.partition("CMD ")[2]) == ["streamproxy", "healthcheck"]


def test_image_starts_the_program_without_a_shell_so_that_signals_reach_it() -> None:
    assert [json.loads(arguments) for arguments in of_image("ENTRYPOINT")] == [["streamproxy"]]
    assert [json.loads(arguments) for arguments in of_image("CMD")] == [["serve"]]
    assert of_image("STOPSIGNAL") == ["SIGTERM"]


def test_image_keeps_what_outlives_it_in_volumes() -> None:
    (volumes,) = of_image("VOLUME")
    (environment,) = of_image("ENV")

    assert json.loads(volumes) == ["/config", "/cache", "/state"]
    assert {"CACHE_DIRECTORY=/cache", "STATE_DIRECTORY=/state"} <= set(environment.split())


def test_image_exposes_the_port_that_compose_publishes(service: dict[str, Any]) -> None:
    assert of_image("EXPOSE") == ["8080"]
    assert service["ports"] == ["8080:8080"]


def test_compose_builds_the_image_of_this_checkout(service: dict[str, Any]) -> None:
    context = ROOT / "config" / service["build"]["context"]

    assert (context / service["build"]["dockerfile"]).resolve() == ROOT / "Containerfile"


@pytest.mark.parametrize("name", ["compose.yml", "compose.intel-amd.yml", "compose.nvidia.yml"])
def test_compose_builds_a_target_that_there_is(name: str) -> None:
    service = document(name)["services"]["streamproxy"]

    assert service["build"]["target"] in stages()
    assert service["image"].partition(":")[2] == {"slim": "", "full": "full"}[service["build"]["target"]]


@pytest.mark.parametrize("name", ["compose.intel-amd.yml", "compose.nvidia.yml"])
def test_what_lies_over_compose_adds_a_graphics_card_and_takes_no_precaution_away(
    name: str, service: dict[str, Any]
) -> None:
    over = document(name)
    added = over["services"]["streamproxy"]

    assert [*over, *over["services"]] == ["services", "streamproxy"]
    assert added.keys() & service.keys() == {"build", "image"}
    assert added.keys() <= {"build", "image", "devices", "group_add", "environment", "deploy"}


def test_intel_and_amd_get_the_device_and_the_group_it_belongs_to() -> None:
    service = document("compose.intel-amd.yml")["services"]["streamproxy"]

    assert service["devices"] == ["/dev/dri"]
    assert [group.partition(":?")[0] for group in service["group_add"]] == ["${RENDER_GID"]


def test_nvidia_gets_a_card_with_its_encoder() -> None:
    service = document("compose.nvidia.yml")["services"]["streamproxy"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]

    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert service["environment"] == {"NVIDIA_DRIVER_CAPABILITIES": "compute,video,utility"}


def test_health_is_told_where_a_token_is_needed(tmp_path: Path) -> None:
    with program(tmp_path, "--host", "127.0.0.1", "--port", "0", API_TOKEN="secret") as (_, base):
        port = base.rpartition(":")[2]
        assert run(tmp_path, "healthcheck", STREAMPROXY_SERVER__PORT=port).returncode == 1
        assert run(tmp_path, "healthcheck", STREAMPROXY_SERVER__PORT=port, API_TOKEN="secret").returncode == 0
        (tmp_path / "config.yml").write_text(f"server: {{host: 127.0.0.1, port: {port}, api_token: secret}}")
        assert run(tmp_path, "healthcheck").returncode == 0


def test_compose_gives_the_container_no_more_than_it_needs(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["tmpfs"] == ["/tmp"]


def test_compose_checks_health_without_curl(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"] == ["CMD", "streamproxy", "healthcheck"]


def test_compose_mounts_what_the_image_keeps(compose: dict[str, Any], service: dict[str, Any]) -> None:
    targets = {volume.split(":")[1] for volume in service["volumes"]}

    assert targets == {"/config", "/cache", "/state"}
    assert {"cache", "state"} == compose["volumes"].keys()


def test_compose_gives_the_program_longer_to_end_than_the_5_s_it_takes(service: dict[str, Any]) -> None:
    assert int(service["stop_grace_period"].removesuffix("s")) > 5
