"""The log in front of a store: torn, cut, bent, swapped, left over; and a disk that fails under it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partialmethod
from mmap import mmap
from pathlib import Path
from random import Random
from sqlite3 import Connection, connect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.effects import Persist
from kvnode.core.entry import encode_record
from kvnode.core.history import Past
from kvnode.core.path import Path as KvPath
from kvnode.core.ticks import Ticks
from kvnode.store import frames as frames_module
from kvnode.store import logged, segments
from kvnode.store.backup import copy_of_store, restore
from kvnode.store.base import Batch, StoreDamaged, StoreError, StoreFull, StoreIOError
from kvnode.store.check import check
from kvnode.store.checks import Tally
from kvnode.store.files import LOG_FILES, PAGE_BYTES, Fill
from kvnode.store.frames import (
    EPOCH_BYTES,
    HEADER_BYTES,
    MAGIC,
    PACKED,
    encode,
    read,
    records_in,
    scan,
    span_of,
)
from kvnode.store.logged import LOG_BYTES, LoggedStore, bound_of
from kvnode.store.migrations import SCHEMA_VERSION
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.store.tables import put_tally
from kvnode.testing.damage import tear_log
from kvnode.testing.store_contract import INC, OTHER, Held, persist, read_all, refused
from tests.support.records import path_of, version
from tests.support.stores import copied, files_limited, names

EPOCH = b"E" * EPOCH_BYTES
FILES = {FILE_NAME, *(f"{FILE_NAME}{suffix}" for suffix in LOG_FILES)}


def held(directory: Path) -> Held:
    """What a process that starts now finds; it is killed then, and leaves everything as it was."""
    store = LoggedStore(directory)
    try:
        return read_all(store.load())
    finally:
        store._release()


def loaded(directory: Path, *, max_bytes: int | None = None, log_bytes: int = LOG_BYTES) -> LoggedStore:
    store = LoggedStore(directory, max_bytes=max_bytes, log_bytes=log_bytes)
    read_all(store.load())
    return store


def row(number: int) -> tuple[bytes, bytes | None]:
    """What the commit of this number does to its row: each has one in five, every ninth removes it."""
    of = version(number, path=KvPath(("home", number % 5)))
    return of.key, encode_record((of,)) if number % 9 else None


def change(number: int) -> Held:
    """What a store holds after so many commits."""
    rows: dict[bytes, bytes] = {}
    for key, record in map(row, range(1, number + 1)):
        rows.pop(key, None)
        if record is not None:
            rows[key] = record
    if not number:
        return Held({}, {}, {})
    return Held(rows, {INC: Ticks.upto(number)}, {"last": b"%d" % number})


def commit(store: LoggedStore, number: int) -> None:
    store.commit([persist(number, dict([row(number)]), {INC: Ticks.upto(number)}, {"last": b"%d" % number})])


@pytest.fixture(scope="module", autouse=True, params=[PAGE_BYTES, 64])
def page_bytes(request: pytest.FixtureRequest) -> Iterator[int]:
    """With short pages most frames begin at a page; and commits are dense then, most of them compressed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames_module, "PAGE_BYTES", request.param)
        if request.param < PAGE_BYTES:
            patch.setattr(LoggedStore, "commit", partialmethod(LoggedStore.commit, dense=True))
        yield request.param


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory, page_bytes: int) -> Path:
    """The directory of a killed process: one commit in the snapshot, 19 in a segment, 10 in the other."""
    directory = tmp_path_factory.mktemp("master")
    store = loaded(directory / "running")
    for number in range(1, 31):
        commit(store, number)
        if number == 20:
            assert store._log is not None
            store._log.turn()
    copied(directory / "running", directory / "killed")
    store.close()
    return directory / "killed"


