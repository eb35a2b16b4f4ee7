"""A process that stands for ffmpeg: how it is fed, heard, and above all ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamStalled
from streamproxy.sources.ffmpeg import Ffmpeg, find_ffmpeg
from streamproxy.sources.pipes import Pipe, pipes
from streamproxy.sources.process import LAST_WORDS
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import Recorder
from tests.helpers.programs import is_alive, program
from tests.helpers.stream import packets

FIRST = 'first = int(sys.argv[sys.argv.index("-i") + 1].removeprefix("pipe:"))\n'

COPY = """
while data := os.read(first, 65536):
    os.write(1, data)
"""


@asynccontextmanager
async def running(
    folder: Path, body: str, *, stall: float = 15, grace: float = 3, count: int = 1
) -> AsyncIterator[tuple[Ffmpeg, tuple[Pipe, ...]]]:
    async with pipes(count, stall_timeout=stall) as ways:
        arguments = [part for way in ways for part in ("-i", way.name)]
        async with Ffmpeg(program(folder, FIRST + body), arguments, ways, "tv", grace=grace) as ffmpeg:
            yield ffmpeg, ways


async def relay(ffmpeg: Ffmpeg, sink: Recorder, stall: float = 15) -> None:
    await ffmpeg.relay(sink, RelayConfig(stall_timeout=stall, chunk_delay=0.05))


def number(sink: Recorder) -> int:
    """Read the number that a program wrote as its only packets."""
    return int(sink.data[4:24])


SAYS = """
def say(number):
    os.write(1, (b"G..." + b"%20d" % number).ljust(188, b" ") + (b"G" + bytes(187)) * 9)
"""


async def test_what_goes_in_comes_out_and_the_end_is_passed_on(tmp_path: Path) -> None:
    sink, data = Recorder(), packets(0, 20_000)
    async with running(tmp_path, COPY) as (ffmpeg, (way,)):

        async def feed() -> None:
            for start in range(0, len(data), 50_000):
                way.write(data[start : start + 50_000])
                await way.drain()
            way.end()

        feeding = asyncio.create_task(feed())
        await relay(ffmpeg, sink)
        await feeding
    assert sink.data == data
    assert all(len(chunk) % 188 == 0 for chunk in sink.chunks)


async def test_nobody_who_reads_nothing_makes_the_proxy_hold_it(tmp_path: Path) -> None:
    async with running(tmp_path, "time.sleep(60)") as (_, (way,)):
        passed = 0
        while not way.full:
            way.write(bytes(1 << 16))
            passed += 1 << 16
        assert passed < 1 << 20
        draining = asyncio.create_task(way.drain())
        assert not (await asyncio.wait([draining], timeout=0.2))[0]
        draining.cancel()
        await asyncio.wait([draining])


async def test_of_a_flood_of_complaints_the_last_are_kept_for_one_line(tmp_path: Path) -> None:
    body = 'os.write(2, b"noise\\n" * 1_000_000)\nos.write(2, b"bad \\x1b[31mthing\\n")\nsys.exit(3)'
    async with running(tmp_path, body) as (ffmpeg, _):
        with structlog.testing.capture_logs() as logs, pytest.raises(UpstreamBroken, match="status 3"):
            await relay(ffmpeg, Recorder())
    (entry,) = logs
    assert entry["event"] == "ffmpeg_failed"
    assert entry["said"].endswith("noise | bad [31mthing")
    assert len(entry["said"]) < 2 * LAST_WORDS


async def test_a_flood_of_complaints_does_not_hold_up_the_stream(tmp_path: Path) -> None:
    sink = Recorder()
    async with running(tmp_path, SAYS + 'os.write(2, b"noise\\n" * 1_000_000)\nsay(7)') as (ffmpeg, _):
        await relay(ffmpeg, sink)
    assert number(sink) == 7


async def test_what_ignores_the_request_to_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    body = (
        SAYS
        + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
say(child.pid)
time.sleep(60)
"""
    )
    sink = Recorder()
    with structlog.testing.capture_logs() as logs:
        async with running(tmp_path, body, grace=0.2) as (ffmpeg, _):
            relaying = asyncio.create_task(relay(ffmpeg, sink))
            await sink.holds(1)
            relaying.cancel()
            await asyncio.wait([relaying])
            child = number(sink)
            assert is_alive(child)
    assert [entry["event"] for entry in logs] == ["ffmpeg_killed"]
    async with asyncio.timeout(5):
        while is_alive(child):
            await asyncio.sleep(0.01)


