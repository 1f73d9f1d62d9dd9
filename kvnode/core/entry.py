"""Versions, and the sibling set of a path: merging, superseding, and the record an entry is stored as.

A version travels as an *envelope* (incarnation, tick, vector, signature) around a *body*: one MessagePack
array that the writer encoded and everybody stores and relays verbatim, fields it does not know included. The
vector is outside the body because each node may strip it once the version is stable (rule R1).

The sibling set of a path is a set of versions none of which covers another: the optimised OR-set merge of
Almeida et al. (dotted version vectors, 2010-2014), which is commutative, associative and idempotent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from sys import intern
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from .packed import is_too_deep, opens
from .path import Path, checked_key, path_key
from .stamp import MAX_STAMP, wall_ms
from .ticks import MAX_TICK, Dot, Incarnation

if TYPE_CHECKING:
    from .effects import Change

VALUE: Final = 0
TOMBSTONE: Final = 1

MAX_DEPTH: Final = 64
"""How deep a value may be nested: what everybody can decode without running out of stack."""

NO_VECTOR: Final[Mapping[Incarnation, int]] = {}


_Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=MAX_TICK)]


class Lease(msgspec.Struct, array_like=True, frozen=True):
    """A value that somebody has to renew. It runs out `ttl_ms` after the version's stamp, and reads as stale from then
    on; only the node `holder` then deletes it, or, when that is no member any more, any other. Merging and forgetting
    know nothing of it, so no clock but the holder's can end a value.
    """

    holder: str
    ttl_ms: _Milliseconds


class Body(msgspec.Struct, array_like=True, frozen=True):
    """What the writer states. `value` is one MessagePack object, `stamp` a hybrid clock reading (see stamp.py),
    `author` free text naming the writing agent or user, `principal` the authenticated one (None until users exist),
    `expiry` the time of expiry in milliseconds since 1970 UTC, or None.
    """

    path: Annotated[tuple[str | int, ...], msgspec.Meta(min_length=1)]
    stamp: Annotated[int, msgspec.Meta(ge=0, le=MAX_STAMP)]
    kind: int
    value: msgspec.Raw
    author: str = ""
    principal: str | None = None
    expiry: _Milliseconds | None = None
    lease: Lease | None = None


_empty_hash: Final = blake2b(digest_size=8)
_encode = msgspec.msgpack.Encoder().encode
_encode_into = msgspec.msgpack.Encoder().encode_into
_decode_body = msgspec.msgpack.Decoder(Body).decode
NIL: Final = msgspec.Raw(b"\xc0")
_KNOWN_FIELDS: Final = 0x90 + len(Body.__struct_fields__)
"""The first byte of a body that has no fields but those we know."""


def _exact(body: object) -> bytes:
    """A body, encoded, in as many bytes as it needs: what the encoder gives has room for half as many again, and a tree
    holds it for long.
    """
    out = bytearray()
    _encode_into(body, out)
    return bytes(out)


class Extra(msgspec.Struct, frozen=True, gc=False):
    """What only some versions have; all others share :data:`PLAIN`.

    `vector` holds the highest tick at this path, per incarnation, that this version supersedes; its own dot is
    not repeated there. It may hold an earlier tick of its own incarnation only implicitly: an incarnation's
    writes at one path follow one another, so a dot covers all earlier ticks of its incarnation there.

    `until` tells when its lease runs out (milliseconds since 1970 UTC; None without one).
    """

    vector: Mapping[Incarnation, int]
    sig: bytes
    kind: int
    expiry: int | None
    until: int | None


PLAIN: Final = Extra(NO_VECTOR, b"", VALUE, None, None)


def extra_of(vector: Mapping[Incarnation, int], sig: bytes, kind: int, expiry: int | None, until: int | None) -> Extra:
    """What a version with these has: PLAIN, if it is a value and nothing else."""
    if vector or sig or kind != VALUE or expiry is not None or until is not None:
        return Extra(vector or NO_VECTOR, sig, kind, expiry, until)
    return PLAIN


class Version(msgspec.Struct, eq=False, gc=False):
    """One version of one path. Immutable; equal if the dot is equal (rule: no dot names two changes).

    `key` is the key of its path; what only some versions have is in `extra`. A tree holds one of these a key: hence a
    struct, one with few fields, and one that the garbage collector need not look at.
    """

    inc: Incarnation
    tick: int
    key: bytes
    body: bytes
    stamp: int
    extra: Extra

    @classmethod
    def make(
        cls, dot: Dot, vector: Mapping[Incarnation, int], body: Body, sig: bytes = b"", key: bytes | None = None
    ) -> Version:
        """A version that is written here and now; `key` is the path's, if it is at hand."""
        inc, tick = dot
        if key is None:
            key = path_key(body.path)
        encoded = _exact(body)
        extra = extra_of(vector, sig, body.kind, body.expiry, _until(body))
        return cls(inc, tick, key, encoded, body.stamp, extra)

    @classmethod
    def written(
        cls, dot: Dot, vector: Mapping[Incarnation, int], key: bytes, change: Change, stamp: int, lease: Lease | None
    ) -> Version:
        """The version that a change makes; `lease` is None for a delete."""
        value, expiry = change.value, change.expiry
        kind, raw = (TOMBSTONE, NIL) if value is None else (VALUE, msgspec.Raw(value))
        body = _exact((change.path, stamp, kind, raw, change.author, change.principal, expiry, lease))
        until = None if lease is None else wall_ms(stamp) + lease.ttl_ms
        return cls(dot.inc, dot.tick, key, body, stamp, extra_of(vector, b"", kind, expiry, until))

    @classmethod
    def received(
        cls, inc: Incarnation, tick: int, vector: Mapping[Incarnation, int], body: bytes, sig: bytes
    ) -> Version:
        """A version from outside; its body is checked. Raises ValueError (msgspec's errors are ones)."""
        head = _decode_body(body)
        if (body[0] > _KNOWN_FIELDS or opens(bytes(head.value))) and is_too_deep(body, MAX_DEPTH + 1):
            raise ValueError(f"a value nested deeper than {MAX_DEPTH}")
        if not 0 < tick <= MAX_TICK or (vector and not 0 < min(vector.values()) <= max(vector.values()) <= MAX_TICK):
            raise ValueError(f"{inc}:{tick} has a number out of bounds")
        until = None if head.lease is None else _until(head)
        extra = extra_of(vector, sig, head.kind, head.expiry, until)
        return cls(inc, tick, checked_key(head.path), body, head.stamp, extra)

    @property
    def dot(self) -> Dot:
        """The name of this change."""
        return Dot(self.inc, self.tick)

    @property
    def details(self) -> Body:
        """The decoded body."""
        return _decode_body(self.body)

    @property
    def vector(self) -> Mapping[Incarnation, int]:
        """See :class:`Extra`, as for those that follow."""
        return self.extra.vector

    @property
    def sig(self) -> bytes:
        """The signature, or nothing."""
        return self.extra.sig

    @property
    def kind(self) -> int:
        """VALUE or TOMBSTONE, or what a later release adds."""
        return self.extra.kind

    @property
    def expiry(self) -> int | None:
        """When it expires, in milliseconds since 1970 UTC."""
        return self.extra.expiry

    @property
    def until(self) -> int | None:
        """When its lease runs out, likewise."""
        return self.extra.until

    @property
    def is_tombstone(self) -> bool:
        """Whether this is a delete."""
        return self.extra.kind != VALUE

    def is_gone(self, now_ms: int) -> bool:
        """Whether it reads as deleted: a tombstone, or expired."""
        extra = self.extra
        return extra is not PLAIN and (extra.kind != VALUE or (extra.expiry is not None and extra.expiry <= now_ms))

    def is_stale(self, now_ms: int) -> bool:
        """Whether its lease has run out."""
        until = self.extra.until
        return until is not None and until <= now_ms

    def covers(self, other: Version) -> bool:
        """Whether this version is, or supersedes, the other one of the same path."""
        if other.inc == self.inc:
            return other.tick <= self.tick
        return other.tick <= self.extra.vector.get(other.inc, 0)

    def replaces(self, other: Version) -> bool:
        """Whether this version supersedes the other one of the same path, which does not cover it."""
        if other.inc == self.inc:
            return other.tick < self.tick
        return other.tick <= self.extra.vector.get(other.inc, 0) and self.tick > other.extra.vector.get(self.inc, 0)

    def stripped(self) -> Version:
        """The same version without its vector, once it is stable."""
        extra = self.extra
        return msgspec.structs.replace(
            self, extra=extra_of(NO_VECTOR, extra.sig, extra.kind, extra.expiry, extra.until)
        )

    @property
    def order(self) -> tuple[int, str, int]:
        """Sort key of policy ``newest``: stamp, then dot."""
        return (self.stamp, self.inc, self.tick)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Version) and self.inc == other.inc and self.tick == other.tick and self.body == other.body
        )

    def __hash__(self) -> int:
        return hash((self.inc, self.tick))

    def __repr__(self) -> str:
        what = "del" if self.is_tombstone else "val"
        return f"<{what} {Path(self.details.path)} {self.inc}:{self.tick} over {dict(self.vector)}>"


