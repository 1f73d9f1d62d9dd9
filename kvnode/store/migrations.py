"""The schema of the SQLite store, as the steps that led to it.

``PRAGMA user_version`` counts the steps a file has seen. A step is never changed once released; a new schema is a new
step at the end. Each runs with its number in one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

Step = Callable[[sqlite3.Connection], None]

APPLICATION_ID: Final = 0x6B766E64
"""``kvnd``: what makes the file one of ours, also for ``file(1)``."""


def _first_schema(db: sqlite3.Connection) -> None:
    """`sum` is the checksum of checks.py. Keys that start with ``!`` in `meta` are the store's own."""
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(
        "CREATE TABLE rows (key BLOB PRIMARY KEY NOT NULL, record BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE known (inc TEXT PRIMARY KEY NOT NULL, bounds BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID"
    )


def _quarantine(db: sqlite3.Connection) -> None:
    """What was set aside outlives the process. `number` counts up, 8 bytes, big-endian."""
    db.execute(
        "CREATE TABLE quarantine"
        " (number BLOB PRIMARY KEY NOT NULL, record BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID"
    )


def _history(db: sqlite3.Connection) -> None:
    """What was at a path before. `key` is the path's key, a byte 255, and a place in order of the stamps."""
    db.execute(
        "CREATE TABLE history (key BLOB PRIMARY KEY NOT NULL, record BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID"
    )


def _log(db: sqlite3.Connection) -> None:
    """A log stands in front of the file (see :mod:`.log`), and the row ``!log`` of `meta` says how it goes on. Nothing
    changes in the file; but who knows nothing of the log would miss what is in it.
    """


def _packed(db: sqlite3.Connection) -> None:
    """Commits in the log may be compressed. Who takes none but others for commits would miss them."""


MIGRATIONS: Final[tuple[Step, ...]] = (_first_schema, _quarantine, _history, _log, _packed)
SCHEMA_VERSION: Final = len(MIGRATIONS)


def version_of(db: sqlite3.Connection) -> int:
    """How many steps this file has seen."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, steps: Sequence[Step] = MIGRATIONS) -> None:
    """Take the file through the steps it lacks. A step that fails leaves the file as it was before that step."""
    for number in range(version_of(db), len(steps)):
        db.execute("BEGIN IMMEDIATE")
        try:
            steps[number](db)
            db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
