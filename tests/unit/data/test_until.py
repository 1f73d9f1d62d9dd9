"""Times by fields: what the ancestor got wrong, and that the result is the first (or last) second that fits."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.data.until import Fields, UntilError, parse, until

NOW = datetime.fromisoformat("2026-11-22T13:37:42")
"""A Sunday."""


def when(text: str, now: datetime = NOW, **options: bool) -> str:
    return until(parse(text.split(), now), now, **options).isoformat()


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("9 h", "2026-11-23T09:00:00"),
        ("13 h", "2026-11-22T13:37:42"),
        ("9:30", "2026-11-23T09:30:00"),
        ("13:37", "2026-11-22T13:37:42"),
        ("13:37:41", "2026-11-23T13:37:41"),
        ("40 min", "2026-11-22T13:40:00"),
        ("5 s", "2026-11-22T13:38:05"),
        ("-1 min", "2026-11-22T13:59:00"),
        ("-1 h", "2026-11-22T23:00:00"),
        ("mon", "2026-11-23T00:00:00"),
        ("sunday", "2026-11-22T13:37:42"),
        ("mon 9:30", "2026-11-23T09:30:00"),
        ("2 mon", "2026-12-14T00:00:00"),
        ("4 sun", "2026-11-22T13:37:42"),
        ("5 mon", "2026-11-30T00:00:00"),
        ("5 sat", "2027-01-30T00:00:00"),
        ("-1 mon", "2026-11-30T00:00:00"),
        ("-1 mon 2 mo", "2027-02-22T00:00:00"),
        ("2 d", "2026-12-02T00:00:00"),
        ("22 d", "2026-11-22T13:37:42"),
        ("-1 d", "2026-11-30T00:00:00"),
        ("-1 d 2 mo", "2027-02-28T00:00:00"),
        ("29 dy 2 mo", "2028-02-29T00:00:00"),
        ("29 d 2 mo mon", "2044-02-29T00:00:00"),
        ("2 wk", "2027-01-11T00:00:00"),
        ("47 wk", "2026-11-22T13:37:42"),
        ("53 wk", "2026-12-28T00:00:00"),
        ("-1 wk", "2026-12-28T00:00:00"),
        ("1 wk 1 mo 3 d", "2028-01-03T00:00:00"),
        ("2 mo", "2027-02-01T00:00:00"),
        ("11mo", "2026-11-22T13:37:42"),
        ("2028 yr", "2028-01-01T00:00:00"),
        ("24 d 12 mo 18 h", "2026-12-24T18:00:00"),
        ("tomorrow", "2026-11-23T00:00:00"),
        ("tomorrow 9:30", "2026-11-23T09:30:00"),
        ("2027-03-04", "2027-03-04T00:00:00"),
        ("2027-03-04T05:06", "2027-03-04T05:06:00"),
        ("3rd thursday", "2026-12-17T00:00:00"),
    ],
)
def test_the_next_time(text: str, result: str) -> None:
    assert when(text) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("13 h", "2026-11-22T14:00:00"),
        ("9 h", "2026-11-22T13:37:42"),
        ("sun", "2026-11-23T00:00:00"),
        ("4 sun", "2026-11-23T00:00:00"),
        ("sun 11 mo", "2026-11-23T00:00:00"),
        ("sun 13 h", "2026-11-22T14:00:00"),
        ("47 wk", "2026-11-23T00:00:00"),
        ("11 mo", "2026-12-01T00:00:00"),
        ("2026 yr", "2027-01-01T00:00:00"),
    ],
)
def test_the_end_of_it(text: str, result: str) -> None:
    assert when(text, inverted=True) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("9 h", "2026-11-22T09:59:59"),
        ("13 h", "2026-11-22T13:37:42"),
        ("14 h", "2026-11-21T14:59:59"),
        ("2 mo", "2026-02-28T23:59:59"),
        ("12 mo", "2025-12-31T23:59:59"),
        ("mon", "2026-11-16T23:59:59"),
        ("29 d 2 mo", "2024-02-29T23:59:59"),
    ],
)
def test_the_last_time(text: str, result: str) -> None:
    assert when(text, backwards=True) == result


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "when?"),
        ("5 m", "write min or mo"),
        ("5", "5 of what?"),
        ("soon", "'soon' is no number"),
        ("5 apples", "'apples' is no unit"),
        ("6 mon", "no month has a weekday number 6"),
        ("0 mon", "no month has a weekday number 0"),
        ("25 h", "25 is no hour"),
        ("9:61", "61 is no minute"),
        ("0 d", "0 is no day"),
        ("-40 d", "-40 is no day"),
        ("9 h 10 h", "two values for the hour: 9 and 10"),
        ("2026-13-01", "'2026-13-01' is no date"),
        ("2026-12-01T10:00Z", "has a zone"),
        ("-5 yr", "-5 is no year"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(text: str, says: str) -> None:
    with pytest.raises(UntilError) as caught:
        when(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["30 d 2 mo", "2020 yr", "31 d 11 mo"])
def test_what_never_happens_ends_with_a_word(text: str) -> None:
    with pytest.raises(UntilError, match="never happens"):
        when(text)


def test_a_part_of_a_second_counts_as_passed() -> None:
    now = NOW.replace(microsecond=1)
    assert when("13:37:42", now) == "2026-11-22T13:37:42"
    assert when("13:37:42", now, inverted=True) == "2026-11-22T13:37:43"


_fields = st.builds(
    Fields,
    month=st.none() | st.integers(1, 12) | st.integers(-12, -1),
    day=st.none() | st.integers(1, 28) | st.integers(-28, -1),
    weekday=st.none() | st.integers(0, 6),
    hour=st.none() | st.integers(0, 23),
    minute=st.none() | st.integers(0, 59),
)
_FIRST, _LAST = map(datetime.fromisoformat, ("2020-01-01", "2030-01-01"))
_times = st.datetimes(_FIRST, _LAST).map(lambda t: t.replace(microsecond=0))


@given(_fields, _times, st.booleans(), st.booleans())
def test_the_result_fits_and_the_second_on_the_way_to_it_does_not(
    fields: Fields, now: datetime, inverted: bool, backwards: bool
) -> None:
    if fields == Fields() and inverted:
        return
    found = until(fields, now, inverted=inverted, backwards=backwards)
    assert fields.fit(found) is not inverted
    assert found <= now if backwards else found >= now
    if found != now:
        nearer = found + timedelta(seconds=1 if backwards else -1)
        assert fields.fit(nearer) is inverted
