"""The API is that of m3u-proxy: paths, statuses, names and types of what is answered, and what it does."""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.api import ROOT, api_of, world
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.proxy import config, running

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # what is below is tested under both

WHOLE, NUMBER = (int,), (int, float)
NONE = type(None)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


class Extra(NamedTuple):
    """A shape that may have more names than m3u-proxy has."""

    shape: Mapping[str, Any]
    more: Mapping[str, Any]


PS = dict.fromkeys(
    (
        "total_streams",
        "active_streams",
        "total_clients",
        "active_clients",
        "total_bytes_served",
        "total_segments_served",
        "uptime_seconds",
    ),
    WHOLE,
)
STREAM = Extra(
    {
        "stream_id": str,
        "original_url": str,
        "current_url": str,
        "user_agent": str,
        "client_count": WHOLE,
        "total_bytes_served": WHOLE,
        "total_segments_served": WHOLE,
        "error_count": WHOLE,
        "is_active": bool,
        "has_failover": bool,
        "failover_urls": [str],
        "failover_resolver_url": (str, NONE),
        "current_failover_index": WHOLE,
        "failover_attempts": WHOLE,
        "last_failover_time": (TIME, NONE),
        "stream_type": {"HLS", "VOD", "Live Continuous", "Transcoding"},
        "created_at": TIME,
        "last_access": TIME,
        "metadata": dict,
        "headers": dict,
    },
    {"name": str, "group": str, "rate": NUMBER, "media_info": object, "output_media_info": object},
)
CLIENT = Extra(
    {
        "client_id": str,
        "stream_id": str,
        "user_agent": str,
        "ip_address": str,
        "username": (str, NONE),
        "bytes_served": WHOLE,
        "segments_served": WHOLE,
        "created_at": TIME,
        "last_access": TIME,
        "is_connected": bool,
    },
    {"since": TIME, "rate": NUMBER, "lag": WHOLE, "overruns": WHOLE, "skipped": WHOLE},
)
MADE = {
    "stream_id": str,
    "primary_url": str,
    "failover_urls": [str],
    "user_agent": (str, NONE),
    "stream_type": {"direct", "hls"},
    "stream_endpoint": str,
    "playlist_url": str,
    "direct_url": str,
    "message": str,
}
HEALTH = {
    "status": {"healthy"},
    "root_path": str,
    "version": str,
    "uptime_seconds": WHOLE,
    "active_streams": WHOLE,
    "active_clients": WHOLE,
    "total_bytes_served": WHOLE,
    "stats": PS,
}
INFO = {
    "version": str,
    "ffmpeg_version": (str, NONE),
    "streamlink_version": (str, NONE),
    "ytdlp_version": (str, NONE),
    "hardware_acceleration": Extra(
        {"enabled": bool, "type": str, "device": (str, NONE), "ffmpeg_args": [str]}, {"attempts": list}
    ),
    "redis": {
        "enabled": {False},
        "pooling_enabled": {False},
        "host": NONE,
        "port": NONE,
        "password": NONE,
        "db": NONE,
        "max_clients_per_stream": NONE,
        "stream_timeout": NONE,
        "sharing_strategy": NONE,
    },
    "transcoding": {"enabled": bool, "profiles": dict},
    "configuration": {
        "default_user_agent": str,
        "client_timeout": (*NUMBER, NONE),
        "stream_timeout": (*NUMBER, NONE),
        "cleanup_interval": (*NUMBER, NONE),
        "max_retries": WHOLE,
    },
    "worker": {"worker_id": str, "heartbeat_interval": (*NUMBER, NONE), "multi_worker_mode": bool},
}
MATCHING = {
    "stream_id": str,
    "client_count": WHOLE,
    "metadata": dict,
    "last_access": TIME,
    "is_active": bool,
    "url": str,
    "stream_type": str,
}
DETAILED = {
    "proxy_stats": PS,
    "connection_pool_stats": dict,
    "failover_stats": dict,
    "performance_metrics": dict,
    "error_stats": dict,
    "stream_count": WHOLE,
    "client_count": WHOLE,
}
PERFORMANCE = {
    "connection_pool": dict,
    "performance_metrics": dict,
    "failover_stats": dict,
    "error_stats": dict,
    "timestamp": TIME,
}
FAILED_OVER = {
    "message": {"Failover triggered successfully - all clients will seamlessly reconnect"},
    "new_url": str,
    "failover_index": WHOLE,
    "failover_attempts": WHOLE,
    "active_clients": WHOLE,
    "stream_type": str,
}
HOOK = Extra(
    {"url": str, "events": [str], "timeout": NUMBER, "retry_attempts": WHOLE},
    {"delivered": WHOLE, "failed": WHOLE, "dropped": WHOLE, "pending": WHOLE, "configured": bool},
)
DETAIL = {"detail": str}
MISTAKES = {"detail": [Extra({"type": str, "loc": [(str, int)], "msg": str, "input": object}, {"ctx": dict})]}


