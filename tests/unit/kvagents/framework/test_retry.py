"""Delays and what counts as working, in virtual time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.framework.retry import DEFAULT_POLICY, UNTRIED, Health, RetryPolicy


def no_chance() -> float:
    return 0.0


def test_the_delays_that_users_are_promised():
    delays = [DEFAULT_POLICY.delay_s(n, no_chance) for n in range(1, 24)]
    assert delays[:4] == pytest.approx([0.5, 0.7, 0.98, 1.372])
    assert all(later >= earlier for earlier, later in itertools.pairwise(delays))
    assert delays[18] < 300.0
    assert delays[20:] == [300.0] * 3


@given(st.integers(1, 10**9), st.floats(0, 1), st.floats(0, 1))
def test_no_delay_is_longer_than_the_longest(failures: int, jitter: float, chance: float):
    policy = RetryPolicy(jitter=jitter)
    delay = policy.delay_s(failures, lambda: chance)
    assert 0.0 <= delay <= policy.longest_s
    assert delay >= policy.delay_s(failures, no_chance) * (1 - jitter) - 1e-9


def test_up_for_five_seconds_is_working():
    health = UNTRIED.failed().failed()
    assert health.failures == 2
    health = health.up(10.0, DEFAULT_POLICY)
    assert not health.working
    health = health.up(14.9, DEFAULT_POLICY)
    assert (health.working, health.failures) == (False, 2)
    health = health.up(15.0, DEFAULT_POLICY)
    assert health == Health(failures=0, up_since=10.0, working=True)
    assert health.up(99.0, DEFAULT_POLICY) == health


def test_what_fails_right_after_each_start_is_tried_less_and_less():
    """Twenty starts that each last 4.9 s: the delays go on growing as if it had never been up."""
    health = UNTRIED
    now = 0.0
    for _ in range(20):
        health = health.up(now, DEFAULT_POLICY).up(now + 4.9, DEFAULT_POLICY).failed()
        now += 4.9 + DEFAULT_POLICY.delay_s(health.failures, no_chance)
    assert health.failures == 20
    assert DEFAULT_POLICY.delay_s(health.failures, no_chance) > 250


def test_what_worked_starts_over():
    health = UNTRIED.failed().failed().up(0.0, DEFAULT_POLICY).up(5.0, DEFAULT_POLICY).failed()
    assert health.failures == 1
