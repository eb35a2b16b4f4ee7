"""Players that people use, each with what it can be given: mpv, VLC, and a browser with hls.js.

The origin is cut by FFmpeg from a film whose frames all differ. mpv and VLC tell the checksums of what they decode, so
that a test knows which frames it saw: a lost, repeated or damaged frame, or a wrong place after a seek, cannot hide.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.helpers import browser
from tests.helpers.hls_origin import send
from tests.helpers.origin import Exchange, Origin, origin
from tests.helpers.proxy import Proxy, config, running

pytestmark = [
    pytest.mark.asyncio(loop_factories=["uvloop"]),  # a player cannot tell one from the other
    pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg, to make what is played"),
]

RATE = 24
"""Frames of the film in a second."""

LENGTH = 40
"""Seconds of the film."""

SHORT = 12
"""Seconds of the recordings."""

PART = 0.5
"""Seconds of a part, and of a group of pictures."""

WINDOW = 5
"""Segments in a live playlist, of one second each."""

WIDTH, HEIGHT = 320, 180
VENDOR = Path(__file__).parents[1] / "vendor" / "hls.js"

ENCODE = (
    *("-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}"),
    *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
    *("-t", str(LENGTH), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-b:v", "1500k"),
    *(
        "-g",
        str(int(PART * RATE)),
        "-keyint_min",
        str(int(PART * RATE)),
        "-sc_threshold",
        "0",
        "-c:a",
        "aac",
        "-ac",
        "2",
    ),
)
FRAGMENTED = ("-hls_segment_type", "fmp4")
CUTS = {
    "live": ("-hls_time", "1"),
    "low": (
        *FRAGMENTED,
        "-hls_time",
        str(PART),
        "-hls_fmp4_init_filename",
        "init.mp4",
        "-hls_segment_filename",
        "%d.m4s",
    ),
    "encrypted": ("-t", str(SHORT), "-hls_time", "1", "-hls_key_info_file", "key.info"),
    "fragmented": (*FRAGMENTED, "-t", str(SHORT), "-hls_time", "1"),
}


@dataclass
class Film:
    """What is played.

    Attributes:
        folder: What the origin serves.
        frames: Numbers of frames, by their checksum.
    """

    folder: Path
    frames: dict[int, int]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Make the film, and cut it."""
    folder = tmp_path_factory.mktemp("film")
    # what a player needs first stands at the end of such a file
    ffmpeg(folder, *ENCODE, "film.mp4")
    for name, options in CUTS.items():
        (folder / name).mkdir()
        (folder / name / "file.key").write_bytes(b"0123456789abcdef")
        (folder / name / "key.info").write_text("file.key\nfile.key\n")
        ffmpeg(
            folder / name, "-i", "../film.mp4", "-c", "copy", "-f", "hls", "-hls_list_size", "0", *options, "index.m3u8"
        )
    listed = ffmpeg(folder, "-i", "film.mp4", "-map", "0:v", "-f", "framecrc", "-").splitlines()
    checksums = [int(line.rpartition(",")[2], 16) for line in listed if not line.startswith("#")]
    frames = {checksum: number for number, checksum in enumerate(checksums)}
    assert len(frames) == LENGTH * RATE
    return Film(folder, frames)


