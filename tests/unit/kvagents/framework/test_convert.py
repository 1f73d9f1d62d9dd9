"""Converters: to the tree, to the device, and the attributes that make them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.framework.convert import IDENTITY, AttributeProblem, ConversionError, read_converter

DOOR = {"table": {"0": "shut", "1": "open"}}
LEVEL = {"table": [[4, 0], [12, 100], [20, 500]]}


@pytest.mark.parametrize(
    ("attributes", "raw", "value"),
    [
        ({}, "any", "any"),
        ({"scale": 0.1, "offset": -5}, 300, 25.0),
        ({"scale": 0.1, "digits": 1}, 123, 12.3),
        ({"digits": 0}, 21.5, 22),
        (DOOR, 1, "open"),
        (DOOR, 0.0, "shut"),
        ({"table": {"true": 7}}, True, 7),
        (LEVEL, 8, 50.0),
        (LEVEL, 16, 300.0),
        (LEVEL, 3, 0.0),
        (LEVEL, 30, 500.0),
        ({"table": {"0": 10}, "scale": 2, "offset": 1, "expr": "value * 10", "digits": 0}, 0, 210),
        ({"expr": "value == 'on'"}, "on", True),
    ],
)
def test_to_the_tree(attributes: dict[str, Any], raw: Any, value: Any) -> None:
    got = read_converter(attributes, both_ways=False).to_tree(raw)
    assert got == pytest.approx(value) if isinstance(value, float) else got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("attributes", "value", "raw"),
    [
        ({}, "any", "any"),
        ({"scale": 0.1, "offset": -5}, 25.0, 300),
        (DOOR, "open", 1),
        ({"table": {"true": 7, "x": 8}}, 8, "x"),
        ({"table": {"true": 7}}, 7, True),
        (LEVEL, 300, 16.0),
        ({"table": [[0, 10], [10, 0]]}, 2.5, 7.5),
        ({"expr": "value * 10", "inverse": "value / 10"}, 50, 5.0),
    ],
)
def test_to_the_device(attributes: dict[str, Any], value: Any, raw: Any) -> None:
    got = read_converter(attributes, both_ways=True).to_device(value)
    assert (got, type(got)) == (raw, type(raw))


@pytest.mark.parametrize(
    ("attributes", "raw", "complaint"),
    [
        ({"scale": 2}, "wet", "'wet' is no number"),
        pytest.param({"scale": 2}, "wet" * 10_000, r"etw?e?\.\.\. is no number", id="text"),
        pytest.param({"scale": 2}, 10**5000, "too many digits is no number", id="scale"),
        pytest.param({"scale": 2}, 2**65, "36893488147419103232 is no number", id="bits"),
        pytest.param({"table": {"1": 2}}, 10**5000, "no entry for an integer of too many digits", id="table"),
        pytest.param({"expr": "value + 1"}, 10**5000, "the number is too large", id="expr"),
        ({"scale": 2}, float("nan"), "nan is no number"),
        (DOOR, 7, "the table has no entry for 7; it has 0, 1"),
        (LEVEL, None, "None is no number"),
        ({"expr": "1 / value"}, 0, "has no result for 0"),
        ({"expr": "'x'", "digits": 1}, 0, "'x' is no number"),
    ],
)
def test_what_cannot_be_converted(attributes: dict[str, Any], raw: Any, complaint: str) -> None:
    with pytest.raises(ConversionError, match=complaint) as caught:
        read_converter(attributes, both_ways=False).to_tree(raw)
    assert caught.value.code == "conversion"


@pytest.mark.parametrize(
    ("attributes", "both", "key", "complaint"),
    [
        ({"scale": 0}, False, "scale", "0 would make"),
        ({"expr": "value +"}, False, "expr", "is no expression"),
        ({"inverse": "x"}, False, "inverse", "no name 'x'"),
        ({"expr": "value"}, True, "inverse", "takes the inverse of expr"),
        ({"table": {"0": 1, "1": 1}}, True, "table", "no two entries"),
        ({"table": [[1, 0], [1, 5]]}, False, "table", "must rise"),
        ({"table": [[1, 0], [2, 5], [3, 4]]}, True, "table", "only rise or only fall"),
        ({"table": [[1, 0], [2, 0]]}, True, "table", "only rise or only fall"),
    ],
)
def test_attributes_that_cannot_be_right(attributes: dict[str, Any], both: bool, key: str, complaint: str) -> None:
    with pytest.raises(AttributeProblem, match=complaint) as caught:
        read_converter(attributes, both_ways=both)
    assert caught.value.key == key


def test_one_way_needs_no_inverse() -> None:
    assert read_converter({"table": {"0": 1, "1": 1}}, both_ways=False).to_tree(1) == 1
    assert read_converter({}, both_ways=True) == IDENTITY


@given(
    st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-3),
    st.floats(-1e3, 1e3),
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.5, 1e3)), min_size=2, max_size=5),
    st.floats(0, 1),
)
def test_back_and_forth_gives_what_it_was(
    scale: float, offset: float, steps: list[tuple[float, float]], where: float
) -> None:
    xs, ys = [0.0], [steps[0][0]]
    for _, step in steps:
        xs.append(xs[-1] + step)
        ys.append(ys[-1] + step * 2)
    table = [list(pair) for pair in zip(xs, ys, strict=True)]
    converter = read_converter({"table": table, "scale": scale, "offset": offset}, both_ways=True)
    raw = xs[-1] * where
    assert converter.to_device(converter.to_tree(raw)) == pytest.approx(raw, abs=1e-3, rel=1e-6)
