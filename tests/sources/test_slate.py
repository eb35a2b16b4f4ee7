"""The slates: small, sound for ever, and as a picture should be that is shown between others."""

import asyncio
import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from streamproxy.sources.slate import Slate, SlateSource, slate_clip
from tests.helpers.tscheck import check

PACKET_SIZE = 188
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
every_slate = pytest.mark.parametrize("slate", Slate)


class FirstWrite:
    """A sink that ends the source with its first write."""

    data = b""
    full = True

    def write(self, data: bytes, /) -> None:
        self.data = data

    async def drain(self) -> None:
        raise asyncio.CancelledError


@pytest.fixture(scope="module", params=Slate)
def looped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rounds of a slate, in a file."""
    clip = slate_clip(request.param)
    path = tmp_path_factory.mktemp("slate") / "slate.ts"
    path.write_bytes(clip.read(0, 4 * clip.packet_count))
    return path


def probe(path: Path, *options: str) -> list[dict[str, str]]:
    """Return what ffprobe says of the packets."""
    command = ["ffprobe", "-v", "error", *options, "-show_entries", "packet=flags,dts_time,pts_time", "-of", "json"]
    ran = subprocess.run([*command, path], capture_output=True, text=True, check=True, timeout=20)
    packets: list[dict[str, str]] = json.loads(ran.stdout)["packets"]
    return packets


@every_slate
def test_a_slate_is_small(slate: Slate) -> None:
    assert len(files("streamproxy").joinpath("data", f"{slate}.ts").read_bytes()) <= 60_000


def test_slates_differ() -> None:
    assert len({slate_clip(slate).read(0, 100) for slate in Slate}) == len(Slate)


@every_slate
def test_a_slate_is_sound_over_its_seams_and_where_time_stamps_wrap(slate: Slate) -> None:
    clip = slate_clip(slate)
    wrap = int((1 << 33) / 90_000 / clip.duration)

    for begin in (0, (wrap - 5) * clip.packet_count):
        report = check(clip.read(begin, begin + 10 * clip.packet_count))

        assert report.faults == []
        assert {stream.stream_type for stream in report.streams.values()} >= {0x1B, 0x0F}


@every_slate
def test_a_slate_lasts_as_long_as_its_pictures_and_its_sound(slate: Slate) -> None:
    assert slate_clip(slate).duration == 2.88 == 72 / 25 == 135 * 1024 / 48_000


@every_slate
async def test_a_slate_begins_with_its_first_packet_and_leads_by_what_it_is_told(slate: Slate) -> None:
    clip, sink = slate_clip(slate), FirstWrite()

    with pytest.raises(asyncio.CancelledError):
        await SlateSource(slate, lead=0.5).run(sink)

    assert sink.data == clip.read(0, clip.packets_until(0.5))


@needs_ffmpeg
def test_a_decoder_can_start_once_a_second(looped: Path) -> None:
    video = probe(looped, "-select_streams", "v")
    keys = [number for number, packet in enumerate(video) if packet["flags"].startswith("K")]

    assert keys == list(range(0, 4 * 72, 24))


@needs_ffmpeg
def test_pictures_are_shown_in_the_order_in_which_they_come(looped: Path) -> None:
    assert all(packet["pts_time"] == packet["dts_time"] for packet in probe(looped, "-select_streams", "v"))


@needs_ffmpeg
def test_ffmpeg_decodes_it_without_a_word(looped: Path) -> None:
    ran = subprocess.run(
        ["ffmpeg", "-v", "warning", "-i", looped, "-f", "null", "-"], capture_output=True, text=True, timeout=60
    )

    assert (ran.returncode, ran.stderr) == (0, "")
