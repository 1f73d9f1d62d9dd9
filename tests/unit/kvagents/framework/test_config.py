"""Inheritance, and how one set of bindings becomes another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvagents.framework.config import Config, Problem, difference
from kvnode.core.path import Path

ROOT = Path.parse("agent.onewire.attic")


def config(entries: dict[str, object]) -> Config:
    """Entries by what comes after the root; the empty text is the root itself."""
    return Config(ROOT, {Path.parse(f"{ROOT}.{name}") if name else ROOT: value for name, value in entries.items()})


def test_attributes_are_inherited_down_to_the_agents_own_entry():
    found = config(
        {
            "": {"interval": 5, "dest": "home"},
            "cellar": {"interval": 60},
            "cellar.wine": {"precision": 12},
        }
    )
    wine = ROOT / ("cellar", "wine")
    assert found.inherited(wine) == {"interval": 60, "dest": "home", "precision": 12}
    assert found.inherited(ROOT / "attic") == {"interval": 5, "dest": "home"}
    assert found.own(wine) == {"precision": 12}
    assert found.above(wine, "interval") == ROOT / "cellar"
    assert found.above(wine, "nothing") is None


def test_gaps_and_values_that_are_no_maps_give_nothing():
    found = config({"": {"a": 1}, "x": "text", "x.y.z": {"b": 2}})
    assert found.inherited(ROOT / ("x", "y", "z")) == {"a": 1, "b": 2}
    assert found.own(ROOT / "x") == {}
    assert found.has_below(ROOT / ("x", "y"))
    assert not found.has_below(ROOT / ("x", "y", "z"))


def test_entries_come_in_path_order():
    found = config({"b": {}, "": {}, "a.z": {}, "a": {}})
    assert list(found) == [ROOT, ROOT / "a", ROOT / ("a", "z"), ROOT / "b"]


def test_a_problem_reads_as_one_line():
    assert str(Problem(ROOT, "expected seconds, not 'fast'", "interval")) == (
        "agent.onewire.attic: interval: expected seconds, not 'fast'"
    )
    assert str(Problem(ROOT, "no map")) == "agent.onewire.attic: no map"


sets = st.dictionaries(st.sampled_from([ROOT / c for c in "abcdef"]), st.integers(0, 3))


@given(sets, sets)
def test_the_difference_leads_from_one_set_to_the_other(running: dict[Path, int], wanted: dict[Path, int]):
    diff = difference(running, wanted)
    state = dict(running)
    for path in diff.stop:
        del state[path]
    for path in diff.start:
        assert path not in state, "started while it runs"
        state[path] = wanted[path]
    assert state == wanted
    assert not set(diff.start) & {p for p in running if wanted.get(p) == running[p]}, "needless restart"
