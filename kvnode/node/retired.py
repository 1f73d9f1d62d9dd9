"""A node that was retired and runs all the same: it says so, once, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kvnode.core.effects import Notify
from kvnode.core.entry import Siblings
from kvnode.core.path import Path
from kvnode.core.ticks import name_of

from .driver import Driver

KIND: Final = "retired"
AUTHOR: Final = "retire"


def tell_when_retired(driver: Driver, join: Callable[[], None]) -> None:
    """Report it when another node has retired the one that `driver` drives, and call `join`, which makes it a member
    again: it holds what the others may have forgotten, and must not be left out when they speak of everybody.
    """
    name = driver.replica.name
    own_record = Path(("@", "nodes", name)).key

    def look(changes: Sequence[Notify]) -> None:
        for change in changes:
            if change.key == own_record and all(version.is_tombstone for version in change.siblings):
                told(change)

    def told(change: Notify) -> None:
        by = _retired_by(change.siblings)
        if by == name:
            return
        driver.report(
            KIND,
            name,
            f"this node was retired by {by or 'another one'} and becomes a member again. If it should not: end it, run "
            f"kv node retire {name} on another node, and delete its data folder",
        )
        join()

    driver.on_notify(look)


def _retired_by(siblings: Siblings) -> str:
    """The node where that was done; empty if it is not known any more."""
    return next((name_of(v.inc) for v in siblings if v.details.author == AUTHOR), "")
