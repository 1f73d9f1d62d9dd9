"""The requests for looking after nodes, beside those of :mod:`.protocol`: comparing trees, the quarantine, diagnosis.

Each is answered by one Done, whose value is that of the struct named with it, or by Fail. What concerns a subtree names
its path, and nothing outside it is answered: so a right to read a path will do for comparing it.
"""

from __future__ import annotations

import msgspec

from kvnode.core.messages import KeyRange, Leaf, Part
from kvnode.core.ticks import Dot

from .protocol import Elements, Message, Ranges


class History(Message, frozen=True, array_like=True, tag=87):
    """What is at this path, and what the node kept of before: at most `limit` versions, none written before `since_ms`
    (milliseconds since 1970 UTC), from behind the place `before` on. Answer: Recalled.
    """

    id: int
    path: Elements
    limit: int
    since_ms: int | None = None
    before: bytes | None = None


class PastRow(msgspec.Struct, frozen=True, array_like=True):
    """One version of before: its place in the history, an encoded :class:`.protocol.Sib`, its tick vector, whether it
    was a delete, and the change that took its place.
    """

    place: bytes
    sib: bytes
    vector: dict[str, int]
    deleted: bool
    by: Dot | None


class Recalled(msgspec.Struct, frozen=True, array_like=True):
    """`row` is an encoded :class:`.protocol.Row` of what is there now, `vectors` has the tick vector of each of its
    dots, `keeps` how much is kept (versions, milliseconds), `past` what was there, newest first; `more`: not all of it.
    """

    row: bytes | None
    vectors: dict[str, dict[str, int]]
    policy: str
    keeps: tuple[int, int | None] | None
    past: tuple[PastRow, ...]
    more: bool


class Prints(Message, frozen=True, array_like=True, tag=88):
    """The fingerprints of these key ranges within `path` (none at all: of all of it). With `split` large ranges are cut
    into parts and small ones listed; else each has one fingerprint. Those in `listed` are listed whatever their size.
    Answer: Told.
    """

    id: int
    path: Elements
    ranges: tuple[KeyRange, ...] = ()
    listed: tuple[KeyRange, ...] = ()
    split: bool = False


class Told(msgspec.Struct, frozen=True, array_like=True):
    """`known` is the hash of what the node knows at that moment."""

    known: int
    parts: tuple[Part, ...]
    leaves: tuple[Leaf, ...]


MOST_KEYS = 1_024
"""Keys of one request."""


class Held(Message, frozen=True, array_like=True, tag=89):
    """The stored records of these keys within `path`, all of one moment; as many of the first as fit into an answer.
    Answer: a list of records, None for a key without an entry.
    """

    id: int
    path: Elements
    keys: tuple[bytes, ...]


class Lacks(Message, frozen=True, array_like=True, tag=90):
    """What of these changes the node does not know, after at most `wait_ms` to learn it. Answer: Ranges."""

    id: int
    changes: Ranges
    wait_ms: int = 0


class Verify(Message, frozen=True, array_like=True, tag=91):
    """Compare the subtree with that of the linked peers, or of the one named; where they differ, give them `wait_ms` to
    tell one another what is new. Answer: a list of Verified.
    """

    id: int
    path: Elements
    peer: str | None = None
    wait_ms: int = 0


EQUAL, BEHIND, DIVERGED, UNLINKED, SILENT = "equal", "behind", "diverged", "unlinked", "silent"
"""Results of a comparison: alike; different because one has not heard yet of what the other has; different though both
know the same; no link; no answer, as of a node of an older version.
"""


class Verified(msgspec.Struct, frozen=True):
    """What comparing with one peer gave. `paths` are those that differ, at most so many as one answer holds; `count` is
    how many there are at least. `we_lack` and `they_lack` count the changes that the one knows and the other does not.
    """

    peer: str
    result: str
    paths: tuple[Elements, ...] = ()
    count: int = 0
    we_lack: int = 0
    they_lack: int = 0


class Aside(Message, frozen=True, array_like=True, tag=92):
    """What is in the quarantine from behind the number `after` on, as many as fit into an answer; or only the one of
    number `only`. Answer: a list of AsideRow; an empty one is the end.
    """

    id: int
    after: int = 0
    only: int | None = None


class AsideRow(msgspec.Struct, frozen=True, array_like=True):
    """One version that was set aside, when (milliseconds since 1970 UTC), and why; `record` as it would be stored."""

    number: int
    record: bytes
    why: str
    wall: int


class Restore(Message, frozen=True, array_like=True, tag=93):
    """Write the value of this number again, as a new change, and take it out of the quarantine. Refused if the path has
    another value now, unless `force`. Answer: a list with the dot, empty if the path has this very value already.
    """

    id: int
    number: int
    force: bool
    ack: str
    timeout_ms: int
    author: str | None = None


class Discard(Message, frozen=True, array_like=True, tag=94):
    """Take these out of the quarantine for good; None: all. Answer: how many there were."""

    id: int
    numbers: tuple[int, ...] | None


class Diagnose(Message, frozen=True, array_like=True, tag=95):
    """Examine the node and the machine it runs on. With `bundle` the answer has more than the findings, see
    :mod:`kvnode.node.bundle`. Answer: a map with "findings".
    """

    id: int
    bundle: bool = False


InspectRequest = History | Prints | Held | Lacks | Verify | Aside | Restore | Discard | Diagnose
