"""Whether a series of measurements grows: the slope by Theil (1950) and Sen (1968), and its bound.

The slope is the median of the slopes between all pairs of points. Up to 29 % of the points may be anything (a garbage
collection, a neighbour that takes the processor) without effect on it. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Final

MAX_POINTS: Final = 300
"""Longer series are thinned: the number of pairs grows with the square."""
LEAST_POINTS: Final = 5
"""Of fewer nothing is said."""
WARM_UP: Final = 1 / 3
"""The part of the time at the start that is left out: caches fill, the allocator finds its size."""
LOW_OF: Final = 3
"""So many neighbours stand for one measurement of a latency, see :func:`lows`."""
HOUR_S: Final = 3600.0

Point = tuple[float, float]
"""Time in seconds, and the value then."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Growth within the judged time that still counts as flat: `absolute`, or `share` of the median if that is more."""

    absolute: float
    share: float

    def allowed(self, middle: float) -> float:
        """In the unit of the series, whose median is `middle`."""
        return max(self.absolute, self.share * middle)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one thing. `ok` is the verdict, `text` the figures behind it, in one line."""

    subject: str
    what: str
    ok: bool
    text: str


def theil_sen(points: Sequence[Point]) -> float:
    """The slope of the series, per second; 0 of fewer than two points in time."""
    slopes = [(v2 - v1) / (t2 - t1) for (t1, v1), (t2, v2) in combinations(points, 2) if t2 != t1]
    return median(slopes) if slopes else 0.0


def thinned(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """At most `most` points: medians of neighbours."""
    size = -(-len(points) // most)
    groups = (points[at : at + size] for at in range(0, len(points), max(size, 1)))
    return [(median(t for t, _ in group), median(v for _, v in group)) for group in groups]


def lows(points: Sequence[Point], size: int = LOW_OF) -> list[Point]:
    """The least of each `size` neighbours: what grows in a node grows in each of them, a neighbour on the machine that
    takes the processor shows in some.
    """
    groups = (points[at : at + size] for at in range(0, len(points), size))
    return [min(group, key=lambda point: point[1]) for group in groups]


def without_warm_up(points: Sequence[Point]) -> list[Point]:
    """The points behind the warm-up."""
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    return [point for point in points if point[0] >= first + (last - first) * WARM_UP]


def judge(subject: str, what: str, unit: str, points: Sequence[Point], bound: Bound) -> Verdict:
    """Whether a series is flat behind its warm-up."""
    judged = thinned(without_warm_up(points))
    if len(judged) < LEAST_POINTS:
        return Verdict(subject, what, False, f"only {len(judged)} measurements: run it for longer")
    slope = theil_sen(judged)
    time_s = judged[-1][0] - judged[0][0]
    growth, middle = slope * time_s, median(value for _, value in judged)
    allowed = bound.allowed(middle)
    text = (
        f"median {middle:.4g} {unit}, {growth:+.3g} in {time_s:.0f} s (at most {allowed:+.3g}), "
        f"{slope * HOUR_S:+.3g} {unit} an hour"
    )
    return Verdict(subject, what, growth <= allowed, text)


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies (the nearest one; 0 of none)."""
    ranked = sorted(values)
    return ranked[min(int(part * len(ranked)), len(ranked) - 1)] if ranked else 0.0
