"""store check, backup, restore, compact: on files, and on a node where they speak to one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kvnode.cli.store import size_text
from kvnode.client import errors
from kvnode.core.ticks import Ticks
from kvnode.store.files import PAGE_BYTES
from kvnode.store.logged import LoggedStore
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.store_contract import INC, persist
from tests.cli.conftest import Result
from tests.cli.fake import FakeClient
from tests.support.records import entries, path_of, store_of, version
from tests.support.stores import copied, held

Kv = Callable[..., Result]
COUNT = 40


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = entries(*(version(tick) for tick in range(1, COUNT + 1)))
    return store_of(tmp_path_factory.mktemp("master"), persist(1, rows, {INC: Ticks.upto(COUNT)}))


@pytest.fixture
def data(master: Path, tmp_path: Path) -> Path:
    """The directory of a node that is stopped."""
    directory = tmp_path / "data"
    directory.mkdir()
    shutil.copy(master, directory / FILE_NAME)
    return directory


def damage(file: Path, tick: int) -> None:
    """In the record of this tick's path."""
    content = bytearray(file.read_bytes())
    content[content.rindex(path_of(tick).key) + 200] ^= 1
    file.write_bytes(content)


# -- check ---------------------------------------------------------------------------------------------------------


def test_a_sound_store(kv: Kv, data: Path) -> None:
    done = kv("store", "check", "--data", str(data))
    assert (done.code, done.err) == (0, "")
    head, verdict = done.out.splitlines()
    assert head.startswith(f"{data / FILE_NAME}: schema ")
    assert f"{COUNT} entries, {COUNT} versions, 1 incarnation, " in head
    assert verdict == "nothing is lost"


def test_damage_is_named_and_gives_exit_code_1(kv: Kv, data: Path) -> None:
    damage(data / FILE_NAME, 10)
    done = kv("store", "check", "--data", str(data))
    assert done.code == 1
    assert "error  rows   home.:3.sensor10  the record is damaged (wrong checksum)" in done.out
    assert done.out.splitlines()[-1].startswith("1 error: start its node")


def test_check_for_machines(kv: Kv, data: Path) -> None:
    damage(data / FILE_NAME, 10)
    found = kv("store", "check", "--data", str(data), "--format", "json").json
    assert (found["sound"], found["errors"], found["entries"], found["more"]) == (False, 1, COUNT - 1, 0)
    (finding,) = found["findings"]
    assert (finding["level"], finding["kind"], finding["path"]) == ("error", "rows", "home.:3.sensor10")


@pytest.fixture
def killed(data: Path, tmp_path: Path) -> Path:
    """The directory of a node that was killed: one entry more is in its log, and has been changed since."""
    store = LoggedStore(data)
    store.load()
    for tick in range(COUNT + 1, COUNT + 6):
        of = version(tick, path=path_of(COUNT + 1))
        store.commit([persist(tick, entries(of), {INC: Ticks.upto(tick)})])
    copy = copied(data, tmp_path / "killed")
    store.close()
    return copy


def test_what_is_only_in_the_log_is_there_for_every_command(kv: Kv, killed: Path, tmp_path: Path) -> None:
    at = ("--data", str(killed))
    found = kv("store", "check", *at, "--format", "json").json
    assert (found["sound"], found["entries"]) == (True, COUNT + 1)
    assert found["log_bytes"]
    assert kv("store", "backup", str(tmp_path / "kv.backup"), *at).code == 0
    assert kv("store", "check", str(tmp_path / "kv.backup"), "--format", "json").json["entries"] == COUNT + 1
    assert kv("store", "compact", *at).code == 0
    found = kv("store", "check", *at, "--format", "json").json
    assert (found["entries"], found["log_bytes"]) == (COUNT + 1, 0)


def test_a_damaged_log_is_an_error(kv: Kv, killed: Path) -> None:
    log = killed / f"{FILE_NAME}-log0"
    content = bytearray(log.read_bytes())
    content[200] ^= 1
    log.write_bytes(content)
    done = kv("store", "check", "--data", str(killed))
    assert done.code == 1
    assert "error  log    -     1 commits in its log are damaged or missing" in done.out


