"""What will happen in a run, as plain data: hosts, edges, and timed steps. `generate.py` draws it from a seed.

A step is a client's operation or a fault. Because the schedule is data, a failing one can be shrunk by leaving
steps out and running again (see shrink.py), kept as a text that people can read and change, and run from that. Steps
that make no sense at their time (a crash of a host that is down, a restore without a backup) do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

Arg = str | int
Edges = tuple[tuple[str, str], ...]


class PlanError(ValueError):
    """A text that is no plan."""


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
    replica (None: a full one), whether it announces an address at its start, which makes it a member, and which
    release of the program it runs (see releases.py). Times in milliseconds.
    """

    name: str
    clock_ms: int = 0
    sync_ms: int = 5
    view: tuple[str, ...] | None = None
    announces: bool = True
    release: int = 0

    def __str__(self) -> str:
        words = [f"host {self.name} clock {self.clock_ms} sync {self.sync_ms}"]
        words += [] if self.announces else ["quiet"]
        words += [f"release {self.release}"] if self.release else []
        words += [f"view {' '.join(self.view)}"] if self.view else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a run. `limits` names a preset of the core's limits (see world.py), `codec` lets messages go through
    bytes; `faults` are the kinds that were drawn, for the report.
    """

    seed: int
    hosts: tuple[HostPlan, ...]
    edges: Edges
    steps: tuple[Step, ...]
    limits: str = "tiny"
    codec: bool = True
    faults: tuple[str, ...] = ()

    def with_steps(self, steps: tuple[Step, ...]) -> Plan:
        """The same world with another schedule."""
        return replace(self, steps=steps, faults=())

    def without(self, name: str) -> Plan | None:
        """The same without a host; None if the others no longer hang together."""
        hosts = tuple(h for h in self.hosts if h.name != name)
        edges = tuple(e for e in self.edges if name not in e)
        views = {h.name: h.view for h in hosts}
        full = [name for name, view in views.items() if view is None]
        return replace(self, hosts=hosts, edges=edges) if len(full) > 1 and hang_together(views, edges) else None

    def __str__(self) -> str:
        """A text for people, which :func:`parse` reads: the world, then a step a line."""
        head = f"seed {self.seed} limits {self.limits}" + ("" if self.codec else " no-codec")
        edges = "edges " + " ".join(f"{a}-{b}" for a, b in self.edges)
        return "\n".join([head, *map(str, self.hosts), edges, *map(str, self.steps)])


def connected(names: list[str], edges: Iterable[tuple[str, str]]) -> bool:
    """Whether these hosts hang together by themselves."""
    near: dict[str, set[str]] = {name: set() for name in names}
    for a, b in edges:
        if a in near and b in near:
            near[a].add(b)
            near[b].add(a)
    left = set(names)
    todo = names[:1]
    while todo:
        here = todo.pop()
        if here in left:
            left.discard(here)
            todo += sorted(near[here])
    return not left


def hang_together(views: Mapping[str, tuple[str, ...] | None], edges: Iterable[tuple[str, str]]) -> bool:
    """Whether the full replicas (those without a view) are connected by themselves, and each partial one is next to one
    of them (R8).
    """
    edges = tuple(edges)
    full = {name for name, view in views.items() if view is None}
    near = {a for a, b in edges if b in full} | {b for a, b in edges if a in full}
    return connected(sorted(full), edges) and views.keys() - full <= near


# -- text to plan ----------------------------------------------------------------------------------------------


def parse(text: str) -> Plan:
    """The plan of a text; ``#`` begins a comment. PlanError names the line that makes no sense."""
    head: list[str] = []
    hosts: list[HostPlan] = []
    edges: list[tuple[str, str]] = []
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split() if not line.lstrip().startswith("#") else []
        try:
            match words:
                case []:
                    pass
                case ["seed", *_]:
                    head = words
                case ["host", name, *rest]:
                    hosts.append(_host(name, rest))
                case ["edges", *pairs]:
                    edges += [_edge(pair) for pair in pairs]
                case [at, kind, *args]:
                    steps.append(Step(int(at), kind, tuple(map(_arg, args))))
                case _:
                    raise PlanError("no host, edges or step")
        except ValueError as error:
            raise PlanError(f"line {number}: {line.strip()}: {error}") from error
    if len(head) < 4 or not hosts:
        raise PlanError("a plan begins with 'seed NUMBER limits PRESET' and has hosts")
    return Plan(int(head[1]), tuple(hosts), tuple(edges), tuple(steps), head[3], "no-codec" not in head)


def _host(name: str, words: list[str]) -> HostPlan:
    host = HostPlan(name)
    while words:
        match words:
            case ["clock", number, *words]:
                host = replace(host, clock_ms=int(number))
            case ["sync", number, *words]:
                host = replace(host, sync_ms=int(number))
            case ["release", number, *words]:
                host = replace(host, release=int(number))
            case ["quiet", *words]:
                host = replace(host, announces=False)
            case ["view", *patterns]:
                return replace(host, view=tuple(patterns))
            case _:
                raise PlanError(f"{words[0]!r} tells nothing of a host")
    return host


def _edge(pair: str) -> tuple[str, str]:
    a, dash, b = pair.partition("-")
    if not dash:
        raise PlanError(f"{pair!r} is no edge")
    return a, b


def _arg(word: str) -> Arg:
    return int(word) if word.lstrip("-").isdigit() else word
