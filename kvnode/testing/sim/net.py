"""The simulated network: edges that may be up, connections over them, and pipes that delay, lose and repeat.

A connection behaves like TCP by default: reliable and in order until it breaks, and each end hears of the break at
its own time, or late (a half-open link). With noise a pipe also loses, repeats and reorders messages; then the core's
numbers must notice. A lost message breaks the connection after a time-out, as keep-alive would.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from kvnode.core.messages import Message

from .releases import TOO_NEW

if TYPE_CHECKING:
    from .host import Process
    from .world import World

TIMEOUT_MS: Final = 4_000
"""A connection on which nothing comes through is given up after this time."""
HALF: Final = 50
_LATE_MS: Final = 2_000
HALF_OPEN_MS: Final = 15_000
"""The end of a peer that vanished without a word is noticed after this time."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Chances in percent that a message is lost, repeated, or overtakes others."""

    loss: int = 0
    repeat: int = 0
    reorder: int = 0


QUIET: Final = Noise()


@dataclass(slots=True)
class Edge:
    """A pair of hosts that may talk. `blocked` counts the faults that block each direction (a to b, b to a)."""

    a: str
    b: str
    rng: Random
    base_ms: int
    blocked: list[int] = field(default_factory=lambda: [0, 0])
    extra_ms: list[int] = field(default_factory=lambda: [0, 0])
    down: int = 0
    conns: list[Connection] = field(default_factory=list)
    dial_at: int = -1

    def side(self, host: str) -> int:
        """0 for messages sent by `a`, 1 for those sent by `b`."""
        return 0 if host == self.a else 1

    @property
    def is_open(self) -> bool:
        """Whether a connection can be made now."""
        return not (self.down or self.blocked[0] or self.blocked[1])


@dataclass(slots=True)
class Wire:
    """One message under way."""

    seq: int
    data: bytes | Message
    due: int


class Pipe:
    """One direction of a connection."""

    __slots__ = ("flying", "heavy", "held", "highest", "last_due", "queue")

    def __init__(self) -> None:
        self.last_due = 0
        self.highest = -1
        """The highest number that arrived."""
        self.flying = 0
        """Messages sent and not yet arrived or lost."""
        self.heavy = False
        """Whether the sender waits to hear that its queue drained."""
        self.queue: deque[Wire] = deque()
        """Messages that cannot travel now: the direction is blocked, or the scenario holds them."""
        self.held = False


