"""What a measure asks of a store, and the workload."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from string import ascii_letters
from typing import Final, Protocol

VALUE_BYTES: Final = 100
KEYS: Final = 1_000
"""So many keys are written and read again and again."""
BATCH: Final = 100
"""Writes of a batch."""


def _values() -> tuple[str, ...]:
    rng = random.Random(0)
    return tuple("".join(rng.choices(ascii_letters, k=VALUE_BYTES)) for _ in range(KEYS))


_VALUES: Final = _values()
"""Different ones: some systems compress what they send."""


def value_of(key: int) -> str:
    """What is written to a key."""
    return _VALUES[key % KEYS]


class Store(Protocol):
    """A client's connection to one node. Keys are numbers: how they are spelt is the system's affair."""

    async def put(self, key: int, value: str | None = None) -> None:
        """Write this value, or that of :func:`value_of`; returns when it is acknowledged as the system is set up to."""

    async def put_batch(self, keys: Sequence[int]) -> None:
        """Write the values of :func:`value_of` to all of these, in the way that suits the system best; returns when all
        are acknowledged.
        """

    async def get(self, key: int) -> str:
        """Read a value. Raises an exception of the system's client if there is none."""

    async def scan(self, count: int) -> int:
        """Read all entries, of which there are `count`; gives how many came."""

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[int]]:
        """The keys of all changes from now on, one for each change."""
