"""Rates from counters."""

from streamproxy.cli.client.rates import Rates


def test_the_first_look_has_no_rate_and_the_second_has() -> None:
    rates = Rates()

    assert rates.update({"a": 1000}, 10) == {}
    assert rates.update({"a": 3000, "new": 5}, 12) == {"a": 1000}


def test_a_counter_that_begins_anew_has_no_rate_until_the_next_look() -> None:
    rates = Rates()
    rates.update({"a": 1000}, 10)

    assert rates.update({"a": 10}, 11) == {}
    assert rates.update({"a": 20}, 12) == {"a": 10}


def test_what_is_no_counter_has_no_rate() -> None:
    rates = Rates()
    rates.update({"a": "x", "b": None, "c": 1, "d": -1}, 10)

    assert rates.update({"a": 1, "b": 2, "c": {}, "d": 4}, 11) == {}
    assert rates.update({"a": 1}, 11) == {}
