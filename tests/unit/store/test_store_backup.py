"""Backups get their name when they are complete and checked; a restore keeps what it replaces."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvnode.store import files
from kvnode.store.backup import BadBackup, copy_of_store, receive, restore
from kvnode.store.base import StoreDamaged, StoreError, StoreExists, StoreFull, StoreLocked, StoreTooNew
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.store_contract import Held, persist, refused
from tests.support.stores import Died, dying_rename, held, names

A = Held({b"\x02a\0": b"1"}, {}, {"name": b"a"})


def fill(directory: Path, *batches: Held) -> Path:
    store = SqliteStore(directory)
    store.load()
    for batch in batches:
        store.commit([persist(1, batch.rows, batch.known, batch.meta)])
    store.close()
    return directory / FILE_NAME


@pytest.fixture
def data(sound_store: Path, tmp_path: Path) -> Path:
    """The directory of a store that nobody has open."""
    directory = tmp_path / "data"
    directory.mkdir()
    shutil.copy(sound_store, directory / FILE_NAME)
    return directory


@pytest.fixture
def everything(data: Path) -> Held:
    """What it holds."""
    return held(data)


@pytest.fixture
def backup(data: Path, tmp_path: Path) -> Path:
    """A backup of it."""
    target = tmp_path / "backups" / "kv.backup"
    target.parent.mkdir()
    copy_of_store(str(data / FILE_NAME), str(target))
    return target


# -- taking one ----------------------------------------------------------------------------------------------------


def test_a_backup_is_private_complete_and_needs_no_log(backup: Path, everything: Held, tmp_path: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert os.listdir(backup.parent) == ["kv.backup"]
    assert backup.read_bytes()[18:20] == b"\x01\x01", "SQLite's mark of a file without a log"
    (tmp_path / "other").mkdir()
    shutil.copy(backup, tmp_path / "other" / FILE_NAME)
    assert held(tmp_path / "other") == everything


def test_what_is_only_in_the_log_is_in_it_too(backup: Path, everything: Held, tmp_path: Path) -> None:
    """As a killed process leaves it."""
    store = SqliteStore(tmp_path / "running")
    store.load()
    store.commit([persist(1, everything.rows, everything.known)])
    killed = tmp_path / "killed"
    killed.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{store.path}{end}", killed / f"{FILE_NAME}{end}")
    store.close()
    copy_of_store(str(killed / FILE_NAME), str(backup), overwrite=True)
    restore(str(backup), str(tmp_path / "new"))
    assert held(tmp_path / "new").rows == everything.rows
    assert names(killed) == {FILE_NAME, f"{FILE_NAME}-wal"}


def test_a_store_in_use_is_not_copied_from_outside(backup: Path, data: Path) -> None:
    store = SqliteStore(data)
    store.load()
    refused(StoreLocked, lambda: copy_of_store(str(data / FILE_NAME), str(backup), overwrite=True))
    store.close()


def test_nothing_is_overwritten_by_accident(backup: Path, data: Path) -> None:
    backup.write_bytes(b"mine")
    error = refused(StoreExists, lambda: copy_of_store(str(data / FILE_NAME), str(backup)))
    assert str(error) == f"{backup}: is there already; choose another place, or replace it with --force"
    assert backup.read_bytes() == b"mine"
    copy_of_store(str(data / FILE_NAME), str(backup), overwrite=True)
    assert backup.read_bytes() != b"mine"
    assert os.listdir(backup.parent) == ["kv.backup"]


def write(target: Path, *chunks: Any) -> None:
    with receive(str(target), overwrite=True) as file:
        for chunk in chunks:
            file.write(chunk)


def test_a_backup_that_breaks_off_leaves_the_one_before(backup: Path) -> None:
    before = backup.read_bytes()
    with pytest.raises(TypeError):
        write(backup, before[:1000], None)
    assert (os.listdir(backup.parent), backup.read_bytes()) == (["kv.backup"], before)


@pytest.mark.parametrize("damage", [lambda good: good[:-4096], lambda good: b"", lambda good: b"garbage" * 1000])
def test_what_fails_its_check_gets_no_name(backup: Path, damage: Callable[[bytes], bytes]) -> None:
    before = backup.read_bytes()

    error = refused(BadBackup, lambda: write(backup, damage(before)))
    assert str(error).startswith(f"{backup}: is damaged (")
    assert "\n" not in str(error)
    assert (os.listdir(backup.parent), backup.read_bytes()) == (["kv.backup"], before)


def test_what_a_killed_kv_left_is_in_nobodys_way(backup: Path, data: Path) -> None:
    (backup.parent / "kv.backup.part").write_bytes(b"half")
    copy_of_store(str(data / FILE_NAME), str(backup), overwrite=True)
    assert os.listdir(backup.parent) == ["kv.backup"]


def test_a_full_disk_is_named_and_nothing_stays(backup: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(path: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_sync", no_room)
    target = backup.parent / "second"
    error = refused(StoreFull, lambda: copy_of_store(str(data / FILE_NAME), str(target)))
    assert str(error).startswith(f"{target}: no room left")
    store = SqliteStore(data)
    store.load()
    refused(StoreFull, store.backup)
    store.close()
    assert os.listdir(backup.parent) == ["kv.backup"]
    assert names(data) == {FILE_NAME}


def test_damage_is_the_sources(backup: Path, data: Path) -> None:
    file = data / FILE_NAME
    file.write_bytes(b"garbage" * 1000)
    error = refused(StoreDamaged, lambda: copy_of_store(str(file), str(backup), overwrite=True))
    assert str(error).startswith(f"{file}: ")


def test_a_copy_that_a_dead_process_left_is_removed(data: Path, everything: Held) -> None:
    left = data / f"{FILE_NAME}{files.BACKUP}"
    left.write_bytes(b"half")
    assert held(data) == everything
    assert not left.exists()
    store = SqliteStore(data)
    store.load()
    left.write_bytes(b"half")
    store.backup().close()
    store.close()
    assert names(data) == {FILE_NAME}


# -- putting one back ----------------------------------------------------------------------------------------------


def test_a_restore_makes_the_directory(backup: Path, everything: Held, tmp_path: Path) -> None:
    assert restore(str(backup), str(tmp_path / "deep" / "new")) is None
    assert stat.S_IMODE((tmp_path / "deep" / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "deep" / "new" / FILE_NAME).stat().st_mode) == 0o600
    assert held(tmp_path / "deep" / "new") == everything
    assert names(tmp_path / "deep" / "new") == {FILE_NAME}


def test_a_store_is_replaced_only_by_force_and_kept(backup: Path, everything: Held, tmp_path: Path) -> None:
    old = fill(tmp_path / "a", A)
    old_bytes = old.read_bytes()
    log = Path(f"{old}-wal")
    log.write_bytes(b"a log")
    refused(StoreExists, lambda: restore(str(backup), str(tmp_path / "a")))
    assert (old.read_bytes(), log.read_bytes()) == (old_bytes, b"a log")
    assert names(old.parent) == {FILE_NAME, log.name}
    kept = restore(str(backup), str(tmp_path / "a"), force=True)
    assert kept == f"{old}.replaced-1"
    assert Path(kept).read_bytes() == old_bytes
    assert Path(f"{kept}-wal").read_bytes() == b"a log"
    assert held(tmp_path / "a") == everything


def test_a_log_alone_is_not_overwritten_either(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"{FILE_NAME}-wal").write_bytes(b"a log")
    refused(StoreExists, lambda: restore(str(backup), str(tmp_path / "a")))


def test_a_node_that_runs_is_not_touched(backup: Path, tmp_path: Path) -> None:
    fill(tmp_path / "a", A)
    store = SqliteStore(tmp_path / "a")
    store.load()
    refused(StoreLocked, lambda: restore(str(backup), str(tmp_path / "a"), force=True))
    store.close()
    assert held(tmp_path / "a") == A


def test_a_bad_backup_is_refused_before_anything_is_touched(backup: Path, tmp_path: Path) -> None:
    content = bytearray(backup.read_bytes())
    content[content.index(b"sensor10\0") + 200] ^= 1
    backup.write_bytes(content)
    error = refused(BadBackup, lambda: restore(str(backup), str(tmp_path / "a")))
    assert "home.:3.sensor10" in str(error)
    assert error.report.errors >= 1
    assert not (tmp_path / "a").exists()
    refused(StoreError, lambda: restore(str(tmp_path / "none"), str(tmp_path / "a")))


def test_a_backup_of_a_later_version_is_refused(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.store.sqlite.SCHEMA_VERSION", 0)
    refused(StoreTooNew, lambda: restore(str(backup), str(tmp_path / "a")))


@pytest.mark.parametrize("before", [True, False])
def test_a_restore_that_is_cut_short_has_either_store(
    backup: Path, everything: Held, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: bool
) -> None:
    """The process dies before, or right after, each rename: the next start finds the old store or the new one."""
    old = fill(tmp_path / "old", A)
    states = []
    for step in range(20):
        directory = tmp_path / str(step)
        directory.mkdir()
        shutil.copy(old, directory / FILE_NAME)
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", dying_rename(step, before))
            try:
                restore(str(backup), str(directory), force=True)
                break
            except Died:
                pass
        states.append(held(directory))
        assert states[-1] in (A, everything)
        assert states[-1] == A or (directory / f"{FILE_NAME}.replaced-1").exists()
        assert not any(name.endswith((".new", "restored-1")) for name in names(directory))
    assert len(states) >= 3, "fewer renames than a swap has"
    assert states[-1] == everything
