"""Transcoding through the whole program: files, HLS, limits, and what is said where it cannot be."""

import asyncio
import hashlib
import json
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.files import FileServer
from tests.helpers.origin import Exchange, Origin, origin
from tests.helpers.programs import children, death
from tests.helpers.proxy import Answer, Proxy, config, running
from tests.helpers.transcoding import (
    TELEVISION_RATE,
    Live,
    Recording,
    decode,
    film,
    needs_ffmpeg,
    record,
    television,
)
from tests.helpers.tscheck import check

pytestmark = [needs_ffmpeg, pytest.mark.asyncio(loop_factories=["uvloop"])]  # the stages below are tested under both

SMALL = {"max_height": 90, "video_bitrate": "100k", "effort": "low", "key_frame_interval": 0.5}
"""A profile that costs next to nothing."""
PROFILES = {"small": SMALL, "smaller": SMALL | {"max_height": 72, "when_full": "raw"}}
TRANSCODE = {"hwaccel": "off", "max_processes": 9, "threads": 1, "profiles": PROFILES}


@asynccontextmanager
async def on_air(folder: Path, **transcode: object) -> AsyncIterator[tuple[Proxy, Origin]]:
    """Run the program beside an upstream that sends for some seconds."""
    async with origin(Live(television(15), TELEVISION_RATE)) as upstream:
        streams, api = {"news": upstream.url()}, {"local_urls": True}
        settings = config(folder, streams=streams, api=api, transcode=TRANSCODE | transcode)
        async with running(settings) as proxy:
            yield proxy, upstream


async def post(proxy: Proxy, body: object) -> Answer:
    """Ask for a transcoded stream."""
    data = json.dumps(body).encode()
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        head = f"POST /transcode HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        answer = await reader.read()
        writer.close()
    begin, _, rest = answer.partition(b"\r\n\r\n")
    return Answer(int(begin.split(b" ")[1]), {}, rest)


async def test_beyond_the_limit_there_is_a_refusal_with_its_reason_or_the_stream_as_it_comes(tmp_path: Path) -> None:
    async with on_air(tmp_path, max_processes=1) as (proxy, upstream), proxy.open("/stream/news~720p") as viewer:
        assert viewer.status == 200
        refused = await proxy.get("/stream/news~small")
        async with proxy.open("/stream/news~smaller") as other:
            raw = await other.reader.readexactly(188 * 500)
        cut = await proxy.get("/hls/news~small/playlist.m3u8")
        moved = await proxy.get("/hls/news~smaller/playlist.m3u8")
        (ffmpeg,) = children()

        assert (cut.status, cut.body) == (refused.status, refused.body)
        assert (moved.status, moved.headers["location"].partition("/hls/")[2]) == (
            302,
            "news/playlist.m3u8?profile=none",
        )
        assert (refused.status, refused.body) == (503, b'{"detail": "all 1 transcoding processes are in use"}')
        assert (other.status, raw[-188 * 400 :] in television(15)) == (200, True)
        assert upstream.total.total() == 1
    await death(ffmpeg)


async def test_without_ffmpeg_all_but_transcoding_works(tmp_path: Path) -> None:
    async with on_air(tmp_path, ffmpeg=str(tmp_path / "missing")) as (proxy, upstream):
        refusals = [
            await proxy.get("/stream/news~720p"),
            await proxy.get("/stream/news?profile=720p"),
            await proxy.get("/hls/news~720p/playlist.m3u8"),
            await proxy.get("/transcode/profiles"),
            await post(proxy, {"url": upstream.url()}),
        ]
        async with proxy.open("/stream/news") as viewer:
            await viewer.reader.readexactly(188 * 10)
        assert (await proxy.get("/health")).status == 200
        for refusal in refusals:
            assert refusal.status == 501
            assert b"apt install ffmpeg" in refusal.body
            assert b"pip install 'streamproxy[ffmpeg]'" in refusal.body


@pytest.mark.parametrize("server", [{}, {"stream_token": "s3cret/?", "root_path": "/tv"}], ids=["plain", "guarded"])
async def test_a_film_is_transcoded_from_its_beginning_to_its_end(tmp_path: Path, server: dict[str, str]) -> None:
    contents = FileServer(film(2))
    async with origin(contents) as upstream:
        settings = config(
            tmp_path,
            server=server,
            streams={"film": {"url": upstream.url("/secret-user/film.mp4")}},
            transcode=TRANSCODE,
        )
        path = "/token/s3cret%2F%3F/stream/film~small" if server else "/stream/film?profile=small"
        async with running(settings) as proxy, proxy.open(path) as viewer:
            assert viewer.status == 200
            begun = await viewer.reader.readexactly(188)
            (ffmpeg,) = children()
            told = Path(f"/proc/{ffmpeg}/cmdline").read_text()
            data = begun + await viewer.reader.read()
        assert "secret-user" not in told
        assert str(upstream.port) not in told
        assert decode(data) == ""
        times = check(data).streams
        (pictures,) = (seen.pts_range for seen in times.values() if seen.stream_type == 0x1B)
        assert pictures
        assert 1.8 <= (pictures[1] - pictures[0]) / 90_000 <= 2


