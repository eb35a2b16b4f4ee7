"""What a person types works from a fresh clone: where Python is odd, where .venv is broken, and twice in a row."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("scripts/run", "scripts/test", "scripts/check", "scripts/venv")
TOOLS = ("bash", "basename", "cat", "cksum", "dirname", "env", "flock", "id", "ln", "mkdir", "readlink", "rm", "sh")

FAKE_PYTHON = """\
#!/bin/sh
# Does what scripts/venv asks of a Python interpreter, in no time, and writes down what it was asked.
self=$(readlink -f "$0")
home=$(dirname "$(dirname "$0")")
echo "$(basename "$self") $*" >>"@log@"
case "$*" in
"-c import os, sys; "*) if [ -z "@too_old@" ]; then echo "$self"; else
    exec "@real@" -c "import sys; sys.version_info = (3, 10, 13); $2"; fi ;;
"-m venv --clear --without-pip "*) rm -rf "$5" && mkdir -p "$5/bin" && ln -s "$self" "$5/bin/python" ;;
"-m ensurepip "*) [ -n "@ensurepip@" ] && : >"$home/pip" ;;
"-m pip --version") [ -e "$home/pip" ] ;;
"-m pip install "*) ln -sf "$self" "$home/bin/streamproxy" ;;
"-m pip --python .venv/bin/python --version") [ -n "@pip@" ] ;;
"-m pip --python .venv/bin/python install "*) ln -sf "$self" .venv/bin/streamproxy ;;
*) echo "ran in $PWD with PYTHONPATH=${PYTHONPATH-}: $*" ;;
esac
"""

BROKEN_SHIM = """\
#!/bin/sh
echo "pyenv: $(basename "$0"): command not found" >&2
exit 127
"""


class Machine:
    """A computer with a checkout on it, and no more on PATH than a few tools and what a test puts there."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "checkout"
        self.bin = directory / "bin"
        self.log = directory / "log"
        self.elsewhere = directory / "elsewhere"
        for folder in (self.checkout / "scripts", self.checkout / ".ci", self.bin, self.elsewhere):
            folder.mkdir(parents=True)
        for script in (*SCRIPTS, ".ci/run"):
            shutil.copy2(ROOT / script, self.checkout / script)
        (self.checkout / "pyproject.toml").write_text("# one\n")
        for tool in TOOLS:
            path = shutil.which(tool)
            if path:
                (self.bin / tool).symlink_to(path)

    def add(self, name: str, script: str) -> None:
        """Put a command on PATH."""
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def add_python(
        self, name: str, *, too_old: bool = False, has_ensurepip: bool = True, has_pip: bool = False
    ) -> None:
        """Put an interpreter on PATH."""
        script = FAKE_PYTHON.replace("@log@", str(self.log)).replace("@real@", sys.executable)
        for mark, fact in (("@too_old@", too_old), ("@ensurepip@", has_ensurepip), ("@pip@", has_pip)):
            script = script.replace(mark, "yes" if fact else "")
        self.add(name, script)

    def run(self, *command: str, **environment: str) -> CompletedProcess[str]:
        """Run a script of the checkout from another folder."""
        return subprocess.run(
            [self.checkout / command[0], *command[1:]],
            cwd=self.elsewhere,
            env={"PATH": str(self.bin), "HOME": str(self.elsewhere), **environment},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def installs(self) -> list[str]:
        """Who was asked to install what, as far as it varies: "python3.12: .[test]"."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [f"{line.split()[0]}: {line.split()[-1]}" for line in lines if " install " in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", [*SCRIPTS, ".ci/run"])
def test_script_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_run_hands_its_arguments_to_the_program_in_the_folder_it_was_called_from(machine: Machine) -> None:
    machine.add_python("python3")

    ran = machine.run("scripts/run", "serve", "-c", "my.yml")

    assert (ran.returncode, ran.stdout) == (0, f"ran in {machine.elsewhere} with PYTHONPATH=: serve -c my.yml\n")


def test_test_runs_pytest_at_the_root_of_the_checkout_with_the_arguments(machine: Machine) -> None:
    machine.add_python("python3")

    ran = machine.run("scripts/test", "-k", "hls")

    assert ran.returncode == 0
    assert ran.stdout.startswith(f"ran in {machine.checkout} with PYTHONPATH=: -m pytest ")
    assert ran.stdout.endswith(" -k hls\n")
    assert machine.installs() == ["python3: .[test]"]


def test_check_lints_and_types(machine: Machine) -> None:
    machine.add_python("python3")

    ran = machine.run("scripts/check")

    assert [line.partition(" -m ")[2] for line in ran.stdout.splitlines()] == [
        "ruff check .",
        "ruff format --check .",
        "mypy --strict",
    ]


def test_second_run_installs_nothing(machine: Machine) -> None:
    machine.add_python("python3")
    machine.run("scripts/run")

    again = machine.run("scripts/run", "demo")

    assert machine.installs() == ["python3: ."]
    assert again.stderr == ""


def test_what_the_tests_installed_serves_the_program_too(machine: Machine) -> None:
    machine.add_python("python3")

    for script in ("scripts/run", "scripts/test", "scripts/run", "scripts/check"):
        machine.run(script)

    assert machine.installs() == ["python3: .", "python3: .[test]"]


def test_changed_pyproject_is_installed_again(machine: Machine) -> None:
    machine.add_python("python3")
    machine.run("scripts/run")
    (machine.checkout / "pyproject.toml").write_text("# two\n")

    machine.run("scripts/run")
    machine.run("scripts/run")

    assert machine.installs() == ["python3: .", "python3: ."]


def test_failed_install_is_tried_again(machine: Machine) -> None:
    machine.add_python("python3")
    working = (machine.bin / "python3").read_text()
    machine.add("python3", working.replace('"-m pip install "*)', '"-m pip install "*) echo "no network" >&2; exit 1;'))

    failed = machine.run("scripts/run")
    machine.add("python3", working)
    again = machine.run("scripts/run")

    assert failed.returncode == 1
    assert "no network" in failed.stderr
    assert again.returncode == 0


def test_pip_of_the_interpreter_serves_where_the_venv_package_is_missing(machine: Machine) -> None:
    machine.add_python("python3", has_ensurepip=False, has_pip=True)

    ran = machine.run("scripts/run")

    assert ran.returncode == 0
    assert any(" --python .venv/bin/python install " in line for line in machine.log.read_text().splitlines())


def test_python_with_neither_pip_nor_ensurepip_is_refused_with_a_remedy(machine: Machine) -> None:
    machine.add_python("python3", has_ensurepip=False, has_pip=False)

    ran = machine.run("scripts/run")

    assert ran.returncode == 1
    assert "sudo apt install python3-venv" in ran.stderr


def test_first_python_that_runs_and_is_new_enough_is_taken(machine: Machine) -> None:
    machine.add_python("python3", too_old=True)
    machine.add("python3.13", BROKEN_SHIM)
    machine.add_python("python3.12")
    machine.add_python("python3.11")

    ran = machine.run("scripts/run")

    assert ran.returncode == 0
    assert "command not found" not in ran.stderr
    assert machine.installs() == ["python3.12: ."]


def test_named_python_is_taken(machine: Machine) -> None:
    machine.add_python("python3")
    machine.add_python("python3.13")

    machine.run("scripts/run", PYTHON="python3.13")

    assert machine.installs() == ["python3.13: ."]


def test_no_python_is_taken_instead_of_the_named_one(machine: Machine) -> None:
    machine.add_python("python3")

    ran = machine.run("scripts/run", PYTHON="python3.13")

    assert ran.returncode == 1
    assert "runs: python3.13\n" in ran.stderr


def test_machine_without_a_python_that_fits_hears_of_a_remedy(machine: Machine) -> None:
    machine.add_python("python3", too_old=True)

    ran = machine.run("scripts/test")

    assert ran.returncode == 1
    assert "Python 3.11 or newer" in ran.stderr
    assert "sudo apt install" in ran.stderr
    assert ran.stdout == ""


def test_environment_of_a_removed_python_is_made_anew(machine: Machine) -> None:
    machine.add_python("python3.11")
    machine.run("scripts/run")
    (machine.bin / "python3.11").unlink()
    machine.add_python("python3.12")

    ran = machine.run("scripts/run")

    assert ran.returncode == 0
    assert machine.installs() == ["python3.11: .", "python3.12: ."]


def test_environment_of_a_moved_checkout_is_made_anew(machine: Machine) -> None:
    machine.add_python("python3")
    machine.run("scripts/run")
    left_behind = machine.checkout / ".venv" / "left-behind"
    left_behind.touch()
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("a new place"))

    ran = machine.run("scripts/run")
    machine.run("scripts/run")

    assert ran.returncode == 0
    assert machine.installs() == ["python3: .", "python3: ."]
    assert not (machine.checkout / ".venv" / "left-behind").exists()


def test_environment_made_by_hand_is_kept(machine: Machine) -> None:
    machine.add_python("python3")
    own = machine.checkout / ".venv" / "bin"
    own.mkdir(parents=True)
    (own / "python").symlink_to(machine.bin / "python3")
    (own / "own-tool").touch()

    machine.run("scripts/run")

    assert (own / "own-tool").exists()


def test_variables_meant_for_another_python_do_not_reach_ours(machine: Machine) -> None:
    machine.add_python("python3")

    ran = machine.run("scripts/run", "demo", PYTHONPATH="/elsewhere", PYTHONHOME="/elsewhere")

    assert "PYTHONPATH=:" in ran.stdout


def test_script_may_be_called_through_a_link(machine: Machine) -> None:
    machine.add_python("python3")
    link = machine.elsewhere / "streamproxy"
    link.symlink_to(machine.checkout / "scripts" / "run")

    ran = subprocess.run(
        [link, "demo"], env={"PATH": str(machine.bin)}, capture_output=True, text=True, timeout=50, check=True
    )

    assert ran.stdout.endswith(": demo\n")


def test_real_python_makes_a_real_environment_without_the_network(machine: Machine) -> None:
    """The one test of the real pip and venv; a project with a build backend of its own asks for no download."""
    (machine.bin / "python3").symlink_to(os.path.realpath(sys.executable))
    (machine.checkout / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (machine.checkout / "backend.py").write_text(BACKEND)

    first = machine.run("scripts/run", "serve", PIP_NO_INDEX="1", PIP_USER="1", PIP_TARGET="/nonexistent")
    second = machine.run("scripts/run", "demo", PIP_NO_INDEX="1")

    assert (first.returncode, first.stdout) == (0, f"{machine.checkout}/.venv ['serve']\n"), first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (0, f"{machine.checkout}/.venv ['demo']\n", "")


BACKEND = """\
import zipfile

FILES = {
    "streamproxy.py": "import sys\\ndef main():\\n    print(sys.prefix, sys.argv[1:])\\n",
    "streamproxy-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: streamproxy\\nVersion: 1\\n",
    "streamproxy-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "streamproxy-1.dist-info/entry_points.txt": "[console_scripts]\\nstreamproxy = streamproxy:main\\n",
    "streamproxy-1.dist-info/RECORD": "",
}


def build_editable(directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{directory}/streamproxy-1-py3-none-any.whl", "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
    return "streamproxy-1-py3-none-any.whl"
"""


def ci(machine: Machine, *, check: int = 0, test: int = 0) -> CompletedProcess[str]:
    """Run CI with a check and tests that end as given."""
    for name, status in (("check", check), ("test", test)):
        script = machine.checkout / "scripts" / name
        script.write_text(f"#!/bin/sh\necho last line of {name}\nexit {status}\n")
    return machine.run(".ci/run")


@pytest.mark.parametrize(("check", "test", "status"), [(0, 0, 0), (1, 0, 1), (0, 5, 5), (1, 2, 2)])
def test_ci_fails_when_the_check_or_a_test_fails_and_ends_with_the_line_of_the_tests(
    machine: Machine, check: int, test: int, status: int
) -> None:
    machine.add("ffmpeg", "#!/bin/sh\n")
    machine.add("python3", "#!/bin/sh\n")

    ran = ci(machine, check=check, test=test)

    assert ran.returncode == status
    assert ran.stdout.splitlines()[-1] == "last line of test"
    assert ("FAILED" in ran.stdout) == bool(check)


def test_ci_goes_on_visibly_where_packages_cannot_be_installed(machine: Machine) -> None:
    machine.add("python3", "#!/bin/sh\n")
    machine.add("id", "#!/bin/sh\necho 0\n")
    machine.add("apt-get", f"#!/bin/sh\necho apt-get $* >>{machine.log}\nexit 100\n")

    ran = ci(machine)

    assert ran.returncode == 0
    assert "could not install ffmpeg" in ran.stdout
    assert machine.log.read_text().startswith("apt-get update")


def test_ci_installs_nothing_that_is_there(machine: Machine) -> None:
    for program in ("ffmpeg", "mpv", "cvlc", "chromium", "python3"):
        machine.add(program, "#!/bin/sh\n")
    machine.add("apt-get", f"#!/bin/sh\necho apt-get $* >>{machine.log}\n")

    ci(machine)

    assert not machine.log.exists()
