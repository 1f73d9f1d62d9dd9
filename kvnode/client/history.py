"""What was at a path before, as far as the node kept it, and going back to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from kvnode.core.path import Path
from kvnode.core.ticks import Dot, name_of

from . import inspect_protocol as ip
from .errors import refused
from .items import Change, Sibling, change_of, sibling_from
from .protocol import Row, Sib

_row: Final = msgspec.msgpack.Decoder(Row)
_sib: Final = msgspec.msgpack.Decoder(Sib)


class Recorded(msgspec.Struct, frozen=True):
    """One version of a path, of now or of before."""

    version: Sibling
    after: Mapping[str, int]
    """What its writer had seen at this path: per incarnation the number of the last change. Empty for a first value,
    and once every member has all of it.
    """
    replaced_by: Dot | None = None
    """The change that took its place; None if it is current, or was dropped or forgotten."""

    @property
    def knowing(self) -> str:
        """The same as ``after`` as text: ``A:12, B:3``. Runs of a node that wrote under one name are told apart."""
        names = [name_of(inc) for inc in self.after]
        shown = (
            (inc if names.count(name_of(inc)) > 1 else name_of(inc), tick) for inc, tick in sorted(self.after.items())
        )
        return ", ".join(f"{name}:{tick}" for name, tick in shown)

    def replaces(self, other: Recorded) -> bool:
        """Whether its writer had seen the other one."""
        dot = other.version.dot
        return dot.tick <= self.after.get(dot.inc, 0) or (
            dot.inc == self.version.dot.inc and dot.tick < self.version.dot.tick
        )


class History(msgspec.Struct, frozen=True):
    """What a node tells of a path."""

    path: Path
    reading: Change | None
    """How it reads now; None if nothing is known of it at all. A delete that is remembered is a reading, too."""
    current: tuple[Recorded, ...]
    """The versions there now, the one that reads first."""
    past: tuple[Recorded, ...]
    """The versions of before, newest first."""
    policy: str
    """By which of several current versions one reads."""
    keeps: tuple[int, int | None] | None
    """So many versions are kept, none older than so many milliseconds (None: of any age); None if none are."""
    more: bool
    """Whether there are older ones beyond the limit of the question."""

    def former(self, to: Dot | None = None) -> Sibling:
        """The version to go back to: the one named, else the one that the current change replaced. Raises Refused
        (``no_history``, ``ambiguous``).
        """
        if to is not None:
            return self._named(to)
        if len(self.current) > 1:
            raise refused("ambiguous", f"{self.path} has several versions now; choose one to go back to")
        if not self.current and self.past:
            return next(
                (recorded.version for recorded in self.past if not recorded.version.deleted), self.past[0].version
            )
        dots = {recorded.version.dot for recorded in self.current}
        replaced = [recorded for recorded in self.past if recorded.replaced_by in dots]
        if len(replaced) > 1:
            raise refused("ambiguous", f"{self.path} had several versions before; choose one to go back to")
        if replaced:
            return replaced[0].version
        why = "nothing of before is on record" if self.keeps else "no pattern below @.history asks to keep any"
        raise refused("no_history", f"no history of {self.path}: {why}")

    def _named(self, dot: Dot) -> Sibling:
        for recorded in (*self.past, *self.current):
            if recorded.version.dot == dot:
                return recorded.version
        raise refused("no_history", f"{dot} is not in the history of {self.path}")


def history_of(path: Path, told: ip.Recalled) -> History:
    """The node's answer, decoded."""
    row = None if told.row is None else _row.decode(told.row)
    reading = None if row is None else change_of(row)
    siblings = reading.siblings if reading is not None and row is not None and row.siblings else ()
    current = tuple(Recorded(s, told.vectors.get(str(s.dot), {})) for s in siblings)
    past = tuple(Recorded(_sibling(path, row), row.vector, row.by) for row in told.past)
    return History(path, reading, current, past, told.policy, told.keeps, told.more)


def _sibling(path: Path, row: ip.PastRow) -> Sibling:
    return sibling_from(path, _sib.decode(row.sib), live=not row.deleted)


def since_ms(since: datetime | None) -> int | None:
    """A time for the wire. Raises Refused without a time zone."""
    if since is None:
        return None
    if since.tzinfo is None:
        raise refused("bad_value", "the time lacks a time zone")
    return int(since.timestamp() * 1000)