async def test_what_outlives_an_ffmpeg_that_ends_is_killed(tmp_path: Path) -> None:
    body = (
        SAYS
        + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
signal.signal(signal.SIGTERM, signal.SIG_DFL)
say(child.pid)
time.sleep(60)
"""
    )
    sink = Recorder()
    async with running(tmp_path, body) as (ffmpeg, _):
        relaying = asyncio.create_task(relay(ffmpeg, sink))
        await sink.holds(1)
        relaying.cancel()
        await asyncio.wait([relaying])
    async with asyncio.timeout(5):
        while is_alive(number(sink)):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("busy", ["os.write(1, bytes(65536))", "os.read(first, 65536) or sys.exit()"])
async def test_what_waits_for_its_pipes_ends_when_it_is_asked_to(tmp_path: Path, busy: str) -> None:
    body = f"signal.signal(signal.SIGTERM, lambda *_: None)\nos.write(2, b'!')\nwhile True:\n    {busy}"
    with structlog.testing.capture_logs() as logs:
        async with running(tmp_path, body, grace=5) as (_, (way,)):
            way.write(bytes(100))
            await asyncio.sleep(0.3)
    assert logs == []


async def test_what_is_held_back_until_more_comes_is_no_silence(tmp_path: Path) -> None:
    stall = 0.4
    body = f"os.read(first, 1)\nsay(1)\nos.read(first, 1)\nos.read(first, 1)\ntime.sleep({0.4 * stall})\nsay(2)"
    sink = Recorder()
    async with running(tmp_path, SAYS + body, stall=stall) as (ffmpeg, (way,)):
        relaying = asyncio.create_task(relay(ffmpeg, sink, stall))
        way.write(b"1")
        await sink.holds(1)
        way.write(b"2")
        done, _ = await asyncio.wait([relaying], timeout=5.85 * stall)
        assert not done
        way.write(b"3")
        await relaying
    assert len(sink.data) == 2 * 1880


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("sys.exit(1)", "status 1"),
        ("os.write(1, b'junk' * 200_000)", "no MPEG-TS"),
        ("os.closerange(1, 300)\ntime.sleep(60)", "without an end"),
    ],
)
async def test_an_end_that_is_none_is_an_error(tmp_path: Path, body: str, reason: str) -> None:
    async with running(tmp_path, body, grace=0.5) as (ffmpeg, _):
        with pytest.raises(UpstreamBroken, match=reason):
            await relay(ffmpeg, Recorder())


async def test_what_answers_nothing_while_it_is_fed_is_given_up(tmp_path: Path) -> None:
    async with running(tmp_path, "while os.read(first, 65536):\n    pass\ntime.sleep(60)", stall=0.3) as (ffmpeg, ways):

        async def feed() -> None:
            while True:
                ways[0].write(bytes(188))
                await ways[0].drain()
                await asyncio.sleep(0.01)

        feeding = asyncio.create_task(feed())
        with pytest.raises(UpstreamStalled, match=r"0\.3 s"):
            await relay(ffmpeg, Recorder(), stall=0.3)
        feeding.cancel()
        await asyncio.wait([feeding])


async def test_what_waits_for_its_other_input_is_not_given_up(tmp_path: Path) -> None:
    async with running(tmp_path, "time.sleep(60)", stall=0.1, count=2) as (ffmpeg, ways):
        ways[0].write(bytes(188))
        relaying = asyncio.create_task(relay(ffmpeg, Recorder(), stall=0.1))
        done, _ = await asyncio.wait([relaying], timeout=0.6)
        assert not done
        ways[1].write(bytes(188))
        with pytest.raises(UpstreamStalled):
            await relaying


async def test_what_does_not_end_after_its_input_has_is_given_up(tmp_path: Path) -> None:
    async with running(tmp_path, SAYS + "say(1)\ntime.sleep(60)", stall=0.2) as (ffmpeg, ways):
        ways[0].end()
        with pytest.raises(UpstreamStalled):
            await relay(ffmpeg, Recorder(), stall=0.2)


async def test_what_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("#!/no/such/interpreter\n")
    (tmp_path / "ffmpeg").chmod(0o700)
    async with pipes(1, stall_timeout=1) as ways:
        with pytest.raises(UpstreamBroken, match="cannot be started"):
            async with Ffmpeg(str(tmp_path / "ffmpeg"), [], ways, "tv"):
                pass


async def test_it_learns_no_secrets_and_inherits_no_other_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMPROXY_PASSWORD", "s3cr3t")
    secret = tmp_path / "secret"
    body = f"""
found = [os.path.realpath(entry.path) for entry in os.scandir("/proc/self/fd")]
say(1000 * ("STREAMPROXY_PASSWORD" in os.environ) + found.count({str(secret)!r}))
"""
    sink = Recorder()
    with secret.open("wb"):
        async with running(tmp_path, SAYS + body) as (ffmpeg, _):
            await relay(ffmpeg, sink)
    assert number(sink) == 0


async def test_nothing_of_many_runs_stays_behind(tmp_path: Path) -> None:
    def opened() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    async with running(tmp_path, COPY):
        pass
    before = opened()
    for _ in range(5):
        async with running(tmp_path, COPY) as (_, (way,)):
            way.write(bytes(100))
    assert opened() <= before


def test_it_is_found_by_its_path_or_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path, COPY)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg("ffmpeg") == path
    assert find_ffmpeg(path) == path
    assert find_ffmpeg("no-such-program") is None
    assert find_ffmpeg(str(tmp_path)) is None
