"""Which sibling wins when reading, what is a conflict, and which rule holds for a path."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.codec.values import pack, unpack
from kvnode.core.entry import Siblings, Version, body_of, ordered
from kvnode.core.path import Path, Pattern
from kvnode.core.policy import NEWEST, Policy, Rules, in_conflict, live, read
from kvnode.core.ticks import Dot, incarnation, volatile_twin

NOW = 1_000_000
PATH = Path(("x",))
INCS = {name: incarnation(name, n) for n, name in enumerate("ABCD")}


def value(name: str, what: Any, stamp: int = 1, *, volatile: bool = False, **more: Any) -> Version:
    """One version by the node `name`; None for a tombstone."""
    inc = volatile_twin(INCS[name]) if volatile else INCS[name]
    packed = None if what is None else pack(what)
    return Version.make(Dot(inc, 1), {}, body_of(PATH, stamp, packed, **more))


def siblings(*versions: Version) -> Siblings:
    return ordered(versions)


def winner(policy: str, *versions: Version) -> Any:
    """The value by a policy; the order of the siblings must not matter."""
    readings = [read(s, Policy.parse(policy), NOW, unpack) for s in (versions, versions[::-1], siblings(*versions))]
    assert all(r is not None for r in readings)
    first = readings[0]
    assert first is not None
    assert all(r is not None and (r.value, r.winner) == (first.value, first.winner) for r in readings)
    return first.value


# -- winners ---------------------------------------------------------------------------------------------------


def test_newest_is_the_greatest_stamp_then_the_greatest_dot() -> None:
    assert winner("newest", value("A", "old", 1), value("B", "new", 2)) == "new"
    assert winner("newest", value("A", "a", 2), value("B", "b", 2)) == "b"


@pytest.mark.parametrize("policy", ["newest", "max", "min", "union", "merge", "owner=A", "ask"])
def test_one_value_is_just_that(policy: str) -> None:
    got = read(siblings(value("B", {"k": [2, 1]})), Policy.parse(policy), NOW, unpack)
    assert got is not None
    assert (got.value, got.conflict) == ({"k": [2, 1]}, False)


def test_max_and_min_compare_numbers() -> None:
    many = (value("A", 3), value("B", 7.5), value("C", -1))
    assert winner("max", *many) == 7.5
    assert winner("min", *many) == -1


def test_max_and_min_order_values_of_any_type() -> None:
    many = (value("A", "text"), value("B", 1_000_000), value("C", [1]))
    assert winner("max", *many) == [1]
    assert winner("min", *many) == 1_000_000
    assert winner("max", *many[:2]) == "text"


def test_what_is_no_number_is_below_every_number() -> None:
    pair = siblings(value("A", float("nan"), 9), value("B", float("-inf"), 1))
    least = read(pair, Policy("min"), NOW, unpack)
    greatest = read(pair, Policy("max"), NOW, unpack)
    assert least is not None
    assert greatest is not None
    assert (least.winner.inc, greatest.winner.inc) == (INCS["A"], INCS["B"])


def test_a_tie_of_max_and_min_goes_to_the_newest() -> None:
    tie = (value("A", 1, 5), value("B", 1.0, 9))
    for policy in ("max", "min"):
        got = read(siblings(*tie), Policy.parse(policy), NOW, unpack)
        assert got is not None
        assert got.winner.inc == INCS["B"]


def test_union_joins_lists_without_doubles() -> None:
    assert winner("union", value("A", [1, 3]), value("B", [2, 3]), value("C", 5)) == [1, 2, 3, 5]
    assert winner("union", value("A", ["b"]), value("B", [["nested"], "a"])) == ["a", "b", ["nested"]]


def test_merge_joins_maps_key_by_key_the_newest_decides() -> None:
    older, newer = value("A", {"a": 1, "b": 1}, 1), value("B", {"b": 2, "c": 2}, 2)
    assert winner("merge", older, newer) == {"a": 1, "b": 2, "c": 2}
    assert list(winner("merge", older, newer)) == ["a", "b", "c"]


def test_merge_of_anything_else_is_the_newest() -> None:
    assert winner("merge", value("A", {"a": 1}, 1), value("B", 2, 2)) == 2


def test_owner_wins_whatever_is_newer() -> None:
    assert winner("owner=A", value("A", "mine", 1), value("B", "newer", 9)) == "mine"
    assert winner("owner=C", value("A", "old", 1), value("B", "newest", 9)) == "newest"


def test_ask_shows_the_newest_and_a_conflict() -> None:
    got = read(siblings(value("A", 1, 1), value("B", 2, 2)), Policy("ask"), NOW, unpack)
    assert got is not None
    assert (got.value, got.conflict, len(got.live)) == (2, True, 2)


# -- tombstones, expiry, volatile --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["newest", "max", "min", "union", "merge", "owner=B", "ask"])
def test_a_tombstone_never_hides_a_concurrent_value(policy: str) -> None:
    got = read(siblings(value("A", 1, 1), value("B", None, 99)), Policy.parse(policy), NOW, unpack)
    assert got is not None
    assert (got.value, got.conflict) == (1, True)


def test_a_deleted_entry_has_no_reading() -> None:
    assert read((), NEWEST, NOW, unpack) is None
    assert read(siblings(value("A", None)), NEWEST, NOW, unpack) is None
    assert read(siblings(value("A", None), value("B", None)), NEWEST, NOW, unpack) is None


def test_two_deletes_are_no_conflict() -> None:
    assert not in_conflict(siblings(value("A", None), value("B", None)))


def test_an_expired_version_reads_as_a_tombstone() -> None:
    gone = value("A", 1, 9, expiry=NOW)
    still = value("B", 2, 1, expiry=NOW + 1)
    assert read(siblings(gone), NEWEST, NOW, unpack) is None
    assert live(siblings(gone, still), NOW) == (still,)
    assert winner("newest", gone, still) == 2
    assert winner("max", gone, still) == 2


def test_values_side_by_side_are_a_conflict() -> None:
    assert in_conflict(siblings(value("A", 1), value("B", 1)))
    assert not in_conflict(siblings(value("A", 1)))
    assert not in_conflict(())


def test_a_volatile_value_over_a_durable_tombstone_is_no_conflict() -> None:
    pair = siblings(value("A", None), value("A", 5, volatile=True))
    got = read(pair, NEWEST, NOW, unpack)
    assert got is not None
    assert (got.value, got.conflict) == (5, False)


def test_volatile_values_conflict_with_one_another_and_with_durable_values() -> None:
    assert in_conflict(siblings(value("A", 5, volatile=True), value("B", 6, volatile=True)))
    assert in_conflict(siblings(value("A", None), value("A", 5, volatile=True), value("B", 6, volatile=True)))
    assert in_conflict(siblings(value("A", 5, volatile=True), value("B", 6)))
    assert in_conflict(siblings(value("A", None, volatile=True), value("B", 6)))


# -- texts and rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["newest", "max", "min", "union", "merge", "ask", "owner=attic"])
def test_policies_have_a_text(text: str) -> None:
    assert str(Policy.parse(text)) == text


@pytest.mark.parametrize("text", ["", "latest", "owner", "owner=", "max=A", "newest ", "=A", "NEWEST"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no policy"):
        Policy.parse(text)


def rules(**by_text: str) -> Rules[Policy]:
    return Rules(NEWEST, [(Pattern(where), Policy.parse(what)) for where, what in by_text.items()])


def test_newest_is_the_default() -> None:
    assert Rules(NEWEST).of(("a", "b")) == NEWEST
    assert rules(a="max").of(("b",)) == NEWEST


def test_most_fixed_elements_win() -> None:
    several = rules(**{"#": "ask", "a.#": "max", "a.+.c": "min", "a.b.c": "union", "+.b.+": "merge"})
    assert several.of(("q",)) == Policy("ask")
    assert several.of(("a", "q")) == Policy("max")
    assert several.of(("a", "q", "c")) == Policy("min")
    assert several.of(("a", "b", "c")) == Policy("union")
    assert several.of(("q", "b", "q")) == Policy("merge")


def test_an_escaped_dot_does_not_count_as_an_element() -> None:
    two = rules(**{"+.+.a:.b:.c": "max", "p.q.+": "min"})
    assert two.of(("p", "q", "a.b.c")) == Policy("min")
    assert two.of(("x", "q", "a.b.c")) == Policy("max")


def test_literal_plus_and_hash_count_as_elements() -> None:
    two = rules(**{":+.x": "max", "+.x": "min"})
    assert two.of(("+", "x")) == Policy("max")
    assert two.of(("y", "x")) == Policy("min")


def test_equal_weight_is_decided_by_the_text_and_not_by_the_order() -> None:
    one = [(Pattern("+.b"), Policy("max")), (Pattern("a.+"), Policy("min"))]
    assert Rules(NEWEST, one) == Rules(NEWEST, reversed(one))
    assert Rules(NEWEST, one).of(("a", "b")) == Rules(NEWEST, reversed(one)).of(("a", "b")) == Policy("max")


def test_two_policies_for_one_pattern_are_decided_by_themselves() -> None:
    one = [(Pattern("a"), Policy("owner", "Z")), (Pattern("a"), Policy("max"))]
    assert Rules(NEWEST, one).of(("a",)) == Rules(NEWEST, reversed(one)).of(("a",)) == Policy("max")
