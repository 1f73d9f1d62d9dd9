"""A tiny deterministic net of replicas in one process: their own clock, memory stores, every message through the codec.

For tests of one rule in its smallest form; the simulator in `kvnode.testing.sim` is for random worlds. Nothing is
random here, nothing waits: time passes in :meth:`Net.run` only, and :meth:`Net.flow` carries out what is due now.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from kvnode.codec import peer
from kvnode.codec.framing import MAX_PAYLOAD_BYTES
from kvnode.core.effects import (
    Acked,
    Change,
    Close,
    Deliver,
    Effect,
    Loaded,
    Notify,
    Now,
    Persist,
    Refused,
    Report,
    Send,
    Wrote,
)
from kvnode.core.entry import Siblings
from kvnode.core.history import Past
from kvnode.core.limits import Limits
from kvnode.core.messages import Event, Message, Versions
from kvnode.core.path import Path, Pattern
from kvnode.core.policy import live, read
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot, Incarnation, Ticks
from tests.support.soundness import unsound

if TYPE_CHECKING:
    from tests.support.strangers import Stranger

WALL = 1_700_000_000_000
"""Wall clock at the net's time 0, in milliseconds since 1970."""

_IDLE_TURNS = 200
"""So many turns without time passing or a message moving are a busy loop."""


def enc(value: object) -> bytes:
    """A plain value as MessagePack."""
    return msgspec.msgpack.encode(value)


def dec(value: bytes) -> Any:
    """A plain value from MessagePack; the bytes themselves if it is none."""
    try:
        return msgspec.msgpack.decode(value)
    except (ValueError, RecursionError):
        return value


