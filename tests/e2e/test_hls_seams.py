"""HLS whose segments do not belong together comes out as one stream without a fault."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.formats.splice.playing import decode, faults
from tests.formats.splice.sources import foreign, hevc, usual
from tests.helpers.hls_origin import Answer, HlsOrigin
from tests.helpers.media import transport_stream
from tests.helpers.origin import origin
from tests.helpers.proxy import config, running

pytestmark = [
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the streams are made by ffmpeg"),
    pytest.mark.asyncio(loop_factories=["uvloop"]),
]


async def watched(folder: Path, playlist: list[str], segments: Mapping[str, Answer]) -> bytes:
    """Return what one viewer gets of a playlist that has ended."""
    async with origin() as socket:
        upstream = HlsOrigin(socket)
        socket.script = upstream.answer
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:3", *playlist, "#EXT-X-ENDLIST", ""]
        upstream.serve("/tv.m3u8", "\n".join(lines))
        for name, answer in segments.items():
            upstream.serve(f"/{name}", answer)
        stream = {"url": upstream.url("/tv.m3u8"), "mode": "direct"}
        async with running(config(folder, streams={"tv": stream})) as proxy:
            received = await proxy.get("/stream/tv")
        assert received.status == 200
        return received.body


def listed(*names: str) -> list[str]:
    """List segments; what begins with `#` as it is."""
    return [line for name in names for line in ([name] if name.startswith("#") else ["#EXTINF:3,", name])]


async def test_there_is_no_seam_at_a_discontinuity(tmp_path: Path) -> None:
    playlist = listed("a.ts", "#EXT-X-DISCONTINUITY", "b.ts", "#EXT-X-DISCONTINUITY", "c.ts")

    data = await watched(tmp_path, playlist, {"a.ts": usual(), "b.ts": foreign(), "c.ts": usual()})

    assert faults(data) == []
    player = decode(data)
    assert player.complaints == ""
    assert player.frames["video"] == 75 + 90 + 75


async def test_another_codec_behind_a_discontinuity_gets_a_pid_of_its_own(tmp_path: Path) -> None:
    data = await watched(tmp_path, listed("a.ts", "#EXT-X-DISCONTINUITY", "b.ts"), {"a.ts": usual(), "b.ts": hevc()})

    assert faults(data) == []
    assert decode(data).complaints == ""


async def test_there_is_no_seam_where_a_segment_is_missing(tmp_path: Path) -> None:
    segments: dict[str, Answer] = {"a.ts": usual(), "gone.ts": 404, "c.ts": transport_stream(clock=6)}

    data = await watched(tmp_path, listed("a.ts", "gone.ts", "c.ts"), segments)

    assert faults(data) == []
    assert decode(data).complaints == ""
