"""What is measured: each scenario by name, with the sides that are compared and how good they should be."""

import asyncio
import contextlib
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import failover, sluggards, transcoding
from tests.bench.load import Account, Plan, Visit
from tests.bench.measure import cpu, memory, percentile
from tests.bench.processes import (
    Origin,
    Server,
    polling,
    running_floor,
    running_hls_origin,
    running_origin,
    running_proxy,
    running_rival,
    viewers,
)
from tests.helpers.origin import origin

Figures = dict[str, float]
"""What one run gave, by the names of `report.FIGURES`: seconds, bytes, bits per second, or counts."""

Side = Callable[[float], Figures]
"""Does one run; the argument is how many seconds to count."""

FLOOR = "floor"
"""The side that is the bare sender."""

BIT_RATE = 8e6
_ARRIVALS = 250
"""Viewers that come in a second."""

_SETTLE = 2.5
"""Seconds after which a channel has all the past that it keeps, and newcomers have got what they get of it at once."""

_HLS_VIEWERS, _HLS_FIRST = 20, 5
_HLS_SETTLE = 10.0
"""Seconds after which whoever came has got what they get at once, and memory has been as full as it gets."""

_HLS_WEIGHING = 4.0
"""Seconds in which two segments come: what is occupied rises and falls with each."""

_LIST_ENTRIES = 100_000
_POLL = 0.005


@dataclass(frozen=True)
class Limit:
    """How good a figure of the first side should be.

    Attributes:
        most: What it should not exceed.
        of_ratio: Whether it is the ratio to the second side that should not.
    """

    most: float
    of_ratio: bool = False


@dataclass(frozen=True)
class Scenario:
    """Something to measure.

    Attributes:
        about: What happens.
        sides: What is compared, by name; run in turn, since machines are moody. The ratio is of the first two.
        limits: How good the figures should be, by name.
        obstacle: Tells what stands in the way of measuring all of it.
    """

    about: str
    sides: Mapping[str, Side]
    limits: Mapping[str, Limit]
    obstacle: Callable[[], str | None] = lambda: None


def scenarios(rival: str | None = None) -> dict[str, Scenario]:
    """List what can be measured here.

    Args:
        rival: The path of a Python that has Streamlink, to compare with that; None to compare with nothing.
    """
    return {
        "fanout": Scenario(
            "1 channel, 200 viewers",
            _relay_and_floor(1, 200),
            {"cpu_per_gb": Limit(1.2, of_ratio=True), "upstreams_peak": Limit(1), "stalls": Limit(0)},
        ),
        "many-channels": Scenario(
            "100 channels, 2 viewers each",
            _relay_and_floor(100, 200),
            {"cpu_per_gb": Limit(2.6, of_ratio=True), "upstreams_peak": Limit(1), "stalls": Limit(0)},
        ),
        "crowd": Scenario(
            "1 channel, 1,000 viewers",
            _relay_and_floor(1, 1000),
            {"cpu_per_gb": Limit(1.2, of_ratio=True), "memory_per_viewer": Limit(16e3), "stalls": Limit(0)},
        ),
        "idle": Scenario("nobody watches; one has", {"proxy": idle}, {"cpu_share": Limit(0.001)}),
        "slow-viewers": Scenario(
            "1 channel, 50 viewers; with them one that never reads, one at 1 kB/s and one that vanishes",
            {"disturbed": disturbed, "alone": lambda seconds: relay(1, 50, seconds)},
            {"gap_p99": Limit(1.2, of_ratio=True), "stalls": Limit(0)},
            obstacle=sluggards.why_not_vanishing,
        ),
        "big-list": Scenario(
            f"a list of {_LIST_ENTRIES:,} channels",
            {"proxy": lambda _: big_list(_LIST_ENTRIES)},
            {
                "block_loading": Limit(0.05),
                "block_reloading": Limit(0.05),
                "block_serving": Limit(0.05),
                "list_first": Limit(0.05),
                "list_later": Limit(0.05),
                "list_packed": Limit(0.05),
            },
        ),
        "hls-viewers": Scenario(
            f"1 HLS channel of {BIT_RATE / 1e6:g} Mbit/s, {_HLS_VIEWERS} viewers",
            _hls_and_rival(rival),
            {"cpu_per_gb": Limit(0.2, of_ratio=True), "memory_per_viewer": Limit(64e3), "failures": Limit(0)},
        ),
        "failover": Scenario(
            f"upstreams are lost; viewers come in the middle, with a key frame each {failover.GROUP} s",
            {"proxy": lambda _: losses_and_joins()},
            {"switch_p95": Limit(0.1), "join_p95": Limit(0.1)},
            obstacle=failover.why_not,
        ),
        "transcode": Scenario(
            f"1 channel of {BIT_RATE / 1e6:g} Mbit/s, 1 viewer; CPU without that of ffmpeg",
            {
                "transcoded": lambda seconds: transcoded("~small", seconds),
                "raw": lambda seconds: transcoded("", seconds),
            },
            {"cpu_share": Limit(0.02)},
            obstacle=transcoding.why_not,
        ),
        "zap": Scenario(
            "20 channels, 100 viewers a second come, who leave after 0.05 to 0.5 s",
            {"proxy": zap},
            {"upstreams_peak": Limit(1), "upstreams_left": Limit(0), "failures": Limit(0)},
        ),
    }


