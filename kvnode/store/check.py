"""A look at a store from outside, as ``kv store check`` takes it: what is damaged, and what is lost by it.

The file is opened read-only and nothing beside it stays behind. Whoever looks at the store of a node must hold its
lock (:class:`.lock.FileLock`); a backup needs none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Final

from kvnode.core.effects import Loaded
from kvnode.core.entry import decode_record, plain
from kvnode.core.loading import DOUBTED_META, MARKS_META
from kvnode.core.path import Path, PathError
from kvnode.core.quarantine import Quarantine
from kvnode.core.ticks import Incarnation, Known, is_incarnation

from . import files
from .base import NoStore
from .inspection import Found, inspect
from .log import Log
from .migrations import version_of
from .overlay import live_rows, loaded_over
from .salvage import readable
from .sqlite import check_identity
from .sqlite_errors import FAILURES, Damage, is_damage, reported
from .tables import ALL, ROWS, Table, text_of_key

MAX_FINDINGS: Final = 1_000
"""So many findings are told one by one; the others are counted."""


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Something that was stored is lost or cannot be relied on."""
    WARNING = "warning"
    """Worth knowing; the store itself is sound."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    `kind` is a stable code: ``file``, ``log``, ``tally``, ``dots``, ``doubt``, ``kept``, or the name of the table
    (``rows``, ``known``, ``meta`` ...) whose row is damaged. `path` is the entry that it is about in its text form,
    empty if that cannot be told.
    """

    level: Level
    kind: str
    text: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found in `file`. `findings` are the first :data:`MAX_FINDINGS`, `more` counts the rest; `entries`,
    `versions` and `incarnations` count what is sound; `log_bytes` is the size of the log, or logs, beside the file.
    """

    file: str
    bytes: int
    log_bytes: int
    schema: int | None
    entries: int
    versions: int
    incarnations: int
    errors: int
    findings: tuple[Finding, ...]
    more: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing is lost."""
        return not self.errors


