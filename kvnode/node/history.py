"""What a node kept of the past of its paths: answering questions about it, and taking off the record what is too old.

The store prunes a path whenever something is put on its record. What grows old at paths where nothing happens any more,
and what a pattern below ``@.history`` no longer asks for, goes in a sweep over all of it now and then, in small steps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import anyio
import msgspec

from kvnode.client import inspect_protocol as ip
from kvnode.client.wire import encode_part
from kvnode.core.history import Recorder, parts_of, place_at, read_past, row_key, rows_end
from kvnode.core.path import Path, path_key
from kvnode.store.base import StoreError

from .driver import Driver
from .errors import Stopping
from .requests import RequestError, checked_path
from .rows import RowEncoder
from .streams import FRAME_BYTES

MOST_ROWS: Final = 1_000
"""Versions of the past in one answer."""
TRIES: Final = 3
"""How often a question is asked again because the path changed while the disk was read."""
SWEEP_EVERY_S: Final = 3_600.0
SWEEP_ROWS: Final = 500
"""Rows that a sweep looks at in one step."""

_log: Final = logging.getLogger(__name__)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Recall:
    """Answers :class:`~kvnode.client.inspect_protocol.History`. `wall_ms` gives the time, for what has expired."""

    def __init__(self, driver: Driver, wall_ms: Callable[[], int] = _wall_ms) -> None:
        self._driver: Final = driver
        self._encoder: Final = RowEncoder(driver.replica, wall_ms)

    async def answer(self, request: ip.History, author: str) -> ip.Recalled:
        """What is at the path, and what was there. Raises RequestError, NodeError."""
        path = checked_path(request.path)
        key, replica = path_key(path), self._driver.replica
        limit = min(max(request.limit, 0), MOST_ROWS)
        low = row_key(key, place_at(request.since_ms or 0))
        high = rows_end(key) if request.before is None else row_key(key, request.before)
        for _ in range(TRIES):
            siblings = replica.tree.get(key)
            try:
                rows = await self._driver.store.past(low, high, limit + 1)
            except StoreError as err:
                raise RequestError("store_unavailable", str(err)) from None
            if replica.tree.holds(key, siblings):
                break
        else:
            siblings = replica.tree.get(key)
        past = _fitting([_past_row(row, record) for row, record in rows[:limit]])
        keep = replica.state.history.keep_of(path)
        return ip.Recalled(
            self._encoder.encode(key, siblings) if siblings else None,
            {str(v.dot): dict(v.vector) for v in siblings},
            str(replica.policy_of(path)),
            (keep.versions, keep.ms) if keep.versions else None,
            past,
            len(rows) > len(past),
        )


def _past_row(key: bytes, record: bytes) -> ip.PastRow:
    version, by = read_past(record)
    body = (version.inc, version.tick, msgspec.Raw(version.body))
    return ip.PastRow(parts_of(key)[1], encode_part(body), dict(version.vector), version.is_tombstone, by)


def _fitting(rows: list[ip.PastRow]) -> tuple[ip.PastRow, ...]:
    """As many of the first as one answer holds, but one at least."""
    size = 0
    for count, row in enumerate(rows):
        size += len(row.sib)
        if size > FRAME_BYTES * 16 and count:
            return tuple(rows[:count])
    return tuple(rows)


# -- sweeping --------------------------------------------------------------------------------------------------


async def keep_swept(driver: Driver, wall_ms: Callable[[], int] = _wall_ms, every_s: float = SWEEP_EVERY_S) -> None:
    """Sweep from time to time, until cancelled."""
    while True:
        await anyio.sleep(every_s)
        try:
            gone = await sweep(driver, wall_ms())
        except StoreError as err:
            _log.warning("history not swept", extra={"why": str(err)})
        except Stopping:
            return
        else:
            _log.debug("history swept", extra={"rows": gone})


async def sweep(driver: Driver, now_ms: int, *, step: int = SWEEP_ROWS) -> int:
    """Go over all that is on record, once; gives how many rows went. Raises StoreError, Stopping."""
    sweeper = _Sweeper(driver.replica.state.history, now_ms)
    high, gone = b"\xff", 0
    while rows := await driver.store.past(b"", high, step):
        high = rows[-1][0]
        surplus = [key for key, _ in rows if sweeper.is_surplus(key)]
        if surplus:
            await driver.store.forget_past(surplus)
            gone += len(surplus)
    return gone


class _Sweeper:
    """Looks at rows, of each path the newest first, and says which are not to be kept."""

    def __init__(self, recorder: Recorder, now_ms: int) -> None:
        self._recorder: Final = recorder
        self._now_ms: Final = now_ms
        self._at = b""
        self._left = 0
        self._oldest = b""

    def is_surplus(self, key: bytes) -> bool:
        of, place = parts_of(key)
        if of != self._at:
            keep = self._recorder.keep_of(Path.from_key(of))
            self._at, self._left = of, keep.versions
            self._oldest = b"" if keep.ms is None else place_at(self._now_ms - keep.ms)
        self._left -= 1
        return self._left < 0 or place < self._oldest
