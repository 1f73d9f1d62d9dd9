"""Comparing a subtree on two nodes, from a client of both: what ``kv diff`` shows.

The trees are narrowed down by fingerprints (:mod:`kvnode.core.compare`), so the cost follows the number of differences
and not the size of the trees. At each path that differs, both nodes say what they hold, and whether they know what the
other one holds: that tells mere delay from a difference that will not go away by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

from kvnode.core.compare import Narrowing
from kvnode.core.entry import Siblings
from kvnode.core.path import Path, key_range_end
from kvnode.core.ticks import Known, Ticks

from .inspection import Inspection, sibling_of
from .items import Sibling

MOST: Final = 10_000
"""Paths that differ of which one comparison tells."""
_AT_ONCE: Final = 256
"""Paths of which the versions are asked for at once."""

Two = tuple[tuple[Sibling, ...], tuple[Sibling, ...]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that differs: the versions that each of the two holds, tombstones included. `unheard` says of each whether
    it has yet to hear of something that the other one holds there; if neither has, both `same_knowledge` and the
    difference together are an error of the software or of a disk.
    """

    path: Path
    versions: Two
    unheard: tuple[bool, bool]
    same_knowledge: bool

    @property
    def diverged(self) -> bool:
        """Whether the nodes differ though they know the same."""
        return self.same_knowledge and self.unheard == (False, False)


@dataclass(slots=True)
class Comparison:
    """What narrowing two trees down gave. `more` says that there are more keys than could be collected."""

    keys: list[bytes]
    more: bool
    same_knowledge: bool


async def compare(one: Inspection, other: Inspection, path: Path, most: int = MOST) -> Comparison:
    """The keys at and below `path` that differ between two nodes."""
    low = path.key
    walk = Narrowing(low, key_range_end(low), most)
    same = True
    while ranges := walk.question():
        mine = await one.prints(path, ranges, split=True)
        theirs = await other.prints(
            path, [(a, b) for a, b, _ in mine.parts], listed=[(a, b) for a, b, _ in mine.leaves]
        )
        same = mine.known == theirs.known
        pairs = zip(mine.parts, theirs.parts, strict=True)
        walk.parts((a, b, print_, others) for (a, b, print_), (_, _, others) in pairs)
        for (_, _, left), (_, _, right) in zip(mine.leaves, theirs.leaves, strict=True):
            walk.leaf(dict(left), dict(right))
    return Comparison(sorted(walk.differing), walk.more, same)


async def differences(one: Inspection, other: Inspection, path: Path, found: Comparison) -> AsyncIterator[Difference]:
    """What each node holds at the keys that differ, in path order; what has become equal meanwhile is left out."""
    for at in range(0, len(found.keys), _AT_ONCE):
        keys = found.keys[at : at + _AT_ONCE]
        first = {key: siblings async for key, siblings in one.held(path, keys)}
        second = {key: siblings async for key, siblings in other.held(path, keys)}
        lacking = (
            await one.lacks(_dots(second.values())),
            await other.lacks(_dots(first.values())),
        )
        for key in keys:
            mine, theirs = first[key], second[key]
            if _values(mine) != _values(theirs):
                unheard = (_any_in(theirs, lacking[0]), _any_in(mine, lacking[1]))
                versions = (tuple(map(sibling_of, mine)), tuple(map(sibling_of, theirs)))
                yield Difference(Path.from_key(key), versions, unheard, found.same_knowledge)


def _dots(of: Iterable[Siblings]) -> Known:
    ticks: dict[str, list[int]] = {}
    for siblings in of:
        for version in siblings:
            ticks.setdefault(version.inc, []).append(version.tick)
    return Known({inc: Ticks.of_sorted(sorted(set(at))) for inc, at in ticks.items()})


def _values(siblings: Siblings) -> set[tuple[str, int, bytes]]:
    """What fingerprints cover: tombstones are held as long as each node needs them."""
    return {(v.inc, v.tick, v.body) for v in siblings if not v.is_tombstone}


def _any_in(siblings: Siblings, ticks: Known) -> bool:
    return any(ticks.has(v.inc, v.tick) for v in siblings)
