"""Numbers, times and foreign text as people see them."""

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.cli.client.text import UNKNOWN, age, clock, count, moment, plain, rate, size, span

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.just(10**5000)
)


@given(st.text())
def test_no_text_holds_anything_that_a_terminal_obeys(text: str) -> None:
    letters = set(plain(text)) - set("\u200c\u200d")

    assert not {unicodedata.category(each) for each in letters} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("a\r\nb", r"a\x0d\x0ab"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202egpj", r"abc\u202egpj"),
        ("\ud800", r"\ud800"),
        ("Das Erste – ÄÖ 日本 👨\u200d👩", "Das Erste – ÄÖ 日本 👨\u200d👩"),
        ("x" * 500, "x" * 199 + "…"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "yes"),
        (None, ""),
        ({"a": 1}, ""),
        pytest.param(10**5000, UNKNOWN, id="huge"),
        (float("nan"), UNKNOWN),
    ],
)
def test_foreign_text_is_shown_harmless(text: object, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(987500, "7.9 Mbit/s"), (0, "0 kbit/s"), (12500, "100 kbit/s"), (1.5e9, "12.0 Gbit/s"), (None, UNKNOWN)],
)
def test_rates_are_in_bits(value: object, shown: str) -> None:
    assert rate(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.0 MiB"), (1 << 20, "1.0 MiB"), (3 << 29, "1.5 GiB"), (5 << 40, "5.0 TiB"), (-1, UNKNOWN), ("1", UNKNOWN)],
)
def test_sizes_are_in_mebibytes(value: object, shown: str) -> None:
    assert size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 s"), (59.9, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3600, "1 h"), (93784, "1 d 2 h")],
)
def test_spans_have_at_most_two_units(value: object, shown: str) -> None:
    assert span(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2026-11-20T11:55:00.000000+00:00", "5 min"),
        ("2026-11-20T11:55:00.000000", "5 min"),
        ("2026-11-20T12:55:00+01:00", "5 min"),
        (NOW.timestamp() - 61, "1 min 1 s"),
        ("2026-11-20T12:00:10Z", "0 s"),
        ("yesterday", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_ages_are_told_of_times_with_and_without_an_offset(value: object, shown: str) -> None:
    assert age(value, NOW) == shown


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 1e17])
def test_times_at_the_end_of_the_calendar_do_no_harm(value: object) -> None:
    assert clock(value)
    assert age(value, NOW)


@given(ANYTHING)
def test_nothing_makes_the_units_fail(value: Any) -> None:
    for write in (rate, size, span, count, clock, plain):
        assert len(write(value)) < 300
    assert len(age(value, NOW)) < 40


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_reads_back(then: datetime) -> None:
    assert moment(then.isoformat()) == then
    assert then - moment(then.replace(tzinfo=None).isoformat()) == timedelta(0)  # type: ignore[operator]
