"""The quick look at a schema says yes only where the real validator does, and to whatever settings are right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from kvnode.data.conforms import conforms
from kvnode.data.schemas import read_schema

NODE = read_schema("node")
RIGHT: dict[str, Any] = {
    "name": "attic",
    "data": "/var/lib/kvnode",
    "store": "sqlite",
    "listen": "127.0.0.1:27590",
    "peers": ["cellar.lan:27590", "[fe80::1]:27590"],
    "insecure": True,
    "log": {"level": "debug"},
    "limits": {"max_value_bytes": 4096, "max_skew_ms": 100},
}


def is_valid(document: Any, schema: Any = NODE) -> bool:
    return bool(Draft202012Validator(schema).is_valid(document))


def test_what_is_right_conforms() -> None:
    assert is_valid(RIGHT)
    assert conforms(RIGHT, NODE)
    assert conforms({}, NODE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "attic\n"},
        {"nam": "attic"},
        {"store": "disk"},
        {"store": 1},
        {"peers": "a:1"},
        {"peers": ["a"]},
        {"peers": ["a:1"] * 65},
        {"insecure": 1},
        {"data": ""},
        {"log": {"level": "loud"}},
        {"log": None},
        {"limits": {"max_skew_ms": 99}},
        {"limits": {"max_value_bytes": 1 << 30}},
        {"limits": {"max_value_bytes": True}},
        {"limits": {"no_such_limit": 1}},
        [],
        None,
    ],
)
def test_what_is_wrong_does_not(wrong: Any) -> None:
    assert not is_valid(wrong)
    assert not conforms(wrong, NODE)


def test_what_it_does_not_know_it_leaves_to_the_validator() -> None:
    assert is_valid(1, {"multipleOf": 1})
    assert not conforms(1, {"multipleOf": 1})
    assert is_valid("a", {"type": ["string", "null"]})
    assert not conforms("a", {"type": ["string", "null"]})


_scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3)),
    st.sampled_from(["sqlite", "auto", "127.0.0.1:1", "attic", "attic\n", "debug", 1024, 1e3, 100_000]),
)
_values = st.one_of(_scalars, st.lists(_scalars, max_size=3))
_inner = st.dictionaries(st.sampled_from([*NODE["properties"]["limits"]["properties"], "level", "x"]), _values)


@given(st.dictionaries(st.sampled_from([*NODE["properties"], "x"]), st.one_of(_values, _inner), max_size=4))
def test_it_never_says_yes_where_the_validator_says_no(document: dict[str, Any]) -> None:
    assert not conforms(document, NODE) or is_valid(document)


@given(st.dictionaries(st.sampled_from([*RIGHT]), st.none()))
def test_any_part_of_what_is_right_conforms(part: dict[str, None]) -> None:
    assert conforms({key: RIGHT[key] for key in part}, NODE)
