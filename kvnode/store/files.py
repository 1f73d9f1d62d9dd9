"""The files of a SQLite store: how one is made, put in place, and set aside.

A new file is built under another name, synced and renamed: whatever carries the store's name was complete once, so
one that is not complete is damaged. A damaged one is kept as ``NAME.damaged-N``, with its side files. The order is

1. build ``NAME.new`` and sync it; 2. rename it to ``NAME.salvaged-N``; 3. rename each old file to its
``NAME.damaged-N``; 4. rename ``NAME.salvaged-N`` to ``NAME``.

A process that dies in between leaves either the old store alone (1) or a ``NAME.salvaged-N``, with which
:func:`finish_swaps` goes on. The side files must never stay: SQLite would take the old log for the new file's.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from typing import Final

from .checks import Tally
from .migrations import migrate
from .tables import put_tally

SIDE_FILES: Final = ("-wal", "-journal", "-shm")
FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700

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


def create(path: str, fill: Fill) -> None:
    """Make a new store at `path`, where nothing is yet."""
    _build(f"{path}.new", fill)
    os.rename(f"{path}.new", path)
    sync_directory(os.path.dirname(path))


def replace(path: str, number: int, fill: Fill) -> None:
    """Make a new store and put it at `path`; the old one is kept under `number`."""
    _build(f"{path}.new", fill)
    os.rename(f"{path}.new", f"{path}.salvaged-{number}")
    sync_directory(os.path.dirname(path))
    _swap(path, number)


def has_side_files(path: str) -> bool:
    """Whether a log or journal is there."""
    return any(os.path.exists(f"{path}{suffix}") for suffix in SIDE_FILES)


def finish_swaps(path: str) -> None:
    """Go on where a process that died in :func:`replace` stopped."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.new")
    pattern = re.compile(re.escape(os.path.basename(path)) + r"\.salvaged-([0-9]+)\Z")
    for name in sorted(os.listdir(os.path.dirname(path))):
        if found := pattern.match(name):
            _swap(path, int(found[1]))


def _swap(path: str, number: int) -> None:
    for suffix in (*SIDE_FILES, ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{path}.damaged-{number}{suffix}")
    os.rename(f"{path}.salvaged-{number}", path)
    sync_directory(os.path.dirname(path))


def next_number(path: str) -> int:
    """The number that the next damaged file gets."""
    start = f"{os.path.basename(path)}.damaged-"
    taken = [
        name[len(start) :].partition("-")[0] for name in os.listdir(os.path.dirname(path)) if name.startswith(start)
    ]
    return 1 + max((int(number) for number in taken if number.isdigit()), default=0)


def _build(path: str, fill: Fill) -> None:
    """A complete store in a new file, synced. No journal: a build that fails is thrown away."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            migrate(db)
            tally = Tally()
            db.execute("BEGIN")
            fill(db, tally)
            put_tally(db, tally)
            db.execute("COMMIT")
        _sync(path)
    except BaseException:
        os.unlink(path)
        raise


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
