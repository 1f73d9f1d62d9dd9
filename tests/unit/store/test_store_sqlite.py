"""What is particular to the SQLite store: durability settings, modes of files, its errors, the lock, migrations."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from kvnode.store import files, lock, sqlite
from kvnode.store.base import (
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreIOError,
    StoreLocked,
    StoreReadOnly,
    StoreTooNew,
    from_os_error,
)
from kvnode.store.checks import row_sum
from kvnode.store.migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, migrate, version_of
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.store.sqlite_errors import from_sqlite
from kvnode.store.tables import TALLY_KEY
from kvnode.testing.store_contract import EMPTY, Held, persist, read_all, refused
from tests.support.stores import held


def opened(directory: Path, **options: int) -> SqliteStore:
    store = SqliteStore(directory, **options)
    read_all(store.load())
    return store


def pragma(store: SqliteStore, name: str) -> object:
    assert store._db is not None
    got = store._db.execute(f"PRAGMA {name}").fetchone()[0]
    return got.decode() if isinstance(got, bytearray) else got


# -- settings ----------------------------------------------------------------------------------------------------


def test_a_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert pragma(store, "journal_mode") == "wal"
    assert pragma(store, "synchronous") == 2
    assert store.blocking
    store.close()


def test_the_file_says_what_it_is(filled: Path) -> None:
    with closing(sqlite3.connect(filled / FILE_NAME)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert db.execute("PRAGMA page_size").fetchone() == (files.PAGE_BYTES,)


def test_the_log_is_bounded_and_gone_at_the_end(tmp_path: Path) -> None:
    store = opened(tmp_path)
    log = tmp_path / f"{FILE_NAME}-wal"
    for n in range(120):
        store.commit([persist(n, {b"%d" % (n % 10): os.urandom(100_000)})])
        assert log.stat().st_size < 3 * sqlite.CHECKPOINT_PAGES * files.PAGE_BYTES
    store.commit([persist(999, {b"%d" % n: os.urandom(1_000_000) for n in range(40)})])
    store.commit([persist(999, {b"1": b""})])
    store.commit([persist(999, {b"1": b""})])
    assert log.stat().st_size <= sqlite.WAL_KEPT_BYTES
    store.close()
    assert set(os.listdir(tmp_path)) == {FILE_NAME, f"{FILE_NAME}.lock"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "data"
    before = os.umask(0)
    try:
        store = opened(directory)
        store.commit([persist(1, {b"a": b"1"})])
        assert mode(directory) == 0o700
        assert {mode(directory / name) for name in os.listdir(directory)} == {0o600}
        assert len(os.listdir(directory)) == 3
        store.close()
        (directory / FILE_NAME).write_bytes(b"garbage")
        held(directory)
    finally:
        os.umask(before)
    assert {mode(directory / f"{FILE_NAME}{end}") for end in ("", ".damaged-1", ".lock")} == {0o600}


def test_rights_that_are_too_wide_are_taken_back(filled: Path) -> None:
    (filled / FILE_NAME).chmod(0o644)
    held(filled)
    assert mode(filled / FILE_NAME) == 0o600


def test_a_store_goes_from_thread_to_thread(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)

    def elsewhere(action: Callable[[], object]) -> None:
        thread = threading.Thread(target=action)
        thread.start()
        thread.join()

    elsewhere(store.load)
    elsewhere(lambda: store.commit([persist(1, {b"a": b"1"})]))
    loaded = store.load()
    elsewhere(lambda: store.commit([persist(2, {b"b": b"1"})]))
    refused(RuntimeError, lambda: list(loaded.rows))
    elsewhere(store.close)
    assert held(tmp_path).rows == {b"a": b"1", b"b": b"1"}


def test_rows_are_not_read_across_a_commit(filled: Path) -> None:
    store = SqliteStore(filled)
    rows = iter(store.load().rows)
    next(rows)
    store.commit([persist(1, {b"a": b"1"})])
    refused(RuntimeError, lambda: next(rows))
    late = store.load().rows
    store.load()
    refused(RuntimeError, lambda: list(late))
    store.close()


def test_the_constructor_touches_nothing(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "none").close()
    assert not (tmp_path / "none").exists()


# -- errors ------------------------------------------------------------------------------------------------------


def test_a_bound_on_the_file(tmp_path: Path) -> None:
    store = opened(tmp_path, max_bytes=200_000)
    store.commit([persist(1, {b"a": bytes(100_000)})])
    error = refused(StoreFull, lambda: store.commit([persist(2, {b"b": bytes(100_000)})]))
    assert "full" in str(error)
    store.commit([persist(2, {b"a": None}), persist(3, {b"c": bytes(90_000)})])
    store.close()
    assert set(held(tmp_path).rows) == {b"c"}


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store._db is not None
    store._db.execute("PRAGMA query_only = ON")
    error = refused(StoreReadOnly, lambda: store.commit([persist(1, {b"a": b"1"})]))
    assert "attempt to write a readonly database" in str(error)
    store._db.execute("PRAGMA query_only = OFF")
    store.commit([persist(1, {b"a": b"1"})])
    store.close()


def test_damage_that_shows_while_it_runs(filled: Path, everything: Held) -> None:
    store = opened(filled)
    assert store._db is not None
    store._db.execute("UPDATE rows SET sum = 'x'")
    error = refused(StoreDamaged, lambda: store.commit([persist(1, {min(everything.rows): b"1"})]))
    assert "restart" in str(error)
    assert not store._db.in_transaction
    store._db.execute("DROP TABLE known")
    refused(StoreDamaged, lambda: store.commit([persist(1, known={"a~0000000000000000": None})]))
    store.close()


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = refused(StoreIOError, lambda: held(tmp_path / "file"))
    assert str(error).startswith(str(tmp_path / "file" / FILE_NAME))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StoreFull),
        (sqlite3.SQLITE_READONLY, StoreReadOnly),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreReadOnly),
        (sqlite3.SQLITE_PERM, StoreReadOnly),
        (sqlite3.SQLITE_IOERR, StoreIOError),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreIOError),
        (sqlite3.SQLITE_CANTOPEN, StoreIOError),
        (sqlite3.SQLITE_NOMEM, StoreIOError),
        (sqlite3.SQLITE_BUSY, StoreLocked),
        (sqlite3.SQLITE_BUSY_RECOVERY, StoreLocked),
        (sqlite3.SQLITE_CORRUPT, StoreDamaged),
        (sqlite3.SQLITE_CORRUPT_VTAB, StoreDamaged),
        (sqlite3.SQLITE_NOTADB, StoreDamaged),
        (sqlite3.SQLITE_TOOBIG, StoreDamaged),
    ],
)
def test_what_errors_of_sqlite_mean(code: int, kind: type[StoreError]) -> None:
    error = sqlite3.OperationalError("detail")
    error.sqlite_errorcode = code
    got = from_sqlite("/x/kv.sqlite", error)
    assert type(got) is kind
    assert str(got).startswith("/x/kv.sqlite: ")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("ENOSPC", StoreFull),
        ("EDQUOT", StoreFull),
        ("EROFS", StoreReadOnly),
        ("EACCES", StoreReadOnly),
        ("EIO", StoreIOError),
    ],
)
def test_what_errors_of_the_system_mean(number: str, kind: type[StoreError]) -> None:
    code = getattr(errno, number)
    assert type(from_os_error("/x", OSError(code, os.strerror(code)))) is kind


@pytest.mark.parametrize(
    "error",
    [
        StoreFull("/x", "d"),
        StoreReadOnly("/x", "d"),
        StoreIOError("/x", "d"),
        StoreDamaged("/x", "d"),
        StoreTooNew("/x", 2, 1),
        StoreLocked("/x", 1),
        StoreLocked("/x", None),
    ],
)
def test_an_error_is_one_line_with_the_path_and_the_way_out(error: StoreError) -> None:
    text = str(error)
    assert text == f"/x: {error.what}; {error.way_out}"
    assert "\n" not in text
    assert len(text) < 160


def test_codes_of_errors_are_distinct() -> None:
    kinds = StoreError.__subclasses__()
    assert len({kind.code for kind in kinds} | {StoreError.code}) == len(kinds) + 1


# -- the lock ------------------------------------------------------------------------------------------------------


def test_the_lock_tells_who_holds_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    error = refused(StoreLocked, lambda: held(tmp_path))
    assert error.pid == os.getpid()
    store.close()
    assert held(tmp_path) == EMPTY
    assert (tmp_path / f"{FILE_NAME}.lock").read_bytes() == b""


def test_the_lock_does_not_mix_up_two_holders(tmp_path: Path) -> None:
    (tmp_path / f"{FILE_NAME}.lock").write_bytes(b"99999999999\n")
    store = opened(tmp_path)
    assert refused(StoreLocked, lambda: held(tmp_path)).pid == os.getpid()
    store.close()


def test_a_lock_file_that_tells_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (tmp_path / f"{FILE_NAME}.lock").write_bytes(b"?")
    error = refused(StoreLocked, lambda: held(tmp_path))
    assert error.pid is None
    assert "another program" in str(error)
    store.close()


def test_what_a_dead_process_left_in_the_lock_file_does_not_matter(filled: Path, everything: Held) -> None:
    (filled / f"{FILE_NAME}.lock").write_bytes(b"1\n")
    assert held(filled) == everything


def test_without_file_locks_sqlite_keeps_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_flock", None)
    monkeypatch.setattr(sqlite, "BUSY_S", 0.0)
    store = opened(tmp_path)
    error = refused(StoreLocked, lambda: held(tmp_path))
    assert error.pid is None
    store.commit([persist(1, {b"a": b"1"})])
    store.close()
    assert held(tmp_path).rows == {b"a": b"1"}


def test_another_program_cannot_get_at_an_open_store(filled: Path, everything: Held) -> None:
    store = opened(filled)
    other = sqlite3.connect(filled / FILE_NAME, timeout=0)
    with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("DELETE FROM rows")
    store.close()
    assert held(filled) == everything


def test_a_store_that_another_program_has_open(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.0)
    with closing(sqlite3.connect(filled / FILE_NAME, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        error = refused(StoreLocked, lambda: held(filled))
    assert error.pid is None
    assert not held(filled).doubts


# -- migrations ------------------------------------------------------------------------------------------------------


def add_column(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE meta ADD COLUMN note TEXT")


def fails(db: sqlite3.Connection) -> None:
    db.execute("DROP TABLE meta")
    raise RuntimeError("half-way")


def test_a_file_goes_through_the_steps_it_lacks(filled: Path) -> None:
    with closing(sqlite3.connect(filled / FILE_NAME, isolation_level=None)) as db:
        migrate(db, (*MIGRATIONS, add_column))
        assert version_of(db) == SCHEMA_VERSION + 1
        migrate(db, (*MIGRATIONS, add_column))
        assert db.execute("SELECT count(*) FROM meta WHERE note IS NULL").fetchone() == (6,)


def test_a_step_that_fails_leaves_the_file_as_it_was(filled: Path, everything: Held) -> None:
    with closing(sqlite3.connect(filled / FILE_NAME, isolation_level=None)) as db:
        with pytest.raises(RuntimeError, match="half-way"):
            migrate(db, (*MIGRATIONS, fails, add_column))
        assert version_of(db) == SCHEMA_VERSION
    assert held(filled) == everything


def test_the_steps_of_old_are_never_changed() -> None:
    """The schema that released files have. A new schema is a new step; this text then grows, it does not change."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, MIGRATIONS[:1])
        tables = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master ORDER BY name")]
    assert tables == [
        "CREATE TABLE known (inc TEXT PRIMARY KEY NOT NULL, bounds BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE rows (key BLOB PRIMARY KEY NOT NULL, record BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID",
    ]


