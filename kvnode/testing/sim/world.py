"""The simulated world: the event heap and its time, hosts, edges, and the faults that come and go."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b
from random import Random
from typing import Any, Final, NamedTuple

from kvnode.codec import peer as codec
from kvnode.core.limits import Limits
from kvnode.core.messages import Message
from kvnode.core.ticks import Dot

from . import happened
from .disk import Disk
from .host import WALL_0, Host, Process, Snapshot
from .ledger import Ledger
from .net import QUIET, Connection, Edge, Noise
from .plan import Plan
from .watch import Watch
from .watcher import Watcher

MAX_EVENTS: Final = 400_000
"""A run that needs more is a message storm."""
MAX_BROKEN: Final = 20


class Broken(NamedTuple):
    """A law that did not hold."""

    law: str
    at: int
    text: str

    def __str__(self) -> str:
        return f"{self.law} at {self.at} ms: {self.text}"


class Stopped(Exception):
    """The run cannot go on: too many laws are broken already."""


LIMITS: Final[dict[str, Limits]] = {
    "scenario": Limits(
        chunk_bytes=1, ack_delay_ms=5, relay_ack_delay_ms=50, lazy_ms=100, hold_ms=300, held_most_ms=1_000,
        beat_ms=2_000, check_ms=6_000, close_delay_ms=1_000, duplicate_grace_ms=600, duplicate_clear_ms=6_000,
    ),
    "default": Limits(),
    "small": Limits(
        chunk_bytes=2_000, window_bytes=4_000, recent_incarnations=4, beat_ms=5_000, check_ms=10_000, forget_batch=20,
        close_delay_ms=2_500, duplicate_grace_ms=1_500, duplicate_clear_ms=15_000, settle_parts=4, settle_leaf=4,
        settle_paths=8,
    ),
    "tiny": Limits(
        chunk_bytes=200, window_bytes=600, recent_incarnations=1, ack_delay_ms=5, lazy_ms=100, hold_ms=300,
        held_most_ms=1_000, beat_ms=2_000, check_ms=6_000, forget_batch=2, close_delay_ms=1_000, duplicate_grace_ms=600,
        duplicate_clear_ms=6_000, settle_parts=2, settle_leaf=1, settle_paths=1,
    ),
}  # fmt: skip


class World:
    """One run. All randomness comes from streams named after the seed and the thing that draws."""

    def __init__(self, plan: Plan, *, keep_trace: bool = False, most_broken: int = MAX_BROKEN) -> None:
        self.plan: Final = plan
        self.limits: Final = LIMITS[plan.limits]
        self.now = 0
        self.aged_ms = 0
        """Years that passed without anything happening (wall clock only)."""
        self.events = 0
        self.performed: Counter[str] = Counter()
        """How often each kind of step was done."""
        self.happened: Counter[str] = Counter()
        """What faults really did, see happened.py."""
        self.parts: dict[str, int] = {}
        """The parts that a cluster is shattered into, until a time, and which of them wrote a path."""
        self.parts_until = -1
        self.parts_wrote: dict[str, set[int]] = {}
        self.values = 0
        self.healed = False
        self.brokens: list[Broken] = []
        self._most_broken: Final = most_broken
        self.trace: list[str] | None = [] if keep_trace else None
        self._hash = blake2b(digest_size=16)
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0
        self._conns = 0
        self.frozen_until = 0
        """When the last process that stands still goes on."""
        self.noise: Noise = QUIET
        self.noise_until = 0
        self.last_read: dict[str, frozenset[Dot]] = {}
        self.harmed = False
        """Whether a store was set back, copied or harmed, or a node retired: what `sound` needs to know."""
        self.doubted = False
        """Whether a store ever came back with doubts: what had been forgotten by then is not known any more (R6)."""
        self.joined: dict[str, int] = {}
        """Since when a name is a member in everybody's eyes."""
        self.all_conns: list[Connection] = []
        self.cloned: set[str] = set()
        self.retired: set[str] = set()
        self.max_clock_ms = max((h.clock_ms for h in plan.hosts), default=0)
        self.ledger: Final = Ledger()
        self.watch: Final = Watch(self, self.ledger)
        self.edges: Final[dict[tuple[str, str], Edge]] = {}
        self.hosts: Final[dict[str, Host]] = {
            h.name: Host(h.name, h.name, Disk(), h.clock_ms, h.sync_ms, h.view, h.announces, release=h.release)
            for h in plan.hosts
        }
        self.watchers: Final[dict[int, Watcher]] = {}
        for a, b in plan.edges:
            self.add_edge(a, b)
        happened.look_at_plan(self)

    # -- time ------------------------------------------------------------------------------------------------

    def at(self, time: int, call: Callable[..., object], *args: Any) -> None:
        """Do this at a virtual time; what was asked first comes first."""
        self._count += 1
        heapq.heappush(self._heap, (max(time, self.now), self._count, call, args))

    def after(self, delay: int, call: Callable[..., object], *args: Any) -> None:
        """Do this after a delay in milliseconds."""
        self.at(self.now + delay, call, *args)

    def run_until(self, time: int) -> None:
        """Let everything happen up to and including `time`."""
        while self._heap and self._heap[0][0] <= time:
            self.now, _, call, args = heapq.heappop(self._heap)
            self.events += 1
            if self.events > MAX_EVENTS:
                self.broken("bounds", f"more than {MAX_EVENTS} events: {self.watch.sent_kinds}")
                raise Stopped
            call(*args)
        self.now = max(self.now, time)

    def wall(self, *, latest: bool = False) -> int:
        """The true wall clock, or that of the fastest clock ever seen."""
        return WALL_0 + self.aged_ms + self.now + (max(self.max_clock_ms, 0) if latest else 0)

    # -- what is seen ----------------------------------------------------------------------------------------

    def log(self, kind: str, *fields: object) -> None:
        """One line of the trace."""
        line = f"{self.now} {kind} {' '.join(map(str, fields))}"
        self._hash.update(line.encode())
        self._hash.update(b"\n")
        if self.trace is not None:
            self.trace.append(line)

    def saw(self, data: bytes) -> None:
        """Bytes that count for the trace, but are no line of it."""
        self._hash.update(data)

    @property
    def trace_hash(self) -> str:
        """Equal for equal runs."""
        return self._hash.hexdigest()

    def broken(self, law: str, text: str) -> None:
        """A law does not hold."""
        self.log("BROKEN", law, text)
        self.brokens.append(Broken(law, self.now, text))
        if len(self.brokens) >= self._most_broken:
            raise Stopped

    def sound(self, process: Process, dot: Dot) -> bool:
        """Whether everybody waits for this process before this write is forgotten, and no store was ever set back,
        copied, harmed or retired: then early stripping, forgetting or dropping has no excuse.
        """
        write = self.ledger.writes.get(dot)
        return not (self.harmed or write is None or write.volatile) and self.waited_for(process, dot)

    def waited_for(self, process: Process, dot: Dot) -> bool:
        """Whether this process was a member in everybody's eyes when the write was made."""
        write = self.ledger.writes.get(dot)
        joined = self.joined.get(process.host.name)
        return write is not None and joined is not None and write.at > joined

    @property
    def may_forget_supersession(self) -> bool:
        """Whether a store in doubt (R6) may have forgotten what superseded a value, and somebody may bring it back for
        whom nobody waited before the vector was stripped (a retired node, or one that never was a member), or whose
        store was set back to before it acknowledged: then nothing tells any more which of the two was first.
        """
        late = any(h.name not in self.joined or h.disk.rewound for h in self.hosts.values())
        return self.doubted and (bool(self.retired) or late)

    def look_for_members(self) -> None:
        """Who is a member in everybody's eyes now?"""
        running = self.processes()
        if len(running) == len(self.hosts):
            for name in [h.name for h in self.hosts.values() if h.name not in self.joined]:
                if all(name in p.replica.members() for p in running):
                    self.joined[name] = self.now
        if not self.healed:
            self.after(200, self.look_for_members)

    # -- messages --------------------------------------------------------------------------------------------

    def decode(self, seq: int, data: bytes | Message) -> Message:
        """The message that arrived."""
        if isinstance(data, Message):
            return data
        framed = codec.decode(data)
        assert framed.seq == seq
        return framed.message

    def about_to_send(self, conn: Connection, side: int, message: Message) -> None:
        """Hook of scenarios, which may hold a message back."""

    # -- edges -----------------------------------------------------------------------------------------------

    def edge(self, a: str, b: str) -> Edge | None:
        """The edge between two hosts, if there is one."""
        return self.edges.get((a, b) if a < b else (b, a))

    def add_edge(self, a: str, b: str) -> None:
        """Two hosts may talk from now on."""
        pair = (a, b) if a < b else (b, a)
        if a != b and pair not in self.edges and a in self.hosts and b in self.hosts:
            rng = Random(f"kvnode edge {self.plan.seed} {pair}")
            self.edges[pair] = Edge(*pair, rng, rng.choice((0, 1, 5, 40)))
            self.dial_later(self.edges[pair])

    def latency(self, edge: Edge, rng: Random) -> int:
        """How long one message takes."""
        return edge.base_ms + rng.choice((0, 0, 1, 3))

    def dial_later(self, edge: Edge) -> None:
        """Try to connect after a back-off."""
        if edge.dial_at <= self.now:
            edge.dial_at = self.now + edge.rng.choice((1, 10, 100, 700))
            self.at(edge.dial_at, self._dial, edge)

    def _dial(self, edge: Edge) -> None:
        edge.dial_at = -1
        if edge.is_open and not edge.conns:
            self.connect(edge)

    def connect(self, edge: Edge) -> None:
        """Make a connection, if both hosts are up."""
        a, b = self.hosts[edge.a].process, self.hosts[edge.b].process
        if a is None or b is None:
            return
        self._conns += 1
        conn = Connection(self, edge, (a, b), self._conns)
        edge.conns.append(conn)
        self.all_conns.append(conn)
        self.log("connect", str(conn))
        conn.start(edge.rng.randrange(2))

    def take_down(self, pairs: Iterable[tuple[str, str]], duration: int) -> None:
        """No connections over these edges for a while."""
        edges = [e for a, b in pairs if (e := self.edge(a, b)) is not None]
        for edge in edges:
            edge.down += 1
            for conn in list(edge.conns):
                conn.cut()
        self.after(duration, self._bring_up, edges)

    def _bring_up(self, edges: list[Edge]) -> None:
        for edge in edges:
            edge.down = max(edge.down - 1, 0)
            self.dial_later(edge)

    def block(self, a: str, b: str, duration: int) -> None:
        """Nothing gets from a to b for a while; connections stay until they time out."""
        edge = self.edge(a, b)
        if edge is not None:
            side = edge.side(a)
            edge.blocked[side] += 1
            self.after(duration, self._unblock, edge, side)

    def _unblock(self, edge: Edge, side: int) -> None:
        edge.blocked[side] = max(edge.blocked[side] - 1, 0)
        for conn in edge.conns:
            conn.flush(side)
        self.dial_later(edge)

    def unslow(self, edge: Edge, side: int, delay: int) -> None:
        """An edge is as fast as before."""
        edge.extra_ms[side] = max(edge.extra_ms[side] - delay, 0)

    def calm(self) -> None:
        """The noise is over."""
        if self.now >= self.noise_until:
            self.noise = QUIET

    # -- hosts -----------------------------------------------------------------------------------------------

    def processes(self) -> list[Process]:
        """All that run."""
        return [h.process for h in self.hosts.values() if h.process is not None]

    def process(self, label: str) -> Process | None:
        """The process that runs there, if one does."""
        host = self.hosts.get(label)
        return host.process if host is not None else None

    def running(self, label: str) -> Host | None:
        """The host, if its process runs."""
        host = self.hosts.get(label)
        return host if host is not None and host.process is not None else None

    def watcher(self, number: int, how: str = "all") -> Watcher:
        """The watching client of this number."""
        if number not in self.watchers:
            self.watchers[number] = Watcher(self, number, latest=how == "latest")
        return self.watchers[number]

    def go_on(self, host: Host, snapshot: Snapshot) -> None:
        """A machine goes on from a snapshot."""
        self.log("go on", host.label)
        host.process = Process(self, host, snapshot)
        self._dial_from(host)

    def start(self, host: Host) -> None:
        """Start the host's process on its store."""
        if host.process is not None:
            return
        self.log("start", host.label)
        self._look_at_start(host)
        host.process = Process(self, host)
        self._dial_from(host)

    def _look_at_start(self, host: Host) -> None:
        aged, retired = self.aged_ms > host.aged_ms, host.name in self.retired
        self.happened["back after a year"] += aged
        self.happened["retired and back"] += retired
        self.happened["retired and back after a year"] += aged and retired
        self.happened["store in doubt"] += bool(host.disk.doubts)

    def _dial_from(self, host: Host) -> None:
        for edge in self.edges.values():
            if host.label in (edge.a, edge.b):
                self.dial_later(edge)

    def start_later(self, host: Host, delay: int) -> None:
        """Start it after a while, unless it is started earlier."""
        host.up_at = self.now + delay
        self.after(delay, self._start_due, host)

    def _start_due(self, host: Host) -> None:
        if host.up_at <= self.now and not host.retired:
            self.start(host)

    def crash(self, host: Host, survive: int, *, silently: bool = False) -> None:
        """Kill the process; `survive` of the staged transactions are on disk."""
        process = host.process
        if process is None:
            return
        self.log("crash", host.label, survive, len(host.disk.staged))
        self.happened["transactions lost in a crash"] += survive < len(host.disk.staged)
        host.process = None
        host.aged_ms = self.aged_ms
        host.disk.crash(survive)
        self.watch.on_disk(host)
        process.end(silently=silently)
        for watcher in self.watchers.values():
            watcher.lost(process)
        self.ledger.process_ended((process.label, process.run))

    def end_clone(self, host: Host) -> None:
        """Stop a clone and throw its store away."""
        if host.label in self.hosts and not host.retired:
            host.retired = True
            self.crash(host, len(host.disk.staged))
            self.destroyed()

    def set_clock(self, host: Host, offset_ms: int) -> None:
        """A host's clock is off by this much from now on."""
        host.clock_ms = offset_ms
        happened.clock_set(self, offset_ms)
        self.max_clock_ms = max(self.max_clock_ms, offset_ms)
        if host.process is not None:
            self.watch.clock_stepped(host.process)
            host.process.feed(lambda replica, now: replica.wake(now))

    def set_sync(self, host: Host, sync_ms: int) -> None:
        """A disk is as fast as before."""
        host.sync_ms = sync_ms

    def destroyed(self) -> None:
        """Durable state was destroyed somewhere: which writes may be lost now?"""
        disks = [h.disk for h in self.hosts.values() if not h.retired]
        holders: dict[Dot, set[tuple[str, int]]] = {}
        for process in self.processes():
            for _, version in process.replica.tree.versions():
                holders.setdefault(version.dot, set()).add((process.label, process.run))
        self.ledger.destroyed(disks, holders, self.wall(latest=True))
