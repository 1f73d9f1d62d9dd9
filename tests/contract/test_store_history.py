"""What every store does with versions of the past: keep them with the change, prune them, give them newest first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath

import pytest

from kvnode.core.effects import Persist
from kvnode.core.entry import Version, body_of
from kvnode.core.history import Keep, Past, past_of, place_at, read_past, row_key, rows_end
from kvnode.core.path import Path
from kvnode.core.stamp import stamp_of
from kvnode.core.ticks import Dot
from kvnode.store import LoggedStore, MemoryDisk, MemoryStore, SqliteStore, Store, StoreFull
from kvnode.store.sqlite import PRUNED_AT_ONCE

INC = "a~0123456789abcdef"
OTHER = "b~0123456789abcdef"
X, BELOW, BESIDE = Path.parse("x"), Path.parse("x.y"), Path.parse("x.:255")
ALL = Keep(1_000)
Make = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", "logged"])
def make(request: pytest.FixtureRequest, tmp_path: FilePath) -> Make:
    """Opens the same store, again and again."""
    disk = MemoryDisk()
    kinds: dict[str, Make] = {
        "memory": lambda: MemoryStore(disk),
        "sqlite": lambda: SqliteStore(tmp_path),
        "logged": lambda: LoggedStore(tmp_path),
    }
    return kinds[request.param]


def past(tick: int, path: Path = X, keep: Keep = ALL, *, inc: str = INC, now_ms: int = 0) -> Past:
    """A version of the second `tick`, replaced by the next one."""
    version = Version.make(Dot(inc, tick), {}, body_of(path, stamp_of(tick * 1_000), b"\x01"))
    return past_of(version, Dot(inc, tick + 1), keep, now_ms)


def commit(store: Store, *items: Past) -> None:
    store.commit([Persist(1, {}, {}, {}, {}, items)])


def ticks(store: Store, path: Path = X, limit: int = 10_000) -> list[int]:
    rows = store.past(row_key(path.key), rows_end(path.key), limit)
    return [read_past(record)[0].tick for _, record in rows]


def test_the_past_comes_newest_first_and_outlives_the_process(make: Make) -> None:
    store = make()
    store.load()
    commit(store, past(1), past(3))
    commit(store, past(2), past(300, BELOW), past(7, BESIDE))
    store.close()
    store = make()
    assert store.load().doubts == ()
    assert (ticks(store), ticks(store, BELOW), ticks(store, BESIDE)) == ([3, 2, 1], [300], [7])
    assert ticks(store, limit=2) == [3, 2]
    ((key, record),) = store.past(row_key(X.key), row_key(X.key, place_at(2_000)), 9)
    version, by = read_past(record)
    assert (version.tick, by, key) == (1, Dot(INC, 2), past(1).key)
    store.close()


def test_a_path_keeps_as_many_as_asked(make: Make) -> None:
    store = make()
    store.load()
    for tick in range(1, 9):
        commit(store, past(tick, keep=Keep(3)), past(tick, BELOW, Keep(2)))
    assert (ticks(store), ticks(store, BELOW)) == ([8, 7, 6], [8, 7])
    store.close()
    assert make().load().doubts == ()


def test_a_path_keeps_as_long_as_asked(make: Make) -> None:
    store = make()
    store.load()
    for tick in range(1, 9):
        commit(store, past(tick, keep=Keep(100, 3_000), now_ms=tick * 1_000))
    assert ticks(store) == [8, 7, 6, 5]
    store.close()


def test_pruning_is_bounded_at_a_time(make: Make) -> None:
    store = make()
    store.load()
    commit(store, *(past(tick) for tick in range(1, 301)))
    commit(store, past(301, keep=Keep(5)))
    if isinstance(store, SqliteStore):
        assert len(ticks(store)) == 301 - PRUNED_AT_ONCE
    for tick in range(302, 306):
        commit(store, past(tick, keep=Keep(5)))
        assert ticks(store)[0] == tick  # a log is put into the snapshot to tell
    assert ticks(store)[:5] == [305, 304, 303, 302, 301]
    assert len(ticks(store)) == 5
    store.close()


def test_concurrent_versions_of_one_stamp_are_both_kept(make: Make) -> None:
    store = make()
    store.load()
    commit(store, past(1), past(1, inc=OTHER))
    commit(store, past(1))
    assert ticks(store) == [1, 1]
    store.close()


def test_rows_are_taken_off_the_record(make: Make) -> None:
    store = make()
    store.load()
    commit(store, past(1), past(2), past(1, BELOW))
    store.forget_past([past(1).key, past(1, BELOW).key, past(9).key])
    assert (ticks(store), ticks(store, BELOW)) == ([2], [])
    store.close()
    store = make()
    assert store.load().doubts == ()
    assert ticks(store) == [2]
    store.close()


def test_what_waits_for_a_failing_disk_is_bounded() -> None:
    disk = MemoryDisk()
    store = MemoryStore(disk)
    store.load()
    disk.failure = StoreFull("memory", "for a test")
    batches = [Persist(n, {}, {}, {}, {}, [past(n, keep=Keep(3)), past(n, BELOW, Keep(2))]) for n in range(1, 50)]
    from kvnode.node.writer import merged

    whole = merged(batches)
    assert [p.place for p in whole.past if p.path_key == X.key] == [past(n).place for n in (47, 48, 49)]
    assert len(whole.past) == 5
    with pytest.raises(StoreFull):
        store.forget_past([past(1).key])


def test_the_past_is_in_a_backup(make: Make, tmp_path: FilePath) -> None:
    store = make()
    store.load()
    commit(store, past(1), past(2))
    (tmp_path / "copy").mkdir()
    with store.backup() as copy:
        (tmp_path / "copy" / "kv.sqlite").write_bytes(copy.read())
    store.close()
    other = SqliteStore(tmp_path / "copy")
    assert other.load().doubts == ()
    assert ticks(other) == [2, 1]
    other.close()
