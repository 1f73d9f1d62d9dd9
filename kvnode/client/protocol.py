"""The messages between a client and a node, as frozen typed values; their bytes are in :mod:`.wire`. Pure.

A client opens a connection with :class:`ClientHello`; the node answers :class:`ServerHello` or :class:`Fail` with
id 0, which concerns the whole connection. From then on the client sends requests, each with an id of its own
choice that is unique on the connection, and the node answers with messages of the same id, in any order between
ids. A call ends with :class:`Got`, :class:`Wrote`, :class:`Done` or :class:`Fail`. A stream (Tree, Watch, Events,
Dump, Backup) sends its rows as far as the client's credits go and ends with Done or Fail, or goes on until
:class:`Cancel`.

Credits: a message with rows costs one for each row and one for each KiB (:func:`.wire.cost_of`); the node sends while
it has any, so it may overdraw by one message. :class:`Grant` adds some. Begin, Marker and the ends are free.

Tags of client messages are 64 and above; those of peers are below. Fields are only ever added at the end, with
a default that an older side may take for granted; a message of an unknown tag is refused with ``too_old`` by the node
and ignored by the client. The node's hello says which requests it takes, so a client refuses itself what an older node
would not understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kvnode.codec.framing import MAX_PAYLOAD_BYTES
from kvnode.core.entry import Body
from kvnode.core.ticks import Dot

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1
REQUESTS_OF_0_1: Final = 80
"""The last request of version 0.1, whose hello does not tell it."""

Elements = tuple[str | int, ...]
Ranges = Mapping[str, tuple[int, ...]]
"""Known ticks per incarnation, as the flat half-open bounds of :class:`~kvnode.core.ticks.Ticks`."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all messages. None is part of a cycle of references, so the garbage collector need not look at them."""


# -- the opening ---------------------------------------------------------------------------------------------


class Auth(msgspec.Struct, frozen=True, array_like=True):
    """Credentials. Nothing uses them yet; a node without users ignores them."""

    mechanism: str
    data: bytes


class ClientHello(Message, frozen=True, array_like=True, tag=64):
    """The first message of a client. `client` names its software, `author` what its writes say by default, `view`
    would restrict all it sees to some patterns, `features` what it can do beyond the protocol version.
    """

    protocol_min: int
    protocol_max: int
    client: str = ""
    author: str = ""
    auth: Auth | None = None
    view: tuple[str, ...] | None = None
    features: tuple[str, ...] = ()


class ServerHello(Message, frozen=True, array_like=True, tag=65):
    """The node's answer: the protocol version to use from here on, who it is (`session` is random per process), as
    whom it sees the client, and what it restricts it to. `requests` is the highest tag of a request that it takes,
    `features` tells what it understands besides (:data:`.wire.FEATURES`).
    """

    protocol: int
    name: str
    session: int
    software: str = ""
    principal: str | None = None
    view: tuple[str, ...] | None = None
    features: tuple[str, ...] = ()
    max_payload: int = MAX_PAYLOAD_BYTES
    requests: int = REQUESTS_OF_0_1


# -- requests ------------------------------------------------------------------------------------------------


class Get(Message, frozen=True, array_like=True, tag=66):
    """Read one entry, by the key of its path. Answer: Got."""

    id: int
    key: bytes


