"""The container files fit the checkout and one another. No engine is needed, so nothing is built."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, in order: name and arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines) if name]


def last_stage(name: str) -> list[str]:
    """The arguments of an instruction in the stage that becomes the image."""
    everything = instructions()
    start = max(index for index, (each, _) in enumerate(everything) if each == "FROM")
    return [arguments for each, arguments in everything[start:] if each == name]


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


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "config" / "compose.yml").read_text())
    return document


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


def test_both_stages_use_the_same_python() -> None:
    images = [arguments.split()[0] for name, arguments in instructions() if name == "FROM"]

    assert images == ["docker.io/library/python:3.13-slim-trixie"] * 2


def test_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    assert last_stage("USER") == ["10001:10001"]


def test_image_asks_the_program_for_its_health() -> None:
    (check,) = last_stage("HEALTHCHECK")

    assert json.loads(check.partition("CMD ")[2]) == ["streamproxy", "healthcheck"]


def test_image_starts_the_program_without_a_shell_so_that_signals_reach_it() -> None:
    assert [json.loads(arguments) for arguments in last_stage("ENTRYPOINT")] == [["streamproxy"]]
    assert [json.loads(arguments) for arguments in last_stage("CMD")] == [["serve"]]
    assert last_stage("STOPSIGNAL") == ["SIGTERM"]


def test_image_keeps_what_outlives_it_in_volumes() -> None:
    (volumes,) = last_stage("VOLUME")
    (environment,) = last_stage("ENV")

    assert json.loads(volumes) == ["/config", "/cache"]
    assert "CACHE_DIRECTORY=/cache" in environment.split()


def test_image_exposes_the_port_that_compose_publishes(service: dict[str, Any]) -> None:
    assert last_stage("EXPOSE") == ["8080"]
    assert service["ports"] == ["8080:8080"]


def test_compose_builds_the_image_of_this_checkout(service: dict[str, Any]) -> None:
    context = ROOT / "config" / service["build"]["context"]

    assert (context / service["build"]["dockerfile"]).resolve() == ROOT / "Containerfile"


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

    assert targets == {"/config", "/cache"}
    assert "cache" in compose["volumes"]


def test_compose_gives_the_program_longer_to_end_than_the_5_s_it_takes(service: dict[str, Any]) -> None:
    assert int(service["stop_grace_period"].removesuffix("s")) > 5
