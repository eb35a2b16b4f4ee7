"""Events have the names and payloads that m3u-proxy's webhooks have."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from streamproxy.config.management import EventName
from streamproxy.events import EVENTS, Event, EventBus, FailoverTriggered, StreamStarted, UpstreamFailed, ViewerLagged

LOST = UpstreamFailed(stream_id="news", upstream="provider", reason="it broke", error_type="UpstreamBroken")


def test_there_are_the_six_of_m3u_proxy_and_ours() -> None:
    assert list(EVENTS) == [
        "stream_started",
        "stream_stopped",
        "stream_failed",
        "client_connected",
        "client_disconnected",
        "failover_triggered",
        "upstream_failed",
        "upstream_recovered",
        "splice",
        "viewer_lagged",
    ]


def test_the_configuration_knows_them_all() -> None:
    assert list(get_args(EventName)) == list(EVENTS)


def test_each_has_an_id_of_its_own_and_a_time_without_offset() -> None:
    event = ViewerLagged(
        stream_id="news", client_id="tv", overruns=1, skipped=2, at=datetime(2026, 11, 20, 10, 51, 47, 124000, UTC)
    )

    payload = event.payload(str)

    assert set(payload) == {"event_id", "event_type", "stream_id", "timestamp", "data"}
    assert payload["timestamp"] == "2026-11-20T10:51:47.124000"
    assert payload["event_type"] == "viewer_lagged"
    assert payload["data"] == {"client_id": "tv", "overruns": 1, "skipped": 2}
    assert payload["event_id"] == event.id != LOST.id


def test_addresses_of_providers_are_shown_as_far_as_they_may_be() -> None:
    made = StreamStarted(stream_id="x", primary_url="http://u:p@h/", failover_urls=["http://a/"], user_agent="UA")
    went = FailoverTriggered(
        stream_id="x", old_url="a", new_url="b", failover_index=0, attempt_number=1, reason="", client_count=2
    )

    assert made.payload(lambda _: "***")["data"] == {
        "primary_url": "***",
        "failover_urls": ["***"],
        "user_agent": "UA",
        "metadata": {},
    }
    assert made.payload(str)["data"]["primary_url"] == "http://u:p@h/"
    assert went.payload(lambda _: "***")["data"]["new_url"] == "***"
    assert "u:p" not in repr(made)


@pytest.mark.parametrize("kind", EVENTS.values(), ids=EVENTS)
def test_each_can_be_written_as_json(kind: type[Event]) -> None:
    wanted = {field.name for field in fields(kind)} - {field.name for field in fields(Event)}
    known: dict[str, Any] = {name: {} if name == "metadata" else None for name in wanted}

    assert json.loads(json.dumps(kind(stream_id="x", **known).payload(str)))["stream_id"] == "x"


def test_everybody_who_listens_is_told_and_nobody_who_has_stopped() -> None:
    bus = EventBus()
    first: list[Event] = []
    second: list[Event] = []

    with bus.listening(first.append):
        with bus.listening(second.append):
            bus.publish(LOST)
        bus.publish(LOST)
    bus.publish(LOST)

    assert (len(first), len(second)) == (2, 1)


def test_a_listener_that_fails_disturbs_no_other() -> None:
    bus = EventBus()
    heard: list[Event] = []

    def fail(_: Event) -> None:
        raise ZeroDivisionError

    with bus.listening(fail), bus.listening(heard.append):
        bus.publish(LOST)

    assert heard == [LOST]
