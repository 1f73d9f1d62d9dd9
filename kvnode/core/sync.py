"""Difference sessions and live relay (R3, R4, R8, R9).

The backlog of a peer is never a queue: it is ``known - est``, the set of dots that the peer lacks by our
estimate. A session walks the paths of the live ones; dots that are no longer live are told as ranges at its end.

Why a session sends *paths*: ranges say "superseded or forgotten", which is true at the receiver only once
it holds what superseded them. If a version that was live at the start is superseded midway, its successor at
the same path goes out in its place; the ranges were frozen without the dots then live, so nothing is claimed that did
not travel before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Final

from . import marks
from .digests import Digests, SendTo, read_ranges
from .effects import Now
from .entry import Run, Version, run_of
from .lazy import Lazy
from .link import Link, Sending
from .messages import Check, End, Versions
from .path import Path
from .places import Places
from .state import State
from .ticks import Incarnation, Known, Ticks, durable_twin, name_of

_ENVELOPE_BYTES: Final = 64
"""What a version takes in a message beside its body, about."""

OnAhead = Callable[[Incarnation, int, Now], None]
"""Hears of every tick that a peer claims; looks whether it is one of ours that we did not give out."""


class Sync:
    """Sessions of all links of one replica; `links` is shared with the replica."""

    def __init__(self, state: State, links: dict[int, Link], send: SendTo, on_ahead: OnAhead) -> None:
        self._state: Final = state
        self._links: Final = links
        self._send: Final = send
        self.on_ahead: Final = on_ahead
        self.lazy: Final = Lazy(state)
        self.digests: Final = Digests(state, links, send, self.resolved)

    # -- sending ---------------------------------------------------------------------------------------------

    def resolved(self, link: Link, est: Known, now: Now) -> None:
        """The peer's known is established: replace the estimate (R9) and start the session."""
        link.resolving = None
        self.digests.answer(link, est, now)
        link.est = est
        link.base = est.copy()
        link.outbox.clear()
        link.dirty = dict.fromkeys(self._state.known.map)
        link.sending, link.end_sent, link.hold_at = None, False, None
        link.awaited.clear()
        if link.held and not link.partial and not self._state.known <= est:
            self.lazy.hold(link, now)
        else:
            self.start(link, now, settle=True)

    def start(self, link: Link, now: Now, *, settle: bool) -> None:
        """Start a session over the dirty incarnations."""
        incs = tuple(link.dirty)
        keys, ranges = self._missing(link, incs)
        if ranges and link.awaited:
            # A range says that something superseded its ticks, and that may be among what was left to others.
            marks.hit("range-over-awaited")
            left = tuple(inc for inc in link.awaited if inc not in link.dirty)
            more_keys, more_ranges = self._missing(link, left)
            incs, keys, ranges = incs + left, keys | more_keys, ranges | more_ranges
        for inc in incs:
            link.awaited.pop(inc, None)
        link.dirty.clear()
        link.lazy_at = None
        if self._state.view is not None:
            ranges = {inc: ticks for inc, ticks in ranges.items() if name_of(inc) == self._state.name}
        if link.partial and (ranges or link.stale):  # R8: it cannot be told what it missed, so it has to compare
            marks.hit("partial-missed")
            settle, link.stale = True, False
        if not (keys or ranges or settle):
            marks.hit("lazy-saved")
            return
        link.sending = Sending(deque(keys), ranges, incs, settle)
        self.pump(link, now)

    def _missing(self, link: Link, incs: Iterable[Incarnation]) -> tuple[dict[bytes, None], dict[Incarnation, Ticks]]:
        """What the peer lacks of these: the keys where it is live, and the ticks that are not live any more."""
        assert link.est is not None
        known, live = self._state.known, self._state.live
        keys: dict[bytes, None] = {}
        ranges: dict[Incarnation, Ticks] = {}
        for inc in incs:
            missing = known[inc] - link.est[inc]
            if not missing:
                continue
            places = live.get(inc)
            held = [] if places is None else _held(missing, places)
            keys |= dict.fromkeys(key for _, key in held if self._sees_key(link, key))
            if rest := missing - Ticks.of_sorted(tick for tick, _ in held):
                ranges[inc] = rest
        return keys, ranges

    def _sees_key(self, link: Link, key: bytes) -> bool:
        return link.view is None or link.sees(Path.from_key(key))

    def pump(self, link: Link, now: Now) -> None:
        """Send as much of the session as the window allows, and its end behind the last path."""
        while link.sending is not None and link.window < self._state.limits.window_bytes:
            if link.sending.keys:
                self._send_chunk(link, link.sending)
            else:
                self._finish(link, link.sending, now)

    def _send_chunk(self, link: Link, sending: Sending) -> None:
        assert link.est is not None
        chunk: list[Version] = []
        size = 0
        while sending.keys and size < self._state.limits.chunk_bytes:
            lacking = [v for v in self._state.tree.get(sending.keys[0]) if not link.est.has(v.inc, v.tick)]
            if len(lacking) <= 1:
                sending.keys.popleft()
            for version in lacking[:1]:
                link.has_now(version)
                chunk.append(version)
                size += size_of(version)
        if chunk:
            link.window += size
            self._send(link, Versions(tuple(chunk), prompt=False))

    def _finish(self, link: Link, sending: Sending, now: Now) -> None:
        assert link.est is not None
        self._flush_link(link)  # the ranges may rest on what was offered meanwhile
        for inc, ticks in sending.ranges.items():
            link.est.union(inc, ticks)
        link.sending = None
        ranges = {} if link.partial else {inc: t.bounds for inc, t in sending.ranges.items()}
        self._send(link, End(ranges, link.digests_in, sending.settle))
        if sending.settle:
            link.end_sent = True
            self._compare(link)
        for inc in sending.incs:
            if not self._state.known[inc] <= link.est[inc]:
                marks.hit("session-superseded-midway")
                link.dirty[inc] = None
        if link.dirty:
            self.start(link, now, settle=False)

    def _compare(self, link: Link) -> None:
        """Both sessions are complete: let the peer compare its tree with ours (R5)."""
        if link.end_sent and link.end_got:
            self.send_check(link, settle=True)

    def send_check(self, link: Link, *, settle: bool) -> None:
        """Tell hash of known and fingerprint."""
        self._send(link, Check(self._state.known.hash(), self._state.tree.print_of_all, settle))

    def offer(self, versions: Sequence[Version], source: Link | None, now: Now) -> None:
        """Changes became known here: hand them to every peer that lacks them, at once or lazily."""
        if not versions:
            return
        run = run_of(versions)
        for link in self._links.values():
            if link is source or link.est is None:
                continue
            if source is None:
                self._offer_to(link, link.est, versions, run, now)
            else:
                self._relay_to(link, link.est, versions, source, now)

    def _relay_to(self, link: Link, est: Known, versions: Sequence[Version], source: Link, now: Now) -> None:
        """Changes that came from `source`: what the peer hears without us is left to others."""
        hears: dict[Incarnation, bool] = {}
        at_once: list[Version] = []
        for version in versions:
            inc = version.inc
            if inc not in hears:
                hears[inc] = self._hears(link, name_of(inc), source)
            if not hears[inc]:
                at_once.append(version)
            elif inc not in link.awaited and not est.has(inc, version.tick) and self._sees_key(link, version.key):
                marks.hit("lazy-relay")
                self._leave(link, version, now)
        if at_once:
            self._offer_to(link, est, at_once, run_of(at_once), now)

    def _offer_to(self, link: Link, est: Known, versions: Sequence[Version], run: Run | None, now: Now) -> None:
        most = self._state.limits.window_bytes
        if run is not None and link.view is None and link.sending is None:
            size = sum(map(size_of, versions))
            if link.window + size <= most and est.extend(*run):
                link.outbox += versions
                link.window += size
                return
        for version in versions:
            if est.has(version.inc, version.tick) or not (link.view is None or self._sees_key(link, version.key)):
                continue
            if link.sending is not None or link.window >= most:
                self.mark_dirty(link, version.inc, now, urgent=True)
            else:
                link.has_now(version)
                link.outbox.append(version)
                link.window += size_of(version)

    def _hears(self, link: Link, origin: str, source: Link) -> bool:
        """Whether a peer probably hears a change without us: from its origin, or from whom we have it. Someone who is
        catching up comes to several peers at once, before they can have told one another: in a mesh to this one, too.
        (Not to a partial replica; and as nobody waits for one, what reaches it late may no longer tell what it
        superseded.)
        """
        if origin == link.name or link.name in source.near or not link.near.isdisjoint((origin, source.name)):
            return True
        catching_up = not source.end_got and not link.partial
        return catching_up and any(k.name in link.near for k in self._links.values() if k is not source)

    def _leave(self, link: Link, version: Version, now: Now) -> None:
        if link.partial:  # what it acknowledges does not tell what it lacks
            self.mark_dirty(link, version.inc, now)
        else:
            self.lazy.leave(link, version.inc, version.tick, now)

    def mark_dirty(self, link: Link, inc: Incarnation, now: Now, *, urgent: bool = False) -> None:
        """The peer may lack something of `inc`; a later session looks, as soon as it can if `urgent`."""
        link.dirty[inc] = None
        due = now.mono + (0 if urgent else self._state.limits.lazy_ms)
        link.lazy_at = due if link.lazy_at is None else min(link.lazy_at, due)

    def dirty_others(self, incs: Iterable[Incarnation], source: Link | None, now: Now) -> None:
        """Ranges became known here: other peers may lack them."""
        for inc in incs:
            for link in self._links.values():
                if link is source or link.est is None:
                    continue
                if link.partial:
                    self.mark_dirty(link, inc, now)
                elif inc not in link.awaited:
                    self.lazy.leave_missing(link, (inc,), now)

    def dropped(self, version: Version, now: Now) -> None:
        """A verdict took this away here (R5). Full peers hear such verdicts themselves, partial ones only from us."""
        for link in self._links.values():
            if link.partial and link.est is not None and self._sees_key(link, version.key):
                link.stale = True
                self.mark_dirty(link, version.inc, now)

    def hurry(self) -> None:
        """A writer waits until what this wake-up has offered is acknowledged."""
        for link in self._links.values():
            link.prompt = bool(link.outbox)

    def flush(self) -> None:
        """Send what this wake-up offered, joined to one message a link; it is the same one where that is the same."""
        last: Versions | None = None
        for link in self._links.values():
            if link.outbox:
                last = self._flush_link(link, last)
            link.prompt = False

    def _flush_link(self, link: Link, same: Versions | None = None) -> Versions | None:
        """Send what was offered, in messages of bounded size; gives the last one. `same` may be what it would be."""
        offered, link.outbox = link.outbox, []
        prompt, link.prompt = link.prompt, False
        start = 0
        if link.window >= self._state.limits.chunk_bytes:  # else it is small enough for one
            size = 0
            for at, version in enumerate(offered):
                size += size_of(version)
                if size >= self._state.limits.chunk_bytes:
                    self._send(link, Versions(tuple(offered[start : at + 1]), prompt))
                    start, size = at + 1, 0
        versions = tuple(offered[start:])
        if not versions:
            return same
        if same is None or same.prompt != prompt or not _are_same(same.versions, versions):
            same = Versions(versions, prompt)
        self._send(link, same)
        return same

    def wake(self, now: Now) -> None:
        """Start the sessions that are due: lazy ones, and those of peers that do not get on."""
        self.digests.go_on(now)
        for link in self._links.values():
            if link.est is None:
                continue
            if link.hold_at is not None:
                link.lazy_at = None
                if link.hold_at <= now.mono:
                    link.hold_at = None
                    self.start(link, now, settle=True)
                continue
            if overdue := self.lazy.overdue(link, now):
                link.dirty.update(dict.fromkeys(overdue))
                link.lazy_at = now.mono
            if link.lazy_at is None or link.lazy_at > now.mono:
                continue
            if link.sending is not None or link.window >= self._state.limits.window_bytes:
                link.lazy_at = None  # the end of the session, or writable(), looks again
            else:
                self.start(link, now, settle=False)

    def writable(self, link: Link, now: Now) -> None:
        """The link's output has drained."""
        link.window = 0
        self.pump(link, now)
        waits = link.hold_at is not None or link.lazy_at is not None or link.sending is not None
        if link.dirty and not waits and link.est is not None:
            self.start(link, now, settle=False)

    def due(self, link: Link, due: int) -> int:
        """When :meth:`wake` is due for this link, or `due` if that is earlier."""
        if link.holding and (until := self.digests.fed_until(link)) is not None and until < due:
            due = until
        if link.hold_at is not None:
            return min(due, link.hold_at)
        if link.lazy_at is not None and link.lazy_at < due:
            due = link.lazy_at
        if link.awaited and (at := self.lazy.next_deadline(link)) is not None and at < due:
            due = at
        return due

    # -- receiving -------------------------------------------------------------------------------------------

    def refuses(self, link: Link, inc: Incarnation, tick: int) -> bool:
        """R3: a closed incarnation's ticks come only from a peer that has the closing record, too."""
        return self._guards(link, inc) and not self._state.known.has(inc, tick)

    def _guards(self, link: Link, inc: Incarnation) -> bool:
        """Whether what this peer says of `inc` is not to be taken. One that holds it durably without a hole is
        believed: it may have dropped the mark because nothing was missing anywhere. (Durably: what it had in memory
        only could be gone again, and be void by the word of those who never heard of it.)
        """
        if not self._state.is_closed(inc) or durable_twin(inc) in link.marks:
            return False
        held = link.durable[inc]
        return not held or not held.is_whole or not self._state.known[inc] <= held

    def taint(self, link: Link, incs: Iterable[Incarnation]) -> None:
        """Something of the running session was refused: its ranges, and all until a new digest, are void."""
        marks.hit("refused-closed")
        link.taint = link.digests_out
        link.refused.update(incs)

    def retry(self, link: Link, now: Now) -> None:
        """The peer's word may count by now: ask again for what was refused."""
        if link.taint == link.digests_out and not all(self._guards(link, inc) for inc in link.refused):
            self.digests.send_digest(link, now)

    def on_end(self, link: Link, message: End, now: Now) -> None:
        """The end of the peer's session: apply its ranges; then compare, if both directions are through."""
        self._apply(link, read_ranges(message.ranges), message.epoch, now)
        if message.settle and message.epoch == link.digests_out:
            link.end_got, link.holding, link.fed_at = True, False, None
            self._compare(link)
            self.digests.go_on(now)

    def _apply(self, link: Link, ranges: dict[Incarnation, Ticks], epoch: int, now: Now) -> None:
        """Apply a session's ranges, behind all of its versions; those of a tainted session are void."""
        state = self._state
        if link.est is not None:
            for inc, ticks in ranges.items():
                link.est.union(inc, ticks)
        if state.view is not None:
            return
        if link.partial:  # R8: it can speak of nothing but its own writes
            ranges = {inc: ticks for inc, ticks in ranges.items() if name_of(inc) == link.name}
        if epoch <= link.taint:
            marks.hit("session-tainted")
            return
        for inc, ticks in ranges.items():
            self.on_ahead(inc, ticks.highest, now)
        refused = [i for i, t in ranges.items() if self._guards(link, i) and not t <= state.known[i]]
        if refused:
            self.taint(link, refused)
            return
        self.dirty_others([i for i, t in ranges.items() if state.learn(i, t)], link, now)


def size_of(version: Version) -> int:
    """About what a version takes in a message."""
    return len(version.body) + _ENVELOPE_BYTES


def _are_same(some: Sequence[Version], others: Sequence[Version]) -> bool:
    """Whether these are the very same objects: equal ones may differ in their vectors."""
    return len(some) == len(others) and all(map(is_, some, others))


def _held(missing: Ticks, places: Places) -> list[tuple[int, bytes]]:
    """The missing ticks that are live, ascending, with their keys; walks whichever of the two is smaller."""
    few = places.count < len(missing)
    ticks: Iterable[int] = sorted(tick for tick in places if tick in missing) if few else missing
    return [(tick, key) for tick in ticks if (key := places.get(tick)) is not None]
