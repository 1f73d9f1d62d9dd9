"""What a client reads and writes: readings, changes, the items of a watch, events. All are frozen values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, TypeVar

import msgspec

from kvnode.codec.values import ValueCodecError, unpack
from kvnode.core.entry import Lease
from kvnode.core.path import Path
from kvnode.core.stamp import wall_ms
from kvnode.core.ticks import Dot, name_of

from .protocol import CONFLICT, CUT, EXPIRED, KEYS, STALE, EventRow, Row, Sib, Wrote


class Absent(Enum):
    """Its one member says that there is no value: as `expect` of a write, and as the value of a deleted entry."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = Absent.ABSENT
MISSING: Final = ABSENT
"""The same, as one may prefer to call the value of a deleted entry."""


class Omitted(Enum):
    """Its one member stands in the place of a value that was not asked for."""

    OMITTED = "omitted"

    def __repr__(self) -> str:
        return "OMITTED"


OMITTED: Final = Omitted.OMITTED


class Undecodable(msgspec.Struct, frozen=True):
    """In the place of a value whose bytes are none (written by something that is not this software)."""

    data: bytes
    why: str


class _Version(msgspec.Struct, frozen=True):
    """What is known of one version."""

    path: Path
    value: Any
    """The value; :data:`ABSENT` if it is deleted or expired, :data:`OMITTED` if only keys were asked for."""
    dot: Dot
    """The name of the change that wrote it."""
    stamp: int
    """The writer's hybrid clock reading."""
    author: str
    principal: str | None
    expiry: int | None
    """Time of expiry in milliseconds since 1970 UTC, if any."""
    lease: Lease | None = None
    """Who has to renew it, and for how long it holds; None if it stays until somebody changes it."""

    @property
    def until(self) -> datetime | None:
        """When its lease runs out: the time of the write plus the lease's time to live."""
        return None if self.lease is None else self.time + timedelta(milliseconds=self.lease.ttl_ms)

    @property
    def time(self) -> datetime:
        """When it was written, by the writer's clock; UTC."""
        return datetime.fromtimestamp(wall_ms(self.stamp) / 1000, UTC)

    @property
    def node(self) -> str:
        """The name of the node that took the write; empty if that is not known."""
        return name_of(self.dot.inc)

    @property
    def tick(self) -> int:
        """The write's number there; 0 if that is not known."""
        return self.dot.tick

    @property
    def deleted(self) -> bool:
        """Whether there is no value."""
        return self.value is ABSENT


class Sibling(_Version, frozen=True):
    """One of the concurrent versions of an entry; `deleted` for a delete that raced a write."""


class Reading(_Version, frozen=True):
    """An entry as it reads: the winner by the path's policy, with its siblings."""

    conflict: bool = False
    """Whether concurrent versions stand side by side."""
    others: tuple[Sibling, ...] = ()
    """The siblings besides the winner: those that hold a value first."""
    own: Sibling | None = None
    """The winner by itself, where the policy joins the values of all siblings into one."""
    cut: bool = False
    """Whether the other siblings came without their values because the entry is too large."""
    stale: bool = False
    """Whether it may be out of date: it is `expired`, or the node has yet to catch up with its peers after its store
    was in doubt.
    """
    expired: bool = False
    """Whether its lease has run out, by the clock of the node that was asked, and its holder has not deleted it."""

    @property
    def dots(self) -> frozenset[Dot]:
        """The live dots, for `expect`: a write that expects them fails if anything else came in between."""
        if not self.others:
            return frozenset() if self.deleted else frozenset((self.dot,))
        mine = () if self.deleted else (self.dot,)
        return frozenset((*mine, *(s.dot for s in self.others if not s.deleted)))

    @property
    def siblings(self) -> tuple[Sibling, ...]:
        """All versions, the winner first."""
        mine = self.own or Sibling(
            self.path, self.value, self.dot, self.stamp, self.author, self.principal, self.expiry, self.lease
        )
        return (mine, *self.others)


class Change(Reading, frozen=True):
    """An item of a watch: the entry now reads like this. `value` is :data:`ABSENT` if it has no value any more."""


class Uptodate(msgspec.Struct, frozen=True):
    """An item of a watch: the snapshot is complete; what follows are changes."""


class Gap(msgspec.Struct, frozen=True):
    """An item of a watch: changes were lost. What differs now follows, deletes included, then :class:`Uptodate`."""

    reason: str