def relay(channels: int, count: int, seconds: float, *, settle: float = _SETTLE) -> Figures:
    """Have viewers watch through the proxy, spread over channels."""
    with (
        _workplace() as folder,
        running_origin(BIT_RATE) as origin,
        running_proxy(folder, streams=origin.streams(channels)) as proxy,
    ):
        account = _carry_out(_watchers(proxy.server, channels, count, seconds, settle))
        return _figures(account) | _memory(account, channels) | _upstreams(origin)


def floor(count: int, seconds: float) -> Figures:
    """Have viewers watch what the bare sender sends."""
    with _workplace() as folder, running_floor(folder, BIT_RATE) as server:
        return _figures(_carry_out(_watchers(server, 1, count, seconds)))


def hls(
    count: int, first: int, seconds: float, *, settle: float = _HLS_SETTLE, weighing: float = _HLS_WEIGHING
) -> Figures:
    """Have viewers watch an HLS channel as one transport stream.

    Args:
        count: How many.
        first: How many of them are there when memory is looked at for the first time.
        seconds: How long to count.
        settle: Seconds from when they come until memory is looked at, or counting begins.
        weighing: Seconds for which memory is looked at.
    """
    with (
        _workplace() as folder,
        running_hls_origin(BIT_RATE) as origin,
        running_proxy(folder, streams={"c0": origin.url("/live.m3u8")}) as proxy,
    ):
        begin = settle + weighing
        visits = [Visit(0 if number < first else begin, _path(0)) for number in range(count)]
        plan = _plan(
            proxy.server,
            visits,
            weigh_at=settle,
            count_from=begin + settle,
            seconds=seconds,
            weigh_for=weighing,
        )
        account = _carry_out(plan)
        fetched = origin.stats()["total"]
    # Not its gaps: between two segments there is more than a second in which nothing comes.
    figures = _figures(account)
    _, few, all_of_them = account.memory
    return {name: figures[name] for name in ("cpu_per_gb", "failures", "rate_median", "cpu_of_viewers")} | {
        "memory": all_of_them,
        "memory_per_viewer": (all_of_them - few) / (count - first),
        "segments_fetched": fetched,
    }


def rivals(python: str, count: int, first: int, seconds: float) -> Figures:
    """Have as many viewers pull the channel with Streamlink, one by one."""
    with running_hls_origin(BIT_RATE) as origin, running_rival(python, origin.url("/live.m3u8")) as rival:
        rival.viewers(first)
        time.sleep(_HLS_SETTLE)
        few = _weigh(rival.pid)
        rival.viewers(count)
        time.sleep(_HLS_SETTLE)
        (before, _), cpu_before, begin = rival.viewers(count), cpu(rival.pid), time.monotonic()
        time.sleep(seconds)
        (after, failures), cpu_after, took = rival.viewers(count), cpu(rival.pid), time.monotonic() - begin
        all_of_them = _weigh(rival.pid)
        return {
            "cpu_per_gb": (cpu_after - cpu_before) / (after - before) * 1e9,
            "failures": failures,
            "rate_median": (after - before) * 8 / took / count,
            "memory": all_of_them,
            "memory_per_viewer": (all_of_them - few) / (count - first),
            "segments_fetched": origin.stats()["total"],
        }


def idle(seconds: float) -> Figures:
    """Let one viewer come and go; then count."""
    with (
        _workplace() as folder,
        running_origin(BIT_RATE) as origin,
        running_proxy(folder, streams=origin.streams(1)) as proxy,
    ):
        plan = _plan(proxy.server, [Visit(0, _path(0), stay=1)], count_from=2, seconds=seconds)
        account = _carry_out(plan)
        return {
            "cpu_share": account.cpu / seconds,
            "memory": account.memory[-1],
            "started_in": proxy.started_in,
        }


def transcoded(profile: str, seconds: float) -> Figures:
    """Have somebody watch a channel of real pictures and sound.

    Args:
        profile: What follows its name; nothing for the channel as it comes.
        seconds: How long to count.
    """
    return {} if transcoding.why_not() else asyncio.run(_transcoded(profile, seconds))


