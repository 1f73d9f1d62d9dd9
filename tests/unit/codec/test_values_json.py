"""The JSON form of values: how it looks, and what is refused. That it gives every value back is in test_values.py."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.codec.values import MAX_JSON_CHARS, ValueDecodeError, dump_json, load_json
from kvnode.core.path import Path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True]}, '{"a":[1,2.5,null,true]}'),
        (2**70, "1180591620717411303424"),
        (-0.0, "-0.0"),
        (math.nan, '{"$float":"nan"}'),
        ([math.inf, -math.inf], '[{"$float":"inf"},{"$float":"-inf"}]'),
        (b"hi", '{"$bytes":"aGk="}'),
        (Path(("a", 3)), '{"$path":"a.:3"}'),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), '{"$time":"2026-01-31T12:00:00Z"}'),
        (datetime(33, 1, 1, 0, 0, 0, 5, tzinfo=UTC), '{"$time":"0033-01-01T00:00:00.000005Z"}'),
        ({3: "a", "b": b""}, '{"$map":[[3,"a"],["b",{"$bytes":""}]]}'),
        ({"$map": 1}, '{"$map":[["$map",1]]}'),
        ({"$path": "a"}, '{"$map":[["$path","a"]]}'),
        ({"$ref": "#/x"}, '{"$ref":"#/x"}'),
        ({"$path": "a", "b": 1}, '{"$path":"a","b":1}'),
        ("é\n", '"é\\n"'),
    ],
)
def test_the_json_form(value: Any, text: str) -> None:
    assert dump_json(value) == text
    assert repr(load_json(text)) == repr(value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[NaN]", "NaN is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("[1e400]", 'too large for a float; write {"$float": "inf"} (at value[0])'),
        ("9" * 5000, "too many digits"),
        ('{"$bytes": 1}', "$bytes holds text, not int"),
        ('{"$bytes": "a"}', "not base64"),
        ('{"$bytes": "aG k="}', "not base64"),
        ('{"a": [{"$bytes": "é"}]}', "(at value['a'][0])"),
        ('{"$time": "2026-01-31"}', "RFC 3339"),
        ('{"$time": "2026-01-31T12:00:00"}', "RFC 3339"),
        ('{"$time": "2026-02-31T12:00:00Z"}', "$time"),
        ('{"$time": "0001-01-01T00:00:00+01:00"}', "outside the years"),
        ('{"$time": null}', "$time holds text"),
        ('{"$path": ""}', "$path"),
        ('{"$path": []}', "$path holds text"),
        ('{"$float": "1"}', "'nan', 'inf' or '-inf', not '1'"),
        ('{"$float": []}', "$float is"),
        ('{"$map": {}}', "list of pairs"),
        ('{"$map": [[1]]}', "list of pairs"),
        ('{"$map": [[1.5, 2]]}', "not float"),
        ('{"$map": [[true, 2]]}', "not bool"),
        ('{"$map": [[18446744073709551616, 2]]}', "integer key"),
        ('{"$map": [[7, {"$float": 1}]]}', "(at value[7])"),
    ],
)
def test_json_that_is_no_value(text: str, what: str) -> None:
    with pytest.raises(ValueDecodeError) as error:
        load_json(text)
    assert what in str(error.value)
    assert "\n" not in str(error.value)


def test_json_of_a_time_with_an_offset() -> None:
    assert load_json('{"$time": "2026-01-31t12:00:00.123456789+02:00"}') == datetime(
        2026, 1, 31, 10, 0, 0, 123456, tzinfo=UTC
    )


def test_the_json_text_is_bounded() -> None:
    with pytest.raises(ValueDecodeError, match="characters"):
        load_json(" " * (MAX_JSON_CHARS + 1))


@given(st.text(max_size=60))
def test_any_json_text_ends_in_an_object_or_one_error(text: str) -> None:
    try:
        load_json(text)
    except ValueDecodeError:
        return
