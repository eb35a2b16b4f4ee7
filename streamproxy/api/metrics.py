"""Metrics for Prometheus: `/metrics`, read from plain counters at the moment of asking."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streamproxy import __version__
from streamproxy.api.contract import operation
from streamproxy.audience import Audience, StreamRecord
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.metrics import Histogram
from streamproxy.playlist.library import Library
from streamproxy.sources.accounts import Accounts

routes = web.RouteTableDef()

_MOST_CHANNELS = 500
"""Channels that are told one by one: those with the most viewers. The others are told together."""
_OTHERS = "(others)"


class LoopLag:
    """How late the event loop is with what is due.

    Attributes:
        late: How often by how much.
        last: Seconds at the last look.
    """

    def __init__(self) -> None:
        self.late = Histogram()
        self.last = 0.0

    async def sleep(self, seconds: float) -> None:
        """Sleep, and take note of how much longer that was."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        await asyncio.sleep(seconds)
        self.last = max(0.0, loop.time() - due)
        self.late.add(self.last)


class _Row(NamedTuple):
    """What is told of a channel, or of several together."""

    channel: str
    viewers: int
    received: int
    sent: int
    rate: float
    errors: int
    retries: int
    failovers: int
    splices: int
    failures: int
    lag: int
    overruns: int
    skipped: int
    inspected: int
    cc_errors_in: int
    cc_errors_out: int
    pcr_gaps_in: int
    pcr_gaps_out: int
    playing: int


_COUNTERS = {
    "received": ("streamproxy_channel_received_bytes", "Bytes that came from upstreams of live streams"),
    "sent": ("streamproxy_channel_sent_bytes", "Bytes sent to viewers"),
    "errors": ("streamproxy_channel_upstream_losses", "Upstreams lost, or not to be had"),
    "retries": ("streamproxy_channel_upstream_retries", "Upstreams opened after a loss"),
    "failovers": ("streamproxy_channel_failovers", "Times that another upstream took over"),
    "splices": ("streamproxy_channel_splices", "Streams put together into the one that viewers get"),
    "failures": ("streamproxy_channel_failures", "Times that a channel was given up"),
    "overruns": ("streamproxy_channel_overruns", "Times that viewers were too slow and lost a part"),
    "skipped": ("streamproxy_channel_skipped_bytes", "Bytes that viewers lost that way"),
    "inspected": ("streamproxy_channel_inspected_packets", "Packets of a sample, as they came from upstreams"),
    "cc_errors_in": ("streamproxy_channel_cc_errors_in", "Continuity errors among the inspected packets, as they came"),
    "cc_errors_out": ("streamproxy_channel_cc_errors_out", "Continuity errors in a sample of what viewers got"),
    "pcr_gaps_in": ("streamproxy_channel_pcr_gaps_in", "Clocks that jumped among the inspected packets, as they came"),
    "pcr_gaps_out": ("streamproxy_channel_pcr_gaps_out", "Clocks that jumped in a sample of what viewers got"),
}
_GAUGES = {
    "viewers": ("streamproxy_channel_viewers", "Viewers now"),
    "rate": ("streamproxy_channel_sent_bytes_per_second", "Bytes per second to all viewers lately"),
    "lag": ("streamproxy_channel_lag_chunks", "Chunks that wait for the slowest viewer"),
    "playing": ("streamproxy_channel_upstream_up", "1 while an upstream plays, 0 while none does"),
}


