"""Leases: values that somebody has to renew, and who deletes them when nobody did.

A lease names the node that took the write. That node deletes the value when its time is over, `ttl_ms` after it took
the write, by a clock that only runs: it does not matter what the wall clock says, or whether somebody sets it.
Everybody else shows the value as stale from the version's stamp plus `ttl_ms` on, by their own wall clocks, and leaves
it alone: a node whose clock is a year ahead shows leases as stale too early, but ends none.

After a restart the holder has only the stamp to go by; it waits for what is left by its wall clock, never longer than
`ttl_ms`, and at least :data:`GRACE_MS`, so that a renewal that went to another node meanwhile gets here first. When the
holder is no member any more, the first node by name of those that reach one another does the same.

A delete is a compare-and-set on what stands at the path: it never takes away a renewal that is known here. One that is
not (the holder was cut off) comes as a sibling, and a value beats a delete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import anyio

from kvnode.core.appointments import Appointments
from kvnode.core.effects import Change, Notify, Now
from kvnode.core.entry import Siblings, Version
from kvnode.core.path import Path
from kvnode.core.policy import live
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot, durable_twin

from . import acks
from .driver import Driver
from .errors import NodeError

GRACE_MS: Final = 10_000
"""After a start, leases of earlier runs are left alone for so long."""
AGAIN_MS: Final = 30_000
"""What cannot be decided now is looked at again after this time: a conflict, a node that is behind, a holder that may
be retired.
"""
AUTHOR: Final = "lease"


class Due(NamedTuple):
    """What is to be done: values to delete, and keys whose readings have become stale, or fresh again."""

    deletes: list[Change]
    stale: list[bytes]


class Leases:
    """The leases that a replica holds, as a pure machine: tell it what changed, ask it what is due."""

    def __init__(self, replica: Replica, now: Now, *, grace_ms: int = GRACE_MS) -> None:
        self._replica: Final = replica
        self._ends: dict[bytes, dict[Dot, int]] = {}
        self._told: dict[bytes, frozenset[Dot]] = {}
        """Which versions were reported as stale."""
        self._appointments: Final = Appointments()
        for key in replica.tree.leased():
            self._note(key, replica.tree.get(key), now, grace_ms)

    def __len__(self) -> int:
        return len(self._ends)

    def concerns(self, key: bytes, siblings: Siblings) -> bool:
        """Whether a change of this path has to do with a lease. Most changes have not."""
        if len(siblings) == 1 and siblings[0].until is None:
            return key in self._ends
        return key in self._ends or any(v.until is not None for v in siblings)

    def changed(self, key: bytes, siblings: Siblings, now: Now) -> None:
        """The siblings of a path changed."""
        self._note(key, siblings, now, 0)

    @property
    def next_deadline(self) -> int | None:
        """When :meth:`due` has something to do, on the clock of `Now.mono`."""
        return self._appointments.next()

    def due(self, now: Now) -> Due:
        """What is to be done now."""
        out = Due([], [])
        while found := self._appointments.pop(now.mono):
            _, key = found
            siblings = self._replica.tree.get(key)
            if key not in self._ends:
                continue
            stale = frozenset(v.dot for v in siblings if v.is_stale(now.wall))
            if stale != self._told.get(key, frozenset()):
                self._told[key] = stale
                out.stale.append(key)
            if self._is_over(key, siblings, now):
                dots = frozenset(v.dot for v in siblings if not v.is_tombstone)
                out.deletes.append(Change(Path.from_key(key), None, AUTHOR, dots))
            self._expect(key, siblings, now)
        return out

    # -- parts -----------------------------------------------------------------------------------------------

    def _note(self, key: bytes, siblings: Siblings, now: Now, grace_ms: int) -> None:
        leased = [v for v in siblings if v.until is not None]
        if not leased:
            self._ends.pop(key, None)
            self._told.pop(key, None)
            return
        known = self._ends.get(key, {})
        self._ends[key] = {v.dot: known.get(v.dot, self._end(v, now, grace_ms)) for v in leased}
        self._expect(key, siblings, now)

    def _end(self, version: Version, now: Now, grace_ms: int) -> int:
        """When this node counts the lease as over, on the clock of `Now.mono`."""
        lease, until = version.details.lease, version.until
        assert lease is not None
        assert until is not None
        if durable_twin(version.inc) == self._replica.state.inc:
            return now.mono + lease.ttl_ms
        return now.mono + max(min(until - now.wall, lease.ttl_ms), grace_ms, 0)

    def _expect(self, key: bytes, siblings: Siblings, now: Now) -> None:
        """The next time when something may be due at `key`."""
        times = [end for end in self._ends[key].values() if end > now.mono]
        times += [now.mono + v.until - now.wall for v in siblings if v.until is not None and v.until > now.wall]
        if len(times) < 2 * len(self._ends[key]):
            times.append(now.mono + AGAIN_MS)
        self._appointments.expect(min(times), key)

    def _is_over(self, key: bytes, siblings: Siblings, now: Now) -> bool:
        """Whether every value at the path is a lease that has ended and is this node's to delete."""
        values = live(siblings, now.wall)
        ends = self._ends[key]
        return (
            bool(values)
            and self._replica.is_current
            and all(v.dot in ends and ends[v.dot] <= now.mono and self._is_mine(v) for v in values)
        )

    def _is_mine(self, version: Version) -> bool:
        replica = self._replica
        lease = version.details.lease
        assert lease is not None
        if lease.holder == replica.name:
            return True
        members = replica.members()
        if lease.holder in members or live(replica.tree.at(("@", "partial", lease.holder)), 0):
            return False
        return replica.name == min({replica.name} | (replica.reachable() & members))


async def keep_leases(driver: Driver, clock: Callable[[], Now], stale: Callable[[bytes], None]) -> None:
    """Delete what is over, and call `stale` for each key whose reading has become stale; until cancelled."""
    leases = Leases(driver.replica, clock())
    changed = anyio.Event()

    def note(changes: Sequence[Notify]) -> None:
        for change in changes:
            if leases.concerns(change.key, change.siblings):
                leases.changed(change.key, change.siblings, clock())
                changed.set()

    remove = driver.on_notify(note)
    try:
        while True:
            due = leases.due(clock())
            for key in due.stale:
                stale(key)
            for change in due.deletes:
                await _delete(driver, change)
            deadline = leases.next_deadline
            changed = anyio.Event()
            with anyio.move_on_after(None if deadline is None else max(deadline - clock().mono, 1) / 1000):
                await changed.wait()
    finally:
        remove()


async def _delete(driver: Driver, change: Change) -> None:
    """A delete that does not come about (somebody renewed it just now) is no trouble: it is looked at again."""
    try:
        await driver.propose([change], acks.MEMORY)
    except NodeError:
        return
