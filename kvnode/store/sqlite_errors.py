"""What SQLite's errors mean to a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .base import StoreDamaged, StoreError, StoreFull, StoreIOError, StoreLocked, StoreReadOnly, from_os_error

# SQLite's primary result codes.
_PERM: Final = 3
_BUSY: Final = 5
_READONLY: Final = 8
CORRUPT: Final = 11
_FULL: Final = 13
_NOTADB: Final = 26
_DAMAGE: Final = frozenset({1, CORRUPT, 18, 19, 20, _NOTADB})
"""Also what our few statements can only meet in a damaged file: no such table, a row too big, a broken constraint."""


FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)
"""What a call of SQLite raises. The message of an error about a damaged schema quotes it, and if that is not UTF-8 the
sqlite3 module fails to make its exception.
"""
Failure = sqlite3.Error | UnicodeDecodeError


class Damage(Exception):
    """The file as a whole is no sound store: to be salvaged, never shown to a caller."""


def code_of(error: Failure) -> int:
    """SQLite's primary result code, 0 if there is none."""
    if isinstance(error, UnicodeDecodeError):
        return CORRUPT
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_damage(error: Failure) -> bool:
    """Whether this says that the file is no database, or a broken one."""
    return code_of(error) in _DAMAGE


def from_sqlite(path: str, error: Failure) -> StoreError:
    """The store error that an error of SQLite amounts to."""
    code = code_of(error)
    detail = str(error)
    if code == _FULL:
        return StoreFull(path, detail)
    if code in (_READONLY, _PERM):
        return StoreReadOnly(path, detail)
    if code == _BUSY:
        return StoreLocked(path, None)
    if is_damage(error):
        return StoreDamaged(path, detail)
    return StoreIOError(path, detail)


@contextmanager
def reported(path: str) -> Iterator[None]:
    """Raise what SQLite or the operating system raises as a :class:`StoreError`."""
    try:
        yield
    except FAILURES as error:
        raise from_sqlite(path, error) from error
    except OSError as error:
        raise from_os_error(path, error) from error
