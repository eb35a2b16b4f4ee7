"""The program as a person or a service manager runs it: its own process, signals and exit codes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(folder), **more}


@contextmanager
def program(folder: Path, *arguments: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the program until the block ends; gives its process and the address of its playlist."""
    command = [sys.executable, "-m", "streamproxy", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment(folder, **more), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        try:
            for line in process.stderr:
                if match := re.match(r"Playlist: (http://\S+)/playlist\.m3u", line):
                    yield process, re.sub(r"//[^:/]+", "//127.0.0.1", match[1])
                    break
            else:
                pytest.fail("it ended without saying where its playlist is")
        finally:
            process.kill()


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as response:
        return bytes(response.read())


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamproxy", *arguments],
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_without_a_configuration_it_serves_the_test_channel(tmp_path: Path) -> None:
    with program(tmp_path, "--port", "0") as (_, base):
        assert f"{base}/stream/demo.ts" in fetch(f"{base}/playlist.m3u").decode()
        with urllib.request.urlopen(f"{base}/stream/demo.ts", timeout=5) as stream:
            assert stream.read(1880)[::188] == b"G" * 10


@pytest.mark.parametrize("arguments", [["-c", "my.yml"], ["serve", "-c", "my.yml"], ["serve"]])
def test_a_configuration_is_named_or_found(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "my.yml").write_text("server: {host: 127.0.0.1, port: 0}\nstreams: {news: 'http://h/1.ts'}\n")
    (tmp_path / "config.yml").symlink_to("my.yml")

    with program(tmp_path, *arguments) as (_, base):
        assert b"/stream/news.ts" in fetch(f"{base}/playlist.m3u")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_at_once_however_many_watch(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    with program(tmp_path, "demo", "--port", "0", "--host", "127.0.0.1") as (process, base):
        port = int(base.rpartition(":")[2])
        viewers = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for viewer in viewers:
            viewer.sendall(b"GET /stream/demo HTTP/1.1\r\nHost: x\r\n\r\n")
            assert viewer.recv(12) == b"HTTP/1.1 200"

        begun = time.monotonic()
        process.send_signal(sent)

        assert process.wait(timeout=10) == code
        assert time.monotonic() - begun < 5
        for viewer in viewers:
            viewer.close()


def test_a_reload_by_signal_reads_the_file_again(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("server: {host: 127.0.0.1, port: 0}\nstreams: {one: 'http://h/1.ts'}\n")
    with program(tmp_path) as (process, base):
        file.write_text("server: {host: 127.0.0.1, port: 0}\nstreams: {two: 'http://h/2.ts'}\n")
        process.send_signal(signal.SIGHUP)

        deadline = time.monotonic() + 5
        while b"/stream/two.ts" not in fetch(f"{base}/playlist.m3u"):
            assert time.monotonic() < deadline


def test_systemd_is_told_how_it_goes(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        more = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with program(tmp_path, "demo", "--port", "0", **more) as (process, _):
            told = [manager.recv(500).decode() for _ in range(3)]
            process.send_signal(signal.SIGHUP)
            while "RELOADING=1\nMONOTONIC_USEC=" not in told[-1]:
                told.append(manager.recv(500).decode())
            process.terminate()
            while told[-1] != "STOPPING=1":
                told.append(manager.recv(500).decode())

    assert "READY=1\nSTATUS=1 channels" in told
    assert "WATCHDOG=1" in told


def test_a_bad_configuration_ends_it_with_78_and_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("server:\n  prot: 80\nstreams:\n  health: http://h/1.ts\n")

    for command in ([], ["check-config"]):
        ended = run(tmp_path, *command)
        assert ended.returncode == 78
        assert "config.yml:2:3: server.prot" in ended.stderr
        assert "did you mean 'port'?" in ended.stderr
        assert "config.yml:4:3: streams.health" in ended.stderr


def test_check_config_says_what_is_correct(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("streams: {a: 'http://h/1.ts'}\n")

    ended = run(tmp_path, "check-config", "-c", "config.yml")

    assert (ended.returncode, ended.stderr) == (0, "config.yml: correct (0 playlists, 1 streams)\n")


def test_a_port_in_use_ends_it_with_69_and_a_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run(tmp_path, "demo", "--host", "127.0.0.1", "--port", str(taken.getsockname()[1]))

    assert ended.returncode == 69
    assert "Address already in use" in ended.stderr
    assert "--port" in ended.stderr


def test_a_wrong_option_ends_it_with_2(tmp_path: Path) -> None:
    assert run(tmp_path, "--prot", "80").returncode == 2


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = run(tmp_path, "--help").stdout

    assert all(command in shown for command in ("serve", "demo", "check-config", "healthcheck"))


def test_healthcheck_tells_a_running_program_from_none(tmp_path: Path) -> None:
    with program(tmp_path, "demo", "--port", "0", "--host", "127.0.0.1") as (_, base):
        assert run(tmp_path, "healthcheck", "--url", f"{base}/health").returncode == 0
    assert run(tmp_path, "healthcheck", "--url", f"{base}/health").returncode == 1


def test_health_is_answered_as_m3u_proxy_does(tmp_path: Path) -> None:
    with program(tmp_path, "demo", "--port", "0", "--host", "127.0.0.1") as (_, base):
        health = json.loads(fetch(f"{base}/health"))
        root = json.loads(fetch(f"{base}/"))

    statistics = {
        "total_streams": 1,
        "active_streams": 0,
        "total_clients": 0,
        "active_clients": 0,
        "total_bytes_served": 0,
        "total_segments_served": 0,
    }
    assert health["status"] == "healthy"
    assert health["streams"] == root["streams"] == 1
    assert root["status"] == "running"
    assert statistics.items() <= health["stats"].items()
    assert statistics.items() <= root["stats"].items()


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed")
def test_ffprobe_sees_video_and_sound_in_the_first_channel(tmp_path: Path) -> None:
    with program(tmp_path, "demo", "--port", "0", "--host", "127.0.0.1") as (_, base):
        url = fetch(f"{base}/playlist.m3u").decode().splitlines()[2]
        probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url]
        codecs = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=True).stdout.split()

    assert sorted(set(codecs)) == ["aac", "h264"]
