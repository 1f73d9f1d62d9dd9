"""Claims: one holder at a time, take-over, fencing tokens, and what happens when a cut is healed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.framework.claim import Claim, Claimant, Terms

WALL = datetime(2026, 3, 1, 12, tzinfo=UTC)
SAFE = Terms(lease_s=30.0)
UNSAFE = Terms(lease_s=30.0, two_holders="unsafe")


def mine(session: str, **more: Any) -> Claim:
    return Claim("onewire/attic", session, 0, WALL, 30.0, **more)


class Tree:
    """The claims side by side in one half of a tree; a write takes the place of what the writer had read."""

    def __init__(self, *claims: Claim) -> None:
        self.claims = list(claims)

    def step(self, claimant: Claimant, now: float) -> bool:
        """One round of a claimant; whether it drives afterwards."""
        claimant.read(self.claims, now)
        if (claim := claimant.to_write(now, WALL)) is not None:
            self.claims = [claim]
            claimant.wrote(claim, now)
        return claimant.may_drive(now)


def test_a_free_bus_is_claimed_and_the_claim_renewed() -> None:
    tree, a = Tree(), Claimant(mine("a"), SAFE)
    assert not a.may_drive(0)
    assert tree.step(a, 0)
    assert (a.token, a.next_look(0)) == (1, 10.0)
    a.read(tree.claims, 9.9)
    assert a.to_write(9.9, WALL) is None
    a.read(tree.claims, 10)
    assert a.to_write(10, WALL) is not None


def test_another_one_stands_by_and_takes_over_after_a_whole_lease_without_a_renewal() -> None:
    tree, a, b = Tree(), Claimant(mine("a"), SAFE), Claimant(mine("b"), SAFE)
    assert tree.step(a, 0)
    assert not tree.step(b, 5)
    assert tree.step(a, 10)
    assert not tree.step(b, 11), "sees the renewal"
    assert not tree.step(b, 40.9)
    assert b.next_look(40.9) == pytest.approx(41)
    assert tree.step(b, 41)
    assert b.token == 2
    a.read(tree.claims, 42)
    assert not a.may_drive(42)
    assert a.to_write(42, WALL) is None


def test_a_released_claim_and_that_of_a_dead_process_are_taken_at_once() -> None:
    tree, a, b = Tree(), Claimant(mine("a"), SAFE), Claimant(mine("b"), SAFE)
    tree.step(a, 0)
    released = a.released(WALL)
    assert released is not None
    assert b.released(WALL) is None
    tree.claims = [released]
    assert tree.step(b, 1)
    assert b.token == 2
    dead = Claimant(mine("c"), SAFE, lambda claim: claim.session == "b")
    assert tree.step(dead, 2)
    assert dead.token == 3


def test_only_where_two_holders_are_unsafe_does_one_stop_that_cannot_renew() -> None:
    for terms, drives in ((SAFE, True), (UNSAFE, False)):
        a = Claimant(mine("a"), terms)
        Tree().step(a, 0)
        assert a.may_drive(29.9)
        assert a.may_drive(30) is drives
        assert (a.drives_until() == 30) is not drives


def test_a_renewal_that_was_not_acknowledged_does_not_count() -> None:
    a = Claimant(mine("a"), UNSAFE)
    a.read((), 0)
    claim = a.to_write(0, WALL)
    assert claim is not None
    a.read([claim], 1)
    assert not a.may_drive(1), "it stands, but perhaps on this side of a cut only"
    assert a.to_write(1, WALL) is not None


def test_two_holders_of_a_cut_tree_become_one_when_it_is_healed() -> None:
    left, right = Tree(), Tree()
    a, b = Claimant(mine("a"), SAFE), Claimant(mine("b"), SAFE)
    left.step(a, 0)
    right.claims = list(left.claims)
    right.step(b, 0)
    assert right.step(b, 30), "b sees no renewal"
    assert left.step(a, 30)
    both = Tree(*left.claims, *right.claims)
    both_for_a = Tree(*both.claims)
    assert not both_for_a.step(a, 31)
    assert both_for_a.claims == both.claims, "the loser writes nothing"
    assert both.step(b, 40)
    assert [c.session for c in both.claims] == ["b"]
    assert b.token == 2


def test_the_greater_token_counts_whatever_the_sessions_are_called() -> None:
    older, newer = replace(mine("z"), token=1), replace(mine("a"), token=2)
    z = Claimant(mine("z"), SAFE)
    z.read([older, newer], 0)
    assert z.holder == newer


def test_equal_tokens_are_decided_alike_on_both_sides() -> None:
    a, b = Claimant(mine("a"), SAFE), Claimant(mine("b"), SAFE)
    left, right = Tree(), Tree()
    left.step(a, 0)
    right.step(b, 0)
    both = [*left.claims, *right.claims]
    for order in (both, both[::-1]):
        assert not Tree(*order).step(a, 1)
        assert Tree(*order).step(b, 1)


def test_a_new_token_is_greater_than_all_that_stood_there() -> None:
    tree = Tree(replace(mine("x"), token=7, released=True), replace(mine("y"), token=9, released=True))
    a = Claimant(mine("a"), SAFE)
    tree.step(a, 0)
    assert a.token == 10


def test_a_deleted_claim_is_made_again_with_a_greater_token() -> None:
    tree, a = Tree(), Claimant(mine("a"), SAFE)
    tree.step(a, 0)
    tree.claims = []
    assert tree.step(a, 1)
    assert a.token == 2


def test_the_record_reads_as_it_was_written() -> None:
    claim = replace(mine("a", host="h", pid=3), token=4, released=True)
    assert Claim.from_value(claim.value()) == claim
    for value in (None, {}, {**claim.value(), "token": "4"}, {**claim.value(), "lease": None}):
        assert Claim.from_value(value) is None


def test_the_loser_stops_within_a_named_time() -> None:
    assert Terms(lease_s=30).stop_within_s == 15


_moves = st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.floats(0.1, 12)), min_size=1, max_size=60)


@given(_moves, st.sampled_from([SAFE, UNSAFE]))
def test_on_one_node_there_are_never_two_and_tokens_only_rise(
    moves: list[tuple[str, bool, float]], terms: Terms
) -> None:
    """Any pace of the two, and releases in between: with one tree, compare-and-set admits one holder."""
    tree, now, last = Tree(), 0.0, 0
    both = {name: Claimant(mine(name), terms) for name in "ab"}
    for name, release, pause in moves:
        now += pause
        drives = tree.step(both[name], now)
        assert sum(c.session == name for c in tree.claims) == int(drives)
        if drives:
            assert both[name].token >= last
            last = both[name].token
        if release and (claim := both[name].released(WALL)) is not None:
            tree.claims = [claim]
            both[name].read(tree.claims, now)
            assert not both[name].may_drive(now)
