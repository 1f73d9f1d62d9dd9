"""Laws of reading: it never depends on the order of arrival, and a tombstone hides nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kvnode.codec.values import pack, unpack
from kvnode.core.entry import Siblings, Version, body_of, ordered
from kvnode.core.path import Path, Pattern
from kvnode.core.policy import NEWEST, Policy, Rules, in_conflict, live, read
from kvnode.core.ticks import Dot, incarnation, volatile_twin

PATH = Path(("x",))
NOW = 1_000

_scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text("ab", max_size=2)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1) | st.integers(0, 2), inner, max_size=3)
    ),
    max_leaves=6,
)
_policies = st.sampled_from(["newest", "max", "min", "union", "merge", "owner=A", "owner=Z", "ask"]).map(Policy.parse)


@st.composite
def _siblings(draw: st.DrawFn) -> Siblings:
    out: list[Version] = []
    for n, name in enumerate(draw(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=4))):
        inc = incarnation(name, n)
        if draw(st.booleans()) and draw(st.booleans()):
            inc = volatile_twin(inc)
        packed = None if draw(st.integers(0, 3)) == 0 else pack(draw(_values))
        expiry = draw(st.sampled_from([None, None, NOW - 1, NOW, NOW + 1]))
        stamp = draw(st.integers(0, 3))
        out.append(Version.make(Dot(inc, n + 1), {}, body_of(PATH, stamp, packed, expiry=expiry)))
    return ordered(out)


def _shown(value: Any) -> str:
    return repr(value)  # NaN is equal to NaN here


@given(_siblings(), _policies, st.randoms(use_true_random=False))
def test_a_reading_does_not_depend_on_the_order(siblings: Siblings, policy: Policy, rng: Any) -> None:
    first = read(siblings, policy, NOW, unpack)
    shuffled = list(siblings)
    rng.shuffle(shuffled)
    second = read(tuple(shuffled), policy, NOW, unpack)
    assert (first is None) == (second is None)
    if first and second:
        assert first.winner is second.winner
        assert _shown(first.value) == _shown(second.value)
        assert set(first.live) == set(second.live)
        assert first.conflict == second.conflict


@given(_siblings(), _policies)
def test_there_is_a_reading_exactly_if_something_is_live(siblings: Siblings, policy: Policy) -> None:
    got = read(siblings, policy, NOW, unpack)
    values = live(siblings, NOW)
    assert (got is None) == (not values)
    if got:
        assert got.winner in values
        assert got.live == values
        if policy.kind not in ("union", "merge"):
            assert _shown(got.value) == _shown(unpack(bytes(got.winner.details.value)))


@given(_siblings(), _policies)
def test_what_is_gone_changes_no_value(siblings: Siblings, policy: Policy) -> None:
    got, alone = read(siblings, policy, NOW, unpack), read(live(siblings, NOW), policy, NOW, unpack)
    assert (got is None) == (alone is None)
    if got and alone:
        assert (got.winner, _shown(got.value)) == (alone.winner, _shown(alone.value))


@given(_siblings())
def test_a_conflict_needs_two_versions_and_a_value(siblings: Siblings) -> None:
    if in_conflict(siblings):
        assert len(siblings) > 1
        assert any(not v.is_tombstone for v in siblings)
    elif len(siblings) > 1:
        values = [v for v in siblings if not v.is_tombstone]
        assert len(values) <= 1
        assert all(v.inc.endswith("v") for v in values)


_texts = st.lists(st.sampled_from(["a", "b", "+", "#", ":+", "a:.b", ":3", "c"]), min_size=1, max_size=4).filter(
    lambda e: e.count("#") <= 2
)
_elements = st.sampled_from(["a", "b", "+", "a.b", 3, "c", "#"])


@given(st.lists(st.tuples(_texts, _policies), max_size=6), st.lists(_elements, min_size=1, max_size=4))
def test_no_matching_rule_has_more_fixed_elements_than_the_one_that_holds(
    several: list[tuple[list[str], Policy]], path: list[str | int]
) -> None:
    made = [(Pattern(".".join(elements)), policy, sum(e not in "+#" for e in elements)) for elements, policy in several]
    rules = Rules(NEWEST, [(pattern, policy) for pattern, policy, _ in made])
    matching = [(fixed, policy) for pattern, policy, fixed in made if pattern.matches(tuple(path))]
    got = rules.of(tuple(path))
    if not matching:
        assert got == NEWEST
        return
    most = max(fixed for fixed, _ in matching)
    assert got in [policy for fixed, policy in matching if fixed == most]
    assert rules == Rules(NEWEST, [(pattern, policy) for pattern, policy, _ in reversed(made)])
