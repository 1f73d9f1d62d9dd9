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
from .link import Link, Telling, Told
from .messages import Ack, AckState, Process
from .state import State
from .sync import SendTo, read_ranges
from .ticks import EMPTY, Dot, Incarnation, Known, Ticks, check_name, is_volatile, name_of, volatile_twin


@dataclass(slots=True)
class Held:
    """What one process of a name holds durably, and when it gave signs of life (on our clock, relays deducted)."""

    session: int
    born: int
    known: Known = field(default_factory=Known)
    marks: frozenset[Incarnation] = frozenset()
    links: tuple[Process, ...] = ()
    beat: int = -1
    alive: int = 0


class Acks:
    """Acknowledgements at one replica, which was born at `now`."""

    def __init__(self, state: State, links: dict[int, Link], send: SendTo, now: Now) -> None:
        self._state: Final = state
        self._links: Final = links
        self._send: Final = send
        self._born: Final = now.mono
        self._held: dict[str, list[Held]] = {}
        """Per name its sessions, the current one last."""
        self.duplicates: set[str] = set()
        self._rejoined: set[int] = set()
        """Earlier processes of our name for which we have rejoined."""
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
        if self._state.view is not None or self.duplicates & {*self._state.members, self._state.name}:
            return EMPTY  # a partial replica (R8) cannot tell
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

    def highest(self, inc: Incarnation) -> int:
        """The highest tick of `inc` that anybody is known to hold."""
        return max((held.known[inc].highest for sessions in self._held.values() for held in sessions), default=0)

    # -- sending ---------------------------------------------------------------------------------------------

    def introduce(self, link: Link, now: Now) -> None:
        """Everything is to be told on this link, as differences to our digest: when it begins, and now and then anew,
        in case the peer had to drop what it heard.
        """
        link.told = {}
        link.tell = {(self._state.name, self._state.session): Telling(None)}
        for name, sessions in self._held.items():
            for held in sessions:
                self._tell(link, name, held, (), now)
        self._due(link, now, self._state.limits.ack_delay_ms)

    def grown(self, incs: Iterable[Incarnation], now: Now) -> None:
        """More is durable here (or marks or links changed, with no `incs`): tell every peer."""
        changed = set(incs)
        key = (self._state.name, self._state.session)
        for link in self._links.values():
            if not link.introduced:
                continue
            telling = link.tell.setdefault(key, Telling(set()))
            if telling.changed is not None:
                telling.changed |= changed
            self._due(link, now, self._state.limits.ack_delay_ms)

    def _tell(self, link: Link, name: str, held: Held, changed: Iterable[Incarnation], now: Now) -> None:
        """Relay, unless the peer hears it from the process itself. The first word on a link tells everything."""
        key = (name, held.session)
        if key == (link.name, link.session) or key in link.links:
            return
        telling = link.tell.setdefault(key, Telling(set() if key in link.told else None))
        if telling.changed is not None:
            telling.changed.update(changed)
        self._due(link, now, self._state.limits.relay_ack_delay_ms)

    def _due(self, link: Link, now: Now, delay: int) -> None:
        due = now.mono + delay
        link.ack_at = due if link.ack_at is None else min(link.ack_at, due)

    def wake(self, now: Now) -> bool:
        """Show signs of life, and send what is due; says whether a clone has ended, so that forgetting can go on."""
        cleared = self._clear_duplicates(now)
        if now.mono >= self.beat_at and self._links:
            self.beat_at = now.mono + self._state.limits.beat_ms
            self.grown((), now)
        due = [k for k in self._links.values() if k.ack_at is not None and k.ack_at <= now.mono]
        self.beat += bool(due)
        for link in due:
            self._flush(link, now)
        return cleared

    def _flush(self, link: Link, now: Now) -> None:
        link.ack_at = None
        states = [s for key, telling in link.tell.items() if (s := self._state_of(link, key, telling.changed, now))]
        link.tell = {}
        if states:
            self._send(link, Ack(tuple(states)))

    def _state_of(self, link: Link, key: Process, changed: set[Incarnation] | None, now: Now) -> AckState | None:
        name, session = key
        if key == (self._state.name, self._state.session):
            mine = tuple(sorted((k.name, k.session) for k in self._links.values() if k.introduced))
            held = Held(session, 0, self._state.durable, self._state.durable_marks, mine, self.beat, now.mono)
        else:
            found = next((h for h in self._held.get(name, ()) if h.session == session), None)
            if found is None:
                return None
            held = found
        told = link.told.setdefault(key, Told())
        ranges, as_digest = self._ranges(link, told, held.known, changed)
        marks_there = tuple(sorted(held.marks))
        new_marks = None if marks_there == told.marks else marks_there
        new_links = None if held.links == told.links else held.links
        told.marks, told.links = marks_there, held.links
        age = max(now.mono - held.alive, 0)
        return AckState(name, session, held.beat, ranges, new_marks, new_links, as_digest, age)

    def _ranges(
        self, link: Link, told: Told, of: Known, changed: set[Incarnation] | None
    ) -> tuple[dict[Incarnation, tuple[int, ...]], bool]:
        """What is more than was told; the first time everything, as the difference to our last digest (then the second
        result is true) if that is shorter.
        """
        if changed is None:
            said = link.said
            differing = [inc for inc in sorted({*of.map, *said.map}) if of[inc] != said[inc]]
            told.known = dict(of.map)
            as_digest = len(differing) <= len(of.map)
            return {inc: of[inc].bounds for inc in (differing if as_digest else sorted(of.map))}, as_digest
        more = {inc: of[inc] - told.known.get(inc, EMPTY) for inc in sorted(changed)}
        told.known.update((inc, of[inc]) for inc in changed)
        return {inc: ticks.bounds for inc, ticks in more.items() if ticks}, False

    # -- receiving -------------------------------------------------------------------------------------------

    def receive(self, link: Link, ack: AckState, now: Now) -> bool:
        """Take note of an acknowledgement; says whether it may let something be stripped or forgotten."""
        known = (dict(link.base.map) if ack.as_digest else {}) | read_ranges(ack.known)
        if (ack.name, ack.session) == (self._state.name, self._state.session):
            return False
        held = self._session(ack, now)
        if ack.name == self._state.name and self._state.view is None:
            self._own_name(known, ack.session)
        changed = {inc for inc, ticks in known.items() if held.known.union(inc, ticks)}
        fresh, spoke = ack.beat > held.beat, self.current(ack.name)
        if fresh:
            self._sign_of_life(ack, held, now)
        direct = ack.name == link.name and ack.session == link.session
        new_marks = held.marks if ack.marks is None or not (fresh or direct) else frozenset(ack.marks)
        news = bool(changed) or new_marks != held.marks
        held.marks = new_marks
        if not (news or fresh):
            return False
        if direct:
            self._direct(link, held, changed, now)
        self._adopt(ack.name, held)
        for other in self._links.values():
            if other is not link and other.introduced:
                self._tell(other, ack.name, held, changed, now)
        return news or self.current(ack.name) is not spoke

    def _session(self, ack: AckState, now: Now) -> Held:
        check_name(ack.name)
        sessions = self._held.setdefault(ack.name, [])
        for held in sessions:
            if held.session == ack.session:
                return held
        lived = now.mono - max(ack.age_ms, 0)
        held = Held(ack.session, lived, alive=lived)
        sessions.append(held)
        sessions.sort(key=lambda h: h.alive)
        self._trim(ack.name)
        return held

    def _trim(self, name: str) -> None:
        """Forget the longest silent processes of a name, and names that are no members, above the bounds."""
        del self._held[name][: -self._state.limits.sessions_per_name]
        if len(self._held) > self._state.limits.names:
            linked = {link.name for link in self._links.values()}
            idle = next((n for n in self._held if n not in self._state.members and n not in linked and n != name), None)
            if idle is not None:
                del self._held[idle]

    def _direct(self, link: Link, held: Held, changed: set[Incarnation], now: Now) -> None:
        """The peer's own word: what it has need not be sent, and what it no longer hears itself must be relayed."""
        gone = link.linked_to(held.links)
        link.marks, link.durable = held.marks, held.known
        if link.est is not None:
            for inc in changed:
                link.est.union(inc, held.known[inc])
        for name, session in sorted(gone):
            for other in self._held.get(name, ()):
                if other.session == session:
                    self._tell(link, name, other, other.known.map, now)

    def _adopt(self, name: str, held: Held) -> None:
        """A mark that a member has holds here, too (R3), unless nothing of its incarnation is missing anywhere. Of a
        partial replica, which is no member and always misses something, those of its own runs count that have holes
        here.
        """
        known, member = self._state.known, name in self._state.members
        for base in sorted(held.marks - self._state.closed):
            pair = (base, volatile_twin(base))
            holed = any(not known[i].is_whole for i in pair)
            differs = member and any(known[i] != held.known[i] for i in pair)
            if base == self._state.inc or differs or (holed and (member or name_of(base) == name)):
                self._state.reopen((base,))

    def forget_session(self, link: Link, now: Now) -> None:
        """A hello came: whatever was believed of this process counts no more, and it speaks for its name (R9)."""
        sessions = self._held.setdefault(link.name, [])
        old = next((h for h in sessions if h.session == link.session), None)
        held = Held(link.session, now.mono)
        if old:
            sessions.remove(old)
            held.beat, held.born = old.beat, old.born
        held.marks, held.alive = link.marks, now.mono
        sessions.append(held)
        self._trim(link.name)

    def _own_name(self, known: dict[Incarnation, Ticks], session: int) -> None:
        """Another process of our name: if it held more than we do, our store is an older one (trace 10). One rejoin
        brings back what there is.
        """
        lost = [inc for inc, ticks in known.items() if not is_volatile(inc) and not ticks <= self._state.known[inc]]
        done = self._state.behind or self._state.name in self.duplicates or session in self._rejoined
        if lost and not done:
            self._rejoined.add(session)
            marks.hit("restored-store")
            self._state.behind = self._state.rejoining = True
            self._state.report(
                "restored_store",
                self._state.name,
                "this node once held more than its store does (an old backup?); what is missing comes from its peers",
            )

    # -- clones ----------------------------------------------------------------------------------------------

    def _sign_of_life(self, ack: AckState, held: Held, now: Now) -> None:
        """The beat went up: the process lived when it said so. The one that lived last speaks for its name, and two
        that lived at the same time for a while are clones (R3).
        """
        first = held.beat < 0
        held.beat = ack.beat
        held.links = held.links if ack.links is None else ack.links
        lived = now.mono - max(ack.age_ms, 0)
        held.alive = max(held.alive, lived)
        if first:
            held.born = min(held.born, lived)
        sessions = self._held[ack.name]
        sessions.sort(key=lambda h: h.alive)
        if self._overlap(ack.name, held, now):
            self._flag(ack.name)

    def _overlap(self, name: str, held: Held, now: Now) -> bool:
        """Whether `held` and another process of the name both lived through a stretch of time, and lately."""
        lives = [(h.born, h.alive) for h in self._held[name] if h is not held]
        if name == self._state.name:
            lives.append((self._born, now.mono))
        since = now.mono - self._state.limits.duplicate_clear_ms
        grace = self._state.limits.duplicate_grace_ms
        return held.alive > since and any(
            alive > since and min(alive, held.alive) - max(born, held.born) >= grace for born, alive in lives
        )

    def rival_spoke(self, link: Link, now: Now) -> None:
        """A message came from a process while there is a newer link to another one of its name. A link that is only
        half dead says nothing, so the older process lives, and for longer than a restart takes.
        """
        before = now.mono - self._state.limits.duplicate_grace_ms
        others = (k for k in self._links.values() if k.name == link.name and k.session != link.session)
        if any(link.greeted_at <= other.greeted_at <= before for other in others):
            self._flag(link.name)
        for held in self._held.get(link.name, ()):
            if held.session == link.session:
                held.alive = now.mono

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

    def _clear_duplicates(self, now: Now) -> bool:
        since = now.mono - self._state.limits.duplicate_clear_ms
        cleared = False
        for name in sorted(self.duplicates):
            alive = {h.session for h in self._held.get(name, ()) if h.alive > since}
            if len(alive) + (name == self._state.name) < 2:
                self.duplicates.discard(name)
                cleared = True
                self._state.report("duplicate_session", name, "one process of this name again", resolved=True)
        return cleared

    def next_deadline(self) -> int | None:
        """When :meth:`wake` is due."""
        if not self._links:
            return None
        due = [link.ack_at for link in self._links.values() if link.ack_at is not None]
        return min([self.beat_at, *due])
