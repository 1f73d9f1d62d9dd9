"""Incarnations, dots, sets of ticks, and *known*: what a node has seen of every incarnation.

An incarnation is one run of a node that writes, ``NAME~`` and sixteen hex digits; its volatile twin, whose
changes are never stored (rule R7), carries a ``v`` behind them. Ticks of an incarnation count its changes from 1.

A :class:`Ticks` is a frozen set of ticks kept as sorted, disjoint, non-adjacent half-open ranges; union,
intersection and difference are one linear merge over the bounds. (The range-set package was measured for this
and inserts in time linear in the holes: a union of 100 000 holes took 1 s there.) After concise version vectors
(Malkhi and Terry, 2005): a set with no hole costs one pair of numbers, whatever its length.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

Incarnation = str

MAX_TICK: Final = (1 << 63) - 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_LONGEST: Final = 63 + 1 + 16 + 1
_INCARNATION: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})~[0-9a-f]{16}v?\Z")


def check_name(name: str) -> str:
    """`name`, if it can be a node's; else ValueError."""
    if not _NAME.match(name):
        raise ValueError(
            f"{name!r} is no node name: letters, digits, '.', '_' and '-', at most 63, a letter or digit first"
        )
    return name


def incarnation(name: str, bits: int) -> Incarnation:
    """The incarnation of `name` with 64 random bits, drawn by the caller."""
    return f"{name}~{bits & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def is_incarnation(text: str) -> bool:
    """Whether a text received from outside is an incarnation."""
    return len(text) <= _LONGEST and _is_incarnation(text)


@lru_cache(maxsize=4096)
def _is_incarnation(text: str) -> bool:
    return _INCARNATION.match(text) is not None


def name_of(inc: Incarnation) -> str:
    """The node's name."""
    return inc.partition("~")[0]


def volatile_twin(inc: Incarnation) -> Incarnation:
    """The incarnation that takes the volatile changes of the same run."""
    return inc + "v"


def is_volatile(inc: Incarnation) -> bool:
    """Whether changes of this incarnation are kept in memory only."""
    return inc[-1] == "v"


def durable_twin(inc: Incarnation) -> Incarnation:
    """The incarnation of the same run that takes durable changes."""
    return inc[:-1] if inc[-1] == "v" else inc


class Dot(NamedTuple):
    """The name of one change, for ever: an incarnation and one of its ticks."""

    inc: Incarnation
    tick: int

    def __str__(self) -> str:
        return f"{self.inc}:{self.tick}"


