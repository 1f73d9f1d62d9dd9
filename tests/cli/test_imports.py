"""``kv import moat``: a file onto a real node, its report, and files that will not do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kvnode.testing.processes import NodeProcess, run_kv
from tests.cli.conftest import Result
from tests.support.moat import MoatFile

Kv = Callable[..., Result]

pytestmark = pytest.mark.integration


def saved(folder: Path) -> Path:
    file = MoatFile()
    file.state()
    file.entry(value="Initial data")
    for room in ("attic", "cellar"):
        file.entry("home", room, "temp", value=21.5)
        file.entry("home", room, "gone")
    file.entry("knx", 1, 2, 3, value=True)
    file.entry(None, "conv", "x", value={"a": 1})
    (folder / "state.save").write_bytes(file.data)
    return folder / "state.save"


def test_a_saved_state_is_taken_over_once(tmp_path: Path, kv_here: Kv) -> None:
    file = str(saved(tmp_path))
    with NodeProcess("n", tmp_path) as node:
        where = ("--node", node.address, "--format", "json")
        first = json.loads(run_kv("import", "moat", file, *where).stdout)
        again = kv_here("import", "moat", file, *where).json
        below = kv_here("import", "moat", file, "--below", "old", *where).json
        listed = kv_here("list", "--node", node.address, "--format", "jsonl").lines
    root = {"path": ":", "why": "the root holds no value here"}
    counts = {"paths": 4, "written": 4, "unchanged": 0, "hidden": 1, "deleted": 2, "skipped": [root], "dry_run": False}
    assert first == counts
    assert again == counts | {"written": 0, "unchanged": 4}
    assert below == counts
    have = {row["path"]: row["value"] for row in listed if not row["path"].startswith("@.nodes")}
    wanted = {"home.attic.temp": 21.5, "home.cellar.temp": 21.5, "knx.:1.:2.:3": True}
    hidden = "@.moat.conv.x"
    assert have.pop(hidden, {"a": 1}) == {"a": 1}
    assert have == wanted | {f"old.{path}": value for path, value in (wanted | {hidden: {"a": 1}}).items()}


def test_a_dry_run_asks_no_node(tmp_path: Path, kv_here: Kv) -> None:
    done = kv_here("import", "moat", str(saved(tmp_path)), "--dry-run", "--node", "127.0.0.1:1")
    report = [
        "4 values: would be written where they differ",
        "1 of them is moat-kv's own, below @.moat: for reference, nothing acts upon them",
        "2 deleted entries left out",
        "1 entry has no place here:",
        "  :: the root holds no value here",
    ]
    assert (done.code, done.out.splitlines()) == (0, report)


def test_a_file_that_breaks_off_needs_a_word(tmp_path: Path, kv_here: Kv) -> None:
    file = saved(tmp_path)
    file.write_bytes(file.read_bytes()[:-3])
    done = kv_here("import", "moat", str(file), "--dry-run")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "--partial takes what is before" in done.err
    done = kv_here("import", "moat", str(file), "--dry-run", "--partial")
    assert done.out.startswith("3 values")


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "no record of moat-kv in it"), (b"{}", "no record of moat-kv"), (None, "No such file")]
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, kv_here: Kv, data: bytes | None, says: str) -> None:
    file = tmp_path / "x"
    if data is not None:
        file.write_bytes(data)
    done = kv_here("import", "moat", str(file))
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1
