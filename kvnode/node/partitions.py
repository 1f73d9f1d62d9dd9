"""What happened while the cluster was in parts: one report for each healing, and each side of it.

A member that this node could reach and cannot any more, by whatever way, is away. When it is back, and both sides have
told each other everything, the first node by name of this side writes down who was away, for how long, how much each
side wrote meanwhile, which paths are in conflict now, and how they read: below ``@.status.partition.NAME``, where the
last :data:`KEPT` reports of each node stay.

Only what lasted for :data:`LEAST_MS` counts, so a link that flaps is no partition; one that heals for a moment and
breaks again goes on. A node that was simply off, and wrote nothing, is no partition either. What was away when this
process started is reported by the other side.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from kvnode.codec.values import ValueCodecError, pack, unpack
from kvnode.core.effects import Change, Now
from kvnode.core.path import Path
from kvnode.core.policy import read
from kvnode.core.replica import Replica
from kvnode.core.ticks import Known, is_volatile, name_of

from . import acks
from .driver import Driver
from .errors import NodeError

LEAST_MS: Final = 60_000
"""A member that is away for less is not worth a report."""
GATHER_MS: Final = 5_000
"""Members that come back within this time of one another are one healing."""
HEAL_MOST_MS: Final = 120_000
"""When both sides have not told each other everything in this time, the report says so."""
KEPT: Final = 20
"""Reports of each node that stay in the tree."""
MOST_PATHS: Final = 100
"""Conflicts that a report names; the others are counted."""
POLL_S: Final = 1.0
WHERE: Final = ("@", "status", "partition")
AUTHOR: Final = "partition"

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Before:
    """What was so when a member went away: when, what was known and in conflict, who was still here."""

    at: Now
    known: Known
    conflicts: frozenset[bytes]
    here: frozenset[str]
    session: int | None


@dataclass(slots=True)
class _Away:
    """A member that is away; `back` since when it is here again, `owed` what it has to be told of then."""

    before: _Before
    back: int | None = None
    owed: Known = field(default_factory=Known)


class Partitions:
    """Watches who can be reached, as a pure machine: call :meth:`look` now and then."""

    def __init__(self, replica: Replica, *, least_ms: int = LEAST_MS, gather_ms: int = GATHER_MS) -> None:
        self._replica: Final = replica
        self._least_ms: Final = least_ms
        self._gather_ms: Final = gather_ms
        self._away: dict[str, _Away] = {}
        self._seen: frozenset[str] = frozenset()

    def look(self, now: Now) -> dict[str, Any] | None:
        """Take note of who is here; gives the report of a healing that is complete, if it is this node's to make."""
        replica = self._replica
        members = replica.members() - {replica.name}
        here = replica.reachable() & members
        self._seen = (self._seen | here) & members
        for name in [name for name in self._away if name not in members]:
            del self._away[name]
        self._note_lost(self._seen - here - self._away.keys(), here, now)
        for name, away in list(self._away.items()):
            if name not in here:
                away.back = None
            elif away.back is None:
                self._note_back(name, away, now)
        back = {name: away for name, away in self._away.items() if away.back is not None}
        if not back or not self._is_over(back, now):
            return None
        for name in back:
            del self._away[name]
        return self._report(back, now)

    def _note_lost(self, lost: Iterable[str], here: frozenset[str], now: Now) -> None:
        known: Known | None = None
        for name in lost:
            known = known or self._replica.known.copy()
            held = self._replica.acks.processes.current(name)
            session = None if held is None else held.session
            conflicts = frozenset(self._replica.state.conflicts)
            self._away[name] = _Away(_Before(now, known, conflicts, here | {self._replica.name}, session))

    def _note_back(self, name: str, away: _Away, now: Now) -> None:
        if now.mono - away.before.at.mono < self._least_ms:
            del self._away[name]
            return
        away.back = now.mono
        away.owed = Known({inc: t for inc, t in self._replica.known.map.items() if not is_volatile(inc)})

    def _is_over(self, back: dict[str, _Away], now: Now) -> bool:
        last = max(away.back or 0 for away in back.values())
        if now.mono - last < self._gather_ms:
            return False
        return now.mono - last >= HEAL_MOST_MS or all(self._is_told(name, away) for name, away in back.items())

    def _is_told(self, name: str, away: _Away) -> bool:
        """Whether the member holds what this side had when it came back, and this node what the member holds."""
        held = self._replica.acks.processes.current(name)
        return held is not None and away.owed <= held.known and held.known <= self._replica.known

    # -- the report ------------------------------------------------------------------------------------------

    def _report(self, back: dict[str, _Away], now: Now) -> dict[str, Any] | None:
        first = min((away.before for away in back.values()), key=lambda before: before.at.mono)
        here = first.here - back.keys()
        wrote_here, wrote_there = self._written(first.known, here), self._written(first.known, back.keys())
        if self._replica.name != min(here) or not (wrote_there or self._lived_on(back)):
            return None
        conflicts = sorted(set(self._replica.state.conflicts) - first.conflicts)
        return {
            "from": first.at.wall,
            "seconds": (now.mono - first.at.mono) // 1000,
            "here": sorted(here),
            "there": sorted(back),
            "wrote_here": wrote_here,
            "wrote_there": wrote_there,
            "complete": all(self._is_told(name, away) for name, away in back.items()),
            "conflicts": len(conflicts),
            "paths": [self._decided(key, now) for key in conflicts[:MOST_PATHS]],
        }

    def _lived_on(self, back: dict[str, _Away]) -> bool:
        """Whether any of them is still the process that went away."""
        held = {name: self._replica.acks.processes.current(name) for name in back}
        return any(h is not None and h.session == back[name].before.session for name, h in held.items())

    def _written(self, before: Known, names: Iterable[str]) -> dict[str, int]:
        """How many changes each of these nodes made since, but for the record that each run of a node begins with."""
        out: dict[str, int] = {}
        for inc, ticks in self._replica.known.map.items():
            if name_of(inc) in names and not is_volatile(inc):
                count = len(ticks - before[inc]) - (inc not in before.map)
                out[name_of(inc)] = out.get(name_of(inc), 0) + count
        return {name: count for name, count in sorted(out.items()) if count > 0}

    def _decided(self, key: bytes, now: Now) -> dict[str, Any]:
        """How a path in conflict reads now, and by which policy."""
        siblings = self._replica.tree.get(key)
        path = Path.from_key(key)
        policy = self._replica.policy_of(path)
        try:
            reading = read(siblings, policy, now.wall, unpack)
        except (ValueCodecError, TypeError, RecursionError):  # bytes that are no value; they read as the newest
            reading = None
        return {
            "path": str(path),
            "policy": str(policy),
            "shows": str(max(siblings, key=lambda v: v.order).dot if reading is None else reading.winner.dot),
            "versions": [{"dot": str(v.dot), "deleted": v.is_tombstone} for v in siblings],
        }


