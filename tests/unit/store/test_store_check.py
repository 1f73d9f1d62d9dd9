"""``check``: what a look from outside finds, and that it changes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from kvnode.core.effects import Persist
from kvnode.core.entry import encode_record
from kvnode.core.ticks import Ticks
from kvnode.store.base import NoStore, StoreTooNew
from kvnode.store.check import MAX_FINDINGS, Finding, Level, Report, check
from kvnode.store.files import PAGE_BYTES
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.store_contract import INC, persist, refused
from tests.support.records import COUNT, entries, path_of, store_of, version

Raw = Callable[..., int]


@pytest.fixture
def file(sound_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound_store, tmp_path / FILE_NAME))


@pytest.fixture
def raw(file: Path) -> Raw:
    """Run a statement on the file behind the store's back."""

    def run(statement: str, *args: object) -> int:
        with closing(sqlite3.connect(file)) as db, db:
            return db.execute(statement, args).rowcount

    return run


def errors(report: Report) -> list[Finding]:
    assert report.errors == len([f for f in report.findings if f.level is Level.ERROR])
    return [finding for finding in report.findings if finding.level is Level.ERROR]


def only_error(file: Path) -> Finding:
    report = check(str(file))
    assert not report.is_sound
    (found,) = errors(report)
    return found


def test_a_sound_store(file: Path) -> None:
    report = check(str(file))
    assert report.is_sound
    assert report.findings == ()
    assert (report.entries, report.versions, report.incarnations) == (COUNT, COUNT, 1)
    assert (report.file, report.bytes, report.log_bytes) == (str(file), file.stat().st_size, 0)
    assert report.schema is not None


def test_nothing_is_changed_and_nothing_stays(file: Path) -> None:
    before = file.read_bytes()
    file.parent.chmod(0o500)
    try:
        check(str(file))
    finally:
        file.parent.chmod(0o700)
    assert os.listdir(file.parent) == [FILE_NAME]
    assert file.read_bytes() == before


def test_what_is_only_in_the_log_is_looked_at_too(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "running")
    store.load()
    store.commit([persist(1, entries(version(1)), {INC: Ticks.upto(1)})])
    store.commit([persist(2, entries(version(2)), {INC: Ticks.upto(2)})])
    file = tmp_path / FILE_NAME
    for end in ("", "-wal"):
        shutil.copy(f"{store.path}{end}", f"{file}{end}")
    store.close()
    before = Path(f"{file}-wal").read_bytes()
    report = check(str(file))
    assert (report.entries, report.log_bytes, report.is_sound) == (2, len(before), True)
    assert Path(f"{file}-wal").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == [FILE_NAME, f"{FILE_NAME}-wal", "running"]


# -- single rows -----------------------------------------------------------------------------------------------------


def test_a_damaged_record_is_named(file: Path, raw: Raw) -> None:
    raw("UPDATE rows SET record = zeroblob(length(record)) WHERE key = ?", path_of(10).key)
    assert only_error(file) == Finding(
        Level.ERROR, "rows", "the record is damaged (wrong checksum)", "home.:3.sensor10"
    )
    assert check(str(file)).entries == COUNT - 1


def test_damaged_known_ticks_cost_all_their_versions(file: Path, raw: Raw) -> None:
    raw("UPDATE known SET bounds = zeroblob(length(bounds))")
    report = check(str(file))
    assert errors(report)[0].kind == "known"
    assert INC in errors(report)[0].text
    assert {finding.kind for finding in errors(report)[1:]} == {"dots"}


def test_a_vanished_row_is_noticed(file: Path, raw: Raw) -> None:
    raw("DELETE FROM rows WHERE key = ?", path_of(10).key)
    assert only_error(file) == Finding(Level.ERROR, "tally", f"1 of {COUNT} entries are missing")


def test_a_lost_tally_is_noticed(file: Path, raw: Raw) -> None:
    raw("DELETE FROM meta WHERE key = '!tally'")
    assert only_error(file).kind == "tally"


# -- what a program with a mistake would write: sound by its checksum ------------------------------------------------


@pytest.mark.parametrize("record", [b"", b"\x90", b"no record", encode_record((version(7),))])
def test_a_record_that_cannot_be_read(tmp_path: Path, record: bytes) -> None:
    file = store_of(tmp_path, persist(1, {path_of(1).key: record}, {INC: Ticks.upto(9)}))
    found = only_error(file)
    assert (found.kind, found.path) == ("rows", "home.:1.sensor1")
    assert "cannot be read" in found.text


def test_a_key_that_is_no_path(tmp_path: Path) -> None:
    file = store_of(tmp_path, persist(1, {b"\xfe": encode_record((version(1),))}, {INC: Ticks.upto(1)}))
    assert (only_error(file).kind, only_error(file).path) == ("rows", "fe")


