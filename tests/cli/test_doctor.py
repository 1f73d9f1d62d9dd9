"""doctor: findings of the node, of the configuration, of a node that does not run; and the bundle."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kvnode.cli import session
from kvnode.client import errors
from kvnode.node import doctor
from kvnode.node.config import NodeConfig
from kvnode.node.findings import Finding
from tests.cli.conftest import Result
from tests.cli.fake import FakeClient

Kv = Callable[..., Result]
CLOCK = {"severity": "warning", "area": "clock", "what": "it is \x1b[31mlate", "way_out": "set it"}
DISK = {"severity": "error", "area": "disk", "what": "/d: full", "way_out": "free some space"}


@dataclass
class FakeDoctor:
    """Stands for kvnode.client.inspection.Inspection."""

    answer: dict[str, Any] = field(default_factory=lambda: {"findings": []})
    asked: list[bool] = field(default_factory=list)

    async def diagnose(self, *, bundle: bool) -> dict[str, Any]:
        self.asked.append(bundle)
        return self.answer


@pytest.fixture
def node(fake: FakeClient, monkeypatch: pytest.MonkeyPatch) -> FakeDoctor:
    for name in ("KVNODE_CONFIG", "KVNODE_NAME"):
        monkeypatch.delenv(name, raising=False)
    fake.inspection = FakeDoctor()
    return fake.inspection


@pytest.fixture
def stopped(node: FakeDoctor, monkeypatch: pytest.MonkeyPatch) -> list[NodeConfig]:
    """No node answers; gives the configurations that were examined."""
    examined: list[NodeConfig] = []

    @asynccontextmanager
    async def open_client(address: str, timeout_s: float) -> AsyncIterator[Any]:
        raise ExceptionGroup("as task groups do", [errors.unavailable(f"{address}: connection refused")])
        yield

    async def examine_stopped(config: NodeConfig) -> list[Finding]:
        examined.append(config)
        return [Finding("error", "ports", "taken", "free it")]

    monkeypatch.setattr(session, "open_client", open_client)
    monkeypatch.setattr(doctor, "examine_stopped", examine_stopped)
    return examined


def test_nothing_is_wrong(kv: Kv, node: FakeDoctor) -> None:
    assert kv("doctor") == Result(0, "nothing is wrong\n", "")
    assert kv("doctor", "--format", "json") == Result(0, "[]\n", "")
    assert node.asked == [False, False]


def test_findings_errors_first(kv: Kv, node: FakeDoctor) -> None:
    node.answer = {"findings": [CLOCK, DISK]}
    got = kv("doctor")
    assert (got.code, got.err) == (1, "")
    assert got.out.splitlines() == [
        "error    disk: /d: full",
        "         free some space",
        "warning  clock: it is \\x1b[31mlate",
        "         set it",
    ]
    got = kv("doctor", "--format", "jsonl")
    assert (got.code, got.lines) == (1, [CLOCK, DISK])


def test_a_node_that_does_not_run(kv: Kv, stopped: list[NodeConfig]) -> None:
    got = kv("doctor", "--node", "h:1")
    assert (got.code, got.err) == (1, "")
    assert got.out.startswith("error    node: no node answers at h:1: h:1: connection refused\n")
    assert "--config FILE" in got.out
    assert stopped == []


def test_a_node_that_does_not_run_and_its_configuration(kv: Kv, stopped: list[NodeConfig], tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("name: cellar\nstore: memory\nlisten: 127.0.0.1:4711\n")
    rows = kv("doctor", "--config", str(file), "--format", "jsonl").lines
    assert [row["area"] for row in rows] == ["node", "ports"]
    assert rows[0]["what"].startswith("no node answers at 127.0.0.1:4711: ")
    assert [config.name for config in stopped] == ["cellar"]


def test_a_configuration_that_is_wrong(kv: Kv, node: FakeDoctor, tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("name: cellar\nlisten: nowhere\nlog: {level: loud}\n")
    rows = kv("doctor", "--config", str(file), "--format", "jsonl").lines
    assert [(row["severity"], row["area"]) for row in rows] == [("error", "configuration")] * 2
    assert all(row["what"].startswith(f"{file}:") for row in rows)
    (row,) = kv("doctor", "--config", str(tmp_path / "none"), "--format", "jsonl").lines
    assert "none" in row["what"]


def test_the_environment_may_name_the_configuration(kv: Kv, node: FakeDoctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVNODE_NAME", "no name!")
    assert [row["area"] for row in kv("doctor", "--format", "jsonl").lines] == ["configuration"]


def test_other_errors_are_errors(kv: Kv, fake: FakeClient, node: FakeDoctor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def too_old(*, bundle: bool) -> dict[str, Any]:
        raise errors.error("too_old", "the node a is too old for 'diagnose'")

    monkeypatch.setattr(node, "diagnose", too_old)
    assert kv("doctor") == Result(4, "", "kv: the node a is too old for 'diagnose'\n")


# -- the bundle ------------------------------------------------------------------------------------------------------


def read(file: Path) -> dict[str, str]:
    with tarfile.open(file) as tar:
        members = tar.getmembers()
        assert all(member.mode == 0o600 and member.isfile() for member in members)
        texts = {}
        for member in members:
            data = tar.extractfile(member)
            assert data is not None
            texts[member.name] = data.read().decode()
        return texts


def test_the_bundle(kv: Kv, node: FakeDoctor, tmp_path: Path) -> None:
    node.answer = {"findings": [DISK], "status": {"node": "a"}, "metrics": "kvnode_entries 1\n", "log": [{"m": 1}, "x"]}
    file = tmp_path / "a.tar.gz"
    got = kv("doctor", "--bundle", str(file))
    assert (got.code, node.asked) == (1, [True])
    assert got.out.endswith(f"written: {file}; look into it before you send it\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    texts = read(file)
    assert set(texts) == {
        f"a/{name}" for name in ("README", "findings.json", "status.json", "metrics.txt", "log.jsonl")
    }
    assert json.loads(texts["a/findings.json"]) == [DISK]
    assert texts["a/log.jsonl"] == '{"m": 1}\n"x"\n'


def test_nothing_is_written_over(kv: Kv, node: FakeDoctor, tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    file.write_text("precious")
    assert kv("doctor", "--bundle", str(file)).code == 2
    assert file.read_text() == "precious"


def test_the_bundle_of_a_node_that_does_not_run(kv: Kv, stopped: list[NodeConfig], tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("name: cellar\nstore: memory\n")
    file = tmp_path / "b.tar.gz"
    kv("doctor", "--config", str(config), "--bundle", str(file))
    assert {name.partition("/")[2] for name in read(file)} == {"README", "about.json", "config.json", "findings.json"}


def test_a_secret_of_an_older_node_stays_here(kv: Kv, node: FakeDoctor, tmp_path: Path) -> None:
    node.answer = {"findings": [], "config": {"password": "hunter2"}, "log": ["http://u:hunter2@h"]}
    file = tmp_path / "a.tar.gz"
    kv("doctor", "--bundle", str(file))
    assert "hunter2" not in "".join(read(file).values())
