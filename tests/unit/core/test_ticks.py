"""Incarnations and names; what the property tests of tick sets leave out."""

from __future__ import annotations

import pytest

from kvnode.core.ticks import (
    EMPTY,
    Dot,
    Known,
    Ticks,
    check_name,
    durable_twin,
    incarnation,
    is_incarnation,
    is_volatile,
    name_of,
    volatile_twin,
)


@pytest.mark.parametrize("name", ["A", "living-room", "node.1", "a_b", "0", "x" * 63])
def test_names(name: str) -> None:
    assert check_name(name) == name
    assert name_of(incarnation(name, 7)) == name
    assert is_incarnation(incarnation(name, 7))


@pytest.mark.parametrize("name", ["", ".a", "-a", "a~b", "a b", "x" * 64, "a\n", "\u00e4", "a/b"])
def test_no_names(name: str) -> None:
    with pytest.raises(ValueError, match="is no node name"):
        check_name(name)
    assert not is_incarnation(f"{name}~{'0' * 16}")


def test_incarnations() -> None:
    inc = incarnation("A", 0x1234)
    assert inc == "A~0000000000001234"
    assert incarnation("A", (1 << 64) + 1) == incarnation("A", 1)
    assert volatile_twin(inc) == inc + "v"
    assert durable_twin(volatile_twin(inc)) == durable_twin(inc) == inc
    assert is_volatile(volatile_twin(inc))
    assert not is_volatile(inc)
    assert is_incarnation(volatile_twin(inc))
    for text in ("A", "A~", "A~123", inc.upper(), inc + "x", inc + "vv", inc + "\n"):
        assert not is_incarnation(text) or text == inc
    assert str(Dot(inc, 3)) == f"{inc}:3"


def test_ticks_for_people() -> None:
    assert repr(Ticks.of(1, 2, 3, 7, 9, 10)) == "<1-3,7,9-10>"
    assert repr(EMPTY) == "<>"
    assert Ticks.of(1) != {1}
    assert Known() != {}


def test_a_small_addition_is_cheap() -> None:
    ticks = EMPTY
    for tick in range(1, 2001):
        ticks = ticks.add(tick)
    assert ticks.bounds == (1, 2001)


def test_known_copies_are_independent() -> None:
    inc = incarnation("A", 1)
    known = Known({inc: Ticks.upto(3), incarnation("B", 1): EMPTY})
    assert list(known.map) == [inc]
    other = known.copy()
    other.add(inc, 4)
    assert known[inc] == Ticks.upto(3)
    assert other[inc] == Ticks.upto(4)
    assert known <= other
    assert not other <= known
