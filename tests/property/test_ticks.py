"""Laws of tick sets and of known, against Python's own sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.ticks import EMPTY, MAX_TICK, Dot, Known, Ticks

_sets = st.one_of(
    st.frozensets(st.integers(1, 24)),
    st.builds(lambda a, n, gone: frozenset(range(a, a + n)) - gone, st.integers(1, 20), st.integers(0, 20),
              st.frozensets(st.integers(1, 40), max_size=3)),
)  # fmt: skip


def _ticks(of: frozenset[int]) -> Ticks:
    return Ticks.of(*of)


@given(_sets, _sets)
def test_algebra_is_that_of_sets(a: frozenset[int], b: frozenset[int]) -> None:
    x, y = _ticks(a), _ticks(b)
    assert (x | y) == _ticks(a | b)
    assert (x & y) == _ticks(a & b)
    assert (x - y) == _ticks(a - b)
    assert (x <= y) == (a <= b)
    assert (x == y) == (a == b)
    assert hash(x | y) == hash(y | x)


@given(_sets)
def test_form_is_canonical(a: frozenset[int]) -> None:
    x = _ticks(a)
    assert list(x) == sorted(a)
    assert len(x) == len(a)
    assert bool(x) == bool(a)
    assert x.highest == max(a, default=0)
    assert x.is_whole == (a == frozenset(range(1, max(a, default=0) + 1)))
    assert all(p < q for p, q in zip(x.bounds, x.bounds[1:], strict=False))
    assert Ticks.checked(x.bounds) == x
    assert Ticks.of_sorted(sorted(a)) == x
    assert [t for start, stop in x.ranges() for t in range(start, stop)] == sorted(a)


@given(_sets, st.integers(1, 60))
def test_membership_and_adding(a: frozenset[int], tick: int) -> None:
    x = _ticks(a)
    assert (tick in x) == (tick in a)
    assert x.add(tick) == _ticks(a | {tick})


@given(_sets, st.integers(1, 60), st.integers(0, 60))
def test_covering_a_span(a: frozenset[int], first: int, last: int) -> None:
    assert _ticks(a).covers(first, last) == (set(range(first, last + 1)) <= a)


@given(st.integers(-2, 50))
def test_upto(tick: int) -> None:
    assert Ticks.upto(tick) == Ticks.of(*range(1, tick + 1))


@given(st.lists(st.integers(-2, 30), max_size=7))
def test_bounds_from_outside_are_checked(bounds: list[int]) -> None:
    good = len(bounds) % 2 == 0 and bounds == sorted(set(bounds)) and all(b >= 1 for b in bounds)
    if good:
        assert set(Ticks.checked(bounds)) == {t for a, b in zip(bounds[::2], bounds[1::2], strict=True)
                                              for t in range(a, b)}  # fmt: skip
    else:
        with pytest.raises(ValueError, match="tick ranges"):
            Ticks.checked(bounds)


def test_the_highest_tick() -> None:
    all_of_them = Ticks.checked((1, MAX_TICK + 1))
    assert MAX_TICK in all_of_them
    assert len(all_of_them) == MAX_TICK
    assert (all_of_them - Ticks.of(MAX_TICK)).highest == MAX_TICK - 1
    with pytest.raises(ValueError, match="malformed"):
        Ticks.checked((1, MAX_TICK + 2))


# -- known -----------------------------------------------------------------------------------------------------

_incs = st.sampled_from([f"N{i}~{i:016x}" for i in range(4)])
_maps = st.dictionaries(_incs, _sets)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _incs, st.integers(1, 30)),
        st.tuples(st.just("union"), _incs, _sets),
        st.tuples(st.just("replace"), _incs, _sets),
        st.tuples(st.just("extend"), _incs, st.integers(1, 40)),
        st.tuples(st.just("hash"), _incs, st.just(0)),
        st.tuples(st.just("copy"), _incs, st.just(0)),
    ),
    max_size=20,
)


def _known(of: dict[str, frozenset[int]]) -> Known:
    return Known({i: _ticks(t) for i, t in of.items()})


@given(_maps, _steps)
def test_known_is_a_map_of_sets(
    start: dict[str, frozenset[int]], steps: list[tuple[str, str, int | frozenset[int]]]
) -> None:
    known = _known(start)
    model = {i: set(t) for i, t in start.items()}
    for what, inc, arg in steps:
        have = model.setdefault(inc, set())
        match what, arg:
            case "add", int(tick):
                known.add(inc, tick)
                have.add(tick)
            case "union", frozenset(ticks):
                assert known.union(inc, _ticks(ticks)) == (not ticks <= have)
                have |= ticks
            case "extend", int(first):
                above = first > max(have, default=0)
                assert known.extend(inc, first, first + 2) == above
                have |= {first, first + 1, first + 2} if above else set()
            case "replace", frozenset(ticks):
                known.replace(inc, _ticks(ticks))
                model[inc] = set(ticks)
            case "hash", _:
                known.hash()
            case _:
                known = known.copy()
        fresh = _known({i: frozenset(t) for i, t in model.items()})
        assert known == fresh
        assert known.hash() == fresh.hash()
        assert known.hash(without=[inc]) == _known({i: frozenset(t) for i, t in model.items() if i != inc}).hash()
        assert all(t for t in known.map.values())


@given(_maps, _maps)
def test_known_inclusion(a: dict[str, frozenset[int]], b: dict[str, frozenset[int]]) -> None:
    included = all(t <= b.get(i, frozenset()) for i, t in a.items())
    assert (_known(a) <= _known(b)) == included
    for inc, ticks in a.items():
        for tick in ticks:
            assert Dot(inc, tick) in _known(a)
            assert _known(a).has(inc, tick)
    assert Dot("N9~0000000000000009", 1) not in _known(a)
    assert _known(a)["N9~0000000000000009"] == EMPTY
