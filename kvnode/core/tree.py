"""The entries by path: siblings by key, ordered subtree scans, and fingerprints of any key range.

The keys are kept in sorted chunks (a two-level B+ tree), each with the xor of the fingerprints of its
entries. So an insert moves some hundred pointers at most, a scan walks lists, and the fingerprint of a range costs
one step per chunk plus the two partial ones: what range-based set reconciliation (Meyer, 2022) asks for, without
a node object per path.

A fingerprint covers path, dot, stamp, value and author of every live version that is not a tombstone; tick vectors
and tombstones are left out because they depend on what each node could already forget (law 2).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from .entry import Siblings, Version, fingerprint
from .path import key_range_end, path_key

_CHUNK: Final = 512
KEY_END: Final = b"\xff"


def entry_print(siblings: Siblings) -> int:
    """The fingerprint of one entry: 0 if it holds no value."""
    out = 0
    for version in siblings:
        if not version.is_tombstone:
            out ^= fingerprint(version)
    return out


class Tree:
    """Siblings by key. Holds no empty entry."""

    __slots__ = ("_by_key", "_chunks", "_firsts", "_prints", "print_of_all")

    def __init__(self) -> None:
        self._by_key: dict[bytes, Siblings] = {}
        self._chunks: list[list[bytes]] = [[]]
        self._firsts: list[bytes] = [b""]
        self._prints: list[int] = [0]
        self.print_of_all = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def get(self, key: bytes) -> Siblings:
        """The siblings at `key`; empty if there is no entry."""
        return self._by_key.get(key, ())

    def at(self, path: tuple[str | int, ...]) -> Siblings:
        """The siblings at `path`."""
        return self._by_key.get(path_key(path), ())

    def put(self, key: bytes, siblings: Siblings) -> None:
        """Set the siblings at `key`; empty ones remove the entry."""
        old = self._by_key.get(key, ())
        where = bisect_right(self._firsts, key) - 1
        if siblings:
            self._by_key[key] = siblings
            if not old:
                where = self._insert(where, key)
        change = entry_print(old) ^ entry_print(siblings)
        self.print_of_all ^= change
        self._prints[where] ^= change
        if old and not siblings:
            del self._by_key[key]
            self._remove(where, key)

    def _insert(self, where: int, key: bytes) -> int:
        chunk = self._chunks[where]
        chunk.insert(bisect_left(chunk, key), key)
        if len(chunk) < 2 * _CHUNK:
            return where
        half = len(chunk) // 2
        left, right = chunk[:half], chunk[half:]
        self._chunks[where : where + 1] = [left, right]
        self._firsts.insert(where + 1, right[0])
        prints = [self._print_keys(left, skip=key), self._print_keys(right, skip=key)]
        self._prints[where : where + 1] = prints
        return where + (key >= right[0])

    def _print_keys(self, keys: list[bytes], skip: bytes) -> int:
        """The print of a chunk that is being split; the key just inserted is counted by the caller."""
        out = 0
        for key in keys:
            if key != skip:
                out ^= entry_print(self._by_key[key])
        return out

    def _remove(self, where: int, key: bytes) -> None:
        chunk = self._chunks[where]
        del chunk[bisect_left(chunk, key)]
        if not chunk and len(self._chunks) > 1:
            del self._chunks[where], self._prints[where], self._firsts[where]
            self._firsts[0] = b""

    # -- scans -----------------------------------------------------------------------------------------------

    def keys(self, low: bytes = b"", high: bytes = KEY_END) -> Iterator[bytes]:
        """The keys of low <= key < high, in order. The tree may change meanwhile: what is gone is left out, and
        nothing comes twice.
        """
        while True:
            where = bisect_right(self._firsts, low) - 1
            chunk = self._chunks[where]
            batch = chunk[bisect_left(chunk, low) : bisect_left(chunk, high)]
            if batch:
                yield from batch
                low = batch[-1] + b"\0"
            elif where + 1 < len(self._firsts) and self._firsts[where + 1] < high:
                low = self._firsts[where + 1]
            else:
                return

    def scan(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[bytes, Siblings]]:
        """Key and siblings of `path` and all below it, in path order."""
        low = path_key(path)
        return self.scan_range(low, key_range_end(low))

    def scan_range(self, low: bytes, high: bytes) -> Iterator[tuple[bytes, Siblings]]:
        """Key and siblings of a key range, in order."""
        for key in self.keys(low, high):
            siblings = self._by_key.get(key)
            if siblings:
                yield key, siblings

    def versions(self) -> Iterator[tuple[bytes, Version]]:
        """Every version with its key, in no order that matters."""
        for key, siblings in self._by_key.items():
            for version in siblings:
                yield key, version

    # -- fingerprints ----------------------------------------------------------------------------------------

    def print_of(self, low: bytes, high: bytes) -> int:
        """The fingerprint of low <= key < high."""
        first = bisect_right(self._firsts, low) - 1
        last = bisect_left(self._firsts, high) - 1
        out = 0
        for where in range(first, last + 1):
            chunk = self._chunks[where]
            a, b = bisect_left(chunk, low), bisect_left(chunk, high)
            if a == 0 and b == len(chunk):
                out ^= self._prints[where]
            else:
                for key in chunk[a:b]:
                    out ^= entry_print(self._by_key[key])
        return out

    def check(self, low: bytes) -> tuple[bool, bytes | None]:
        """Compute the fingerprint of the chunk that holds `low` anew: whether it is as it was kept, and where the next
        chunk begins. A difference is a fault of the machine's memory.
        """
        where = bisect_right(self._firsts, low) - 1
        found = 0
        for key in self._chunks[where]:
            found ^= entry_print(self._by_key[key])
        following = self._firsts[where + 1] if where + 1 < len(self._firsts) else None
        return found == self._prints[where], following

    def split(self, low: bytes, high: bytes, parts: int, leaf: int) -> list[tuple[bytes, bytes]] | None:
        """Cut a range into at most `parts` ranges of about equal count; None if it has at most `leaf` keys."""
        keys = list(self.keys(low, high))
        if len(keys) <= leaf:
            return None
        step = -(-len(keys) // parts)
        cuts = [low, *keys[step::step], high]
        return list(zip(cuts, cuts[1:], strict=False))