class Store:
    """What a store would hold: rows, known, meta."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.known: dict[Incarnation, Ticks] = {}
        self.meta: dict[str, bytes] = {}
        self.quarantine: dict[int, bytes] = {}
        self.past: list[Past] = []

    def apply(self, persist: Persist) -> None:
        """One transaction."""
        for key, record in persist.rows.items():
            _set(self.rows, key, record)
        for inc, ticks in persist.known.items():
            _set(self.known, inc, ticks)
        for number, record in persist.quarantine.items():
            _set(self.quarantine, number, record)
        self.meta |= persist.meta
        self.past += persist.past

    def copy(self) -> Store:
        """What a backup, or a cloned card, would hold."""
        new = Store()
        new.rows, new.known, new.meta = dict(self.rows), dict(self.known), dict(self.meta)
        new.quarantine, new.past = dict(self.quarantine), list(self.past)
        return new

    def loaded(self, doubts: tuple[str, ...] = ()) -> Loaded:
        """What is found at the next start."""
        return Loaded(tuple(self.rows.items()), dict(self.known), dict(self.meta), doubts, dict(self.quarantine))


def _set(of: dict[Any, Any], key: object, value: object | None) -> None:
    if value is None:
        of.pop(key, None)
    else:
        of[key] = value


@dataclass(slots=True)
class Node:
    """One process: a replica with its store, and what came out of it."""

    replica: Replica
    store: Store
    stuck: bool = False
    """The disk does not answer: what is to be persisted waits (and is lost in a crash)."""
    waiting: deque[Persist] = field(default_factory=deque)
    notes: list[tuple[Path, tuple[Any, ...]]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    closed: list[Close] = field(default_factory=list)
    acked: int = 0

    def kinds(self) -> set[str]:
        """The kinds of reports so far."""
        return {r.kind for r in self.reports}


@dataclass(slots=True)
class Wire:
    """One direction of a link."""

    source: str
    link: int
    target: str
    target_link: int
    queue: deque[bytes] = field(default_factory=deque)
    held: bool = False


class Net:
    """Replicas by label. A label is the node's name unless `name` says otherwise (clones)."""

    def __init__(self, *names: str, limits: Limits | None = None, seed: int = 1) -> None:
        self.t = 100_000
        self.rng = random.Random(seed)
        self.limits = limits or Limits()
        self.nodes: dict[str, Node] = {}
        self.wires: dict[tuple[str, int], Wire] = {}
        self.strangers: dict[str, Stranger] = {}
        self.log: list[tuple[str, str, Message]] = []
        self._links = 0
        for name in names:
            self.start(name)

    def __getitem__(self, label: str) -> Replica:
        return self.nodes[label].replica

    @property
    def now(self) -> Now:
        """The time for every node."""
        return Now(self.t, WALL + self.t)

    # -- processes -------------------------------------------------------------------------------------------

    def start(
        self,
        label: str,
        *,
        name: str | None = None,
        store: Store | None = None,
        doubts: tuple[str, ...] = (),
        view: tuple[str, ...] | None = None,
        member: bool = True,
        limits: Limits | None = None,
    ) -> Node:
        """Start a process; a full replica becomes a member unless `member` says otherwise."""
        store = store or Store()
        shown = None if view is None else [Pattern(text) for text in view]
        session = self.rng.getrandbits(63)
        replica = Replica(
            name or label,
            session=session,
            random_bits=self.rng.getrandbits,
            now=self.now,
            limits=limits or self.limits,
            loaded=store.loaded(doubts),
            view=shown,
        )
        node = self.nodes[label] = Node(replica, store)
        if member and view is None:
            replica.set_addresses([f"{label}:1"], self.now)
        return node

    def crash(self, label: str, *, links_stay: bool = False) -> Store:
        """Kill a process; what was not persisted is gone. With `links_stay` the peers do not notice, and get what is
        on its way.
        """
        node = self.nodes.pop(label)
        for (source, link), wire in list(self.wires.items()):
            if wire.target == label:
                del self.wires[source, link]
            if label in (source, wire.target) and not links_stay:
                self.wires.pop((source, link), None)
                if wire.target == label and source in self.nodes:
                    self[source].unlinked(link, self.now)
        return node.store

    def restart(self, label: str, **options: Any) -> Node:
        """Crash and start again from the store."""
        name = self[label].name
        store = self.crash(label)
        return self.start(label, name=name, store=store, **options)

    # -- links -----------------------------------------------------------------------------------------------

    def link(self, *labels: str) -> None:
        """Link each of the labels to the next; the first one dials."""
        for a, b in zip(labels, labels[1:], strict=False):
            self._links += 2
            la, lb = self._links, self._links + 1
            self.wires[a, la] = Wire(a, la, b, lb)
            self.wires[b, lb] = Wire(b, lb, a, la)
            self[a].linked(la, self.now, dialled=True)
            self[b].linked(lb, self.now, dialled=False)

    def mesh(self, *labels: str) -> None:
        """Link every label to every other."""
        for at, a in enumerate(labels):
            for b in labels[at + 1 :]:
                self.link(a, b)

    def links_of(self, a: str, b: str) -> list[int]:
        """The ids at `a` of its links to `b`."""
        return [link for (source, link), wire in self.wires.items() if (source, wire.target) == (a, b)]

    def cut(self, a: str, b: str) -> None:
        """Cut all links between two labels; what was on its way is lost."""
        for x, y in ((a, b), (b, a)):
            for link in self.links_of(x, y):
                del self.wires[x, link]
                if x in self.nodes:
                    self[x].unlinked(link, self.now)

    def hold(self, a: str, b: str) -> None:
        """Messages from `a` to `b` stay on their way until :meth:`release`."""
        for link in self.links_of(a, b):
            self.wires[a, link].held = True

    def release(self, a: str, b: str) -> None:
        """Let them go on."""
        for wire in self.wires.values():
            if (wire.source, wire.target) == (a, b):
                wire.held = False

    def deliver(self, a: str, b: str, count: int) -> list[Message]:
        """Let `count` messages of a held wire arrive; the sender does not hear that its queue drained."""
        out: list[Message] = []
        for link in self.links_of(a, b):
            wire = self.wires[a, link]
            while wire.queue and len(out) < count:
                out.append(self._arrive(wire, wire.queue.popleft()))
        return out

    def on_the_way(self, a: str, b: str) -> list[Message]:
        """What is held between two labels."""
        wires = [w for w in self.wires.values() if (w.source, w.target) == (a, b)]
        return [peer.decode(payload).message for wire in wires for payload in wire.queue]

    # -- time ------------------------------------------------------------------------------------------------

    def run(self, ms: int = 2_000) -> None:
        """Let so much time pass."""
        end = self.t + ms
        idle = 0
        while True:
            self.flow()
            due = min(self._deadlines().values(), default=end + 1)
            if due > end:
                self.t = end
                return
            idle = idle + 1 if due <= self.t else 0
            assert idle < _IDLE_TURNS, f"a busy loop at {self.t}: {self._deadlines()}"
            self.t = max(self.t, due)
            self.wake()

    def _deadlines(self) -> dict[str, int]:
        return {label: node.replica.next_deadline for label, node in self.nodes.items()}

    def wake(self) -> None:
        """Wake every replica whose time has come."""
        for node in self.nodes.values():
            if node.replica.next_deadline <= self.t:
                node.replica.wake(self.now)

    def flow(self) -> None:
        """Carry out effects and deliver messages until nothing moves; no time passes."""
        for _ in range(100_000):
            moved = False
            for label in list(self.nodes):
                moved |= self.carry_out(label)
            for wire in list(self.wires.values()):
                moved |= self._move(wire)
            if not moved:
                return
        raise AssertionError("messages go round without end")

    def carry_out(self, label: str) -> bool:
        """The effects of one node; says whether there were any."""
        effects = self[label].take_effects()
        for effect in effects:
            self._do(label, self.nodes[label], effect)
        return bool(effects)

    def _do(self, label: str, node: Node, effect: Effect) -> None:
        match effect:
            case Persist():
                node.waiting.append(effect)
                if not node.stuck:
                    self.sync_disk(label)
            case Send(link, seq, message):
                self._sent(label, link, seq, message)
            case Close(link):
                node.closed.append(effect)
                self._close(label, link)
            case Notify(key, siblings):
                node.notes.append((Path.from_key(key), self._values(siblings)))
            case Deliver(event):
                node.events.append(event)
            case Report():
                node.reports.append(effect)
            case Acked():
                node.acked += 1

    def unstick(self, label: str) -> None:
        """The disk of a node answers again."""
        self.nodes[label].stuck = False
        self.sync_disk(label)

    def sync_disk(self, label: str) -> None:
        """The disk of a node has everything that it was given by now."""
        node = self.nodes[label]
        while node.waiting:
            persist = node.waiting.popleft()
            node.store.apply(persist)
            node.replica.persisted(persist.token, self.now)

    def _sent(self, label: str, link: int, seq: int, message: Message) -> None:
        payload = peer.encode(seq, message)
        assert len(payload) <= MAX_PAYLOAD_BYTES, f"a {type(message).__name__} of {len(payload)} bytes"
        wire = self.wires.get((label, link))
        if wire is not None:
            wire.queue.append(payload)
            self.log.append((label, wire.target, message))

    def _move(self, wire: Wire) -> bool:
        if wire.held or not wire.queue:
            return False
        self._arrive(wire, wire.queue.popleft())
        if wire.source in self.nodes:
            self[wire.source].writable(wire.link, self.now)
        return True

    def _arrive(self, wire: Wire, payload: bytes) -> Message:
        seq, message = peer.decode(payload)
        if wire.target in self.strangers:
            self.strangers[wire.target].got.append(message)
        elif wire.target in self.nodes:
            self[wire.target].receive(wire.target_link, seq, message, self.now)
        return message

    def _close(self, label: str, link: int) -> None:
        wire = self.wires.pop((label, link), None)
        if wire is None:
            return
        self.wires.pop((wire.target, wire.target_link), None)
        if wire.target in self.nodes:
            self[wire.target].unlinked(wire.target_link, self.now)
        elif wire.target in self.strangers:
            self.strangers[wire.target].is_cut = True

    # -- writing and reading -----------------------------------------------------------------------------------

    def propose(self, label: str, *changes: Change) -> list[Wrote] | Refused:
        """Hand changes to a replica."""
        return self[label].propose(changes, self.now)

    def write(self, label: str, path: str, value: object, **more: Any) -> Dot:
        """Write a plain value; gives its dot."""
        out = self.propose(label, Change(Path.parse(path), enc(value), **more))
        assert isinstance(out, list), out
        return out[0].dot

    def delete(self, label: str, path: str, **more: Any) -> Dot:
        """Delete; gives the tombstone's dot."""
        out = self.propose(label, Change(Path.parse(path), None, **more))
        assert isinstance(out, list), out
        return out[0].dot

    def at(self, label: str, path: str) -> Siblings:
        """The siblings of a path."""
        return self[label].tree.at(Path.parse(path))

    def read(self, label: str, path: str) -> Any:
        """The value by the path's policy; None if there is none."""
        where = Path.parse(path)
        reading = read(self[label].tree.at(where), self[label].policy_of(where), self.now.wall, dec)
        return reading.value if reading else None

    def values(self, label: str, path: str) -> list[Any]:
        """All live values, sorted by their text."""
        return sorted(self._values(self.at(label, path)), key=repr)

    def _values(self, siblings: Siblings) -> tuple[Any, ...]:
        return tuple(dec(bytes(v.details.value)) for v in live(siblings, self.now.wall))

    def has(self, label: str, dot: Dot) -> bool:
        """Whether a dot is live at a node."""
        return any(v.dot == dot for _, v in self[label].tree.versions())

    # -- looking ---------------------------------------------------------------------------------------------

    def sent(self, kind: type[Message], source: str | None = None, target: str | None = None) -> list[Any]:
        """The messages of a kind in the log, by their ends."""
        return [m for a, b, m in self.log if isinstance(m, kind) and source in (None, a) and target in (None, b)]

    def carried(self, dot: Dot) -> list[tuple[str, str]]:
        """Over which links a version went."""
        return [(a, b) for a, b, m in self.log if isinstance(m, Versions) and any(v.dot == dot for v in m.versions)]

    def dump(self, label: str) -> dict[bytes, list[tuple[Dot, bytes]]]:
        """What a canonical dump shows: per path the live values."""
        out = {}
        for key, siblings in self[label].tree.scan():
            if shown := [(v.dot, v.body) for v in siblings if not v.is_tombstone]:
                out[key] = shown
        return out

    def converged(self, *labels: str) -> bool:
        """Whether all these nodes (all there are, by default) are equal, in known, content and fingerprint."""
        names = labels or tuple(self.nodes)
        for name in names:
            assert unsound(self[name]) == []
        first = self[names[0]]
        for name in names[1:]:
            one = self[name]
            if dict(one.known.map) != dict(first.known.map) or one.known.hash() != first.known.hash():
                return False
            if self.dump(name) != self.dump(names[0]) or one.tree.print_of_all != first.tree.print_of_all:
                return False
        return True


def linked(*names: str, mesh: bool = False, **options: Any) -> Net:
    """Members in a chain, or each with every other, after a while; the log is empty."""
    net = Net(*names, **options)
    if mesh:
        net.mesh(*names)
    else:
        net.link(*names)
    net.run()
    net.log.clear()
    return net
