"""What a node kept of the past of its paths: answering questions about it, and taking off the record what is too old.

The store prunes a path whenever something is put on its record. What grows old at paths where nothing happens any more,
and what a pattern below ``@.history`` no longer asks for, goes in a sweep over all of it now and then, in small steps.
All of it together has a bound, too: when it is reached, what is oldest goes, whatever the patterns ask for.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
import msgspec

from kvnode.client import inspect_protocol as ip
from kvnode.client.wire import encode_part
from kvnode.core.history import Recorder, parts_of, place_at, read_past, row_key, rows_end
from kvnode.core.path import Path, path_key
from kvnode.data.plural import counted
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
FIRST_SWEEP_S: Final = 60.0
"""The first sweep comes so long after the start: before, nobody knows how much is on record."""
AGAIN_S: Final = 60.0
"""A sweep that failed is tried again after this time at the earliest."""
SWEEP_ROWS: Final = 500
"""Rows that a sweep looks at in one step."""

HISTORY_FULL: Final = "history_full"

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


async def keep_swept(
    driver: Driver, max_bytes: int, wall_ms: Callable[[], int] = _wall_ms, every_s: float = SWEEP_EVERY_S
) -> None:
    """Sweep soon after the start, now and then, and whenever there may be more than `max_bytes`, until cancelled."""
    wait_s = min(FIRST_SWEEP_S, every_s)
    while True:
        with anyio.move_on_after(wait_s):
            await driver.store.past_use.until_over(max_bytes)
        wait_s = every_s
        try:
            await keep_within(driver, max_bytes, wall_ms())
        except StoreError as err:
            _log.warning("history not swept", extra={"why": str(err)})
            await anyio.sleep(AGAIN_S)
        except Stopping:
            return


async def keep_within(driver: Driver, max_bytes: int, now_ms: int) -> None:
    """Sweep, and if there is still more than `max_bytes`, take what is oldest off the record until a tenth of that is
    free, and report it. Raises StoreError, Stopping.
    """
    swept = await sweep(driver, now_ms)
    _log.debug("history swept", extra={"rows": swept.gone, "bytes": swept.size})
    is_full = swept.size > max_bytes
    if is_full:
        versions = await _trim(driver, swept.oldest(swept.size - max_bytes * 9 // 10))
        driver.store.past_use.dropped += versions
        text = f"the past on record has reached {max_bytes} bytes: the {counted(versions, 'oldest version')} went"
        driver.report(HISTORY_FULL, driver.replica.name, text)
    elif driver.reports.get(HISTORY_FULL, driver.replica.name) is not None:
        text = "the past on record has room again"
        driver.report(HISTORY_FULL, driver.replica.name, text, resolved=True)


@dataclass(slots=True)
class Swept:
    """What a sweep did and left. `by_age` is the size in bytes by the first part of the place: the time of writing."""

    gone: int = 0
    versions: int = 0
    size: int = 0
    by_age: Counter[bytes] = field(default_factory=Counter)

    def count(self, key: bytes, record: bytes) -> None:
        """A row that stays."""
        size = len(key) + len(record)
        self.versions += 1
        self.size += size
        self.by_age[_age_of(key)] += size

    def oldest(self, size: int) -> tuple[bytes, int]:
        """What is older than the first goes, and of that age so many bytes: together `size`."""
        for age in sorted(self.by_age):
            if self.by_age[age] >= size:
                return age, size
            size -= self.by_age[age]
        return b"\xff", 0


def _age_of(key: bytes) -> bytes:
    """About a minute."""
    return parts_of(key)[1][:4]


async def sweep(driver: Driver, now_ms: int, *, step: int = SWEEP_ROWS) -> Swept:
    """Go over all that is on record, once, take off what is not to be kept, and count what is. Raises StoreError,
    Stopping.
    """
    sweeper = _Sweeper(driver.replica.state.history, now_ms)
    high, swept = b"\xff", Swept()
    while rows := await driver.store.past(b"", high, step):
        high = rows[-1][0]
        surplus = []
        for key, record in rows:
            if sweeper.is_surplus(key):
                surplus.append(key)
            else:
                swept.count(key, record)
        await _forget(driver, surplus)
        swept.gone += len(surplus)
    driver.store.past_use.found(swept.versions, swept.size)
    return swept


async def _trim(driver: Driver, oldest: tuple[bytes, int]) -> int:
    """Take the oldest off the record, see :meth:`Swept.oldest`; gives how many went."""
    age, left = oldest
    high, gone, use = b"\xff", 0, driver.store.past_use
    while rows := await driver.store.past(b"", high, SWEEP_ROWS):
        high = rows[-1][0]
        surplus = []
        for key, record in rows:
            size, of = len(key) + len(record), _age_of(key)
            if of < age or (of == age and left > 0):
                left -= size * (of == age)
                surplus.append(key)
                use.found(use.versions - 1, use.size - size)
        await _forget(driver, surplus)
        gone += len(surplus)
    return gone


async def _forget(driver: Driver, keys: list[bytes]) -> None:
    if keys:
        await driver.store.forget_past(keys)


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
