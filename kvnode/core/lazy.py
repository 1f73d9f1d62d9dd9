"""What is left to others: single changes that the peer gets from their origin, and whole sessions while it catches up
from somebody else (the lazy push of Plumtree, Leitao et al., 2007, applied to sets of dots).

What is left is never noted down as sent, so it cannot be forgotten: it stays in ``known - est``. A peer whose
acknowledgements show that it gets on is left alone, however much it still lacks; one that does not get on for some
time is sent all of it. How long that is follows what the peer's acknowledgements take: a slow disk is no broken link.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from . import marks
from .effects import Now
from .link import Awaited, Link
from .state import State
from .ticks import Incarnation


class Lazy:
    """What is left to others on all links of a replica."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    def leave(self, link: Link, inc: Incarnation, tick: int, now: Now) -> None:
        """Leave this change, and what follows of its incarnation, to others."""
        if inc not in link.awaited:
            link.awaited[inc] = Awaited(tick, now.mono)

    def leave_missing(self, link: Link, incs: Iterable[Incarnation], now: Now) -> None:
        """Leave what the peer lacks of these incarnations to others."""
        assert link.est is not None
        for inc in incs:
            link.awaited.pop(inc, None)
            missing = self._state.known[inc] - link.est[inc]
            if missing:
                link.awaited[inc] = Awaited(missing.bounds[0], now.mono)

    def hold(self, link: Link, now: Now) -> None:
        """Leave all that the peer lacks to the one that it catches up from."""
        marks.hit("session-held")
        link.hold_at = now.mono + self._state.limits.held_most_ms

    def acknowledged(self, link: Link, now: Now) -> None:
        """The peer has said that it holds more: it gets on."""
        assert link.est is not None
        if link.hold_at is not None:
            self.hold(link, now)
        arrived = [inc for inc, awaited in link.awaited.items() if link.est.has(inc, awaited.tick)]
        for inc in arrived:
            took = now.mono - link.awaited[inc].since
            link.ack_lag_ms += (took - link.ack_lag_ms) // 4
        self.leave_missing(link, arrived, now)

    def overdue(self, link: Link, now: Now) -> list[Incarnation]:
        """The incarnations of which nobody else seems to send anything; they are no longer left to others."""
        patience = self._patience_ms(link)
        due = [inc for inc, awaited in link.awaited.items() if awaited.since + patience <= now.mono]
        for inc in due:
            del link.awaited[inc]
        if due:  # longer next time, until it is seen what its acknowledgements take (as TCP does, after Karn)
            link.ack_lag_ms = patience
        return due

    def next_deadline(self, link: Link) -> int | None:
        """When :meth:`overdue` may give something."""
        for awaited in link.awaited.values():  # the first one is the oldest
            return awaited.since + self._patience_ms(link)
        return None

    def _patience_ms(self, link: Link) -> int:
        limits = self._state.limits
        return min(max(limits.lazy_ms, 2 * link.ack_lag_ms), limits.lazy_most_ms)
