"""Delete and write again, a million times: nothing that a node keeps may grow with the number of changes.

Three linked replicas, without the random world around them (whose ledger remembers every write). Each cycle writes a
path at one of them and deletes it at the next; every other path is new. The long form is
``python -m kvnode.testing.sim --churn 1000000``.
"""

from __future__ import annotations

import resource
from collections import deque
from random import Random
from typing import Final, NamedTuple

import msgspec

from kvnode.core.effects import Change, Now, Persist, Refused, Send
from kvnode.core.messages import Message
from kvnode.core.path import Path
from kvnode.core.replica import Replica

from .disk import Disk

NAMES: Final = ("A", "B", "C")
PATHS: Final = 8
_WALL_0: Final = 1_700_000_000_000
_LULL_MS: Final = 60
"""Long enough for acknowledgements and forgetting."""
_REST_MS: Final = 5_000
_GROWTH_KB: Final = 10_000
"""More than this between a tenth of the way and the end is a leak."""


class Kept(NamedTuple):
    """What one node keeps, in numbers of things."""

    rows: int
    live: int
    tombstones: int
    unsettled: int
    ranges: int
    told: int

    @property
    def bound(self) -> Kept:
        """What is allowed, however many changes there were: records of nodes and paths, a few ranges."""
        most = 2 * PATHS + len(NAMES)
        return Kept(most, 2 * most, most, most, 2 * len(NAMES), 2 * len(NAMES) ** 2)


class Churned(NamedTuple):
    """The outcome: the cycles, the most of each number that any node ever kept, and what memory the process took at a
    tenth of the way and at the end, in kilobytes.
    """

    cycles: int
    most: Kept
    memory_early_kb: int
    memory_kb: int

    @property
    def problems(self) -> list[str]:
        """What was above its bound; none if all is well."""
        pairs = zip(Kept._fields, self.most, self.most.bound, strict=True)
        out = [f"{name}: {found} kept, at most {bound} are allowed" for name, found, bound in pairs if found > bound]
        if self.memory_kb - self.memory_early_kb > _GROWTH_KB:
            out.append(f"memory: it grew from {self.memory_early_kb} to {self.memory_kb} kB")
        return out


class _Node:
    def __init__(self, name: str, rng: Random, now: Now) -> None:
        self.disk: Final = Disk()
        self.replica: Final = Replica(name, session=rng.getrandbits(64), random_bits=rng.getrandbits, now=now)
        self.ends: Final[dict[int, tuple[_Node, int]]] = {}
        """Per link the peer and its own number for it."""

    def kept(self) -> Kept:
        state = self.replica.state
        told = sum(len(t.known) for link in self.replica.links.values() for t in link.told.values())
        return Kept(
            len(self.disk.rows),
            sum(places.count for places in state.live.values()),
            state.tombstones,
            len(state.unsettled),
            sum(len(ticks.bounds) // 2 for ticks in state.known.map.values()),
            told,
        )


class _Cluster:
    """Replicas whose messages arrive at once, and whose disks sync at once."""

    def __init__(self, seed: int) -> None:
        self.ms = 0
        rng = Random(f"kvnode churn {seed}")
        self.nodes: Final = [_Node(name, rng, self.now()) for name in NAMES]
        self._mail: deque[tuple[_Node, int, int, Message]] = deque()
        for number, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)], 1):
            one, two = self.nodes[a], self.nodes[b]
            one.ends[number], two.ends[number] = (two, number), (one, number)
            one.replica.linked(number, self.now(), dialled=True)
            two.replica.linked(number, self.now(), dialled=False)
        for node in self.nodes:
            node.replica.set_addresses((f"{node.replica.name}:27590",), self.now())

    def now(self) -> Now:
        return Now(self.ms, _WALL_0 + self.ms)

    def settle(self) -> None:
        """Carry out and deliver until there is nothing left to do now."""
        busy = True
        while busy:
            busy = sum(map(self._carry_out, self.nodes)) > 0
            while self._mail:
                node, link, seq, message = self._mail.popleft()
                node.replica.receive(link, seq, message, self.now())
                self._carry_out(node)

    def _carry_out(self, node: _Node) -> bool:
        effects = node.replica.take_effects()
        for effect in effects:
            if isinstance(effect, Persist):
                node.disk.stage(effect)
            elif isinstance(effect, Send):
                peer, link = node.ends[effect.link]
                self._mail.append((peer, link, effect.seq, effect.message))
                node.replica.writable(effect.link, self.now())
        token = node.disk.sync(len(node.disk.staged))
        node.disk.take_fresh()
        node.disk.forgotten.clear()  # kept for the ledger's laws, and there is no ledger here
        if token is not None:
            node.replica.persisted(token, self.now())
        return bool(effects)

    def pass_time(self, ms: int) -> None:
        """Wake whoever is due, until that much later."""
        end = self.ms + ms
        while self.ms < end:
            due = [node.replica.next_deadline for node in self.nodes]
            self.ms = min(max(min(due, default=end), self.ms + 1), end)
            for node in self.nodes:
                if node.replica.next_deadline <= self.ms:
                    node.replica.wake(self.now())
            self.settle()

    def propose(self, node: _Node, path: Path, value: bytes | None) -> None:
        """A client's change, which must be taken."""
        got = node.replica.propose([Change(path, value, "churn")], self.now())
        assert not isinstance(got, Refused)
        self.settle()


def churn(cycles: int, seed: int = 1) -> Churned:
    """Write and delete so often, then rest. AssertionError if something is left then."""
    cluster = _Cluster(seed)
    cluster.settle()
    cluster.pass_time(_REST_MS)
    most = Kept(*[0] * len(Kept._fields))
    early = _memory_kb()
    for cycle in range(cycles):
        path = Path(("again", cycle % PATHS)) if cycle % 2 else Path(("new", cycle))
        cluster.propose(cluster.nodes[cycle % 3], path, msgspec.msgpack.encode(cycle))
        cluster.propose(cluster.nodes[(cycle + 1) % 3], path, None)
        cluster.pass_time(_LULL_MS if cycle % PATHS == 0 else 1)
        for node in cluster.nodes:
            most = Kept(*map(max, most, node.kept()))
        if cycle == cycles // 10:
            early = _memory_kb()
    cluster.pass_time(_REST_MS)
    for node in cluster.nodes:
        left = node.kept()
        assert left.tombstones == left.unsettled == 0, f"{node.replica.name} still keeps {left}"
    return Churned(cycles, most, early, _memory_kb())


def _memory_kb() -> int:
    """The most memory that this process ever took."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
