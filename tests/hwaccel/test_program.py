"""What is tried is what is run: ffmpeg is told the same of its environment."""

import json
from pathlib import Path

import pytest

from streamproxy.hwaccel.program import run
from streamproxy.sources.process import Process
from tests.helpers.programs import program

SHOW = "import json; os.write(1, json.dumps(dict(os.environ)).encode())"


async def test_hardware_is_tried_and_used_in_the_same_environment_which_holds_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"XDG_RUNTIME_DIR": "/run/user/1", "LIBVA_DRIVER_NAME": "iHD", "CUDA_VISIBLE_DEVICES": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("API_TOKEN", "s3cret")
    command = [program(tmp_path, SHOW)]

    tried = json.loads((await run(command, timeout=10)).output)
    async with Process(command, "tv") as process:
        used = json.loads(await process.read(1 << 16, 10))

    # The interpreter's own.
    for environment in (tried, used):
        environment.pop("LC_CTYPE", None)
    assert used == tried
    assert used | told == used
    assert "API_TOKEN" not in used
