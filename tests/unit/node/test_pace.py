"""When commits are waited for on the event loop."""

from __future__ import annotations

import pytest

from kvnode.node.pace import ALLOWED_S, MOST_S, Pace

QUICK_S = ALLOWED_S / 5


def until_quick(pace: Pace, took_s: float = QUICK_S, most: int = 10_000) -> int:
    """So many commits on the thread it takes until the disk is trusted."""
    for count in range(most):
        if pace.is_quick:
            return count
        pace.took_on_thread(took_s)
    return most


def proven() -> Pace:
    pace = Pace()
    until_quick(pace)
    return pace


def test_a_disk_has_to_prove_that_it_is_quick() -> None:
    assert 10 < until_quick(Pace()) < 30
    assert until_quick(Pace(), 1.1 * ALLOWED_S) == 10_000


@pytest.mark.parametrize("late_s", [0.01, 0.2, 30.0])
def test_a_commit_that_was_stuck_is_the_last_one_for_long(late_s: float) -> None:
    pace = proven()
    pace.held_up(late_s)
    assert not pace.is_quick
    least = (min(late_s, MOST_S) - 0.01) / ALLOWED_S
    assert least < until_quick(pace) < 400


def test_what_is_slow_now_and_then_is_quick() -> None:
    pace = proven()
    for number in range(10_000):
        assert pace.is_quick
        pace.held_up(3 * ALLOWED_S if number % 10 == 0 else QUICK_S)


def test_in_the_mean_the_event_loop_is_held_up_no_longer_than_allowed() -> None:
    pace, held_s, count = Pace(), 0.0, 20_000
    for number in range(count):
        took_s = 20 * ALLOWED_S if number % 50 == 0 else QUICK_S
        if pace.is_quick:
            held_s += took_s
            pace.held_up(took_s)
        else:
            pace.took_on_thread(took_s)
    assert 0 < held_s < count * ALLOWED_S


def test_on_the_thread_it_counts_how_many_are_slow() -> None:
    """One that waited for the busy event loop tells nothing of the disk."""
    pace = Pace()
    for number in range(1_000):
        pace.took_on_thread(1.0 if number % 4 == 0 else QUICK_S)
    assert pace.is_quick
    for number in range(1_000):
        pace.took_on_thread(1.0 if number % 4 else QUICK_S)
    assert not pace.is_quick


def test_a_disk_that_failed_has_to_prove_it_again() -> None:
    pace = proven()
    pace.failed()
    assert until_quick(pace) > 100
