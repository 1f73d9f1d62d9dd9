"""What is done to nodes and network, decided beforehand from a seed: rounds of faults, each with its healing. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .network import Cut, between, one_way, partition

ROUND_S: Final = 9.0
"""About how long the faults of a round last."""
HEALING_S: Final = 3.0
"""What of the time is left for the healing after a round."""
STOP_SHARE: Final = 0.6
"""The share of rounds in which a node hangs for a while."""

What = Literal["kill", "start", "stop", "cont", "block"]


@dataclass(frozen=True, slots=True)
class Step:
    """At `at_s` seconds after the beginning of its round: something is done to a node, or these directions (and no
    others) are blocked.
    """

    at_s: float
    what: What
    node: str = ""
    cuts: frozenset[Cut] = frozenset()


@dataclass(frozen=True, slots=True)
class Round:
    """Faults in the order of their times. In the end all nodes run, and the network is to be healed at `length_s`."""

    shape: str
    length_s: float
    steps: tuple[Step, ...]


def make_plan(
    rng: random.Random, nodes: Sequence[str], *, kills: int, seconds: float, round_s: float = ROUND_S
) -> list[Round]:
    """Rounds of `round_s` that take about so many seconds, with so many kills in all."""
    count = max(1, round(seconds / (round_s + HEALING_S)))
    length_s = max(seconds / count - HEALING_S, 1.0)
    shapes = list(_SHAPES) * (count // len(_SHAPES) + 1)
    rng.shuffle(shapes)
    shares = [kills * (at + 1) // count - kills * at // count for at in range(count)]
    return [_round(rng, nodes, shape, share, length_s) for shape, share in zip(shapes, shares, strict=False)]


def _round(rng: random.Random, nodes: Sequence[str], shape: str, kills: int, length_s: float) -> Round:
    steps = [*_cuts(rng, nodes, shape, length_s), *_kills(rng, nodes, kills, length_s)]
    spared = [node for node in nodes if all(step.node != node for step in steps)]
    if spared and rng.random() < STOP_SHARE:
        node, begin = rng.choice(spared), rng.uniform(0, length_s / 2)
        steps += [Step(begin, "stop", node), Step(rng.uniform(begin, length_s), "cont", node)]
    return Round(shape, length_s, tuple(sorted(steps, key=lambda step: step.at_s)))


def _kills(rng: random.Random, nodes: Sequence[str], kills: int, length_s: float) -> list[Step]:
    """One after the other or, now and then, two at once; each is started again within its part of the round."""
    steps: list[Step] = []
    part_s = length_s / max(kills, 1)
    at = 0
    while at < kills:
        together = 2 if at + 1 < kills and len(nodes) > 2 and rng.random() < 0.3 else 1
        begin = at * part_s + rng.uniform(0.1, 0.4) * part_s
        for node in rng.sample(nodes, together):
            steps.append(Step(begin, "kill", node))
            steps.append(Step(begin + rng.uniform(0.05, 0.5) * part_s, "start", node))
        at += together
    return steps


# -- shapes of cuts ------------------------------------------------------------------------------------------


def _cuts(rng: random.Random, nodes: Sequence[str], shape: str, length_s: float) -> list[Step]:
    order = rng.sample(nodes, len(nodes))
    if shape == "swizzle":
        return _swizzle(rng, order, length_s)
    cuts = _SHAPES[shape](order)
    return [Step(rng.uniform(0, length_s / 4), "block", cuts=cuts)] if cuts else []


def _swizzle(rng: random.Random, nodes: Sequence[str], length_s: float) -> list[Step]:
    """Nodes are cut off one by one and come back in another order (after FoundationDB's swizzle-clogging)."""
    out = nodes[: max(len(nodes) // 2, 1)]
    moments = sorted(rng.uniform(0, length_s) for _ in range(2 * len(out)))
    gone: list[str] = []
    steps: list[Step] = []
    for moment, (node, leaves) in zip(
        moments, [(n, True) for n in out] + [(n, False) for n in rng.sample(out, len(out))], strict=True
    ):
        gone = [*gone, node] if leaves else [other for other in gone if other != node]
        cuts = partition([n for n in nodes if n not in gone], *[[n] for n in gone])
        steps.append(Step(moment, "block", cuts=cuts))
    return steps


def _halves(nodes: Sequence[str]) -> frozenset[Cut]:
    middle = len(nodes) // 2
    return partition(nodes[:middle], nodes[middle:])


def _bridge(nodes: Sequence[str]) -> frozenset[Cut]:
    """Two sides that hear one another only over the node in the middle."""
    middle = len(nodes) // 2
    return between(nodes[:middle], nodes[middle + 1 :])


_SHAPES: Final[dict[str, Callable[[Sequence[str]], frozenset[Cut]]]] = {
    "none": lambda nodes: frozenset(),
    "halves": _halves,
    "alone": lambda nodes: between(nodes[:1], nodes[1:]),
    "one way": lambda nodes: one_way(nodes[0], nodes[1]),
    "deaf": lambda nodes: frozenset((other, nodes[0]) for other in nodes[1:]),
    "bridge": _bridge,
    "one link": lambda nodes: between(nodes[:1], nodes[1:2]),
    "swizzle": lambda nodes: frozenset(),
}
"""By name the directions to block, given the nodes in a random order; the swizzle has steps of its own."""
