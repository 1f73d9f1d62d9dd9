"""Writes what an agent has to say about itself: errors below ``@.errors``, its status below ``@.status.agent``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import anyio

from kvagents.framework.config import Config, Problem
from kvagents.framework.kv import Kv
from kvagents.framework.supervise import Watcher
from kvnode.client import KvError, NotFound
from kvnode.core.path import Path
from kvnode.data.errors import ErrorBook, Severity, acknowledgement_of
from kvnode.data.sources import SOURCES, STATUS, Source, source_of

log = logging.getLogger(__name__)

STATUS_EVERY_S: Final = 60.0
"""The status entry is written at least this often; an older one means that the agent is gone."""
WRITE_TIMEOUT_S: Final = 5.0
RETRY_S: Final = 1.0


class Reporter(Watcher):
    """Keeps the records of one agent, `kind`/`name`, whose configuration is at `root`.

    A record's place is the path it is about, taken below `root`, under ``@.errors.KIND.NAME``.
    """

    def __init__(self, kv: Kv, kind: str, name: str, root: Path, *, wall: Callable[[], datetime]) -> None:
        self._kv = kv
        self._status_path = STATUS / (kind, name)
        self._wall = wall
        self._wake = anyio.Event()
        self._since = wall()
        self._problems: dict[Path, Problem] = {}
        self.book = ErrorBook(Path((kind, name)), root)
        self._sources: dict[Path, Source] = {}
        self._told_sources: dict[Path, Source] = {}
        self._unconfirmed: set[Path] = set()
        self.last_words: dict[Path, Any] = {}
        """Values to write when the agent says goodbye."""
        self.facts: Mapping[str, Any] = {}
        """More for the status entry."""

    def failed(self, path: Path, code: str, message: str, severity: Severity = Severity.ERROR) -> None:
        """Count a failure, and log it if it is news."""
        if self.book.fail(path, code, message, self._wall(), severity):
            log.warning("%s", message, extra={"path": str(path), "code": code})
        self._wake.set()

    def works(self, path: Path) -> None:
        """Resolve the record of `path` if it has an open one. Values that nobody feeds any more lose their source."""
        for dest in [dest for dest in self._unconfirmed if self._sources[dest].config.is_below(path)]:
            self._unconfirmed.discard(dest)
            del self._sources[dest]
            self._wake.set()
        if self.book.works(path, self._wall()):
            log.info("works again", extra={"path": str(path)})
            self._wake.set()

    def dropped(self, path: Path) -> None:
        """Remove the record of `path`."""
        self.book.drop(path)
        self._wake.set()

    def tell_problems(self, problems: Iterable[Problem], config: Config) -> None:
        """Report what is wrong with the configuration, and resolve what no longer is.

        One record per path: the first problem of an entry is told, the next ones after it is mended.
        """
        wrong: dict[Path, Problem] = {}
        for problem in problems:
            wrong.setdefault(problem.path, problem)
        for path, problem in wrong.items():
            if self._problems.get(path) != problem:
                self.failed(path, problem.code, str(problem))
        for path in self._problems.keys() - wrong.keys():
            (self.works if path in config else self.dropped)(path)
        self._problems = wrong

    def keep_only(self, place: Path, parts: Iterable[Path]) -> None:
        """Remove the records below `place` that are neither of its `parts` nor about its configuration.

        What is fed below it has to be told again; what is not, by the time it works, goes too.
        """
        self._unconfirmed |= {dest for dest, source in self._sources.items() if source.config.is_below(place)}
        kept = {place, *parts, *self._problems}
        for path in self.book.paths():
            if path.is_below(place) and path not in kept:
                self.dropped(path)

    def keep_below(self, bindings: Iterable[Path], config: Config) -> None:
        """Remove the records of what lies below no binding. Those about the configuration stay, mended ones too."""
        tops = tuple(bindings)
        for path in self.book.paths():
            mended = path in config and self.book[path].resolved is not None
            if path not in self._problems and not mended and not any(path.is_below(top) for top in tops):
                self.dropped(path)

        for dest, source in list(self._sources.items()):
            if not any(source.config.is_below(top) for top in tops):
                del self._sources[dest]
                self._unconfirmed.discard(dest)

    def feeds(self, dest: Path, config: Path, stale_after_s: float | None) -> None:
        """Say that the values at `dest` come from here."""
        self._unconfirmed.discard(dest)
        source = Source(self.book.subsystem, config, stale_after_s)
        if self._sources.get(dest) != source:
            self._sources[dest] = source
            self._wake.set()

    def status_changed(self) -> None:
        """Write the status soon."""
        self._wake.set()

    async def load(self) -> None:
        """Take over the records and sources of an earlier run. Raises KvError."""
        async with self._kv.tree(self.book.top) as rows:
            async for row in rows:
                self.book.adopt(row.path, row.value)
        async with self._kv.tree(SOURCES) as rows:
            async for row in rows:
                source = Source.from_value(row.value)
                if source is not None and source.agent == self.book.subsystem:
                    dest = Path(row.path[len(SOURCES) :])
                    self._sources[dest] = self._told_sources[dest] = source

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            self._wake = anyio.Event()
            if not await self._write():
                await anyio.sleep(RETRY_S)
                continue
            with anyio.move_on_after(STATUS_EVERY_S):
                await self._wake.wait()

    async def farewell(self, kv: Kv) -> None:
        """Say that the agent has ended, and what is still to be said. Raises KvError."""
        for path, value in self.last_words.items():
            await kv.set(path, value, timeout=WRITE_TIMEOUT_S, idempotent=True)
        await self._write_all(kv, self.book.take_changed(), "stopped")

    async def _write(self) -> bool:
        """Write what is new; whether that succeeded. What failed is kept for the next time."""
        changed = self.book.take_changed()
        try:
            await self._write_all(self._kv, changed, "running")
        except KvError as error:
            self.book.not_written(changed)
            log.debug("cannot report: %s", error)
            return False
        except BaseException:
            self.book.not_written(changed)
            raise
        return True

    async def _write_all(self, kv: Kv, records: Mapping[Path, dict[str, Any] | None], state: str) -> None:
        await kv.set(self._status_path, self._status(state), timeout=WRITE_TIMEOUT_S, idempotent=True)
        for path, value in records.items():
            place = self.book.place(path)
            if value is not None:
                await kv.set(place, value, timeout=WRITE_TIMEOUT_S, idempotent=True)
                continue
            for gone in (place, acknowledgement_of(place)):
                await _delete(kv, gone)
        await self._tell_sources(kv)

    async def _tell_sources(self, kv: Kv) -> None:
        """Bring what the tree says of sources in line with what there is."""
        for dest in [dest for dest in self._told_sources if dest not in self._sources]:
            await _delete(kv, source_of(dest))
            del self._told_sources[dest]
        for dest, source in list(self._sources.items()):
            if self._told_sources.get(dest) != source:
                await kv.set(source_of(dest), source.value(), timeout=WRITE_TIMEOUT_S, idempotent=True)
                self._told_sources[dest] = source

    def _status(self, state: str) -> dict[str, Any]:
        return {
            "agent": self.book.subsystem,
            "state": state,
            "since": self._since,
            "seen": self._wall(),
            "every": STATUS_EVERY_S,
            "errors": len(self.book.open()),
            **self.facts,
        }


async def _delete(kv: Kv, path: Path) -> None:
    with suppress(NotFound):  # it was never written
        await kv.delete(path, timeout=WRITE_TIMEOUT_S, idempotent=True)