def ffmpeg(folder: Path, *arguments: str) -> str:
    command = ("ffmpeg", "-nostdin", "-v", "error", *arguments)
    return subprocess.run(command, cwd=folder, check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout


@dataclass
class Site:
    """The script of the origin: the folder of a film, and two live channels that begin when it does.

    Attributes:
        folder: What is served as it is.
        begun: When it began, in the time of the loop.
        asked: Paths with their queries, in order.
    """

    folder: Path
    begun: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    asked: list[str] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        self.asked.append(exchange.path)
        path, _, query = exchange.path[1:].partition("?")
        if path == "live/now.m3u8":
            body = self._live().encode()
        elif path == "low/now.m3u8":
            body = (await self._low(query)).encode()
        elif found := re.fullmatch(r"low/whole/(\d+).m4s", path):
            body = b"".join([(await self._part(int(found[1]) * 2 + half)) for half in range(2)])
        elif found := re.fullmatch(r"low/(\d+).m4s", path):
            body = await self._part(int(found[1]))
        elif path == "page.html":
            body = PAGE.encode()
        else:
            body = ((VENDOR if path == "hls.min.js" else self.folder) / path).read_bytes()
        await send(exchange, body)

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self.begun

    def _live(self) -> str:
        """Write a playlist that goes on by a segment each second."""
        first = int(self._age())
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, first + WINDOW):
            lines += ["#EXTINF:1,", f"index{number}.ts"]
        return "\n".join([*lines, ""])

    def _parts(self) -> int:
        """How many parts there are by now."""
        return 2 * WINDOW + int(self._age() / PART)

    async def _part(self, number: int) -> bytes:
        """Wait until there is such a part."""
        await asyncio.sleep(max(0.0, (number + 1 - 2 * WINDOW) * PART - self._age()))
        return (self.folder / "low" / f"{number}.m4s").read_bytes()

    async def _low(self, query: str) -> str:
        """Write a playlist of parts, two to a segment; wait for the one that is asked for."""
        if asked := re.search(r"_HLS_msn=(\d+)(?:&_HLS_part=(\d+))?", query):
            await self._part(int(asked[1]) * 2 + int(asked[2] or 1))
        there = self._parts()
        first = there // 2 - WINDOW
        lines = [
            *("#EXTM3U", "#EXT-X-VERSION:9", "#EXT-X-TARGETDURATION:1", f"#EXT-X-PART-INF:PART-TARGET={PART}"),
            f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={3 * PART}",
            *(f"#EXT-X-MEDIA-SEQUENCE:{first}", '#EXT-X-MAP:URI="init.mp4"'),
        ]
        for number in range(2 * first, there):
            if number >= there - 6:
                lines.append(f'#EXT-X-PART:DURATION={PART},URI="{number}.m4s",INDEPENDENT=YES')
            if number % 2:
                lines += ["#EXTINF:1,", f"whole/{number // 2}.m4s"]
        return "\n".join([*lines, f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{there}.m4s"', ""])


STREAMS = {
    "live": "live/now.m3u8",
    "low": "low/now.m3u8",
    "encrypted": "encrypted/index.m3u8",
    "fragmented": "fragmented/index.m3u8",
    "film": "film.mp4",
}


@dataclass
class Stage:
    """What a test works with."""

    proxy: Proxy
    site: Site
    origin: Origin

    def url(self, path: str) -> str:
        """Return an address of the proxy."""
        return f"http://127.0.0.1:{self.proxy.port}{path}"


@asynccontextmanager
async def stage(film: Film, folder: Path, *names: str) -> AsyncIterator[Stage]:
    """Run the origin, and the proxy with some of its streams."""
    site = Site(film.folder)
    async with origin(site) as upstream:
        streams = {name: upstream.url(f"/{STREAMS[name]}") for name in names}
        async with running(config(folder, streams=streams)) as proxy:
            yield Stage(proxy, site, upstream)


LONGEST = 30.0
"""Seconds after which a player hangs."""


async def run(folder: Path, *command: str) -> bytes:
    """Run a player to its end, and return what it wrote to its output."""
    with (folder / "said").open("w+b") as said:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(LONGEST):
                output, _ = await process.communicate()
        except TimeoutError:
            pytest.fail(f"{command[0]} did not end: {(folder / 'said').read_text(errors='replace')[-2000:]}")
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        assert process.returncode == 0, (folder / "said").read_text(errors="replace")[-2000:]
    return output


async def mpv(folder: Path, url: str, start: float | None = None, seconds: float | None = None) -> list[int]:
    """Play with mpv as fast as it can; tell the checksums of the frames that it showed.

    Args:
        folder: Where it may write.
        url: What to play.
        start: Where to begin; frames before it, which have to be decoded for those behind it, are told as well.
        seconds: How much to play; None for all.
    """
    log = folder / "log"
    await run(
        folder,
        *("mpv", "--no-config", "--no-terminal", "--no-ytdl", f"--log-file={log}", "--vf=lavfi=[showinfo]"),
        *("--vo=null", "--untimed", "--ao=null", "--ao-null-untimed"),
        *([f"--start={start}"] if start else []),
        *([f"--frames={round(seconds * RATE)}"] if seconds else []),
        url,
    )
    lines = log.read_text().splitlines()
    assert not [line for line in lines if re.match(r"\[ *[\d.]+\]\[[ef]\]", line)]
    return [int(found[1], 16) for line in lines if (found := re.search(r"showinfo.* checksum:(\w+)", line))]


async def vlc(folder: Path, url: str, start: float | None = None, seconds: float | None = None) -> list[int]:
    """Play with VLC as fast as it can; see `mpv`."""
    pictures = await run(
        folder,
        # it refuses to run as root
        *(("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--") if os.geteuid() == 0 else ()),
        *("cvlc", "-v", "--play-and-exit", "--no-sout-audio"),
        *("--sout", "#transcode{vcodec=I420}:std{access=file,mux=dummy,dst=-}", "--sout-keep"),
        *([f"--start-time={start}"] if start else []),
        *([f"--run-time={seconds}"] if seconds else []),
        url,
    )
    size = WIDTH * HEIGHT * 3 // 2
    assert len(pictures) % size == 0
    return [zlib.adler32(pictures[place : place + size], 0) for place in range(0, len(pictures), size)]


Player = Callable[..., Awaitable[list[int]]]


def player(play: Player, *programs: str) -> object:
    missing = [program for program in programs if not shutil.which(program)]
    mark = pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)}")
    return pytest.param(play, id=programs[0], marks=mark)


