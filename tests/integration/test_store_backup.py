"""Backups of a node that runs and is written to; and a node that comes back with one."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from kvnode.codec.values import unpack
from kvnode.core.entry import decode_record
from kvnode.core.path import Path as KvPath
from kvnode.store.backup import restore
from kvnode.store.logged import LoggedStore
from kvnode.testing.processes import NodeProcess, run_kv
from tests.support.nodes import Writer, ask, dump_of, equal_dumps, linked, put, status, values, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def stored(directory: Path, path: str) -> Any:
    """The value in a store that no node has open."""
    store = LoggedStore(directory)
    try:
        (version,) = decode_record(dict(store.load().rows)[KvPath.parse(path).key])
        return unpack(bytes(version.details.value))
    finally:
        store.close()


def test_a_backup_under_load_and_a_node_that_comes_back_with_it(tmp_path: Path) -> None:
    a = NodeProcess("a", tmp_path)
    b = NodeProcess("b", tmp_path, peers=[a.address])
    backup = tmp_path / "a.backup"
    with a, b:
        wait_for(lambda: linked(b) == {"a"}, "the link")
        put(a, "before", "x" * 100_000, ack="all")
        with Writer(a, pause_s=0.001) as writer:
            writer.wait()
            put(a, "before", 1)
            told = json.loads(a.kv("store", "backup", str(backup), "--format", "json").stdout)
            before, after = ask(a, lambda kv: kv.compact())
            writer.wait()
        assert (told["of"], told["bytes"]) == ("a", backup.stat().st_size)
        assert stat.S_IMODE(backup.stat().st_mode) == 0o600
        assert after < before
        writer.check(values(equal_dumps(a, b)))

        found = json.loads(run_kv("store", "check", str(backup), "--format", "json").stdout)
        assert (found["sound"], found["findings"]) == (True, [])
        restore(str(backup), str(tmp_path / "look"))
        assert stored(tmp_path / "look", "before") == 1, "it was acknowledged before the backup began"
        in_use = run_kv("store", "restore", str(backup), "--data", str(a.data), "--force", check=False)
        assert in_use.returncode == 4
        assert f"is in use by process {a.pid}" in in_use.stderr

        used = status(a)["incarnation"]
        ask(a, lambda kv: kv.set("after", 1, ack="all", timeout=30))
        ask(a, lambda kv: kv.delete("before", ack="all", timeout=30))
        a.terminate()
        run_kv("store", "restore", str(backup), "--data", str(a.data), "--force")
        assert (a.data / "kv.sqlite.replaced-1").exists()
        a.start()
        dump = values(equal_dumps(a, b))
        assert "before" not in dump, "a delete that the backup did not have yet"
        assert dump["after"] == [1]
        writer.check(dump)
        put(a, "again", 1, ack="all")
        assert status(a)["incarnation"] not in (used, None)
        assert {report["kind"] for node in (a, b) for report in status(node)["reports"]} <= {"quarantine"}
        assert values(dump_of(b))["again"] == [1]
