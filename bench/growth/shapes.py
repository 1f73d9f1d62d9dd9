"""Who is linked to whom: the shapes of a cluster, as pairs of node numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, pairwise
from random import Random
from typing import Final

Edges = list[tuple[int, int]]
Shape = Callable[[int], Edges]

FAN_OUT: Final = 4
"""Children of a relay in the tree."""
LEAVES: Final = 9
"""Leaves of each relay in the star of relays."""


def full(n: int) -> Edges:
    """Everybody with everybody."""
    return list(combinations(range(n), 2))


def ring(n: int) -> Edges:
    """Each with the next one."""
    return list({(min(a, b), max(a, b)) for a, b in pairwise([*range(n), 0]) if a != b})


def tree(n: int) -> Edges:
    """Relays below relays, :data:`FAN_OUT` each."""
    return [((child - 1) // FAN_OUT, child) for child in range(1, n)]


def relays_of(n: int) -> int:
    """How many of the nodes are relays in the star of relays: the first ones."""
    return max(math.ceil(n / (1 + LEAVES)), 1)


def relays(n: int) -> Edges:
    """A full mesh of relays; every other node is a leaf of one of them."""
    count = relays_of(n)
    return full(count) + [(leaf % count, leaf) for leaf in range(count, n)]


def degree_of(n: int) -> int:
    """Links of a node in the partial view: log2 of the number of nodes, made even."""
    return max(2 * math.ceil(math.log2(n) / 2), 2)


def partial(n: int) -> Edges:
    """A random graph in which each node has about :func:`degree_of` links: so many random rings over all nodes, half
    of the degree each, which keeps it in one piece. (HyParView holds such a graph together without anybody's plan.)
    """
    rng = Random(f"kvnode growth partial {n}")
    edges: set[tuple[int, int]] = set()
    for _ in range(degree_of(n) // 2):
        order = rng.sample(range(n), n)
        edges |= {(min(a, b), max(a, b)) for a, b in pairwise([*order, order[0]]) if a != b}
    return sorted(edges)


SHAPES: Final[dict[str, Shape]] = {
    "full mesh": full,
    "partial view": partial,
    "tree of relays": tree,
    "star of relays": relays,
    "ring": ring,
}
