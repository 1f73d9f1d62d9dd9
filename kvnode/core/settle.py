"""Settle (R5): comparing fingerprints after a session, and repairing the paths that differ.

Each side repairs itself by the other's word. It walks down the differing key ranges (range-based set
reconciliation, Meyer 2022), then asks for the paths that differ, naming its dots there; the peer answers
atomically with the siblings that the asker lacks and with those of its dots that it knows and does not hold. After
taking the versions the asker drops those dots: they were superseded or forgotten while it could not hear of it. What is
dropped goes to the quarantine.

Only a full, healthy peer gives such verdicts (R8); one whose known does not hold what its tree lacks (R6) has none
to give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import xor
from typing import Final

from . import marks
from .digests import SendTo
from .effects import Now
from .entry import Siblings, Version
from .late import may_be_late
from .limits import Limits
from .link import Link, Walk
from .messages import Check, KeyRange, Leaf, Part, PathAsk, PathTell, PrintAsk, PrintTell, Versions
from .path import Path, key_range_end, path_key
from .state import State
from .sync import size_of
from .ticks import Dot
from .tree import KEY_END, Tree

_ASKED_RANGES: Final = 64
MOST_RANGES: Final = 256
_MOST_PATHS: Final = 4096
"""Part of the protocol: a question with more cuts the link."""

Take = Callable[[Link, Version, Now], bool]


class Settle:
    """The walks of all links; `links` is shared with the replica, `take` is its way of receiving one version, False if
    it was refused; `on_drop` hears of each version that a verdict took away.
    """

    def __init__(
        self,
        state: State,
        links: Mapping[int, Link],
        send: SendTo,
        take: Take,
        on_drop: Callable[[Version, Now], None],
    ) -> None:
        self._state: Final = state
        self._links: Final = links
        self._send: Final = send
        self._take: Final = take
        self._on_drop: Final = on_drop

    # -- comparing -------------------------------------------------------------------------------------------

    def compared(self, link: Link, message: Check, now: Now) -> bool:
        """Take note of a comparison of whole trees; says whether they are equal. If they differ though both sides know
        the same, settle repairs that; people hear of it if it does not.
        """
        state = self._state
        if message.fingerprint == state.tree.print_of_all:
            if link.equal_at is None or link.differing:
                state.report("diverged", link.name, f"{link.name} and this node hold the same", resolved=True)
            link.equal_at, link.differing = now.wall, 0
            link.compared = (now.wall, "equal")
            return True
        same = message.known_hash == state.known.hash()
        link.compared = (now.wall, "different" if same else "behind")
        if same:
            link.differing += 1
            if link.differing == state.limits.diverged_checks:
                text = f"{link.name} and this node know the same and hold different values: kv verify names the paths"
                state.report("diverged", link.name, text)
        return False

    # -- asking ----------------------------------------------------------------------------------------------

    def begin(self, link: Link) -> None:
        """Start comparing; one walk a link at a time, so what comes meanwhile is a reason to walk once more."""
        if link.partial:
            return
        if link.walk is not None:
            link.walk.again = True
            return
        marks.hit("settle-differs")
        link.walk = Walk(self._ranges(), self.own_tombstones())
        self._next(link, link.walk)

    def ask(self, link: Link, keys: Iterable[bytes]) -> None:
        """Ask for these paths alone, those that the peer was not asked for lately."""
        if link.walk is not None or link.partial or not link.settled:
            return
        new = [key for key in keys if key not in link.asked][: self._state.limits.settle_paths]
        if new:
            link.asked.update(new)
            link.walk = Walk([], new, whole=False)
            self._next(link, link.walk)

    def ask_again(self, link: Link, key: bytes) -> None:
        """Ask for this path, whatever was asked lately; before a link's first comparison of everything, behind it."""
        if link.walk is not None:
            if key not in link.walk.paths:
                link.walk.paths.append(key)
        elif link.settled and not link.partial:
            link.walk = Walk([], [key], whole=False)
            self._next(link, link.walk)

    def own_tombstones(self) -> list[bytes]:
        """A partial replica cannot tell what is stable: its peer's verdict says which tombstones may go (R8)."""
        state = self._state
        if state.view is None:
            return []
        return sorted(key for key in state.unsettled if all(v.is_tombstone for v in state.tree.get(key)))

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
            walk.awaiting, walk.named = len(asked), dict(asked)
            for key in link.unsure.keys() & walk.named.keys():
                link.unsure[key] = True
            self._send(link, PathAsk(asked, not walk.whole))
        elif walk.ranges:
            part, walk.ranges = walk.ranges[:_ASKED_RANGES], walk.ranges[_ASKED_RANGES:]
            self._send(link, PrintAsk(tuple(part)))
        else:
            link.walk = None
            if walk.again:
                self.begin(link)
                return
            link.doubted.clear()  # each was asked about, and is here by now if it counts
            if walk.whole:
                self.complete(link)

    def complete(self, link: Link) -> None:
        """The session with this peer is complete, equal or repaired: a node that was behind is current again."""
        link.settled = True
        for key in sorted(link.unsure):
            self.ask_again(link, key)
        if not link.partial:
            self._state.trust()
        if self._state.behind and not link.partial:
            self._state.caught_up()

    def on_prints(self, link: Link, message: PrintTell, now: Now) -> None:
        """Go on with the parts that differ from ours."""
        walk = link.walk
        if walk is None:
            return
        tree = self._state.tree
        walk.ranges += [(low, high) for low, high, print_ in message.parts if tree.print_of(low, high) != print_]
        for low, high, listed in message.leaves:
            theirs = dict(listed)
            mine = dict(tree.prints(low, high))
            walk.paths += sorted(k for k in theirs.keys() | mine.keys() if theirs.get(k) != mine.get(k))
        self._next(link, walk)

    def on_paths(self, link: Link, message: PathTell, now: Now) -> None:
        """Take the versions, then drop what the peer knows and does not hold."""
        for key, siblings, gone in message.paths:
            if any(v.key != key for v in siblings):
                raise ValueError("siblings of another path")
            taken = [self._answered(link, version, now) for version in siblings]
            if any(taken):
                marks.hit("settle-restore")
            if link.unsure.get(key):
                del link.unsure[key]
            if all(taken) and link.taint < link.digests_out:
                self._drop(key, gone, link, now)
        walk = link.walk
        if walk is not None and walk.awaiting > 0:
            walk.awaiting -= len(message.paths)
            if walk.awaiting <= 0:
                self._next(link, walk)

    def _drop(self, key: bytes, gone: tuple[Dot, ...], link: Link, now: Now) -> None:
        for dot in gone:
            for version in self._state.tree.get(key):
                if version.dot == dot:
                    marks.hit("settle-drop")
                    self._state.drop(key, version, f"{link.name} knows that it was superseded or deleted", now)
                    self._on_drop(version, now)
                    if self._state.view is not None:
                        self._be_unsure(link, key)

    def _answered(self, link: Link, version: Version, now: Now) -> bool:
        """One version of an answer. A partial replica asks again if another peer has told something since (R8)."""
        state = self._state
        if state.view is not None and not state.known.has(version.inc, version.tick):
            named = link.walk.named.get(version.key, ()) if link.walk is not None else ()
            if may_be_late(link, version, state.tree.get(version.key), named):
                marks.hit("partial-asked-again")
                self.ask_again(link, version.key)
                return False
        return self._take(link, version, now)

    def _be_unsure(self, link: Link, key: bytes) -> None:
        """A partial replica asks all others, too, when a verdict took something away (R8, see unsure.py)."""
        for other in self._links.values():
            if other is not link and len(other.unsure) < self._state.limits.unsure:
                other.unsure[key] = False
                self.ask_again(other, key)

    # -- answering -------------------------------------------------------------------------------------------

    def answer_prints(self, link: Link, message: PrintAsk, now: Now) -> None:
        """Fingerprints of the parts of the asked ranges; small ranges are listed."""
        self._send(link, self.tell(link, message.ranges))

    def tell(self, link: Link, ranges: tuple[KeyRange, ...]) -> PrintTell:
        """The answer to a question about these ranges, as far as the peer's view goes (R8). Raises ValueError."""
        if len(ranges) > MOST_RANGES:
            raise ValueError(f"{len(ranges)} ranges in one question")
        if not link.partial:
            return tell_prints(self._state.tree, ranges, self._state.limits)
        parts: list[Part] = []
        leaves: list[Leaf] = []
        for low, high in ranges:
            self._viewed(link, low, high, parts, leaves)
        return PrintTell(ranges, tuple(parts), tuple(leaves))

    def _viewed(
        self,
        link: Link,
        low: bytes,
        high: bytes,
        parts: list[Part],
        leaves: list[Leaf],
    ) -> None:
        """The same for a partial replica: only what its view has counts (R8)."""
        limits = self._state.limits
        shown = [(k, p) for k, p in self._state.tree.prints(low, high) if link.sees(Path.from_key(k))]
        if len(shown) <= limits.settle_leaf:
            leaves.append((low, high, tuple(shown)))
            return
        step = -(-len(shown) // limits.settle_parts)
        cuts = [low, *(key for key, _ in shown[step::step]), high]
        for a, b in zip(cuts, cuts[1:], strict=False):
            parts.append((a, b, reduce(xor, (p for k, p in shown if a <= k < b), 0)))

    def answer_paths(self, link: Link, message: PathAsk, now: Now) -> None:
        """Our siblings, complete, and our verdict on the asker's dots; in one step, so nothing changes in between."""
        if len(message.paths) > _MOST_PATHS:
            raise ValueError(f"{len(message.paths)} paths in one question")
        state = self._state
        judge = state.view is None and not state.behind and not state.doubted
        out: list[tuple[bytes, Siblings, tuple[Dot, ...]]] = []
        size = 0
        for key, dots in message.paths:
            if link.view is not None and not link.sees(Path.from_key(key)):
                out.append((key, (), ()))
                continue
            siblings = state.tree.get(key)
            gone = tuple(d for d in dots if judge and state.known.has(*d) and not state.holds(d, key))
            # Equal dots, and yet a difference: a dot that names two changes (a copied machine), so the bodies tell.
            same = () if gone or message.verdict else siblings
            lacking = tuple(v for v in siblings if v.dot not in dots) or same
            for version in lacking:
                size += size_of(version)
                link.has_now(version)
            if size >= state.limits.chunk_bytes:  # too much for one message: the versions go ahead of the verdict
                for version in lacking:
                    self._send(link, Versions((version,), prompt=False))
                out.append((key, (), gone))
                self._send(link, PathTell(tuple(out)))
                out, size = [], 0
            else:
                out.append((key, lacking, gone))
        if out:
            self._send(link, PathTell(tuple(out)))


def tell_prints(tree: Tree, ranges: tuple[KeyRange, ...], limits: Limits) -> PrintTell:
    """The fingerprints inside these ranges: large ones are cut into parts, small ones listed."""
    parts: list[Part] = []
    leaves: list[Leaf] = []
    for low, high in ranges:
        cut = tree.split(low, high, limits.settle_parts, limits.settle_leaf)
        if cut is None:
            leaves.append((low, high, tuple(tree.prints(low, high))))
        else:
            parts += [(a, b, tree.print_of(a, b)) for a, b in cut]
    return PrintTell(ranges, tuple(parts), tuple(leaves))