def misfits(value: Any, shape: Any, at: str = "") -> list[str]:
    """Say where a value is not of a shape."""
    if isinstance(shape, Extra):
        more = {key: shape.more[key] for key in value.keys() & shape.more.keys()}
        return misfits(value, {**shape.shape, **more}, at)
    if isinstance(shape, dict):
        if not isinstance(value, dict) or value.keys() != shape.keys():
            return [f"{at} has {sorted(set(value) ^ set(shape))} or not"]
        return [found for key in shape for found in misfits(value[key], shape[key], f"{at}.{key}")]
    if isinstance(shape, list):
        return [found for each in value for found in misfits(each, shape[0], f"{at}[]")]
    return [] if _is_one(value, shape) else [f"{at} is {value!r}"]


def _is_one(value: Any, shape: Any) -> bool:
    if isinstance(shape, tuple):
        return any(_is_one(value, each) for each in shape)
    if isinstance(shape, set):
        return value in shape
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    return isinstance(value, shape) and (shape is bool or shape is object or not isinstance(value, bool))


class Row(NamedTuple):
    """What is asked for, and the shape of what is answered; `{live}` and `{up}` stand for a stream and its upstream."""

    method: str
    path: str
    shape: Any
    body: Any = None
    status: int = 200


HOOK_BODY = {"url": "{up}/hook", "events": ["splice"], "timeout": 1, "retry_attempts": 0}
ROWS = (
    Row(
        "GET",
        "/",
        Extra(
            {"status": {"running"}, "message": str, "version": str, "uptime": WHOLE, "stats": PS}, {"streams": WHOLE}
        ),
    ),
    Row("GET", "/health", Extra(HEALTH, {"streams": WHOLE})),
    Row("GET", "/info", INFO),
    Row("POST", "/streams", MADE, {"url": "{up}/3.ts"}),
    Row("POST", "/streams", MADE | {"metadata": {"a": {"1"}}}, {"url": "{up}/3.ts", "metadata": {"a": 1}}),
    Row("GET", "/streams", {"streams": [STREAM], "total": WHOLE}),
    Row("GET", "/streams/{live}", {"stream": STREAM, "clients": [CLIENT], "client_count": {1}}),
    Row("GET", "/streams/nope", DETAIL, status=404),
    Row("DELETE", "/streams/{live}", {"message": str}),
    Row("DELETE", "/streams/nope", DETAIL, status=404),
    Row("POST", "/streams/{live}/failover", FAILED_OVER),
    Row("POST", "/streams/nope/failover", DETAIL, status=404),
    Row(
        "GET",
        "/streams/by-metadata?field=id&value=42",
        {
            "filter": {"field": {"id"}, "value": {"42"}},
            "active_only": {True},
            "matching_streams": [MATCHING],
            "total_matching": {1},
            "total_clients": {1},
        },
    ),
    Row("GET", "/streams/by-metadata?field=id", MISTAKES, status=422),
    Row(
        "GET",
        "/streams/counts-by-metadata?field=playlist_uuid&values=P,Q",
        {"field": {"playlist_uuid"}, "counts": {"P": {1}, "Q": {0}}},
    ),
    Row("GET", "/streams/counts-by-metadata", MISTAKES, status=422),
    Row(
        "DELETE",
        "/streams/by-metadata?field=id&value=42",
        {"message": str, "deleted_streams": [str], "skipped_streams": [object], "deleted_count": {1}},
    ),
    Row(
        "DELETE",
        "/streams/by-metadata?field=id&value=42&force=false",
        {
            "message": {"Deleted 0 stream(s) matching id=42"},
            "deleted_streams": [str],
            "skipped_streams": [{"stream_id": str, "reason": {"has_active_clients"}, "active_clients": {1}}],
            "deleted_count": {0},
        },
    ),
    Row("DELETE", "/streams/by-metadata?field=id&value=42&client_id=" + "x" * 129, MISTAKES, status=422),
    Row(
        "DELETE",
        "/streams/oldest-by-metadata?field=playlist_uuid&value=P",
        {"message": str, "deleted_stream": str, "stream_age_seconds": NUMBER, "deleted_count": {1}},
    ),
    Row(
        "DELETE",
        "/streams/oldest-by-metadata?field=id&value=none",
        {"message": {"No streams found matching id=none"}, "deleted_stream": NONE, "deleted_count": {0}},
    ),
    Row("DELETE", "/streams/oldest-by-metadata", MISTAKES, status=422),
    Row("DELETE", "/hls/{live}/clients/me", {"message": {"Client me disconnected"}}),
    Row("DELETE", "/hls/nope/clients/nobody", {"message": {"Client nobody disconnected"}}),
    Row("GET", "/stats", Extra(PS, {"proxy_stats": PS, "streams": [STREAM], "clients": [CLIENT]})),
    Row("GET", "/stats/detailed", DETAILED),
    Row("GET", "/stats/performance", PERFORMANCE),
    Row("GET", "/stats/streams", {"total_streams": {1}, "streams": [STREAM]}),
    Row("GET", "/stats/clients", {"total_clients": {1}, "clients": [CLIENT]}),
    Row("GET", "/clients", {"total_clients": {1}, "clients": [CLIENT]}),
    Row("GET", "/clients/me", CLIENT),
    Row("DELETE", "/clients/me", {"message": str}),
    Row(
        "POST",
        "/test-connection",
        {"success": {True}, "message": str, "status_code": {200}, "url_tested": {"{up}/1.ts"}},
        {"url": "{up}/1.ts/"},
    ),
    Row(
        "POST",
        "/test-connection",
        {"success": {False}, "message": str, "error": str, "url_tested": {"http://127.0.0.1:1"}},
        {"url": "http://127.0.0.1:1"},
    ),
    Row("POST", "/test-connection", MISTAKES, {}, 422),
    Row(
        "POST", "/webhooks", {"message": {"Webhook added successfully"}, "webhook_url": str, "events": [str]}, HOOK_BODY
    ),
    Row("POST", "/webhooks", MISTAKES, {"url": "wss://h/"}, 422),
    Row("GET", "/webhooks", {"webhooks": [HOOK]}),
    Row("DELETE", "/webhooks?webhook_url=http://h/", DETAIL, status=404),
    Row("DELETE", "/webhooks", MISTAKES, status=422),
    Row("POST", "/webhooks/test?webhook_url=http://h/", DETAIL, status=404),
    Row("GET", "/nope/at/all", {"detail": {"Not Found"}}, status=404),
    Row("GET", "/nope", {"detail": {"Not Found"}}, status=404),
)


