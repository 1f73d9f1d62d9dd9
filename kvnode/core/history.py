"""History: what was held at a path before, as far as a pattern below ``@.history`` asks to keep it.

A version is put on record when it leaves the tree: superseded, dropped, or a delete that is forgotten. So nothing is
stored twice, and a path has a history from the first change after its pattern was set. History is local: it is in no
dump, no fingerprint and no message, and two nodes of which one was away hold different ones. It is bounded by number
and, if so wished, by age, and travels to the store with the change that made it.

An entry below ``@.history`` is a map ``{"pattern": "home.#", "versions": 20, "days": 30}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from .entry import Siblings, Version, decode_record, encode_record
from .policy import Rules
from .stamp import stamp_of
from .ticks import Dot, is_volatile

MOST_VERSIONS: Final = 10_000
"""Versions of one path that are kept at most, whatever is asked for."""
_DAY_MS: Final = 86_400_000
_MOST_DAYS: Final = 36_600
_SEPARATOR: Final = b"\xff"
"""Between the key of a path and a place in its history. No path goes on with it."""

_Record = tuple[bytes, Dot | None]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


class Keep(NamedTuple):
    """How much is kept of a path: so many versions, none older than `ms` (None: whatever their age)."""

    versions: int
    ms: int | None = None

    @classmethod
    def parse(cls, row: Mapping[str, object]) -> Keep:
        """From an entry below ``@.history``. Raises ValueError."""
        versions, days = row.get("versions"), row.get("days")
        if versions is None and days is None:
            raise ValueError("say how much is to be kept: versions, days, or both")
        if versions is not None and not (type(versions) is int and 0 < versions <= MOST_VERSIONS):
            raise ValueError(f"versions is a number from 1 to {MOST_VERSIONS}, not {versions!r}")
        if isinstance(days, bool) or not (days is None or (isinstance(days, (int, float)) and 0 < days <= _MOST_DAYS)):
            raise ValueError(f"days is a number above 0, at most {_MOST_DAYS}, not {days!r}")
        ms = None if days is None else int(days * _DAY_MS)
        return cls(MOST_VERSIONS if versions is None else versions, ms)


NOTHING: Final = Keep(0)


class Past(NamedTuple):
    """One version on record, as it goes to the store: at which path, at which place there, and how much of that path
    is to stay: `versions`, and only from the place `oldest` on.
    """

    path_key: bytes
    place: bytes
    record: bytes
    versions: int
    oldest: bytes = b""

    @property
    def key(self) -> bytes:
        """The key of its row in the store."""
        return row_key(self.path_key, self.place)


class Recorder:
    """Puts on record what leaves the tree. `keeps` says how much of which path."""

    def __init__(self) -> None:
        self.keeps: Rules[Keep] = Rules(NOTHING)
        self._new: list[Past] = []

    def keep_of(self, path: tuple[str | int, ...]) -> Keep:
        """How much is kept of a path; of the system's own tree nothing is."""
        return NOTHING if path[:1] == ("@",) else self.keeps.of(path)

    def replaced(self, old: Siblings, new: Siblings, now_ms: int) -> None:
        """These siblings of a path were replaced by those, at this wall-clock time."""
        if not self.keeps or not old:
            return
        keep = self.keep_of(old[0].details.path)
        if not keep.versions:
            return
        stay = {version.dot for version in new}
        for version in old:
            if version.dot not in stay and not is_volatile(version.inc):
                by = next((other.dot for other in new if other.covers(version)), None)
                self._new.append(past_of(version, by, keep, now_ms))

    def take(self) -> tuple[Past, ...]:
        """What was put on record since the last call."""
        if not self._new:
            return ()
        taken, self._new = tuple(self._new), []
        return taken


def past_of(version: Version, by: Dot | None, keep: Keep, now_ms: int) -> Past:
    """Put a version on record; `by` is what took its place."""
    place = version.stamp.to_bytes(8, "big") + version.tick.to_bytes(8, "big") + version.inc.encode()
    oldest = b"" if keep.ms is None else place_at(now_ms - keep.ms)
    return Past(version.key, place, _encode((encode_record((version,)), by)), keep.versions, oldest)


def read_past(record: bytes) -> tuple[Version, Dot | None]:
    """The version of a row, and what took its place. Raises ValueError."""
    stored, by = _decode(record)
    (version,) = decode_record(stored)
    return version, by


def place_at(wall_ms: int) -> bytes:
    """The first place of what was written at this time, milliseconds since 1970 UTC."""
    return stamp_of(wall_ms).to_bytes(8, "big")


def row_key(path_key: bytes, place: bytes = b"") -> bytes:
    """The key of a row; without a place, what all rows of the path start with."""
    return path_key + _SEPARATOR + place


def rows_end(path_key: bytes) -> bytes:
    """The end of the key range of a path's rows."""
    return path_key + _SEPARATOR + _SEPARATOR


def parts_of(key: bytes) -> tuple[bytes, bytes]:
    """The path's key and the place of a row's key. Raises ValueError for a key that is none."""
    at = 0
    while key[at : at + 1] != _SEPARATOR:
        if at >= len(key):
            raise ValueError(f"{key.hex()} is no key of a history")
        at = at + 9 if key[at] == 1 else key.index(0, at) + 1
    return key[:at], key[at + 1 :]
