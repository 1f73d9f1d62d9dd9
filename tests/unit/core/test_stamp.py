"""The hybrid logical clock and its guard against clocks that run ahead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.stamp import COUNTER_BITS, Clock, stamp_of, wall_ms

SKEW = 60_000


def test_parts() -> None:
    assert wall_ms(stamp_of(1234, 5)) == 1234
    assert stamp_of(1, 0) == 1 << COUNTER_BITS
    assert stamp_of(-5) == 0


def test_ticks_follow_the_clock_and_never_repeat() -> None:
    clock = Clock(SKEW)
    first, second = clock.tick(1000), clock.tick(1000)
    assert wall_ms(first) == wall_ms(second) == 1000
    assert first < second
    assert clock.tick(500) > second
    assert wall_ms(clock.tick(2000)) == 2000


def test_remote_stamps_move_the_clock() -> None:
    clock = Clock(SKEW)
    assert clock.observe(stamp_of(1000 + SKEW), 1000)
    assert clock.tick(1000) > stamp_of(1000 + SKEW)


def test_a_stamp_from_the_far_future_does_not() -> None:
    clock = Clock(SKEW)
    far = stamp_of(10_000_000)
    assert not clock.observe(far, 1000)
    assert wall_ms(clock.tick(1000)) == 1000
    # A write over it exceeds it all the same, once.
    assert clock.tick(1000, above=far) == far + 1
    assert wall_ms(clock.tick(1001)) == 1001


_moves = st.lists(st.tuples(st.booleans(), st.integers(0, 200_000), st.integers(0, 400_000)), max_size=30)


@given(_moves)
def test_what_is_written_grows_and_stays_near_the_clocks(moves: list[tuple[bool, int, int]]) -> None:
    clock, last, highest_wall = Clock(SKEW), -1, 0
    for is_write, wall, remote in moves:
        highest_wall = max(highest_wall, wall)
        if is_write:
            stamp = clock.tick(wall)
            assert stamp > last
            assert wall_ms(stamp) >= wall
            assert wall_ms(stamp) <= highest_wall + SKEW
            last = stamp
        else:
            clock.observe(stamp_of(remote), wall)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 58))
def test_a_write_exceeds_what_it_supersedes(wall: int, above: int) -> None:
    assert Clock(SKEW).tick(wall, above) > above
