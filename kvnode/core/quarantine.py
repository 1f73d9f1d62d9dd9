"""The quarantine: live versions that were taken away without a write (R5), kept where people can see them.

Bounded by number and by size, the oldest go. It is stored with the tree, one record a version, but it is no part of the
tree: local to the node, in no dump and in no fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from .entry import Version, decode_record, encode_record
from .ticks import is_volatile

_Record = tuple[str, int, bytes]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


class Quarantined(NamedTuple):
    """A version that was set aside: under which number of this node, why, and when (wall clock, milliseconds)."""

    number: int
    version: Version
    why: str
    wall: int

    @property
    def key(self) -> bytes:
        """The key of its path."""
        return self.version.key


class Quarantine:
    """What is set aside, oldest first; at most `most` versions and `most_bytes` of their bodies."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most: Final = most
        self._most_bytes: Final = most_bytes
        self._held: dict[int, Quarantined] = {}
        self._bytes = 0
        self._last = 0
        self._changed: dict[int, None] = {}

    def load(self, stored: Mapping[int, bytes]) -> list[str]:
        """Take what a store held; gives a line for each record that cannot be read, which goes."""
        unreadable: list[str] = []
        for number, record in sorted(stored.items()):
            self._last = number
            try:
                why, wall, stored_version = _decode(record)
                (version,) = decode_record(stored_version)
            except ValueError as err:
                unreadable.append(f"unreadable record {number} of the quarantine: {err}")
                self._changed[number] = None
            else:
                self._keep(Quarantined(number, version, why, wall))
        return unreadable

    def add(self, version: Version, why: str, wall: int) -> None:
        """Set a version aside."""
        self._last += 1
        self._keep(Quarantined(self._last, version, why, wall))
        self._changed[self._last] = None

    def _keep(self, new: Quarantined) -> None:
        self._held[new.number] = new
        self._bytes += len(new.version.body)
        while len(self._held) > self._most or (self._bytes > self._most_bytes and len(self._held) > 1):
            self.remove(next(iter(self._held)))

    def remove(self, number: int) -> Quarantined | None:
        """Forget one; gives it, or None if there is none of this number."""
        gone = self._held.pop(number, None)
        if gone is not None:
            self._bytes -= len(gone.version.body)
            self._changed[number] = None
        return gone

    def get(self, number: int) -> Quarantined | None:
        """The one of this number."""
        return self._held.get(number)

    @property
    def changed(self) -> bool:
        """Whether there is something to store."""
        return bool(self._changed)

    def take_changed(self) -> dict[int, bytes | None]:
        """What to store since the last call: records by number, None where there is none any more. What is volatile is
        not stored (R7).
        """
        if not self._changed:
            return {}
        records = {number: self._record(number) for number in self._changed}
        self._changed = {}
        return records

    def _record(self, number: int) -> bytes | None:
        held = self._held.get(number)
        if held is None or is_volatile(held.version.inc):
            return None
        return _encode((held.why, held.wall, encode_record((held.version,))))

    def __iter__(self) -> Iterator[Quarantined]:
        return iter(self._held.values())

    def __len__(self) -> int:
        return len(self._held)
