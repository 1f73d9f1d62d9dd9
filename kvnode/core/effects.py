"""What goes into a replica and what comes out of it, as data.

Order of durability (compare etcd-io/raft's ``Ready``): effects are carried out in the order they come. A
:class:`Persist` may be written behind the sends that follow it (no tick is ever used twice, so a crash between
them is harmless), but nothing that *acknowledges* is decided before :meth:`Replica.persisted` came back with its
token. :class:`Notify` comes last.

What there is for each change is a struct, made in a third of the time of a dataclass; and since none of them is
part of a cycle of references, the garbage collector need not look at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from .path import Path
from .ticks import Dot, Incarnation, Ticks

if TYPE_CHECKING:
    from .entry import Siblings
    from .history import Past
    from .messages import Event, Message


class Now(NamedTuple):
    """The time, as an argument: `mono` for intervals, `wall` for stamps (since 1970 UTC); both in milliseconds."""

    mono: int
    wall: int


LinkId = int
"""Names one connection to a peer, chosen by the driver, never used twice by a process."""


# -- in ------------------------------------------------------------------------------------------------------


class Change(msgspec.Struct, frozen=True, gc=False):
    """A write that a client asks for.

    `value` is one encoded MessagePack object; None deletes. `expect` makes it a compare-and-set: the dots of the
    live values that the client read (an empty set: "there is none"); None writes in any case. `expiry` is in
    milliseconds since 1970 UTC. `ttl_ms` makes the value a lease of the writing node. With `if_changed` nothing is
    written where this very value is the only one. `key` is the path's, if it is at hand; else it is made.
    """

    path: Path
    value: bytes | None
    author: str = ""
    expect: frozenset[Dot] | None = None
    expiry: int | None = None
    principal: str | None = None
    ttl_ms: int | None = None
    if_changed: bool = False
    key: bytes = b""


class Wrote(msgspec.Struct, frozen=True, gc=False):
    """The change stands under this dot; `unchanged`: that is an earlier one, which wrote the same value."""

    dot: Dot
    stamp: int
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The change was not made; nothing of its batch was. `code` is stable: ``cas_failed``, ``too_large``,
    ``reserved``, ``not_found``, ``still_linked``.
    """

    code: str
    path: Path
    detail: str
    dots: frozenset[Dot] = frozenset()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a store held when it was opened. `doubts` tells, a line each, why it may not be complete (rule R6)."""

    rows: Iterable[tuple[bytes, bytes]] = ()
    known: Mapping[Incarnation, Ticks] = field(default_factory=dict)
    meta: Mapping[str, bytes] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    quarantine: Mapping[int, bytes] = field(default_factory=dict)


# -- out -----------------------------------------------------------------------------------------------------


class Persist(msgspec.Struct, frozen=True, gc=False):
    """Store this, in one transaction with everything before it: per path key its record (None: remove), per
    incarnation its known ticks (replacing; None: remove), small values of identity, per number what is set aside
    (None: remove), and what is put on record of the past. Answer with ``persisted(token)``; a token stands for all
    tokens below it.
    """

    token: int
    rows: Mapping[bytes, bytes | None]
    known: Mapping[Incarnation, Ticks | None]
    meta: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    quarantine: Mapping[int, bytes | None] = msgspec.field(default_factory=dict)
    past: Sequence[Past] = ()


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send this message on this link, behind those before it. `seq` counts the messages of a link and direction from
    0 and travels along: the receiver ignores a number twice, and a gap voids the session (R4).
    """

    link: LinkId
    seq: int
    message: Message


class Close(msgspec.Struct, frozen=True, gc=False):
    """Cut this link: the session is void. `why` is for people; `fatal` means that redialling will not help."""

    link: LinkId
    why: str
    fatal: bool = False


class Notify(msgspec.Struct, frozen=True, gc=False):
    """The siblings of a path changed; an empty tuple: the path is no longer held."""

    key: bytes
    siblings: Siblings


class Deliver(msgspec.Struct, frozen=True, gc=False):
    """An event (unstored message) arrived or was sent here."""

    event: Event


class Acked(msgspec.Struct, frozen=True, gc=False):
    """Some member's durable knowledge grew: whoever waits for an ack level looks again."""


class Report(msgspec.Struct, frozen=True, gc=False):
    """Something people must see. `kind` is a stable code, `subject` what it is about; `resolved` ends it."""

    kind: str
    subject: str
    text: str
    resolved: bool = False


Effect = Persist | Send | Close | Notify | Deliver | Acked | Report