def _until(body: Body) -> int | None:
    return None if body.lease is None else wall_ms(body.stamp) + body.lease.ttl_ms


Siblings = tuple[Version, ...]
"""The versions of one path, in order of their dots. Never empty in the tree."""


Run = tuple[Incarnation, int, int]
"""First and last of ticks that follow one another within an incarnation."""
_FEW: Final = 4
"""So many versions are soon looked at one by one."""


def run_of(versions: Sequence[Version]) -> Run | None:
    """The run that these are, if they supersede nothing of other incarnations, as most that come together are; None for
    a few.
    """
    if len(versions) < _FEW:
        return None
    inc, first = versions[0].inc, versions[0].tick
    tick = first
    for version in versions:
        if version.tick != tick or version.inc != inc or version.extra.vector:
            return None
        tick += 1
    return inc, first, tick - 1


class Merged(NamedTuple):
    """What merging a version into siblings gives: the new siblings, and which versions that removed."""

    siblings: Siblings
    removed: Siblings
    added: bool


def merge(siblings: Siblings, new: Version) -> Merged:
    """Merge a version whose dot was not known before into the siblings of its path."""
    if not siblings:
        return Merged((new,), (), True)
    if len(siblings) == 1:
        old = siblings[0]
        if old.covers(new):
            return Merged(siblings, (), False)
        if new.covers(old):
            return Merged((new,), siblings, True)
    if any(old.covers(new) for old in siblings):
        return Merged(siblings, (), False)
    kept = [old for old in siblings if not new.covers(old)]
    removed = tuple(old for old in siblings if new.covers(old))
    return Merged(ordered([*kept, new]), removed, True)


