"""Settle (R5): comparing fingerprints after a session, and repairing the paths that differ.

Each side repairs itself by the other's word. It walks down the differing key ranges (range-based set
reconciliation, Meyer 2022), then asks for the paths that differ, naming its dots there; the peer answers
atomically with its complete siblings and with those of the dots that it knows and does not hold. After taking the
versions the asker drops those dots: they were superseded or forgotten while it could not hear of it. What is
dropped goes to the quarantine.

Only a full, healthy peer gives such verdicts (R8); one whose known does not hold what its tree lacks (R6) has none
to give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import marks
from .effects import Now
from .entry import Version
from .link import Link, Walk
from .messages import KeyRange, PathAsk, PathTell, PrintAsk, PrintTell
from .path import Path, key_range_end, path_key
from .state import State
from .sync import SendTo
from .ticks import Dot
from .tree import KEY_END, entry_print

_ASKED_RANGES: Final = 64

Take = Callable[[Link, Version, Now], bool]


class Settle:
    """The walks of all links; `take` is the replica's way of receiving one version, False if it was refused."""

    def __init__(self, state: State, send: SendTo, take: Take) -> None:
        self._state: Final = state
        self._send: Final = send
        self._take: Final = take

    # -- asking ----------------------------------------------------------------------------------------------

    def begin(self, link: Link) -> None:
        """Start comparing; one walk a link at a time."""
        if link.walk is not None or link.partial:
            return
        marks.hit("settle-differs")
        link.walk = Walk(self._ranges())
        self._next(link, link.walk)

    def _ranges(self) -> list[KeyRange]:
        """All keys, or those of our view."""
        if self._state.view is None:
            return [(b"", KEY_END)]
        lows = sorted({path_key(p.prefix) for p in self._state.view})
        tops = [low for low in lows if not any(o != low and low.startswith(o) for o in lows)]
        return [(low, key_range_end(low)) for low in tops]

    def _next(self, link: Link, walk: Walk) -> None:
        """Ask the next question, or end the walk."""
        if walk.paths:
            some, walk.paths = (
                walk.paths[: self._state.limits.settle_paths],
                walk.paths[self._state.limits.settle_paths :],
            )
            asked = tuple((key, tuple(v.dot for v in self._state.tree.get(key))) for key in some)
            self._send(link, PathAsk(asked))
        elif walk.ranges:
            part, walk.ranges = walk.ranges[:_ASKED_RANGES], walk.ranges[_ASKED_RANGES:]
            self._send(link, PrintAsk(tuple(part)))
        else:
            link.walk = None
            self.complete(link)

    def complete(self, link: Link) -> None:
        """The session with this peer is complete, equal or repaired: a node that was behind is current again."""
        link.settled = True
        if self._state.behind and not link.partial:
            self._state.caught_up()

    def on_prints(self, link: Link, message: PrintTell, now: Now) -> None:
        """Go on with the parts that differ from ours."""
        walk = link.walk
        if walk is None:
            return
        tree = self._state.tree
        walk.ranges += [(low, high) for low, high, print_ in message.parts if self._print(low, high) != print_]
        for low, high, listed in message.leaves:
            theirs = dict(listed)
            mine = {key: print_ for key, s in tree.scan_range(low, high) if (print_ := entry_print(s))}
            walk.paths += sorted(k for k in theirs.keys() | mine.keys() if theirs.get(k) != mine.get(k))
        self._next(link, walk)

    def _print(self, low: bytes, high: bytes) -> int:
        return self._state.tree.print_of(low, high)

    def on_paths(self, link: Link, message: PathTell, now: Now) -> None:
        """Take the versions, then drop what the peer knows and does not hold."""
        for key, siblings, gone in message.paths:
            if siblings and siblings[0].key != key:
                raise ValueError("siblings of another path")
            taken = [self._take(link, version, now) for version in siblings]
            if any(taken):
                marks.hit("settle-restore")
            if all(taken):
                self._drop(key, gone, link, now)
        if link.walk is not None:
            self._next(link, link.walk)

    def _drop(self, key: bytes, gone: tuple[Dot, ...], link: Link, now: Now) -> None:
        for dot in gone:
            for version in self._state.tree.get(key):
                if version.dot == dot:
                    marks.hit("settle-drop")
                    self._state.drop(key, version, f"{link.name} knows that it was superseded or deleted", now)

    # -- answering -------------------------------------------------------------------------------------------

    def answer_prints(self, link: Link, message: PrintAsk, now: Now) -> None:
        """Fingerprints of the parts of the asked ranges; small ranges are listed."""
        limits, tree = self._state.limits, self._state.tree
        parts: list[tuple[bytes, bytes, int]] = []
        leaves: list[tuple[bytes, bytes, tuple[tuple[bytes, int], ...]]] = []
        for low, high in message.ranges:
            cut = None if link.partial else tree.split(low, high, limits.settle_parts, limits.settle_leaf)
            if cut is None:
                leaves.append((low, high, self._listed(link, low, high)))
            else:
                parts += [(a, b, tree.print_of(a, b)) for a, b in cut]
        self._send(link, PrintTell(message.ranges, tuple(parts), tuple(leaves)))

    def _listed(self, link: Link, low: bytes, high: bytes) -> tuple[tuple[bytes, int], ...]:
        out = []
        for key, siblings in self._state.tree.scan_range(low, high):
            if (print_ := entry_print(siblings)) and (link.view is None or link.sees(Path.from_key(key))):
                out.append((key, print_))
        return tuple(out)

    def answer_paths(self, link: Link, message: PathAsk, now: Now) -> None:
        """Our siblings, complete, and our verdict on the asker's dots; in one step, so nothing changes in between."""
        state = self._state
        judge = state.view is None and not state.behind
        out = []
        for key, dots in message.paths:
            if link.view is not None and not link.sees(Path.from_key(key)):
                continue
            gone = tuple(d for d in dots if judge and state.known.has(*d) and not state.holds(d))
            out.append((key, state.tree.get(key), gone))
        if link.est is not None:
            for _, siblings, _ in out:
                for version in siblings:
                    link.est.add(version.inc, version.tick)
        self._send(link, PathTell(tuple(out)))
