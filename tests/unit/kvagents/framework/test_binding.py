"""The attributes that all bindings share, and the schema they are checked by."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kvagents.framework.binding import plan_bindings, read_input, read_output
from kvagents.framework.check import Checker, resolved
from kvagents.framework.config import Config
from kvagents.framework.convert import AttributeProblem
from kvagents.framework.filter import Filter
from kvnode.core.path import Path
from kvnode.data.schemas import read_schema

ROOT = Path.parse("agent.toy.t")
PUMP = ROOT / ("relays", "pump")


def config(**entries: Any) -> Config:
    """Entries by the dotted rest of their path, `_` for the root."""
    return Config(ROOT, {Path.parse(f"{ROOT}.{k}") if k != "_" else ROOT: v for k, v in entries.items()})


def test_an_input_with_all_its_attributes():
    found = read_input(
        config(_={"delta": 0.5}, relays={"dest": Path.parse("home.relays")}, **{"relays.pump": {"scale": 2}}), PUMP
    )
    assert found is not None
    assert str(found.dest) == "home.relays.pump"
    assert found.filter == Filter(0.5, 300)
    assert found.stale_after_s == pytest.approx(660)
    assert found.converter.to_tree(4) == 8
    assert read_input(config(_={"heartbeat": 10, "dest": "x"}), ROOT).stale_after_s == pytest.approx(22)  # type: ignore[union-attr]
    assert read_input(config(_={"stale_after": 3, "dest": "x"}), ROOT).stale_after_s == 3  # type: ignore[union-attr]


def test_an_output_with_all_its_attributes():
    own = {"src": "home.pump.set", "fail_safe": False, "fail_safe_after": 5, "command_age": None, "restore": True}
    found = read_output(config(relays={"state": "state"}, **{"relays.pump": own}), PUMP)
    assert found is not None
    assert (str(found.src), str(found.state)) == ("home.pump.set", "state.pump")
    assert (found.rules.command_age_s, found.rules.fail_safe, found.rules.restore) == (math.inf, False, True)
    assert found.rules.fail_safe_after_s == 5


def test_a_direction_that_is_not_asked_for():
    assert read_input(config(_={"src": "x"}), ROOT) is None
    assert read_output(config(_={"dest": "x"}), ROOT) is None


@pytest.mark.parametrize(
    ("attributes", "key", "complaint"),
    [
        ({"src": "a..b"}, "src", "empty element"),
        ({"src": "a", "state": "a"}, "src", "answer its own commands"),
        ({"src": "a", "dest": "a"}, "src", "answer its own commands"),
        ({"src": "a", "expr": "value + 1"}, "inverse", "takes the inverse"),
        ({"src": "a", "scale": 0}, "scale", "0 would"),
    ],
)
def test_what_cannot_be_right(attributes: dict[str, Any], key: str, complaint: str):
    with pytest.raises(AttributeProblem, match=complaint) as caught:
        read_output(config(_=attributes), ROOT)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("dest", 7, "expected a path, such as home.attic.temp, not 7"),
        ("table", {}, "expected a map such as"),
        ("table", [[1, 2]], "or pairs of numbers"),
        ("table", [[1, 2], [3, "x"]], "or pairs of numbers"),
        ("scale", "2", "expected a number other than 0, not '2'"),
        ("offset", float("nan"), "expected a number, not nan"),
        ("expr", "x" * 1025, "at most 1024 characters"),
        ("digits", 1.5, "expected an integer from 0 to 12, not 1.5"),
        ("command_age", 0, "expected seconds from 0.1, or null, not 0"),
        ("restore", "yes", "expected true or false, not 'yes'"),
        ("colour", "red", "unknown key; known are command_age, delta,"),
    ],
)
def test_complaints_name_path_and_key(key: str, value: Any, complaint: str):
    problems = Checker("agent-binding").problems(config(_={}, pump={key: value}))
    assert [(str(p.path), p.key) for p in problems] == [("agent.toy.t.pump", key)]
    assert complaint in str(problems[0])
    assert str(problems[0]).startswith(f"agent.toy.t.pump: {key}: ")


def test_everything_that_the_schema_allows_by_example():
    good = {
        "dest": Path.parse("a.b"), "table": {"0": "shut"}, "scale": 0.5, "offset": -1, "expr": "value", "digits": 2,
        "delta": 0, "heartbeat": 10, "stale_after": 5, "command_age": None, "fail_safe": {"any": [1]}, "restore": False,
        "fail_safe_after": 0, "enabled": True, "inverse": "value", "src": "x", "state": "y",
    }  # fmt: skip
    assert set(good) == set(read_schema("agent-binding")["properties"])
    assert Checker("agent-binding").problems(config(_=good)) == []


def test_a_schema_may_refer_to_shared_keys_and_say_more():
    own = {"properties": {"delta": {"$ref": "agent-binding.schema.json#/properties/delta", "maximum": 5}, "x": {}}}
    delta = resolved(own)["properties"]["delta"]
    assert (delta["maximum"], delta["minimum"], delta["x-expected"]) == (5, 0, "a number from 0")
    assert [p.key for p in Checker({"type": "object", **own}).problems(config(_={"delta": 6}))] == ["delta"]


def plan(entries: Config) -> tuple[dict[str, str], list[str]]:
    found = plan_bindings(entries, Checker("agent-binding"), read_input, '{"dest": "home"}')
    return {str(p[-1]): str(spec.dest) for p, spec in found.bindings.items()}, [str(p) for p in found.problems]


def test_a_plan_of_all_entries():
    groups = {"_": {"heartbeat": 5}, "up": {"dest": "home", "enabled": False}, "up.a": {"enabled": True}, "up.b": {}}
    assert plan(config(**groups, c={"dest": "x"})) == ({"a": "home.a", "c": "x"}, [])


def test_a_mistake_is_told_once_where_it_is_and_the_others_go_on():
    entries = config(_={}, up={"dest": "home", "expr": "value +"}, c={"dest": "x"}, d={"dest": 7}, **{"up.a": {}})
    bindings, problems = plan(entries)
    assert bindings == {"c": "x"}
    assert len(problems) == 2
    assert "agent.toy.t.up: expr: 'value +' is no expression: invalid syntax" in problems
    assert plan(config()) == ({}, ['agent.toy.t: nothing is configured; for example: {"dest": "home"}'])
