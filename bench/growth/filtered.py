"""Relays with filtered replicas: a full mesh of relays, which are the members, and leaves that hold one site each.

With n nodes there are about sqrt(n) relays with sqrt(n) leaves each. A leaf is linked to its relay, sees its own
site and what is shared, and writes to its site.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kvnode.core.acks import Acks
from kvnode.core.effects import Change
from kvnode.core.link import Link
from kvnode.core.path import Path, pattern
from kvnode.data.versions import is_compiled

from .measure import MOST_MS, REST_MS, SETTLE_MS, VALUE
from .mesh import Mesh, Node
from .shapes import full

UPDATES: Final = 6
VARIANTS: Final = ("as it is", "leaves' acks kept", "leaves told none")
"""What of the plan is assumed: nothing; what leaves acknowledge stays with their relay; and leaves do not hear
what others acknowledge either.
"""


@dataclass(slots=True)
class Row:
    """Bytes and CPU of an update are those of all nodes together but where it says otherwise; times are virtual."""

    nodes: int
    relays: int
    variant: str
    rest_bytes_per_leaf_s: float
    rest_bytes_per_node_s: float
    update_bytes: float
    update_bytes_values: float
    update_cpu_us_per_node: float
    update_ms: float
    join_bytes: int
    join_ms: int
    heard_pairs_per_leaf: float


class NotCompiled(Exception):
    """A compiled core does not let itself be replaced in part."""

    def __init__(self) -> None:
        super().__init__(
            "filtered tries out another Acks._tell, which has no effect in a compiled kvnode: run it interpreted"
        )


def measure(nodes: int, variant: str) -> Row:
    """One size. Raises NotCompiled, for any variant: figures of two builds do not belong side by side."""
    if is_compiled():
        raise NotCompiled
    with _assumed(VARIANTS.index(variant)):
        return _measure(nodes, variant)


def _measure(nodes: int, variant: str) -> Row:
    mesh, relays = Mesh(), math.ceil(math.sqrt(nodes))
    for number in range(relays):
        mesh.add(f"r{number:04}")
    mesh.run_for(10)
    for a, b in full(relays):
        mesh.link(mesh.nodes[b], mesh.nodes[a])
    mesh.run_for(SETTLE_MS)
    for number in range(relays, nodes):
        _leaf(mesh, number % relays, number)
    mesh.run_for(2 * SETTLE_MS)
    leaves = mesh.nodes[relays:]
    before, received = mesh.counted.copy(), _received(mesh, leaves)
    mesh.run_for(REST_MS)
    rest = mesh.counted.since(before)
    leaf_rest = (_received(mesh, leaves) - received) / max(len(leaves), 1)
    before, took = mesh.counted.copy(), 0
    for number in range(UPDATES):
        took += _update(mesh, leaves[number * 7 % len(leaves)], relays, number)
    mesh.run_for(SETTLE_MS)
    update, rested = mesh.counted.since(before), rest.all_bytes / REST_MS * (UPDATES * 1_000 + SETTLE_MS)
    before, began = mesh.counted.copy(), mesh.time
    new = _leaf(mesh, 0, nodes)
    mesh.run_until(lambda: any(link.settled for link in new.replica.links.values()), MOST_MS)
    join_ms = mesh.time - began
    mesh.run_for(SETTLE_MS)
    return Row(
        nodes=nodes,
        relays=relays,
        variant=variant,
        rest_bytes_per_leaf_s=leaf_rest / (REST_MS / 1_000),
        rest_bytes_per_node_s=rest.all_bytes / nodes / (REST_MS / 1_000),
        update_bytes=(update.all_bytes - rested) / UPDATES,
        update_bytes_values=update.bytes["Versions"] / UPDATES,
        update_cpu_us_per_node=update.cpu_ns / 1e3 / UPDATES / nodes,
        update_ms=took / UPDATES,
        join_bytes=mesh.counted.since(before).all_bytes,
        join_ms=join_ms,
        heard_pairs_per_leaf=sum(_heard(leaf) for leaf in leaves) / len(leaves),
    )


def _leaf(mesh: Mesh, site: int, number: int) -> Node:
    leaf = mesh.add(f"l{number:04}", [pattern(f"site.s{site}.#"), pattern("shared.#")])
    mesh.link(leaf, mesh.nodes[site])
    return leaf


def _update(mesh: Mesh, leaf: Node, relays: int, number: int) -> int:
    """A leaf writes to its site; gives the virtual milliseconds until all relays and all leaves of the site have it."""
    peer = next(iter(leaf.ends.values()))[0]
    site = mesh.nodes.index(peer)
    path = Path(("site", f"s{site}", f"k{number}"))
    concerned = [*mesh.nodes[:relays], *(n for n, _ in peer.ends.values())]
    leaf.write([Change(path, VALUE)])
    began = mesh.time
    mesh.run_until(lambda: all(node.replica.tree.get(path.key) for node in concerned), 999)
    took = mesh.time - began
    mesh.run_for(began + 1_000 - mesh.time)
    return took


def _received(mesh: Mesh, nodes: list[Node]) -> int:
    return sum(mesh.received[node.name] for node in nodes)


def _heard(node: Node) -> int:
    return sum(len(held.known.map) for _, of in node.replica.acks.processes.items() for held in of)


@contextmanager
def _assumed(steps: int) -> Iterator[None]:
    """The core with so many steps of the plan taken: less of what third parties acknowledge is relayed."""
    told = Acks._tell

    def tell(self: Acks, link: Link, name: str, *rest: Any) -> None:
        if (steps < 1 or name in self._state.members) and (steps < 2 or not link.partial):
            told(self, link, name, *rest)

    Acks._tell = tell  # type: ignore[method-assign, assignment]  # a step of the plan, tried out
    try:
        yield
    finally:
        Acks._tell = told  # type: ignore[method-assign]  # as it was
