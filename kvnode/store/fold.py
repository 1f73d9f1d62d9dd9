"""Copies of a store that stand alone: what its log holds is put into them, and they forget that there is one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from . import files
from .base import Batch
from .checks import Tally
from .inspection import decode_lines, encode_plain
from .log import Log
from .mark import LOG_KEY, Mark
from .overlay import apply
from .segments import Segment
from .tables import DOUBTS_KEY, META, TALLY_KEY, put_tally


def fold(db: sqlite3.Connection, segments: Sequence[Segment], doubts: Sequence[str]) -> None:
    """Make the copy `db` of a snapshot a store that stands alone: with what the segments of its log hold, and with
    these doubts of it. Raises what :meth:`.segments.Segment.content` raises.
    """
    db.execute("BEGIN")
    stored = META.record(db, TALLY_KEY)
    tally = _tally(stored)
    apply(db, tally, segments, Batch([]), None)
    if doubts:
        told = decode_lines(META.record(db, DOUBTS_KEY) or b"\x90")
        META.put(db, tally, DOUBTS_KEY, encode_plain([*told, *doubts]))
    if stored is not None:  # else that is what the copy is in doubt about
        put_tally(db, tally)
    db.execute("COMMIT")


def whole_copy(source: sqlite3.Connection, path: str) -> files.Make:
    """Makes a copy of the store at `path`, opened for reading as `source`, and of the log beside it."""

    def make(db: sqlite3.Connection) -> None:
        files.copy_of(source, path)(db)
        log = log_beside(db, path)
        fold(db, log.pending, log.doubt_lines)

    return make


def log_beside(db: sqlite3.Connection, path: str) -> Log:
    """The log of the store at `path`, of which `db` is the snapshot or a copy."""
    return Log(path, _mark(META.record(db, LOG_KEY)))


def _tally(stored: bytes | None) -> Tally:
    return Tally() if stored is None else Tally.decode(stored)


def _mark(stored: bytes | None) -> Mark | None:
    return None if stored is None else Mark.decode(stored)
