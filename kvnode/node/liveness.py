"""Whether the other end of a link is alive: probes, indirect probes, and patience. Pure: time is an argument.

After SWIM (Das, Gupta, Motivala, 2002) and Lifeguard (Dadgar, Phillips, Currey, 2017), applied to links:

* A link on which nothing was heard for `idle_ms` is *probed*: a ping goes out. Where something was sent that the other
  side answers, `answer_ms` of silence are enough: a link in use is watched closely, one at rest costs little. Anything
  that is heard ends the suspicion, not just the answer.
* Without an answer in `probe_ms`, a few other linked peers are *asked* whether they hear that node. Meanwhile it is
  suspect.
* If another hears it, the node lives: it may be slow, and gets `slow_ms`; only then the link counts as half-open (one
  direction, or a forgotten connection in some router) and is closed, so that it can be dialled anew.
* If nobody hears it, the link is closed after `suspect_most_ms`; each of the others that says so shortens this
  towards `suspect_least_ms` (Lifeguard's dynamic suspicion).
* *Local health* stretches all times: it gets worse when our own timers are late, and when none of those we asked
  answers at all, for then the trouble is probably ours. Slow is not dead, and that holds for oneself, too.

The owner tells what it hears and calls :meth:`Liveness.wake` in time; both give what is to be done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kvnode.core.effects import LinkId
from kvnode.core.messages import Message, Ping, PingAck, PingReq, Pong

LINK_MESSAGES: Final = (Ping, Pong, PingReq, PingAck)
"""What belongs to the link and never reaches the replica."""


@dataclass(frozen=True, slots=True)
class LivenessLimits:
    """Times in milliseconds, before local health stretches them; and bounds."""

    idle_ms: int = 6_000
    answer_ms: int = 2_000
    probe_ms: int = 1_000
    suspect_least_ms: int = 1_000
    suspect_most_ms: int = 5_000
    slow_ms: int = 20_000
    late_ms: int = 500
    """A wake-up that comes so much later than planned says that this node is slow."""
    helpers: int = 3
    """So many others are asked about a suspect."""
    health_most: int = 4
    """Times are stretched by at most one more than this."""
    questions: int = 64
    """Questions of others about one node that wait for an answer; more are answered from what is known."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this message on this link."""

    link: LinkId
    message: Message


@dataclass(frozen=True, slots=True)
class Dead:
    """Close this link. `alive_elsewhere`: others hear the node, it is the link that is broken."""

    link: LinkId
    why: str
    alive_elsewhere: bool


Verdict = Tell | Dead


@dataclass(slots=True)
class _Question:
    """Somebody asked about the node at the other end; answered when it is heard, or at `until`."""

    asker: LinkId
    number: int
    until: int


@dataclass(slots=True)
class _Watched:
    """A link that is watched. `phase` is ``quiet``, ``probing`` or ``suspect``, since `since`."""

    link: LinkId
    name: str
    heard: int
    phase: str = "quiet"
    since: int = 0
    awaiting: int | None = None
    """When something was sent that is answered, and nothing was heard since."""
    number: int = 0
    pinged: int = 0
    rtt_ms: int = 0
    asked: int = 0
    answered: int = 0
    unheard: set[LinkId] = field(default_factory=set)
    witness: str = ""
    questions: list[_Question] = field(default_factory=list)


