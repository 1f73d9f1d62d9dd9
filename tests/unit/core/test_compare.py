"""Narrowing two trees down to the keys that differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.compare import ASKED_RANGES, Narrowing
from kvnode.core.limits import Limits
from kvnode.core.path import Path, key_range_end
from kvnode.core.settle import tell_prints
from kvnode.core.tree import KEY_END, Tree
from tests.support.strangers import version

LIMITS = Limits(settle_parts=4, settle_leaf=3)


def tree(values: dict[str, int]) -> Tree:
    made = Tree()
    for path, value in values.items():
        v = version(path, value + 1, value)
        made.put(v.key, (v,))
    return made


def walk(one: Tree, other: Tree, low: bytes = b"", high: bytes = KEY_END, most: int = 1_000) -> tuple[Narrowing, int]:
    """Compare two trees; gives the fingerprints it took, too."""
    narrowing = Narrowing(low, high, most)
    cost = 0
    while ranges := narrowing.question():
        assert len(ranges) <= ASKED_RANGES
        told = tell_prints(one, ranges, LIMITS)
        narrowing.parts((a, b, mine, other.print_of(a, b)) for a, b, mine in told.parts)
        for a, b, listed in told.leaves:
            narrowing.leaf(dict(listed), dict(other.prints(a, b)))
        cost += len(told.parts) + sum(len(listed) for _, _, listed in told.leaves)
    return narrowing, cost


PATHS = st.integers(0, 60).map(lambda n: f"a{n % 7}.b{n}")
TREES = st.dictionaries(PATHS, st.integers(0, 2))


@given(TREES, TREES)
def test_it_finds_what_differs_and_only_that(one: dict[str, int], other: dict[str, int]) -> None:
    found, _ = walk(tree(one), tree(other))
    wanted = [Path.parse(p).key for p in one.keys() | other.keys() if one.get(p) != other.get(p)]
    assert sorted(found.differing) == sorted(wanted)
    assert not found.more


@given(TREES, TREES)
def test_nothing_outside_the_subtree_is_looked_at(one: dict[str, int], other: dict[str, int]) -> None:
    low = Path.parse("a3").key
    found, _ = walk(tree(one), tree(other), low, key_range_end(low))
    below = [p for p in one.keys() | other.keys() if p.startswith("a3.")]
    wanted = [Path.parse(p).key for p in below if one.get(p) != other.get(p)]
    assert sorted(found.differing) == sorted(wanted)


def test_the_cost_follows_the_difference() -> None:
    same = {f"a{n // 100}.b{n}": 0 for n in range(4_000)}
    _, equal = walk(tree(same), tree(same))
    _, one = walk(tree(same), tree(same | {"a20.b2000": 1}))
    assert equal == LIMITS.settle_parts
    assert one < 40


def test_more_differences_than_are_wanted_end_it() -> None:
    many = {f"b{n}": 1 for n in range(500)}
    found, cost = walk(tree(many), Tree(), most=7)
    assert len(found.differing) == 7
    assert found.more
    assert cost < 500
    exactly, _ = walk(tree({f"b{n}": 1 for n in range(7)}), Tree(), most=7)
    assert len(exactly.differing) == 7
    assert not exactly.more
