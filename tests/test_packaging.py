"""The wheel and the sdist hold what they should, and the package asks for dependencies that work."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STEM = f"streamproxy-{PROJECT['version']}"


def build(target: str, directory: Path) -> Path:
    """Build a distribution for real, without the network: the build backend is one of the tests' packages."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is in the wheel: contents by name."""
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    return Parser().parsestr(wheel[f"{STEM}.dist-info/METADATA"].decode())


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tarfile.TarInfo]:
    """What is in the sdist: members by name, without the leading folder."""
    with tarfile.open(build("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return {member.name.removeprefix(f"{STEM}/"): member for member in archive.getmembers()}


def files_below(folder: str) -> set[str]:
    """Every file of a folder of the checkout that is not a by-product of running it."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in paths}


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: dict[str, bytes]) -> None:
    in_package = {name for name in wheel if not name.startswith(f"{STEM}.dist-info/")}

    assert in_package == files_below("streamproxy")


@pytest.mark.parametrize(
    "name",
    [
        "streamproxy/__main__.py",
        "streamproxy/data/demo.ts",
        "streamproxy/py.typed",
        "streamproxy/static/docs.html",
        "streamproxy/static/rapidoc-LICENSE.txt",
        "streamproxy/static/rapidoc-min.js",
    ],
)
def test_wheel_holds(wheel: dict[str, bytes], name: str) -> None:
    assert wheel[name] == (ROOT / name).read_bytes()


def test_wheel_holds_the_licence(wheel: dict[str, bytes]) -> None:
    assert wheel[f"{STEM}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_demo_channel_is_small(wheel: dict[str, bytes]) -> None:
    assert len(wheel["streamproxy/data/demo.ts"]) <= 250_000


def test_wheel_installs_the_command(wheel: dict[str, bytes]) -> None:
    assert b"streamproxy = streamproxy.cli:main" in wheel[f"{STEM}.dist-info/entry_points.txt"]


def test_wheel_runs_on_python_3_11_and_newer(metadata: Message) -> None:
    assert metadata["Requires-Python"] == ">=3.11"


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("aiohttp", "3.14.3", "3.14.4"),  # a slow reader of a finished answer got an error for a whole body
        ("uvloop", "0.22.1", "0.23.0"),  # a cancelled connect could close another connection's descriptor
        ("aiodns", "4.0.3", "4.0.4"),
        ("pycares", "5.1.0", "5.2.0"),
        ("pyyaml", "6.0.1", "6.0.2"),  # no wheel for Python 3.13
    ],
)
def test_versions_known_to_misbehave_are_not_accepted(metadata: Message, name: str, bad: str, good: str) -> None:
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    (requirement,) = [each for each in requirements if canonicalize_name(each.name) == name]

    assert not requirement.specifier.contains(bad)
    assert requirement.specifier.contains(good)


@pytest.mark.parametrize("folder", ["streamproxy", "tests", "config", "scripts", ".ci"])
def test_sdist_holds_every_file_of(sdist: dict[str, tarfile.TarInfo], folder: str) -> None:
    missing = files_below(folder) - sdist.keys()

    assert not missing


@pytest.mark.parametrize(
    "name",
    [
        ".dockerignore",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Containerfile",
        "LICENSE",
        "README.md",
        "config.example.yml",
        "pyproject.toml",
    ],
)
def test_sdist_holds(sdist: dict[str, tarfile.TarInfo], name: str) -> None:
    assert name in sdist


@pytest.mark.parametrize(
    "name",
    ["scripts/run", "scripts/test", "scripts/check", "scripts/venv", "scripts/vendor", "scripts/fuzz-api", ".ci/run"],
)
def test_scripts_of_the_sdist_can_be_run(sdist: dict[str, tarfile.TarInfo], name: str) -> None:
    assert sdist[name].mode & 0o111


def test_sdist_holds_no_by_products(sdist: dict[str, tarfile.TarInfo]) -> None:
    by_products = [name for name in sdist if re.search(r"(^|/)(\.venv|\.git|__pycache__|\.\w+_cache)(/|$)", name)]

    assert not by_products


def test_the_changelog_has_a_section_for_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert PROJECT["version"] in headings
