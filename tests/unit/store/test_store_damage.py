"""Damage to a SQLite store: what is wrong is never given, what is missing is told."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvnode.core.path import Path as KvPath
from kvnode.store import inspection
from kvnode.store.base import StoreTooNew
from kvnode.store.checks import row_sum
from kvnode.store.files import PAGE_BYTES
from kvnode.store.inspection import MAX_DOUBTS
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.store.tables import number_key
from kvnode.testing.store_contract import Held, persist
from tests.support.stores import answer, held, names, without

Raw = Callable[..., int]
KEY = KvPath(("home", 3, "sensor10")).key
INC = f"node7~{7:016x}"


# -- single rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET record = zeroblob(length(record)) WHERE key = ?",
        "UPDATE rows SET record = substr(record, 2) WHERE key = ?",
        "UPDATE rows SET record = CAST(record AS TEXT) WHERE key = ?",
        "UPDATE rows SET record = 7 WHERE key = ?",
        "UPDATE rows SET record = (SELECT record FROM rows LIMIT 1) WHERE key = ?",
        "UPDATE rows SET sum = sum + 1 WHERE key = ?",
        "UPDATE rows SET sum = 'x' WHERE key = ?",
        "UPDATE rows SET sum = x'00' WHERE key = ?",
    ],
)
def test_a_damaged_record_is_left_out_and_named(filled: Path, everything: Held, raw: Raw, statement: str) -> None:
    assert raw(statement, KEY) == 1
    found = held(filled)
    assert found.rows == without(everything.rows, KEY)
    assert (found.known, found.meta) == (everything.known, everything.meta)
    assert found.doubts == (
        f"{filled / FILE_NAME}: the entry home.:3.sensor10 is damaged (wrong checksum) and left out",
    )
    answer(filled)
    assert held(filled).doubts == ()
    assert held(filled).rows == without(everything.rows, KEY)
    assert names(filled) == {FILE_NAME}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE quarantine SET record = x'00' || record WHERE number = ?",
        "UPDATE quarantine SET number = substr(number, 2) WHERE number = ?",
    ],
)
def test_a_damaged_version_of_the_quarantine_is_left_out_and_named(
    filled: Path, everything: Held, raw: Raw, statement: str
) -> None:
    assert raw(statement, number_key(5)) == 1
    found = held(filled)
    assert found.quarantine == {n: r for n, r in everything.quarantine.items() if n != 5}
    assert found.rows == everything.rows
    named = "the version 5 that was set aside is damaged (wrong checksum) and left out"
    assert found.doubts == (f"{filled / FILE_NAME}: {named}",)
    answer(filled)
    assert held(filled).doubts == ()


def test_a_number_of_another_length_is_no_number(filled: Path, raw: Raw) -> None:
    """Sound by its checksum, written by a program with a mistake."""
    assert raw("INSERT INTO quarantine VALUES (?, ?, ?)", b"\x07", b"r", row_sum("quarantine", b"\x07", b"r")) == 1
    assert any("the version 7 that was set aside is damaged" in doubt for doubt in held(filled).doubts)


def test_a_flipped_bit_in_the_file_is_left_out_and_named(filled: Path, everything: Held) -> None:
    record = everything.rows[KEY]
    data = bytearray((filled / FILE_NAME).read_bytes())
    at = data.index(record[:40])
    data[at + 5] ^= 0x10
    (filled / FILE_NAME).write_bytes(data)
    found = held(filled)
    assert found.rows == without(everything.rows, KEY)
    assert len(found.doubts) == 1
    assert "home.:3.sensor10" in found.doubts[0]


@pytest.mark.parametrize("at_once", [1, 7, 150, 300])
def test_the_others_that_are_looked_at_with_a_damaged_row_are_given(
    filled: Path, everything: Held, raw: Raw, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(inspection, "_AT_ONCE", at_once)
    keys = sorted(everything.rows)
    bad = [keys[at] for at in (0, 6, 7, 8, 149, 150, 299)]
    for key in bad:
        raw("UPDATE rows SET record = x'00' || record WHERE key = ?", key)
    found = held(filled)
    assert found.rows == {key: record for key, record in everything.rows.items() if key not in bad}
    assert len(found.doubts) == len(bad)
    answer(filled)
    assert held(filled).doubts == ()


def test_a_vanished_row_is_noticed(filled: Path, everything: Held, raw: Raw) -> None:
    raw("DELETE FROM rows WHERE key = ?", KEY)
    found = held(filled)
    assert found.rows == without(everything.rows, KEY)
    assert found.doubts == (f"{filled / FILE_NAME}: 1 of 300 entries are missing",)
    answer(filled)
    assert held(filled).doubts == ()


def test_vanished_known_ticks_are_noticed(filled: Path, everything: Held, raw: Raw) -> None:
    raw("DELETE FROM known WHERE inc = ?", INC)
    found = held(filled)
    assert found.known == without(everything.known, INC)
    assert found.doubts == (f"{filled / FILE_NAME}: 1 of 40 sets of known ticks are missing",)


def test_vanished_identity_is_noticed(filled: Path, everything: Held, raw: Raw) -> None:
    raw("DELETE FROM meta WHERE key = 'name3'")
    found = held(filled)
    assert found.meta == without(everything.meta, "name3")
    assert found.doubts == (f"{filled / FILE_NAME}: 1 of 5 items of identity are missing",)


def test_a_row_that_came_from_elsewhere_is_noticed(filled: Path, raw: Raw, tmp_path: Path) -> None:
    other = SqliteStore(tmp_path / "other")
    other.load()
    other.commit([persist(1, {b"\x02zzz\0": b"record"})])
    other.close()
    raw(f"ATTACH '{tmp_path / 'other' / FILE_NAME}' AS other")
    with closing(sqlite3.connect(filled / FILE_NAME)) as db, db:
        db.execute(f"ATTACH '{tmp_path / 'other' / FILE_NAME}' AS other")
        db.execute("INSERT INTO main.rows SELECT * FROM other.rows")
    assert held(filled).doubts == (f"{filled / FILE_NAME}: 301 entries are there, 300 were stored",)


def test_rows_that_fell_back_to_an_older_state_are_noticed(tmp_path: Path) -> None:
    """Two counters of one shape went from 5 to 6, and the page that holds both fell back: each row is sound, and the
    changes of a linear checksum would cancel.
    """
    store = SqliteStore(tmp_path)
    store.load()
    store.commit([persist(1, {b"\x02a\0": b"count 5", b"\x02b\0": b"count 5"})])
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        before = db.execute("SELECT * FROM rows").fetchall()
    store.load()
    store.commit([persist(1, {b"\x02a\0": b"count 6", b"\x02b\0": b"count 6"})])
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
        db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", before)
    found = held(tmp_path)
    assert found.doubts == (f"{tmp_path / FILE_NAME}: some of 2 entries are not what was stored last",)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM meta WHERE key = '!tally'",
        "UPDATE meta SET value = zeroblob(length(value)) WHERE key = '!tally'",
        "UPDATE meta SET value = 3 WHERE key = '!tally'",
        "UPDATE meta SET sum = sum + 1 WHERE key = '!tally'",
    ],
)
def test_a_lost_tally_is_a_doubt(filled: Path, everything: Held, raw: Raw, statement: str) -> None:
    assert raw(statement) == 1
    found = held(filled)
    assert (found.rows, found.known, found.meta) == (everything.rows, everything.known, everything.meta)
    assert found.doubts == (
        f"{filled / FILE_NAME}: the tally of its rows is missing or damaged, so rows may be missing",
    )
    answer(filled)
    assert held(filled).doubts == ()


def test_many_doubts_are_counted(filled: Path, raw: Raw) -> None:
    raw("UPDATE rows SET sum = sum + 1")
    found = held(filled)
    assert not found.rows
    assert len(found.doubts) == MAX_DOUBTS + 1
    assert found.doubts[-1] == f"{filled / FILE_NAME}: and 200 more like these"


def test_known_that_is_stored_but_no_ticks_is_damage(filled: Path, everything: Held) -> None:
    """Sound by its checksum, written by a program with a mistake."""
    record = b"\x92\x05\x01"
    with closing(sqlite3.connect(filled / FILE_NAME)) as db, db:
        args = (record, row_sum("known", INC.encode(), record), INC)
        db.execute("UPDATE known SET bounds = ?, sum = ? WHERE inc = ?", args)
    found = held(filled)
    assert found.known == without(everything.known, INC)
    assert INC in found.doubts[0]


# -- any damage ------------------------------------------------------------------------------------------------------

offsets = st.integers(0, 1 << 30)
edits = st.one_of(
    st.tuples(st.just("bytes"), offsets, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("header"), offsets, st.binary(min_size=1, max_size=12)),
    st.tuples(st.just("page"), offsets, st.sampled_from([b"\0", b"\xff", b"\x0a", b"\x02", b"\xa5"])),
    st.tuples(st.just("copy"), offsets, offsets),
    st.tuples(st.just("cut"), offsets, st.none()),
)


def damaged(data: bytes, changes: list[Any]) -> bytes:
    out = bytearray(data)
    for kind, offset, what in changes:
        at = offset % max(len(out), 1)
        page = at - at % PAGE_BYTES
        if kind == "bytes":
            out[at : at + len(what)] = what
        elif kind == "header":
            out[page + at % 12 : page + at % 12 + len(what)] = what
        elif kind == "page":
            out[page : page + PAGE_BYTES] = what * PAGE_BYTES
        elif kind == "copy":
            source = what % max(len(out), 1)
            out[page : page + PAGE_BYTES] = out[source - source % PAGE_BYTES :][:PAGE_BYTES]
        else:
            del out[at:]
    return bytes(out)


@given(st.lists(edits, min_size=1, max_size=4))
@example([("bytes", 60, b"\x7f")])  # user_version: reads as a later schema
@example([("page", PAGE_BYTES, b"\0")])  # the root of a table
def test_no_damage_gives_wrong_rows_or_goes_unnoticed(master: Path, changes: list[Any]) -> None:
    from_master = held(master)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / FILE_NAME).write_bytes(damaged((master / FILE_NAME).read_bytes(), changes))
        try:
            found = held(directory)
        except StoreTooNew:
            return
        assert found.rows.items() <= from_master.rows.items()
        assert found.known.items() <= from_master.known.items()
        assert found.meta.items() <= from_master.meta.items()
        assert found.doubts or found == from_master
        assert held(directory) == found
        answer(directory)
        after = held(directory)
        assert (after.rows, after.known, after.doubts) == (found.rows, found.known, ())