class _Look:
    """Gathers what a check finds."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self.schema: int | None = None
        self.entries = self.versions = self.incarnations = 0
        self._findings: list[Finding] = []
        self._errors = 0
        self._more = 0

    def error(self, kind: str, text: str, path: str = "") -> None:
        self._errors += 1
        self._add(Finding(Level.ERROR, kind, text, path))

    def warn(self, kind: str, text: str) -> None:
        self._add(Finding(Level.WARNING, kind, text))

    def damaged(self, table: Table, key: bytes) -> None:
        if table is ROWS:
            self.error(table.name, "the record is damaged (wrong checksum)", text_of_key(key))
        else:
            self.error(table.name, f"the row {key.decode(errors='replace')!r} is damaged (wrong checksum)")

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(finding)
        else:
            self._more += 1

    def report(self) -> Report:
        return Report(
            file=self.path,
            bytes=os.path.getsize(self.path),
            log_bytes=sum(_size(f"{self.path}{suffix}") for suffix in ("-wal", *files.LOG_FILES)),
            schema=self.schema,
            entries=self.entries,
            versions=self.versions,
            incarnations=self.incarnations,
            errors=self._errors,
            findings=tuple(self._findings),
            more=self._more,
        )


def check(path: str) -> Report:
    """Look at every row of the store file at `path`. Raises :class:`.base.StoreError` if it cannot be looked at, also
    for a schema of a later version.
    """
    path = os.path.abspath(path)
    with reported(path):
        present(path)
        look = _Look(path)
        if files.holds_nothing(path):
            look.error("file", "it is empty or cut short: nothing can be read")
        else:
            with read_only(path) as db:
                _check(db, look)
        for name in files.kept(path):
            look.warn("kept", f"{os.path.basename(name)} was set aside earlier; remove it when nobody needs it")
        return look.report()


def present(path: str) -> None:
    """Raise :class:`.base.NoStore` if there is no store file at `path`."""
    if not os.path.exists(path):
        raise NoStore(path)


@contextlib.contextmanager
def read_only(path: str) -> Iterator[sqlite3.Connection]:
    """The store file, without a change to it: what is only in SQLite's own log is read too, what a process that died
    wrote and did not complete is not, and no new side file stays.
    """
    with contextlib.ExitStack() as stack:
        if _size(f"{path}-journal"):
            path = stack.enter_context(_rolled_back(path))
        log = _size(f"{path}-wal") > 0
        index = f"{path}-shm"
        if log and not os.path.exists(index):
            stack.callback(_remove, index)
        # Told that nobody else has it open, SQLite needs no index of the log; but then it reads no log either.
        mode = "mode=ro" if log else "mode=ro&immutable=1"
        uri = f"{PurePath(path).as_uri()}?{mode}"
        db = stack.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True)))
        db.isolation_level = None
        db.text_factory = bytearray
        yield db


@contextlib.contextmanager
def _rolled_back(path: str) -> Iterator[str]:
    """A copy of a store that a process left in the midst of a transaction, where SQLite can undo that."""
    with tempfile.TemporaryDirectory() as directory:
        copy = os.path.join(directory, os.path.basename(path))
        for suffix in ("", "-journal"):
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        with contextlib.closing(sqlite3.connect(copy)) as db, contextlib.suppress(*FAILURES):
            db.execute("SELECT * FROM meta").fetchone()  # reading is what makes it do so
        yield copy


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _check(db: sqlite3.Connection, look: _Look) -> None:
    try:
        check_identity(db, look.path)
        look.schema = version_of(db)
        found = inspect(db, look.path, [table for table in ALL if table.since <= look.schema])
    except Damage as damage:
        _look_at_ruins(db, look, str(damage))
    except FAILURES as error:
        if not is_damage(error):
            raise
        _look_at_ruins(db, look, str(error))
    else:
        log = Log(look.path, found.mark, damaged=bool(found.doubts))
        for what in log.doubts:
            look.error("log", what)
        _look_at_findings(found, look)
        damaged = found.damaged_rows
        stored = ((key, record) for key, record, _ in ROWS.read(db) if key not in damaged)
        of_file = Loaded((), found.known, found.meta, (), found.quarantine)
        whole = loaded_over(of_file, log.pending, live_rows(stored, log.pending))
        _look_at_entries(whole, look)
        _look_at_meta(whole, look)


def _look_at_ruins(db: sqlite3.Connection, look: _Look, why: str) -> None:
    """The file as a whole is unsound: what could be saved of it?"""
    look.error("file", why)
    for table, _, record in readable(db, os.path.getsize(look.path), look.damaged):
        if table is ROWS:
            look.entries += 1
            with contextlib.suppress(ValueError):
                look.versions += len(decode_record(record))
    look.warn("file", f"{look.entries} {'entry' if look.entries == 1 else 'entries'} of it can be read")


def _look_at_findings(found: Found, look: _Look) -> None:
    for table, key in found.damaged:
        look.damaged(table, key)
    for what in found.missing:
        look.error("tally", what)
    for line in found.told:
        look.warn("doubt", f"told at the last start, and no commit since: {line}")


def _look_at_entries(found: Loaded, look: _Look) -> None:
    """Every record can be read, holds versions of its own path, each known, and no dot twice."""
    known = Known(found.known)
    seen: dict[Incarnation, set[int]] = {}
    for key, record in found.rows:
        path = text_of_key(key)
        try:
            Path.from_key(key)
            siblings = decode_record(record)
            if not siblings or any(v.key != key for v in siblings):
                raise ValueError("it is empty, or of another path")
        except (PathError, ValueError) as err:
            look.error("rows", f"the record cannot be read: {err}", path)
            continue
        look.entries += 1
        look.versions += len(siblings)
        for version in siblings:
            ticks = seen.setdefault(version.inc, set())
            if version.tick in ticks:
                look.error("dots", f"{version.dot} names two versions", path)
            if not known.has(version.inc, version.tick):
                look.error("dots", f"the version {version.dot} is missing from the known ticks", path)
            ticks.add(version.tick)


def _look_at_meta(found: Loaded, look: _Look) -> None:
    look.incarnations = len(found.known)
    for inc in found.known:
        if not is_incarnation(inc):
            look.error("known", f"{inc!r} is no incarnation")
    for line in Quarantine(len(found.quarantine) + 1, 1 << 62).load(found.quarantine):
        look.error("quarantine", line)
    if not isinstance(plain(found.meta.get(MARKS_META, b"\x90")), list):
        look.error("meta", "the list of closed incarnations cannot be read")
    if found.meta.get(DOUBTED_META) == b"1":
        look.warn("doubt", "this store lost something earlier, and no peer has made up for it yet")
