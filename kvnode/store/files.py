"""The files of a SQLite store: how one is made, put in place, and set aside.

A new file is built under another name, synced and renamed: whatever carries the store's name was complete once, so
one that is not complete is damaged. A damaged one is kept as ``NAME.damaged-N``, one that a backup took the place of
as ``NAME.replaced-N``, each with its side files; of each kind the latest :data:`MAX_KEPT`. The order is

1. build ``NAME.new`` and sync it; 2. rename it to ``NAME.salvaged-N`` (``NAME.restored-N``); 3. rename each old file
to its ``NAME.damaged-N`` (``NAME.replaced-N``); 4. rename the new one to ``NAME``.

A process that dies in between leaves either the old store alone (1) or a ``NAME.salvaged-N``, with which
:func:`finish_swaps` goes on. SQLite's own files must never stay: it would take the old journal for the new file's. The
log in front of the store (see :mod:`.log`) stays where a salvaged file takes the place of the old one, and goes where
a backup does.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from typing import BinaryIO, Final

from .checks import Tally
from .migrations import migrate
from .sqlite_errors import FAILURES, from_sqlite, is_damage
from .tables import put_tally

SIDE_FILES: Final = ("-wal", "-journal", "-shm")
LOG_FILES: Final = ("-log0", "-log1")
_ALL_FILES: Final = (*SIDE_FILES, *LOG_FILES, "")
PAGE_BYTES: Final = 4096
FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
MAX_KEPT: Final = 3
"""Damaged files that are kept to be looked at, and as many that were replaced; older ones go."""

BACKUP: Final = ".backup"
"""Ends the name under which a copy of an open store is made."""
SALVAGED: Final = "salvaged"
RESTORED: Final = "restored"
ASIDE: Final = {SALVAGED: "damaged", RESTORED: "replaced"}
"""How the old file is called when a new one of this kind takes its place."""

Make = Callable[[sqlite3.Connection], None]
"""Makes a complete store of a new file."""
Fill = Callable[[sqlite3.Connection, Tally], None]
"""Puts the rows into a new store."""


def ensure_directory(path: str) -> None:
    """Make the directory, for this user only, if it is not there yet."""
    if os.path.isdir(path):
        return
    os.makedirs(path, mode=DIRECTORY_MODE)
    sync_directory(os.path.dirname(os.path.abspath(path)))


def sync_directory(path: str) -> None:
    """Make renames in it durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_private(path: str) -> None:
    """Take other users' rights to the file away, if it is ours."""
    if os.stat(path).st_mode & 0o077:
        with contextlib.suppress(PermissionError):
            os.chmod(path, FILE_MODE)


def check_access(path: str) -> None:
    """Raise the system's own error for a file that cannot be written: SQLite's would only say that it failed."""
    os.close(os.open(path, os.O_RDWR))


def create(path: str, fill: Fill) -> None:
    """Make a new store at `path`, where nothing is yet."""
    build(f"{path}.new", filled(fill))
    os.rename(f"{path}.new", path)
    sync_directory(os.path.dirname(path))


def replace(path: str, kind: str, number: int, make: Make) -> None:
    """Make a new store of this `kind` (see :data:`ASIDE`) and put it at `path`; the old one is kept under `number`."""
    build(f"{path}.new", make)
    os.rename(f"{path}.new", f"{path}.{kind}-{number}")
    sync_directory(os.path.dirname(path))
    _swap(path, kind, number)


def has_side_files(path: str) -> bool:
    """Whether a log or journal is there."""
    return any(os.path.exists(f"{path}{suffix}") for suffix in _ALL_FILES[:-1])


def holds_nothing(path: str) -> bool:
    """Whether the file is missing or has no whole page. SQLite removes the log of such a file."""
    return not os.path.exists(path) or os.path.getsize(path) < PAGE_BYTES


def finish_swaps(path: str) -> None:
    """Go on where a process that died in :func:`replace` stopped; remove what one that died in a build left."""
    for unfinished in (f"{path}.new", f"{path}{BACKUP}"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
    for kind in ASIDE:
        for number in _numbers(path, kind):
            _swap(path, kind, number)


def _swap(path: str, kind: str, number: int) -> None:
    for suffix in (*SIDE_FILES, "") if kind == SALVAGED else _ALL_FILES:
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{path}.{ASIDE[kind]}-{number}{suffix}")
    os.rename(f"{path}.{kind}-{number}", path)
    sync_directory(os.path.dirname(path))
    _prune(path, ASIDE[kind])


def _prune(path: str, name: str) -> None:
    """Remove the oldest of the files that were kept under this name."""
    for number in _numbers(path, name)[:-MAX_KEPT]:
        for suffix in _ALL_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{path}.{name}-{number}{suffix}")


def keep_log(path: str) -> None:
    """Keep the damaged log of a store under a second name, where the file system can: other files take its place."""
    number = next_number(path, SALVAGED)
    for suffix in LOG_FILES:
        with contextlib.suppress(OSError):
            os.link(f"{path}{suffix}", f"{path}.{ASIDE[SALVAGED]}-{number}{suffix}")
    _prune(path, ASIDE[SALVAGED])


def kept(path: str) -> list[str]:
    """The files that were set aside: damaged ones, then replaced ones, without what lies beside them."""
    names = (f"{path}.{name}-{number}" for name in ASIDE.values() for number in _numbers(path, name))
    return [name for name in names if any(os.path.exists(f"{name}{suffix}") for suffix in ("", *LOG_FILES))]


def next_number(path: str, kind: str) -> int:
    """The number under which the old file is kept when a new one of this kind takes its place."""
    return 1 + max(_numbers(path, ASIDE[kind]), default=0)


def _numbers(path: str, name: str) -> list[int]:
    """The N of all ``PATH.NAME-N``, also of those of which only a side file is there; ascending."""
    pattern = re.compile(re.escape(f"{os.path.basename(path)}.{name}-") + r"([0-9]+)(-[a-z]+[01]?)?\Z")
    found = (pattern.match(entry) for entry in os.listdir(os.path.dirname(path)))
    return sorted({int(match[1]) for match in found if match})


def build(path: str, make: Make) -> None:
    """A complete store in a new file, for this user only, synced. No journal: a build that fails is thrown away."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.text_factory = bytearray
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            make(db)
        _sync(path)
    except BaseException:
        os.unlink(path)
        raise


def filled(fill: Fill) -> Make:
    """Makes a store of the present schema with these rows."""

    def make(db: sqlite3.Connection) -> None:
        migrate(db)
        tally = Tally()
        db.execute("BEGIN")
        fill(db, tally)
        put_tally(db, tally)
        db.execute("COMMIT")

    return make


def copy_of(source: sqlite3.Connection, path: str) -> Make:
    """Makes a copy of the open store at `path`, of one moment, that needs no log beside it."""

    def make(db: sqlite3.Connection) -> None:
        try:
            source.backup(db)
        except FAILURES as error:
            if is_damage(error):  # it is the source's; any other is the disk's that is written to
                raise from_sqlite(path, error) from error
            raise
        db.execute("PRAGMA journal_mode = DELETE")

    return make


def nameless(path: str, make: Make) -> BinaryIO:
    """A complete store in a new file, open for reading, that has no name any more; what a process that died left at
    `path` is removed first.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    build(path, make)
    try:
        return open(path, "rb")
    finally:
        os.unlink(path)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
