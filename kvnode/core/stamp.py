"""Stamps: hybrid logical clock readings (Kulkarni et al., 2014) as one integer.

The upper bits are wall-clock milliseconds since 1970 UTC, the lower sixteen a counter. A stamp orders concurrent
versions and tells age; it never decides causality.
"""

from __future__ import annotations

from typing import Final

COUNTER_BITS: Final = 16
MAX_STAMP: Final = 1 << 62
"""No stamp is higher; a write over the highest one gets the same, since causality does not need the stamp."""


def stamp_of(wall_ms: int, counter: int = 0) -> int:
    """The stamp of a wall-clock time."""
    return min((max(wall_ms, 0) << COUNTER_BITS) + counter, MAX_STAMP)


def wall_ms(stamp: int) -> int:
    """The wall-clock part, in milliseconds since 1970 UTC."""
    return stamp >> COUNTER_BITS


class Clock:
    """A hybrid clock that does not let itself be moved by stamps further ahead than `max_skew_ms`."""

    __slots__ = ("last", "max_skew_ms")

    def __init__(self, max_skew_ms: int, last: int = 0) -> None:
        self.max_skew_ms: Final = max_skew_ms
        self.last = last

    def tick(self, wall: int, above: int = 0) -> int:
        """A new stamp: above the last one and above `above` (what the write supersedes).

        A superseded stamp from a clock that is far ahead lifts this one stamp, not the clock.
        """
        stamp = wall << COUNTER_BITS
        if stamp <= self.last:
            stamp = (self.last + 1) | 0  # a sum has room for a digit more, a tree holds many of them
        elif stamp > MAX_STAMP:
            stamp = MAX_STAMP
        self.last = stamp
        if stamp <= above:
            stamp = above + 1
        return stamp if stamp < MAX_STAMP else MAX_STAMP

    def takes(self, stamp: int, wall: int) -> bool:
        """Whether a remote stamp, and any that is lower, is near enough."""
        return wall_ms(stamp) <= wall + self.max_skew_ms

    def observe(self, stamp: int, wall: int) -> bool:
        """Take note of a remote stamp; False if it is too far ahead and was ignored."""
        if stamp <= self.last:
            return True
        if not self.takes(stamp, wall):
            return wall_ms(self.last) + self.max_skew_ms >= wall_ms(stamp)
        self.last = stamp
        return True