async def _transcoded(profile: str, seconds: float) -> Figures:
    channel = transcoding.Channel(BIT_RATE)
    async with origin(channel.answer) as upstream:
        settings = {
            "streams": {"c0": upstream.url()},
            "transcode": {"hwaccel": "off", "profiles": {"small": transcoding.PROFILE}},
        }
        with _workplace() as folder, running_proxy(folder, **settings) as proxy:
            share, rate = await transcoding.watch(proxy.server, f"/stream/c0{profile}", seconds)
    return {"cpu_share": share, "rate_median": rate}


def disturbed(seconds: float) -> Figures:
    """Have viewers watch while others do not read, or vanish when counting begins."""
    path = _path(0)
    with _workplace() as folder, contextlib.ExitStack() as stack:
        origin = stack.enter_context(running_origin(BIT_RATE))
        proxy = stack.enter_context(
            running_proxy(folder, streams=origin.streams(1), server={"host": "0.0.0.0", "port": 0})
        )
        stack.enter_context(sluggards.never_reading(proxy.server, path))
        stack.enter_context(sluggards.trickling(proxy.server, path))
        vanish = None
        if not sluggards.why_not_vanishing():
            vanish = stack.enter_context(sluggards.vanishing(proxy.server, path))
        load = stack.enter_context(viewers(_watchers(proxy.server, 1, 50, seconds)))
        load.wait_until_counting()
        if vanish:
            vanish()
        return _figures(load.account()) | _upstreams(origin)


def big_list(entries: int) -> Figures:
    """Load, reload and serve a long list, while somebody asks all the time how the proxy is."""
    with _workplace() as folder, running_origin(BIT_RATE, entries=entries) as origin:
        lists = [{"name": "big", "url": origin.url("/list.m3u")}]
        begin = time.monotonic()
        with running_proxy(folder, playlists=lists) as proxy:
            proxy.wait_for_channels(entries)
            figures = {"started_in": time.monotonic() - begin}
        with running_proxy(folder) as proxy, polling(proxy.server) as poller:
            figures["memory_before"] = memory(proxy.server.pid)
            time.sleep(1)
            figures["block_idle"] = poller.slowest()
            figures["loaded_in"] = proxy.reload(entries, playlists=lists)
            figures["block_loading"] = _aftermath(poller.slowest)
            figures["memory"] = memory(proxy.server.pid)
            figures["reloaded_in"] = proxy.reload(entries)
            figures["block_reloading"] = _aftermath(poller.slowest)
            figures["memory_reloaded"] = memory(proxy.server.pid)
            figures |= _fetch_list(proxy.server)
            figures["block_serving"] = _aftermath(poller.slowest)
            figures["memory_served"] = memory(proxy.server.pid)
    return figures


def zap(seconds: float) -> Figures:
    """Have many come and leave."""
    chance = random.Random(1)
    count = int(100 * seconds)
    visits = [
        Visit(chance.uniform(0, seconds), _path(chance.randrange(20)), chance.uniform(0.05, 0.5)) for _ in range(count)
    ]
    with (
        _workplace() as folder,
        running_origin(BIT_RATE) as origin,
        running_proxy(folder, streams=origin.streams(20)) as proxy,
    ):
        account = _carry_out(_plan(proxy.server, sorted(visits), count_from=0, seconds=seconds + 0.5))
        time.sleep(1)
        figures = _present(
            upstreams_left=origin.stats()["open"],
            cpu_per_visit=account.cpu / count,
            first_byte_median=account.first_byte_median,
            first_byte_p99=account.first_byte_p99,
            failures=account.failures,
        )
        return figures | _upstreams(origin)


def losses_and_joins(switches: int = 40, joins: int = 25) -> Figures:
    """Lose upstreams that have a backup, and have viewers come in the middle of groups of pictures.

    Args:
        switches: Upstreams that are lost.
        joins: Viewers who come to each kind of stream, one after the other.
    """
    if failover.why_not():
        return {}
    return asyncio.run(_losses_and_joins(switches, joins))


async def _losses_and_joins(switches: int, joins: int) -> Figures:
    with _workplace() as folder:
        async with failover.providing() as (provider, seen):
            settings = {"streams": failover.streams(seen, switches), "retry": {"attempts": 0}}
            with running_proxy(folder, **settings) as proxy:
                lost = [await failover.switch(proxy.server, provider, number) for number in range(switches)]
                joined = {}
                for name in failover.STREAMS:
                    async with failover.on_air(proxy.server, name):
                        joined[name] = [await failover.join(proxy.server, name) for _ in range(joins)]
    slowest = max(joined.values(), key=lambda times: percentile(times, 0.95) or 0)
    return _present(
        switch_median=percentile(lost, 0.5),
        switch_p95=percentile(lost, 0.95),
        join_median=percentile(slowest, 0.5),
        join_p95=percentile(slowest, 0.95),
    )


