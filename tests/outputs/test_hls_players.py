"""HLS passed on, as a real player takes it: what FFmpeg cuts, it plays through the proxy without a complaint."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

import streamproxy
from tests.helpers.hls_proxy import ENTRY, passing_on
from tests.helpers.origin import Exchange
from tests.helpers.pages import Page, answer

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not shutil.which("ffmpeg") or not shutil.which("ffprobe"), reason="needs ffmpeg and ffprobe"),
]

DEMO = Path(streamproxy.__file__).parent / "data" / "demo.ts"

FRAGMENTED = ("-bsf:a", "aac_adtstoasc", "-hls_segment_type", "fmp4")
CUTS = {
    "transport stream": ("-hls_segment_filename", "%d.ts"),
    "encrypted": ("-hls_key_info_file", "key.info", "-hls_segment_filename", "%d.ts"),
    "fragmented": (*FRAGMENTED, "-hls_segment_filename", "%d.m4s"),
    "byte ranges": ("-hls_flags", "single_file", "-hls_segment_filename", "all.ts"),
    "fragmented byte ranges": (*FRAGMENTED, "-hls_flags", "single_file", "-hls_segment_filename", "all.mp4"),
}


def cut(folder: Path, options: tuple[str, ...]) -> None:
    """Cut the test channel into segments, with relative names."""
    (folder / "file.key").write_bytes(b"0123456789abcdef")
    (folder / "key.info").write_text("file.key\nfile.key\n")
    command = ("ffmpeg", "-v", "error", "-i", DEMO, "-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0")
    subprocess.run((*command, *options, "1.m3u8"), cwd=folder, check=True)


def site(folder: Path) -> dict[str, Page]:
    """Serve a folder, parts of files included."""

    async def send(exchange: Exchange) -> None:
        body = (folder / exchange.path.rpartition("/")[2]).read_bytes()
        asked = exchange.headers.get("Range")
        if asked is None:
            await exchange.send(answer(body))
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last) + 1] if last else body[int(first) :]
        told = f"Content-Range: bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
        await exchange.send(answer(part, told, status="206 Partial Content"))

    return {f"{ENTRY.rpartition('/')[0]}/{file.name}": send for file in folder.iterdir()}


async def run(*command: str | Path) -> tuple[bytes, bytes]:
    """Run a program; return what it wrote to its output and to its errors."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return await process.communicate()


async def packets_of(source: str | Path, *options: str) -> list[bytes]:
    """List the packets of a stream: which stream, size and checksum, in order."""
    command = ("ffmpeg", "-v", "error", *options, "-i", source, "-map", "0", "-c", "copy", "-f", "framemd5", "-")
    output, complaints = await run(*command)
    assert complaints == b""
    rows = [line.split(b",") for line in output.splitlines() if not line.startswith(b"#")]
    return [b",".join((row[0], *row[4:])) for row in rows]


@pytest.mark.parametrize("name", CUTS)
async def test_a_player_gets_every_packet(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    cut(folder, CUTS[name])
    async with passing_on(tmp_path, site(folder)) as stage:
        address = f"http://127.0.0.1:{stage.proxy.port}/hls/news/playlist.m3u8"

        packets = await packets_of(address)

        assert len(packets) > 500
        # From a folder, it would not take a key.
        assert packets == await packets_of(folder / "1.m3u8", "-allowed_extensions", "ALL")
        streams, complaints = await run(
            *("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"), address
        )
        assert (set(streams.split()), complaints) == ({b"h264", b"aac"}, b"")


async def test_a_player_takes_segments_that_call_themselves_something_else(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    cut(folder, ("-hls_segment_filename", "%d.jpg"))
    async with passing_on(tmp_path, site(folder)) as stage:
        packets = await packets_of(f"http://127.0.0.1:{stage.proxy.port}/hls/news/playlist.m3u8")

    assert len(packets) > 500
