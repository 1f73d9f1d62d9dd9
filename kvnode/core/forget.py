"""Stable versions, stripping, forgetting, void ticks (R1, R2, R3). No timer decides anything here: only durable
knowledge of every member does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from . import marks
from .acks import Acks
from .effects import Now
from .entry import Siblings, Version
from .state import State
from .ticks import Incarnation, Ticks, is_volatile, name_of, volatile_twin


class Forget:
    """Runs when acknowledgements came in; works off the paths that hold a vector or a tombstone, a batch at a time."""

    def __init__(self, state: State, acks: Acks) -> None:
        self._state: Final = state
        self._acks: Final = acks
        self._processes: Final = acks.processes
        self._floors: dict[Incarnation, Ticks] = {}
        self.due: int | None = None
        self._left = 0
        self.blocked: dict[bytes, None] = {}
        """Paths where a stable tombstone stands beside a value. Was that written by somebody who had forgotten the
        tombstone already, then it is no conflict, and those who had forgotten it can tell (R5).
        """
        self.newly_blocked: list[bytes] = []

    def soon(self, now: Now) -> None:
        """Something was acknowledged: look at everything once."""
        self._left = len(self._state.unsettled)
        if self.due is None:
            self.due = now.mono + self._state.limits.forget_delay_ms

    def wake(self, now: Now) -> list[Incarnation]:
        """Strip and forget what is stable, void what nobody can fill; gives the incarnations whose known grew."""
        if self.due is None or now.mono < self.due:
            return []
        self.due = None
        self._floors.clear()
        voided = self._void(now)
        unsettled = self._state.unsettled
        batch = list(islice(unsettled, min(self._left, self._state.limits.forget_batch)))
        for key in batch:
            del unsettled[key]
            if not self._settle(key, now):
                unsettled[key] = None  # to the end: the next batch is other paths
        self._left -= len(batch)
        if self._left > 0 and batch:
            self.due = now.mono + 1
        return voided

    def _floor(self, inc: Incarnation) -> Ticks:
        floor = self._floors.get(inc)
        if floor is None:
            floor = self._floors[inc] = self._acks.floor(inc)
        return floor

    def is_stable(self, version: Version) -> bool:
        """R1: every member holds durably the dot, and for each element n:t of the vector (the version's own dot is
        one) all ticks 1..t of n.
        """
        if not self._floor(version.inc).covers(1, version.tick):
            return False
        return all(self._floor(inc).covers(1, tick) for inc, tick in version.vector.items())

    def _settle(self, key: bytes, now: Now) -> bool:
        """Strip and forget at one path; says whether nothing is left to do there."""
        state = self._state
        siblings = state.tree.get(key)
        if not siblings:
            self.blocked.pop(key, None)
            return True
        # An expiry is decided by each node's own clock: wait until it has passed on all of them.
        gone_by = now.wall - state.limits.max_skew_ms
        new: Siblings = tuple(v.stripped() if v.vector and self.is_stable(v) else v for v in siblings)
        new = self._forget(new, gone_by)
        self._note_blocked(key, new, gone_by)
        if [(v.dot, len(v.vector)) for v in new] != [(v.dot, len(v.vector)) for v in siblings]:
            marks.hit("forget" if len(new) < len(siblings) else "strip")
            state.put(key, new, notify=False)
            state.unsettled.pop(key, None)
        return not any(v.vector or v.is_tombstone or v.expiry is not None for v in new)

    def _forget(self, siblings: Siblings, gone_by: int) -> Siblings:
        """R2: a tombstone goes when it is stable and no value stands beside it; concurrent tombstones go together.
        Volatile versions never supersede durable ones (R7), so durable tombstones do not wait for those beside them.
        """
        durable = _durable(siblings)
        for group in (siblings, durable):
            if group and all(v.is_gone(gone_by) and self.is_stable(v) for v in group):
                return tuple(v for v in siblings if v not in group)
        return siblings

    def _note_blocked(self, key: bytes, siblings: Siblings, gone_by: int) -> None:
        gone = [v for v in siblings if v.is_gone(gone_by)]
        beside = 0 < len(gone) < len(siblings)
        if beside:
            marks.hit("forget-blocked-by-sibling")
        if not (beside and any(self.is_stable(v) for v in gone)):
            self.blocked.pop(key, None)
        elif key not in self.blocked:
            self.blocked[key] = None
            self.newly_blocked.append(key)

    # -- void ticks ------------------------------------------------------------------------------------------

    def _void(self, now: Now) -> list[Incarnation]:
        state = self._state
        if state.view is not None or state.doubted or self._processes.suspects:
            return []
        out = []
        for base in sorted(state.closed):
            if self._is_finished(base):
                state.finish(base)
                continue
            for inc in (base, volatile_twin(base)):
                ticks = state.known[inc]
                if ticks.is_whole or not self._agreed(base, inc) or not self._has_come_of_age(base, now):
                    continue
                marks.hit("void")
                state.learn(inc, Ticks.upto(ticks.highest))
                out.append(inc)
        return out

    def _has_come_of_age(self, base: Incarnation, now: Now) -> bool:
        """Whether who closed this run has lived for so long that the run's own process, did it live on, would have been
        heard beside it. Who is cut off altogether is not heard: what it wrote turns up in the quarantine (R3).
        """
        name = name_of(base)
        if name not in self._state.members:
            return True  # retired: it was others who closed it
        settled_at = self._processes.settled_at(name)
        if now.mono < settled_at:
            self.due = settled_at if self.due is None else min(self.due, settled_at)
        return now.mono >= settled_at

    def _agreed(self, base: Incarnation, inc: Incarnation) -> bool:
        """R3: every member has the closing mark, and the same known of the incarnation, both durably."""
        held = [self._processes.current(name) for name in self._acks.others()]
        marked = base in self._state.durable_marks and all(h is not None and base in h.marks for h in held)
        return marked and self._same_known(inc)

    def _same_known(self, inc: Incarnation) -> bool:
        state = self._state
        held = [self._processes.current(name) for name in self._acks.others()]
        same = state.durable[inc] == state.known[inc]
        return same and all(h is not None and h.known[inc] == state.known[inc] for h in held)

    def _is_finished(self, base: Incarnation) -> bool:
        """Whether all members hold the same of the incarnation, without holes: the mark has nothing left to guard."""
        pair = (base, volatile_twin(base))
        return all(self._state.known[inc].is_whole and self._same_known(inc) for inc in pair)

    # -- explaining ------------------------------------------------------------------------------------------

    def explain(self, key: bytes) -> list[str]:
        """Why the versions at `key` are not stripped or forgotten yet, a line each."""
        state = self._state
        self._floors.clear()
        out = []
        if self._processes.suspects:
            out.append(f"there may be two live processes of one name: {', '.join(sorted(self._processes.suspects))}")
        for version, inc, tick in self._needed(key):
            if not state.durable[inc].covers(1, tick):
                out.append(f"{version.dot}: this node lacks ticks of {inc} up to {tick}")
            for name in self._lacking(inc, tick):
                if self._processes.current(name) is None:
                    out.append(f"{version.dot}: nothing heard from {name} since this node started")
                else:
                    out.append(f"{version.dot}: {name} has not acknowledged {inc} up to {tick}")
        durable = _durable(state.tree.get(key))
        if any(v.is_tombstone for v in durable) and not all(v.is_tombstone for v in durable):
            out.append("concurrent versions stand beside each other: resolve the conflict")
        return out

    def waits_for(self, key: bytes) -> frozenset[str]:
        """The members that have yet to acknowledge something before what is at `key` can be stripped or forgotten."""
        return frozenset(name for _, inc, tick in self._needed(key) for name in self._lacking(inc, tick))

    def _needed(self, key: bytes) -> Iterator[tuple[Version, Incarnation, int]]:
        """What everybody must have, up to this tick, so that a version at `key` becomes stable (R1)."""
        for version in self._state.tree.get(key):
            if version.vector or version.is_tombstone or version.expiry is not None:
                for inc, tick in {**version.vector, version.inc: version.tick}.items():
                    yield version, inc, tick

    def _lacking(self, inc: Incarnation, tick: int) -> Iterator[str]:
        for name in self._acks.others():
            held = self._processes.current(name)
            if held is None or not held.known[inc].covers(1, tick):
                yield name


def _durable(siblings: Siblings) -> Siblings:
    return tuple(v for v in siblings if not is_volatile(v.inc))
