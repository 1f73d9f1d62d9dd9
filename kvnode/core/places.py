"""Where the live dots of one incarnation are: a map from ticks to keys that takes a pointer for each, and little more.

Ticks are given out one after the other, so nearly all that are live lie close together: a run of them is a list. Where
most of a run is gone, what is left of it is in a dict, as are the last ones, until their run is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Final

_BITS: Final = 8
_RUN: Final = 1 << _BITS
"""So many ticks are a run."""
_LAST: Final = _RUN - 1
_DENSE: Final = 64
"""Of which so many make a list worth while; and a quarter of them keeps it so."""
_THIN: Final = 16


class _Run:
    """The keys of a run, by the low bits of their ticks; `count` of them are there."""

    __slots__ = ("count", "keys")

    def __init__(self) -> None:
        self.keys: list[bytes | None] = list(repeat(None, _RUN))
        self.count = 0


class Places:
    """Keys by tick."""

    __slots__ = ("_few", "_runs", "count")

    def __init__(self) -> None:
        self._few: dict[int, bytes] = {}
        self._runs: dict[int, _Run] = {}
        self.count = 0
        """How many there are."""

    def get(self, tick: int) -> bytes | None:
        """The key of this tick; None if it is not live."""
        run = self._runs.get(tick >> _BITS)
        return self._few.get(tick) if run is None else run.keys[tick & _LAST]

    def set(self, tick: int, key: bytes) -> None:
        """This tick is live at this key, whatever was said of it before."""
        run = self._runs.get(tick >> _BITS)
        if run is not None:
            if run.keys[tick & _LAST] is None:
                run.count += 1
                self.count += 1
            run.keys[tick & _LAST] = key
            return
        if tick not in self._few:
            self.count += 1
        self._few[tick] = key
        if tick & _LAST == _LAST:
            self._gather(tick >> _BITS)

    def discard(self, tick: int, key: bytes) -> None:
        """This tick is no longer live there. If it is listed at another key, as only a copied process's can be, it
        stays.
        """
        run = self._runs.get(tick >> _BITS)
        if run is None:
            if self._few.get(tick) == key:
                del self._few[tick]
                self.count -= 1
        elif run.keys[tick & _LAST] == key:
            run.keys[tick & _LAST] = None
            run.count -= 1
            self.count -= 1
            if run.count < _THIN:
                self._scatter(tick >> _BITS)

    def pack(self) -> None:
        """Make lists of all runs that are worth it: after many were set in no order."""
        for number in {tick >> _BITS for tick in self._few}:
            self._gather(number)
        self._few = dict(self._few)  # a table that was large stays so

    def _gather(self, number: int) -> None:
        """Make a list of this run, if it is worth it."""
        first, few = number << _BITS, self._few
        ticks = [tick for tick in range(first, first + _RUN) if tick in few]
        if len(ticks) < _DENSE:
            return
        run = self._runs[number] = _Run()
        run.count = len(ticks)
        for tick in ticks:
            run.keys[tick & _LAST] = few.pop(tick)

    def _scatter(self, number: int) -> None:
        run = self._runs.pop(number)
        for at, key in enumerate(run.keys):
            if key is not None:
                self._few[(number << _BITS) + at] = key

    def __iter__(self) -> Iterator[int]:
        """The ticks, in no order that matters."""
        yield from self._few
        for number, run in self._runs.items():
            first = number << _BITS
            for at, key in enumerate(run.keys):
                if key is not None:
                    yield first + at
