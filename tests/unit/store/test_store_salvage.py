"""A SQLite file that is unsound as a whole: it is kept, and what can be read of it is saved, whatever comes between."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.path import Path as KvPath
from kvnode.store import files
from kvnode.store.base import StoreFull, StoreTooNew
from kvnode.store.checks import row_sum
from kvnode.store.files import PAGE_BYTES
from kvnode.store.migrations import SCHEMA_VERSION
from kvnode.store.salvage import _Reader, between, salvage
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.store.tables import ROWS
from kvnode.testing.store_contract import Held, persist
from tests.support.stores import Died, answer, dying_rename, held, names, without

Raw = Callable[..., int]
KEY = KvPath(("home", 3, "sensor10")).key


# -- the file as a whole -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a store of kvnode"),
        (b"garbage " * 1000, "file is not a database"),
        (b"SQLite format 3\0" + bytes(4080), "file is not a database"),
        (bytes(8192), "file is not a database"),
    ],
)
def test_a_file_that_is_no_database_is_kept_and_replaced(filled: Path, content: bytes, why: str) -> None:
    (filled / FILE_NAME).write_bytes(content)
    found = held(filled)
    assert (found.rows, found.known, found.meta) == ({}, {}, {})
    assert len(found.doubts) == 1
    assert why in found.doubts[0]
    assert f"kept as {filled / FILE_NAME}.damaged-1" in found.doubts[0]
    assert (filled / f"{FILE_NAME}.damaged-1").read_bytes() == content
    assert held(filled) == found
    answer(filled)
    assert held(filled).doubts == ()
    assert "answered" in held(filled).meta


def test_a_damaged_schema_that_is_quoted_in_an_error(filled: Path) -> None:
    """The sqlite3 module cannot make its exception of text that is not UTF-8."""
    data = (filled / FILE_NAME).read_bytes()
    assert data.count(b"tablerowsrows") == 1
    (filled / FILE_NAME).write_bytes(data.replace(b"tablerowsrows", b"table\xbfows\xbfows"))
    found = held(filled)
    assert "was damaged" in found.doubts[-1]
    assert "can't decode" in found.doubts[-1]
    answer(filled)
    assert not held(filled).doubts


def test_another_programs_database_is_kept(filled: Path) -> None:
    (filled / FILE_NAME).unlink()
    with closing(sqlite3.connect(filled / FILE_NAME)) as db, db:
        db.execute("CREATE TABLE notes (text)")
        db.execute("INSERT INTO notes VALUES ('mine')")
    found = held(filled)
    assert "it is not a store of kvnode" in found.doubts[0]
    with closing(sqlite3.connect(filled / f"{FILE_NAME}.damaged-1")) as db:
        assert db.execute("SELECT text FROM notes").fetchall() == [("mine",)]


@pytest.mark.parametrize(
    "statement",
    ["PRAGMA application_id = 1", "PRAGMA user_version = 0", "PRAGMA user_version = -3", "DROP TABLE known"],
)
def test_what_is_not_ours_any_more_is_saved_into_a_new_file(
    filled: Path, everything: Held, raw: Raw, statement: str
) -> None:
    raw(statement)
    found = held(filled)
    assert (found.rows, found.meta) == (everything.rows, everything.meta)
    assert found.known == ({} if "known" in statement else everything.known)
    assert "saved 300 entries" in found.doubts[-1]


def test_a_page_that_counts_as_free_though_it_holds_entries(filled: Path, everything: Held) -> None:
    """All rows can be read as yet: the next commits would overwrite some."""
    data = bytearray((filled / FILE_NAME).read_bytes())
    page = leaves(data)[3] // PAGE_BYTES + 1
    data[32:40] = page.to_bytes(4, "big") + (1).to_bytes(4, "big")
    (filled / FILE_NAME).write_bytes(data)
    found = held(filled)
    assert (found.rows, found.known, found.meta) == (everything.rows, everything.known, everything.meta)
    assert "was damaged (Main freelist: " in found.doubts[-1]
    answer(filled)
    assert held(filled).rows == everything.rows


def test_a_key_that_is_out_of_order_is_damage(filled: Path, everything: Held) -> None:
    """Left in the file, no statement would find it again."""
    data = bytearray((filled / FILE_NAME).read_bytes())
    page = leaves(data)[3]
    at = data.index(b"\x02home\0", page)
    key = next(key for key in everything.rows if data.startswith(key, at))
    data[at] = 3
    (filled / FILE_NAME).write_bytes(data)
    found = held(filled)
    assert found.rows == without(everything.rows, key)
    assert "out of order" in found.doubts[-1]
    answer(filled)
    assert held(filled).rows == found.rows
    assert not held(filled).doubts


def test_keys_of_another_type_are_damage(filled: Path, everything: Held, raw: Raw) -> None:
    raw("UPDATE rows SET key = CAST(key AS TEXT) WHERE key = ?", KEY)
    found = held(filled)
    assert found.rows == without(everything.rows, KEY)
    assert "a key in the table rows has the wrong type" in found.doubts[-1]
    assert (filled / f"{FILE_NAME}.damaged-1").exists()


def test_a_truncated_file_gives_what_is_left(filled: Path, everything: Held) -> None:
    data = (filled / FILE_NAME).read_bytes()
    (filled / FILE_NAME).write_bytes(data[: len(data) * 3 // 4])
    found = held(filled)
    assert found.doubts
    assert found.rows.items() <= everything.rows.items()
    assert 0 < len(found.rows) < 300
    assert (filled / f"{FILE_NAME}.damaged-1").read_bytes() == data[: len(data) * 3 // 4]


def leaves(data: bytearray) -> list[int]:
    """The offsets of leaf pages that hold entries."""
    return [
        at
        for at in range(PAGE_BYTES, len(data), PAGE_BYTES)
        if data[at] == 0x0A and b"sensor" in data[at : at + PAGE_BYTES]
    ]


def test_unreadable_pages_cost_only_what_they_held(filled: Path, everything: Held) -> None:
    """Three broken pages with sound ones between them: both ends and both middles are saved."""
    data = bytearray((filled / FILE_NAME).read_bytes())
    pages = leaves(data)
    broken = [pages[len(pages) * part // 8] for part in (1, 4, 6)]
    lost = set()
    for at in broken:
        lost |= {key for key in everything.rows if key in data[at : at + PAGE_BYTES]}
        data[at : at + PAGE_BYTES] = b"\xee" * PAGE_BYTES
    (filled / FILE_NAME).write_bytes(data)
    found = held(filled)
    assert found.rows == without(everything.rows, *lost)
    assert len(found.rows) > 200
    assert (found.known, found.meta) == (everything.known, everything.meta)
    assert found.doubts


def test_each_damaged_file_is_kept_under_its_own_number(filled: Path) -> None:
    for number in (1, 2, 3):
        (filled / FILE_NAME).write_bytes(b"bad %d" % number * 100)
        assert f"damaged-{number}" in held(filled).doubts[-1]
    (filled / f"{FILE_NAME}.damaged-2").unlink()
    (filled / FILE_NAME).write_bytes(b"bad 4" * 100)
    held(filled)
    assert names(filled) == {FILE_NAME, *(f"{FILE_NAME}.damaged-{n}" for n in (1, 3, 4))}
    assert (filled / f"{FILE_NAME}.damaged-3").read_bytes() == b"bad 3" * 100


def test_a_salvage_leaves_the_damaged_file_and_its_log_alone(master: Path, everything: Held, tmp_path: Path) -> None:
    """Nor does it overlook what is only in the log."""
    store = SqliteStore(tmp_path / "running")
    store.load()
    store.commit([persist(1, everything.rows)])
    store.commit([persist(2, {b"\x02last\0": b"in the log"})])
    path = tmp_path / FILE_NAME
    for end in ("", "-wal"):
        shutil.copy(f"{store.path}{end}", f"{path}{end}")
    store.close()
    before = [Path(f"{path}{end}").read_bytes() for end in ("", "-wal")]
    salvage(str(path), "a test says so")
    assert [Path(f"{path}.damaged-1{end}").read_bytes() for end in ("", "-wal")] == before
    found = held(tmp_path)
    assert found.rows == {**everything.rows, b"\x02last\0": b"in the log"}
    assert f"{path}: was damaged (a test says so); saved 301 entries" in found.doubts[0]


def test_pages_that_lead_back_give_each_row_once() -> None:
    rows = [(key, b"", row_sum("rows", key, b"")) for key in (b"b", b"c", b"a", b"c", b"d", b"b")]
    reader = _Reader(sqlite3.connect(":memory:"), ROWS, 1000, lambda table, key: None)
    assert [row[0] for row in reader._run(rows, (b"", b"\xff"), down=False)] == [b"b", b"c", b"d"]
    assert [row[0] for row in reader._run(rows, (b"b", b"\xff"), down=True)] == [b"b"]
    assert len(list(reader._run(rows * 1000, (b"", b"\xff"), down=False))) == 3, "and that comes to an end"


def test_doubts_of_before_are_not_lost_in_a_salvage(filled: Path, raw: Raw) -> None:
    (filled / FILE_NAME).write_bytes(b"garbage" * 1000)
    first = held(filled).doubts
    raw("PRAGMA application_id = 1")
    second = held(filled).doubts
    assert first[0] in second
    assert len(second) == 2


def test_a_log_without_its_file_is_kept_and_told(filled: Path) -> None:
    (filled / FILE_NAME).rename(filled / f"{FILE_NAME}-wal")
    found = held(filled)
    assert (found.rows, found.known) == ({}, {})
    assert "the file is gone or cut short, its log is there" in found.doubts[0]
    assert f"{FILE_NAME}.damaged-1-wal" in names(filled)


def test_a_later_schema_is_refused_in_one_line_and_left_alone(filled: Path, raw: Raw) -> None:
    raw("PRAGMA user_version = 99")
    before = (filled / FILE_NAME).read_bytes()
    with pytest.raises(StoreTooNew) as error:
        held(filled)
    assert (error.value.found, error.value.supported) == (99, SCHEMA_VERSION)
    where, known = filled / FILE_NAME, SCHEMA_VERSION
    assert str(error.value).startswith(f"{where}: has schema 99, this kvnode knows schemas up to {known}; ")
    assert "\n" not in str(error.value)
    assert (filled / FILE_NAME).read_bytes() == before
    assert names(filled) == {FILE_NAME}


# -- a process that dies while it salvages ---------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
def test_a_salvage_that_is_cut_short_is_finished_by_the_next_process(
    master: Path, everything: Held, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: bool
) -> None:
    """The process dies before, or right after, each rename."""
    data = bytearray((master / FILE_NAME).read_bytes())
    page = leaves(data)[2]
    data[page : page + PAGE_BYTES] = b"\xee" * PAGE_BYTES
    for step in range(20):
        directory = tmp_path / str(step)
        directory.mkdir()
        (directory / FILE_NAME).write_bytes(data)
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", dying_rename(step, before))
            try:
                held(directory)
                break
            except Died:
                pass
        check_salvaged(directory, everything, bytes(data))
    assert step >= 3, "fewer renames than a swap has"


def check_salvaged(directory: Path, everything: Held, damaged_file: bytes) -> None:
    found = held(directory)
    assert 200 < len(found.rows) < 300
    assert found.rows.items() <= everything.rows.items()
    assert (found.known, found.meta) == (everything.known, everything.meta)
    assert "was damaged" in found.doubts[-1]
    assert held(directory) == found
    kept = {name for name in names(directory) if ".damaged-" in name}
    assert damaged_file in [(directory / name).read_bytes() for name in kept]
    assert names(directory) == {FILE_NAME, *kept}


def test_half_a_new_file_is_thrown_away(filled: Path, everything: Held) -> None:
    (filled / f"{FILE_NAME}.new").write_bytes(b"half")
    assert held(filled) == everything
    assert names(filled) == {FILE_NAME}


def test_no_room_for_a_salvage_leaves_everything_as_it_was(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (filled / FILE_NAME).write_bytes(b"garbage" * 1000)

    def no_room(path: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", no_room)
        with pytest.raises(StoreFull):
            held(filled)
    assert names(filled) == {FILE_NAME}
    assert (filled / FILE_NAME).read_bytes() == b"garbage" * 1000
    assert "file is not a database" in held(filled).doubts[0]


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_the_middle_lies_between(a: bytes, b: bytes) -> None:
    low, high = sorted((a, b))
    middle = between(low, high)
    if middle is None:
        assert high[: len(low)] == low or low == high
    else:
        assert low < middle < high


def test_only_the_latest_damaged_files_are_kept(filled: Path) -> None:
    """With their side files; another kind's do not count."""
    for number in range(1, files.MAX_KEPT + 3):
        (filled / FILE_NAME).write_bytes(b"bad %d" % number * 100)
        (filled / f"{FILE_NAME}-wal").write_bytes(b"log")
        held(filled)
    (filled / f"{FILE_NAME}.replaced-1").write_bytes(b"")
    assert files.kept(str(filled / FILE_NAME)) == [
        *(f"{filled / FILE_NAME}.damaged-{number}" for number in range(3, files.MAX_KEPT + 3)),
        f"{filled / FILE_NAME}.replaced-1",
    ]
    assert f"{FILE_NAME}.damaged-5-wal" in names(filled)
    assert not any(name.startswith((f"{FILE_NAME}.damaged-1", f"{FILE_NAME}.damaged-2")) for name in names(filled))


@pytest.mark.parametrize("size", [0, 1, 100, PAGE_BYTES - 1])
def test_the_log_of_a_file_that_is_cut_short_is_kept(filled: Path, size: int) -> None:
    """SQLite would remove it."""
    data = (filled / FILE_NAME).read_bytes()
    (filled / FILE_NAME).write_bytes(data[:size])
    (filled / f"{FILE_NAME}-wal").write_bytes(b"a log")
    found = held(filled)
    assert not found.rows
    assert "cut short" in found.doubts[0]
    assert (filled / f"{FILE_NAME}.damaged-1").read_bytes() == data[:size]
    assert (filled / f"{FILE_NAME}.damaged-1-wal").read_bytes() == b"a log"
