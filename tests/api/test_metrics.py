"""Prometheus is told what was counted, under names that the dashboard and the rules use."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from streamproxy.api.metrics import LoopLag, StreamproxyCollector
from streamproxy.audience import Audience, Visitor
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import RelayConfig
from streamproxy.metrics import Histogram
from streamproxy.model import Channel, Upstream
from streamproxy.playlist.library import Library
from streamproxy.sources.accounts import Accounts
from streamproxy.tasks import Tasks
from tests.helpers.origin import origin
from tests.helpers.proxy import Proxy, config, running
from tests.test_audience import Watcher

CONFIG = Path(__file__).parents[2] / "config"


async def told(proxy: Proxy) -> Counter[str]:
    """Read the metrics: each value by its name and labels."""
    answer = await proxy.get("/metrics")
    assert answer.status == 200
    values: Counter[str] = Counter()
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}"] = sample.value  # type: ignore[assignment]
    return values


async def test_what_viewers_got_is_told_in_all_and_by_channel(tmp_path: Path) -> None:
    async with origin() as upstream:
        streams = {"news": upstream.url("/1.ts"), "films": upstream.url("/2.ts")}
        async with running(config(tmp_path, streams=streams)) as proxy:
            async with proxy.open("/stream/news") as one, proxy.open("/stream/news") as two:
                await one.reader.readexactly(20_000)
                await two.reader.readexactly(20_000)
                during = await told(proxy)
            await upstream.until(lambda seen: not +seen.open)
            after = await told(proxy)

    assert during["streamproxy_viewers{}"] == during["streamproxy_channel_viewers{channel=news}"] == 2
    assert during["streamproxy_channel_upstream_up{channel=news}"] == during["streamproxy_channels_running{}"] == 1
    assert during["streamproxy_first_byte_seconds_count{}"] == 2
    assert after["streamproxy_viewers{}"] == after["streamproxy_channels_running{}"] == 0
    assert after["streamproxy_viewers_seen_total{}"] == 2
    sent, received = (after[f"streamproxy_channel_{what}_bytes_total{{channel=news}}"] for what in ("sent", "received"))
    assert after["streamproxy_sent_bytes_total{}"] == sent >= 40_000
    assert received >= during["streamproxy_channel_received_bytes_total{channel=news}"] >= 20_000
    assert "streamproxy_channel_viewers{channel=films}" not in after


async def test_openmetrics_is_told_to_whoever_asks_for_it(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as proxy:
        answer = await proxy.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    read = openmetrics(answer.body.decode())  # type: ignore[no-untyped-call]
    assert "streamproxy_viewers" in {family.name for family in read}


def collector(audience: Audience) -> StreamproxyCollector:
    tasks = Tasks()
    registry = BroadcastRegistry(lambda _: pytest.fail("nothing is opened"), RelayConfig(), tasks)

    async def fetch(_: Upstream, __: float) -> bytes:
        raise AssertionError

    return StreamproxyCollector(audience, Library(fetch, tasks), registry, Accounts({"provider": 2}), LoopLag())


def test_of_thousands_of_channels_those_with_most_viewers_are_told_and_the_rest_together() -> None:
    audience = Audience()
    for number in range(2000):
        channel = Channel(f"c{number}", "", (Upstream("http://h/", "h"),))
        with audience.attend(channel, Visitor("192.0.2.1", ""), Watcher(number)):
            pass
    watched = Channel("c7", "", (Upstream("http://h/", "h"),))

    with audience.attend(watched, Visitor("192.0.2.1", ""), Watcher(5)):
        families = {family.name: family for family in collector(audience).collect()}

    samples = families["streamproxy_channel_sent_bytes"].samples
    assert len(samples) == 501
    assert (samples[0].labels, samples[0].value) == ({"channel": "c7"}, 12)
    assert samples[-1].labels == {"channel": "(others)"}
    assert sum(sample.value for sample in samples) == sum(range(2000)) + 5


def test_a_histogram_counts_what_is_at_most_a_bound_and_all_below_it() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.1, 0.5, 1.0, 7.0):
        histogram.add(seconds)

    assert histogram.counts == [1, 2, 1]
    assert histogram.total == 8.6


def names_in(text: str) -> set[str]:
    return set(re.findall(r"streamproxy_\w+", text))


@pytest.fixture
def names() -> set[str]:
    """All names there are, with the endings under which they are stored."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}
    families = list(collector(Audience()).collect())
    return {family.name + ending for family in families for ending in endings.get(family.type, ("",))}


def test_the_dashboard_asks_for_what_there_is(names: set[str]) -> None:
    dashboard = json.loads((CONFIG / "grafana.json").read_text())
    asked = {name for panel in dashboard["panels"] for t in panel["targets"] for name in names_in(t["expr"])}

    assert asked <= names
    assert len(asked) > 10


def test_the_rules_ask_for_what_there_is(names: set[str]) -> None:
    assert names_in((CONFIG / "prometheus.yml").read_text()) <= names