def filled(value: Any, names: Mapping[str, str]) -> Any:
    """Put values where `{names}` stand."""
    if isinstance(value, str):
        for name, meant in names.items():
            value = value.replace(f"{{{name}}}", meant)
        return value
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    return {filled(each, names) for each in value} if isinstance(value, set) else value


@pytest.mark.parametrize("prefix", ["", ROOT])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path[:60]} {row.status}")
async def test_an_answer_has_the_status_and_the_shape_of_m3u_proxys(tmp_path: Path, row: Row, prefix: str) -> None:
    async with world(tmp_path, prefix=prefix) as here:
        names = {"live": here.live, "up": here.upstream.url("")}
        told = await here.api.call(row.method, filled(row.path, names), filled(row.body, names))

    assert told.status == row.status, told
    assert told.headers["content-type"].partition(";")[0] == "application/json"
    assert misfits(told.json, filled(row.shape, names)) == []
    if ROOT not in row.path and row.path != "/health":
        assert ROOT not in told.text


WRONG_METHODS = (
    ("PUT", "/", "GET,HEAD"),
    ("POST", "/health", "GET,HEAD"),
    ("PUT", "/streams", "GET,HEAD,POST"),
    ("GET", "/test-connection", "POST"),
    ("POST", "/streams/by-metadata", "DELETE,GET,HEAD"),
    ("GET", "/streams/oldest-by-metadata", "DELETE"),
    ("DELETE", "/streams/counts-by-metadata", "GET,HEAD"),
    ("GET", "/streams/x/failover", "POST"),
    ("POST", "/stats", "GET,HEAD"),
    ("PUT", "/webhooks", "DELETE,GET,HEAD,POST"),
    ("GET", "/webhooks/test", "POST"),
    ("POST", "/stream/x", "GET,HEAD"),
)


