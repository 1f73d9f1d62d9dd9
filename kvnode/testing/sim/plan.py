"""What will happen in a run, as plain data made from the seed up front: hosts, edges, and timed steps.

A step is a client's operation or a fault. Because the schedule is data, a failing one can be shrunk by leaving
steps out and running again (see shrink.py), and printed as a list that people can read. Steps that make no sense at
their time (a crash of a host that is down, a restore without a backup) do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

Arg = str | int

VOLATILE_PATTERN: Final = "v.#"
MERGED_PATTERN: Final = "m.#"
PARTIAL_PATTERN: Final = "p.#"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens `at` a virtual time (milliseconds). What the arguments mean is told by `steps.py`."""

    at: int
    kind: str
    args: tuple[Arg, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:>7} {self.kind} {' '.join(map(str, self.args))}".rstrip()


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A host: the node's name, how far its clock is off, how long its disk takes to sync, the patterns of a partial
    replica (None: a full one), and whether it announces an address at its start, which makes it a member. Times in
    milliseconds.
    """

    name: str
    clock_ms: int = 0
    sync_ms: int = 5
    view: tuple[str, ...] | None = None
    announces: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a run. `limits` names a preset of the core's limits (see run.py), `codec` lets messages go through
    bytes.
    """

    seed: int
    hosts: tuple[HostPlan, ...]
    edges: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    limits: str = "tiny"
    codec: bool = True

    def with_steps(self, steps: tuple[Step, ...]) -> Plan:
        """The same world with another schedule."""
        return Plan(self.seed, self.hosts, self.edges, steps, self.limits, self.codec)


@dataclass(frozen=True, slots=True)
class Config:
    """What runs may be drawn: ranges are inclusive. `only` restricts the kinds of faults."""

    nodes: tuple[int, int] = (2, 6)
    operations: tuple[int, int] = (15, 90)
    faults: tuple[int, int] = (0, 10)
    span_ms: int = 20_000
    codec: bool = True
    only: frozenset[str] | None = None
    partial: bool = True


def generate(seed: int, config: Config | None = None) -> Plan:
    """The plan of a seed."""
    config = config or Config()
    rng = Random(f"kvnode plan {seed}")
    names = [_name(i) for i in range(rng.randint(*config.nodes))]
    edges = tuple(sorted(_edges(names, rng)))
    hosts = tuple(_host(name, rng, config) for name in names)
    if not connected([h.name for h in hosts if h.view is None], edges):
        hosts = tuple(replace(h, view=None) for h in hosts)  # a partial replica is no way through (R8)
    full = [h.name for h in hosts if h.view is None]
    draw = _Draw(rng, names, full, edges, _paths(rng), config.span_ms)
    steps = [*_setting(draw), *_operations(draw, rng.randint(*config.operations))]
    kinds = [k for k in _FAULTS if config.only is None or k in config.only]
    weights = [_WEIGHTS.get(k, 4) * rng.choice((0, 1, 1, 3)) for k in kinds]
    if any(weights):
        for kind in rng.choices(kinds, weights, k=rng.randint(*config.faults)):
            steps += _FAULTS[kind](draw)
    order = sorted(range(len(steps)), key=lambda i: (steps[i].at, i))
    limits = rng.choice(("tiny", "tiny", "small", "default"))
    return Plan(seed, hosts, edges, tuple(steps[i] for i in order), limits, config.codec)


