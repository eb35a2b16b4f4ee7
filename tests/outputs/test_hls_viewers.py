"""Who watches HLS is known by their requests."""

import asyncio
import time

import structlog

from streamproxy.metrics import Audience
from streamproxy.outputs.hls_viewers import HlsViewers, Identity

WHO = Identity("news", "1.2.3.4", "player")


async def gone(audience: Audience, *, within: float) -> float:
    """Wait until nobody is there; tell how long that took."""
    start = time.monotonic()
    async with asyncio.timeout(within):
        while audience.present:
            await asyncio.sleep(0.005)
    return time.monotonic() - start


async def test_a_viewer_stays_for_three_target_durations_after_their_last_request() -> None:
    audience = Audience()
    viewers = HlsViewers(audience)
    with viewers.visit(WHO) as viewer:
        viewer.watch(0.1)

    assert audience.present == 1
    assert 0.25 < await gone(audience, within=2) < 1


async def test_each_request_lets_them_stay_longer() -> None:
    audience = Audience()
    viewers = HlsViewers(audience)
    for _ in range(8):
        with viewers.visit(WHO) as viewer:
            viewer.watch(0.2)
        await asyncio.sleep(0.1)
        assert (audience.present, audience.total) == (1, 1)


async def test_a_long_request_is_no_absence() -> None:
    audience = Audience()
    viewers = HlsViewers(audience)
    with viewers.visit(WHO) as viewer:
        viewer.watch(0.01)
    with viewers.visit(WHO):
        with viewers.visit(WHO):
            pass
        await asyncio.sleep(0.1)
        assert audience.present == 1
    await gone(audience, within=1)


async def test_who_comes_back_is_another_viewer_and_what_they_got_before_still_counts() -> None:
    audience = Audience()
    viewers = HlsViewers(audience)
    for number in range(1, 3):
        with viewers.visit(WHO) as viewer:
            viewer.watch(0.01)
            viewer.sent += 100
        assert (audience.total, audience.sent) == (number, number * 100)
        await gone(audience, within=1)
    assert audience.sent == 200


async def test_who_got_nothing_was_never_there() -> None:
    audience = Audience()
    with structlog.testing.capture_logs() as logs, HlsViewers(audience).visit(WHO):
        assert audience.present == 0
    await asyncio.sleep(0.02)
    assert (audience.total, logs) == (0, [])


def test_an_endless_name_is_cut() -> None:
    assert len(Identity.of("news", None, "x" * 10_000).agent) == 200
