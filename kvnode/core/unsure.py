"""What a partial replica cannot tell by itself (R8): whether one version superseded another.

Nobody waits for a partial replica before a vector is stripped or a tombstone forgotten. So what reaches it by a fast
link may no longer name what it superseded, and that may still be on its way on a slow one. Hence it asks the sender
about the path (R5)

* where a version comes to stand beside one that it may have superseded, or the other way round;
* where a verdict of one peer took something away, all other peers, too.

Until the answer is there, a version that is older (a write's stamp exceeds every stamp that it supersedes), or comes to
a path that was emptied, does not count. The answer is true: a vector is stripped and a tombstone forgotten when every
member has what they superseded, the question is put after that, and what was on its way arrives before the answer.

What comes from another partial replica counts at once, since it may have no other way; then somebody else is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from . import marks
from .effects import Now
from .entry import Siblings, Version
from .link import Link
from .settle import MOST_UNSURE, Settle, Take
from .state import State
from .ticks import is_volatile


class Unsure:
    """A partial replica's doubts about what it hears; `links` is shared with it, `take` its way of receiving."""

    def __init__(self, state: State, links: Mapping[int, Link], settle: Settle, take: Take) -> None:
        self._state: Final = state
        self._take: Final = take
        self._links: Final = links
        self._settle: Final = settle

    def hear_all(self, link: Link, versions: Sequence[Version], now: Now) -> None:
        """The versions of one message that a peer sent without being asked."""
        for version in versions:
            self._hear(link, version, now)

    def _hear(self, link: Link, version: Version, now: Now) -> None:
        state = self._state
        if state.known.has(version.inc, version.tick) or not state.in_view(version.details.path):
            self._take(link, version, now)
            return
        held = state.tree.get(version.key)
        older = self._may_be_late(link, version, held)
        newer = any(_may_supersede(version, old) and not version.covers(old) for old in held)
        if older and self._holds_back(link, version):
            marks.hit("partial-held-back")
            link.has_now(version)
        else:
            self._take(link, version, now)
        if older or newer:
            marks.hit("partial-asked")
            self._ask(link, version.key)

    def _may_be_late(self, link: Link, version: Version, held: Siblings) -> bool:
        if any(old.covers(version) for old in held):
            return False
        emptied = version.key in link.unsure and not any(version.covers(old) for old in held)
        return emptied or any(_may_supersede(old, version) for old in held if not version.covers(old))

    def _holds_back(self, link: Link, version: Version) -> bool:
        """Whether this version counts only if the answer has it, too. One that comes again is (part of) an answer: a
        peer sends nothing twice unless it heard that it is lacking.
        """
        if link.partial or version.dot in link.doubted or len(link.doubted) >= MOST_UNSURE:
            return False
        link.doubted.add(version.dot)
        return True

    def _ask(self, link: Link, key: bytes) -> None:
        """Ask the sender, or else somebody with a whole replica."""
        whole = (other for other in (link, *self._links.values()) if other.ready and not other.partial)
        asked = next(whole, None)
        if asked is not None:
            self._settle.ask_again(asked, key)


def _may_supersede(one: Version, other: Version) -> bool:
    """Whether `one` may have been written over `other`, going by what cannot be stripped."""
    return one.stamp > other.stamp and (is_volatile(other.inc) or not is_volatile(one.inc))
