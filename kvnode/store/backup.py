"""Backups of a store: one file, complete and checked before it gets its name; and what puts one back.

A backup is a store file like any other, without a log beside it. The store that is put back is an older state of a
node: its next process mints a new incarnation, so no tick is used twice, and the peers give it what it lacks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO, Final

from . import files
from .base import StoreError, StoreExists, StoreReadOnly
from .check import Level, Report, check, present, read_only
from .fold import whole_copy
from .lock import FileLock
from .sqlite import FILE_NAME
from .sqlite_errors import reported

_PART: Final = ".part"
"""Ends the name of a backup that is not complete."""


class BadBackup(StoreError):
    """A file that cannot serve as a backup; `report` says all that is wrong with it."""

    code = "bad_backup"

    def __init__(self, path: str, report: Report) -> None:
        first = next(finding for finding in report.findings if finding.level is Level.ERROR)
        where = f"{first.path}: " if first.path else ""
        more = f" and {report.errors - 1} more" if report.errors > 1 else ""
        super().__init__(
            path, f"is damaged ({where}{first.text}{more})", "take another one; 'kv store check' tells more"
        )
        self.report = report


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock of the store at `path`: no node opens it. Where no lock file can be made, none can run anyway."""
    present(path)
    lock = FileLock(path)
    with contextlib.suppress(StoreReadOnly):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def receive(target: str, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A new file to write a backup into. At the end of the block it is synced, checked, and named `target`; if that or
    the block fails, nothing of it stays. Raises :class:`.base.StoreError`.
    """
    with _part(target, overwrite=overwrite) as part:
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, files.FILE_MODE)
        with open(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)


def copy_of_store(path: str, target: str, *, overwrite: bool = False) -> None:
    """Write a backup of the store file `path`, which no node may have open, to `target`. Raises
    :class:`.base.StoreError`.
    """
    with locked(path), _part(target, overwrite=overwrite) as part, read_only(path) as db:
        files.build(part, whole_copy(db, path))


@contextlib.contextmanager
def _part(target: str, *, overwrite: bool) -> Iterator[str]:
    """The name of a file that shall become `target`."""
    target = os.path.abspath(target)
    part = f"{target}{_PART}"
    with reported(target):
        if not overwrite and os.path.lexists(target):
            raise StoreExists(target)
        _remove(part)
        try:
            yield part
            report = check(part)
            if not report.is_sound:
                raise BadBackup(target, report)
            os.rename(part, target)
        except BaseException:
            _remove(part)
            raise
        files.sync_directory(os.path.dirname(target))


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def restore(source: str, directory: str, *, force: bool = False) -> str | None:
    """Put the backup `source` in the place of the store in `directory`, which no node may have open.

    A store that is there already is replaced only with `force`, and kept: gives its new name, None if there was none.
    Raises :class:`.base.StoreError`, and nothing has changed then.
    """
    source = os.path.abspath(source)
    report = check(source)
    if not report.is_sound:
        raise BadBackup(source, report)
    path = os.path.join(os.path.abspath(directory), FILE_NAME)
    with reported(path):
        files.ensure_directory(os.path.dirname(path))
        lock = FileLock(path)
        lock.acquire()
        try:
            files.finish_swaps(path)
            number = files.next_number(path, files.RESTORED)
            old = os.path.exists(path) or files.has_side_files(path)
            if old and not force:
                raise StoreExists(path)
            with read_only(source) as db:
                files.replace(path, files.RESTORED, number, whole_copy(db, source))
        finally:
            lock.release()
    return f"{path}.{files.ASIDE[files.RESTORED]}-{number}" if old else None