def ordered(versions: Iterable[Version]) -> Siblings:
    """Siblings in their canonical order."""
    return tuple(sorted(versions, key=lambda v: (v.inc, v.tick)))


def vector_over(siblings: Sequence[Version], own: Incarnation) -> dict[Incarnation, int]:
    """The vector of a write that supersedes `siblings`: their dots and all that they supersede, less `own`."""
    vector: dict[Incarnation, int] = {}
    if len(siblings) == 1 and siblings[0].inc == own and not siblings[0].vector:
        return vector
    for version in siblings:
        for inc, tick in version.vector.items():
            if tick > vector.get(inc, 0):
                vector[inc] = tick
        if version.tick > vector.get(version.inc, 0):
            vector[version.inc] = version.tick
    vector.pop(own, None)
    return vector


def fingerprint(version: Version) -> int:
    """A 64-bit hash of dot and body: what fingerprints (R5) and the dump agree on."""
    state = _empty_hash.copy()  # a third of the time of a new one
    state.update(b"%b:%d:%b" % (version.inc.encode(), version.tick, version.body))
    return int.from_bytes(state.digest(), "big")


# -- the stored record ---------------------------------------------------------------------------------------

_Record = list[tuple[str, int, dict[str, int], bytes, bytes]]
_decode_record = msgspec.msgpack.Decoder(_Record).decode


def encode_record(siblings: Siblings) -> bytes:
    """The siblings of a path as one stored record."""
    return _encode([(v.inc, v.tick, v.vector, v.body, v.sig) for v in siblings])


def encode_one(version: Version) -> bytes:
    """The same for a version that stands alone."""
    extra = version.extra
    return _encode([(version.inc, version.tick, extra.vector, version.body, extra.sig)])


def decode_record(record: bytes) -> Siblings:
    """Read a stored record; ValueError if it is malformed."""
    received, found = Version.received, _decode_record(record)
    if len(found) == 1:  # nearly all
        ((inc, tick, vector, body, sig),) = found
        return (received(intern(inc), tick, vector, body, sig),)
    return tuple([received(intern(inc), tick, vector, body, sig) for inc, tick, vector, body, sig in found])


def body_of(
    path: tuple[str | int, ...],
    stamp: int,
    value: bytes | None,
    author: str = "",
    principal: str | None = None,
    expiry: int | None = None,
    lease: Lease | None = None,
) -> Body:
    """The body of a write; `value` is one encoded MessagePack object, None a delete."""
    if value is None:
        return Body(path, stamp, TOMBSTONE, NIL, author, principal, expiry)
    return Body(path, stamp, VALUE, msgspec.Raw(value), author, principal, expiry, lease)


def plain(value: bytes) -> Any:
    """Decode a value of the system's own tree (no extension types there); None if it is not plain MessagePack."""
    try:
        return msgspec.msgpack.decode(value)
    except (msgspec.DecodeError, ValueError):
        return None
