"""Who is watching is counted while they watch; what they were sent is counted for ever."""

from dataclasses import dataclass

import pytest

from streamproxy.metrics import Audience


@dataclass(eq=False)
class Watcher:
    """A viewer who was sent so much."""

    sent: int = 0


def test_nobody_watches_at_first() -> None:
    audience = Audience()

    assert (audience.present, audience.total, audience.sent) == (0, 0, 0)


def test_viewers_are_counted_while_they_watch() -> None:
    audience = Audience()

    with audience.attend(Watcher()):
        with audience.attend(Watcher()):
            assert (audience.present, audience.total) == (2, 2)
        assert (audience.present, audience.total) == (1, 2)
    assert (audience.present, audience.total) == (0, 2)


def test_what_was_sent_grows_while_they_watch_and_stays_when_they_leave() -> None:
    audience = Audience()
    first, second = Watcher(), Watcher()

    with audience.attend(first):
        first.sent = 100
        with audience.attend(second):
            second.sent = 30
            assert audience.sent == 130
        first.sent = 200
        assert audience.sent == 230
    assert audience.sent == 230


def test_who_is_thrown_out_has_left() -> None:
    audience = Audience()

    with pytest.raises(ConnectionResetError), audience.attend(Watcher(7)):
        raise ConnectionResetError

    assert (audience.present, audience.total, audience.sent) == (0, 1, 7)


def test_time_passes() -> None:
    audience = Audience()

    first, second = audience.uptime, audience.uptime

    assert 0 <= first <= second < 60
