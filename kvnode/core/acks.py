"""Acknowledgements: what every process is known to hold durably, its own word or relayed (R9), and clones (R3).

Within one process durable knowledge only grows, so what is said of a session is united, in whatever order it
comes; a new session starts from nothing. Stale words cost progress, never safety.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from . import marks
from .effects import Now
from .link import Link, Telling
from .messages import Ack, AckState
from .state import State
from .sync import SendTo, read_ranges
from .ticks import EMPTY, Dot, Incarnation, Known, Ticks


@dataclass(slots=True)
class Held:
    """What one process of a name holds durably, and its signs of life."""

    session: int
    first_seen: int
    known: Known = field(default_factory=Known)
    marks: frozenset[Incarnation] = frozenset()
    links: tuple[str, ...] = ()
    beat: int = -1
    progress: int = 0
    """When the beat last went up."""
    lives: int = 0
    """Signs of life after a newer session of the name had been there for a while."""


class Acks:
    """Acknowledgements at one replica."""

    def __init__(self, state: State, links: dict[int, Link], send: SendTo) -> None:
        self._state: Final = state
        self._links: Final = links
        self._send: Final = send
        self._held: dict[str, list[Held]] = {}
        """Per name its sessions, the current one last."""
        self.duplicates: set[str] = set()
        self.beat = 0
        self.beat_at = 0

    # -- looking ---------------------------------------------------------------------------------------------

    def current(self, name: str) -> Held | None:
        """The process that speaks for a name now."""
        held = self._held.get(name)
        return held[-1] if held else None

    def others(self) -> list[str]:
        """All members but this node."""
        return [name for name in self._state.members if name != self._state.name]

    def floor(self, inc: Incarnation) -> Ticks:
        """The ticks that this node and every member hold durably. Clones hold nothing."""
        if self.duplicates & {*self._state.members, self._state.name}:
            return EMPTY
        ticks = self._state.durable[inc]
        for name in self.others():
            held = self.current(name)
            if held is None:
                return EMPTY
            ticks &= held.known[inc]
        return ticks

    def ackers(self, dot: Dot) -> set[str]:
        """The other members that hold this dot durably."""
        return {name for name in self.others() if name not in self.duplicates and self._has(name, dot)}

    def _has(self, name: str, dot: Dot) -> bool:
        held = self.current(name)
        return held is not None and held.known.has(dot.inc, dot.tick)

    # -- sending ---------------------------------------------------------------------------------------------

    def introduce(self, link: Link, now: Now) -> None:
        """A link's estimate begins: everything is yet to be told on it, as differences to our digest."""
        link.tell = {(self._state.name, self._state.session): Telling(None)}
        for name, sessions in self._held.items():
            for held in sessions:
                self._tell(link, name, held, None, now)
        self._due(link, now, self._state.limits.ack_delay_ms)

    def grown(self, incs: Iterable[Incarnation], now: Now) -> None:
        """More is durable here (or marks or links changed, with no `incs`): tell every peer."""
        changed = set(incs)
        key = (self._state.name, self._state.session)
        for link in self._links.values():
            if link.est is None:
                continue
            telling = link.tell.setdefault(key, Telling(set()))
            if telling.changed is not None:
                telling.changed |= changed
            self._due(link, now, self._state.limits.ack_delay_ms)

    def _tell(self, link: Link, name: str, held: Held, changed: set[Incarnation] | None, now: Now) -> None:
        """Relay, unless the peer hears it from the process itself."""
        if (name == link.name and held.session == link.session) or name in link.links:
            return
        key = (name, held.session)
        telling = link.tell.get(key)
        if telling is None:
            first = changed is None or key not in link.told
            link.tell[key] = Telling(None if first or changed is None else set(changed))
        elif changed is None:
            telling.changed = None
        elif telling.changed is not None:
            telling.changed |= changed
        self._due(link, now, self._state.limits.relay_ack_delay_ms)

    def _due(self, link: Link, now: Now, delay: int) -> None:
        due = now.mono + delay
        link.ack_at = due if link.ack_at is None else min(link.ack_at, due)

    def wake(self, now: Now) -> None:
        """Show signs of life, and send what is due."""
        self._clear_duplicates(now)
        if now.mono >= self.beat_at and self._links:
            self.beat_at = now.mono + self._state.limits.beat_ms
            self.grown((), now)
        due = [k for k in self._links.values() if k.ack_at is not None and k.ack_at <= now.mono and k.est is not None]
        self.beat += bool(due)
        for link in due:
            self._flush(link)

    def _flush(self, link: Link) -> None:
        link.ack_at = None
        states = [s for key, telling in link.tell.items() if (s := self._state_of(link, key, telling.changed))]
        link.tell = {}
        if states:
            self._send(link, Ack(tuple(states)))

    def _state_of(self, link: Link, key: tuple[str, int], changed: set[Incarnation] | None) -> AckState | None:
        name, session = key
        if key == (self._state.name, self._state.session):
            mine = tuple(sorted(link.name for link in self._links.values() if link.est is not None))
            marks_here = tuple(sorted(self._state.durable_marks))
            ranges = self._ranges(link, key, self._state.durable, changed)
            return AckState(name, session, self.beat, ranges, marks_here, mine, changed is None)
        for held in self._held.get(name, ()):
            if held.session == session:
                ranges = self._ranges(link, key, held.known, changed)
                return AckState(
                    name, session, held.beat, ranges, tuple(sorted(held.marks)), held.links, changed is None
                )
        return None

    def _ranges(
        self, link: Link, key: tuple[str, int], of: Known, changed: set[Incarnation] | None
    ) -> dict[Incarnation, tuple[int, ...]]:
        """What is more than was told; the first time, the incarnations in which `of` is not as in our last digest."""
        if changed is None:
            said = link.said
            link.told[key] = dict(of.map)
            return {inc: of[inc].bounds for inc in sorted({*of.map, *said.map}) if of[inc] != said[inc]}
        told = link.told.setdefault(key, {})
        more = {inc: of[inc] - told.get(inc, EMPTY) for inc in sorted(changed)}
        told.update((inc, of[inc]) for inc in changed)
        return {inc: ticks.bounds for inc, ticks in more.items() if ticks}

    # -- receiving -------------------------------------------------------------------------------------------

    def receive(self, link: Link, ack: AckState, now: Now) -> bool:
        """Take note of an acknowledgement; says whether it may let something be stripped or forgotten."""
        known = (dict(link.base.map) if ack.as_digest else {}) | read_ranges(ack.known)
        if (ack.name, ack.session) == (self._state.name, self._state.session):
            return False
        if ack.name == self._state.name:
            self._own_name(known)
        held, fresh = self._session(ack, now)
        changed = {inc for inc, ticks in known.items() if held.known.union(inc, ticks)}
        news = bool(changed) or not held.marks >= set(ack.marks)
        held.marks |= frozenset(ack.marks)
        if ack.beat > held.beat:
            held.beat, held.links = ack.beat, ack.links
            self._sign_of_life(ack.name, held, now)
        elif not news:
            return False
        if ack.name == link.name and ack.session == link.session:
            link.marks, link.links = frozenset(ack.marks), frozenset(ack.links)
            if link.est is not None:
                for inc in changed:
                    link.est.union(inc, held.known[inc])
        self._relay(link, ack.name, held, None if fresh else changed, now)
        return news

    def _session(self, ack: AckState, now: Now) -> tuple[Held, bool]:
        sessions = self._held.setdefault(ack.name, [])
        for held in sessions:
            if held.session == ack.session:
                return held, False
        held = Held(ack.session, now.mono)
        sessions.append(held)
        del sessions[: -self._state.limits.sessions_per_name]
        return held, True

    def forget_session(self, link: Link, now: Now) -> None:
        """A hello came: whatever was believed of this process counts no more, and it speaks for its name (R9)."""
        sessions = self._held.setdefault(link.name, [])
        old = next((h for h in sessions if h.session == link.session), None)
        held = Held(link.session, old.first_seen if old else now.mono)
        if old:
            sessions.remove(old)
            held.beat, held.progress, held.lives = old.beat, old.progress, old.lives
        held.marks = link.marks
        sessions.append(held)
        del sessions[: -self._state.limits.sessions_per_name]

    def _relay(self, source: Link, name: str, held: Held, changed: set[Incarnation] | None, now: Now) -> None:
        for link in self._links.values():
            if link is not source and link.est is not None:
                self._tell(link, name, held, changed, now)

    def _own_name(self, known: dict[Incarnation, Ticks]) -> None:
        """Another process of our name: if it held more than we do, our store is an older one (trace 10)."""
        lost = [inc for inc, ticks in known.items() if not ticks <= self._state.known[inc]]
        if lost and not self._state.behind:
            marks.hit("restored-store")
            self._state.behind = self._state.rejoining = True
            self._state.report(
                "restored_store",
                self._state.name,
                "this node once held more than its store does (an old backup?); what is missing comes from its peers",
            )

    # -- clones ----------------------------------------------------------------------------------------------

    def _sign_of_life(self, name: str, held: Held, now: Now) -> None:
        """The beat went up. An older session that goes on living beside a newer one is a clone (R3); one late word
        from it, relayed over a link that was down, is not.
        """
        grace = self._state.limits.duplicate_grace_ms
        if now.mono - held.progress >= grace:
            newer = self._born_after(name, held)
            held.lives += newer is not None and now.mono - newer >= grace
        held.progress = now.mono
        sessions = self._held[name]
        if held.lives >= 2:
            self._flag(name)
        if sessions[-1] is not held and name not in self.duplicates:
            sessions.remove(held)
            sessions.append(held)

    def _born_after(self, name: str, held: Held) -> int | None:
        """When the first session newer than `held` was seen; our own is as old as this process."""
        if name == self._state.name:
            return 0
        newer = [h.first_seen for h in self._held[name] if h is not held and h.first_seen > held.first_seen]
        return min(newer) if newer else None

    def both_linked(self, link: Link) -> None:
        """Two links to two processes of one name that both spoke after their hello."""
        for other in self._links.values():
            if other is link or other.name != link.name or other.session == link.session:
                continue
            if other.heard_after_hello and link.heard_after_hello:
                self._flag(link.name)

    def _flag(self, name: str) -> None:
        if name in self.duplicates:
            return
        marks.hit("duplicate-session")
        self.duplicates.add(name)
        self._state.report(
            "duplicate_session",
            name,
            f"two live processes call themselves {name!r} (a cloned store?): stop one of them; "
            "until then nothing is forgotten and neither's acknowledgements count",
        )

    def _clear_duplicates(self, now: Now) -> None:
        since = now.mono - self._state.limits.duplicate_clear_ms
        for name in list(self.duplicates):
            alive = [h for h in self._held.get(name, ()) if h.progress > since]
            linked = {link.session for link in self._links.values() if link.name == name}
            own = name == self._state.name
            if len({h.session for h in alive} | linked) + own < 2:
                self.duplicates.discard(name)
                for held in self._held.get(name, ()):
                    held.lives = 0
                self._state.report("duplicate_session", name, "one process of this name again", resolved=True)

    def next_deadline(self) -> int | None:
        """When :meth:`wake` is due."""
        if not self._links:
            return None
        due = [link.ack_at for link in self._links.values() if link.ack_at is not None and link.est is not None]
        return min([self.beat_at, *due])
