"""A light model of what travels in a large cluster, where only the links count; and fits of what was measured.

It knows one thing, how often a word that starts at one node crosses a link until all have it, by the rules of the
core: it is passed on at once on every link but those it came by, and not to whom hears it from its origin. What such a
word weighs is measured with real replicas (`measure.py`) at sizes that this machine bears.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from .shapes import Edges, Shape

SAMPLE: Final = 24
"""So many origins stand for all where there are more."""

Basis = tuple[Callable[[int], float], Callable[[int], float]]


def neighbours(edges: Edges, nodes: int) -> list[set[int]]:
    """Per node the nodes that it is linked to."""
    out: list[set[int]] = [set() for _ in range(nodes)]
    for a, b in edges:
        out[a].add(b)
        out[b].add(a)
    return out


def flood(links: Sequence[set[int]], origin: int) -> tuple[int, int]:
    """How often a word of `origin` crosses a link, and after how many hops the last node has it."""
    has, wave = {origin}, {origin: {origin}}
    sent = hops = 0
    while wave:
        ahead: dict[int, set[int]] = {}
        for node, tellers in wave.items():
            spared = tellers if node == origin else tellers | links[origin]
            for peer in links[node] - spared:
                sent += 1
                if peer not in has:
                    ahead.setdefault(peer, set()).add(node)
        has |= ahead.keys()
        hops += bool(ahead)
        wave = ahead
    return sent, hops


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a shape and size: crossings of a word and hops it takes, on average over origins; depth of a spanning tree."""

    crossings: float
    hops: float
    links: int
    depth: int


def spread(shape: Shape, nodes: int) -> Spread:
    """The model's figures for one shape and size."""
    edges = shape(nodes)
    links = neighbours(edges, nodes)
    everybody = range(nodes)
    origins = everybody if nodes <= SAMPLE else Random(nodes).sample(everybody, SAMPLE)
    found = [flood(links, origin) for origin in origins]
    count = len(found)
    return Spread(sum(s for s, _ in found) / count, sum(h for _, h in found) / count, len(edges), flood(links, 0)[1])


@dataclass(frozen=True, slots=True)
class Fit:
    """`y = a * f(n) + b * g(n)`. `error` is how far a fit without the largest size misses that size, as a share."""

    a: float
    b: float
    error: float
    basis: Basis

    def at(self, nodes: int) -> float:
        """The fitted quantity at this size."""
        return self.a * self.basis[0](nodes) + self.b * self.basis[1](nodes)


def fit(basis: Basis, points: Sequence[tuple[int, float]]) -> Fit:
    """The least squares of the relative errors, neither coefficient negative. `points` ascend; three or more."""
    *known, (held_n, held_y) = points
    a, b = _solve(basis, known)
    error = abs(a * basis[0](held_n) + b * basis[1](held_n) - held_y) / held_y
    a, b = _solve(basis, points)
    return Fit(a, b, error, basis)


def _solve(basis: Basis, points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Solve the normal equations; a coefficient that comes out negative is left out."""
    rows = [(basis[0](n) / y, basis[1](n) / y) for n, y in points]
    ff, fg, gg = (sum(r[i] * r[j] for r in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    f1, g1 = sum(f for f, _ in rows), sum(g for _, g in rows)
    det = ff * gg - fg * fg
    if det > 1e-12 * ff * gg:
        a, b = (f1 * gg - g1 * fg) / det, (g1 * ff - f1 * fg) / det
        if a >= 0 and b >= 0:
            return a, b
    alone = [(f1 / ff, 0.0), (0.0, g1 / gg)]
    return min(alone, key=lambda ab: sum((ab[0] * f + ab[1] * g - 1) ** 2 for f, g in rows))
