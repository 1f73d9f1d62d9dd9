"""A simulated host: its disk, its clock, and the process (a real replica) that runs on it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from kvnode.core.effects import Acked, Close, Deliver, Effect, LinkId, Notify, Now, Persist, Report, Send
from kvnode.core.messages import End, Event, Message, PathTell, Versions
from kvnode.core.path import pattern
from kvnode.core.replica import Replica

from .disk import Disk, Image
from .laws import check_known
from .net import Connection
from .releases import Dialect

if TYPE_CHECKING:
    from .world import World

WALL_0: Final = 1_700_000_000_000
_RETRY_MS: Final = 200
"""A store that failed is tried again after this time."""
_REFUSED: Final = {"full": "commit refused by a full disk", "readonly": "commit refused by a read-only disk"}
_BUSY: Final = 2_000
"""So many wake-ups of one process in one millisecond are a loop that never ends."""


@dataclass(slots=True)
class Host:
    """A machine. `label` is unique; `name` is the node's, which a clone shares."""

    label: str
    name: str
    disk: Disk
    clock_ms: int
    sync_ms: int
    view: tuple[str, ...] | None = None
    announces: bool = False
    process: Process | None = None
    runs: int = 0
    backup: Image | None = None
    up_at: int = 0
    retired: bool = False
    """Gone for good: not started again when the world heals."""
    disk_held: bool = False
    """Nothing is synced for now (scenarios)."""
    failing: str = ""
    """Why the store takes nothing for now: ``full``, ``io`` or ``readonly``."""
    reading_ms: int = 0
    """How long it takes to read one message."""
    aged_ms: int = 0
    """How many years had passed when its process ended, in milliseconds."""
    moves: int = 0
    """How often it got a new address."""
    release: int = 0
    """Which release of the program it runs, see releases.py."""
    snapshot: Snapshot | None = None


@dataclass(slots=True)
class Snapshot:
    """A running virtual machine: the memory of its process, and its disk. The process goes on with its clock for
    intervals, and with its numbers for links.
    """

    replica: Replica
    disk: Disk
    mono_0: int
    links: int


@dataclass(slots=True)
class _Inbox:
    """Inputs that wait for the end of a pause, in order."""

    until: int = 0
    waiting: list[Callable[[], None]] = field(default_factory=list)


