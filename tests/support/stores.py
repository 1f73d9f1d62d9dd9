"""Looking into the directory of a SQLite store, as its next process would."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.store_contract import Held, persist, read_all


def held(directory: Path) -> Held:
    """What a process that starts now finds."""
    store = SqliteStore(directory)
    try:
        return read_all(store.load())
    finally:
        store.close()


def answer(directory: Path) -> None:
    """What a process does after doubts: it loads, and commits its known."""
    store = SqliteStore(directory)
    read_all(store.load())
    store.commit([persist(1, meta={"answered": b"yes"})])
    store.close()


def without(mapping: Mapping[Any, Any], *keys: Any) -> dict[Any, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def names(directory: Path) -> set[str]:
    """The files there, but for the lock, which always stays."""
    return set(os.listdir(directory)) - {f"{FILE_NAME}.lock"}


def copied(directory: Path, to: Path) -> Path:
    """The files of a store as they are now, for another process: as if this one were killed."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(directory, to, ignore=shutil.ignore_patterns(to.name))
    return to


@contextmanager
def files_limited(size: int) -> Iterator[None]:
    """While the block runs, no file that this process writes becomes longer than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Died(BaseException):
    """The process ends here."""


def dying_rename(step: int, before: bool) -> Callable[[str, str], None]:
    """In the place of os.rename: the process dies before, or right after, the rename of this number, from 0."""
    left = step
    rename = os.rename

    def dying(source: str, target: str) -> None:
        nonlocal left
        if os.path.exists(source):
            left -= 1
        if left == -1 and before:
            raise Died
        rename(source, target)
        if left == -1:
            raise Died

    return dying