def test_a_version_that_is_not_known(tmp_path: Path) -> None:
    file = store_of(tmp_path, persist(1, entries(version(1), version(2)), {INC: Ticks.of(2)}))
    assert only_error(file) == Finding(
        Level.ERROR, "dots", f"the version {INC}:1 is missing from the known ticks", "home.:1.sensor1"
    )


def test_a_dot_that_names_two_versions(tmp_path: Path) -> None:
    twice = version(1, path=path_of(2))
    file = store_of(tmp_path, persist(1, entries(version(1), twice), {INC: Ticks.upto(1)}))
    assert only_error(file) == Finding(Level.ERROR, "dots", f"{INC}:1 names two versions", "home.:2.sensor2")


def test_an_incarnation_that_is_none(tmp_path: Path) -> None:
    file = store_of(tmp_path, persist(1, known={"attic": Ticks.upto(1)}))
    assert (only_error(file).kind, only_error(file).text) == ("known", "'attic' is no incarnation")


def test_a_list_of_closed_incarnations_that_is_none(tmp_path: Path) -> None:
    assert check(str(store_of(tmp_path, persist(1, meta={"marks": msgspec.msgpack.encode([INC])})))).is_sound
    assert only_error(store_of(tmp_path, persist(2, meta={"marks": b"\xc1"}))).kind == "meta"


def test_a_record_of_the_quarantine_that_cannot_be_read(tmp_path: Path) -> None:
    file = store_of(tmp_path, Persist(1, {}, {}, {}, {5: b"none"}))
    assert only_error(file).kind == "quarantine"
    assert "record 5" in only_error(file).text


# -- worth knowing ---------------------------------------------------------------------------------------------------


def test_doubts_that_nobody_has_answered_are_told(file: Path, raw: Raw) -> None:
    file.write_bytes(b"garbage" * 1000)
    store = SqliteStore(file.parent)
    store.load()
    store.close()
    report = check(str(file))
    assert report.is_sound
    assert [finding.kind for finding in report.findings] == ["doubt", "kept"]
    assert "was damaged" in report.findings[0].text
    assert f"{FILE_NAME}.damaged-1" in report.findings[1].text


def test_a_loss_that_no_peer_has_made_up_for_is_told(tmp_path: Path) -> None:
    report = check(str(store_of(tmp_path, persist(1, meta={"doubted": b"1"}))))
    assert report.is_sound
    assert [(finding.level, finding.kind) for finding in report.findings] == [(Level.WARNING, "doubt")]


# -- the file as a whole ---------------------------------------------------------------------------------------------


def test_a_broken_page_costs_what_it_held(file: Path) -> None:
    data = bytearray(file.read_bytes())
    page = next(at for at in range(PAGE_BYTES, len(data), PAGE_BYTES) if b"sensor99" in data[at : at + PAGE_BYTES])
    data[page : page + PAGE_BYTES] = b"\xee" * PAGE_BYTES
    file.write_bytes(data)
    report = check(str(file))
    assert {finding.kind for finding in errors(report)} == {"file"}
    assert 200 < report.entries < COUNT
    assert report.findings[-1].text == f"{report.entries} entries of it can be read"
    assert file.read_bytes() == data


@pytest.mark.parametrize("content", [b"garbage " * 1000, bytes(8192), b"SQLite format 3\0" + bytes(8000)])
def test_a_file_that_is_no_store(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert only_error(file).kind == "file"
    assert os.listdir(file.parent) == [FILE_NAME]


@pytest.mark.parametrize("size", [0, 1, 4095])
def test_a_file_that_is_cut_short_keeps_its_log(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])
    log = Path(f"{file}-wal")
    log.write_bytes(b"log")
    assert "cut short" in only_error(file).text
    assert log.read_bytes() == b"log"


def test_another_programs_database(file: Path, raw: Raw) -> None:
    raw("PRAGMA application_id = 1")
    assert "not a store of kvnode" in only_error(file).text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    error = refused(NoStore, lambda: check(str(tmp_path / FILE_NAME)))
    assert "there is no store" in str(error)
    assert os.listdir(tmp_path) == []


def test_a_later_schema_is_refused(file: Path, raw: Raw) -> None:
    raw("PRAGMA user_version = 99")
    refused(StoreTooNew, lambda: check(str(file)))


def test_an_older_schema_is_as_good(file: Path, raw: Raw) -> None:
    """It lacks tables that came later."""
    raw("DROP TABLE quarantine")
    raw("PRAGMA user_version = 1")
    report = check(str(file))
    assert (report.is_sound, report.schema, report.entries) == (True, 1, COUNT)


def test_many_findings_are_counted(tmp_path: Path) -> None:
    rows = entries(*(version(tick) for tick in range(1, MAX_FINDINGS + 50)))
    report = check(str(store_of(tmp_path, persist(1, rows, {INC: Ticks()}))))
    assert (len(report.findings), report.more, report.errors) == (MAX_FINDINGS, 49, MAX_FINDINGS + 49)