def test_the_directory_may_stand_in_the_environment(kv: Kv, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kv("store", "check").code == 2
    monkeypatch.setenv("KVNODE_DATA", str(data))
    assert kv("store", "check").code == 0


def test_a_node_that_runs_is_left_alone(kv: Kv, data: Path, master: Path) -> None:
    store = SqliteStore(data)
    store.load()
    for args in (["check"], ["compact"], ["backup", str(data / "x")], ["restore", str(master), "--force"]):
        done = kv("store", *args, "--data", str(data))
        assert (done.code, done.out) == (4, "")
        assert f"is in use by process {os.getpid()}" in done.err
    store.close()


@pytest.mark.parametrize("command", ["check", "compact", "backup x"])
def test_no_store_and_none_is_made(kv: Kv, tmp_path: Path, command: str) -> None:
    done = kv("store", *command.replace("x", str(tmp_path / "x")).split(), "--data", str(tmp_path / "none"))
    assert (done.code, done.out) == (2, "")
    assert "there is no store" in done.err
    assert os.listdir(tmp_path) == []


# -- backup and restore --------------------------------------------------------------------------------------------


def test_from_a_directory_to_a_backup_and_back(kv: Kv, data: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.backup"
    done = kv("store", "backup", str(target), "--data", str(data))
    assert done.code == 0
    assert done.out.startswith(f"{target}: backup of {data / FILE_NAME}, ")
    assert kv("store", "check", str(target)).code == 0
    done = kv("store", "restore", str(target), "--data", str(tmp_path / "new"))
    assert done.code == 0
    assert done.out.splitlines()[0] == f"{tmp_path / 'new' / FILE_NAME}: restored from {target}"
    assert "new incarnation" in done.out
    assert held(tmp_path / "new") == held(data)


def test_a_backup_of_a_node_that_runs(kv: Kv, fake: FakeClient, master: Path, tmp_path: Path) -> None:
    content = master.read_bytes()
    fake.chunks = [content[at : at + 10_000] for at in range(0, len(content), 10_000)]
    target = tmp_path / "a.backup"
    found = kv("store", "backup", str(target), "--format", "json").json
    assert found == {"backup": str(target), "of": "a", "bytes": len(content)}
    assert target.read_bytes() == content
    assert kv("store", "backup", str(target)).code == 2
    assert fake.calls == [("backup",)], "it is seen before anything is sent"
    assert kv("store", "backup", str(target), "--force").code == 0


def test_a_backup_that_arrives_damaged_or_not_at_all(kv: Kv, fake: FakeClient, master: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.backup"
    fake.chunks = [master.read_bytes()[:-PAGE_BYTES]]
    done = kv("store", "backup", str(target))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"kv: {target}: is damaged (")
    fake.fails = errors.error("store_full", "no room left; free some space")
    done = kv("store", "backup", str(target))
    assert (done.code, done.err) == (4, "kv: no room left; free some space\n")
    assert os.listdir(tmp_path) == []


def test_a_restore_keeps_what_it_replaces(kv: Kv, data: Path, master: Path, tmp_path: Path) -> None:
    before = held(data)
    done = kv("store", "restore", str(master), "--data", str(data))
    assert done.code == 2
    assert "--force" in done.err
    done = kv("store", "restore", str(master), "--data", str(data), "--force")
    assert done.code == 0
    assert f"the store that was there is kept as {data / FILE_NAME}.replaced-1" in done.out
    found = kv("store", "restore", str(master), "--data", str(data), "--force", "--format", "json").json
    assert found == {"restored": str(data / FILE_NAME), "from": str(master), "kept": f"{data / FILE_NAME}.replaced-2"}
    assert held(data) == before
    assert kv("store", "restore", str(master)).code == 2


def test_a_damaged_backup_is_not_restored(kv: Kv, data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.backup"
    shutil.copy(data / FILE_NAME, bad)
    damage(bad, 10)
    done = kv("store", "restore", str(bad), "--data", str(tmp_path / "new"))
    assert done.code == 2
    assert "is damaged (home.:3.sensor10: " in done.err
    assert not (tmp_path / "new").exists()
    assert kv("store", "check", str(bad)).out.splitlines()[-1] == "1 error: take another backup"


# -- compact -------------------------------------------------------------------------------------------------------


def test_compacting_a_node_that_runs(kv: Kv, fake: FakeClient) -> None:
    assert kv("store", "compact").out == "3.5 MB before, 1.2 kB after\n"
    assert kv("store", "compact", "--format", "json").json == {"before": 3_500_000, "after": 1200}


def test_compacting_a_directory(kv: Kv, data: Path) -> None:
    store = SqliteStore(data)
    store.load()
    store.commit([persist(1, {b"\x02x\0": bytes(1 << 20)})])
    store.commit([persist(2, {b"\x02x\0": None})])
    store.close()
    before = held(data)
    found = kv("store", "compact", "--data", str(data), "--format", "json").json
    assert found["after"] < 100_000 < 1_000_000 < found["before"]
    assert (data / FILE_NAME).stat().st_size == found["after"]
    assert held(data) == before


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1000, "1.0 kB"), (2_345_678, "2.3 MB"), (10**13, "10000.0 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size_text(count) == text