def _relay_and_floor(channels: int, count: int) -> dict[str, Side]:
    return {"proxy": lambda seconds: relay(channels, count, seconds), FLOOR: lambda seconds: floor(count, seconds)}


def _hls_and_rival(python: str | None) -> dict[str, Side]:
    sides: dict[str, Side] = {"proxy": lambda seconds: hls(_HLS_VIEWERS, _HLS_FIRST, seconds)}
    if python is not None:
        sides["streamlink"] = lambda seconds: rivals(python, _HLS_VIEWERS, _HLS_FIRST, seconds)
    return sides


def _weigh(pid: int) -> float:
    """Tell what a process occupies in the middle of the time that is set for that."""
    samples = []
    for _ in range(round(_HLS_WEIGHING / 0.1)):
        samples.append(memory(pid))
        time.sleep(0.1)
    return statistics.median(samples)


@contextmanager
def _workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


def _path(channel: int) -> str:
    return f"/stream/c{channel}.ts"


def _watchers(server: Server, channels: int, count: int, seconds: float, settle: float = _SETTLE) -> Plan:
    """Plan viewers who come one after the other, and stay: one for each channel, and later the others."""
    first = [Visit(number / _ARRIVALS, _path(number)) for number in range(channels)]
    begin = channels / _ARRIVALS + settle
    others = [Visit(begin + number / _ARRIVALS, _path(number % channels)) for number in range(count - channels)]
    end = begin + len(others) / _ARRIVALS + settle
    return _plan(server, [*first, *others], weigh_at=begin, count_from=end, seconds=seconds)


def _plan(
    server: Server,
    visits: Sequence[Visit],
    *,
    count_from: float,
    seconds: float,
    weigh_at: float = 0,
    weigh_for: float = 0,
) -> Plan:
    return Plan("127.0.0.1", server.port, visits, weigh_at, count_from, seconds, server.pid, weigh_for)


def _carry_out(plan: Plan) -> Account:
    with viewers(plan) as load:
        load.wait_until_counting()
        return load.account()


def _figures(account: Account) -> Figures:
    gigabytes = account.delivered / 1e9
    return _present(
        cpu_per_gb=account.cpu / gigabytes if gigabytes else None,
        first_byte_median=account.first_byte_median,
        first_byte_p99=account.first_byte_p99,
        gap_p99=account.gap_p99,
        gap_most=account.gap_most,
        stalls=account.stalls,
        failures=account.failures,
        rate_median=account.rate_median,
        rate_least=account.rate_least,
        cpu_of_viewers=account.cpu_of_viewers,
    )


def _memory(account: Account, channels: int) -> Figures:
    nobody, first_viewers, all_viewers = account.memory
    return {
        "memory_per_channel": (first_viewers - nobody) / channels,
        "memory_per_viewer": (all_viewers - first_viewers) / (account.viewers - channels),
    }


def _upstreams(origin: Origin) -> Figures:
    stats = origin.stats()
    return {"upstreams_opened": stats["total"], "upstreams_peak": stats["peak"]}


def _present(**figures: float | None) -> Figures:
    return {name: value for name, value in figures.items() if value is not None}


def _aftermath(slowest: Callable[[], float]) -> float:
    """Tell how long the event loop was blocked, at most: freeing what is no longer needed counts too."""
    time.sleep(0.5)
    # A block may begin right after an answer, so as much as the pause between two questions may be missing.
    return slowest() + _POLL


def _fetch_list(server: Server) -> Figures:
    first, _ = _fetch(server, "identity")
    later = [_fetch(server, "identity")[0] for _ in range(5)]
    first_packed, _ = _fetch(server, "gzip")
    while not _fetch(server, "gzip")[1]:
        time.sleep(0.1)
    packed = [_fetch(server, "gzip")[0] for _ in range(5)]
    return _present(
        list_first=first,
        list_later=percentile(later, 0.5),
        list_first_packed=first_packed,
        list_packed=percentile(packed, 0.5),
    )


def _fetch(server: Server, coding: str) -> tuple[float, bool]:
    """Get the list; return the seconds that took, and whether it came packed."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        host = f"127.0.0.1:{server.port}"
        head = f"GET /playlist.m3u HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = connection.recv(1 << 16)
        while connection.recv(1 << 20, socket.MSG_TRUNC | socket.MSG_WAITALL):
            pass
    return time.monotonic() - begin, b"Content-Encoding: gzip" in answer.partition(b"\r\n\r\n")[0]
