"""Streams that were made through the API are channels like others, and are there again after a restart."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from streamproxy.config import Config
from streamproxy.model import StreamKind
from streamproxy.playlist.created import CreatedStreams, Order
from streamproxy.state import StateFile

URL = "http://provider.example/live/u/p/1.ts"
ORDER = Order(
    URL,
    failover_urls=("http://other.example/1.m3u8",),
    user_agent="TV/1",
    headers={"Referer": "http://r.example/", "user-agent": "lower"},
    metadata={"id": "42"},
    strict_live_ts=True,
)


async def test_its_id_is_that_of_m3u_proxy() -> None:
    assert ORDER.id == hashlib.md5(URL.encode()).hexdigest()
    transcoded = replace(ORDER, profile="720p")
    assert transcoded.id == hashlib.md5(f"{URL}|transcoded|720p|direct".encode()).hexdigest()
    as_hls = replace(transcoded, output_format="hls")
    assert as_hls.id == hashlib.md5(f"{URL}|transcoded|720p|hls".encode()).hexdigest()


async def test_what_was_asked_for_is_what_the_channel_is() -> None:
    created = CreatedStreams()

    channel = await created.add(ORDER)

    first, second = channel.upstreams
    assert (first.url, first.kind, first.label) == (URL, StreamKind.LIVE, "1")
    assert (second.url, second.kind, second.label) == ("http://other.example/1.m3u8", StreamKind.HLS, "1 (2)")
    assert first.headers == second.headers == {"Referer": "http://r.example/", "User-Agent": "TV/1"}
    assert (channel.strict, channel.metadata) == (True, {"id": "42"})
    assert created.find(channel.id) is created.find(f"{channel.id}.ts") is channel


async def test_it_must_not_lead_to_this_machine_unless_that_is_allowed() -> None:
    created = CreatedStreams()
    channel = await created.add(ORDER)
    assert all(upstream.foreign for upstream in channel.upstreams)

    created.configure(Config.model_validate({"api": {"local_urls": True}}))

    found = created.find(channel.id)
    assert found
    assert not any(upstream.foreign for upstream in found.upstreams)


async def test_those_not_used_for_longest_come_first() -> None:
    created = CreatedStreams()
    ids = [(await created.add(Order(f"http://h/{number}.ts"))).id for number in range(3)]

    created.find(ids[1])
    created.use(ids[0])
    created.use("another")

    assert [channel.id for channel in created] == [ids[1], ids[2], ids[0]]


async def test_they_are_there_again_after_a_restart_until_they_are_removed(tmp_path: Path) -> None:
    file = tmp_path / "streams.json"
    first = CreatedStreams(StateFile(file))
    channel = await first.add(ORDER)

    second = CreatedStreams(StateFile(file))
    assert second.order(channel.id) == ORDER
    assert second.find(channel.id) == channel
    assert await second.remove(channel.id)
    assert not await second.remove(channel.id)

    assert len(CreatedStreams(StateFile(file))) == 0


@pytest.mark.parametrize("content", ["{", "7", '[{"url": 7}]', '[{"no": "url"}]'])
def test_a_damaged_file_is_set_aside_and_told_without_its_addresses(tmp_path: Path, content: str) -> None:
    path = tmp_path / "streams.json"
    path.write_text(content)

    with structlog.testing.capture_logs() as logs:
        created = CreatedStreams(StateFile(path))

    assert len(created) == 0
    assert [entry["event"] for entry in logs] == ["streams_not_read"]
    assert URL not in str(logs)
    assert (tmp_path / "streams.json.damaged").read_text() == content


async def test_what_a_stream_is_transcoded_from_is_found_too() -> None:
    created = CreatedStreams()

    channel = await created.add(replace(ORDER, profile="720p"))

    assert channel.transcode
    assert created.find(ORDER.id) is channel.transcode.source
    assert created.order(ORDER.id) is None
