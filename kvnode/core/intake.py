"""Letting one version of a peer in, or refusing it (R3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import marks
from .effects import Now
from .entry import Run, Version, run_of
from .identity import Identity
from .link import Link
from .stamp import wall_ms
from .state import State
from .sync import Sync
from .ticks import Ticks, name_of


class Intake:
    """The one way by which the versions of others come into `state`."""

    def __init__(self, state: State, sync: Sync, identity: Identity) -> None:
        self._state: Final = state
        self._sync: Final = sync
        self._identity: Final = identity

    def take(self, link: Link, version: Version, now: Now) -> bool:
        """One version from a peer; False if it was refused, in which case the session's ranges are void."""
        new: list[Version] = []
        link.has_now(version)
        taken = self._let_in(link, version, new, now)
        self._sync.offer(new, link, now)
        return taken

    def take_all(self, link: Link, versions: Sequence[Version], now: Now) -> None:
        """The versions of one message; what is new among them is offered on together."""
        run = run_of(versions)
        link.have_now(versions, run)
        new: list[Version] = []
        try:
            if run is not None and self._is_open(run):
                self._let_run_in(versions, new, now)
            else:
                for version in versions:
                    self._let_in(link, version, new, now)
        finally:
            self._sync.offer(new, link, now)

    def _is_open(self, run: Run) -> bool:
        """Whether nothing speaks against a run: nothing of it is known, and it is neither ours nor closed."""
        state, (inc, first, _) = self._state, run
        return (
            state.known[inc].highest < first
            and state.view is None
            and inc not in state.counters
            and not state.is_closed(inc)
        )

    def _let_run_in(self, versions: Sequence[Version], new: list[Version], now: Now) -> None:
        """The same as :meth:`_let_in` for each of them. (None can close the incarnation of those behind it: what a
        record closes counts here once its writer's acknowledgement says so, unless it is our own run.)
        """
        state, highest = self._state, max([version.stamp for version in versions])
        near = state.clock.takes(highest, now.wall)
        if near:
            state.clock.observe(highest, now.wall)
        for version in versions:
            if not near:
                self._observe(version, now)
            state.add(version.key, version)
            new.append(version)

    def _let_in(self, link: Link, version: Version, new: list[Version], now: Now) -> bool:
        state = self._state
        inc, tick = version.inc, version.tick
        if state.known.has(inc, tick):
            state.compare(version, now)
            return True
        if state.view is not None and not state.in_view(version.details.path):
            return True
        if self._sync.refuses(link, inc, tick):
            self._sync.taint(link, (inc,))
            return False
        self._identity.claimed(inc, tick, now)
        for other, highest in version.extra.vector.items():
            self._identity.claimed(other, highest, now)
        self._observe(version, now)
        state.add(version.key, version)
        if version.extra.vector:
            self._learn_superseded(link, version)
        new.append(version)
        return True

    def _observe(self, version: Version, now: Now) -> None:
        """Let the clock know of a version's stamp."""
        state = self._state
        if version.stamp > state.clock.last and not state.clock.observe(version.stamp, now.wall):
            marks.hit("stamp-skew")
            name, ahead = name_of(version.inc), wall_ms(version.stamp) - now.wall
            state.report("clock_skew", name, f"{name} writes {ahead / 1000:.0f} s ahead of this clock")

    def _learn_superseded(self, link: Link, version: Version) -> None:
        """The dots that its vector names are of this path and superseded. Their writers and everybody else who had
        them may be gone (R3).
        """
        for other, highest in version.vector.items():
            if self._state.known.has(other, highest):
                continue
            if self._sync.refuses(link, other, highest):
                self._sync.taint(link, (other,))
            else:
                self._state.learn(other, Ticks((highest, highest + 1)))