def _name(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"N{number}"


def _host(name: str, rng: Random, config: Config) -> HostPlan:
    clock = rng.choice((0, 0, rng.randint(-2000, 2000), rng.randint(-25_000, 25_000)))
    sync = rng.choice((1, 5, 5, 30, 200))
    partial = config.partial and name not in ("A", "B") and rng.random() < 0.08
    return HostPlan(name, clock, sync, (PARTIAL_PATTERN, "@.#") if partial else None, rng.random() < 0.8)


# -- topologies ------------------------------------------------------------------------------------------------


def _edges(names: list[str], rng: Random) -> set[tuple[str, str]]:
    """A connected graph: chain, star, ring, mesh or random."""
    shape = rng.choice(("chain", "star", "ring", "mesh", "mesh", "random", "random"))
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


def connected(names: list[str], edges: Iterable[tuple[str, str]]) -> bool:
    """Whether these hosts hang together by themselves."""
    left = set(names)
    todo = names[:1]
    while todo:
        here = todo.pop()
        left.discard(here)
        todo += [n for edge in edges if here in edge for n in edge if n in left]
    return not left


# -- clients ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Draw:
    rng: Random
    names: list[str]
    full: list[str]
    edges: tuple[tuple[str, str], ...]
    paths: list[str]
    span: int

    def at(self) -> int:
        return self.rng.randint(100, self.span)

    def name(self) -> str:
        return self.rng.choice(self.names)

    def edge(self) -> tuple[str, str]:
        a, b = self.rng.choice(self.edges)
        return (a, b) if self.rng.random() < 0.5 else (b, a)

    def path(self) -> str:
        return self.rng.choice(self.paths)

    def duration(self, longest: int) -> int:
        return int(self.rng.choice((50, 500, longest / 3, longest)) * self.rng.uniform(0.5, 1.0))


def _paths(rng: Random) -> list[str]:
    count = rng.choice((1, 2, 3, 6, 20))
    paths = [f"p.k{i}" if i % 3 == 0 else f"q.k{i}" for i in range(count)]
    if rng.random() < 0.3:
        paths += ["v.a", "v.b"]
    if rng.random() < 0.2:
        paths += ["m.a"]
    return paths


def _setting(draw: _Draw) -> list[Step]:
    """Marks of the cluster that a person would set once, at any time."""
    steps = []
    if "v.a" in draw.paths:
        steps.append(
            Step(draw.rng.choice((10, 10, draw.at())), "volatile", (draw.rng.choice(draw.full), VOLATILE_PATTERN))
        )
    if "m.a" in draw.paths:
        steps.append(
            Step(draw.at(), "policy", (draw.rng.choice(draw.full), MERGED_PATTERN, draw.rng.choice(("max", "union"))))
        )
    return steps


_LEVELS: Final = ("memory", "disk", "disk", "disk", "peer:1", "peer:2", "all")


def _operations(draw: _Draw, count: int) -> list[Step]:
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


def _operation(draw: _Draw, at: int, host: str, path: str) -> Step:
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


# -- faults ----------------------------------------------------------------------------------------------------

_FAULTS: Final[dict[str, Callable[[_Draw], list[Step]]]] = {
    "cut": lambda d: [Step(d.at(), "cut", (*d.edge(), d.duration(12_000)))],
    "oneway": lambda d: [Step(d.at(), "oneway", (*d.edge(), d.duration(12_000)))],
    "split": lambda d: [Step(d.at(), "split", (d.duration(12_000), *_some(d)))],
    "bridge": lambda d: [Step(d.at(), "bridge", (d.duration(12_000), d.name(), *_some(d)))],
    "noise": lambda d: [Step(d.at(), "noise", (d.duration(6_000), *(d.rng.choice((0, 2, 10, 30)) for _ in range(3))))],
    "slow": lambda d: [Step(d.at(), "slow", (*d.edge(), d.rng.choice((300, 2000, 5000)), d.duration(8_000)))],
    "clog": lambda d: [Step(d.at(), "clog", (*d.edge(), d.duration(6_000)))],
    "reset": lambda d: [Step(d.at(), "reset", d.edge())],
    "stale": lambda d: [Step(d.at(), "stale", (*d.edge(), d.duration(4_000)))],
    "twin": lambda d: [Step(d.at(), "twin", d.edge())],
    "crash": lambda d: [Step(d.at(), "crash", (d.name(), d.duration(8_000)))],
    "recrash": lambda d: _recrash(d),
    "stop": lambda d: [Step(d.at(), "stop", (d.name(), d.duration(8_000)))],
    "disk": lambda d: [Step(d.at(), "disk", (d.name(), d.rng.choice((500, 2000, 9000)), d.duration(12_000)))],
    "pause": lambda d: [Step(d.at(), "pause", (d.name(), d.duration(9_000)))],
    "clock": lambda d: [
        Step(d.at(), "clock", (d.name(), d.rng.choice((-1, 1)) * d.rng.choice((3000, 50_000, 86_400_000))))
    ],
    "restore": lambda d: _restore(d),
    "clone": lambda d: [Step(d.at(), "clone", (d.name(), d.duration(8_000), d.name(), d.name()))],
    "damage": lambda d: [Step(d.at(), "damage", (d.name(), d.rng.randint(0, 5), d.duration(1_000)))],
    "doubt": lambda d: [Step(d.at(), "doubt", (d.name(), d.duration(1_000)))],
    "retire": lambda d: _retire(d),
    "holes": lambda d: _holes(d),
}
_WEIGHTS: Final = {
    "crash": 8,
    "noise": 6,
    "split": 6,
    "cut": 6,
    "clone": 2,
    "retire": 2,
    "twin": 2,
    "damage": 2,
    "doubt": 2,
    "clock": 2,
}


def _some(draw: _Draw) -> list[str]:
    return sorted(draw.rng.sample(draw.names, draw.rng.randint(1, max(1, len(draw.names) - 1))))


def _recrash(draw: _Draw) -> list[Step]:
    """One host crashes again and again: many incarnations."""
    at, name = draw.at(), draw.name()
    return [Step(at + i * draw.rng.randint(100, 1500), "crash", (name, 50)) for i in range(draw.rng.randint(2, 6))]


def _holes(draw: _Draw) -> list[Step]:
    """Ticks that nobody can fill: a host writes while its disk is slow and one of its links is slower than another,
    then it crashes.
    """
    rng, at, name = draw.rng, draw.at(), draw.name()
    near = sorted({n for e in draw.edges if name in e for n in e} - {name})
    slow = [Step(at, "slow", (name, n, 5000, 2000)) for n in near if rng.random() < 0.6]
    writes = [Step(at + 20 + 7 * i, "write", (name, draw.path(), "disk")) for i in range(rng.randint(2, 5))]
    cut = [Step(at + rng.randint(20, 60), "reset", (name, rng.choice(near)))]
    crash = Step(at + rng.randint(60, 900), "crash", (name, draw.duration(2_000)))
    return [Step(at, "disk", (name, 9000, 3000)), *slow, *writes, *cut, crash]


def _restore(draw: _Draw) -> list[Step]:
    name = draw.name()
    first, second = sorted((draw.at(), draw.at()))
    return [Step(first, "backup", (name,)), Step(second, "restore", (name, draw.duration(3_000)))]


def _retire(draw: _Draw) -> list[Step]:
    """A node is retired while it is down, or while it is alive somewhere else; perhaps it comes back."""
    name = draw.name()
    by = draw.rng.choice([n for n in draw.full if n != name] or draw.full)
    at = draw.at()
    if by == name:
        return []
    if draw.rng.random() < 0.6:
        down = draw.rng.choice((3_000, 3_000, 10_000_000))
        return [Step(at, "crash", (name, down)), Step(at + draw.rng.randint(10, 2500), "retire", (by, name))]
    return [
        Step(at, "split", (draw.duration(9_000), name)),
        Step(at + draw.rng.randint(10, 4000), "retire", (by, name)),
    ]
