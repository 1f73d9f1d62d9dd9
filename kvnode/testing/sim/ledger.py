"""What really happened: every accepted write with what it superseded where it was made, independent of the core.

The ledger knows causality from the outside: at each write it notes the dots that the writing node showed at the path.
From that it can tell, at the end of a run, for each write whether it is current, superseded by something that still
counts, or lost; and whether a loss is excused because every durable copy was destroyed by a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kvnode.core.ticks import Dot, Incarnation, Ticks, durable_twin, is_volatile, volatile_twin

from .disk import Disk


@dataclass(slots=True)
class Write:
    """One accepted write, made `at` a virtual time. `past` is everything that it supersedes, at any remove; `expires`
    is in wall-clock milliseconds; `levels` are the ack levels it reached; `durable` tells whether any disk ever had it;
    `aware` are the other writes of its path that were known where it was made, and so come before it.
    """

    dot: Dot
    key: bytes
    host: str
    run: int
    past: frozenset[Dot]
    deletes: bool
    at: int
    expires: int | None = None
    levels: set[str] = field(default_factory=set)
    durable: bool = False
    excused: bool = False
    aware: frozenset[Dot] = frozenset()
    successors: list[Dot] = field(default_factory=list)

    @property
    def volatile(self) -> bool:
        """Whether it was never meant to be stored (R7)."""
        return is_volatile(self.dot.inc)

    def deletes_at(self, wall: int) -> bool:
        """Whether it ends its path: a delete, or expired by then (wall clock, milliseconds)."""
        return self.deletes or (self.expires is not None and self.expires <= wall)


class Ledger:
    """All writes of a run."""

    def __init__(self) -> None:
        self.writes: dict[Dot, Write] = {}
        self.by_key: dict[bytes, list[Dot]] = {}
        self._blurred: dict[Incarnation, int] = {}
        """By incarnation: above this tick a dot may name two changes."""
        self.at_risk: dict[Dot, set[tuple[str, int]]] = {}
        """Writes whose durable copies were all destroyed, with the processes that still hold them in memory."""

    def blur(self, counters: Mapping[Incarnation, int]) -> None:
        """A running process was set back to where it had given out these ticks: only that can break law 6."""
        for inc in {twin for one in counters for twin in (one, durable_twin(one), volatile_twin(durable_twin(one)))}:
            tick = counters.get(inc, 0)
            self._blurred[inc] = min(tick, self._blurred.get(inc, tick))

    def is_blurred(self, dot: Dot) -> bool:
        """Whether this dot may name two changes, or was superseded by one that may."""
        if not self._blurred:
            return False
        write = self.writes.get(dot)
        return any(d.tick > self._blurred.get(d.inc, d.tick) for d in (dot, *(write.successors if write else ())))

    def record(self, write: Write, over: Iterable[Dot]) -> None:
        """Take note of a write that superseded `over` where it was made."""
        past: set[Dot] = set()
        for dot in over:
            past.add(dot)
            if dot in self.writes:
                past |= self.writes[dot].past
        # One incarnation's writes at a path follow one another, whatever was forgotten in between.
        earlier = (d for d in self.by_key.get(write.key, ()) if d.inc == write.dot.inc and d.tick < write.dot.tick)
        for dot in earlier:
            past |= {dot} | self.writes[dot].past
        for dot in sorted(past):
            if dot in self.writes:
                self.writes[dot].successors.append(write.dot)
        if write.dot in self.writes:
            return  # blurred: the first one stands for both
        write.past = frozenset(past)
        self.writes[write.dot] = write
        self.by_key.setdefault(write.key, []).append(write.dot)

    def past_of(self, dots: Iterable[Dot]) -> set[Dot]:
        """Everything that these dots supersede."""
        out: set[Dot] = set()
        for dot in dots:
            if dot in self.writes:
                out |= self.writes[dot].past
        return out

    # -- destroyed copies ------------------------------------------------------------------------------------

    def carried(self, write: Write, disk: Disk, wall: int) -> bool:
        """Whether a disk has this write, or something that superseded it, or knows a delete that did."""
        dots = disk.dots.get(write.key, frozenset())
        if write.dot in dots or any(d in dots for d in write.successors):
            return True
        ends = (self.writes[d] for d in (write.dot, *write.successors))
        return any(w.deletes_at(wall) and disk.knows(w.dot) for w in ends)

    def destroyed(self, disks: list[Disk], holders: dict[Dot, set[tuple[str, int]]], wall: int) -> None:
        """Some durable state was destroyed; `disks` is what is left, `holders` tells which processes hold what."""
        for write in self.writes.values():
            if not write.durable or write.excused or write.volatile:
                continue
            if any(self.carried(write, disk, wall) for disk in disks):
                continue
            left: set[tuple[str, int]] = set()
            for dot in (write.dot, *write.successors):
                left |= holders.get(dot, set())
            if left:
                self.at_risk[write.dot] = left
            else:
                write.excused = True

    def process_ended(self, process: tuple[str, int]) -> None:
        """A process is gone with all that only its memory held."""
        for dot in list(self.at_risk):
            self.at_risk[dot].discard(process)
            if not self.at_risk[dot]:
                del self.at_risk[dot]
                self.writes[dot].excused = True

    def process_synced(self, process: tuple[str, int]) -> None:
        """What this process holds is durable again."""
        for dot in [d for d, left in self.at_risk.items() if process in left]:
            del self.at_risk[dot]

    # -- the verdict -----------------------------------------------------------------------------------------

    def accounted(
        self,
        live: dict[bytes, frozenset[Dot]],
        known: dict[Incarnation, Ticks] | None,
        wall: int,
        *,
        forgetful: bool = False,
    ) -> set[Dot]:
        """The writes that still count: live at the end, an effective delete, or superseded by one that counts. A delete
        is effective if it is known, or (with no `known`, after somebody's doubts) if nothing it superseded is shown;
        if all may be `forgetful` of what it superseded, that may be shown, too.
        """
        out: set[Dot] = set()
        for key, dots in self.by_key.items():
            shown = live.get(key, frozenset())
            for dot in reversed(dots):
                write = self.writes[dot]
                ended = write.deletes_at(wall) and (write.durable or write.volatile)
                ended = ended and (has(known, dot) if known is not None else forgetful or not write.past & shown)
                if dot in shown or ended or any(s in out for s in write.successors):
                    out.add(dot)
        return out

    def user_writes(self) -> Iterator[Write]:
        """Writes at paths outside the system's own tree."""
        return (w for w in self.writes.values() if not w.key.startswith(b"\x02@\x00"))


def has(known: Mapping[Incarnation, Ticks], dot: Dot) -> bool:
    """Whether a dot is among known ticks."""
    ticks = known.get(dot.inc)
    return ticks is not None and dot.tick in ticks