with_each_player = pytest.mark.parametrize("play", [player(mpv, "mpv"), player(vlc, "cvlc", "setpriv")])


def numbers(film: Film, checksums: list[int]) -> list[int]:
    """Tell which frames were seen; -1 for what is no frame of the film."""
    return [film.frames.get(checksum, -1) for checksum in checksums]


def assert_whole(frames: list[int]) -> None:
    """Check that a recording was seen to its end; VLC never shows the last frame of MPEG-TS."""
    assert frames == list(range(len(frames)))
    assert SHORT * RATE - len(frames) in (0, 1)


@with_each_player
@pytest.mark.parametrize("path", ["/hls/live/playlist.m3u8", "/stream/live.ts"])
async def test_live_hls_plays_on_beyond_its_first_playlist(film: Film, tmp_path: Path, play: Player, path: str) -> None:
    async with stage(film, tmp_path, "live") as on:
        frames = numbers(film, await play(tmp_path, on.url(path), seconds=WINDOW + 2))

    first = frames[0]
    assert frames == list(range(first, first + len(frames)))
    assert first + len(frames) > (WINDOW + 1) * RATE


@with_each_player
@pytest.mark.parametrize("name", ["encrypted", "fragmented"])
async def test_a_recording_plays_to_its_end(film: Film, tmp_path: Path, play: Player, name: str) -> None:
    async with stage(film, tmp_path, name) as on:
        assert_whole(numbers(film, await play(tmp_path, on.url(f"/hls/{name}/playlist.m3u8"))))


@with_each_player
async def test_a_film_plays_from_the_place_that_is_sought(film: Film, tmp_path: Path, play: Player) -> None:
    async with stage(film, tmp_path, "film") as on:
        frames = numbers(film, await play(tmp_path, on.url("/stream/film.mp4"), start=30.3, seconds=2))

    first = frames[0]
    assert first in range(30 * RATE, int(30.3 * RATE) + 1)
    assert frames == list(range(first, first + len(frames)))
    assert first + len(frames) >= 32 * RATE


@with_each_player
async def test_the_list_plays_channel_by_channel(film: Film, tmp_path: Path, play: Player) -> None:
    async with stage(film, tmp_path, "encrypted", "fragmented") as on:
        frames = numbers(film, await play(tmp_path, on.url("/playlist.m3u")))

    second = frames.index(0, 1)
    assert_whole(frames[:second])
    assert_whole(frames[second:])


