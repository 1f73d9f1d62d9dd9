"""Incarnations and the node's own record in ``@.nodes`` (section 1 and R3 of the design).

The marks themselves travel with hellos and acknowledgements (see acks.py), so that they outlive the record; the
record is where people and later runs of the node read them.

A new incarnation is minted at the first write after a start, and at once when the running one turns out to be closed or
used by somebody else. Its first change is the record: ``{"inc": ..., "closes": [...], "addresses": [...]}``. The list
closes the predecessor and every other incarnation of this name that has holes, so that their void ticks can be
found; it also carries on what was closed for retired members, until nothing is missing of those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from . import marks
from .acks import Acks
from .effects import Change, Now
from .entry import Version, plain
from .path import Path
from .state import State
from .system import closed_by
from .ticks import Incarnation, durable_twin, incarnation, is_incarnation, is_volatile, name_of, volatile_twin

_MAX_DELAY_MS: Final = 600_000

Write = Callable[[Change, Now], None]


class Identity:
    """Keeps the node's incarnation and its record."""

    def __init__(self, state: State, acks: Acks, write: Write, now: Now) -> None:
        self._state: Final = state
        self._acks: Final = acks
        self._write: Final = write
        self._where: Final = Path(("@", "nodes" if state.view is None else "partial", state.name))
        self._addresses: tuple[str, ...] | None = None
        self._delay = state.limits.close_delay_ms
        self._handled: set[Incarnation] = set()
        self.due = now.mono + self._delay
        self._predecessors = {i for r in self._records() if isinstance(i := r.get("inc"), str) and is_incarnation(i)}
        """What the stored record named: the runs before this one. What turns up later may belong to a living clone."""

    # -- the record ------------------------------------------------------------------------------------------

    def _records(self) -> list[dict[str, object]]:
        values = (_value(v) for v in self._state.tree.at(self._where) if not v.is_tombstone)
        return [v for v in values if v is not None]

    def _listed(self) -> set[Incarnation]:
        """The incarnations that the record's present versions close."""
        return {i for record in self._records() for i in closed_by(record)}

    def _own(self) -> set[Incarnation]:
        """All incarnations of this name that are known or named by a record, but the running one."""
        own = {durable_twin(i) for i in self._state.known.map if name_of(i) == self._state.name}
        own |= {i for r in self._records() if isinstance(i := r.get("inc"), str) and is_incarnation(i)}
        return own - {self._state.inc}

    def _has_holes(self, inc: Incarnation) -> bool:
        known = self._state.known
        return not (known[inc].is_whole and known[volatile_twin(inc)].is_whole)

    def _to_close(self, predecessors: set[Incarnation]) -> set[Incarnation]:
        """The predecessors, and what is closed already and has holes still."""
        holed = {i for i in self._listed() if self._has_holes(i)}
        return {i for i in predecessors | holed if i != self._state.inc}

    def _record(self, predecessors: set[Incarnation], more: set[Incarnation], now: Now) -> None:
        closes = sorted(self._to_close(predecessors) | more)
        self._state.mark(closes)
        addresses = self._addresses
        if addresses is None:
            known = [a for r in self._records() if isinstance(a := r.get("addresses"), list)]
            addresses = tuple(a for a in (known[0] if known else []) if isinstance(a, str))
        value = {"inc": self._state.inc, "closes": closes, "addresses": list(addresses)}
        self._write(Change(self._where, msgspec.msgpack.encode(value), author="node"), now)

    # -- minting ---------------------------------------------------------------------------------------------

    def mint(self, now: Now) -> None:
        """Before a write: make sure there is an incarnation, and its record is its first change."""
        if self._state.inc is None:
            self._mint(now)

    def _mint(self, now: Now, more: set[Incarnation] | None = None) -> None:
        before = {self._state.inc} if self._state.inc is not None else self._predecessors
        self._state.inc = inc = incarnation(self._state.name, self._state.random_bits(64))
        self._state.counters |= {inc: 0, volatile_twin(inc): 0}
        self._record(before, more or set(), now)

    def claimed(self, inc: Incarnation, tick: int, now: Now) -> None:
        """A peer knows this tick; more of our running incarnation than we gave out means that somebody runs a copy."""
        if tick <= self._state.counters.get(inc, tick) or durable_twin(inc) != self._state.inc:
            return
        marks.hit("own-ticks-ahead")
        self._state.report(
            "copied_process", inc, f"another process uses the incarnation {inc}: was this machine's memory copied?"
        )
        self._mint(now)

    # -- upkeep ----------------------------------------------------------------------------------------------

    def announce(self, addresses: tuple[str, ...], now: Now) -> None:
        """Be a member, reachable there."""
        self._addresses = addresses
        records = self._records()
        if self._state.view is None and (len(records) != 1 or records[0].get("addresses") != list(addresses)):
            self._refresh(set(), now)

    def retire(self, name: str, now: Now) -> None:
        """Close every incarnation of another member."""
        known = self._state.known.map
        more = {durable_twin(i) for i in known if name_of(i) == name and i != self._state.inc}
        if name == self._state.name:
            self._addresses = ()
        self.mint(now)
        self._record(set(), more, now)

    def _refresh(self, more: set[Incarnation], now: Now) -> None:
        if self._state.inc is None:
            self._mint(now, more)
        else:
            self._record(set(), more, now)

    def look(self, now: Now) -> None:
        """The records changed."""
        self._state.nodes_changed = False
        inc = self._state.inc
        if inc is not None and self._state.is_closed(inc):
            marks.hit("own-incarnation-closed")
            self._state.report("incarnation_closed", inc, f"{inc} was closed by another node; going on under a new one")
            self._mint(now)

    def wake(self, now: Now) -> None:
        """Close what of this name turned up and has holes or another record; not while a clone may live."""
        if now.mono < self.due:
            return
        self.due = now.mono + self._delay
        if self._state.name in self._acks.processes.suspects:
            return
        if self._state.view is None and self._state.name not in self._state.members:
            return
        # A mark that had done its work does so again when more of its incarnation turns up.
        self._state.reopen(sorted(i for i in self._listed() if self._has_holes(i)))
        strangers = {i for r in self._records() if isinstance(i := r.get("inc"), str)} - {self._state.inc}
        holed = {i for i in self._own() if self._has_holes(i)} - self._listed()
        foreign = strangers if self._state.inc is not None or len(self._records()) > 1 else set()
        todo = (foreign | holed) - self._handled
        if not todo:
            return
        self._handled |= todo
        self._delay = min(2 * self._delay, _MAX_DELAY_MS)
        self._refresh({i for i in todo if is_incarnation(i) and not is_volatile(i)}, now)


def _value(version: Version) -> dict[str, object] | None:
    value = plain(bytes(version.details.value))
    return value if isinstance(value, dict) else None
