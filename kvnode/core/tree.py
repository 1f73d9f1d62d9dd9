"""The entries by path: siblings by key, ordered subtree scans, and fingerprints of any key range.

The keys are kept in sorted chunks (a two-level B+ tree). A chunk has the fingerprint of each of its entries, eight
bytes a key, and their xor. So an insert moves some hundred pointers at most, a scan walks lists, and the fingerprint of
a range costs one step per chunk and takes the two partial ones from what is kept: what range-based set reconciliation
(Meyer, 2022) asks for, without a node object per path. A path with one version, which nearly all are, holds just that;
its tuple of siblings is made when somebody asks.

What changes goes to the table of all entries at once, and to its chunk a little later: when a scan or a fingerprint is
asked for, or when many changes wait. So a path that changes often costs one hash now and then, not one each time.

A fingerprint covers path, dot, stamp, value and author of every live version that is not a tombstone; tick vectors
and tombstones are left out because they depend on what each node could already forget (law 2).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import islice
from operator import xor
from typing import Final

from .entry import VALUE, Siblings, Version, fingerprint
from .path import key_range_end, path_key

_CHUNK: Final = 512
_WAITING: Final = 2_048
"""So many changed keys wait at most for their chunks."""
_AT_ONCE: Final = 64
"""So many of them are entered when there are too many: nobody shall wait long for that."""
KEY_END: Final = b"\xff"


def entry_print(siblings: Siblings) -> int:
    """The fingerprint of one entry: 0 if it holds no value."""
    if len(siblings) == 1:
        return one_print(siblings[0])
    out = 0
    for version in siblings:
        if not version.is_tombstone:
            out ^= fingerprint(version)
    return out


def one_print(version: Version) -> int:
    """The fingerprint of an entry with one version."""
    return fingerprint(version) if version.extra.kind == VALUE else 0


class _Chunk:
    """Ascending keys, beside them their fingerprints, and the xor of these."""

    __slots__ = ("keys", "prints", "sum")

    def __init__(self, keys: list[bytes], prints: array[int]) -> None:
        self.keys = keys
        self.prints = prints
        self.sum = reduce(xor, prints, 0)


class Tree:
    """Siblings by key. Holds no empty entry."""

    __slots__ = ("_by_key", "_chunks", "_firsts", "_print_of_all", "_waiting")

    def __init__(self) -> None:
        self._by_key: dict[bytes, Version | Siblings] = {}
        self._chunks: list[_Chunk] = [_Chunk([], array("Q"))]
        self._firsts: list[bytes] = [b""]
        self._print_of_all = 0
        self._waiting: dict[bytes, None] = {}
        """The keys of which the chunks do not say what the table says, those that wait longest first."""

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def get(self, key: bytes) -> Siblings:
        """The siblings at `key`; empty if there is no entry."""
        held = self._by_key.get(key, ())
        return held if isinstance(held, tuple) else (held,)

    def held(self, key: bytes) -> Version | Siblings | None:
        """What :meth:`get` gives, without a tuple around the only version; None if there is no entry."""
        return self._by_key.get(key)

    def holds(self, key: bytes, siblings: Siblings) -> bool:
        """Whether it is these very versions that are held at `key`, untouched since :meth:`get` gave them."""
        return list(map(id, self.get(key))) == list(map(id, siblings))

    def at(self, path: tuple[str | int, ...]) -> Siblings:
        """The siblings at `path`."""
        return self.get(path_key(path))

    def put(self, key: bytes, siblings: Siblings) -> Siblings:
        """Set the siblings at `key`; empty ones remove the entry. Gives those that were there."""
        held = self._by_key.get(key)
        if siblings:
            self._by_key[key] = siblings if len(siblings) > 1 else siblings[0]
        elif held is not None:
            del self._by_key[key]
        else:
            return ()
        self._waiting[key] = None
        if len(self._waiting) >= _WAITING:
            self._enter_some()
        return () if held is None else held if isinstance(held, tuple) else (held,)

    def put_one(self, key: bytes, version: Version) -> None:
        """Set one version at `key`, whatever was there."""
        self._by_key[key] = version
        self._waiting[key] = None
        if len(self._waiting) >= _WAITING:
            self._enter_some()

    # -- the chunks ------------------------------------------------------------------------------------------

    def _enter_all(self) -> None:
        """Let the chunks say what the table says."""
        if self._waiting:
            self._enter(sorted(self._waiting))

    def _enter_some(self) -> None:
        """Many wait: let some of them wait no longer."""
        self._enter(list(islice(self._waiting, _AT_ONCE)))

    def _enter(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            del self._waiting[key]
            where = bisect_right(self._firsts, key) - 1
            chunk = self._chunks[where]
            at = bisect_left(chunk.keys, key)
            there = at < len(chunk.keys) and chunk.keys[at] == key
            held = self._by_key.get(key)
            if held is None and not there:
                continue  # came and went
            print_ = 0 if held is None else entry_print(held if isinstance(held, tuple) else (held,))
            if not there:
                chunk.keys.insert(at, key)
                chunk.prints.insert(at, 0)
            change = chunk.prints[at] ^ print_
            chunk.prints[at] = print_
            chunk.sum ^= change
            self._print_of_all ^= change
            if held is None:
                self._remove(where, at)
            elif len(chunk.keys) >= 2 * _CHUNK:
                self._split(where)

    def _split(self, where: int) -> None:
        chunk = self._chunks[where]
        half = len(chunk.keys) // 2
        parts = [_Chunk(chunk.keys[:half], chunk.prints[:half]), _Chunk(chunk.keys[half:], chunk.prints[half:])]
        self._chunks[where : where + 1] = parts
        self._firsts.insert(where + 1, chunk.keys[half])

    def _remove(self, where: int, at: int) -> None:
        chunk = self._chunks[where]
        chunk.keys.pop(at)
        chunk.prints.pop(at)
        if not chunk.keys and len(self._chunks) > 1:
            del self._chunks[where], self._firsts[where]
            self._firsts[0] = b""

    def fill(self, entries: Iterable[tuple[bytes, Siblings]]) -> None:
        """Take the entries of an empty tree; costs less than putting one after the other."""
        for key, siblings in entries:
            self._by_key[key] = siblings if len(siblings) > 1 else siblings[0]
        keys = sorted(self._by_key)
        held = map(self._by_key.__getitem__, keys)
        prints = array("Q", [one_print(h) if isinstance(h, Version) else entry_print(h) for h in held])
        cuts = range(0, len(keys), _CHUNK) or (0,)
        self._chunks = [_Chunk(keys[at : at + _CHUNK], prints[at : at + _CHUNK]) for at in cuts]
        self._firsts = [b"", *(chunk.keys[0] for chunk in self._chunks[1:])]
        self._print_of_all = reduce(xor, prints, 0)

    def leased(self) -> list[bytes]:
        """The keys at which a lease is held, in order. Looks at every entry, in a tenth of the time of a scan."""
        found = []
        for key, held in self._by_key.items():
            if isinstance(held, Version):
                if held.extra.until is not None:
                    found.append(key)
            elif any(v.until is not None for v in held):
                found.append(key)
        return sorted(found)

    # -- scans -----------------------------------------------------------------------------------------------

    def keys(self, low: bytes = b"", high: bytes = KEY_END) -> Iterator[bytes]:
        """The keys of low <= key < high, in order. The tree may change meanwhile: what is gone is left out, and
        nothing comes twice.
        """
        while True:
            self._enter_all()
            where = bisect_right(self._firsts, low) - 1
            keys = self._chunks[where].keys
            batch = keys[bisect_left(keys, low) : bisect_left(keys, high)]
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
            siblings = self.get(key)
            if siblings:
                yield key, siblings

    def versions(self) -> Iterator[tuple[bytes, Version]]:
        """Every version with its key, in no order that matters."""
        for key, held in self._by_key.items():
            if isinstance(held, Version):
                yield key, held
            else:
                for version in held:
                    yield key, version

    # -- fingerprints ----------------------------------------------------------------------------------------

    @property
    def print_of_all(self) -> int:
        """The fingerprint of all entries."""
        self._enter_all()
        return self._print_of_all

    def print_of(self, low: bytes, high: bytes) -> int:
        """The fingerprint of low <= key < high."""
        self._enter_all()
        first = bisect_right(self._firsts, low) - 1
        last = bisect_left(self._firsts, high) - 1
        out = 0
        for chunk in self._chunks[first : last + 1]:
            a, b = bisect_left(chunk.keys, low), bisect_left(chunk.keys, high)
            out ^= chunk.sum if b - a == len(chunk.keys) else reduce(xor, chunk.prints[a:b], 0)
        return out

    def prints(self, low: bytes, high: bytes) -> list[tuple[bytes, int]]:
        """The keys of a range that hold a value, in order, with their fingerprints."""
        self._enter_all()
        out: list[tuple[bytes, int]] = []
        first = bisect_right(self._firsts, low) - 1
        last = bisect_left(self._firsts, high) - 1
        for chunk in self._chunks[first : last + 1]:
            a, b = bisect_left(chunk.keys, low), bisect_left(chunk.keys, high)
            out += ((key, print_) for key, print_ in zip(chunk.keys[a:b], chunk.prints[a:b], strict=True) if print_)
        return out

    def check(self, low: bytes) -> tuple[bool, bytes | None]:
        """Compute the fingerprints of the chunk that holds `low` anew: whether they are those that are kept, and where
        the next chunk begins. A difference is a fault of the machine's memory.
        """
        self._enter_all()
        where = bisect_right(self._firsts, low) - 1
        chunk = self._chunks[where]
        sound = chunk.sum == reduce(xor, chunk.prints, 0) and all(
            entry_print(self.get(key)) == print_ for key, print_ in zip(chunk.keys, chunk.prints, strict=True)
        )
        following = self._firsts[where + 1] if where + 1 < len(self._firsts) else None
        return sound, following

    def split(self, low: bytes, high: bytes, parts: int, leaf: int) -> list[tuple[bytes, bytes]] | None:
        """Cut a range into at most `parts` ranges of about equal count; None if it has at most `leaf` keys."""
        keys = list(self.keys(low, high))
        if len(keys) <= leaf:
            return None
        step = -(-len(keys) // parts)
        cuts = [low, *keys[step::step], high]
        return list(zip(cuts, cuts[1:], strict=False))
