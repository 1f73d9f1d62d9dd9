"""Every message between peers, as a frozen typed value. `kvnode.codec.peer` turns them into bytes and back.

Known ranges travel as ``{incarnation: bounds}`` with the flat half-open bounds of :class:`~.ticks.Ticks`. Tags
below 64 belong to peers; a client's messages have higher ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .entry import Siblings, Version
from .ticks import Dot, Incarnation

Ranges = Mapping[Incarnation, tuple[int, ...]]

Process = tuple[str, int]
"""A process: the node's name and the session id."""

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1

MORE_LINKS = "more-links"
"""Feature of a hello: the sender understands :class:`MoreLinks`."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all peer messages."""


class Hello(Message, frozen=True, array_like=True, tag=1):
    """First on every link, in both directions.

    `session` is random per process; `marks` are the closed incarnations whose closing record is durable here (R3);
    `view` the patterns of a partial replica, None for a full one (R8); `known_hash` the hash of all of `known`.
    `links`, the processes this node is linked to, is left empty: the first :class:`Ack` tells them, a moment later, and
    a list of all in each greeting of a mesh costs more than what it may spare until then. (0.1 fills it.)
    """

    protocol_min: int
    protocol_max: int
    cluster: str
    name: str
    session: int
    inc: Incarnation | None
    marks: tuple[Incarnation, ...]
    features: tuple[str, ...]
    view: tuple[str, ...] | None
    known_hash: int
    links: tuple[Process, ...]


class Digest(Message, frozen=True, array_like=True, tag=2):
    """`known`, compact: the recently changed incarnations in full and a hash over all others. Replaces every
    estimate the receiver had (R9) and starts a new difference session towards the sender. `lost`: the receiver's own
    digest did not tell the sender enough, so it wants one that lists what differs. `hold`: the sender catches up from
    another peer, so the session towards it should wait until it sends another digest, or does not get on.
    """

    recent: Ranges
    rest_hash: int
    lost: bool = False
    hold: bool = False


class DigestAsk(Message, frozen=True, array_like=True, tag=3):
    """The hash over the rest differs: asks for the hashes of all buckets, or for the named buckets in full."""

    buckets: tuple[int, ...] | None = None


class DigestBuckets(Message, frozen=True, array_like=True, tag=4):
    """The hash of each bucket of incarnations."""

    hashes: tuple[int, ...]


class DigestParts(Message, frozen=True, array_like=True, tag=5):
    """The named buckets in full."""

    buckets: tuple[int, ...]
    known: Ranges


class Versions(Message, frozen=True, array_like=True, tag=6):
    """Versions that the receiver lacks, live or in a session. With `prompt` a writer waits for acknowledgements of one
    of them; so it does by a sender that says nothing.
    """

    versions: tuple[Version, ...]
    prompt: bool = True


class End(Message, frozen=True, array_like=True, tag=7):
    """End of a difference session (R4): the known ranges frozen at its start, less the dots then live, as far as the
    receiver lacked them. `epoch` counts the digests that the sender had got on this link; `settle` marks the session
    that follows a digest: when both directions have had theirs, each side sends a :class:`Check`.
    """

    ranges: Ranges
    epoch: int
    settle: bool


class AckState(msgspec.Struct, frozen=True, array_like=True):
    """What a process of a member holds durably. What is said of a process is united; it never takes anything back.

    `beat` counts up as long as the process lives, and `age_ms` tells how long ago it gave that sign of life, as far
    as the relaying nodes can tell; `marks` and `links` are complete, as in :class:`Hello`, or None if they are as this
    link last told them. `born_ms` tells how long ago its first sign of life was, with the first word about a process on
    a link. With `as_digest` all incarnations that are not listed are held as far as the sender's own
    digest on this link said: so the first word about a process costs only the difference.
    """

    name: str
    session: int
    beat: int
    known: Ranges
    marks: tuple[Incarnation, ...] | None
    links: tuple[Process, ...] | None
    as_digest: bool = False
    age_ms: int = 0
    born_ms: int | None = None


class Ack(Message, frozen=True, array_like=True, tag=8):
    """Acknowledgements: the sender's own, and relayed ones of third parties."""

    states: tuple[AckState, ...]


KeyRange = tuple[bytes, bytes]
"""Keys from the first up to, not including, the second."""
Part = tuple[bytes, bytes, int]
"""A range with its fingerprint."""
Leaf = tuple[bytes, bytes, tuple[tuple[bytes, int], ...]]
"""A range with its keys that hold a value, and the fingerprint of each."""


class PrintAsk(Message, frozen=True, array_like=True, tag=9):
    """Asks for the fingerprints inside these key ranges (range-based set reconciliation, Meyer 2022)."""

    ranges: tuple[KeyRange, ...]


class PrintTell(Message, frozen=True, array_like=True, tag=10):
    """Answers: parts of the ranges with the fingerprint of each, and ranges so small that each of their paths is
    listed with its fingerprint. `asked` repeats the question.
    """

    asked: tuple[KeyRange, ...]
    parts: tuple[Part, ...]
    leaves: tuple[Leaf, ...]


class PathAsk(Message, frozen=True, array_like=True, tag=11):
    """These paths differ: per key the dots that the asker holds there. With `verdict` the asker only wants to hear
    which of them are gone, so equal dots need no look at their bodies.
    """

    paths: tuple[tuple[bytes, tuple[Dot, ...]], ...]
    verdict: bool = False


class PathTell(Message, frozen=True, array_like=True, tag=12):
    """Per key the siblings that the asker did not name (very large ones go ahead in :class:`Versions`), and those of
    the asker's dots that the teller knows and does not hold.
    """

    paths: tuple[tuple[bytes, Siblings, tuple[Dot, ...]], ...]


class Event(Message, frozen=True, array_like=True, tag=13):
    """An unversioned, unstored message on a path; deduplicated by (session, seq), in order per sender."""

    name: str
    session: int
    seq: int
    path: tuple[str | int, ...]
    value: bytes
    author: str = ""
    principal: str | None = None


class Check(Message, frozen=True, array_like=True, tag=14):
    """Comparison of hash of known and fingerprint of the tree: with `settle` behind the sessions of both directions
    (R5), else now and then on a link.
    """

    known_hash: int
    fingerprint: int
    settle: bool


class MoreLinks(Message, frozen=True, array_like=True, tag=15):
    """Besides those that it told last on this link the sender has links to these processes, too. Sent to peers with
    the feature :data:`MORE_LINKS`; all others hear the whole list.
    """

    links: tuple[Process, ...]


class Ping(Message, frozen=True, array_like=True, tag=20):
    """Liveness probe of a link, answered by :class:`Pong` with the same number."""

    number: int


class Pong(Message, frozen=True, array_like=True, tag=21):
    """Answer to :class:`Ping`; `wall_ms` is the answering machine's wall clock, in milliseconds since 1970 UTC."""

    number: int
    wall_ms: int | None = None


class PingReq(Message, frozen=True, array_like=True, tag=22):
    """Asks the receiver whether it hears from the node `name` (indirect probe of SWIM)."""

    number: int
    name: str


class PingAck(Message, frozen=True, array_like=True, tag=23):
    """Answer to :class:`PingReq`: milliseconds since the named node was heard directly, None if it is not linked."""

    number: int
    name: str
    heard_ms: int | None
