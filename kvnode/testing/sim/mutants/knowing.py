"""Bugs in what nodes believe to know, of themselves and of each other: sessions, digests, estimates, stores."""

from __future__ import annotations

from collections.abc import Iterable

from kvnode.core import loading
from kvnode.core.effects import Now, Persist
from kvnode.core.entry import Version
from kvnode.core.link import Link, Sending
from kvnode.core.messages import End
from kvnode.core.state import State
from kvnode.core.sync import Sync
from kvnode.core.ticks import Incarnation, Known, Ticks, durable_twin

_add = State.add
_doubt = loading.doubt
_finish = Sync._finish
_has_now = Link.has_now
_hash = Known.hash
_persist = State._persist
_pump = Sync.pump
_resolved = Sync.resolved
_start = Sync.start


# -- one's own store -------------------------------------------------------------------------------------------


def persist_and_believe_it(self: State) -> Persist:
    """What is on its way to the disk counts as being there."""
    effect = _persist(self)
    for inc, ticks in effect.known.items():
        self.durable.union(inc, ticks or Ticks())
    return effect


def add_and_persist_volatile(self: State, key: bytes, version: Version) -> bool:
    """The known ticks of volatile changes are stored like all others; the values are not."""
    added = _add(self, key, version)
    self.known_changed[version.inc] = None
    return added


def doubt_nothing(state: State, doubts: Iterable[str]) -> None:
    """A damaged store keeps its known ticks."""
    known = state.known.copy()
    _doubt(state, doubts)
    state.known = known
    state.known_changed.clear()


# -- sessions --------------------------------------------------------------------------------------------------


def pump_ranges_first(self: Sync, link: Link, now: Now) -> None:
    """The ranges of a session go ahead of the versions that superseded what they tell."""
    sending = link.sending
    if sending is not None and link.est is not None and sending.keys and sending.ranges and not link.partial:
        self._send(link, End({inc: t.bounds for inc, t in sending.ranges.items()}, link.digests_in, settle=False))
        for inc, ticks in sending.ranges.items():
            link.est.union(inc, ticks)
        sending.ranges.clear()
    _pump(self, link, now)


def finish_with_what_is_known_now(self: Sync, link: Link, sending: Sending, now: Now) -> None:
    """The ranges are made at the end of a session, from what is known and live by then."""
    known, live, est = self._state.known, self._state.live, link.est or Known()
    for inc in sending.incs:
        sending.ranges[inc] = known[inc] - est[inc] - Ticks.of(*live.get(inc, ()))
    _finish(self, link, sending, now)


def start_as_if_full(self: Sync, link: Link, now: Now, *, settle: bool) -> None:
    """A partial replica tells all ranges it knows, whoever wrote them."""
    view = self._state.view
    vars(self._state)["view"] = None
    _start(self, link, now, settle=settle)
    vars(self._state)["view"] = view


def finish_as_if_full(self: Sync, link: Link, sending: Sending, now: Now) -> None:
    """A partial replica is told ranges."""
    partial, link.partial = link.partial, False
    _finish(self, link, sending, now)
    link.partial = partial


def apply_whoever_says_it(self: Sync, link: Link, ranges: dict[Incarnation, Ticks], epoch: int, now: Now) -> None:
    """Ranges are taken by partial replicas, and from them."""
    for inc, ticks in ranges.items():
        if link.est is not None:
            link.est.union(inc, ticks)
    self.dirty_others([inc for inc, ticks in ranges.items() if self._state.learn(inc, ticks)], link, now)


def refuse_nothing(self: Sync, link: Link, inc: Incarnation) -> bool:
    """Ticks of a closed incarnation are taken from everybody."""
    return False


def guard_by_the_digest(self: Sync, link: Link, inc: Incarnation) -> bool:
    """A peer that has a closed incarnation without holes is believed, though it has it in memory only."""
    if not self._state.is_closed(inc) or durable_twin(inc) in link.marks:
        return False
    said = link.base[inc]
    return not said or not said.is_whole or not self._state.known[inc] <= said


# -- what peers are believed to have ---------------------------------------------------------------------------


def hash_without_the_oldest(self: Known, without: Iterable[Incarnation] = ()) -> int:
    """The summary of a digest leaves out the incarnation that changed longest ago."""
    return _hash(self, {*without, *list(self.map)[:1]})


def resolved_on_top(self: Sync, link: Link, est: Known, now: Now) -> None:
    """A digest adds to what was believed of the peer, also before its restart."""
    believed: dict[str, Known] = vars(self).setdefault("believed", {})
    for inc, ticks in believed.setdefault(link.name, Known()).map.items():
        est.union(inc, ticks)
    believed[link.name] = est.copy()
    _resolved(self, link, est, now)


def has_all_up_to_now(self: Link, version: Version) -> None:
    """Who has a version is believed to have all that its writer wrote before."""
    _has_now(self, version)
    if self.est is not None:
        self.est.union(version.inc, Ticks.upto(version.tick))