class Connection:
    """A link between two processes. `ends` are the processes, `ids` their own numbers for it."""

    def __init__(self, world: World, edge: Edge, ends: tuple[Process, Process], number: int) -> None:
        self.world: Final = world
        self.edge: Final = edge
        self.ends: Final = ends
        self.number: Final = number
        self.ids = (ends[0].new_link(self, 0), ends[1].new_link(self, 1))
        self.pipes: Final = (Pipe(), Pipe())
        self.open = [True, True]
        self.breaking = False
        self.rng: Final = Random(f"kvnode conn {world.plan.seed} {edge.a} {edge.b} {number}")

    def __str__(self) -> str:
        return f"{self.ends[0].label}-{self.ends[1].label}#{self.number}"

    def start(self, dialler: int) -> None:
        """Tell both ends, the one that accepted first or last."""
        order = (dialler, 1 - dialler) if self.rng.random() < 0.5 else (1 - dialler, dialler)
        releases = {end.host.release for end in self.ends}
        if self.world.plan.codec and len(releases) > 1:
            refused = TOO_NEW in releases
            self.world.happened["link refused by a newer release" if refused else "releases mixed on a link"] += 1
        for side in order:
            if self.open[side]:
                self.ends[side].linked(self.ids[side], dialled=side == dialler)

    # -- messages --------------------------------------------------------------------------------------------

    def send(self, side: int, seq: int, data: bytes | Message, *, heavy: bool) -> None:
        """A message from one end; it may come late, twice, or never. Of a heavy one the sender hears when it has
        drained.
        """
        pipe, noise = self.pipes[side], self.world.noise
        pipe.flying += 1
        pipe.heavy = pipe.heavy or heavy
        wire = Wire(seq, data, self._due(side, noise))
        if noise is not QUIET and self.rng.randrange(100) < noise.loss:
            self.world.log("lost", str(self), side, seq)
            self.world.happened["message lost"] += 1
            self.world.happened["message lost where half are"] += noise.loss == HALF
            self.world.after(TIMEOUT_MS, self.cut)
            self._landed(side)
            return
        if pipe.held or self.edge.blocked[side]:
            where = "both directions" if self.edge.blocked[1 - side] else "one direction"
            self.world.happened[f"message blocked in {where}"] += 1
            if not pipe.queue and not pipe.held:
                self.world.after(TIMEOUT_MS, self._give_up, side)
            pipe.queue.append(wire)
            return
        self._launch(side, wire)
        if noise is not QUIET and self.rng.randrange(100) < noise.repeat:
            pipe.flying += 1
            self.world.happened["message repeated"] += 1
            self._launch(side, Wire(seq, data, wire.due + self.rng.randint(0, 50)))

    def _due(self, side: int, noise: Noise) -> int:
        pipe = self.pipes[side]
        delay = self.world.latency(self.edge, self.rng) + self.edge.extra_ms[side]
        reading = self.ends[1 - side].host.reading_ms
        if noise is not QUIET and self.rng.randrange(100) < noise.reorder:
            return self.world.now + delay + self.rng.randint(0, 40)
        pipe.last_due = max(pipe.last_due + reading, self.world.now + delay)
        self.world.happened["message read slowly"] += reading > 0
        self.world.happened["message late by seconds"] += self.edge.extra_ms[side] >= _LATE_MS
        return pipe.last_due

    def _launch(self, side: int, wire: Wire) -> None:
        self.world.at(wire.due, self._arrive, side, wire)

    def _arrive(self, side: int, wire: Wire) -> None:
        pipe = self.pipes[side]
        if pipe.held or self.edge.blocked[side] or pipe.queue:
            pipe.queue.append(wire)
            return
        if self.open[1 - side]:
            self._landed(side)
            self.world.happened["message overtaken"] += wire.seq < pipe.highest
            pipe.highest = max(pipe.highest, wire.seq)
            self.ends[1 - side].receive(self.ids[1 - side], wire.seq, wire.data)

    def _landed(self, side: int) -> None:
        pipe = self.pipes[side]
        pipe.flying -= 1
        if pipe.heavy and not pipe.flying and self.open[side]:
            pipe.heavy = False
            self.world.happened["sender waits for a slow reader"] += self.ends[1 - side].host.reading_ms > 0
            self.ends[side].drained(self.ids[side])

    def flush(self, side: int) -> None:
        """The direction is free again: what was kept back goes out, in order."""
        pipe = self.pipes[side]
        if pipe.held or self.edge.blocked[side]:
            return
        queue = list(pipe.queue)
        pipe.queue.clear()
        for wire in queue:
            wire.due = pipe.last_due = max(pipe.last_due, self.world.now)
            self._launch(side, wire)

    def _give_up(self, side: int) -> None:
        if self.edge.blocked[side] and self.pipes[side].queue:
            self.cut()

    def abandon(self, side: int) -> None:
        """One end vanishes and the other does not hear of it for long; what is under way still arrives there."""
        self.world.happened["half-open link"] += 1
        self.open[side] = False
        self.breaking = True
        self.edge.conns.remove(self)
        self.world.after(HALF_OPEN_MS, self.close, 1 - side)
        self.world.dial_later(self.edge)

    # -- breaking --------------------------------------------------------------------------------------------

    def cut(self, late: int | None = None) -> None:
        """The connection breaks. Each end hears of it soon, one of them after `late` milliseconds if that is given;
        what arrives before an end heard of it still counts.
        """
        if self.breaking:
            return
        self.breaking = True
        self.edge.conns.remove(self)
        self.world.log("cut", str(self))
        self.world.happened["half-open link"] += late is not None
        slow = self.rng.randrange(2)
        for side in (0, 1):
            delay = late if late is not None and side == slow else self.rng.choice((0, 1, 20, 100))
            self.world.after(delay, self.close, side)
        self.world.dial_later(self.edge)

    def close(self, side: int) -> None:
        """One end hears that the connection is gone (or closed it itself)."""
        if self.open[side]:
            self.open[side] = False
            self.ends[side].unlinked(self.ids[side])
        self.cut()
