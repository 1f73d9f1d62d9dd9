"""agent list, status, check: a plug-in within kv, with its global options."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path as FilePath
from typing import Any

import pytest

from kvnode.cli import session
from kvnode.core.path import Path
from kvnode.data.errors import ErrorRecord, Severity
from kvnode.data.sources import Source
from tests.cli.conftest import Result
from tests.cli.fake import INC, FakeClient, reading

Kv = Callable[..., Result]

CONFIG = Path.parse("agent.onewire.house")


@pytest.fixture
def tree(fake: FakeClient) -> FakeClient:
    now = datetime.now(UTC)  # when the test runs, which may be minutes after it was imported

    def status(state: str, seconds: float) -> dict[str, Any]:
        seen = now - timedelta(seconds=seconds)
        return {"state": state, "seen": seen, "since": now - timedelta(days=2), "every": 60, "bindings": 3}

    failed = ErrorRecord("onewire/house", CONFIG, "timeout", "no answer", Severity.ERROR, 1, now, now, now)
    return fake.put(
        reading("@.status.agent.onewire.house", status("running", 10)),
        reading("@.status.agent.onewire.shed", status("running", 1000)),
        reading("@.status.agent.toy.t", status("stopped", 1000)),
        reading("@.errors.onewire.house", failed.value()),
        reading("@.sources.home.attic", Source("onewire/house", CONFIG / "attic", 60).value()),
        reading("@.sources.home.cellar", Source("onewire/house", CONFIG / "cellar").value()),
        reading("@.sources.home.gone", Source("onewire/house", CONFIG / "gone").value()),
        reading("@.sources.other", Source("other/x", CONFIG).value()),
        reading("home.attic", 21.5),
        reading("home.cellar", 9.5),
    )


def test_list(kv: Kv) -> None:
    rows = {row["kind"]: row for row in kv("agent", "list", "--format", "json").json}
    assert rows["onewire"]["package"] == "kvnode"
    assert kv("agent", "list").out.splitlines()[0].split() == ["KIND", "PACKAGE", "VERSION"]


def test_status(kv: Kv, tree: FakeClient) -> None:
    rows = kv("agent", "status", "--format", "jsonl").lines
    assert [(r["agent"], r["state"], r["errors"], r["bindings"]) for r in rows] == [
        ("onewire/house", "running", 1, 3),
        ("onewire/shed", "lost", 0, 3),
        ("toy/t", "stopped", 0, 3),
    ]
    lines = kv("--node", "n:1", "agent", "status", "onewire").out.splitlines()
    assert lines[0].split() == ["AGENT", "STATE", "SEEN", "SINCE", "BINDINGS", "ERRORS"]
    assert [line.split()[:2] for line in lines[1:]] == [["onewire/house", "running"], ["onewire/shed", "lost"]]
    assert tree.address == "n:1"
    assert kv("agent", "status", "nothing").out == "no agents have run\n"


def test_the_values_of_agents(kv: Kv, tree: FakeClient) -> None:
    rows = kv("agent", "status", "onewire.house", "--values", "--format", "json").json
    assert [(r["path"], r["stale"], r["state"], r["config"]) for r in rows] == [
        ("home.attic", True, "running", "agent.onewire.house.attic"),
        ("home.cellar", False, "running", "agent.onewire.house.cellar"),
        ("home.gone", True, "running", "agent.onewire.house.gone"),
    ]
    words = [line.split() for line in kv("agent", "status", "--values").out.splitlines()]
    assert [w[0] for w in words[1:]] == ["home.attic", "home.cellar", "home.gone"]
    assert "stale" in words[1]
    assert "fresh" in words[2]
    assert "missing" in words[3]
    tree.put(reading("home.cellar", 9.5, expired=True))
    assert all(row["stale"] for row in kv("agent", "status", "onewire.house", "--values", "--format", "json").json)


def test_check(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("agent.onewire.house", {"server": "127.0.0.1:4304", "dest": "home.sensors"}))
    assert kv("agent", "check", "onewire", "house") == Result(0, "agent.onewire.house: no problems, 1 binding\n", "")
    bad = kv("agent", "check", "onewire", "house", "--entry", "28:.67452301EF00", '{"precision": 13}')
    assert bad.code == 1
    assert "expected 9, 10, 11 or 12, not 13" in bad.out
    (row,) = kv("agent", "check", "onewire", "house", "--entry", ":", '{"colour": 1}', "--format", "jsonl").lines
    assert (row["path"], row["key"], row["code"]) == ("agent.onewire.house", "colour", "config")
    assert not any(call[0] == "set" for call in fake.calls)


def test_check_a_file_before_it_is_loaded(
    kv: Kv, fake: FakeClient, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put(reading("agent.onewire.house", {"server": "127.0.0.1:4304", "dest": "home.sensors"}))
    file = tmp_path / "bindings.jsonl"

    def check(*lines: str, more: tuple[str, ...] = ()) -> Result:
        file.write_text("".join(f"{line}\n" for line in lines))
        return kv("agent", "check", "onewire", "house", "--file", str(file), "--format", "jsonl", *more)

    device = "agent.onewire.house.28:.67452301EF00"
    assert check(f'{{"path": "{device}", "value": {{"precision": 12}}}}') == Result(0, "", "")
    bad = check(
        '{"path": "home.other", "value": 1}',
        f'{{"path": "{device}", "versions": [{{"dot": "{INC}:1", "stamp": 1, "value": {{"interval": 0}}}}]}}',
        '{"path": "agent.onewire.house.x", "value": {"device": "29.67452301EF10", "attr": "PIO.9"}}',
    )
    assert bad.code == 1
    assert [(row["path"], row["key"]) for row in bad.lines] == [(device, "interval"), ("agent.onewire.house.x", "attr")]
    other = check('{"path": "agent.onewire.hose", "value": {}}')
    assert other.err == f"kv: --file: {file} has nothing at or below agent.onewire.house (see kv agent check --help)\n"
    assert "bindings.jsonl, line 1: not a line of a dump" in check("server: x").err
    assert not any(call[0] == "set" for call in fake.calls)

    def nobody(*args: object) -> None:
        raise AssertionError("a node is asked")

    monkeypatch.setattr(session, "open_client", nobody)
    alone = check(f'{{"path": "{device}", "value": {{"dest": "home.attic"}}}}', more=("--alone",))
    assert alone == Result(0, "", "")
    without = check(f'{{"path": "{device}", "value": {{}}}}', more=("--alone",))
    assert [(row["path"], row["key"]) for row in without.lines] == [(device, "dest")], "the tree has one"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("agent", "check", "nothing", "x"), "there is no agent 'nothing'"),
        (("agent", "check", "onewire", "x", "--entry", "a", "{"), "is no JSON"),
        (("agent", "check", "onewire", "x", "--entry", "a..b", "{}"), "empty element"),
        (("agent", "nothing"), "no such command"),
    ],
)
def test_wrong_commands(kv: Kv, args: tuple[str, ...], complaint: str) -> None:
    done = kv(*args)
    assert done.code == 2
    assert complaint in done.err.lower() or complaint in done.err


@pytest.mark.parametrize("words", [("list",), ("status",), ("check",)], ids=str)
def test_help_has_examples_and_the_global_options(kv: Kv, words: tuple[str, ...]) -> None:
    told = kv("agent", *words, "--help").out
    assert "Examples:" in told
    assert f"  kv agent {words[0]}" in told
    assert "--format" in told