def test_a_file_of_the_first_schema_is_taken_over_without_a_doubt(tmp_path: Path) -> None:
    """Its tally names three tables, the fourth is new and empty."""
    rows = {b"a": b"1", b"b": b"2"}
    tally = [(2, row_sum("rows", b"a", b"1") ^ row_sum("rows", b"b", b"2")), (0, 0), (0, 0)]
    encoded = msgspec.msgpack.encode(tally)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as db:
        migrate(db, MIGRATIONS[:1])
        for key, record in rows.items():
            db.execute("INSERT INTO rows VALUES (?, ?, ?)", (key, record, row_sum("rows", key, record)))
        checksum = row_sum("meta", TALLY_KEY, encoded)
        db.execute("INSERT INTO meta VALUES (CAST(? AS TEXT), ?, ?)", (TALLY_KEY, encoded, checksum))
    assert held(tmp_path) == Held(rows, {}, {})
    store = opened(tmp_path)
    store.commit([persist(1, {b"b": None}, quarantine={1: b"aside"})])
    store.close()
    assert held(tmp_path) == Held({b"a": b"1"}, {}, {}, (), {1: b"aside"})


def test_numbers_of_damaged_files_go_on(tmp_path: Path) -> None:
    path = str(tmp_path / FILE_NAME)
    assert files.next_number(path, files.SALVAGED) == 1
    for name in ("damaged-9", "damaged-11-wal", "damaged-x", "other"):
        (tmp_path / f"{FILE_NAME}.{name}").write_text("")
    assert files.next_number(path, files.SALVAGED) == 12
    assert files.next_number(path, files.RESTORED) == 1
