"""What the simulator watches while a run goes on: notifications, transactions, messages, acknowledgements, events.

Each check is a law seen from one place: a path never goes back at one process, no dot names two bodies, an
acknowledgement is true when it is given, messages are bounded, events come once and in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from kvnode.core.effects import Deliver, Notify, Persist, Report, Send
from kvnode.core.entry import Siblings, Version, decode_record
from kvnode.core.messages import PathTell, Versions
from kvnode.core.path import Path
from kvnode.core.policy import live, read
from kvnode.core.ticks import Dot
from kvnode.node.acks import missing, parse_ack

from .ledger import Ledger, Write, has

if TYPE_CHECKING:
    from .host import Host, Process
    from .world import World

_SLACK_BYTES: Final = 4096
SYSTEM_KEY: Final = b"\x02@\x00"


@dataclass(slots=True)
class Pending:
    """A write that waits for its ack level."""

    dot: Dot
    level: str


@dataclass(slots=True)
class _View:
    """What a watcher at one process has been told. `shown` has per path all dots, `past` those that must not come
    (back).
    """

    mirror: dict[bytes, frozenset[Dot]] = field(default_factory=dict)
    reads: dict[bytes, Dot | None] = field(default_factory=dict)
    shown: dict[bytes, set[Dot]] = field(default_factory=dict)
    past: dict[bytes, set[Dot]] = field(default_factory=dict)
    pending: list[Pending] = field(default_factory=list)
    events: dict[tuple[str, int], int] = field(default_factory=dict)
    clock_stepped: bool = False
    clones: set[str] = field(default_factory=set)
    """The names of which this process sees two processes."""


class Watch:
    """The observer of one run."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self._world: Final = world
        self._ledger: Final = ledger
        self._views: dict[tuple[str, int], _View] = {}
        self._bodies: dict[Dot, bytes] = {}
        self.reports: list[tuple[str, Report]] = []
        self.sent_kinds: dict[str, int] = {}
        self.persists = 0

    def view(self, process: Process) -> _View:
        """The watcher of a process."""
        return self._views[process.label, process.run]

    def started(self, process: Process) -> None:
        """A process opened its store: the watcher takes its snapshot."""
        view = self._views[process.label, process.run] = _View()
        for key, siblings in process.replica.tree.scan():
            self._show(process, view, key, siblings)
            view.shown[key] = {v.dot for v in siblings}
            view.past[key] = self._ledger.past_of(view.shown[key]) - view.shown[key]
            for version in siblings:
                self._body(version)

    # -- effects ---------------------------------------------------------------------------------------------

    def notified(self, process: Process, effect: Notify) -> None:
        """A path changed at a process."""
        self._world.log("note", process.label, str(Path.from_key(effect.key)), *(str(v.dot) for v in effect.siblings))
        view = self.view(process)
        past = view.past.setdefault(effect.key, set())
        here = {v.dot for v in effect.siblings}
        shown = view.shown.get(effect.key, set())
        for dot in (d for d in sorted((here - shown) & past) if not self._may_go_back(process, d)):
            self._world.broken("goes-back", f"{process.label} shows {dot} (again) at {effect.key!r}")
        for dot in sorted(here & self._ledger.past_of(here)):
            if self._world.sound(process, dot):
                self._world.broken("false-sibling", f"{process.label} shows {dot} beside what superseded it")
        past |= self._ledger.past_of(here) | (shown - here)
        view.shown[effect.key] = here
        for watcher in self._world.watchers.values():
            watcher.notified(process, effect)
        self._show(process, view, effect.key, effect.siblings)

    def _may_go_back(self, process: Process, dot: Dot) -> bool:
        """Whether a node may show for a moment what it had seen superseded (at rest it may not): what was copied, or
        is excused altogether; a whole replica for which nobody waits yet before a vector is stripped, until it has
        compared (R5); a partial one that hears from another, which may be its only way, until it has asked somebody
        else (R8).
        """
        world, label = self._world, process.host.label
        if world.may_forget_supersession or self._ledger.is_blurred(dot):
            return True
        if process.host.view is None:
            return not world.waited_for(process, dot)
        return any(world.edge(label, h.label) for h in world.hosts.values() if h.view is not None)

    def _show(self, process: Process, view: _View, key: bytes, siblings: Siblings) -> None:
        view.mirror[key] = live_dots(siblings, process.now().wall)
        view.reads[key] = winner(process, key, siblings)

    def clock_stepped(self, process: Process) -> None:
        """The host's clock was set: what had expired may be back; nobody is told of that."""
        view = self.view(process)
        view.clock_stepped = True
        for key, siblings in process.replica.tree.scan():
            if any(v.expiry is not None for v in siblings):
                self._show(process, view, key, siblings)

    def staged(self, process: Process, effect: Persist) -> None:
        """A transaction goes to the disk."""
        self.persists += 1
        for record in effect.rows.values():
            for version in decode_record(record) if record is not None else ():
                self._body(version)

    def on_disk(self, host: Host) -> None:
        """More is on this disk; if its process runs, all that it holds."""
        for dot in host.disk.take_fresh():
            if dot in self._ledger.writes:
                self._ledger.writes[dot].durable = True
        if host.process is not None:
            self._ledger.process_synced((host.label, host.runs))

    def sent(self, process: Process, effect: Send) -> None:
        """A message leaves."""
        kind = type(effect.message).__name__
        self.sent_kinds[kind] = self.sent_kinds.get(kind, 0) + 1
        self._world.log("send", process.label, effect.link, effect.seq, kind)
        versions: tuple[Version, ...] = ()
        if isinstance(effect.message, Versions):
            versions = effect.message.versions
        elif isinstance(effect.message, PathTell):
            versions = tuple(v for _, siblings, _ in effect.message.paths for v in siblings)
        for version in versions:
            self._body(version)

    def bounded(self, kind: str, size: int) -> None:
        """Law 7: a message has a bound."""
        limits = self._world.limits
        if kind == "Versions" and size > limits.chunk_bytes + limits.window_bytes + _SLACK_BYTES:
            self._world.broken("bounds", f"a {kind} message of {size} bytes")

    def delivered(self, process: Process, effect: Deliver) -> None:
        """An event arrived: once, and in order per sender."""
        event = effect.event
        self._world.log("event", process.label, event.name, event.session, event.seq)
        last = self.view(process).events
        if event.seq <= last.get((event.name, event.session), 0):
            self._world.broken("events", f"{process.label} got event {event.seq} of {event.name} twice or late")
        last[event.name, event.session] = event.seq

    def reported(self, process: Process, effect: Report) -> None:
        """Something people must see."""
        self._world.log("report", process.label, effect.kind, effect.subject, effect.resolved)
        self.reports.append((process.label, effect))
        if effect.kind == "duplicate_session":
            (set.discard if effect.resolved else set.add)(self.view(process).clones, effect.subject)
        if effect.kind == "quarantine":
            for dot in self._ledger.writes:
                if str(dot) == effect.subject and self._world.sound(process, dot):
                    self._world.broken(
                        "quarantine", f"{process.label} set {dot} aside, though no store was ever harmed"
                    )

    def _body(self, version: Version) -> None:
        """Law 6: no dot names two changes."""
        digest = blake2b(version.body + version.sig, digest_size=16).digest()
        if self._bodies.setdefault(version.dot, digest) != digest and not self._ledger.is_blurred(version.dot):
            self._world.broken("two-bodies", f"{version.dot} names two changes")

    # -- acknowledgements ------------------------------------------------------------------------------------

    def wrote(self, process: Process, write: Write, level: str) -> None:
        """A client waits for this level."""
        known = process.replica.known.map
        write.aware = frozenset(d for d in self._ledger.by_key.get(write.key, ()) if has(known, d)) - {write.dot}
        if level == "memory":
            write.levels.add(level)
        else:
            self.view(process).pending.append(Pending(write.dot, level))

    def store_failed(self, process: Process) -> None:
        """Clients that wait for this node's disk are told that it fails; their writes stand."""
        view = self.view(process)
        view.pending = [p for p in view.pending if not parse_ack(p.level).needs_disk]

    def after_input(self, process: Process) -> None:
        """Has some waiting write reached its level? And is there something to send to watching clients?"""
        for watcher in self._world.watchers.values():
            watcher.pump(process)
        view = self.view(process)
        done = [p for p in view.pending if self._reached(process, p)]
        if not done:
            return
        view.pending = [p for p in view.pending if p not in done]
        for pending in done:
            self._world.log("ack", process.label, str(pending.dot), pending.level)
            write = self._ledger.writes[pending.dot]
            write.levels.add(pending.level)
            if not (write.volatile or self._ledger.is_blurred(write.dot)):
                self._check_ack(process, write, pending.level)

    def _reached(self, process: Process, pending: Pending) -> bool:
        return missing(parse_ack(pending.level), pending.dot, process.replica) is None

    def _check_ack(self, process: Process, write: Write, level: str) -> None:
        """The promise must be true on the disks, unless a store was set back behind the core's back."""
        wall = self._world.wall(latest=True)
        disk = process.host.disk
        needed = parse_ack(level).needs_disk and not (disk.rewound or disk.damaged)
        # What a partial replica lost by a verdict was deleted, and that may have been forgotten everywhere (R8).
        taken = process.host.view is not None and disk.knows(write.dot)
        if needed and not (taken or self._ledger.carried(write, process.host.disk, wall)):
            self._world.broken("ack", f"{process.label} acknowledged {write.dot} ({level}), its disk does not have it")
        if level == "disk":
            return
        for name in sorted(process.replica.ackers(write.dot)):
            self._check_acker(process, write, name, wall)

    def _check_acker(self, process: Process, write: Write, name: str, wall: int) -> None:
        """Who is counted has it on its disk. A name with two processes, once that is seen, only if both have: either
        store may be the one that is thrown away (R3).
        """
        disks = [h.disk for h in self._world.hosts.values() if h.name == name]
        twice = name in self.view(process).clones
        # A store that was set back, harmed, or is in doubt had it when it said so.
        if any(d.rewound or d.damaged or d.doubts for d in disks) or (name in self._world.cloned and not twice):
            return
        have = [self._ledger.carried(write, d, wall) for d in disks]
        if not (all(have) if twice else any(have)):
            whose = "one of its two disks" if twice else "its disk"
            self._world.broken("ack", f"{process.label} counts {name} as having {write.dot}, {whose} does not have it")

    # -- at the end ------------------------------------------------------------------------------------------

    def check_mirror(self, process: Process) -> None:
        """Law 5: a watcher who applied every change since its snapshot shows what the tree shows."""
        view, wall = self.view(process), process.now().wall
        tree = {key: live_dots(s, wall) for key, s in process.replica.tree.scan()}
        for key in sorted(tree.keys() | view.mirror.keys()):
            if view.clock_stepped and any(v.expiry is not None for v in process.replica.tree.get(key)):
                continue
            if tree.get(key, frozenset()) != view.mirror.get(key, frozenset()):
                self._world.broken("watch", f"a watcher at {process.label} was not told the end of {key!r}")
            elif winner(process, key, process.replica.tree.get(key)) != view.reads.get(key):
                self._world.broken("watch", f"a watcher at {process.label} reads {key!r} otherwise than the node")


def live_dots(siblings: Siblings, wall: int) -> frozenset[Dot]:
    """The dots that show a value."""
    return frozenset(v.dot for v in live(siblings, wall))


def winner(process: Process, key: bytes, siblings: Siblings) -> Dot | None:
    """What reading gives, as the winner's dot."""
    if not siblings:
        return None
    policy = process.replica.policy_of(siblings[0].details.path)
    reading = read(siblings, policy, process.now().wall, lambda value: value)
    return reading.winner.dot if reading else None
