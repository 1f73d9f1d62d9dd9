"""The torture's checker accuses nobody who is innocent, and finds what is planted: against a small model of a cluster.

The model is the textbook's: versions with dots, a set of known dots, a write replaces what its node holds. The disk is
a copy of all that, taken at each acknowledgement that promises as much.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.testing.torture.checker import check
from kvnode.testing.torture.history import Fault, Info, Invoke, Mark, Ok, Record, Seen, Watching, WriteOf
from tests.support.tale import dump

PATHS = ("x", "y", "z")
Versions = dict[str, str | None]
"""The value by dot; None for a delete."""


@dataclass
class Memory:
    held: dict[str, Versions] = field(default_factory=lambda: {path: {} for path in PATHS})
    known: set[str] = field(default_factory=set)


class Model:
    """A cluster, and the history of its clients. `fault` is what is planted: a kind of event and a chance of it."""

    def __init__(self, rng: random.Random, fault: str = "") -> None:
        self.rng = rng
        self.fault = fault
        self.nodes = "abc"[: rng.randint(2, 3)]
        self.memory = {node: Memory() for node in self.nodes}
        self.disk = {node: Memory() for node in self.nodes}
        self.run = dict.fromkeys(self.nodes, 1)
        self.tick = dict.fromkeys(self.nodes, 0)
        self.cuts: frozenset[tuple[str, str]] = frozenset()
        self.records: list[Record] = [Watching(0, at, node, "") for at, node in enumerate(self.nodes)]
        self.records += [Mark(0, at, "uptodate") for at in range(len(self.nodes))]
        self.time = 0
        self.op = 0

    def now(self) -> int:
        self.time += 1
        return self.time

    def live(self, node: str, path: str) -> dict[str, str]:
        return {dot: value for dot, value in self.memory[node].held[path].items() if value is not None}

    def tell(self, node: str, path: str) -> None:
        self.records.append(Seen(self.now(), self.nodes.index(node), f".{path}", self.live(node, path)))

    # -- what happens ----------------------------------------------------------------------------------------

    def write(self, node: str) -> None:
        path, rng = self.rng.choice(PATHS), self.rng
        self.op += 1
        value = None if rng.random() < 0.3 else f"v{self.op}"
        expect = tuple(self.live(node, path)) if rng.random() < 0.3 else None
        ack = rng.choice(["disk", "memory"])
        self.records.append(Invoke(self.now(), self.op, "c", node, (WriteOf(f".{path}", value, expect),), ack))
        self.tick[node] += 1
        dot = f"{node}~{self.run[node]}:{self.tick[node]}"
        memory = self.memory[node]
        if not self.slips("forgets to replace"):
            memory.held[path].clear()
        if not self.slips("does not write"):
            memory.held[path][dot] = value
        memory.known.add(dot)
        if ack == "disk" and not self.slips("does not sync"):
            self.disk[node] = deepcopy(memory)
        self.tell(node, path)
        unanswered = rng.random() < 0.2
        self.records.append(Info(self.now(), self.op, "lost") if unanswered else Ok(self.now(), self.op, (dot,)))

    def read(self, node: str) -> None:
        path = self.rng.choice(PATHS)
        self.op += 1
        self.records.append(Invoke(self.now(), self.op, "c", node, path=f".{path}"))
        self.records.append(Ok(self.now(), self.op, live=self.live(node, path)))

    def sync(self, source: str, sink: str) -> None:
        """What the other side knows and does not hold goes; what is new comes."""
        if (source, sink) in self.cuts:
            return
        theirs, mine = self.memory[source], self.memory[sink]
        for path in PATHS:
            before = dict(mine.held[path])
            new = {dot: value for dot, value in theirs.held[path].items() if dot not in mine.known}
            if self.slips("takes what was replaced"):
                new = dict(theirs.held[path])
            kept = {dot: v for dot, v in before.items() if dot in theirs.held[path] or dot not in theirs.known}
            mine.held[path] = kept | new
            if mine.held[path] != before:
                self.tell(sink, path)
        if not self.slips("does not note"):
            mine.known |= theirs.known

    def kill(self, node: str) -> None:
        self.records.append(Fault(self.now(), "kill", node))
        self.memory[node] = deepcopy(self.disk[node])
        self.run[node] += 1
        self.tick[node] = 0
        self.records.append(Mark(self.now(), self.nodes.index(node), "gap"))
        for path in PATHS:
            self.tell(node, path)

    def cut(self) -> None:
        pairs = list(permutations(self.nodes, 2))
        self.cuts = frozenset(self.rng.sample(pairs, self.rng.randrange(len(pairs))))
        self.records.append(Fault(self.now(), "cuts", cuts=tuple(self.cuts)))

    def slips(self, fault: str) -> bool:
        return fault == self.fault and self.rng.random() < 0.2

    # -- a run -----------------------------------------------------------------------------------------------

    def play(self, steps: int) -> set[str]:
        """The laws that the checker says are broken, after so many steps and a quiet end."""
        for _ in range(steps):
            node, other = self.rng.sample(self.nodes, 2)
            (deed,) = self.rng.choices(["write", "read", "sync", "kill", "cut"], [10, 5, 12, 2, 2])
            {
                "write": lambda node=node: self.write(node),
                "read": lambda node=node: self.read(node),
                "sync": lambda node=node, other=other: self.sync(node, other),
                "kill": lambda node=node: self.kill(node),
                "cut": self.cut,
            }[deed]()
        self.fault, self.cuts = "", frozenset()
        self.records.append(Fault(self.now(), "cuts"))
        for source, sink in [*permutations(self.nodes, 2)] * 2:
            self.sync(source, sink)
        self.records += [Mark(self.now(), at, "final") for at in range(len(self.nodes))]
        dumps = {
            node: dump({f".{path}": live for path in PATHS if (live := self.live(node, path))}) for node in self.nodes
        }
        return {violation.law for violation in check(self.records, dumps, {})}


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 80))
def test_nobody_is_accused_who_keeps_the_laws(seed: int, steps: int) -> None:
    assert Model(random.Random(seed)).play(steps) == set()


@pytest.mark.parametrize(
    "fault", ["forgets to replace", "does not write", "does not sync", "takes what was replaced", "does not note"]
)
def test_what_is_planted_is_found(fault: str) -> None:
    assert any(Model(random.Random(seed), fault).play(60) for seed in range(20))
