"""Whether a version that reaches a partial replica may have been superseded before it came (see unsure.py)."""

from __future__ import annotations

from collections.abc import Collection

from .entry import Siblings, Version
from .link import Link
from .ticks import Dot, is_volatile


def may_be_late(link: Link, version: Version, held: Siblings, named: Collection[Dot] | None = None) -> bool:
    """Whether one of those held at its path may have superseded this version, or one that a verdict took away. If it
    came with the answer to a question that named some, these have not: the peer had them, too.
    """
    if any(old.covers(version) for old in held):
        return False
    asked_since = link.unsure.get(version.key)
    emptied = asked_since is not None and not (asked_since and named is not None)
    if emptied and not any(version.covers(old) for old in held):
        return True
    return any(
        may_supersede(old, version) and not version.covers(old) and (named is None or old.dot not in named)
        for old in held
    )


def may_supersede(one: Version, other: Version) -> bool:
    """Whether `one` may have been written over `other`, going by what cannot be stripped."""
    return one.stamp > other.stamp and (is_volatile(other.inc) or not is_volatile(one.inc))