class Process:
    """One run of a node's program: it feeds the replica and carries out its effects. It is loaded from the disk, or
    goes on from a snapshot.
    """

    def __init__(self, world: World, host: Host, snapshot: Snapshot | None = None) -> None:
        host.runs += 1
        self.world: Final = world
        self.host: Final = host
        self.label: Final = host.label
        self.run: Final = host.runs
        self.alive = True
        self.links: dict[LinkId, tuple[Connection, int]] = {}
        self._link_count = snapshot.links if snapshot is not None else 0
        self._inbox = _Inbox()
        self._wake_at: int | None = None
        self._busy = (0, 0)
        self._syncing = False
        rng = Random(f"kvnode process {world.plan.seed} {host.label} {host.runs}")
        self.rng: Final = rng
        self._mono_0: Final = snapshot.mono_0 if snapshot is not None else rng.randrange(1_000_000)
        self._dialects: dict[LinkId, Dialect] = {}
        self.replica: Final = snapshot.replica if snapshot is not None else self._load()
        world.watch.started(self)
        if snapshot is not None:
            self._go_on()
        elif host.announces:
            self.replica.set_addresses((f"{host.label}:{27590 + host.moves}",), self.now())
        self._carry_out()

    def _load(self) -> Replica:
        host = self.host
        return Replica(
            host.name,
            session=self.rng.getrandbits(64),
            random_bits=self.rng.getrandbits,
            limits=self.world.limits,
            loaded=host.disk.load(),
            view=tuple(pattern(p) for p in host.view) if host.view else None,
            now=self.now(),
        )

    def _go_on(self) -> None:
        """A snapshot runs again: its connections are gone, its disk has still to sync."""
        for link in list(self.replica.links):
            self.replica.unlinked(link, self.now())
        self._sync_later()

    def snapshot(self) -> Snapshot:
        """The machine as it is now."""
        return Snapshot(deepcopy(self.replica), self.host.disk.copy(), self._mono_0, self._link_count)

    def now(self) -> Now:
        """The host's clocks."""
        return Now(self.world.now + self._mono_0, self.world.wall() + self.host.clock_ms)

    # -- inputs ----------------------------------------------------------------------------------------------

    def feed(self, call: Callable[[Replica, Now], object]) -> None:
        """Give the replica one input, then carry out its effects; waits while the process is paused."""
        if not self.alive:
            return
        if self._inbox.waiting or self._inbox.until > self.world.now:
            self._inbox.waiting.append(lambda: self._feed(call))
            return
        self._feed(call)

    def _feed(self, call: Callable[[Replica, Now], object]) -> None:
        if self.alive:
            call(self.replica, self.now())
            self._carry_out()

    def pause(self, duration: int) -> None:
        """Stand still, as SIGSTOP would do it."""
        until = self.world.now + duration
        if until > self._inbox.until:
            self._inbox.until = until
            self.world.frozen_until = max(self.world.frozen_until, until)
            self.world.at(until, self._resume)

    def _resume(self) -> None:
        if self._inbox.until > self.world.now:
            return
        waiting, self._inbox.waiting = self._inbox.waiting, []
        for call in waiting:
            call()

    def end(self, *, silently: bool = False) -> None:
        """The process is gone; its peers hear of it after a while, or never."""
        self.alive = False
        for conn, side in list(self.links.values()):
            if silently and not conn.breaking:
                conn.abandon(side)
            else:
                conn.open[side] = False
                conn.cut()
        self.links.clear()

    # -- links -----------------------------------------------------------------------------------------------

    def new_link(self, conn: Connection, side: int) -> LinkId:
        """Number a connection."""
        self._link_count += 1
        self.links[self._link_count] = (conn, side)
        return self._link_count

    def linked(self, link: LinkId, dialled: bool) -> None:
        """A connection is up."""
        self.feed(lambda replica, now: replica.linked(link, now, dialled=dialled))

    def unlinked(self, link: LinkId) -> None:
        """A connection is gone; one who is paused hears of it behind everything that came before."""

        def take(replica: Replica, now: Now) -> None:
            if self.links.pop(link, None):
                replica.unlinked(link, now)

        self.feed(take)

    def receive(self, link: LinkId, seq: int, data: bytes | Message) -> None:
        """A message arrived."""

        def take(replica: Replica, now: Now) -> None:
            if link in self.links:
                message = self.world.decode(seq, data)
                self.world.log("got", self.label, link, seq, type(message).__name__)
                replica.receive(link, seq, message, now)
                if isinstance(message, (End, PathTell)):
                    check_known(self.world, self)

        self.feed(take)

    def drained(self, link: LinkId) -> None:
        """All that was sent on a link has left."""
        self.feed(lambda replica, now: replica.writable(link, now))

    # -- effects ---------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        for effect in self.replica.take_effects():
            self._do(effect)
            if not self.alive:
                return
        self.world.watch.after_input(self)
        self._plan_wake()

    def _do(self, effect: Effect) -> None:
        match effect:
            case Persist():
                self._persist(effect)
            case Send():
                self._send(effect)
            case Close():
                self._close(effect)
            case Notify():
                self.world.watch.notified(self, effect)
            case Deliver():
                self.world.watch.delivered(self, effect)
            case Report():
                self.world.watch.reported(self, effect)
            case Acked():
                pass

    def _send(self, effect: Send) -> None:
        self.world.watch.sent(self, effect)
        if effect.link in self.links:
            conn, side = self.links[effect.link]
            self.world.about_to_send(conn, side, effect.message)
            heavy = isinstance(effect.message, (Versions, Event))
            for seq, data in self._spoken(effect):
                conn.send(side, seq, data, heavy=heavy)

    def _spoken(self, effect: Send) -> list[tuple[int, bytes | Message]]:
        """What goes over the wire: bytes, in the words of this release, unless the plan leaves the codec out."""
        if not self.world.plan.codec:
            return [(effect.seq, effect.message)]
        dialect = self._dialects.setdefault(effect.link, Dialect(self.host.release))
        spoken = dialect.say(effect.seq, effect.message)
        for _, data in spoken:
            self.world.saw(data)
            self.world.watch.bounded(type(effect.message).__name__, len(data))
        return [*spoken]

    def _close(self, effect: Close) -> None:
        self.world.log("close", self.label, effect.link, effect.why)
        if effect.link in self.links:
            conn, side = self.links[effect.link]
            self.world.after(0, conn.close, side)

    def _persist(self, effect: Persist) -> None:
        self.world.log("stage", self.label, effect.token, len(effect.rows), len(effect.known))
        self.world.watch.staged(self, effect)
        self.host.disk.stage(effect)
        self._sync_later()

    def _sync_later(self) -> None:
        if not self._syncing and not self.host.disk_held:
            self._syncing = True
            self.world.after(self.rng.randint(0, self.host.sync_ms), self._sync)

    def release_disk(self) -> None:
        """The disk syncs again."""
        self.world.after(0, self._sync)

    def _sync(self) -> None:
        if not self.alive or self.host.disk_held:
            return
        disk = self.host.disk
        if self.host.failing:
            self._fail(disk)
            self.world.after(_RETRY_MS, self._sync)
            return
        if self._inbox.until > self.world.now:
            self.world.at(self._inbox.until, self._sync)
            return
        self._syncing = False
        count = len(disk.staged)
        token = disk.sync(count)
        if token is None:
            return
        self.world.log("sync", self.label, token)
        self.world.watch.on_disk(self.host)
        self.feed(lambda replica, now: replica.persisted(token, now))

    def _fail(self, disk: Disk) -> None:
        """The disk takes nothing, or says so though some of it stands."""
        happened, staged = self.world.happened, len(disk.staged)
        if self.host.failing == "io":
            reached = self.rng.randint(0, staged)
            disk.reach(reached)
            happened["commit failed at a sync"] += staged > 0
            happened["commit failed at a sync and stood"] += reached > 0
        else:
            happened[_REFUSED[self.host.failing]] += staged > 0

    # -- waking ----------------------------------------------------------------------------------------------

    def _plan_wake(self) -> None:
        at = max(self.replica.next_deadline - self._mono_0, self.world.now)
        if self._wake_at is None or at < self._wake_at or self._wake_at < self.world.now:
            self._wake_at = at
            self.world.at(at, self._wake, at)

    def _wake(self, at: int) -> None:
        if not self.alive or self._wake_at != at:
            return
        self._wake_at = None
        self._busy = (self.world.now, self._busy[1] + 1 if self._busy[0] == self.world.now else 0)
        if self._busy[1] > _BUSY:
            self.world.broken("bounds", f"{self.label} wakes for ever without time passing")
            self.alive = False
            return
        if self.replica.next_deadline - self._mono_0 > self.world.now:
            self._plan_wake()
            return
        self.feed(lambda replica, now: replica.wake(now))
