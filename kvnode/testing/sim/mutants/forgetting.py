"""Bugs in acknowledgements, in what may be stripped and forgotten, and in void ticks."""

from __future__ import annotations

from kvnode.core.acks import Acks
from kvnode.core.entry import Siblings, Version
from kvnode.core.forget import Forget
from kvnode.core.ticks import EMPTY, Dot, Incarnation, Ticks

_forget = Forget._forget
_is_stable = Forget.is_stable


def forget_when_stored(self: Forget, siblings: Siblings, gone_by: int) -> Siblings:
    """A delete is forgotten when it is on this node's disk."""
    done = all(v.is_gone(gone_by) and self._state.is_durable(v.dot) for v in siblings)
    return () if done else siblings


def forget_beside_values(self: Forget, siblings: Siblings, gone_by: int) -> Siblings:
    """A delete is forgotten when it is stable, whatever value stands beside it."""
    return tuple(v for v in siblings if not (v.is_gone(gone_by) and self.is_stable(v)))


def forget_by_own_clock(self: Forget, siblings: Siblings, gone_by: int) -> Siblings:
    """What has expired by this node's clock has expired everywhere."""
    return _forget(self, siblings, gone_by + self._state.limits.max_skew_ms)


def stable_when_stored(self: Forget, version: Version) -> bool:
    """A value's vector is stripped when the value is on this node's disk."""
    return self._state.is_durable(version.dot) if not version.is_tombstone else _is_stable(self, version)


def stable_by_the_dot(self: Forget, version: Version) -> bool:
    """Who has a version is taken to have all that it superseded."""
    return self._floor(version.inc).covers(version.tick, version.tick)


def floor_of_those_heard(self: Acks, inc: Incarnation) -> Ticks:
    """A member of which nothing was heard has nothing against it."""
    if self._state.view is not None or self.processes.is_contested(self._state.members):
        return EMPTY
    ticks = self._state.durable[inc]
    for held in (self.processes.current(name) for name in self.others()):
        ticks = ticks if held is None else ticks & held.known[inc]
    return ticks


def ackers_with_clones(self: Acks, dot: Dot) -> set[str]:
    """The acknowledgement of one of two living processes of a name counts for that name."""
    return {name for name in self.others() if self._has(name, dot)}


def void_when_equal(self: Forget, base: Incarnation, inc: Incarnation) -> bool:
    """Holes are void when all members have the same ones, whether or not they have heard that the run is over."""
    return self._same_known(inc)


def void_by_own_word(self: Forget, base: Incarnation, inc: Incarnation) -> bool:
    """Holes of a closed incarnation are void at once."""
    return True