async def keep_partitions(
    driver: Driver,
    clock: Callable[[], Now],
    *,
    least_ms: int = LEAST_MS,
    gather_ms: int = GATHER_MS,
    poll_s: float = POLL_S,
) -> None:
    """Look every `poll_s` seconds, and write the reports into the tree; until cancelled."""
    partitions = Partitions(driver.replica, least_ms=least_ms, gather_ms=gather_ms)
    while True:
        await anyio.sleep(poll_s)
        report = partitions.look(clock())
        if report is None:
            continue
        _log.warning(
            "partition healed",
            extra={"away": ", ".join(report["there"]), "seconds": report["seconds"], "conflicts": report["conflicts"]},
        )
        try:
            await driver.propose(changes_of(driver.replica, report), acks.MEMORY)
        except NodeError as err:
            _log.warning("partition not reported", extra={"why": str(err)})


def changes_of(replica: Replica, report: dict[str, Any]) -> list[Change]:
    """What writes a report of this node, and removes those that are too many."""
    base = Path((*WHERE, replica.name))
    where = Path((*base, report["from"]))
    listed = [
        Path.from_key(key) for key, siblings in replica.tree.scan(base) if any(not v.is_tombstone for v in siblings)
    ]
    old = sorted({path for path in listed if path != where}, key=lambda path: path.key)
    surplus = old[: max(len(old) - KEPT + 1, 0)]
    return [Change(where, pack(report), AUTHOR), *(Change(path, None, AUTHOR) for path in surplus)]
