"""Digests: how two peers tell one another what they know, and one at a time begins a session (R4, R9).

A digest lists the incarnations that changed last in full, and a hash over all others. If that is not enough, the
hashes of buckets are asked for, and then the buckets that differ. A node that a session is sent to already asks other
peers to wait with theirs: they would send the same.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from . import marks
from .effects import Now
from .link import Link
from .messages import Digest, DigestAsk, DigestBuckets, DigestParts, Message, Ranges
from .state import State
from .ticks import EMPTY, Incarnation, Known, Ticks, is_incarnation

_BUCKETS: Final = 64
_MOST_LISTED: Final = 256
"""More differing incarnations are not listed one by one."""

SendTo = Callable[[Link, Message], None]
OnResolved = Callable[[Link, Known, Now], None]
"""Hears of the known that a peer has, once it is established."""


class Digests:
    """The exchange of digests on all links of one replica."""

    def __init__(self, state: State, links: dict[int, Link], send: SendTo, on_resolved: OnResolved) -> None:
        self._state: Final = state
        self._links: Final = links
        self._send: Final = send
        self._on_resolved: Final = on_resolved

    # -- telling ---------------------------------------------------------------------------------------------

    def greeted(self, link: Link, now: Now, *, equal: bool) -> None:
        """Hellos have crossed. If both know the same, that was all; else the side that dialled tells its digest. The
        other one answers with exactly what differs, if it can tell, or with its own digest: one of the two holds what
        changed last, so mostly one of them can. Only if neither can, the buckets are compared.
        """
        if equal:
            self._on_resolved(link, link.said.copy(), now)
        elif link.dialled:
            self.send_digest(link, now)
        else:
            link.owes_digest = True

    def send_digest(self, link: Link, now: Now, listed: list[Incarnation] | None = None, *, lost: bool = False) -> None:
        """Tell the peer our known, `listed` in full (by default what changed last); it replaces the peer's estimate and
        starts a session towards us.
        """
        link.holding = self._state.view is None and self._is_fed_beside(link, now)
        link.fed_at = None if link.holding or link.partial else now.mono
        link.digests_out += 1
        link.end_got = False
        link.refused.clear()
        known = link.said = self._state.known.copy()
        if listed is None or len(listed) > _MOST_LISTED:
            listed = list(known.map)[-self._state.limits.recent_incarnations :]
        recent = {inc: known[inc].bounds for inc in listed}
        self._send(link, Digest(recent, known.hash(without=listed), lost, link.holding))

    def _is_fed_beside(self, link: Link, now: Now) -> bool:
        """Whether a session towards us is under way on another link, so that the same from this one would be twice."""
        until = self.fed_until(link)
        return until is not None and until > now.mono

    def is_fed(self, link: Link, now: Now) -> bool:
        """Whether a session towards us is under way on this link."""
        return link.fed_at is not None and link.fed_at + self._state.limits.hold_ms > now.mono

    def fed_until(self, link: Link) -> int | None:
        """Until when sessions of other links count as under way, if nothing more comes."""
        times = [k.fed_at for k in self._links.values() if k is not link and k.fed_at is not None]
        return max(times) + self._state.limits.hold_ms if times else None

    def go_on(self, now: Now) -> None:
        """If no session towards us is under way any more, one of the peers that were told to wait begins with its."""
        for link in self._links.values():
            if link.holding and not self._is_fed_beside(link, now):
                self.send_digest(link, now, None if link.est is None else self._differing(link.est))

    def _differing(self, est: Known) -> list[Incarnation]:
        """The incarnations of which we know something else."""
        known = self._state.known
        return [inc for inc in sorted({*known.map, *est.map}) if known[inc] != est[inc]]

    def answer(self, link: Link, est: Known, now: Now) -> None:
        """The peer's known is established: tell ours, if it is owed, by what differs."""
        if link.owes_digest or link.owes_exact:
            link.owes_digest = link.owes_exact = False
            self.send_digest(link, now, self._differing(est))

    # -- hearing ---------------------------------------------------------------------------------------------

    def on_digest(self, link: Link, message: Digest, now: Now) -> None:
        """The peer's known; if its rest differs from ours, the buckets have to tell."""
        known = self._state.known
        recent = read_ranges(message.recent)
        link.digests_in += 1
        link.late_answers = link.asks
        # What was acknowledged in terms of the digest before would claim too much in terms of this one.
        link.early_acks = [state for state in link.early_acks if not state.as_digest]
        link.held = message.hold
        if link.sending is not None:
            marks.hit("session-restarted")
        if known.hash(without=recent) == message.rest_hash:
            est = known.copy()
            for inc, ticks in recent.items():
                est.replace(inc, ticks)
            link.owes_exact = link.owes_exact or message.lost
            self._on_resolved(link, est, now)
            return
        link.est, link.sending, link.lazy_at, link.hold_at = None, None, None, None
        link.awaited.clear()
        link.owes_exact = link.owes_exact or message.lost
        link.resolving = Known()
        if link.owes_digest:
            link.owes_digest = False
            self.send_digest(link, now, lost=True)
        else:
            marks.hit("digest-buckets")
            self._ask(link, None)

    def _ask(self, link: Link, buckets: tuple[int, ...] | None) -> None:
        link.asks += 1
        self._send(link, DigestAsk(buckets))

    def _is_answered(self, link: Link) -> bool:
        """An answer came; says whether it is about the peer's last digest. Answers come in the order of the asks."""
        if not link.asks:
            return False
        link.asks -= 1
        if link.late_answers:
            marks.hit("digest-overtaken")
            link.late_answers -= 1
            return False
        return link.resolving is not None

    def on_ask(self, link: Link, message: DigestAsk, now: Now) -> None:
        """Answer from known as the digest told it: acknowledgements that are under way refer to exactly that."""
        if message.buckets is None:
            self._send(link, DigestBuckets(tuple(b.hash() for b in _bucketed(link.said))))
            return
        buckets = _bucketed(link.said)
        ids = tuple(sorted({i for i in message.buckets if 0 <= i < _BUCKETS}))
        full = {inc: t.bounds for i in ids for inc, t in buckets[i].map.items()}
        self._send(link, DigestParts(ids, full))

    def on_buckets(self, link: Link, message: DigestBuckets, now: Now) -> None:
        """Buckets with equal hashes are as ours; the others are asked for in full."""
        if not self._is_answered(link) or len(message.hashes) != _BUCKETS:
            return
        assert link.resolving is not None
        mine = _bucketed(self._state.known)
        differing = tuple(i for i, bucket in enumerate(mine) if bucket.hash() != message.hashes[i])
        for i, bucket in enumerate(mine):
            if i not in differing:
                for inc, ticks in bucket.map.items():
                    link.resolving.union(inc, ticks)
        if differing:
            self._ask(link, differing)
        else:
            self._on_resolved(link, link.resolving, now)

    def on_parts(self, link: Link, message: DigestParts, now: Now) -> None:
        """The differing buckets: the estimate is complete."""
        if not self._is_answered(link):
            return
        assert link.resolving is not None
        for inc, ticks in read_ranges(message.known).items():
            link.resolving.union(inc, ticks)
        self._on_resolved(link, link.resolving, now)


def read_ranges(ranges: Ranges) -> dict[Incarnation, Ticks]:
    """Ranges from outside; ValueError if they are malformed."""
    out: dict[Incarnation, Ticks] = {}
    for inc, bounds in ranges.items():
        if not is_incarnation(inc):
            raise ValueError(f"{inc!r} is no incarnation")
        out[inc] = Ticks.checked(bounds) if bounds else EMPTY
    return out


def _bucketed(known: Known) -> list[Known]:
    buckets: list[dict[Incarnation, Ticks]] = [{} for _ in range(_BUCKETS)]
    for inc, ticks in known.map.items():
        buckets[blake2b(inc.encode(), digest_size=1).digest()[0] % _BUCKETS][inc] = ticks
    return [Known(b) for b in buckets]