class StreamproxyCollector(Collector):
    """Gives names and units to what is counted."""

    def __init__(
        self, audience: Audience, library: Library, broadcasts: BroadcastRegistry, accounts: Accounts, loop: LoopLag
    ) -> None:
        self._audience = audience
        self._library = library
        self._broadcasts = broadcasts
        self._accounts = accounts
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        """Yield everything there is to tell."""
        audience = self._audience
        yield InfoMetricFamily("streamproxy", "What runs", {"version": __version__})
        yield GaugeMetricFamily("streamproxy_channels", "Channels that could be watched", self._library.size)
        yield GaugeMetricFamily("streamproxy_channels_running", "Channels running", len(self._broadcasts.running))
        yield GaugeMetricFamily("streamproxy_viewers", "Viewers now", audience.present)
        yield CounterMetricFamily("streamproxy_viewers_seen", "Viewers ever", audience.total)
        yield CounterMetricFamily("streamproxy_sent_bytes", "Bytes sent to all viewers", audience.sent)
        yield CounterMetricFamily("streamproxy_segments_sent", "HLS segments sent to all viewers", audience.segments)
        yield from self._slots()
        yield GaugeMetricFamily("streamproxy_event_loop_lag_seconds", "How late the loop was", self._loop.last)
        yield _histogram("streamproxy_event_loop_late_seconds", "How late the loop was, each second", self._loop.late)
        yield _histogram(
            "streamproxy_first_byte_seconds", "From a viewer's request to the first byte sent", audience.first_byte
        )
        yield _histogram(
            "streamproxy_join_to_key_frame_seconds",
            "From a viewer's request to the first picture they can decode, of those who join what runs",
            audience.key_frame,
        )
        yield from self._channels()

    def _slots(self) -> Iterator[Metric]:
        held = GaugeMetricFamily("streamproxy_slots_in_use", "Connections of a provider in use", labels=["account"])
        waiting = GaugeMetricFamily("streamproxy_slots_waiting", "Who waits for a connection", labels=["account"])
        limit = GaugeMetricFamily("streamproxy_slots_limit", "Connections that it allows", labels=["account"])
        for account in self._accounts.active():
            held.add_metric([account.label], account.held)
            waiting.add_metric([account.label], account.waiting)
            if account.limit is not None:
                limit.add_metric([account.label], account.limit)
        yield from (held, waiting, limit)

    def _channels(self) -> Iterator[Metric]:
        coming: Counter[str] = Counter()
        for broadcast in self._broadcasts.alive:
            coming[broadcast.channel.id] += broadcast.received
        records = sorted(self._audience.records.values(), key=lambda record: -len(record.clients))
        rows = [_row(record, coming[record.channel.id]) for record in records]
        told = rows[:_MOST_CHANNELS]
        if rest := rows[_MOST_CHANNELS:]:
            told.append(_together(rest))
        for families, family in ((_COUNTERS, CounterMetricFamily), (_GAUGES, GaugeMetricFamily)):
            for field, (name, text) in families.items():
                metric = family(name, text, labels=["channel"])
                for row in told:
                    metric.add_metric([row.channel], getattr(row, field))
                yield metric


def _row(record: StreamRecord, received: int) -> _Row:
    counters = record.counters
    return _Row(
        channel=record.channel.id,
        viewers=len(record.clients),
        received=counters.received + received,
        sent=record.sent,
        rate=record.rate,
        errors=counters.errors,
        retries=counters.retries,
        failovers=counters.failovers,
        splices=counters.splices,
        failures=counters.failures,
        lag=max((client.viewer.lag for client in record.clients.values()), default=0),
        overruns=record.overruns,
        skipped=record.skipped,
        inspected=counters.inspected,
        cc_errors_in=counters.cc_errors_in,
        cc_errors_out=counters.cc_errors_out,
        pcr_gaps_in=counters.pcr_gaps_in,
        pcr_gaps_out=counters.pcr_gaps_out,
        playing=int(record.lost_since is None and bool(record.clients)),
    )


def _together(rows: Iterable[_Row]) -> _Row:
    columns = list(zip(*rows, strict=True))[1:]
    return _Row(_OTHERS, *(sum(column) for column in columns))


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        buckets.append((bound, below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)


METRICS = web.AppKey("metrics", CollectorRegistry)


def registry_of(collector: Collector) -> CollectorRegistry:
    """Put what is told of the streams beside what is told of the process."""
    registry = CollectorRegistry()
    registry.register(collector)
    for of_the_process in (ProcessCollector, PlatformCollector, GCCollector):
        of_the_process(registry=registry)
    return registry


@routes.get("/metrics")
@operation("Tell Prometheus", media_type="text/plain")
async def metrics(request: web.Request) -> web.StreamResponse:
    """Tell everything that is counted in the text format of Prometheus, or in that of OpenMetrics if asked for."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(request.app[METRICS]), headers={"Content-Type": content_type})
