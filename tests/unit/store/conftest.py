"""A filled SQLite store to break, and ways to break it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kvnode.core.path import Path as KvPath
from kvnode.core.ticks import Ticks
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.store_contract import INC, Held, persist, read_all
from tests.support.records import COUNT, entries, store_of, version

RANDOM = random.Random(20)
ROWS = {
    KvPath(("home", n % 7, f"sensor{n}")).key: RANDOM.randbytes(RANDOM.choice((10, 250, 250, 3000))) for n in range(300)
}
KNOWN = {f"node{n}~{n:016x}": Ticks.of_sorted(range(1, 2 + 3 * n, 2)) for n in range(40)}
META = {f"name{n}": RANDOM.randbytes(20) for n in range(5)}
ASIDE = {n: RANDOM.randbytes(200) for n in range(3, 9)}
EVERYTHING = Held(ROWS, KNOWN, META, (), ASIDE)

Raw = Callable[..., int]


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, in two rounds so that pages were rewritten, and copied for each test."""
    directory = tmp_path_factory.mktemp("master")
    store = SqliteStore(directory)
    read_all(store.load())
    keys = list(ROWS)
    for start in range(0, len(keys), 40):
        store.commit([persist(1, {key: ROWS[key] + b" before" for key in keys[start : start + 40]})])
    store.commit([persist(2, ROWS, KNOWN, META, ASIDE)])
    store.close()
    return directory


@pytest.fixture
def filled(master: Path, tmp_path: Path) -> Path:
    """The directory of a store that holds EVERYTHING."""
    directory = tmp_path / "data"
    directory.mkdir()
    shutil.copy(master / FILE_NAME, directory / FILE_NAME)
    return directory


@pytest.fixture
def everything() -> Held:
    return EVERYTHING


@pytest.fixture
def raw(filled: Path) -> Raw:
    """Run a statement on the file behind the store's back; gives the number of rows that changed."""

    def run(statement: str, *args: Any) -> int:
        with closing(sqlite3.connect(filled / FILE_NAME)) as db, db:
            return db.execute(statement, args).rowcount

    return run


@pytest.fixture(scope="session")
def sound_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with COUNT real entries, not to be changed."""
    rows = entries(*(version(tick) for tick in range(1, COUNT + 1)))
    batch = persist(1, rows, {INC: Ticks.upto(COUNT)}, {"doubted": b"0"})
    return store_of(tmp_path_factory.mktemp("sound"), batch)