class Liveness:
    """All links of one node."""

    def __init__(self, limits: LivenessLimits | None = None) -> None:
        self._limits: Final = limits or LivenessLimits()
        self._links: dict[LinkId, _Watched] = {}
        self._number = 0
        self._turn = 0
        self._planned: int | None = None
        self.health = 0
        """0 is well; up to `health_most`."""

    # -- what the owner tells --------------------------------------------------------------------------------

    def up(self, link: LinkId, name: str, now: int) -> list[Verdict]:
        """A link to the node `name` stands. An older one is probed at once: it may be half-open."""
        older = [w for w in self._links.values() if w.name == name and w.phase == "quiet"]
        self._links[link] = _Watched(link, name, now)
        return [self._probe(w, now) for w in older]

    def down(self, link: LinkId) -> None:
        """The link is gone."""
        self._links.pop(link, None)

    def heard(self, link: LinkId, now: int) -> list[Verdict]:
        """Bytes came on this link."""
        watched = self._links.get(link)
        if watched is None:
            return []
        watched.heard = now
        watched.phase = "quiet"
        watched.awaiting = None
        if not watched.questions:
            return []
        answers: list[Verdict] = [Tell(q.asker, PingAck(q.number, watched.name, 0)) for q in watched.questions]
        watched.questions.clear()
        return answers

    def awaiting(self, link: LinkId, now: int) -> None:
        """Something was sent on this link that the other side answers, and nothing was heard since."""
        watched = self._links.get(link)
        if watched is not None and watched.awaiting is None:
            watched.awaiting = now

    def moving(self, link: LinkId, now: int) -> None:
        """Output that was queued on this link has left since the last call, and more waits: the ping may not have been
        among it yet, so there is no reason to count the time.
        """
        watched = self._links.get(link)
        if watched is not None and watched.phase == "probing":
            watched.since = now

    def received(self, link: LinkId, message: Message, now: int) -> list[Verdict]:
        """One of :data:`LINK_MESSAGES` came; :meth:`heard` was called before."""
        match message:
            case Ping(number):
                return [Tell(link, Pong(number))]
            case Pong(number):
                self._on_pong(link, number, now)
            case PingReq(number, name):
                return self._on_question(link, number, name, now)
            case PingAck(number, name, heard_ms):
                self._on_answer(link, number, name, heard_ms, now)
        return []

    # -- time ------------------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """When :meth:`wake` is due; hearing something only makes it later."""
        times = [self._deadline(w) for w in self._links.values()]
        times += [q.until for w in self._links.values() for q in w.questions]
        self._planned = min(times, default=None)
        return self._planned

    def wake(self, now: int) -> list[Verdict]:
        """Do what is due."""
        late = 0 if self._planned is None else now - self._planned
        if late > self._limits.late_ms:
            self._worse()
            for watched in self._links.values():
                # What was heard meanwhile may still wait to be read: nobody is judged by a time in which we slept.
                watched.since += late
                if watched.phase == "quiet":
                    watched.heard = min(watched.heard + late, now)
                if watched.awaiting is not None:
                    watched.awaiting = min(watched.awaiting + late, now)
        out: list[Verdict] = []
        for watched in list(self._links.values()):
            out += self._overdue_answers(watched, now)
            if self._deadline(watched) <= now:
                out += self._next_phase(watched, now)
        return out

    def _deadline(self, watched: _Watched) -> int:
        if watched.phase == "quiet":
            rest = watched.heard + self._limits.idle_ms
            return rest if watched.awaiting is None else min(rest, watched.awaiting + self._limits.answer_ms)
        if watched.phase == "probing":
            return watched.since + max(self._stretched(self._limits.probe_ms), 4 * watched.rtt_ms)
        return watched.since + self._patience(watched)

    def _stretched(self, time_ms: int) -> int:
        return time_ms * (1 + self.health)

    def _patience(self, watched: _Watched) -> int:
        """How long a suspect gets; see the module's text."""
        limits = self._limits
        if watched.witness:
            return self._stretched(limits.slow_ms)
        span = limits.suspect_most_ms - limits.suspect_least_ms
        share = math.log(len(watched.unheard) + 1) / math.log(watched.asked + 1) if watched.asked else 0.0
        return self._stretched(limits.suspect_most_ms - int(span * share))

    def _next_phase(self, watched: _Watched, now: int) -> list[Verdict]:
        if watched.phase == "quiet":
            return [self._probe(watched, now)]
        if watched.phase == "probing":
            return list(self._ask(watched, now))
        if watched.asked and not watched.answered:
            self._worse()
        del self._links[watched.link]
        silent = f"nothing heard from {watched.name} for {(now - watched.heard) / 1000:.1f} s"
        if watched.witness:
            return [Dead(watched.link, f"{silent} on this link, while {watched.witness} hears it", True)]
        return [Dead(watched.link, silent, False)]

    # -- probing ---------------------------------------------------------------------------------------------

    def _probe(self, watched: _Watched, now: int) -> Tell:
        self._number += 1
        watched.phase, watched.number = "probing", self._number
        watched.since = watched.pinged = now
        return Tell(watched.link, Ping(self._number))

    def _on_pong(self, link: LinkId, number: int, now: int) -> None:
        watched = self._links.get(link)
        if watched is None or watched.number != number:
            return
        took = max(now - watched.pinged, 0)
        watched.rtt_ms = took if not watched.rtt_ms else (7 * watched.rtt_ms + took) // 8
        self.health = max(self.health - 1, 0)

    def _ask(self, watched: _Watched, now: int) -> Iterator[Verdict]:
        """No answer to the ping: suspect it, and ask others; each time other ones, if there are enough."""
        watched.phase, watched.since = "suspect", now
        watched.unheard, watched.answered, watched.witness = set(), 0, ""
        others = [w for w in self._links.values() if w.name != watched.name and w.phase == "quiet"]
        start = self._turn % len(others) if others else 0
        self._turn += 1
        chosen = (others[start:] + others[:start])[: self._limits.helpers]
        watched.asked = len(chosen)
        for helper in chosen:
            yield Tell(helper.link, PingReq(watched.number, watched.name))

    def _on_answer(self, link: LinkId, number: int, name: str, heard_ms: int | None, now: int) -> None:
        helper = self._links.get(link)
        for watched in self._links.values():
            if helper is None or watched.name != name or watched.phase != "suspect" or watched.number != number:
                continue
            watched.answered += 1
            if heard_ms is not None and heard_ms < now - watched.pinged:
                watched.witness = helper.name
            else:
                watched.unheard.add(link)

    # -- helping ---------------------------------------------------------------------------------------------

    def _on_question(self, link: LinkId, number: int, name: str, now: int) -> list[Verdict]:
        """Answer at once if the node was heard just now or is unknown, else ping it and see."""
        about = [w for w in self._links.values() if w.name == name and w.link != link]
        if not about:
            return [Tell(link, PingAck(number, name, None))]
        watched = max(about, key=lambda w: w.heard)
        ago = now - watched.heard
        if ago < self._limits.probe_ms // 2 or len(watched.questions) >= self._limits.questions:
            return [Tell(link, PingAck(number, name, max(ago, 0)))]
        watched.questions.append(_Question(link, number, now + self._limits.probe_ms))
        return [self._probe(watched, now)] if watched.phase == "quiet" else []

    def _overdue_answers(self, watched: _Watched, now: int) -> list[Verdict]:
        due = [q for q in watched.questions if q.until <= now]
        watched.questions = [q for q in watched.questions if q.until > now]
        return [Tell(q.asker, PingAck(q.number, watched.name, max(now - watched.heard, 0))) for q in due]

    def _worse(self) -> None:
        self.health = min(self.health + 1, self._limits.health_most)
