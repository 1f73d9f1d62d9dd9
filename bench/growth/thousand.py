"""What is to be expected of a thousand nodes: fits of what was measured with real replicas, with the error of each fit.

The functions that are fitted are the model's: how often a word crosses a link (`model.spread`). The error is how far a
fit without the largest measured size misses that size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from .filtered import VARIANTS
from .model import Basis, Spread, fit, spread
from .shapes import SHAPES

SIZES: Final = (3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1_000)
FITTED: Final = ("update_bytes", "rest_bytes_per_node_s", "update_cpu_us_per_node", "ack_memory_bytes_per_node")
SHAPES_FITTED: Final = ("full mesh", "partial view", "tree of relays")

Row = Mapping[str, Any]


@cache
def _spread(shape: str, nodes: int) -> Spread:
    return spread(SHAPES[shape], nodes)


def _degree(shape: str, nodes: int) -> float:
    return 2 * _spread(shape, nodes).links / nodes


def basis(shape: str, what: str) -> Basis:
    """The two functions of the number of nodes that make up a quantity.

    An update: its value crosses links until all have it, then so does the acknowledgement of each node. At rest: each
    link is probed, and each node's sign of life reaches all. Computing: a node handles the acknowledgements of all.
    Memory: of each node what it holds of each one's writes, and on each link what of that was told.
    """

    def crossings(n: int) -> float:
        return _spread(shape, n).crossings

    bases: dict[str, Basis] = {
        "update_bytes": (crossings, lambda n: n * crossings(n)),
        "rest_bytes_per_node_s": (lambda n: _degree(shape, n), crossings),
        "update_cpu_us_per_node": (lambda n: 1.0, crossings),
        "ack_memory_bytes_per_node": (lambda n: float(n), lambda n: n * n * _degree(shape, n)),
    }
    return bases[what]


def _power(exponent: float) -> Callable[[int], float]:
    return lambda n: n**exponent


# With n nodes, sqrt(n) relays and sqrt(n) leaves acknowledge a write of a leaf, and all n hear of each acknowledgement;
# or only the relays' ones reach all n; or they reach the relays only.
FILTERED_BASES: Final[dict[str, dict[str, Basis]]] = {
    VARIANTS[0]: {
        "update_bytes": (_power(0.5), _power(1.5)),
        "rest_bytes_per_node_s": (_power(0), _power(1)),
        "rest_bytes_per_leaf_s": (_power(0), _power(1)),
        "update_cpu_us_per_node": (_power(0), _power(0.5)),
    },
    VARIANTS[1]: {
        "update_bytes": (_power(0.5), _power(1.5)),
        "rest_bytes_per_node_s": (_power(0), _power(0.5)),
        "rest_bytes_per_leaf_s": (_power(0), _power(0.5)),
        "update_cpu_us_per_node": (_power(0), _power(0.5)),
    },
    VARIANTS[2]: {
        "update_bytes": (_power(0.5), _power(1)),
        "rest_bytes_per_node_s": (_power(0), _power(0.5)),
        "rest_bytes_per_leaf_s": (_power(0), _power(0.5)),
        "update_cpu_us_per_node": (_power(-0.5), _power(0)),
    },
}


def expect(nodes: Sequence[Row], filtered: Sequence[Row]) -> list[dict[str, object]]:
    """One row for each shape and quantity: coefficients, the error of the fit, and what it gives for :data:`SIZES`."""
    rows: list[dict[str, object]] = []
    for shape in SHAPES_FITTED:
        of_shape = [row for row in nodes if row["shape"] == shape and row["nodes"] >= 5]
        rows += (_expected(shape, what, basis(shape, what), of_shape) for what in FITTED)
    for variant, bases in FILTERED_BASES.items():
        of_kind = [row for row in filtered if row["variant"] == variant]
        rows += (_expected(f"filtered, {variant}", what, functions, of_kind) for what, functions in bases.items())
    return rows


def _expected(shape: str, what: str, functions: Basis, rows: Iterable[Row]) -> dict[str, object]:
    points = sorted((int(row["nodes"]), float(row[what])) for row in rows)
    got = fit(functions, points)
    return {
        "shape": shape,
        "what": what,
        "a": float(f"{got.a:.4g}"),
        "b": float(f"{got.b:.4g}"),
        "measured_up_to": points[-1][0],
        "error": round(got.error, 3),
        "expected": {str(n): float(f"{got.at(n):.4g}") for n in SIZES},
    }


def floors(sizes: Sequence[int] = SIZES) -> list[dict[str, object]]:
    """What a spanning tree inside the partial view would carry: each value once a link, and in place of everybody's
    acknowledgement one word up (what all below have) and one down (what all have) on each link of the tree.
    """
    rows: list[dict[str, object]] = []
    for n in sizes:
        of = _spread("partial view", n)
        rows.append(
            {
                "nodes": n,
                "degree": round(2 * of.links / n, 2),
                "crossings_of_a_word": round(of.crossings, 1),
                "hops": round(of.hops, 2),
                "acks_today": round(n * of.crossings),
                "acks_by_tree": 2 * (n - 1),
                "tree_depth": of.depth,
            }
        )
    return rows
