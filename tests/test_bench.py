"""The benchmark sees what is there to see."""

import asyncio
import os

import pytest

from tests.bench import failover, report, transcoding
from tests.bench.load import Account, Plan, Visit, carry_out
from tests.bench.scenarios import BIT_RATE, Limit, Scenario, hls, losses_and_joins, relay, scenarios, transcoded
from tests.helpers.origin import OK, Exchange, origin
from tests.helpers.stream import packets


def test_a_small_audience_gets_the_whole_stream_over_one_upstream_per_channel() -> None:
    figures = relay(2, 6, 1.0, settle=0.2)

    assert BIT_RATE / 3 < figures["rate_median"] < 3 * BIT_RATE
    assert figures["failures"] == 0
    assert (figures["upstreams_opened"], figures["upstreams_peak"]) == (2, 1)
    assert 0 < figures["first_byte_median"] < 2
    assert 0.02 < figures["gap_p99"] < 2
    assert 0.01 < figures["cpu_per_gb"] < 30
    # Of so little, the machine's noise is most.
    assert abs(figures["memory_per_channel"]) < 1e8


def test_viewers_of_one_hls_channel_get_all_of_it_and_its_segments_are_fetched_once() -> None:
    figures = hls(4, 2, 4.0, settle=1.0, weighing=0.3)

    assert BIT_RATE / 3 < figures["rate_median"] < 3 * BIT_RATE
    assert figures["failures"] == 0
    # Three at the beginning, and one each 2 s of about 7.
    assert 3 <= figures["segments_fetched"] <= 12
    assert 0.01 < figures["cpu_per_gb"] < 30
    assert abs(figures["memory_per_viewer"]) < 1e8


@pytest.mark.skipif(failover.why_not() is not None, reason="the streams are made by ffmpeg")
def test_viewers_get_a_backup_and_a_picture() -> None:
    figures = losses_and_joins(3, 2)

    assert 0 < figures["switch_median"] <= figures["switch_p95"] < 5
    assert 0 < figures["join_median"] <= figures["join_p95"] < 5


@pytest.mark.slow
@pytest.mark.skipif(transcoding.why_not() is not None, reason="the stream is made by ffmpeg")
def test_a_transcoded_channel_costs_the_program_little_and_is_watched() -> None:
    figures = transcoded("~small", 1.0)

    assert 0 < figures["cpu_share"] < 0.5
    assert 50_000 < figures["rate_median"] < 3_000_000


def test_there_is_a_rival_only_where_one_is_given() -> None:
    assert list(scenarios()["hls-viewers"].sides) == ["proxy"]
    assert list(scenarios("/usr/bin/python3")["hls-viewers"].sides) == ["proxy", "streamlink"]


async def test_viewers_notice_when_they_are_stalled_refused_or_cut_off() -> None:
    async def answer(exchange: Exchange) -> None:
        if exchange.path == "/refused":
            await exchange.send(b"HTTP/1.1 404 Not Found\r\n\r\n")
            return
        await exchange.send(OK + packets(0, 7))
        if exchange.path == "/stalled":
            await asyncio.sleep(1.05)
            await exchange.send(packets(7, 7))
            await asyncio.Event().wait()

    async with origin(answer) as upstream:
        account = await asyncio.to_thread(_watch, upstream.port, "/stalled", "/refused", "/cut-off")

    assert account.stalls == 1
    assert (account.failures, account.failure) == (2, "answered with status 404")
    assert account.delivered == 7 * 188
    assert account.gap_most is not None
    assert 1.0 < account.gap_most < 5


def test_figures_are_medians_and_ratios_those_of_runs_that_followed_each_other() -> None:
    scenario = Scenario("what happens", {}, {"cpu_per_gb": Limit(1.2, of_ratio=True), "stalls": Limit(0)})
    runs = {
        "proxy": [{"cpu_per_gb": cost, "stalls": stalls} for cost, stalls in ((0.2, 0), (0.9, 1), (0.3, 1))],
        "floor": [{"cpu_per_gb": cost} for cost in (0.2, 0.6, 0.1)],
    }

    lines = report.table("fanout", scenario, runs).splitlines()

    assert lines[0] == "fanout: what happens"
    assert " ".join(lines[2].split()) == "CPU per GB delivered 0.300 s 0.200 s 1.50 <= 1.2 x: NO"
    assert " ".join(lines[3].split()) == "stalls of more than 1 s 1 <= 0: NO"


def _watch(port: int, *paths: str) -> Account:
    visits = [Visit(0, path) for path in paths]
    return carry_out(Plan("127.0.0.1", port, visits, weigh_at=0.5, count_from=0.5, count_for=0.8, pid=os.getpid()))
