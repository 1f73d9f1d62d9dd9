"""The store contract on all stores, with commits that are dense and such that are not."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partialmethod
from pathlib import Path
from types import ModuleType

import pytest

from kvnode.store import frames
from kvnode.store.base import Store, StoreFull
from kvnode.store.logged import LoggedStore
from kvnode.store.memory import MemoryDisk, MemoryStore
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing import store_contract, store_upkeep_contract
from kvnode.testing.store_contract import CONTRACT, Bench, Check
from kvnode.testing.store_upkeep_contract import UPKEEP
from tests.support.stores import files_limited

SHORT_PAGE = 64


class MemoryBench:
    def __init__(self, _directory: Path) -> None:
        self.disk = MemoryDisk()

    def make(self) -> Store:
        return MemoryStore(self.disk)

    @contextmanager
    def no_room(self, store: Store) -> Iterator[None]:
        self.disk.failure = StoreFull(self.disk.name, "a test says so")
        yield
        self.disk.failure = None

    def damage_row(self, key: bytes) -> None:
        self.disk.damage_row(key)

    def damage_known(self, inc: str) -> None:
        self.disk.damage_known(inc)


class SqliteBench:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "data"

    def make(self) -> Store:
        return SqliteStore(self.directory)

    @contextmanager
    def no_room(self, store: Store) -> Iterator[None]:
        """SQLite's own bound on the file: SQLITE_FULL, as on a full disk."""
        assert isinstance(store, SqliteStore)
        db = store._db
        assert db is not None
        db.execute("PRAGMA max_page_count = 40")
        yield
        db.execute("PRAGMA max_page_count = 1000000")

    def damage_row(self, key: bytes) -> None:
        self._damage("UPDATE rows SET record = CAST(record || 'x' AS BLOB) WHERE key = ?", key)

    def damage_known(self, inc: str) -> None:
        self._damage("UPDATE known SET bounds = zeroblob(length(bounds)) WHERE inc = ?", inc)

    def _damage(self, statement: str, key: bytes | str) -> None:
        with closing(sqlite3.connect(self.directory / FILE_NAME)) as db, db:
            assert db.execute(statement, (key,)).rowcount == 1


class LoggedBench(SqliteBench):
    """What is damaged is damaged in the snapshot; damage to the log is in tests/unit/store/test_store_log.py."""

    def make(self) -> Store:
        return LoggedStore(self.directory)

    @contextmanager
    def no_room(self, store: Store) -> Iterator[None]:
        """As for the snapshot; and no file of this process may become longer than this."""
        assert isinstance(store, LoggedStore)
        with super().no_room(store._snapshot), files_limited(300_000):
            yield


class TinyLoggedBench(LoggedBench):
    """The log is so short that a segment goes to the snapshot after a few commits."""

    def make(self) -> Store:
        return LoggedStore(self.directory, log_bytes=200)


class ShortPagesBench(TinyLoggedBench):
    """Pages are so short that what goes to the log begins a page of its own, and is compressed if dense, if it can."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.pages = pytest.MonkeyPatch()
        self.pages.setattr(frames, "PAGE_BYTES", SHORT_PAGE)
        self.pages.setattr(frames, "_SMALL", 1 << 20)


BENCHES: dict[str, Callable[[Path], Bench]] = {
    "memory": MemoryBench,
    "sqlite": SqliteBench,
    "logged": LoggedBench,
    "logged, tiny": TinyLoggedBench,
    "logged, short pages": ShortPagesBench,
}


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made: Bench = BENCHES[request.param](tmp_path)
    yield made
    if isinstance(made, ShortPagesBench):
        made.pages.undo()


@pytest.fixture(params=[False, True], ids=["plain", "dense"], autouse=True)
def dense(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How all commits are made that do not say it."""
    for kind in (MemoryStore, SqliteStore, LoggedStore):
        monkeypatch.setattr(kind, "commit", partialmethod(kind.commit, dense=request.param))


@pytest.mark.parametrize("check", [*CONTRACT, *UPKEEP], ids=lambda check: check.__name__)
def test_contract(bench: Bench, check: Check) -> None:
    check(bench)


@pytest.mark.parametrize(("module", "listed"), [(store_contract, CONTRACT), (store_upkeep_contract, UPKEEP)])
def test_the_contract_lists_every_check(module: ModuleType, listed: tuple[Check, ...]) -> None:
    checks = [
        f
        for _, f in inspect.getmembers(module, inspect.isfunction)
        if f.__module__ == module.__name__ and list(inspect.signature(f).parameters) == ["bench"]
    ]
    assert set(listed) == set(checks) - {store_contract.held, store_contract.opened}
