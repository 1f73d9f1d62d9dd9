"""What the whole cluster shall see of a node's troubles: records below ``@.errors.node.NAME``, one per kind of report.

The record is written like any change, acknowledged by memory: it leaves for the peers also while the disk of this node
takes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from kvnode.codec.values import ValueCodecError, pack, unpack
from kvnode.core.effects import Change, Now, Report
from kvnode.core.path import Path, key_range_end
from kvnode.core.policy import read
from kvnode.core.replica import Replica
from kvnode.data.errors import ErrorBook, Severity

from . import acks
from .driver import Driver
from .errors import NodeError, Stopping

STORE_FAILED: Final = "store_failed"
STORE_DOUBT: Final = "store_doubt"
SHOWN: Final[Mapping[str, Severity]] = {STORE_FAILED: Severity.CRITICAL, STORE_DOUBT: Severity.WARNING}
"""The kinds of reports that get a record. A kind is about one thing, so it is also the record's path."""
WRITE_EVERY_S: Final = 1.0
"""Records are written at most so often; what changes meanwhile is written together."""

_log: Final = logging.getLogger(__name__)


class Troubles:
    """Keeps the records of the node that `driver` drives. To be made before the driver runs: what an earlier process
    recorded is taken over.
    """

    def __init__(self, driver: Driver, clock: Callable[[], Now]) -> None:
        self._driver: Final = driver
        self._clock: Final = clock
        self.book: Final = ErrorBook(Path(("node", driver.replica.name)))
        self._wake = anyio.Event()
        self._adopt(driver.replica)
        driver.reports.listen(self._take)

    async def run(self) -> None:
        """Write what changes, until the node stops."""
        try:
            await self._driver.call(lambda replica, now: None)  # behind it, all that the start has to tell is told
            self._close_old(self._driver.replica)
            while True:
                self._wake = anyio.Event()
                if await self._write():
                    await self._wake.wait()
                await anyio.sleep(WRITE_EVERY_S)
        except Stopping:
            return

    def _adopt(self, replica: Replica) -> None:
        low = self.book.top.key
        for key, siblings in replica.tree.scan_range(low, key_range_end(low)):
            place = Path.from_key(key)
            reading = read(siblings, replica.policy_of(place), 0, _value)
            if reading is not None:
                self.book.adopt(place, reading.value)

    def _close_old(self, replica: Replica) -> None:
        """Resolve what an earlier process recorded and this one does not have."""
        standing = {row.kind for row in self._driver.reports}
        if replica.state.doubted:
            standing.add(STORE_DOUBT)
        for record in self.book.open():
            if record.code not in standing:
                self.book.works(record.path, self._now())

    def _take(self, report: Report, news: bool) -> None:
        severity = SHOWN.get(report.kind)
        if severity is None:
            return
        path = Path((report.kind,))
        if report.resolved:
            self.book.works(path, self._now())
        else:
            self.book.fail(path, report.kind, report.text, self._now(), severity)
        self._wake.set()

    async def _write(self) -> bool:
        """Write what is new; whether that succeeded."""
        changed = self.book.take_changed()
        changes = [
            Change(self.book.place(path), None if value is None else pack(value), author="node")
            for path, value in changed.items()
        ]
        try:
            await self._driver.propose(changes, acks.MEMORY)
        except Stopping:
            raise
        except NodeError as err:
            self.book.not_written(changed)
            _log.warning("a trouble of this node could not be recorded", extra={"why": str(err)})
            return False
        return True

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock().wall / 1000, UTC)


def _value(data: bytes) -> Any:
    try:
        return unpack(data)
    except ValueCodecError:
        return None
