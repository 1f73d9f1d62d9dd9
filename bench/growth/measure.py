"""What a cluster of some shape costs: at rest, for an update, for a join, after a cut. Real replicas, virtual time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from sys import getsizeof
from typing import Final

import msgspec

from kvnode.core.effects import Change
from kvnode.core.path import Path
from kvnode.core.ticks import Incarnation, Ticks

from .mesh import Counted, Mesh, Node
from .shapes import Shape

VALUE: Final = msgspec.msgpack.encode("x" * 100)
SETTLE_MS: Final = 3_000
"""After this time a cluster in which all know the same has nothing left to say about it."""
MOST_MS: Final = 120_000
"""All that is waited for comes within this time."""
REST_MS: Final = 60_000
MISSED: Final = 200
"""Updates on each side of a cut; twice as many are there when a node joins."""


@dataclass(slots=True)
class Row:
    """What was measured of one shape and size. Bytes and CPU of an update are those of all nodes together; times are
    virtual, with links of 1 ms.
    """

    shape: str
    nodes: int
    links: int
    start_bytes: int
    rest_bytes_per_node_s: float
    rest_cpu_us_per_node_s: float
    update_bytes: float
    update_bytes_values: float
    update_bytes_acks: float
    update_frames: float
    update_cpu_us_per_node: float
    update_ms: float
    busy_update_bytes: float
    busy_update_cpu_us_per_node: float
    join_bytes: int
    join_ms: int
    join_cpu_us_per_node: float
    heard_pairs_per_node: float
    """Pairs of a process and an incarnation: whose durable knowledge of whom a node has heard of (R1 needs it)."""
    told_pairs_per_node: float
    """The same for what it has told on its links, so that only differences need be told."""
    ack_memory_bytes_per_node: float
    """The tables of both, without what they refer to."""


@dataclass(slots=True)
class Healed:
    """The last node was cut off from all, both sides wrote, the links came back all at once."""

    shape: str
    nodes: int
    degree: int
    heal_bytes_per_update: float
    heal_bytes_values_per_update: float
    heal_ms: int
    digest_bytes: float


def heal(shape_name: str, shape: Shape, nodes: int) -> Healed:
    """What a cut costs when it is over, for one shape and one number of nodes."""
    mesh, _ = _started(shape, nodes)
    lost = mesh.nodes[-1]
    peers = mesh.isolate(lost)
    for number in range(MISSED):
        _both_write(mesh, number)
    mesh.run_for(SETTLE_MS)
    before = mesh.counted.copy()
    for peer in peers:
        mesh.link(lost, peer)
    took = _until_agreed(mesh)
    mesh.run_for(SETTLE_MS)
    spent = mesh.counted.since(before)
    return Healed(
        shape=shape_name,
        nodes=nodes,
        degree=len(peers),
        heal_bytes_per_update=spent.all_bytes / (2 * MISSED),
        heal_bytes_values_per_update=spent.bytes["Versions"] / (2 * MISSED),
        heal_ms=took,
        digest_bytes=spent.bytes["Digest"] / max(spent.frames["Digest"], 1),
    )


def measure(shape_name: str, shape: Shape, nodes: int, *, updates: int = 6, busy: int = 50) -> Row:
    """All of it, for one shape and one number of nodes."""
    mesh, began = _started(shape, nodes)
    start = mesh.counted.all_bytes
    rest = _over(mesh, REST_MS)
    alone, spread = _updates(mesh, updates, gap_ms=1_000)
    rested = rest.all_bytes / REST_MS * (updates * 1_000 + SETTLE_MS)
    crowd, _ = _updates(mesh, busy, gap_ms=10)
    crowd_rested = rest.all_bytes / REST_MS * (busy * 10 + SETTLE_MS)
    for number in range(MISSED):
        _both_write(mesh, number)
    mesh.run_for(SETTLE_MS)
    join, join_ms = _join(mesh, shape)
    return Row(
        shape=shape_name,
        nodes=nodes,
        links=began,
        start_bytes=start,
        rest_bytes_per_node_s=rest.all_bytes / nodes / (REST_MS / 1_000),
        rest_cpu_us_per_node_s=rest.cpu_ns / 1e3 / nodes / (REST_MS / 1_000),
        update_bytes=(alone.all_bytes - rested) / updates,
        update_bytes_values=alone.bytes["Versions"] / updates,
        update_bytes_acks=(alone.all_bytes - alone.bytes["Versions"] - rested) / updates,
        update_frames=(alone.frames["Versions"] + alone.frames["Ack"]) / updates,
        update_cpu_us_per_node=alone.cpu_ns / 1e3 / updates / nodes,
        update_ms=spread,
        busy_update_bytes=(crowd.all_bytes - crowd_rested) / busy,
        busy_update_cpu_us_per_node=crowd.cpu_ns / 1e3 / busy / nodes,
        join_bytes=join.all_bytes,
        join_ms=join_ms,
        join_cpu_us_per_node=join.cpu_ns / 1e3 / nodes,
        **_tables(mesh),
    )


def _started(shape: Shape, nodes: int) -> tuple[Mesh, int]:
    """A cluster at rest, and the number of its links."""
    mesh = Mesh()
    for number in range(nodes):
        mesh.add(f"n{number:04}")
    mesh.run_for(10)
    edges = shape(nodes)
    for a, b in edges:
        mesh.link(mesh.nodes[b], mesh.nodes[a])
    _until_agreed(mesh)
    mesh.run_for(SETTLE_MS)
    return mesh, len(edges)


def _until_agreed(mesh: Mesh) -> int:
    """Wait until all know the same; gives the virtual milliseconds."""
    began = mesh.time
    mesh.run_for(1)
    if not mesh.run_until(mesh.agree, MOST_MS):
        raise RuntimeError(f"{len(mesh.nodes)} nodes do not agree within {MOST_MS} ms")
    return mesh.time - began


def _over(mesh: Mesh, ms: int) -> Counted:
    before = mesh.counted.copy()
    mesh.run_for(ms)
    return mesh.counted.since(before)


def _tables(mesh: Mesh) -> dict[str, float]:
    """How large the acknowledgement tables of a node are, on average."""
    heard = [_heard(node) for node in mesh.nodes]
    told = [[t.known for link in node.replica.links.values() for t in link.told.values()] for node in mesh.nodes]
    count = len(mesh.nodes)
    return {
        "heard_pairs_per_node": sum(len(of) for tables in heard for of in tables) / count,
        "told_pairs_per_node": sum(len(of) for tables in told for of in tables) / count,
        "ack_memory_bytes_per_node": sum(getsizeof(of) for tables in (*heard, *told) for of in tables) / count,
    }


def _heard(node: Node) -> list[dict[Incarnation, Ticks]]:
    return [held.known.map for _, of in node.replica.acks.processes.items() for held in of]


def _updates(mesh: Mesh, count: int, *, gap_ms: int) -> tuple[Counted, float]:
    """So many writes, in turn by all nodes; gives what they cost, and the mean time until all knew them if that is
    shorter than the gap.
    """
    before, took = mesh.counted.copy(), 0
    for number in range(count):
        write(mesh.nodes[number * 7 % len(mesh.nodes)], f"k{number}")
        began = mesh.time
        mesh.run_for(1)
        mesh.run_until(mesh.agree, gap_ms - 1)
        took += mesh.time - began
        mesh.run_for(began + gap_ms - mesh.time)
    _until_agreed(mesh)
    mesh.run_for(SETTLE_MS)
    return mesh.counted.since(before), took / count


def write(node: Node, key: str) -> None:
    """One write of 100 bytes."""
    node.write([Change(Path(("bench", node.name, key)), VALUE)])


def _both_write(mesh: Mesh, number: int) -> None:
    for node in (mesh.nodes[-1], mesh.nodes[0]):
        write(node, f"h{number}")
    mesh.run_for(5)


def _join(mesh: Mesh, shape: Shape) -> tuple[Counted, int]:
    """One more node, linked as the shape has it, until all know the same, its record included."""
    count = len(mesh.nodes)
    degree = Counter(node for edge in shape(count + 1) for node in edge)[count]
    before = mesh.counted.copy()
    new = mesh.add(f"n{count:04}")
    mesh.run_for(1)
    for number in range(degree):
        mesh.link(new, mesh.nodes[number * max(count // degree, 1)])
    took = _until_agreed(mesh)
    mesh.run_for(SETTLE_MS)
    return mesh.counted.since(before), took
