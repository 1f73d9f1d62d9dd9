"""Drawing a plan from a seed: topology, hosts, clients' operations, watchers, and faults (see faults.py)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from .draw import Draw
from .faults import FAULTS, WEIGHTS
from .plan import HostPlan, Plan, Step, hang_together

VOLATILE_PATTERN: Final = "v.#"
MERGED_PATTERN: Final = "m.#"
PARTIAL_PATTERN: Final = "p.#"
_LARGE: Final = 8
"""A cluster of more nodes gets fewer edges and operations: it is slow to simulate."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Config:
    """What runs may be drawn: ranges are inclusive. `nodes` None: mostly 2 to 6, rarely up to 30. `only` restricts the
    kinds of faults. `partial` is the chance of all but the first two nodes to be a partial replica, in percent.
    """

    nodes: Span | None = None
    operations: Span = (15, 90)
    faults: Span = (0, 10)
    span_ms: int = 20_000
    codec: bool = True
    only: frozenset[str] | None = None
    partial: int = 8


def generate(seed: int, config: Config | None = None) -> Plan:
    """The plan of a seed."""
    config = config or Config()
    rng = Random(f"kvnode plan {seed}")
    names = [_name(i) for i in range(_size(rng, config))]
    edges = tuple(sorted(_edges(names, rng)))
    hosts = tuple(_host(name, rng, config.partial / 100) for name in names)
    if not hang_together({h.name: h.view for h in hosts}, edges):
        hosts = tuple(replace(h, view=None) for h in hosts)  # a partial replica is no way through (R8)
    full = [h.name for h in hosts if h.view is None]
    draw = Draw(rng, names, full, edges, _paths(rng), config.span_ms)
    count = rng.randint(*config.operations)
    steps = [*_setting(draw), *_operations(draw, count if len(names) <= _LARGE else count // 3), *_watchers(draw)]
    kinds = _kinds(rng, config)
    for kind in kinds:
        steps += FAULTS[kind](draw)
    order = sorted(range(len(steps)), key=lambda i: (steps[i].at, i))
    limits = rng.choice(("tiny", "tiny", "small", "default"))
    return Plan(seed, hosts, edges, tuple(steps[i] for i in order), limits, config.codec, kinds)


def _kinds(rng: Random, config: Config) -> tuple[str, ...]:
    """The faults of a run: each run leaves some kinds out and has more of others (swarm testing, Groce 2012)."""
    kinds = [k for k in FAULTS if config.only is None or k in config.only]
    weights = [WEIGHTS.get(k, 4) * rng.choice((0, 1, 1, 3)) for k in kinds]
    return tuple(rng.choices(kinds, weights, k=rng.randint(*config.faults))) if any(weights) else ()


def _size(rng: Random, config: Config) -> int:
    small = rng.randint(*(config.nodes or (2, 6)))
    luck = rng.random()
    if config.nodes is not None or luck > 0.03:
        return small
    return rng.randint(7, 12) if luck > 0.004 else rng.randint(13, 30)


def _name(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"N{number}"


def _host(name: str, rng: Random, partly: float) -> HostPlan:
    clock = rng.choice((0, 0, rng.randint(-2000, 2000), rng.randint(-25_000, 25_000)))
    sync = rng.choice((1, 5, 5, 30, 200))
    partial = name not in ("A", "B") and rng.random() < partly
    release = rng.choice((0, 0, 0, 0, 0, 0, -1, 1))
    return HostPlan(name, clock, sync, (PARTIAL_PATTERN, "@.#") if partial else None, rng.random() < 0.8, release)


# -- topologies ------------------------------------------------------------------------------------------------


def _edges(names: list[str], rng: Random) -> set[tuple[str, str]]:
    """A connected graph: chain, star, ring, mesh or random."""
    shape = rng.choice(("chain", "star", "ring", "mesh", "mesh", "random", "random"))
    if len(names) > _LARGE and shape == "mesh":
        shape = "random"
    pairs = set(zip(names, names[1:], strict=False))
    if shape == "star":
        pairs = {(names[0], n) for n in names[1:]}
    elif shape == "ring" and len(names) > 2:
        pairs.add((names[0], names[-1]))
    elif shape == "mesh":
        pairs = {(a, b) for i, a in enumerate(names) for b in names[i + 1 :]}
    elif shape == "random":
        pairs = {(rng.choice(names[:i]), names[i]) for i in range(1, len(names))}
        for _ in range(rng.randint(0, len(names))):
            a, b = sorted(rng.sample(range(len(names)), 2))
            pairs.add((names[a], names[b]))
    return pairs


# -- clients ---------------------------------------------------------------------------------------------------


def _paths(rng: Random) -> list[str]:
    count = rng.choice((1, 2, 3, 6, 20))
    paths = [f"p.k{i}" if i % 3 == 0 else f"q.k{i}" for i in range(count)]
    if rng.random() < 0.3:
        paths += ["v.a", "v.b"]
    if rng.random() < 0.2:
        paths += ["m.a"]
    return paths


def _setting(draw: Draw) -> list[Step]:
    """Marks of the cluster that a person would set once, at any time."""
    rng, steps = draw.rng, []
    if "v.a" in draw.paths:
        steps.append(Step(rng.choice((10, 10, draw.at())), "volatile", (rng.choice(draw.full), VOLATILE_PATTERN)))
    if "m.a" in draw.paths:
        policy = rng.choice(("max", "union"))
        steps.append(Step(draw.at(), "policy", (rng.choice(draw.full), MERGED_PATTERN, policy)))
    return steps


_LEVELS: Final = ("memory", "disk", "disk", "disk", "peer:1", "peer:2", "all")


def _operations(draw: Draw, count: int) -> list[Step]:
    """Client operations: bursts and lulls, some paths hot."""
    rng = draw.rng
    steps = []
    at = 50
    hot = draw.path()
    writers = rng.sample(draw.names, rng.randint(1, len(draw.names)))
    for _ in range(count):
        at = draw.at() if rng.random() < 0.5 else at + rng.choice((0, 1, 5, 40, 300))
        path = hot if rng.random() < 0.4 else draw.path()
        steps.append(_operation(draw, at, rng.choice(writers), path))
    return steps


def _operation(draw: Draw, at: int, host: str, path: str) -> Step:
    rng = draw.rng
    kind = rng.choices(("write", "delete", "cas", "batch", "expire", "event"), (50, 25, 12, 5, 4, 4))[0]
    level = rng.choice(_LEVELS)
    if kind == "cas":
        return Step(at, kind, (host, path, level, rng.choice(("fresh", "fresh", "absent", "stale"))))
    if kind == "batch":
        return Step(at, kind, (host, level, *(draw.path() for _ in range(rng.randint(2, 4)))))
    if kind == "expire":
        return Step(at, kind, (host, path, level, rng.choice((200, 2000, 15_000))))
    return Step(at, kind, (host, path) if kind == "event" else (host, path, level))


def _watchers(draw: Draw) -> list[Step]:
    """Clients that watch, lose their connection, and go on at the same node or another one."""
    rng, steps = draw.rng, []
    for number in range(rng.choice((0, 0, 1, 2))):
        how = rng.choice(("all", "all", "latest"))
        for _ in range(rng.randint(1, 5)):
            steps.append(Step(draw.at(), "watch", (number, rng.choice(draw.full), how)))
        if rng.random() < 0.5:
            steps.append(Step(draw.at(), "unwatch", (number,)))
    return steps