async def test_a_film_is_transcoded_for_networks_that_this_machine_is_not_in(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server = {"allowed_networks": ["10.0.0.0/8"], "trusted_proxies": ["127.0.0.1"], "stream_token": "s3cret"}
    there = {"X-Forwarded-For": "10.1.2.3"}
    contents = FileServer(film(2))
    async with origin(contents) as upstream:
        settings = config(tmp_path, server=server, streams={"film": upstream.url("/film.mp4")}, transcode=TRANSCODE)
        path = "/token/s3cret/stream/film~small"
        with structlog.testing.capture_logs() as lines:
            async with running(settings) as proxy, proxy.open(path, headers=there) as viewer:
                data = await viewer.reader.readexactly(188)
                (ffmpeg,) = children()
                command = Path(f"/proc/{ffmpeg}/cmdline").read_text().split("\0")
                refused = await proxy.get("/token/s3cret/stream/film")
                seen = [
                    (await proxy.get(page, headers=there)).body.decode() for page in ("/stats", "/metrics", "/health")
                ]
                data += await viewer.reader.read()

    (address,) = [word for word in command if word.startswith("http:")]
    secret = address.partition("/token/")[2].partition("/")[0]
    assert decode(data) == ""
    assert check(data).faults == []
    assert refused.status == 403
    assert "s3cret" not in " ".join(command)
    assert len(secret) >= 43
    assert secret not in repr(lines) + "".join(seen) + "".join(capfd.readouterr())
    assert any(line["event"] == "file_served" for line in lines)


async def test_a_film_that_is_gone_is_told_of_without_the_programs_own_secret(tmp_path: Path) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with origin(refuse) as upstream:
        settings = config(tmp_path, streams={"film": upstream.url("/film.mp4")}, transcode=TRANSCODE)
        with structlog.testing.capture_logs() as lines:
            async with running(settings) as proxy:
                answer = await proxy.get("/stream/film?profile=small")

    assert answer.status >= 500
    assert any(line["event"] == "ffmpeg_failed" for line in lines)
    assert "/token/" not in repr(lines) + repr(answer)


async def test_a_film_is_transcoded_that_somebody_named(tmp_path: Path) -> None:
    contents = film(2)
    async with origin(FileServer(contents)) as upstream:
        settings = config(tmp_path, api={"local_urls": True}, transcode=TRANSCODE)
        async with running(settings) as proxy:
            made = json.loads((await post(proxy, {"url": upstream.url("/film.mp4"), "profile": "small"})).body)
            whole = await proxy.get(made["direct_url"])
            source = hashlib.md5(upstream.url("/film.mp4").encode()).hexdigest()
            raw = await proxy.get(f"/stream/{source}?profile=none")

    assert (raw.status, raw.body) == (200, contents)
    assert whole.status == 200
    recording = Recording(whole.headers["content-type"], whole.body, 0)
    found, times = recording.probe(), [time for time, _ in recording.pictures()]
    assert (found["video"]["height"], found["audio"]["codec_type"]) == (90, "audio")
    assert 1.8 < max(times) - min(times) <= 2
    assert decode(whole.body) == ""
    assert "INPUT" in made["ffmpeg_args"]
    assert "/token/" not in repr(made)


async def test_a_transcoded_channel_is_cut_for_hls(tmp_path: Path) -> None:
    async with on_air(tmp_path) as (proxy, upstream):
        loop = asyncio.get_running_loop()
        came = loop.time()
        moved = await proxy.get("/hls/news/playlist.m3u8?profile=720p&username=me")
        playlist = await proxy.get("/hls/news~720p/playlist.m3u8")
        waited = loop.time() - came
        addresses = [line for line in playlist.body.decode().splitlines() if line and not line.startswith("#")]
        segments = [await proxy.get(address) for address in addresses]

        assert (moved.status, moved.headers["location"].partition("/hls/")[2]) == (
            302,
            "news~720p/playlist.m3u8?username=me",
        )
        assert playlist.status == 200
        assert str(tmp_path) not in playlist.body.decode()
        assert all(re.fullmatch(r"/hls/news~720p/[0-9a-f]{8}-\d+\.ts", address) for address in addresses)
        data = b"".join(segment.body for segment in segments)
        assert check(data).faults == []
        assert decode(data) == ""
        assert upstream.total.total() == 1
        assert waited < 8, "players give up"
        print(f"the first playlist came after {waited:.2f} s")


async def test_what_is_no_transport_stream_is_no_hls(tmp_path: Path) -> None:
    async with on_air(tmp_path) as (proxy, upstream):
        refused = await proxy.get("/hls/news~vp9/playlist.m3u8")
        assert refused.status == 400
        assert b"Profile 'vp9' makes video/webm, which is no HLS; it is at /stream/{id}" in refused.body
        assert upstream.total.total() == 0


async def test_profiles_are_listed_with_the_hardware(tmp_path: Path) -> None:
    async with on_air(tmp_path) as (proxy, _):
        listed = json.loads((await proxy.get("/transcode/profiles")).body)
    names = [profile["name"] for profile in listed["profiles"]]
    assert names[:7] == ["default", "hq", "lowlatency", "720p", "1080p", "hevc", "audio"]
    assert names[-2:] == ["small", "smaller"]
    assert {key for profile in listed["profiles"] for key in profile} == {"name", "description", "parameters"}
    acceleration = listed["hardware_acceleration"]
    assert (acceleration["enabled"], acceleration["type"], acceleration["device"]) == (False, "cpu", None)


async def test_a_stream_is_made_as_clients_of_m3u_proxy_want_it(tmp_path: Path) -> None:
    async with on_air(tmp_path) as (proxy, upstream):
        body = {"url": upstream.url(), "profile": "small", "metadata": {"id": "42"}}
        made = json.loads((await post(proxy, body)).body)
        as_hls = json.loads((await post(proxy, body | {"output_format": "hls"})).body)
        recording = await record(proxy, f"/stream/{made['stream_id']}", 3)
        shown = json.loads((await proxy.get(f"/streams/{made['stream_id']}")).body)["stream"]
        playlist = await proxy.get(f"/hls/{as_hls['stream_id']}/playlist.m3u8")

    told = {name: made.pop(name) for name in ("stream_id", "stream_endpoint", "direct_url", "ffmpeg_args", "message")}
    assert made.pop("metadata") == {
        "id": "42",
        "transcoding": "true",
        "profile": "small",
        "profile_variables": "{}",
        "ffmpeg_args": shlex.join(told["ffmpeg_args"]),
    }
    assert made == {
        "primary_url": upstream.url(),
        "failover_urls": [],
        "user_agent": None,
        "stream_type": "transcoded",
        "playlist_url": None,
        "format": "mpegts",
        "profile": "small",
        "profile_variables": {},
    }
    assert told["stream_id"] == hashlib.md5(f"{upstream.url()}|transcoded|small|direct".encode()).hexdigest()
    assert as_hls["stream_id"] == hashlib.md5(f"{upstream.url()}|transcoded|small|hls".encode()).hexdigest()
    assert told["direct_url"].endswith(f"/stream/{told['stream_id']}")
    assert told["message"].endswith("(direct MPEGTS pipe)")
    assert (as_hls["format"], as_hls["message"].endswith("(HLS output)")) == ("hls", True)
    assert as_hls["playlist_url"].endswith(f"/hls/{as_hls['stream_id']}/playlist.m3u8")
    assert (shown["metadata"]["transcoding"], shown["stream_type"]) == ("true", "Transcoding")
    assert recording.probe()["video"]["height"] == 90
    assert playlist.status == 200


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ("nope", "Profile 'nope' not found. Available profiles: default, hq, lowlatency, 720p, 1080p, hevc, audio"),
        ("-i {input_url} -c copy -f mpegts {output_args}", "transcode.raw_templates allows them"),
    ],
)
async def test_what_is_no_profile_is_refused(tmp_path: Path, profile: str, reason: str) -> None:
    async with on_air(tmp_path) as (proxy, upstream):
        refused = await post(proxy, {"url": upstream.url(), "profile": profile})
        assert refused.status == 400
        assert reason in refused.body.decode()


async def test_templates_are_for_those_who_are_allowed_them(tmp_path: Path) -> None:
    coded = "-c:v libx264 -preset ultrafast -tune zerolatency -g {gop|25} -vf scale=-2:64 -an"
    template = f"-i {{input_url}} {coded} -f mpegts {{output_args}}"
    async with on_air(tmp_path, raw_templates=True) as (proxy, upstream):
        body = {"url": upstream.url(), "profile": template, "profile_variables": {"gop": "10"}}
        made = json.loads((await post(proxy, body)).body)
        recording = await record(proxy, f"/stream/{made['stream_id']}", 3)
        assert recording.probe()["video"]["height"] == 64
        assert "10" in made["ffmpeg_args"]
