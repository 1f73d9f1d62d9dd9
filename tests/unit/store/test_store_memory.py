"""The memory store: snapshots, clones, and what a crash loses."""

from __future__ import annotations

import pytest

from kvnode.core.ticks import Ticks
from kvnode.store.base import StoreIOError, StoreLocked
from kvnode.store.memory import MemoryDisk, MemoryStore, Snapshot
from kvnode.testing.store_contract import EMPTY, INC, Held, persist, read_all, refused


def opened(disk: MemoryDisk) -> MemoryStore:
    store = MemoryStore(disk)
    store.load()
    return store


def held(disk: MemoryDisk) -> Held:
    store = MemoryStore(disk)
    try:
        return read_all(store.load())
    finally:
        store.close()


def test_what_is_staged_is_lost_in_a_crash() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    store.commit([persist(1, {b"a": b"1"})])
    store.stage(persist(2, {b"a": b"2"}, {INC: Ticks.upto(2)}))
    store.stage(persist(3, {b"b": b"3"}))
    assert store.staged == 2
    store.crash()
    assert held(disk) == Held({b"a": b"1"}, {}, {})


def test_sync_makes_it_durable_and_gives_the_token() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    assert store.sync() is None
    for token in (1, 2, 3):
        store.stage(persist(token, {b"a": b"%d" % token, b"%d" % token: b""}))
    assert store.sync(2) == 2
    assert (store.staged, store.sync(0)) == (1, None)
    assert disk.rows == {b"a": b"2", b"1": b"", b"2": b""}
    assert store.sync() == 3
    store.crash()
    assert held(disk).rows == {b"a": b"3", b"1": b"", b"2": b"", b"3": b""}


def test_a_crash_may_find_some_of_it_written() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    for token in (1, 2, 3):
        store.stage(persist(token, {b"%d" % token: b""}))
    store.crash(keep=2)
    assert held(disk).rows == {b"1": b"", b"2": b""}


def test_commit_goes_behind_what_is_staged() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    store.stage(persist(1, {b"a": b"1", b"b": b"1"}))
    store.commit([persist(2, {b"a": b"2"})])
    assert store.staged == 0
    assert disk.rows == {b"a": b"2", b"b": b"1"}


def test_close_loses_what_is_staged() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    store.stage(persist(1, {b"a": b"1"}))
    store.close()
    assert held(disk) == EMPTY


def test_a_failure_keeps_what_is_staged() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    store.stage(persist(1, {b"a": b"1"}))
    disk.failure = StoreIOError(disk.name, "a test says so")
    refused(StoreIOError, store.sync)
    refused(StoreIOError, lambda: store.commit([persist(2, {b"b": b"2"})]))
    disk.failure = None
    assert (store.staged, disk.rows) == (1, {})
    assert store.sync() == 1


def test_a_snapshot_is_put_back_and_does_not_move() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    store.commit([persist(1, {b"a": b"1"}, {INC: Ticks.upto(1)}, {"m": b"1"})])
    snapshot = disk.snapshot()
    store.commit([persist(2, {b"a": None, b"b": b"2"}, {INC: None}, {"m": b"2"})])
    store.close()
    assert snapshot == Snapshot({b"a": b"1"}, {INC: Ticks.upto(1)}, {"m": b"1"})
    disk.restore(snapshot)
    assert held(disk) == Held({b"a": b"1"}, {INC: Ticks.upto(1)}, {"m": b"1"})
    clone = MemoryDisk(snapshot)
    other = opened(clone)
    other.commit([persist(1, {b"c": b"3"})])
    assert held(disk).rows == {b"a": b"1"}
    assert snapshot.rows == {b"a": b"1"}


def test_a_snapshot_keeps_the_doubts() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    store.commit([persist(1, {b"a": b"1"})])
    store.close()
    disk.damage_row(b"a")
    assert held(MemoryDisk(disk.snapshot())).doubts == held(disk).doubts != ()


def test_one_store_per_disk() -> None:
    disk = MemoryDisk(name="attic")
    store = opened(disk)
    error = refused(StoreLocked, lambda: opened(disk))
    assert str(error).startswith("attic: is in use by process ")
    store.crash()
    opened(disk).close()


def test_a_store_without_a_disk_has_one_of_its_own() -> None:
    store = MemoryStore()
    store.load()
    store.commit([persist(1, {b"a": b"1"})])
    assert read_all(store.load()).rows == {b"a": b"1"}


@pytest.mark.parametrize("action", [lambda s: s.stage(persist(1)), lambda s: s.sync(), lambda s: s.commit([])])
def test_load_comes_first(action: object) -> None:
    assert callable(action)
    refused(RuntimeError, lambda: action(MemoryStore()))