async def test_a_wrong_method_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    async with running(config(tmp_path, server={"root_path": ROOT})) as proxy, api_of(proxy) as api:
        for method, path, allowed in WRONG_METHODS:
            for prefix in ("", ROOT):
                told = await api.call(method, prefix + path)
                assert (told.status, told.json) == (405, {"detail": "Method Not Allowed"}), (method, path)
                assert told.headers["allow"] == allowed


async def test_who_asks_for_the_head_alone_gets_no_body(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for path, status in ((f"/stream/{here.live}", 200), ("/stream/nope", 404), ("/health", 200), ("/streams", 200)):
            told = await here.api.call("HEAD", path)
            assert (told.status, told.text) == (status, "")


MISTAKEN: tuple[tuple[dict[str, Any] | bytes, dict[str, Any]], ...] = (
    ({}, {"type": "missing", "loc": ["body", "url"], "msg": "Field required", "input": {}}),
    (
        {"url": "rtmp://x/y"},
        {
            "type": "value_error",
            "loc": ["body", "url"],
            "msg": "Value error, URL must use HTTP or HTTPS protocol",
            "input": "rtmp://x/y",
            "ctx": {"error": {}},
        },
    ),
    (
        {"url": "http://h/", "metadata": {"a": []}},
        {
            "type": "value_error",
            "loc": ["body", "metadata"],
            "msg": "Value error, Metadata value for key 'a' must be a string, number, or boolean",
            "input": {"a": []},
            "ctx": {"error": {}},
        },
    ),
    (b"{", {"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {}}),
    (b"", {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}),
)


@pytest.mark.parametrize(("body", "mistake"), MISTAKEN)
async def test_a_mistake_is_told_as_fastapi_tells_it(
    tmp_path: Path, body: dict[str, Any] | bytes, mistake: dict[str, Any]
) -> None:
    async with running(config(tmp_path)) as proxy, api_of(proxy) as api:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = await api.call("POST", "/streams", raw=raw)

    assert (told.status, told.json) == (422, {"detail": [mistake]})


UNFIT: tuple[dict[str, Any], ...] = (
    {"url": ""},
    {"url": "   "},
    {"url": None},
    {"url": "http://"},
    {"url": "http://h/<SCRIPT>"},
    {"url": "http://h/?javascript:x"},
    {"url": "http://h/", "failover_urls": ["ftp://h/"]},
    {"url": "http://h/", "failover_resolver_url": "x"},
    {"url": "http://h/", "metadata": {"a": None}},
    {"url": "http://h/", "metadata": {"a": {}}},
    {"url": "http://h/", "metadata": []},
    {"url": "http://h/", "headers": {"Host": "x"}},
    {"url": "http://h/", "headers": {"a b": "x"}},
    {"url": "http://h/", "headers": {"a": "x\r\nb: c"}},
    {"url": "http://h/", "user_agent": "a\nb"},
    {"url": "http://h/", "strict_live_ts": "maybe"},
    {"url": "http://127.0.0.1/"},
    {"url": "http://localhost:8080/"},
    {"url": "http://h/", "failover_urls": ["http://[::1]/"]},
    {"url": "http://h/", "failover_resolver_url": "http://169.254.169.254/"},
)


async def test_what_is_unfit_is_refused(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as proxy, api_of(proxy) as api:
        for body in UNFIT:
            told = await api.call("POST", "/streams", body)
            assert told.status == 422, body
            assert misfits(told.json, MISTAKES) == []
        assert (await api.get("/streams"))["total"] == 0


async def test_values_of_metadata_become_texts(tmp_path: Path) -> None:
    metadata = {"a": True, "b": False, "c": 1, "d": 1.5, "e": "x", "f": ""}
    texts = {"a": "True", "b": "False", "c": "1", "d": "1.5", "e": "x", "f": ""}
    async with running(config(tmp_path)) as proxy, api_of(proxy) as api:
        told = (await api.call("POST", "/streams", {"url": "http://h/1.ts", "metadata": metadata})).json
        shown = await api.get(f"/streams/{told['stream_id']}")

    assert told["metadata"] == shown["stream"]["metadata"] == texts


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://h/live/u/p/1.ts", "direct"),
        ("http://h/film.mp4", "direct"),
        ("http://h/tv.m3u8", "hls"),
        ("http://h/tv.m3u8?a=b", "hls"),
        ("http://h/ü?q=ö", "direct"),
    ],
)
async def test_a_stream_is_known_by_the_md5_of_its_address(tmp_path: Path, url: str, kind: str) -> None:
    async with running(config(tmp_path, server={"root_path": ROOT})) as proxy, api_of(proxy, prefix=ROOT) as api:
        told = (await api.call("POST", "/streams", {"url": url, "unknown": 1})).json

    stream_id = hashlib.md5(url.encode()).hexdigest()
    where = f"/hls/{stream_id}/playlist.m3u8" if kind == "hls" else f"/stream/{stream_id}"
    assert (told["stream_id"], told["stream_type"], told["stream_endpoint"]) == (stream_id, kind, where)
    assert told["playlist_url"] == told["direct_url"] == where
    assert told["message"] == f"Stream created successfully ({kind})"
    assert "metadata" not in told


async def test_streams_are_deleted_unless_their_channel_is_excluded_or_others_watch(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        api, where = here.api, "/streams/by-metadata?field=playlist_uuid&value=P"
        idle = await api.make("http://h/idle.ts", metadata={"id": "7", "channel_id": "42", "playlist_uuid": "P"})
        excluded = (await api.call("DELETE", f"{where}&exclude_channel_id=42")).json
        watched = (await api.call("DELETE", f"{where}&force=false&client_id=another")).json
        own = (await api.call("DELETE", f"{where}&force=false&client_id=me")).json
        await here.upstream.until(lambda upstream: not +upstream.open)
        left = await api.get("/streams")

    assert excluded["deleted_streams"] == [idle]
    assert excluded["skipped_streams"] == [{"stream_id": here.live, "reason": "excluded_by_channel_id"}]
    assert watched["skipped_streams"] == [{"stream_id": here.live, "reason": "has_active_clients", "active_clients": 1}]
    assert (own["deleted_streams"], own["deleted_count"], left["total"]) == ([here.live], 1, 0)


async def test_what_is_not_deleted_is_no_stream_that_was_watched(tmp_path: Path) -> None:
    streams = {"news": {"url": "http://h/1.ts", "metadata": {"id": "42", "playlist_uuid": "P"}}}
    async with running(config(tmp_path, streams=streams)) as proxy, api_of(proxy) as api:
        where = "/streams/by-metadata?field=playlist_uuid&value=P&exclude_channel_id=42"
        told = (await api.call("DELETE", where)).json
        watched = await api.get("/stats/streams")

    assert told["skipped_streams"] == [{"stream_id": "news", "reason": "excluded_by_channel_id"}]
    assert watched == {"total_streams": 0, "streams": []}


async def test_the_viewers_of_a_deleted_stream_are_ended(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        told = await here.api.call("DELETE", f"/streams/{here.live}")
        async with asyncio.timeout(5):
            while await here.viewer.reader.read(1 << 16):
                pass
        await here.upstream.until(lambda upstream: not +upstream.open)
        gone = await here.api.call("GET", f"/streams/{here.live}")
        clients = await here.api.get("/clients")

    assert told.json == {"message": f"Stream {here.live} deleted"}
    assert (gone.status, gone.json) == (404, {"detail": "Stream not found"})
    assert clients == {"total_clients": 0, "clients": []}


async def test_metadata_finds_those_that_are_watched_or_all(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        api = here.api
        idle = await api.make("http://h/idle.ts", metadata={"playlist_uuid": "P", "n": 5})
        active = await api.get("/streams/by-metadata?field=playlist_uuid&value=P")
        both = await api.get("/streams/by-metadata?field=playlist_uuid&value=P&active_only=false")
        as_text = await api.get("/streams/by-metadata?field=n&value=5&active_only=false")
        counts = await api.get("/streams/counts-by-metadata?field=playlist_uuid&values=P,Q,%20P&active_only=false")
        active_counts = await api.get("/streams/counts-by-metadata?field=playlist_uuid&values=P,Q")

    assert [each["stream_id"] for each in active["matching_streams"]] == [here.live]
    assert {each["stream_id"] for each in both["matching_streams"]} == {here.live, idle}
    assert (both["total_matching"], both["total_clients"]) == (2, 1)
    assert as_text["total_matching"] == 1
    assert (counts["counts"], active_counts["counts"]) == ({"P": 2, "Q": 0}, {"P": 1, "Q": 0})


async def test_the_oldest_is_that_which_was_made_first_though_it_was_made_again(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as proxy, api_of(proxy) as api:
        made = [await api.make(f"http://h/{n}.ts", metadata={"id": n, "p": "P"}) for n in (1, 2, 3)]
        await api.make("http://h/1.ts", metadata={"id": 1, "p": "P"}, user_agent="other")
        where = "/streams/oldest-by-metadata?field=p&value=P"
        answers = [
            (await api.call("DELETE", where + excluded)).json for excluded in ("", "&exclude_channel_id=2", "", "")
        ]

    assert [answer["deleted_stream"] for answer in answers] == [made[0], made[2], made[1], None]
    assert answers[0]["message"] == "Deleted oldest stream matching p=P"
    assert 0 <= answers[0]["stream_age_seconds"] < 60


async def test_without_another_upstream_there_is_no_failover(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as proxy, api_of(proxy) as api:
        lonely = await api.make("http://h/1.ts")
        told = await api.call("POST", f"/streams/{lonely}/failover")

    reason = "No failover mechanism configured for this stream (neither failover_urls nor failover_resolver_url)"
    assert (told.status, told.json) == (400, {"detail": reason})
