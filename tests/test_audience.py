"""Who is watching is known while they watch; what they were sent is counted for ever."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from streamproxy.audience import BY_HAND, Audience, Client, StreamRecord, Visitor
from streamproxy.errors import UpstreamBroken, UpstreamStalled
from streamproxy.events import Event, StreamStopped
from streamproxy.model import Channel, Upstream

FIRST, BACKUP = Upstream("http://u:p@one.example/1.ts", "one"), Upstream("http://two.example/1.ts", "two")
NEWS = Channel("news", "News", (FIRST, BACKUP), metadata={"provider_profile_id": "7"})
FILMS = Channel("films", "Films", (FIRST,))
SOMEBODY = Visitor("192.0.2.7", "VLC/3", "anna")
ANOTHER = Visitor("192.0.2.8", "mpv")


@dataclass(eq=False)
class Watcher:
    """A viewer who was sent so much."""

    sent: int = 0
    segments: int = 0
    lag: int = 0
    overruns: int = 0
    skipped: int = 0
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def data(event: Event) -> object:
    return event.payload(str)["data"]


def test_nobody_watches_at_first() -> None:
    audience = Audience()

    assert (audience.present, audience.total, audience.sent, audience.segments) == (0, 0, 0, 0)


def test_viewers_are_counted_while_they_watch() -> None:
    audience = Audience()

    with audience.attend(NEWS, SOMEBODY, Watcher()):
        with audience.attend(FILMS, SOMEBODY, Watcher()):
            assert (audience.present, audience.total) == (2, 2)
        assert (audience.present, audience.total) == (1, 2)
    assert (audience.present, audience.total) == (0, 2)


def test_what_was_sent_grows_while_they_watch_and_stays_when_they_leave() -> None:
    audience = Audience()
    first, second = Watcher(), Watcher()

    with audience.attend(NEWS, SOMEBODY, first):
        first.sent = 100
        with audience.attend(NEWS, ANOTHER, second):
            second.sent, second.segments, second.overruns, second.skipped = 30, 2, 1, 9
            assert (audience.sent, audience.segments) == (130, 2)
        first.sent = 200
        record = audience.records["news"]
        assert (record.sent, record.segments, record.overruns, record.skipped) == (230, 2, 1, 9)
    assert (audience.sent, audience.segments) == (230, 2)


def test_who_is_thrown_out_has_left() -> None:
    audience = Audience()

    with pytest.raises(ConnectionResetError), audience.attend(NEWS, SOMEBODY, Watcher(7)):
        raise ConnectionResetError

    assert (audience.present, audience.total, audience.sent) == (0, 1, 7)


def test_the_same_client_has_the_same_id_each_time_and_another_on_another_stream() -> None:
    ids = {SOMEBODY.id_on("news"), Visitor("192.0.2.7", "VLC/3", "anna").id_on("news")}

    assert len(ids) == 1
    assert re.fullmatch("client_[0-9a-f]{16}", ids.pop())
    others = {SOMEBODY.id_on("films"), ANOTHER.id_on("news"), SOMEBODY._replace(username=None).id_on("news")}
    assert len(others | {SOMEBODY.id_on("news")}) == 4


def test_a_client_that_names_itself_is_called_so_and_its_second_connection_a_little_longer() -> None:
    audience = Audience()
    named = Visitor("192.0.2.7", "VLC/3", client_id="tv")

    with audience.attend(NEWS, named, Watcher()) as first, audience.attend(NEWS, named, Watcher()) as second:
        assert first.id == "tv"
        assert re.fullmatch("tv_[0-9a-f]{8}", second.id)
        assert [client for _, client in audience.clients("tv")] == [first]


def test_what_a_client_says_of_itself_is_kept_short() -> None:
    endless = "x" * 10_000

    assert {len(text or "") for text in Visitor.of(endless, endless, endless, endless)} == {200}
    assert Visitor.of(None, "", "", "") == Visitor("", "", None, None)
    assert Visitor.of(None, "\udcff", "ü", None) == Visitor("", "?", "ü", None)


def test_coming_and_going_is_told_with_what_m3u_proxy_tells() -> None:
    events: list[Event] = []
    audience = Audience(events.append)

    with audience.attend(NEWS, SOMEBODY, Watcher(5)) as first, audience.attend(NEWS, ANOTHER, Watcher(6)) as second:
        pass

    assert names(events) == [
        "stream_started",
        "client_connected",
        "client_connected",
        "client_disconnected",
        "client_disconnected",
        "stream_stopped",
    ]
    assert data(events[1]) == {
        "client_id": first.id,
        "user_agent": "VLC/3",
        "ip_address": "192.0.2.7",
        "username": "anna",
        "stream_client_count": 1,
        "metadata": {"provider_profile_id": "7"},
    }
    assert data(events[3]) == {
        "client_id": second.id,
        "bytes_served": 6,
        "segments_served": 0,
        "reason": "client_disconnected",
        "metadata": {"provider_profile_id": "7"},
    }
    assert data(events[5]) == {
        "reason": "last_client_disconnected",
        "client_id": first.id,
        "bytes_served": 5,
        "metadata": {"provider_profile_id": "7"},
    }


def test_a_stream_that_is_stopped_says_why_once_its_last_viewer_is_gone() -> None:
    events: list[Event] = []
    audience = Audience(events.append)
    watchers = Watcher(), Watcher()

    with audience.attend(NEWS, SOMEBODY, watchers[0]), audience.attend(NEWS, ANOTHER, watchers[1]):
        audience.records["news"].stop(StreamStopped(stream_id="news", reason="manual_deletion"))
        assert all(watcher.stopped for watcher in watchers)
        assert "stream_stopped" not in names(events)
    stopped = [event for event in events if isinstance(event, StreamStopped)]

    assert [event.reason for event in stopped] == ["manual_deletion"]


def test_a_stream_that_nobody_watches_is_stopped_at_once() -> None:
    events: list[Event] = []
    record = StreamRecord(NEWS, events.append)

    record.stop(StreamStopped(stream_id="news", reason="manual_deletion"))

    assert names(events) == ["stream_stopped"]


def test_rates_follow_what_is_sent() -> None:
    watcher = Watcher()
    client = Client("tv", SOMEBODY, watcher)
    came = client.seen = datetime(2020, 1, 1, tzinfo=UTC)

    client.sample(1)
    assert (client.rate, client.seen) == (0, came)
    for _ in range(20):
        watcher.sent += 1_000_000
        client.sample(1)
    assert client.rate == pytest.approx(1_000_000, rel=0.01)
    assert client.seen > came
    for _ in range(20):
        client.sample(1)
    assert client.rate < 1000


def test_a_viewer_who_lost_a_part_is_told_of_once_for_each_look() -> None:
    events: list[Event] = []
    record = StreamRecord(NEWS, events.append)
    watcher = Watcher()
    client = record.enter(SOMEBODY, watcher)
    events.clear()

    watcher.overruns, watcher.skipped = 3, 1000
    record.sample(1)
    record.sample(1)

    assert [data(event) for event in events] == [{"client_id": client.id, "overruns": 3, "skipped": 1000}]


def test_a_loss_a_failover_and_a_recovery_are_counted_and_told() -> None:
    events: list[Event] = []
    record = StreamRecord(NEWS, events.append)

    record.playing(FIRST, 0, spliced=False, reason="")
    record.lost(FIRST, UpstreamStalled("one", "silent"))
    record.tried_again()
    record.playing(BACKUP, 1, spliced=True, reason="silent")

    assert names(events) == ["upstream_failed", "splice", "failover_triggered", "upstream_recovered"]
    counters = record.counters
    assert (counters.errors, counters.retries, counters.failovers, counters.splices) == (1, 1, 1, 1)
    assert (record.index, record.preferred, record.upstream, record.lost_since) == (1, 0, BACKUP, None)
    assert data(events[2]) == {
        "old_url": FIRST.url,
        "new_url": BACKUP.url,
        "failover_index": 0,
        "attempt_number": 1,
        "reason": "silent",
        "client_count": 0,
        "metadata": {"provider_profile_id": "7"},
    }


def test_what_was_chosen_by_hand_is_the_first_to_be_tried_from_then_on() -> None:
    events: list[Event] = []
    record = StreamRecord(NEWS, events.append)

    record.choose(1)
    assert (record.preferred, record.index, names(events)) == (1, 1, ["failover_triggered"])
    record.playing(FIRST, 0, spliced=True, reason="fail_back")
    assert (record.preferred, record.index) == (1, 0)
    record.playing(BACKUP, 1, spliced=True, reason=BY_HAND)
    assert record.preferred == 1


def test_what_a_service_has_named_plays_until_one_of_its_own_does() -> None:
    record = StreamRecord(NEWS, lambda _: None)
    named = Upstream("http://three.example/", "resolved")

    record.playing(named, None, spliced=True, reason="")
    assert (record.upstream, record.index) == (named, 0)
    record.playing(FIRST, 0, spliced=True, reason="")
    assert record.upstream == FIRST


def test_a_stream_that_is_given_up_has_failed() -> None:
    events: list[Event] = []
    record = StreamRecord(NEWS, events.append)

    record.gave_up(UpstreamBroken("one", "it broke"))

    assert data(events[0]) == {
        "error": "it broke",
        "error_type": "UpstreamBroken",
        "reason": "no_failover_available",
        "bytes_served": 0,
        "metadata": {"provider_profile_id": "7"},
    }


def test_what_is_forgotten_still_counts_and_who_watches_is_not_forgotten() -> None:
    audience = Audience()
    with audience.attend(FILMS, SOMEBODY, Watcher(9, 1)):
        pass

    with audience.attend(NEWS, SOMEBODY, Watcher(5)):
        audience.retain(lambda _: False)
        assert set(audience.records) == {"news"}
        assert (audience.sent, audience.segments) == (14, 1)


def test_time_passes() -> None:
    audience = Audience()

    first, second = audience.uptime, audience.uptime

    assert 0 <= first <= second < 60