class Op(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One write of a batch. `value` is one encoded value, None deletes; `expect` the live dots that were read (empty:
    no value), None for no condition; `expiry` in milliseconds since 1970 UTC. `ttl_ms` makes it a lease of the node;
    with `if_changed` nothing is written where the very same value is the only one.
    """

    path: Elements
    value: bytes | None
    expect: tuple[Dot, ...] | None = None
    expiry: int | None = None
    ttl_ms: int | None = None
    if_changed: bool = False


class Batch(Message, frozen=True, array_like=True, tag=67):
    """Write all of this, or nothing. `ack` is an ack level in its text form. Answer: Wrote."""

    id: int
    ops: tuple[Op, ...]
    ack: str
    timeout_ms: int
    author: str | None = None


class Tree(Message, frozen=True, array_like=True, tag=68):
    """Read what is at or below `path`, fits `pattern` (as a whole path) and `depth`, in path order, from behind the
    key `after` on; `conflicts` leaves out what is no conflict, `keys` the values. Answer: Rows, Done.
    """

    id: int
    path: Elements
    pattern: str | None
    depth: int | None
    credits: int
    after: bytes | None = None
    conflicts: bool = False
    keys: bool = False


class Watch(Message, frozen=True, array_like=True, tag=69):
    """Read and follow a subtree. `context` is what the client has been told before, on this node or another: the
    node waits (at most `wait_ms`) until it knows as much. If `mirrored`, the client holds the readings of all of it
    and needs only what is new. With `keys`, rows come without values. Answer: Begin, Rows, Marker, then Rows and
    Markers.
    """

    id: int
    path: Elements
    pattern: str | None
    depth: int | None
    latest: bool
    credits: int
    context: Ranges | None = None
    mirrored: bool = False
    wait_ms: int = 10_000
    keys: bool = False


class SendEvent(Message, frozen=True, array_like=True, tag=70):
    """Send an unstored message to whoever listens, on all nodes. Answer: Done."""

    id: int
    path: Elements
    value: bytes
    author: str | None = None


class Events(Message, frozen=True, array_like=True, tag=71):
    """Listen to events. Answer: EventRows, until cancelled."""

    id: int
    path: Elements
    pattern: str | None
    depth: int | None
    credits: int


class Status(Message, frozen=True, array_like=True, tag=72):
    """The node's status. Answer: Done with a map."""

    id: int


class GcExplain(Message, frozen=True, array_like=True, tag=73):
    """Why the entry at this path, if it is a tombstone, is not forgotten yet. Answer: Done with lines of text."""

    id: int
    path: Elements


class Retire(Message, frozen=True, array_like=True, tag=74):
    """Remove a member for good. Answer: Done."""

    id: int
    name: str


class Dump(Message, frozen=True, array_like=True, tag=75):
    """All records, as stored, in path order. Answer: DumpRows, then Done with the known ticks."""

    id: int
    path: Elements
    credits: int
    after: bytes | None = None


class Load(Message, frozen=True, array_like=True, tag=76):
    """Take in the versions of these stored records (see Dump), under their own dots. Answer: Done with the number of
    versions that were new.
    """

    id: int
    records: tuple[bytes, ...]


class Grant(Message, frozen=True, array_like=True, tag=77):
    """More credits for a stream. No answer."""

    id: int
    credits: int


class Cancel(Message, frozen=True, array_like=True, tag=78):
    """The answer, or the rest of it, is no longer wanted. No answer; one that is under way may still come."""

    id: int


class Resync(Message, frozen=True, array_like=True, tag=79):
    """The fingerprint of a watch did not fit: send all of it again. No answer but the stream's."""

    id: int


class Ping(Message, frozen=True, array_like=True, tag=80):
    """Is the connection alive? Answer: Pong."""

    id: int


class Backup(Message, frozen=True, array_like=True, tag=81):
    """The node's store as the bytes of one file, of one moment: all that was acknowledged as on disk by then is in it.
    Answer: Chunks, then Done with the number of bytes.
    """

    id: int
    credits: int


class Compact(Message, frozen=True, array_like=True, tag=82):
    """Give space that the store no longer needs back to the file system. Answer: Done with the bytes on disk before and
    after.
    """

    id: int


Request = (
    Get
    | Batch
    | Tree
    | Watch
    | SendEvent
    | Events
    | Status
    | GcExplain
    | Retire
    | Dump
    | Load
    | Grant
    | Cancel
    | Resync
    | Ping
    | Backup
    | Compact
)

# -- answers -------------------------------------------------------------------------------------------------


class Sib(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One sibling: its dot, and the body as its writer encoded it."""

    inc: str
    tick: int
    body: Body


CONFLICT: Final = 1
"""Flag of a row: concurrent versions stand side by side."""
CUT: Final = 2
"""Flag of a row: too large; the siblings behind the winner come without their values."""
STALE: Final = 4
"""Flag of a row: the node has yet to catch up with its peers after its store was in doubt (R5)."""
KEYS: Final = 8
"""Flag of a row: it comes without values, as was asked."""
EXPIRED: Final = 16
"""Flag of a row: the lease of its winner has run out, and its holder has not said anything yet."""


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The reading of an entry. The first `live` siblings hold a value, the winner first; the others are tombstones or
    expired. `value` is the encoded value where the policy joins several into one, `path` where there is no sibling.
    """

    siblings: tuple[Sib, ...]
    live: int
    flags: int = 0
    value: bytes | None = None
    path: Elements | None = None


class Got(Message, frozen=True, array_like=True, tag=96):
    """The entry; None if it has no value."""

    id: int
    row: Row | None


class Wrote(Message, frozen=True, array_like=True, tag=97):
    """Per write of the batch its dot and stamp; `unchanged` lists, by number, those that were not needed: their dots
    name the earlier writes of the same value.
    """

    id: int
    writes: tuple[tuple[str, int, int], ...]
    unchanged: tuple[int, ...] = ()


class Done(Message, frozen=True, array_like=True, tag=98):
    """The call is answered, or the stream at its end."""

    id: int
    value: Any = None


class Fail(Message, frozen=True, array_like=True, tag=99):
    """The call or stream failed; id 0: the connection does. `code` is stable, `message` one line for people."""

    id: int
    code: str
    message: str
    fields: dict[str, Any] = {}


class Rows(Message, frozen=True, array_like=True, tag=100):
    """Rows of a stream, in order."""

    id: int
    rows: tuple[Row, ...]


class EventRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event: sent by the process `session` of node `node` as its number `seq`."""

    path: Elements
    value: bytes
    author: str
    node: str
    session: int
    seq: int
    principal: str | None = None


class EventRows(Message, frozen=True, array_like=True, tag=101):
    """Events, in order; `lost` counts those that were dropped before them because the client was slow."""

    id: int
    events: tuple[EventRow, ...]
    lost: int = 0


FULL: Final = 0
"""Pass of a watch: all entries; what the client holds beyond them is gone."""
DELTA: Final = 1
"""Pass of a watch: what is new over the client's context; the marker carries a fingerprint."""
GAP: Final = 2
"""Like FULL; changes before it were dropped because the client was slow. The reason says so."""
RESET: Final = 3
"""Like FULL; the node does not know all that the client has been told, so readings may go back."""


class Begin(Message, frozen=True, array_like=True, tag=102):
    """A pass over the watched subtree begins, in path order; its end is a Marker."""

    id: int
    kind: int
    reason: str = ""


class Marker(Message, frozen=True, array_like=True, tag=103):
    """The end of a pass, or a refreshed context. The context covers what this watch has been sent: with `whole` it
    replaces the client's, else it adds to it. `fingerprint` is that of all readings in the watched subtree.
    """

    id: int
    context: Ranges
    whole: bool
    fingerprint: int | None = None


class DumpRows(Message, frozen=True, array_like=True, tag=104):
    """Records: key and stored form."""

    id: int
    rows: tuple[tuple[bytes, bytes], ...]


class Pong(Message, frozen=True, array_like=True, tag=105):
    """The connection is alive."""

    id: int


class Chunk(Message, frozen=True, array_like=True, tag=106):
    """The next bytes of a file."""

    id: int
    data: bytes


Answer = ServerHello | Got | Wrote | Done | Fail | Rows | EventRows | Begin | Marker | DumpRows | Pong | Chunk
