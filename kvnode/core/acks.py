"""Acknowledgements: what every process is known to hold durably, its own word or relayed (R9), and clones (R3).

Within one process durable knowledge only grows, so what is said of a session is united, in whatever order it
comes; a new session starts from nothing. Stale words cost progress, never safety.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from . import marks
from .digests import SendTo, read_ranges
from .effects import Now
from .link import Link, Telling, Told
from .messages import MORE_LINKS, Ack, AckState, MoreLinks, Process
from .processes import Held, Processes
from .state import State
from .ticks import EMPTY, Dot, Incarnation, Known, Ticks, check_name, is_volatile, name_of, volatile_twin


class Acks:
    """Acknowledgements at one replica, which was born at `now`."""

    def __init__(self, state: State, links: dict[int, Link], send: SendTo, now: Now) -> None:
        self._state: Final = state
        self._links: Final = links
        self._send: Final = send
        self.processes: Final = Processes(state, links, now)
        self._rejoined: set[int] = set()
        """Earlier processes of our name for which we have rejoined."""
        self.beat = 0
        self.beat_at = 0

    # -- looking ---------------------------------------------------------------------------------------------

    def others(self) -> list[str]:
        """All members but this node."""
        return [name for name in self._state.members if name != self._state.name]

    def floor(self, inc: Incarnation) -> Ticks:
        """The ticks that this node and every member hold durably. Who may be a clone holds nothing."""
        if self._state.view is not None or self.processes.is_contested(self._state.members):
            return EMPTY  # a partial replica (R8) cannot tell
        ticks = self._state.durable[inc]
        for name in self.others():
            held = self.processes.current(name)
            if held is None:
                return EMPTY
            ticks &= held.known[inc]
        return ticks

    def ackers(self, dot: Dot) -> set[str]:
        """The other members that hold this dot durably."""
        return {name for name in self.others() if name not in self.processes.duplicates and self._has(name, dot)}

    def _has(self, name: str, dot: Dot) -> bool:
        held = self.processes.current(name)
        return held is not None and held.known.has(dot.inc, dot.tick)

    # -- sending ---------------------------------------------------------------------------------------------

    def introduce(self, link: Link, now: Now) -> None:
        """Everything is to be told on this link, as differences to our digest: when it begins, and now and then anew,
        in case the peer had to drop what it heard. Of others only once the peer's own links may have come: in a mesh it
        hears them itself. But what is known of earlier processes of its name it hears at once (R3).
        """
        limits = self._state.limits
        link.told, link.tell = {}, {}
        self._tell_own(link, None, now.mono + limits.ack_delay_ms)
        for name, of in self.processes.items():
            delay = limits.ack_delay_ms if name == link.name else limits.links_delay_ms + limits.relay_ack_delay_ms
            for held in of:
                self._tell(link, name, held, (), now.mono + delay)

    def grown(self, incs: Iterable[Incarnation], now: Now) -> None:
        """More is durable here (or marks or links changed, with no `incs`): tell every peer."""
        changed, limits = set(incs), self._state.limits
        for link in self._links.values():
            if link.introduced:
                delay = limits.ack_delay_ms if link.hurry is None else limits.prompt_ack_delay_ms
                self._tell_own(link, changed, now.mono + delay)

    def _tell_own(self, link: Link, changed: set[Incarnation] | None, due: int) -> None:
        key = (self._state.name, self._state.session)
        telling = link.tell.get(key)
        if telling is None:
            link.tell[key] = Telling(None if changed is None else set(changed), due)
        else:
            telling.due = min(telling.due, due)
            if telling.changed is not None and changed:
                telling.changed |= changed
        _plan(link, due)

    def hurry(self, link: Link, now: Now) -> None:
        """At the peer a writer waits for what has just come from it. The next transaction stores it, if it is no news
        an earlier one.
        """
        link.hurry = self._state.next_token
        if (self._state.name, self._state.session) in link.tell:
            self._tell_own(link, set(), now.mono + self._state.limits.prompt_ack_delay_ms)

    def stored(self, token: int, changed: Iterable[Incarnation], now: Now) -> None:
        """A transaction is durable, and by it more of these incarnations (or marks)."""
        self.grown(changed, now)
        for link in self._links.values():
            if link.hurry is not None and link.hurry <= token:
                link.hurry = None

    def _relay(self, link: Link, name: str, held: Held, changed: Iterable[Incarnation], now: Now) -> None:
        """Tell what has changed at another process."""
        self._tell(link, name, held, changed, now.mono + self._state.limits.relay_ack_delay_ms)

    def _tell(self, link: Link, name: str, held: Held, changed: Iterable[Incarnation], due: int) -> None:
        """Relay, unless the peer hears it from the process itself. The first word on a link tells everything."""
        key = (name, held.session)
        if key == (link.name, link.session) or key in link.links:
            return
        telling = link.tell.get(key)
        if telling is None:
            telling = link.tell[key] = Telling(set() if key in link.told else None, due)
        if telling.changed is not None:
            telling.changed.update(changed)
        _plan(link, telling.due)

    def wake(self, now: Now) -> bool:
        """Show signs of life, and send what is due; says whether a clone has ended, so that forgetting can go on."""
        cleared = self.processes.clear(now)
        if now.mono >= self.beat_at and self._links:
            self.beat_at = now.mono + self._state.limits.beat_ms
            self.grown((), now)
        due = [k for k in self._links.values() if k.ack_at is not None and k.ack_at <= now.mono]
        self.beat += bool(due)
        if due:
            own = self._own(now)
            for link in due:
                self._flush(link, own, now)
        return cleared

    def _flush(self, link: Link, own: Held, now: Now) -> None:
        link.ack_at = None
        tell, link.tell = link.tell, {}
        states = []
        for process, telling in tell.items():
            if telling.due > now.mono:
                link.tell[process] = telling
                _plan(link, telling.due)
                continue
            if process[1] == own.session:
                held: Held | None = own
            else:  # by now the peer may hear it from the process itself
                held = None if process in link.links else self.processes.find(process)
            if held is not None:
                states.append(self._state_of(link, process, held, telling.changed, now))
        if states:
            self._send(link, Ack(tuple(states)))

    def _own(self, now: Now) -> Held:
        """This process, like those of others."""
        state = self._state
        links = tuple(sorted((k.name, k.session) for k in self._links.values() if k.introduced))
        born = self.processes.born
        return Held(state.session, born, now.mono, None, state.durable, state.durable_marks, links, self.beat)

    def _state_of(
        self, link: Link, process: Process, held: Held, changed: set[Incarnation] | None, now: Now
    ) -> AckState:
        told = link.told.setdefault(process, Told())
        ranges, as_digest = self._ranges(link, told, held.known, changed)
        closed = tuple(sorted(held.marks)) if held.marks else ()
        new_marks = None if closed == told.marks else closed
        told.marks = closed
        links = self._links_to_tell(link, process, held, told, now)
        age = max(now.mono - held.alive, 0)
        born = max(now.mono - held.born, 0) if changed is None else None
        return AckState(*process, held.beat, ranges, new_marks, links, as_digest, age, born)

    def _links_to_tell(
        self, link: Link, process: Process, held: Held, told: Told, now: Now
    ) -> tuple[Process, ...] | None:
        """A process's links, if they are not as last told. Where links come up one after the other, as when a cluster
        starts, they are told together: what a peer does not know of saves it a copy at most. A lost one cannot wait.
        Of our own, the new ones are enough where no other is lost: else each link in a mesh costs a list of them all.
        """
        if held.links == told.links:
            return None
        due = told.links_at + self._state.limits.links_delay_ms
        grown = told.links is not None and set(held.links).issuperset(told.links)
        if grown and now.mono < due:
            link.tell[process] = Telling(set(), due)
            _plan(link, due)
            return None
        had, told.links, told.links_at = told.links, held.links, now.mono
        if had is None or not grown or process[1] != self._state.session or MORE_LINKS not in link.features:
            return held.links
        self._send(link, MoreLinks(tuple(sorted(set(held.links).difference(had)))))
        return None

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
        said = read_ranges(ack.known)
        known = dict(link.base.map) | said if ack.as_digest else said
        if (ack.name, ack.session) == (self._state.name, self._state.session):
            return False
        lived = now.mono - max(ack.age_ms, 0)
        born = None if ack.born_ms is None else now.mono - max(ack.born_ms, 0)
        held = self.processes.heard_of((check_name(ack.name), ack.session), lived, born)
        if ack.name == self._state.name and self._state.view is None:
            self._own_name(known, ack.session)
        changed = {inc for inc, ticks in known.items() if held.known.union(inc, ticks)}
        fresh, spoke = ack.beat > held.beat, self.processes.current(ack.name)
        direct = ack.name == link.name and ack.session == link.session
        self._take_links(ack, held, direct=direct)
        if fresh:
            held.beat = ack.beat
            self.processes.lives(ack.name, held, lived, now)
        new_marks = held.marks if ack.marks is None or not (fresh or direct) else frozenset(ack.marks)
        news = bool(changed) or new_marks != held.marks
        held.marks = new_marks
        if direct:
            self._direct(link, held, said, now)
        if not (news or fresh):
            return False
        self._adopt(ack.name, held)
        process = (ack.name, ack.session)
        for other in self._links.values():
            if process not in other.links and other is not link and other.introduced:
                self._relay(other, ack.name, held, changed, now)
        return news or self.processes.current(ack.name) is not spoke

    def _take_links(self, ack: AckState, held: Held, *, direct: bool) -> None:
        """What a process says of its links itself counts; what others say, if they heard it later than what is held."""
        if ack.links is None or (not direct and ack.beat < held.links_beat):
            return
        process = (ack.name, ack.session)
        if direct or not any((link.name, link.session) == process for link in self._links.values()):
            held.links, held.links_beat = ack.links, ack.beat

    def on_more_links(self, link: Link, message: MoreLinks, _now: Now) -> None:
        """A peer has these links, too; the acknowledgement behind this takes the word on. If it overtakes one that
        waits for the digest, they are forgotten until all is told anew, which costs copies. ValueError if they are too
        many.
        """
        links = tuple(sorted({*(link.listed or ()), *message.links}))
        if len(links) > self._state.limits.names:
            raise ValueError("too many links")
        link.linked_to(links)
        held = self.processes.find((link.name, link.session))
        if held is not None:
            held.links = links

    def heard(self, link: Link, now: Now) -> None:
        """The process at the other end of this link said something."""
        held = self.processes.find((link.name, link.session))
        if held is not None:
            self.processes.lives(link.name, held, now.mono, now)

    def _direct(self, link: Link, held: Held, said: dict[Incarnation, Ticks], now: Now) -> None:
        """The peer's own word: what it has need not be sent, and what it no longer hears itself must be relayed. (What
        others say that it once said does not count: its machine may have been set back since, R9.)
        """
        gone = link.linked_to(held.links)
        link.marks, link.durable = held.marks, held.known
        if link.est is not None:
            for inc, ticks in said.items():
                link.est.union(inc, ticks)
        for process in sorted(gone):
            if (other := self.processes.find(process)) is not None:
                self._relay(link, process[0], other, other.known.map, now)

    def _adopt(self, name: str, held: Held) -> None:
        """A mark that a member has holds here, too (R3), unless nothing of its incarnation is missing anywhere. Of a
        partial replica, which is no member and always misses something, those of its own runs count that have holes
        here.
        """
        news = held.marks - self._state.closed
        if not news:
            return
        known, member = self._state.known, name in self._state.members
        for base in sorted(news):
            pair = (base, volatile_twin(base))
            holed = any(not known[i].is_whole for i in pair)
            differs = member and any(known[i] != held.known[i] for i in pair)
            if base == self._state.inc or differs or (holed and (member or name_of(base) == name)):
                self._state.reopen((base,))

    def _own_name(self, known: dict[Incarnation, Ticks], session: int) -> None:
        """Another process of our name: if it held more than we do, our store is an older one (trace 10). One rejoin
        brings back what there is.
        """
        lost = [inc for inc, ticks in known.items() if not is_volatile(inc) and not ticks <= self._state.known[inc]]
        done = self._state.behind or self._state.name in self.processes.duplicates or session in self._rejoined
        if lost and not done:
            self._rejoined.add(session)
            marks.hit("restored-store")
            self._state.behind = self._state.rejoining = True
            self._state.report(
                "restored_store",
                self._state.name,
                "this node once held more than its store does (an old backup?); what is missing comes from its peers",
            )


def _plan(link: Link, due: int) -> None:
    """Something is to be told on this link then."""
    if link.ack_at is None or due < link.ack_at:
        link.ack_at = due