PAGE = """\
<!doctype html>
<link rel="icon" href="data:,">
<video muted autoplay crossorigin></video>
<script src="hls.min.js"></script>
<script>
const video = document.querySelector("video");
let parts = 0, fail;
const failed = new Promise((_, reject) => fail = reject);
failed.catch(() => {});
video.addEventListener("error", () => fail(new Error(video.error.message)));

function load(url) {
    if (!url.includes(".m3u8")) {
        video.src = url;
        return;
    }
    const hls = new Hls();
    hls.on(Hls.Events.ERROR, (_, error) => error.fatal && fail(new Error(error.details)));
    hls.on(Hls.Events.FRAG_LOADED, (_, loaded) => parts += Boolean(loaded.part));
    hls.loadSource(url);
    hls.attachMedia(video);
}

// gives the position once it is beyond a place
function reach(place) {
    return Promise.race([failed, new Promise(done => setInterval(() => {
        if (video.currentTime > place)
            done(video.currentTime);
    }, 20))]);
}

// gives the position of the next frame shown once the player says that it is there
async function seek(place) {
    const sought = new Promise(done => video.addEventListener("seeked", done, {once: true}));
    video.currentTime = place;
    await Promise.race([failed, sought]);
    return new Promise(done => video.requestVideoFrameCallback((_, frame) => done(frame.mediaTime)));
}
</script>
"""


@pytest.fixture(scope="module")
def debugger() -> Iterator[str]:
    """Run a browser for all tests of this module."""
    if not browser.PROGRAM:
        pytest.skip("needs chromium")
    with browser.browser() as address:
        yield address


@asynccontextmanager
async def shown(debugger: str, on: Stage, path: str) -> AsyncIterator[browser.Page]:
    """Show something on a page that comes from elsewhere, and check that a film was seen, and nothing refused."""
    async with browser.page(debugger, on.origin.url("/page.html")) as page:
        await page.run(f"load('{on.url(path)}')")
        yield page
        assert await page.run("video.getVideoPlaybackQuality().totalVideoFrames") > RATE
        assert page.complaints == []


async def play_on(page: browser.Page, seconds: float) -> None:
    """Wait until the page has played for so long."""
    begun = await page.run("reach(0)")
    await page.run(f"reach({begun + seconds})")


async def play_and_seek(page: browser.Page, place: float) -> None:
    """Play, seek, and play on; check that the picture shown after the seek is from there."""
    await page.run("reach(1)")
    frame = await page.run(f"seek({place})")
    await page.run(f"reach({place + 1})")
    assert place - 0.1 < frame < place + 1


async def test_a_browser_plays_live_hls_beyond_its_first_playlist(film: Film, tmp_path: Path, debugger: str) -> None:
    async with stage(film, tmp_path, "live") as on, shown(debugger, on, "/hls/live/playlist.m3u8") as page:
        await play_on(page, WINDOW - 1)

        assert f"/live/index{WINDOW + 1}.ts" in on.site.asked


async def test_a_browser_plays_low_latency_hls_part_by_part(film: Film, tmp_path: Path, debugger: str) -> None:
    async with stage(film, tmp_path, "low") as on, shown(debugger, on, "/hls/low/playlist.m3u8") as page:
        await play_on(page, 4)

        assert await page.run("parts") > 4
        assert [path for path in on.site.asked if "_HLS_part=" in path]


@pytest.mark.parametrize("name", ["encrypted", "fragmented"])
async def test_a_browser_plays_a_recording_and_seeks(film: Film, tmp_path: Path, debugger: str, name: str) -> None:
    async with stage(film, tmp_path, name) as on, shown(debugger, on, f"/hls/{name}/playlist.m3u8") as page:
        await play_and_seek(page, 8)


async def test_a_browser_plays_a_film_and_seeks(film: Film, tmp_path: Path, debugger: str) -> None:
    async with stage(film, tmp_path, "film") as on, shown(debugger, on, "/stream/film.mp4") as page:
        await play_and_seek(page, 30)

        asked = [exchange.headers.get("Range", "bytes=0-") for exchange in on.origin.exchanges]
        starts = [int(re.sub(r"\D", "", part.partition("-")[0])) for part in asked]
        size = (film.folder / "film.mp4").stat().st_size
        assert [start for start in starts if size / 2 < start < size * 0.9]
