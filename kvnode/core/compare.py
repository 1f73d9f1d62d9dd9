"""Where two trees differ: narrowing down key ranges by their fingerprints (range-based set reconciliation, Meyer 2022).

What both sides have in common costs nothing beyond the ranges on the way to a difference: of n entries, d differing
ones take about d log n fingerprints. Pure, and for any two sides: whoever asks them feeds in what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from .messages import KeyRange

ASKED_RANGES: Final = 64
"""Ranges in one question."""


class Narrowing:
    """One comparison of low <= key < high. At most `most` differing keys are collected; if there are more, `more` is
    set and there is no further question.
    """

    def __init__(self, low: bytes, high: bytes, most: int) -> None:
        self._ranges: list[KeyRange] = [(low, high)]
        self._most: Final = most
        self.differing: dict[bytes, tuple[int | None, int | None]] = {}
        """Ascending, with the fingerprints on both sides; None for no value."""
        self.more = False

    def question(self) -> tuple[KeyRange, ...]:
        """The next ranges to ask one side about, which splits them; empty if the comparison is complete."""
        if self.more:
            return ()
        asked, self._ranges = self._ranges[:ASKED_RANGES], self._ranges[ASKED_RANGES:]
        return tuple(asked)

    def parts(self, compared: Iterable[tuple[bytes, bytes, int, int]]) -> None:
        """Parts of a question as (low, high, the one side's fingerprint, the other's)."""
        self._ranges += [(low, high) for low, high, one, other in compared if one != other]

    def leaf(self, one: Mapping[bytes, int], other: Mapping[bytes, int]) -> None:
        """The keys of one range with their fingerprints, on either side."""
        for key in sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key)):
            if len(self.differing) >= self._most:
                self.more = True
                return
            self.differing[key] = one.get(key), other.get(key)
