"""Entries as rows for clients: what of the tree a stream covers, and how an entry is encoded for the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from kvnode.client.protocol import CONFLICT, CUT, EXPIRED, KEYS, STALE, Got
from kvnode.client.wire import encode_part
from kvnode.codec.values import ValueCodecError, pack, unpack
from kvnode.core.entry import NIL, PLAIN, VALUE, Siblings, Version
from kvnode.core.path import Path, Pattern, key_range_end, path_key
from kvnode.core.policy import Policy, in_conflict, live, read
from kvnode.core.ticks import Known
from kvnode.core.tree import Tree

MAX_ROW_BYTES: Final = 4 * 1024 * 1024
"""Above this the siblings of a row come without their values, all but the winner."""
CACHED_ROWS: Final = 256
"""Rows without values kept for other watchers of the same change."""
ROW_BYTES: Final = 64
"""What a row has besides the body of its version, about."""

_GOT: Final = Got.__struct_config__.tag
_JOINING: Final = frozenset({"union", "merge"})


class Readable(Protocol):
    """What serving clients needs of a replica, between two turns of its owner."""

    @property
    def tree(self) -> Tree:
        """The entries."""

    @property
    def known(self) -> Known:
        """What the node knows."""

    @property
    def is_current(self) -> bool:
        """Whether it may serve as current (R5)."""

    def policy_of(self, path: tuple[str | int, ...]) -> Policy:
        """The policy by which a path is read."""


class Scope:
    """What a stream covers: `path` and below, of that what fits `pattern` as a whole path, to `depth` levels below
    `path` (0: only itself). `low` and `high` bound the keys.
    """

    __slots__ = ("_base", "_depth", "_pattern", "high", "is_whole", "low")

    def __init__(self, path: Path, pattern: Pattern | None = None, depth: int | None = None) -> None:
        self._base = len(path)
        self._pattern = pattern
        self._depth = depth
        self.is_whole: Final = pattern is None and depth is None
        """Whether all keys from `low` to `high` are covered."""
        if pattern is not None and pattern.prefix.is_below(path):
            path = pattern.prefix
        self.low: Final = path_key(path)
        self.high: Final = key_range_end(self.low)

    def fits(self, path: tuple[str | int, ...]) -> bool:
        """Whether a path is covered."""
        return self.low <= path_key(path) < self.high and self._fits_rest(path)

    def holds(self, key: bytes, siblings: Siblings) -> bool:
        """Whether an entry is covered."""
        if not self.low <= key < self.high:
            return False
        if self.is_whole:
            return True
        return self._fits_rest(siblings[0].details.path if siblings else Path.from_key(key))

    def _fits_rest(self, path: tuple[str | int, ...]) -> bool:
        if self._depth is not None and len(path) - self._base > self._depth:
            return False
        return self._pattern is None or self._pattern.matches(path)


class RowEncoder:
    """Encodes entries as :class:`~kvnode.client.protocol.Row`. `wall_ms` gives the time, for expiry; without `values`
    rows tell who wrote what and when, and not what.
    """

    def __init__(self, replica: Readable, wall_ms: Callable[[], int], *, values: bool = True) -> None:
        self._replica: Final = replica
        self._wall_ms: Final = wall_ms
        self._values: Final = values
        self._cache: dict[int, tuple[Siblings, msgspec.Raw]] = {}

    def reads(self, siblings: Siblings) -> bool:
        """Whether there is a value now."""
        if len(siblings) == 1 and siblings[0].extra is PLAIN:
            return True
        return bool(self.live_dots(siblings))

    def live_dots(self, siblings: Siblings) -> Sequence[tuple[str, int]]:
        """The dots that hold a value now."""
        if len(siblings) == 1 and siblings[0].extra is PLAIN:
            return ((siblings[0].inc, siblings[0].tick),)
        now = self._wall_ms()
        return [(v.inc, v.tick) for v in siblings if not v.is_gone(now)]

    def got(self, id: int, key: bytes, siblings: Siblings) -> bytes:
        """The encoded :class:`~kvnode.client.protocol.Got` of an entry, in one go if it is as most are."""
        if not siblings:
            return encode_part((_GOT, id, None))
        version = siblings[0]
        if len(siblings) == 1 and version.extra.kind == VALUE and self._is_plain(version):
            return encode_part((_GOT, id, (((version.inc, version.tick, msgspec.Raw(version.body)),), 1)))
        if not self.reads(siblings):
            return encode_part((_GOT, id, None))
        return encode_part((_GOT, id, msgspec.Raw(self._encode_any(key, siblings))))

    def _is_plain(self, version: Version) -> bool:
        """Whether the only version of an entry reads the same at any time."""
        extra = version.extra
        lasts = extra is PLAIN or (extra.expiry is None and extra.until is None)
        return lasts and self._replica.is_current

    def encode(self, key: bytes, siblings: Siblings) -> bytes:
        """The encoded row of an entry."""
        return encode_part(self.part(key, siblings)[0])

    def part(self, key: bytes, siblings: Siblings) -> tuple[Any, int]:
        """The row of an entry, to be encoded as a part of a message, and how many bytes it takes, about."""
        count = len(siblings)  # not in the condition: mypyc would then take the tuple apart and make another one
        if count != 1 or not self._is_plain(siblings[0]):
            row = msgspec.Raw(self._encode_any(key, siblings))
            return row, len(row)
        if not self._values:
            row = self._without_value(siblings)
            return row, len(row)
        version = siblings[0]
        body = version.body
        live = 1 if version.extra.kind == VALUE else 0
        return (((version.inc, version.tick, msgspec.Raw(body)),), live), len(body) + ROW_BYTES

    def _without_value(self, siblings: Siblings) -> msgspec.Raw:
        found = self._cache.get(id(siblings))
        if found is not None and found[0] is siblings:
            return found[1]
        version = siblings[0]
        sib = (version.inc, version.tick, msgspec.Raw(_without_value(version)))
        row = msgspec.Raw(encode_part(((sib,), int(version.extra.kind == VALUE), KEYS)))
        if len(self._cache) >= CACHED_ROWS:
            self._cache.clear()
        self._cache[id(siblings)] = (siblings, row)
        return row

    def _encode_any(self, key: bytes, siblings: Siblings) -> bytes:
        if not siblings:
            return encode_part(((), 0, 0, None, Path.from_key(key)))
        now = self._wall_ms()
        values = live(siblings, now)
        flags = (CONFLICT if in_conflict(siblings) else 0) | (0 if self._replica.is_current else STALE)
        joined: bytes | None = None
        if len(values) > 1:
            values, joined = self._by_policy(siblings, values, now)
        if values and values[0].is_stale(now):
            flags |= EXPIRED
        gone = sorted((v for v in siblings if v.is_gone(now)), key=lambda v: v.order, reverse=True)
        versions = [*values, *gone]
        if not self._values:
            flags |= KEYS
            joined = None
            bodies = [_without_value(v) for v in versions]
        elif sum(len(v.body) for v in versions) > MAX_ROW_BYTES:
            flags |= CUT
            bodies = [versions[0].body, *(_without_value(v) for v in versions[1:])]
        else:
            bodies = [v.body for v in versions]
        sibs = tuple((v.inc, v.tick, msgspec.Raw(body)) for v, body in zip(versions, bodies, strict=True))
        return encode_part((sibs, len(values), flags, joined, None))

    def _by_policy(self, siblings: Siblings, values: Siblings, now: int) -> tuple[Siblings, bytes | None]:
        """The live siblings, the winner first, and the joined value if the policy joins."""
        newest = tuple(sorted(values, key=lambda v: v.order, reverse=True))
        policy = self._replica.policy_of(newest[0].details.path)
        try:
            reading = read(siblings, policy, now, unpack)
            if reading is None:
                return newest, None
            winner = reading.winner
            joined = pack(reading.value) if policy.kind in _JOINING else None
        except (ValueCodecError, TypeError, RecursionError):  # a sibling whose bytes are no value must harm nobody
            return newest, None
        if joined is not None and joined == bytes(winner.details.value):
            joined = None
        return (winner, *(v for v in newest if v is not winner)), joined


def _without_value(version: Version) -> bytes:
    return encode_part(msgspec.structs.replace(version.details, value=NIL))
