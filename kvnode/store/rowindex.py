"""Which rows a segment of the log holds, and where: sixteen bytes each, in the order in which they came.

A table of the last place of each key would take six times as much, and is needed only where a segment goes into the
snapshot or is read: then it is made. Rows of which a later one of the same key is there are left out now and then, so
there are at most twice as many rows as keys, but for a few thousand.
"""

from __future__ import annotations

from array import array
from collections.abc import Set
from typing import Final

from .frames import Frame

_FIRST_LOOK: Final = 4_096
"""After so many rows it is looked for the first time which of them have a later one; then when they have doubled."""
_AT_ONCE: Final = 2_000
"""So many rows go into a table at once: no other thread of Python runs meanwhile."""


class RowIndex:
    """The rows of a segment, see the module's text; `len()` of it is how many are kept, which is at least the number of
    keys.
    """

    __slots__ = ("_keys", "_look_at", "_places")

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._places = array("q")
        self._look_at = _FIRST_LOOK

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, frame: Frame, base: int) -> None:
        """The rows of the next frame; the first record of it is at `base`."""
        self._keys += frame.head.keys
        self._places.extend(place for _, place in frame.places(base))
        if len(self._keys) >= self._look_at:
            self._leave_out()

    def _leave_out(self) -> None:
        if len(set(self._keys)) < len(self._keys):
            last = self.table()
            self._keys, self._places = list(last), array("q", last.values())
        self._look_at = max(2 * len(self._keys), _FIRST_LOOK)

    def keys_from(self, low: bytes) -> set[bytes]:
        """The keys that are not below `low`."""
        return {key for key in self._keys if key >= low}

    def table(self) -> dict[bytes, int]:
        """The last place of each key."""
        last: dict[bytes, int] = {}
        for start in range(0, len(self._keys), _AT_ONCE):
            end = start + _AT_ONCE
            last.update(zip(self._keys[start:end], self._places[start:end], strict=True))
        return last

    def last_of(self, wanted: Set[bytes]) -> dict[bytes, int]:
        """The last place of each of these keys that is there."""
        return {key: place for key, place in zip(self._keys, self._places, strict=True) if key in wanted}
