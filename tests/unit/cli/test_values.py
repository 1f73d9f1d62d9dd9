"""Values on the command line, and the table of them in the documentation."""

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.cli.values import ValueTextError, parse_text, parse_value
from kvnode.core.path import Path

DOC = FilePath(__file__).parents[3] / "docs/reference/values.md"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z"),
        ("1_000", "1_000"),
        ("0x1f", 31),
        ("0X1f", "0X1f"),
        ("-0x1f", "-0x1f"),
        ("0o7", 7),
        ("0o8", "0o8"),
        ("007", 7),
        ("0b1", "0b1"),
        ("+5", 5),
        ("-5", -5),
        ("- 5", "- 5"),
        ("-0", 0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        (".", "."),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        ("1e", "1e"),
        ("e3", "e3"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        (".iNf", ".iNf"),
        ("inf", "inf"),
        ("Infinity", "Infinity"),
        ("NaN", "NaN"),
        ("~", None),
        ("", None),
        ("null", None),
        ("nULL", "nULL"),
        ("None", "None"),
        ("True", True),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("false", False),
        ("  padded  ", "padded"),
        ("back at 12:30", "back at 12:30"),
        ("a: b", "a: b"),
        ("#fff", "#fff"),
        ("'x'", "'x'"),
        ("- x", "- x"),
        ("٣", "٣"),
        ('"x"', "x"),
        ('"on"', "on"),
        ('""', ""),
        ("[1, 2.5, null]", [1, 2.5, None]),
        ("{}", {}),
        ('{"on": true}', {"on": True}),
        ("18446744073709551616", 2**64),
        ('{"$bytes": "aGk="}', b"hi"),
        ('{"$path": "a.:3"}', Path(("a", 3))),
        ('{"$time": "2026-01-31T12:00:00Z"}', datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ('{"$other": 1}', {"$other": 1}),
    ],
)
def test_reading(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(parse_value(".nan"))
    assert math.isnan(parse_value('{"$float": "nan"}'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{a: 1}", "starts like JSON but is none: expecting property name"),
        ("[1, 2", "starts like JSON but is none"),
        ("[on]", "starts like JSON but is none"),
        ('"open', "unterminated string starting at character 1"),
        ('["x"] y', "starts like JSON but is none"),
        ("[NaN]", "NaN is no JSON number"),
        ('{"a": 1, "a": 2}', 'the key "a" is there twice'),
        ("1e999", "does not fit a float"),
        ("[1e999]", "does not fit a float"),
        ("9" * 5000, "too long"),
        ("[" * 70 + "]" * 70, "nested deeper than 64"),
        ("[" * 100_000, "nests deeper than 64"),
        ('"\\ud800"', "lone surrogate"),
        ("\udcff", "lone surrogate"),
        ("two\nlines", "several lines"),
        ('{"$bytes": "!"}', "$bytes is not base64"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(ValueTextError) as caught:
        parse_value(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{a: 1}", "[on]", '"open', "two\nlines", "1e999"])
def test_a_refusal_points_at_string(text: str) -> None:
    with pytest.raises(ValueTextError, match="--string takes it as text"):
        parse_value(text)
    assert parse_text(text) == text


def test_text_must_be_unicode() -> None:
    with pytest.raises(ValueTextError):
        parse_text("\udcff")


_text = st.text(st.characters(exclude_categories=["Cs"]))
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_text.filter(lambda k: k[:1] != "$"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_json)
def test_all_json_is_read_as_json(value: object) -> None:
    assert parse_value(json.dumps(value)) == value


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_value(text)
    except ValueTextError as exc:
        assert "\n" not in str(exc)


def _documented() -> list[tuple[str, str]]:
    rows = re.findall(r"^\| `([^`]*)` \| `([^`]*)` \|", DOC.read_text(), re.MULTILINE)
    return [(text.replace("\\|", "|"), result.replace("\\|", "|")) for text, result in rows]


def test_the_table_is_there() -> None:
    assert len(_documented()) > 30


@pytest.mark.parametrize(("text", "result"), _documented())
def test_the_documented_result(text: str, result: str) -> None:
    text = "" if text == "''" else text
    if result == "error":
        with pytest.raises(ValueTextError):
            parse_value(text)
        return
    found = parse_value(text)
    expected = parse_value(result) if result.startswith("{") else json.loads(result)
    assert repr(found) == repr(expected)
