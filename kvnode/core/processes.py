"""The processes of every name: what each holds durably, when it gave signs of life, and which are clones (R3).

Only one process of a name ought to live. That two of them do is *suspected* as soon as an older one is heard after the
younger was born; it is *proven* when both go on to give signs of life for longer than what a dead process left in the
buffers of some kernel takes to arrive. A suspicion costs nothing but time: nothing is forgotten and nothing becomes
void meanwhile. Where it is proven, neither's acknowledgements count, and people hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from . import marks
from .effects import Now
from .link import Link
from .messages import Process
from .state import State
from .ticks import Incarnation, Known


@dataclass(slots=True)
class Held:
    """What one process of a name holds durably, and its signs of life (on our clock, relays deducted): the first, the
    last, and the first one since the youngest process of the name was born.
    """

    session: int
    born: int
    alive: int
    again: int | None = None
    known: Known = field(default_factory=Known)
    marks: frozenset[Incarnation] = frozenset()
    links: tuple[Process, ...] = ()
    beat: int = -1
    links_beat: int = -1
    """The beat at which it had these links."""


class Processes:
    """All processes that a replica, itself one that was born at `now`, has heard of lately."""

    def __init__(self, state: State, links: dict[int, Link], now: Now) -> None:
        self._state: Final = state
        self._links: Final = links
        self.born: Final = now.mono
        self._of: Final[dict[str, list[Held]]] = {}
        """Per name its processes, the one that lived last at the end."""
        self.duplicates: Final[set[str]] = set()
        """Names of which two processes live."""
        self.suspects: Final[set[str]] = set()
        """Names of which two processes may live, those included."""
        self._beside: Final[dict[str, int]] = {}
        """When a process of a suspected name was last heard beside another one that was born before or after it."""

    # -- looking ---------------------------------------------------------------------------------------------

    def of(self, name: str) -> list[Held]:
        """The processes of a name, the one that speaks for it last."""
        return self._of.get(name, [])

    def current(self, name: str) -> Held | None:
        """The process that speaks for a name now."""
        held = self._of.get(name)
        return held[-1] if held else None

    def find(self, process: Process) -> Held | None:
        """What is known of a process."""
        for held in self._of.get(process[0], ()):
            if held.session == process[1]:
                return held
        return None

    def items(self) -> Iterable[tuple[str, list[Held]]]:
        """All names with their processes."""
        return self._of.items()

    def is_contested(self, names: Iterable[str]) -> bool:
        """Whether one of these names, or our own, may have two living processes."""
        return bool(self.suspects) and not self.suspects.isdisjoint((*names, self._state.name))

    def settled_at(self, name: str) -> int:
        """When an older process of the name, if one lives and is heard at all, would have been heard beside the
        youngest.
        """
        return self._youngest(name) + self._state.limits.beat_ms + self._state.limits.duplicate_grace_ms

    def _youngest(self, name: str) -> int:
        """When the youngest of the name was born."""
        own = [self.born] if name == self._state.name else []
        return max((*own, *(h.born for h in self.of(name))), default=_LONG_AGO)

    # -- signs of life ---------------------------------------------------------------------------------------

    def heard_of(self, process: Process, lived: int, born: int | None = None) -> Held:
        """A process, known or new, that lived at that time, and was born then or, as others say, before."""
        name, session = process
        born = lived if born is None else min(born, lived)
        held = self.find(process)
        if held is not None:
            held.born = min(held.born, born)
            return held
        held = Held(session, born, lived)
        self._of.setdefault(name, []).append(held)
        self._sort(name)
        self._bound(name)
        return held

    def _sort(self, name: str) -> None:
        """Who lived last comes last; and who was heard since the youngest was born."""
        of = self._of[name]
        of.sort(key=lambda h: h.alive)
        del of[: -self._state.limits.sessions_per_name]
        youngest = self._youngest(name)
        for held in of:
            if held.again is not None and held.again < youngest:
                held.again = None
            if held.again is None and (held.alive > youngest or held.born == youngest):
                held.again = held.alive

    def _bound(self, name: str) -> None:
        """Forget a name that is no member, if there are too many."""
        if len(self._of) > self._state.limits.names:
            near = {name, *self._state.members, *(link.name for link in self._links.values())}
            idle = next((n for n in self._of if n not in near), None)
            if idle is not None:
                del self._of[idle]

    def lives(self, name: str, held: Held, lived: int, now: Now) -> None:
        """A sign of life. The process that lived last speaks for its name."""
        held.alive = max(held.alive, lived)
        if len(self._of[name]) == 1 and name != self._state.name:
            return  # there is nobody to tell it from
        self._sort(name)
        self._judge(name, now)

    def greeted(self, link: Link, now: Now) -> Held:
        """A hello came: whatever was believed of this process counts no more, and it speaks for its name (R9)."""
        held = self.heard_of((link.name, link.session), now.mono)
        held.known, held.marks = Known(), link.marks
        self.lives(link.name, held, now.mono, now)
        return held

    # -- clones ----------------------------------------------------------------------------------------------

    def _judge(self, name: str, now: Now) -> None:
        """Those that lived on after the youngest was born: two are suspect, two that did so for a while are clones."""
        since = now.mono - self._state.limits.duplicate_clear_ms
        spans = [(h.again, h.alive) for h in self.of(name) if h.again is not None and h.alive > since]
        if name == self._state.name:
            spans.append((self._youngest(name), now.mono))
        if len(spans) < 2:
            return
        self.suspects.add(name)
        self._beside[name] = max(sorted(alive for _, alive in spans)[-2], self._beside.get(name, _LONG_AGO))
        both = (min(a[1], b[1]) - max(a[0], b[0]) for a, b in combinations(spans, 2))
        if max(both) >= self._state.limits.duplicate_grace_ms and name not in self.duplicates:
            marks.hit("duplicate-session")
            self.duplicates.add(name)
            text = f"two live processes call themselves {name!r} (a cloned store?): stop one of them; "
            text += "until then nothing is forgotten and neither's acknowledgements count"
            self._state.report("duplicate_session", name, text)

    def clear(self, now: Now) -> bool:
        """Acquit names of which no two processes have been heard beside each other for long; says whether there was
        one. (How many lived within that time says nothing: the node may restart again and again.)
        """
        since = now.mono - self._state.limits.duplicate_clear_ms
        gone = [name for name in sorted(self.suspects) if self._beside[name] <= since]
        for name in gone:
            self.suspects.discard(name)
            del self._beside[name]
            if name in self.duplicates:
                self.duplicates.discard(name)
                self._state.report("duplicate_session", name, "one process of this name again", resolved=True)
        return bool(gone)


_LONG_AGO: Final = -(1 << 62)
