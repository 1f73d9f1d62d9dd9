"""What a partial replica cannot tell by itself (R8): whether one version superseded another.

Nobody waits for a partial replica before a vector is stripped or a tombstone forgotten. So what reaches it by a fast
link may no longer name what it superseded, and that may still be on its way on a slow one. Hence it asks the sender
about the path (R5)

* where a version comes to stand beside one that it may have superseded, or the other way round;
* where a verdict of one peer took something away, all other peers, too.

Until the answer is there, a version that is older (a write's stamp exceeds every stamp that it supersedes), or comes to
a path that was emptied, does not count. The answer is true: a vector is stripped and a tombstone forgotten when every
member has what they superseded, the question is put after that, and what was on its way arrives before the answer. If
something else came to the path, or was taken away, between question and answer, the question is put once more.

What comes from another partial replica counts at once, since it may have no other way; then somebody else is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from . import marks
from .effects import Now
from .entry import Version
from .late import may_be_late, may_supersede
from .link import Link
from .settle import Settle, Take
from .state import State
from .ticks import Dot


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
        older = may_be_late(link, version, held, self._asked(link, version))
        newer = any(may_supersede(version, old) and not version.covers(old) for old in held)
        if older and not link.partial and len(link.doubted) < state.limits.unsure:
            marks.hit("partial-held-back")
            link.doubted.add(version.dot)
            link.has_now(version)
        else:
            self._take(link, version, now)
        if older or newer:
            marks.hit("partial-asked")
            self._ask(link, version.key)

    def _asked(self, link: Link, version: Version) -> Collection[Dot] | None:
        """What the question named to which this version is an answer. A large one goes ahead of the answer, and a peer
        sends nothing twice unless it was told that it is lacking.
        """
        return link.walk.named.get(version.key) if link.walk is not None and version.dot in link.doubted else None

    def _ask(self, link: Link, key: bytes) -> None:
        """Ask the sender, or else somebody with a whole replica."""
        whole = (other for other in (link, *self._links.values()) if other.ready and not other.partial)
        asked = next(whole, None)
        if asked is not None:
            self._settle.ask_again(asked, key)
