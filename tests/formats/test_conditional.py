"""Conditions of requests, case by case of RFC 9110, 13."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.conditional import Validators, parse_date

OLD = "Sun, 06 Nov 1994 08:49:37 GMT"
NEW = "Sun, 06 Nov 1994 08:49:38 GMT"
ANSWERED = "Mon, 07 Nov 1994 08:49:37 GMT"

FILE = Validators.of({"ETag": '"v1"', "Last-Modified": OLD, "Date": ANSWERED})
WEAK = Validators.of({"ETag": 'W/"v1"', "Last-Modified": OLD, "Date": ANSWERED})
DATED = Validators.of({"Last-Modified": OLD, "Date": ANSWERED})
FRESH = Validators.of({"Last-Modified": OLD, "Date": OLD})
BARE = Validators.of({})


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({}, None),
        ({"If-None-Match": '"v1"'}, 304),
        ({"If-None-Match": 'W/"v1"'}, 304),
        ({"If-None-Match": '"v0", "v1"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"v2"'}, None),
        ({"If-None-Match": "v1"}, None),
        ({"If-None-Match": '"v2"', "If-Modified-Since": NEW}, None),
        ({"If-Modified-Since": OLD}, 304),
        ({"If-Modified-Since": NEW}, 304),
        ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, None),
        ({"If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT"}, 304),
        ({"If-Modified-Since": "Sun Nov  6 08:49:37 1994"}, 304),
        ({"If-Modified-Since": "yesterday"}, None),
        ({"If-Match": '"v1"'}, None),
        ({"If-Match": "*"}, None),
        ({"If-Match": '"v2"'}, 412),
        ({"If-Match": 'W/"v1"'}, 412),
        ({"If-Match": '"v1"', "If-None-Match": '"v1"'}, 304),
        ({"If-Unmodified-Since": OLD}, None),
        ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 412),
        ({"If-Match": '"v1"', "If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, None),
    ],
)
def test_a_condition_decides_whether_the_file_is_sent(conditions: dict[str, str], status: int | None) -> None:
    assert FILE.refusal(conditions) == status


def test_a_weak_tag_is_enough_for_what_one_has_but_not_to_insist_on() -> None:
    assert WEAK.refusal({"If-None-Match": '"v1"'}) == 304
    assert WEAK.refusal({"If-Match": 'W/"v1"'}) == 412


def test_without_a_version_only_existence_counts() -> None:
    assert BARE.refusal({"If-None-Match": '"v1"', "If-Modified-Since": OLD}) is None
    assert BARE.refusal({"If-Modified-Since": OLD, "If-Unmodified-Since": OLD}) is None
    assert BARE.refusal({"If-None-Match": "*"}) == 304


@pytest.mark.parametrize(
    ("validators", "condition", "permitted"),
    [
        (FILE, '"v1"', True),
        (FILE, '"v2"', False),
        (FILE, 'W/"v1"', False),
        (FILE, '"v1", "v2"', False),
        (FILE, "*", False),
        (FILE, OLD, True),
        (FILE, NEW, False),
        (FILE, "nonsense", False),
        (FILE, "", False),
        (WEAK, 'W/"v1"', False),
        (WEAK, OLD, True),
        (DATED, OLD, True),
        (DATED, '"v1"', False),
        (FRESH, OLD, False),
        (BARE, '"v1"', False),
        (BARE, OLD, False),
    ],
)
def test_only_an_exact_match_lets_a_part_be_sent(validators: Validators, condition: str, permitted: bool) -> None:
    assert validators.permit_range(condition) is permitted


def test_the_version_to_ask_for_more_of_is_the_strongest_there_is() -> None:
    assert [each.strong for each in (FILE, WEAK, DATED, FRESH, BARE)] == ['"v1"', OLD, OLD, None, None]


@pytest.mark.parametrize("tag", ["v1", "'v1'", '"v1', '"v"1"', '"v\x7f"', '"ä"', 'w/"v1"', '"v1"\r\nX: y', '"a b"'])
def test_a_tag_that_is_not_well_formed_is_none(tag: str) -> None:
    assert Validators.of({"ETag": tag}).etag is None


@pytest.mark.parametrize(
    ("other", "agree"),
    [
        (FILE, True),
        (Validators(etag='"v1"'), True),
        (DATED, True),
        (Validators(etag='"v2"', modified=FILE.modified), False),
        (Validators(etag='"v1"', modified=parse_date(NEW)), False),
        (BARE, False),
    ],
)
def test_two_answers_are_of_one_version_if_they_share_a_validator_and_differ_in_none(
    other: Validators, agree: bool
) -> None:
    assert FILE.agree(other) is agree


def test_what_has_no_validators_agrees_with_everything() -> None:
    assert BARE.agree(BARE)
    assert BARE.agree(FILE)


def test_the_last_second_of_all_dates_is_one_too() -> None:
    last = Validators.of({"Last-Modified": "Fri, 31 Dec 9999 23:59:59 GMT", "Date": ANSWERED})

    assert last.modified is not None
    assert not last.modified_is_strong


@given(st.text())
def test_no_text_makes_a_date_or_a_condition_fail(text: str) -> None:
    parse_date(text)
    Validators.of({"ETag": text, "Last-Modified": text, "Date": text})
    FILE.permit_range(text)
    FILE.refusal(dict.fromkeys(("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"), text))


@given(st.datetimes(datetime(1900, 1, 1), datetime(9999, 1, 1)))
def test_a_date_survives_being_written_and_read(date: datetime) -> None:
    date = date.replace(microsecond=0, tzinfo=UTC)
    text = Validators(modified=date).last_modified

    assert text is not None
    assert parse_date(text) == date