class EventItem(msgspec.Struct, frozen=True):
    """An event: an unstored message. `seq` counts the events of one process of the node."""

    path: Path
    value: Any
    author: str
    node: str
    seq: int
    session: int = 0
    principal: str | None = None


class Written(msgspec.Struct, frozen=True):
    """A write stands, under this dot and stamp. `unchanged`: it was not needed, they are those of an earlier one."""

    dot: Dot
    stamp: int
    unchanged: bool = False

    @property
    def time(self) -> datetime:
        """The stamp's time, UTC."""
        return datetime.fromtimestamp(wall_ms(self.stamp) / 1000, UTC)


class Put(msgspec.Struct, frozen=True):
    """A write of a batch. `expect` as in :meth:`Client.set`."""

    path: Path | str
    value: Any
    expect: frozenset[Dot] | Absent | None = None
    expiry: int | None = None
    ttl_ms: int | None = None
    if_changed: bool = False


class Del(msgspec.Struct, frozen=True):
    """A delete of a batch."""

    path: Path | str
    expect: frozenset[Dot] | Absent | None = None


NO_DOT: Final = Dot("", 0)
"""In the place of the dot of a change whose writer is not known: an entry that is simply gone."""

_R = TypeVar("_R", bound=Reading)
_new_path: Final = tuple.__new__
"""A path from a node, which has checked it."""
_new_dot: Final = tuple.__new__
"""What :class:`Dot` does, in half the time."""


def value_of(data: bytes | msgspec.Raw) -> Any:
    """A value from its bytes; :class:`Undecodable` if they are none."""
    try:
        return unpack(data)
    except ValueCodecError as err:
        return Undecodable(bytes(data), str(err))


def sibling_from(path: Path, sib: Sib, *, live: bool, flags: int = 0) -> Sibling:
    """One version from the wire; `live` if it holds a value."""
    body = sib.body
    value: Any = ABSENT
    if live:
        value = OMITTED if flags & KEYS else value_of(body.value)
    dot = Dot(sib.inc, sib.tick)
    return Sibling(path, value, dot, body.stamp, body.author, body.principal, body.expiry, body.lease)


def reading_of(row: Row) -> Reading:
    """A row that holds a value as a reading."""
    return _fill(Reading, row)


def change_of(row: Row) -> Change:
    """A row as the item of a watch."""
    return _fill(Change, row) if row.siblings else gone(_new_path(Path, row.path or ()))


def gone(path: Path) -> Change:
    """A change to no value, of which nothing else is known."""
    return Change(path, ABSENT, NO_DOT, 0, "", None, None)


def _fill(kind: type[_R], row: Row) -> _R:
    siblings, live, flags = row.siblings, row.live, row.flags
    first = siblings[0]
    body = first.body
    path = _new_path(Path, body.path)
    value: Any = ABSENT
    if live and flags & KEYS:
        value = OMITTED
    elif live:
        value = value_of(body.value if row.value is None else row.value)
    dot = _new_dot(Dot, (first.inc, first.tick))
    if len(siblings) == 1 and not flags:
        return kind(path, value, dot, body.stamp, body.author, body.principal, body.expiry, body.lease)
    fields = (path, value, dot, body.stamp, body.author, body.principal, body.expiry, body.lease)
    others = tuple(sibling_from(path, sib, live=at < live, flags=flags) for at, sib in enumerate(siblings[1:], 1))
    own = sibling_from(path, first, live=True, flags=flags) if row.value is not None else None
    stale, expired = bool(flags & (STALE | EXPIRED)), bool(flags & EXPIRED)
    return kind(*fields, bool(flags & CONFLICT), others, own, bool(flags & CUT), stale, expired)


def written_of(answer: Wrote) -> list[Written]:
    """What became of each write."""
    written = [Written(_new_dot(Dot, (inc, tick)), stamp) for inc, tick, stamp in answer.writes]
    for at in answer.unchanged:
        if 0 <= at < len(written):
            written[at] = msgspec.structs.replace(written[at], unchanged=True)
    return written


def event_of(row: EventRow) -> EventItem:
    """An event from the wire."""
    path, value = _new_path(Path, row.path), value_of(row.value)
    return EventItem(path, value, row.author, row.node, row.seq, row.session, row.principal)
