"""Scrubbing: a slow, endless comparison of memory with what is stored, so that damage shows before a restart.

A round reads the rows of the store back in small batches, checks their checksums, and compares them with the entries in
memory; and computes the fingerprints of the tree anew. What is found is judged twice, the second time when nothing is
on its way to the disk, for a row that is being written differs without being damaged.

* A record with a wrong checksum, one that is missing, or an older one, is written again from memory.
* A record that is sound and names the same dots with other contents says that memory is damaged, not the disk. Nothing
  is written then: the next start reads the good record.

The store's tally of its rows knows nothing of such a repair: the next start may find that rows were missing, and asks
the peers once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal

import anyio

from kvnode.core.entry import decode_record
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.core.tree import KEY_END
from kvnode.store.base import StoreError

from .driver import Driver

BATCH_ROWS: Final = 100
PAUSE_S: Final = 1.0
"""Between two batches: so at most BATCH_ROWS rows are read in PAUSE_S."""
REST_S: Final = 3600.0
"""Between two rounds, and before the first: loading has checked everything."""
LOOKS: Final = 5
"""So often a suspect is looked at while it goes on changing; then it waits for the next round."""
SETTLE_S: Final = 0.2
"""Between two looks at a suspect."""

Fault = Literal["sound", "store", "memory"]


class Missing(Enum):
    """Its one member stands for a record that the store does not have."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
Stored = bytes | Missing | None
"""A stored record; None if its checksum is wrong."""


class Scrubber:
    """Scrubs the store behind `driver`, whose counters tell what was done and found."""

    def __init__(self, driver: Driver) -> None:
        self._driver: Final = driver

    async def run(self) -> None:
        """Round after round, until cancelled. A store that cannot be read is reported."""
        while True:
            await anyio.sleep(REST_S)
            try:
                await self.round()
            except StoreError as err:
                self._driver.report("store_damaged", "store", f"scrubbing met damage: {err}")

    async def round(self) -> None:
        """Everything once. Raises StoreError, Stopping."""
        await self._check_memory()
        low, end = b"", b""
        while end < KEY_END:
            rows = await self._driver.store.read_back(low, BATCH_ROWS)
            end = rows[-1][0] + b"\0" if len(rows) == BATCH_ROWS else KEY_END
            for key in suspects(self._driver.replica, low, end, dict(rows)):
                await self._judge(key)
            self._driver.counters["scrubbed_rows"] += len(rows)
            low = end
            await anyio.sleep(PAUSE_S)
        self._driver.counters["scrub_rounds"] += 1

    async def _check_memory(self) -> None:
        """Compute the fingerprints of the tree anew, a chunk at a time."""
        low: bytes | None = b""
        while low is not None:
            sound, low = self._driver.replica.tree.check(low)
            if not sound:
                self._memory_damaged("the tree", "its fingerprint is not that of its entries")
            await anyio.sleep(PAUSE_S / BATCH_ROWS)

    async def _judge(self, key: bytes) -> None:
        """Look again, until what is pending is written and the entry has stood still between two looks."""
        tree, store = self._driver.replica.tree, self._driver.store
        for _ in range(LOOKS):
            siblings, quiet = tree.get(key), not store.pending
            stored = dict(await store.read_back(key, 1)).get(key, MISSING)
            if quiet and not store.pending and tree.holds(key, siblings):
                await self._deal(key, stored)
                return
            await anyio.sleep(SETTLE_S)

    async def _deal(self, key: bytes, stored: Stored) -> None:
        """Nothing is on its way to the disk: what differs is damaged."""
        fault = fault_of(self._driver.replica, key, stored)
        if fault == "store":
            await self._driver.call(lambda replica, now: replica.state.rewrite(key))
            self._driver.counters["store_faults"] += 1
            where = _name(key)
            text = f"the stored record of {where} was damaged; it was written again from memory"
            self._driver.report("store_damaged", where, text)
        elif fault == "memory":
            self._memory_damaged(_name(key), "memory holds something else than the sound record on disk")

    def _memory_damaged(self, where: str, why: str) -> None:
        self._driver.counters["memory_faults"] += 1
        self._driver.report("memory_damaged", where, f"{where}: {why}: this machine's memory is not to be trusted")


def suspects(replica: Replica, low: bytes, end: bytes, rows: Mapping[bytes, bytes | None]) -> list[bytes]:
    """The keys from `low` up to, not including, `end` whose stored record is not what memory holds."""
    keys = sorted(rows.keys() | set(replica.tree.keys(low, end)))
    return [key for key in keys if fault_of(replica, key, rows.get(key, MISSING)) != "sound"]


def fault_of(replica: Replica, key: bytes, record: Stored) -> Fault:
    """Compare a stored record with what memory would store."""
    wanted = replica.state.record(key)
    if record == (MISSING if wanted is None else wanted):
        return "sound"
    if not isinstance(record, bytes) or wanted is None:
        return "store"
    try:
        stored, held = decode_record(record), decode_record(wanted)
    except ValueError:
        return "memory"  # the record has a sound checksum, so it is the entry in memory that makes no sense
    if [v.dot for v in stored] == [v.dot for v in held] and any(
        a.body != b.body for a, b in zip(stored, held, strict=True)
    ):
        return "memory"
    return "store"


def _name(key: bytes) -> str:
    return str(Path.from_key(key))