@pytest.fixture
def killed(master: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return copied(master, tmp_path / "killed")


def left(directory: Path) -> set[str]:
    """The files there, but for the lock and SQLite's journal, in which there is nothing."""
    journals = {name for name in names(directory) if name.endswith("-journal")}
    assert all((directory / name).stat().st_size == 0 for name in journals)
    return names(directory) - journals


def frames(path: Path) -> list[tuple[int, int]]:
    """Where each frame of a segment begins and ends."""
    data = path.read_bytes()
    first = read(data, 0)
    assert first is not None
    return [(frame.start, frame.end) for frame in scan(data, first.epoch)]


def log_of(directory: Path, number: int) -> Path:
    return directory / f"{FILE_NAME}{LOG_FILES[number]}"


# -- frames ------------------------------------------------------------------------------------------------------


def test_a_frame_is_found_again() -> None:
    batch = Batch(
        [persist(1, {b"a": b"1", b"b": None, b"": b""}, {INC: Ticks.of(1, 5), OTHER: None}, {"m": b"2"}, {7: None})]
    )
    frame, data = encode(EPOCH, 5, 128, batch)
    assert read(data, 0, base=128) == frame
    assert (frame.seq, frame.start, frame.end) == (5, 128, 128 + len(data))
    assert {key: span_of(place) for key, place in frame.places(7) if place >= 0} == {b"a": (7, 8), b"": (8, 8)}
    records = records_in(data, base=128)
    assert records is not None
    assert bytes(records) == b"1"
    assert frame.known() == {INC: Ticks.of(1, 5), OTHER: None}
    assert (frame.head.meta, frame.head.quarantine) == ({"m": b"2"}, {7: None})


def test_a_frame_that_was_moved_is_none() -> None:
    """Such as one that a value holds."""
    _, data = encode(EPOCH, 5, 128, Batch([persist(1, {b"a": b"1"})]))
    assert read(data, 0, base=129) is None
    assert list(scan(data, EPOCH)) == []


def test_sound_frames_behind_a_damaged_one_are_found() -> None:
    data, starts = b"", []
    for seq in range(4):
        frame, encoded = encode(EPOCH, seq, len(data), Batch([persist(1, {b"a": b"%d" % seq})]))
        starts.append(frame.start)
        data = data.ljust(frame.start, b"?") + encoded
    bent = bytearray(data)
    bent[starts[1] + HEADER_BYTES + 3] ^= 1
    assert [frame.seq for frame in scan(data, EPOCH)] == [0, 1, 2, 3]
    assert [frame.seq for frame in scan(bytes(bent), EPOCH)] == [0, 2, 3]
    assert not list(scan(data, b"F" * EPOCH_BYTES))


def many(count: int, value: Callable[[int], bytes] = lambda n: b"%064d" % n) -> Batch:
    """Short records at paths that have much in common."""
    return Batch([persist(1, {KvPath(("home", "room", f"sensor{n}")).key: value(n) for n in range(count)})])


def test_what_takes_fewer_pages_compressed_is(page_bytes: int) -> None:
    batch = many(100)
    frame, data = encode(EPOCH, 5, 0, batch, dense=True)
    assert data.startswith(PACKED)
    assert len(data) < frame.size // 2
    assert read(data, 0) == frame
    records = records_in(data, base=0)
    assert records is not None
    assert bytes(records) == b"".join(filter(None, batch.rows.values()))
    assert frame.record_bytes == len(records) == 6_400
    assert [found.seq for found in scan(b"kvl" + EPOCH + data, EPOCH)] == [], "it was moved"


@pytest.mark.parametrize(
    "batch",
    [
        Batch([persist(1, {b"a": b""})]),
        many(3_000, lambda n: bytes(100)),
        Batch([persist(1, {b"%d" % n: bytes(600) for n in range(10)})]),
        Batch([persist(1, {b"%d" % n: Random(n).randbytes(400) for n in range(11)})]),
    ],
    ids=["it takes a page anyway", "long", "large records", "nothing repeats"],
)
def test_what_is_not_worth_it_is_not_compressed(batch: Batch) -> None:
    _, data = encode(EPOCH, 5, 0, batch, dense=True)
    assert data.startswith(MAGIC)


def test_what_need_not_be_dense_is_not_compressed() -> None:
    batch = many(100)
    plain, dense = (encode(EPOCH, 5, 0, batch, dense=dense) for dense in (False, True))
    assert plain[1].startswith(MAGIC)
    assert len(plain[1]) == plain[0].size == dense[0].size > 2 * len(dense[1])


def test_a_dense_commit_takes_fewer_bytes_of_the_log(tmp_path: Path) -> None:
    took: dict[bool, int] = {}
    for dense in (False, True):
        store = loaded(tmp_path / str(dense))
        commit(store, 1)
        before = log_of(tmp_path / str(dense), 0).read_bytes()
        store.commit([persist(2, dict(many(100).rows))], dense=dense)
        after = log_of(tmp_path / str(dense), 0).read_bytes()
        assert (PACKED in after) is dense
        took[dense] = len(after.rstrip(b"\0")) - len(before.rstrip(b"\0"))
        store.close()
    assert 0 < took[True] < took[False] / 2


def test_a_frame_begins_at_a_page_where_that_is_a_page_less(page_bytes: int) -> None:
    records: list[tuple[int, int, int]] = []
    random, end = Random(5), 0
    for seq in range(300):
        batch = Batch([persist(1, {b"a": random.randbytes(random.randrange(3 * page_bytes))})])
        frame, data = encode(EPOCH, seq, end, batch)
        records.append((end, frame.start, len(data)))
        end = frame.end
    for before, start, size in records:
        touched = (start + size - 1) // page_bytes - start // page_bytes + 1
        assert touched == -(-size // page_bytes) or start == before
        assert start - before < page_bytes
    assert any(start > before for before, start, _ in records)
    assert any(start == before for before, start, _ in records[1:])


def test_a_frame_of_schema_4_reads() -> None:
    """As 0.2 wrote it before frames were compressed."""
    data = bytes.fromhex(
        "6b766cf54545454545454545070000000000000034000000050000004c3d23b38e3acaf99693c40161c40162c401639305ff0081b66174"
        "7469637e30313233343536373839616263646566940102050681a16dc4013280906669727374"
    )
    (frame,) = scan(bytes(100) + data, EPOCH)
    assert (frame.seq, frame.start, frame.end, frame.size) == (7, 100, 100 + len(data), len(data))
    assert dict(frame.places(0)) == {b"a": 5, b"b": -1, b"c": 5 << 32}
    records = records_in(data, base=100)
    assert records is not None
    assert bytes(records) == b"first"
    assert (frame.known(), frame.head.meta) == ({"attic~0123456789abcdef": Ticks.of(1, 5)}, {"m": b"2"})


def test_a_log_of_schema_4_goes_on(tmp_path: Path) -> None:
    """Its commits are read, and those that follow may be compressed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames_module, "_MOST_PACKED", 0)
        patch.setattr(frames_module, "_start", lambda end, size: end)
        store = loaded(tmp_path / "a")
        for number in range(1, 10):
            commit(store, number)
        killed = copied(tmp_path / "a", tmp_path / "killed")
        store.close()
    with closing(connect(killed / FILE_NAME)) as db:
        db.execute("PRAGMA user_version = 4")
    assert not set(re.findall(rb"kvl[\xf0-\xff]", log_of(killed, 0).read_bytes())) - {MAGIC}
    store = loaded(killed)
    for number in range(10, 20):
        commit(store, number)
    store.commit([persist(20, dict(many(100).rows))], dense=True)
    assert PACKED in log_of(killed, 0).read_bytes()
    found = held(copied(killed, tmp_path / "again"))
    assert not found.doubts
    assert found.rows == change(19).rows | many(100).rows
    with closing(connect(tmp_path / "again" / FILE_NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    store.close()


def test_a_torn_commit_is_found_where_it_stands(tmp_path: Path) -> None:
    """What the damage of testing tears is the last one, compressed or not."""
    store = loaded(tmp_path / "a")
    commit(store, 1)
    for number in range(2, 4):
        batch = many(100, lambda n, number=number: b"%d" % number * 60)
        store.commit([persist(number, dict(batch.rows))], dense=number == 3)
    killed = copied(tmp_path / "a", tmp_path / "b")
    store.close()
    before = held(copied(killed, tmp_path / "c"))
    tear_log(killed, Random(1))
    after = held(killed)
    assert after.rows.keys() == before.rows.keys()
    assert set(before.rows.values()) - set(after.rows.values()) == {b"3" * 60}


def test_what_is_sound_and_does_not_uncompress_is_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module.zlib, "compress", lambda body, level: b"x" * 20)
    _, data = encode(EPOCH, 5, 0, many(100), dense=True)
    assert data.startswith(PACKED)
    assert read(data, 0) is None
    assert records_in(data, base=0) is None
    assert list(scan(data, EPOCH)) == []


def test_commits_of_many_small_records_are_held_and_read_back(tmp_path: Path) -> None:
    """Compressed or not, in the log, in the snapshot, and by a look from outside."""
    random, rows, tick = Random(6), dict[bytes, bytes](), 0
    store = loaded(tmp_path / "a", log_bytes=30_000)
    for number in range(1, 60):
        batch: dict[bytes, bytes | None] = {}
        for _ in range(random.choice((1, 3, 90))):
            tick += 1
            of = version(tick, path=KvPath(("home", f"sensor{random.randrange(400)}")))
            batch[of.key] = random.choice((None, encode_record((of,))))
        store.commit([persist(number, batch, {INC: Ticks.upto(tick)})], dense=random.random() < 0.7)
        for key, record in batch.items():
            rows.pop(key, None)
            if record is not None:
                rows[key] = record
        if number % 20 == 0:
            copy = copied(tmp_path / "a", tmp_path / f"copy{number}")
            assert held(copy) == Held(rows, {INC: Ticks.upto(tick)}, {})
            assert dict(store.read_back(b"", 1_000)) == rows
            assert check(str(copy / FILE_NAME)).is_sound
    store.close()
    assert held(tmp_path / "a").rows == rows


# -- what a killed process leaves ----------------------------------------------------------------------------------


def test_all_of_it_is_there(killed: Path) -> None:
    assert held(killed) == change(30)
    assert left(killed) == FILES
    assert not check(str(killed / FILE_NAME)).findings
    store = loaded(killed)
    for number in range(31, 40):
        commit(store, number)
    assert held(copied(killed, killed.parent / "again")) == change(39)
    store.close()
    assert left(killed) == {FILE_NAME}
    assert held(killed) == change(39)


def test_many_rows_come_in_order(tmp_path: Path) -> None:
    """However they came into the log."""
    keys = [b"%d" % n for n in range(5_000)]
    Random(3).shuffle(keys)
    store = loaded(tmp_path / "a")
    commit(store, 1)
    store.commit([persist(2, dict.fromkeys(keys, b"1"))])
    found = held(copied(tmp_path / "a", tmp_path / "b"))  # reading checks the order
    store.close()
    assert len(found.rows) == 5_001


def test_a_commit_that_was_half_written_is_passed_over(killed: Path) -> None:
    """At every byte of the last frame; what follows goes over it."""
    log = log_of(killed, 1)
    data = log.read_bytes()
    start, end = frames(log)[-1]
    epoch = read(data, 0).epoch  # type: ignore[union-attr]  # it is there
    for at in range(start, end):
        torn = data[:at] + bytes(byte ^ 0x55 for byte in data[at:end]) + data[end:]
        assert [frame.end for frame in scan(torn, epoch)][-1] == start
        if at % 40 == 0:
            log.write_bytes(torn)
            assert held(killed) == change(29)
    log.write_bytes(data[: end - 2])
    store = loaded(killed)
    commit(store, 30)
    commit(store, 31)
    assert held(copied(killed, killed.parent / "again")) == change(31)
    store.close()


def test_a_damaged_commit_with_sound_ones_behind_it_is_a_doubt(killed: Path) -> None:
    log = log_of(killed, 1)
    start, end = frames(log)[4]
    data = bytearray(log.read_bytes())
    data[(start + end) // 2] ^= 4
    log.write_bytes(data)
    told = f"{killed / FILE_NAME}: 1 commits in its log are damaged or missing"
    found = held(killed)
    assert found.doubts == (told,)
    assert found.meta == change(30).meta
    assert [f.text for f in check(str(killed / FILE_NAME)).findings if f.kind == "log"] == [told.partition(": ")[2]]
    assert held(killed) == found, "as long as no commit has answered"
    store = loaded(killed)
    store.commit([persist(1, {b"new": b"1"}, {INC: Ticks.of(1)})])
    assert {name for name in names(killed) if "damaged" in name} == {f"{FILE_NAME}.damaged-1{s}" for s in LOG_FILES}
    assert (killed / f"{FILE_NAME}.damaged-1-log1").read_bytes() == bytes(data)
    again = held(copied(killed, killed.parent / "again"))
    store.close()
    assert again == held(killed)
    assert (again.rows, again.known, again.doubts) == ({**found.rows, b"new": b"1"}, {INC: Ticks.of(1)}, ())


@given(st.integers(0, 1), st.integers(0, 1 << 30), st.integers(0, 7))
def test_a_bit_anywhere(master: Path, number: int, at: int, bit: int) -> None:
    """What is left is an earlier state, or there is a doubt."""
    with tempfile.TemporaryDirectory() as name:
        bent = copied(master, Path(name) / "bent")
        log = log_of(bent, number)
        data = bytearray(log.read_bytes())
        data[at % frames(log)[-1][1]] ^= 1 << bit
        log.write_bytes(data)
        found = held(bent)
        assert found.doubts or found == change(29)
        assert check(str(bent / FILE_NAME)).is_sound == (not found.doubts)


def test_doubts_about_the_snapshot_are_answered_there(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that only went to the log would leave them to the next process."""
    with closing(connect(killed / FILE_NAME)) as db, db:
        assert db.execute("UPDATE rows SET record = x'00'").rowcount
    store = loaded(killed, log_bytes=10)
    writers = []
    write = store._snapshot.write

    def noted(put: Fill) -> None:
        writers.append(threading.current_thread())
        write(put)

    monkeypatch.setattr(store._snapshot, "write", noted)
    commit(store, 31)
    assert writers == [threading.current_thread()], "a segment that goes there first would answer them, too"
    again = copied(killed, killed.parent / "again")
    store.close()
    assert held(again).doubts == ()


def test_upkeep_answers_no_doubts(killed: Path) -> None:
    """And loses nothing of what is told."""
    log_of(killed, 0).unlink()
    found = held(killed)
    store = loaded(killed)
    store.compact()
    with store.backup() as backup:
        (killed.parent / "backup").mkdir()
        (killed.parent / "backup" / FILE_NAME).write_bytes(backup.read())
    assert held(copied(killed, killed.parent / "again")).doubts == tuple(
        line.replace("killed", "again") for line in found.doubts
    )
    store.close()
    assert held(killed) == found
    of_backup = held(killed.parent / "backup")
    assert (of_backup.rows, of_backup.doubts) == (found.rows, found.doubts)


@pytest.mark.parametrize("gone", [(0,), (1,), (0, 1)])
def test_a_log_that_is_gone_is_a_doubt(killed: Path, gone: tuple[int, ...]) -> None:
    for number in gone:
        log_of(killed, number).unlink()
    doubts = held(killed).doubts
    for number in gone:
        assert f"{killed / FILE_NAME}: its log {FILE_NAME}{LOG_FILES[number]} is gone" in doubts
    store = loaded(killed)
    store.commit([persist(1, {b"a": b"1"})])
    store.close()
    assert held(killed).doubts == ()


def test_a_segment_that_was_cut_in_the_middle_of_the_log_is_a_doubt(killed: Path) -> None:
    log = log_of(killed, 0)
    os.truncate(log, frames(log)[10][0])
    assert held(killed).doubts == (f"{killed / FILE_NAME}: 9 commits in its log are damaged or missing",)


# -- old and new beside each other ---------------------------------------------------------------------------------


def test_an_old_log_beside_a_newer_snapshot_is_passed_over(killed: Path) -> None:
    """As when the process dies after a segment went to the snapshot, and before its file is used again."""
    before = copied(killed, killed.parent / "before")
    store = loaded(killed)
    assert store._log is not None
    store._settle(store._log, Batch([persist(31, {b"new": b"1"})]))
    for suffix in LOG_FILES:
        shutil.copy(before / f"{FILE_NAME}{suffix}", killed)
    found = held(copied(killed, killed.parent / "again"))
    assert (found.rows, found.doubts) == ({**change(30).rows, b"new": b"1"}, ())
    store.close()


def test_a_newer_log_beside_an_older_snapshot_is_a_doubt(killed: Path) -> None:
    before = copied(killed, killed.parent / "before")
    store = loaded(killed)
    assert store._log is not None
    for number in (31, 32):
        store._settle(store._log, Batch([persist(number, {b"new": b"%d" % number})]))
    commit(store, 33)
    after = copied(killed, killed.parent / "after")
    store.close()
    shutil.copy(before / FILE_NAME, after / FILE_NAME)
    found = held(after)
    assert found.doubts
    assert all("commits in its log are damaged or missing" in doubt for doubt in found.doubts)


def test_a_backup_with_a_log_that_was_left_over(killed: Path, tmp_path: Path) -> None:
    """Copied by hand to where a killed process had its store: the log is not of it."""
    target = tmp_path / "kv.backup"
    older = loaded(tmp_path / "older")
    commit(older, 1)
    older.close()
    copy_of_store(str(tmp_path / "older" / FILE_NAME), str(target))
    shutil.copy(target, killed / FILE_NAME)
    found = held(killed)
    assert (found.rows, found.known) == (change(1).rows, change(1).known)
    assert found.doubts == tuple(
        f"{killed / FILE_NAME}: the log {FILE_NAME}{suffix} beside it is that of another store" for suffix in LOG_FILES
    )
    store = loaded(killed)
    commit(store, 2)
    again = copied(killed, killed.parent / "again")
    store.close()
    assert held(again) == held(killed) == change(2)


def test_a_backup_of_a_killed_store_holds_its_log(killed: Path, tmp_path: Path) -> None:
    target = tmp_path / "kv.backup"
    before = {name: (killed / name).read_bytes() for name in FILES}
    copy_of_store(str(killed / FILE_NAME), str(target))
    assert {name: (killed / name).read_bytes() for name in FILES} == before
    restore(str(target), str(tmp_path / "new"))
    assert held(tmp_path / "new") == change(30)


def test_a_restore_takes_the_log_away_with_the_store(killed: Path, tmp_path: Path) -> None:
    target = tmp_path / "kv.backup"
    copy_of_store(str(killed / FILE_NAME), str(target))
    restore(str(target), str(killed), force=True)
    assert left(killed) == {FILE_NAME, *(f"{FILE_NAME}.replaced-1{suffix}" for suffix in ("", *LOG_FILES))}
    assert held(killed) == change(30)


def test_a_lost_snapshot_leaves_what_is_in_the_log(killed: Path) -> None:
    (killed / FILE_NAME).unlink()
    found = held(killed)
    assert found.doubts
    assert (found.known, found.meta) == (change(30).known, change(30).meta)
    assert found.rows.items() <= change(30).rows.items()


def test_a_store_without_its_log_is_not_opened_as_a_whole(killed: Path) -> None:
    error = refused(StoreError, SqliteStore(killed).load)
    assert str(error).endswith("is not whole without its log; open it as a LoggedStore")


# -- a disk that fails ---------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_of_the_commit(tmp_path: Path) -> None:
    """It is tried again at its place, perhaps with more in it."""
    store = loaded(tmp_path / "a")
    for number in (1, 2):
        commit(store, number)
    large = persist(3, {b"large": bytes(1 << 20)})
    with files_limited(400_000):
        for _ in range(2):
            assert "no room left (File too large)" in str(refused(StoreFull, lambda: store.commit([large])))
            assert held(copied(tmp_path / "a", tmp_path / "b")) == change(2)
        commit(store, 3)
    assert held(copied(tmp_path / "a", tmp_path / "b")) == change(3)
    store.commit([large])
    store.close()
    assert held(tmp_path / "a").rows == {**change(3).rows, b"large": bytes(1 << 20)}


def test_after_a_sync_that_failed_the_files_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may call written what it dropped: the next commit goes to the snapshot with all the others, and the
    log to new files.
    """
    store = loaded(tmp_path / "a")
    for number in range(1, 5):
        commit(store, number)
    before = log_of(tmp_path / "a", 0).stat().st_ino

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(segments, "_sync", fail)
        refused(StoreIOError, lambda: commit(store, 5))
    commit(store, 5)
    assert log_of(tmp_path / "a", 0).stat().st_ino != before
    snapshot = copied(tmp_path / "a", tmp_path / "b")
    for suffix in LOG_FILES:
        assert (snapshot / f"{FILE_NAME}{suffix}").read_bytes() == b""
    commit(store, 6)
    assert held(copied(tmp_path / "a", tmp_path / "c")) == change(6)
    store.close()
    assert held(tmp_path / "a") == change(6)
    assert held(snapshot) == change(5)


def test_damage_to_the_log_that_shows_while_it_runs(tmp_path: Path) -> None:
    """It cannot be put into the snapshot; what it was, the next start tells."""
    store = loaded(tmp_path)
    for number in range(1, 6):
        commit(store, number)
    start, end = frames(log_of(tmp_path, 0))[1]
    with log_of(tmp_path, 0).open("r+b") as file:
        file.seek((start + end) // 2)
        file.write(b"?")
    assert None in dict(store.read_back(b"", 10)).values()
    assert "a commit in it has a wrong checksum" in str(refused(StoreDamaged, store.compact))
    refused(StoreDamaged, lambda: commit(store, 6))
    store.close()
    assert len(held(tmp_path).doubts) == 1


def test_a_bound(tmp_path: Path) -> None:
    """On the snapshot and what waits for it."""
    store = loaded(tmp_path, max_bytes=200_000)
    for number in range(2):
        store.commit([persist(1, {b"%d" % number: bytes(60_000)})])
    refused(StoreFull, lambda: store.commit([persist(2, {b"b": bytes(150_000)})]))
    store.commit([persist(2, {b"0": None}), persist(3, {b"c": bytes(90_000)})])
    store.close()
    assert set(held(tmp_path).rows) == {b"1", b"c"}


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = loaded(tmp_path / "a")
        commit(store, 1)
        commit(store, 2)
        assert {stat.S_IMODE(os.stat(tmp_path / "a" / name).st_mode) for name in FILES} == {0o600}
        store.close()
    finally:
        os.umask(before)


# -- a process that died in the midst of a transaction -------------------------------------------------------------


@pytest.fixture
def half_done(killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a process that was killed while a segment was on its way into the snapshot: some pages of the
    file are new, and the journal knows the old ones.
    """
    store = loaded(killed)
    assert store._snapshot._db is not None
    store._snapshot._db.execute("PRAGMA cache_size = 1")
    taken: list[Path] = []

    def kill(db: Connection, tally: Tally) -> None:
        taken.append(copied(killed, tmp_path / f"half{len(taken)}"))
        put_tally(db, tally)

    for first in (31, 431):
        rows = {version(n).key: encode_record((version(n + first, path=path_of(n)),)) for n in range(400)}
        store.compact()
        before = (killed / FILE_NAME).read_bytes()
        store.commit([persist(first, rows, {INC: Ticks.upto(first + 399)})])
    monkeypatch.setattr("kvnode.store.sqlite.put_tally", kill)
    store.compact()
    store.close()
    assert (taken[0] / f"{FILE_NAME}-journal").stat().st_size
    assert (taken[0] / FILE_NAME).read_bytes() != before
    return taken[0]


def test_a_transaction_that_was_not_completed_is_undone(half_done: Path, killed: Path) -> None:
    assert held(half_done) == held(killed)
    assert len(held(half_done).rows) == len(change(30).rows) + 400


def test_a_look_at_it_changes_nothing(half_done: Path, killed: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in half_done.iterdir()}
    report = check(str(half_done / FILE_NAME))
    assert (report.findings, report.entries) == ((), len(held(killed).rows))
    copy_of_store(str(half_done / FILE_NAME), str(tmp_path / "kv.backup"))
    assert {path.name: path.read_bytes() for path in half_done.iterdir()} == before | {f"{FILE_NAME}.lock": b""}
    restore(str(tmp_path / "kv.backup"), str(tmp_path / "new"))
    assert held(tmp_path / "new") == held(killed)


# -- what is brief -------------------------------------------------------------------------------------------------


def is_brief(store: LoggedStore, size: int = 1) -> bool:
    return store.is_brief([persist(99, {b"k": bytes(size)})])


def test_only_a_small_commit_to_the_log_is_brief(tmp_path: Path) -> None:
    store = loaded(tmp_path)
    assert not is_brief(store), "the first one goes to the snapshot"
    commit(store, 1)
    assert is_brief(store)
    assert is_brief(store, logged.BRIEF_BYTES - 1)
    assert not is_brief(store, logged.BRIEF_BYTES)
    past = Past(b"k", b"p", bytes(logged.BRIEF_BYTES + 1), 1)
    assert not store.is_brief([Persist(99, {}, {}, past=[past])])
    removed: dict[bytes, bytes | None] = {b"%032d" % number: None for number in range(logged.BRIEF_BYTES // 32 + 1)}
    assert not store.is_brief([persist(99, removed)])
    store.close()


def test_the_answer_to_doubts_is_not_brief(killed: Path) -> None:
    log_of(killed, 0).unlink()
    store = loaded(killed)
    assert not is_brief(store)
    commit(store, 31)
    assert is_brief(store)
    store.close()


def test_what_no_longer_fits_is_not_brief(tmp_path: Path) -> None:
    store = loaded(tmp_path, max_bytes=100_000)
    commit(store, 1)
    assert is_brief(store)
    while is_brief(store, 50_000):
        store.commit([persist(2, {b"k": bytes(20_000)})])
    refused(StoreFull, lambda: [store.commit([persist(3, {b"%d" % n: bytes(50_000)})]) for n in range(3)])
    assert not is_brief(store), "what failed is tried again in the snapshot"
    store.close()


# -- taking turns --------------------------------------------------------------------------------------------------


class Gate:
    """Holds up whatever puts something into the snapshot of a store."""

    def __init__(self, store: LoggedStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.error: StoreError | None = None
        self.passed = 0
        write = store._snapshot.write

        def gated(put: Fill) -> None:
            self.open.wait()
            if self.error is not None:
                raise self.error
            write(put)
            self.passed += 1

        monkeypatch.setattr(store._snapshot, "write", gated)


@pytest.fixture
def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LoggedStore, Gate]]:
    """A store with a short log, whose snapshot is held up from the second commit on."""
    store = loaded(tmp_path / "a", log_bytes=1000)
    commit(store, 1)
    store._bound = 1000
    monkeypatch.setattr(logged, "bound_of", lambda log_bytes, snapshot_bytes: log_bytes)
    gate = Gate(store, monkeypatch)
    yield store, gate
    gate.error = None
    gate.open.set()
    store.close()


def test_commits_go_on_while_a_segment_goes_to_the_snapshot(gated: tuple[LoggedStore, Gate], tmp_path: Path) -> None:
    """A process that dies meanwhile has both."""
    store, gate = gated
    log = store._log
    assert log is not None
    number = 1
    while not (log.spare and log.active_bytes > 1000):
        number += 1
        commit(store, number)
    assert held(copied(tmp_path / "a", tmp_path / "b")) == change(number)
    assert store._drain is not None
    assert not is_brief(store)
    gate.open.set()
    store._drain.join()
    assert not is_brief(store), "the next one waits for what it has done"
    assert held(copied(tmp_path / "a", tmp_path / "c")) == change(number), "it is in the snapshot, and still in the log"
    for _ in range(30):
        number += 1
        commit(store, number)
    store._wait(log)
    assert is_brief(store) == (log.active_bytes < 1000)
    assert held(copied(tmp_path / "a", tmp_path / "d")) == change(number)
    assert gate.passed > 1
    sizes = {log_of(tmp_path / "a", segment).stat().st_size for segment in (0, 1)}
    assert sizes == {segments.STEP_BYTES}, "room that is there is used again"


def test_room_for_a_very_large_commit_is_given_back(tmp_path: Path) -> None:
    store = loaded(tmp_path)
    commit(store, 1)
    store.commit([persist(2, {b"large": bytes(20 << 20)})])
    assert log_of(tmp_path, 0).stat().st_size > 20 << 20
    store.commit([persist(3, {b"large": None})])
    before, after = store.compact()
    assert after < 1 << 20 < 20 << 20 < before
    store.close()


def test_a_segment_that_cannot_go_to_the_snapshot_fails_the_next_commit(
    gated: tuple[LoggedStore, Gate], tmp_path: Path
) -> None:
    """Until it can; nothing is lost meanwhile."""
    store, gate = gated
    gate.error = StoreFull("x", "a test says so")
    number = 1
    while store._drain is None:
        number += 1
        commit(store, number)
    gate.open.set()
    store._drain.join()
    for _ in range(2):
        refused(StoreFull, lambda: commit(store, number + 1))
    assert held(copied(tmp_path / "a", tmp_path / "b")) == change(number)
    gate.error = None
    commit(store, number + 1)
    assert held(copied(tmp_path / "a", tmp_path / "c")) == change(number + 1)


def test_a_commit_waits_when_the_other_segment_is_far_behind(gated: tuple[LoggedStore, Gate]) -> None:
    store, gate = gated
    log = store._log
    assert log is not None
    number = 1
    while log.active_bytes < 2000:
        number += 1
        commit(store, number)
    waiting = threading.Thread(target=lambda: commit(store, number + 1))
    waiting.start()
    gate.open.set()
    waiting.join()
    assert log.active_bytes < 1000
    assert not store._to_snapshot


def test_how_long_a_segment_becomes() -> None:
    assert bound_of(100, 10) == 100
    assert bound_of(100, 80) == 160
    assert bound_of(100, 10_000) == 100 * logged.LONGEST


def test_rows_are_read_back_through_the_log(tmp_path: Path) -> None:
    """Against a dictionary, at every place, with few and many at once."""
    random = Random(4)
    store = loaded(tmp_path)
    rows: dict[bytes, bytes] = {}
    for number in range(60):
        batch = {b"%02d" % random.randrange(50): random.choice((None, b"%d" % number)) for _ in range(4)}
        store.commit([persist(number, batch)])
        rows.update({key: record for key, record in batch.items() if record is not None})
        for key in [key for key, record in batch.items() if record is None]:
            rows.pop(key, None)
        if number in (20, 40):
            store.compact()
        if number == 50:
            assert store._log is not None
            store._log.turn()
    for low in (b"", b"1", b"17", b"49", b"9"):
        for limit in (1, 3, 100):
            want = sorted((key, record) for key, record in rows.items() if key >= low)[:limit]
            assert store.read_back(low, limit) == want
    store.close()


def test_the_content_of_a_segment_is_memory_that_goes_back(tmp_path: Path) -> None:
    """Both segments are read for a snapshot; what malloc gives out for that mostly stays with the process."""
    frame, data = encode(EPOCH, 1, 0, Batch([persist(1, {b"k": b"r" * 1000})]))
    segment = segments.Segment(str(tmp_path / "log"))
    Path(segment.path).write_bytes(data)
    segment.take(frame)
    content = segment.content()
    assert isinstance(content, mmap)
    assert content[:] == b"r" * 1000
    os.truncate(segment.path, len(data) - 1)
    with pytest.raises(StoreDamaged):
        segment.content()
