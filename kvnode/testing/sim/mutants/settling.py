"""Bugs in settle, notifications and events."""

from __future__ import annotations

from collections.abc import Collection

from kvnode.core.effects import Now
from kvnode.core.entry import Siblings, Version
from kvnode.core.events import Events
from kvnode.core.link import Link
from kvnode.core.messages import Event, PathAsk, PathTell, PrintAsk
from kvnode.core.settle import Settle
from kvnode.core.state import State
from kvnode.core.ticks import Dot, Incarnation

_answer_prints = Settle.answer_prints
_receive = Events.receive


def answer_prints_and_remember(self: Settle, link: Link, message: PrintAsk, now: Now) -> None:
    """The list of what is held is made with the fingerprints, one question before the verdict that rests on it."""
    held = {version.dot: key for key, version in self._state.tree.versions()}
    vars(self._state)["held_then"] = held
    _answer_prints(self, link, message, now)


def holds_as_remembered(self: State, dot: tuple[Incarnation, int], key: bytes) -> bool:
    """What was held when the fingerprints were made."""
    held: dict[tuple[Incarnation, int], bytes] | None = vars(self).get("held_then")
    return held is None or held.get(dot) == key


def judge_without_knowing(self: Settle, link: Link, message: PathAsk, now: Now) -> None:
    """A node that is behind tells others to drop what it has merely not heard of yet."""
    state = self._state
    told = []
    for key, dots in message.paths:
        siblings = tuple(v for v in state.tree.get(key) if v.dot not in dots)
        told.append((key, siblings, tuple(dot for dot in dots if not state.holds(dot, key))))
    self._send(link, PathTell(tuple(told)))


def drop_quietly(self: State, key: bytes, version: Version, why: str, now: Now) -> None:
    """Watchers are not told of what a peer's verdict took away."""
    self.put(key, tuple(v for v in self.tree.get(key) if v.dot != version.dot), notify=False)
    self.isolate(version, why, now)


def receive_again(self: Events, link: Link, event: Event, now: Now) -> None:
    """Events are not told apart."""
    self.heard.clear()
    _receive(self, link, event, now)


def nothing_is_late(link: Link, version: Version, held: Siblings, named: Collection[Dot] | None = None) -> bool:
    """A partial replica takes what hung on a slow link for a new value, whatever it heard from others meanwhile."""
    return False