class Ticks:
    """A frozen set of ticks. `bounds` are start, stop, start, stop ... of half-open ranges, ascending."""

    __slots__ = ("bounds",)

    def __init__(self, bounds: tuple[int, ...] = ()) -> None:
        self.bounds: Final = bounds

    @classmethod
    def of(cls, *ticks: int) -> Ticks:
        """The set of the given ticks."""
        return cls.of_sorted(sorted(set(ticks)))

    @classmethod
    def of_sorted(cls, ticks: Iterable[int]) -> Ticks:
        """The set of ascending, distinct ticks."""
        bounds: list[int] = []
        for tick in ticks:
            if bounds and bounds[-1] == tick:
                bounds[-1] = tick + 1
            else:
                bounds += (tick, tick + 1)
        return cls(tuple(bounds))

    @classmethod
    def upto(cls, tick: int) -> Ticks:
        """All ticks 1..tick."""
        return cls((1, tick + 1)) if tick > 0 else EMPTY

    @classmethod
    def checked(cls, bounds: Iterable[int]) -> Ticks:
        """A set from bounds that came from outside; ValueError if they are not ascending from 1."""
        got = tuple(bounds)
        if len(got) == 2 and 1 <= got[0] < got[1] <= MAX_TICK + 1:
            return cls(got)
        if len(got) % 2 or (got and (got[0] < 1 or got[-1] > MAX_TICK + 1)):
            raise ValueError("malformed tick ranges")
        if any(a >= b for a, b in zip(got, got[1:], strict=False)):
            raise ValueError("tick ranges are not ascending")
        return cls(got)

    def __contains__(self, tick: int) -> bool:
        return bisect_right(self.bounds, tick) % 2 == 1

    def covers(self, first: int, last: int) -> bool:
        """Whether all of first..last are in the set; true for an empty span."""
        if first > last:
            return True
        at = bisect_right(self.bounds, first)
        return at % 2 == 1 and self.bounds[at] > last

    def add(self, tick: int) -> Ticks:
        """The set with `tick` added; cheap when it follows the highest."""
        bounds = self.bounds
        if bounds and bounds[-1] == tick:
            return Ticks((*bounds[:-1], tick + 1))
        return self | Ticks((tick, tick + 1))

    def joined(self, ticks: list[int]) -> Ticks:
        """The union with ascending, distinct ticks; costs one copy when all are above the highest."""
        bounds = self.bounds
        if len(ticks) == 1 and bounds and bounds[-1] == ticks[0]:
            return Ticks((*bounds[:-1], ticks[0] + 1))
        new = Ticks.of_sorted(ticks)
        if not bounds or not ticks or ticks[0] < bounds[-1]:
            return self | new
        if ticks[0] == bounds[-1]:
            return Ticks(bounds[:-1] + new.bounds[1:])
        return Ticks(bounds + new.bounds)

    def __or__(self, other: Ticks) -> Ticks:
        a, b = self.bounds, other.bounds
        if not b or a == b:
            return self
        if not a:
            return other
        if a[:-1] == b[:-1]:  # one is the other, grown at its end: nearly always, so this need not walk
            return self if a[-1] > b[-1] else other
        return Ticks(_merge(a, b, _either))

    def __and__(self, other: Ticks) -> Ticks:
        a, b = self.bounds, other.bounds
        if a == b:
            return self
        if not a or not b:
            return EMPTY
        if a[:-1] == b[:-1]:
            return self if a[-1] < b[-1] else other
        return Ticks(_merge(a, b, _both))

    def __sub__(self, other: Ticks) -> Ticks:
        a, b = self.bounds, other.bounds
        if not a or not b:
            return self
        if a == b:
            return EMPTY
        if a[:-1] == b[:-1]:
            return Ticks((b[-1], a[-1])) if a[-1] > b[-1] else EMPTY
        return Ticks(_merge(a, b, _first_only))

    def __le__(self, other: Ticks) -> bool:
        return self.bounds == other.bounds or not (self - other).bounds

    def __bool__(self) -> bool:
        return bool(self.bounds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ticks) and self.bounds == other.bounds

    def __hash__(self) -> int:
        return hash(self.bounds)

    def __len__(self) -> int:
        return sum(self.bounds[1::2]) - sum(self.bounds[::2])

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.ranges():
            yield from range(start, stop)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The half-open ranges, ascending."""
        return zip(self.bounds[::2], self.bounds[1::2], strict=True)

    @property
    def highest(self) -> int:
        """The highest tick, 0 if there is none."""
        return self.bounds[-1] - 1 if self.bounds else 0

    @property
    def is_whole(self) -> bool:
        """Whether there is no hole: the set is 1..highest, or empty."""
        return not self.bounds or (len(self.bounds) == 2 and self.bounds[0] == 1)

    def __repr__(self) -> str:
        spans = (f"{a}" if a + 1 == b else f"{a}-{b - 1}" for a, b in self.ranges())
        return f"<{','.join(spans)}>"


EMPTY: Final = Ticks()

_either: Final = (False, True, True, True)
_both: Final = (False, False, False, True)
_first_only: Final = (False, True, False, False)


def _merge(a: tuple[int, ...], b: tuple[int, ...], keep: tuple[bool, bool, bool, bool]) -> tuple[int, ...]:
    """Walk the bounds of both sets once; `keep` says for (in neither, in a only, in b only, in both) what stays."""
    out: list[int] = []
    i = j = 0
    inside = False
    while i < len(a) or j < len(b):
        if j >= len(b):
            here = a[i]
        elif i >= len(a):
            here = b[j]
        else:
            here = min(a[i], b[j])
        if i < len(a) and a[i] == here:
            i += 1
        if j < len(b) and b[j] == here:
            j += 1
        now = keep[(i & 1) + 2 * (j & 1)]
        if now != inside:
            out.append(here)
            inside = now
    return tuple(out)


class Known:
    """Per incarnation the ticks whose effect is held: a map that may only grow (except by :meth:`replace`).

    Copies are cheap (the sets are shared). Incarnations without ticks are not listed, so equal knowledge is
    equal maps. `order` of the map is order of last change, which the digest uses.
    """

    __slots__ = ("_fresh", "_hashes", "_map", "_stale", "_sum")

    def __init__(self, of: Mapping[Incarnation, Ticks] | None = None) -> None:
        self._map: dict[Incarnation, Ticks] = {i: t for i, t in of.items() if t} if of else {}
        self._fresh: dict[Incarnation, dict[int, None]] = {}
        self._hashes: dict[Incarnation, int] = {}
        self._sum = 0
        self._stale: set[Incarnation] = set(self._map)

    @property
    def map(self) -> dict[Incarnation, Ticks]:
        """The map itself, to be read only."""
        if self._fresh:
            for inc in list(self._fresh):
                self._fold(inc)
        return self._map

    def _fold(self, inc: Incarnation) -> None:
        """Put single dots into the set. They are gathered because a set with many holes is costly to copy for each."""
        fresh = self._fresh.pop(inc, None)
        if fresh:
            self._put(inc, self._map.get(inc, EMPTY).joined(sorted(fresh) if len(fresh) > 1 else list(fresh)))

    def __getitem__(self, inc: Incarnation) -> Ticks:
        if inc in self._fresh:
            self._fold(inc)
        return self._map.get(inc, EMPTY)

    def __contains__(self, dot: tuple[Incarnation, int]) -> bool:
        return self.has(dot[0], dot[1])

    def has(self, inc: Incarnation, tick: int) -> bool:
        """Whether this change is known."""
        fresh = self._fresh.get(inc)
        if fresh is not None and tick in fresh:
            return True
        ticks = self._map.get(inc)
        return ticks is not None and tick in ticks

    def add(self, inc: Incarnation, tick: int) -> None:
        """Add one dot."""
        fresh = self._fresh.get(inc)
        if fresh is None:
            self._fresh[inc] = {tick: None}
        else:
            fresh[tick] = None

    def extend(self, inc: Incarnation, first: int, last: int) -> bool:
        """Add first..last, if that is above all that is held of the incarnation; False, and nothing done, if not."""
        bounds = self[inc].bounds
        if not bounds or bounds[-1] < first:
            self._put(inc, Ticks((*bounds, first, last + 1)))
        elif bounds[-1] == first:
            self._put(inc, Ticks((*bounds[:-1], last + 1)))
        else:
            return False
        return True

    def union(self, inc: Incarnation, ticks: Ticks) -> bool:
        """Add ticks of one incarnation; says whether anything was new."""
        have = self[inc]
        new = have | ticks
        if new.bounds == have.bounds:
            return False
        self._put(inc, new)
        return True

    def replace(self, inc: Incarnation, ticks: Ticks) -> None:
        """Set the ticks of one incarnation, whatever they were (estimates and R6 only)."""
        self._fresh.pop(inc, None)
        self._put(inc, ticks)

    def _put(self, inc: Incarnation, ticks: Ticks) -> None:
        self._map.pop(inc, None)
        if ticks.bounds:
            self._map[inc] = ticks
        self._stale.add(inc)

    def hash(self, without: Iterable[Incarnation] = ()) -> int:
        """A 64-bit hash of the map, order-free, leaving out some incarnations. Costs what changed since."""
        known = self.map
        for inc in self._stale:
            self._sum ^= self._hashes.pop(inc, 0)
            if (ticks := known.get(inc)) is not None:
                got = self._hashes[inc] = _hash(inc, ticks)
                self._sum ^= got
        self._stale.clear()
        out = self._sum
        for inc in without:
            out ^= self._hashes.get(inc, 0)
        return out

    def copy(self) -> Known:
        """An independent copy."""
        new = Known()
        new._map = dict(self.map)
        new._hashes, new._sum, new._stale = dict(self._hashes), self._sum, set(self._stale)
        return new

    def __le__(self, other: Known) -> bool:
        return all(t <= other[i] for i, t in self.map.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self.map == other.map

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Known({self.map!r})"


def _hash(inc: Incarnation, ticks: Ticks) -> int:
    text = f"{inc} {ticks.bounds}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
