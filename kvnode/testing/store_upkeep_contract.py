"""What every store must do besides keeping rows, as part of :mod:`.store_contract`: backup and compact."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from kvnode.core.ticks import Ticks
from kvnode.store.check import check
from kvnode.store.sqlite import FILE_NAME, SqliteStore

from .store_contract import EMPTY, INC, Bench, Check, Held, commit, held, opened, persist, read_all, refused


def held_in(backup: BinaryIO) -> Held:
    """What a process finds that starts with this backup for its store. It must pass the check of a store file."""
    with TemporaryDirectory() as directory, backup:
        path = Path(directory) / FILE_NAME
        path.write_bytes(backup.read())
        assert not [finding for finding in check(str(path)).findings if finding.kind in ("file", "tally", "meta")]
        store = SqliteStore(directory)
        try:
            return read_all(store.load())
        finally:
            store.close()


def a_backup_holds_what_is_committed(bench: Bench) -> None:
    """Of the moment at which it was made, all of it; neither store is disturbed by the other."""
    known = {INC: Ticks.of(1, 2, 5)}
    before = Held({b"a": b"1", b"large": bytes(1 << 20)}, known, {"m": b"1"}, quarantine={3: b"q"})
    with opened(bench) as store:
        assert held_in(store.backup()) == EMPTY
        store.commit([persist(1, before.rows, known, before.meta, before.quarantine), persist(2, {b"a": b"1"})])
        backup = store.backup()
        store.commit([persist(3, {b"a": b"2", b"large": None}, {INC: None}, {"m": b"2"})])
        assert held_in(backup) == before
        assert held_in(store.backup()).rows == {b"a": b"2"}
    assert held(bench).rows == {b"a": b"2"}


def a_backup_of_a_store_in_doubt_is_in_doubt(bench: Bench) -> None:
    """As long as no commit has answered them."""
    commit(bench, persist(1, {b"a": b"1", b"b": b"2"}))
    bench.damage_row(b"b")
    with opened(bench) as store:
        with store.backup() as backup, TemporaryDirectory() as directory:
            (Path(directory) / FILE_NAME).write_bytes(backup.read())
            copy = SqliteStore(directory)
            found = read_all(copy.load())
            copy.close()
        assert (found.rows, len(found.doubts)) == ({b"a": b"1"}, 1)
        store.commit([persist(1, {b"c": b"3"})])
        assert held_in(store.backup()) == Held({b"a": b"1", b"c": b"3"}, {}, {})


def compacting_loses_nothing(bench: Bench) -> None:
    """It tells sizes that do not grow; commits go on after it, and what was removed takes no room any more."""
    rows = {b"%04d" % n: bytes(1000) for n in range(1_000)}
    with opened(bench) as store:
        store.commit([persist(1, rows, {INC: Ticks.upto(9)})])
        store.commit([persist(2, dict.fromkeys(list(rows)[:-10]))])
        before, after = store.compact()
        assert 0 <= after <= before
        assert after < 100_000
        assert read_all(store.load()).rows == dict(list(rows.items())[-10:])
        store.commit([persist(3, {b"a": b"1"})])
    assert held(bench) == Held(dict([*list(rows.items())[-10:], (b"a", b"1")]), {INC: Ticks.upto(9)}, {})


def a_store_must_be_open_for_upkeep(bench: Bench) -> None:
    """As for a commit."""
    store = bench.make()
    refused(RuntimeError, store.backup)
    refused(RuntimeError, store.compact)


UPKEEP: Final[tuple[Check, ...]] = (
    a_backup_holds_what_is_committed,
    a_backup_of_a_store_in_doubt_is_in_doubt,
    compacting_loses_nothing,
    a_store_must_be_open_for_upkeep,
)
"""Every check, in the order of this file."""
