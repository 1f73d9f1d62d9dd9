"""errors list, show, ack, watch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kvnode.cli.errorwatch import Board
from kvnode.client.items import Change, Uptodate
from kvnode.core.path import Path
from kvnode.data.errors import Acknowledgement, ErrorRecord, Severity
from tests.cli.conftest import Result
from tests.cli.fake import FakeClient, change, reading

Kv = Callable[..., Result]

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ATTIC = ErrorRecord(
    "onewire/house", Path.parse("agent.onewire.house.attic"), "timeout", "no answer", Severity.ERROR, 3, T0, T0, T0
)
CELLAR = replace(
    ATTIC, code="stale_command", message="too old", severity=Severity.WARNING, last=T0 + timedelta(hours=1)
)
STORE = replace(ATTIC, subsystem="node/n1", path=Path(("store",)), severity=Severity.CRITICAL, resolved=T0)
KNOWN = Acknowledgement(T0, "a cable", "ann", T0 + timedelta(minutes=5))


@pytest.fixture
def tree(fake: FakeClient) -> FakeClient:
    return fake.put(
        reading("@.errors.onewire.house.attic", ATTIC.value()),
        reading("@.errors.onewire.house.cellar", CELLAR.value()),
        reading("@.errors.node.n1.store", STORE.value()),
        reading("@.errors.node.n1.other", "no record"),
    )


def test_the_worst_that_is_open_comes_first(kv: Kv, tree: FakeClient) -> None:
    rows = kv("errors", "list", "--format", "jsonl").lines
    assert [(r["error"], r["state"], r["severity"]) for r in rows] == [
        ("onewire.house.attic", "open", "error"),
        ("onewire.house.cellar", "open", "warning"),
    ]
    assert rows[0] == {
        "error": "onewire.house.attic",
        "state": "open",
        "severity": "error",
        "subsystem": "onewire/house",
        "path": "agent.onewire.house.attic",
        "code": "timeout",
        "message": "no answer",
        "count": 3,
        "first": "2026-01-01T00:00:00.000Z",
        "opened": "2026-01-01T00:00:00.000Z",
        "last": "2026-01-01T00:00:00.000Z",
        "resolved": None,
        "acknowledged": None,
    }
    lines = kv("errors", "list").out.splitlines()
    assert lines[0].split() == ["SEVERITY", "STATE", "LAST", "COUNT", "ERROR", "MESSAGE"]
    assert lines[1].split()[:2] == ["error", "open"]
    assert lines[1].endswith("onewire.house.attic   no answer")


def test_what_is_listed(kv: Kv, tree: FakeClient) -> None:
    def names(*args: str) -> list[str]:
        return [row["error"] for row in kv("errors", "list", *args, "--format", "json").json]

    assert names("--all") == ["onewire.house.attic", "onewire.house.cellar", "node.n1.store"]
    assert names("--severity", "error") == ["onewire.house.attic"]
    assert names("node", "--all") == names("@.errors.node", "--all") == ["node.n1.store"]
    assert names("node") == []
    assert kv("errors", "list", "node").out == "no errors\n"


def test_an_acknowledged_error_is_counted_only(kv: Kv, tree: FakeClient) -> None:
    tree.put(reading("@.acknowledged.onewire.house.attic", KNOWN.value()))
    assert [r["error"] for r in kv("errors", "list", "--format", "jsonl").lines] == ["onewire.house.cellar"]
    assert kv("errors", "list").out.splitlines()[-1] == "(1 acknowledged, see --all)"
    (row, *_) = kv("errors", "list", "onewire.house.attic", "--all", "--format", "json").json
    assert row["state"] == "known"
    assert row["acknowledged"] == {"author": "ann", "comment": "a cable", "at": "2026-01-01T00:05:00.000Z"}
    again = replace(ATTIC, opened=T0 + timedelta(hours=2))
    tree.put(reading("@.errors.onewire.house.attic", again.value()))
    assert len(kv("errors", "list", "--format", "jsonl").lines) == 2


def test_show(kv: Kv, tree: FakeClient) -> None:
    assert kv("errors", "show", "onewire.house.attic", "--format", "json").json["count"] == 3
    assert "no answer" in kv("errors", "show", "@.errors.onewire.house.attic").out
    tree.put(reading("@.acknowledged.onewire.house.attic", KNOWN.value()))
    assert "ann, 2026-01-01T00:05:00.000Z: a cable" in kv("errors", "show", "onewire.house.attic").out
    for nothing in ("nothing", "node.n1.other"):
        result = kv("errors", "show", nothing)
        assert result == Result(1, "", f"kv: no error record {nothing}; kv errors list --all shows those there are\n")


def test_ack(kv: Kv, tree: FakeClient) -> None:
    result = kv("errors", "ack", "onewire.house.attic", "a cable", "--author", "ann")
    assert result == Result(0, "onewire.house.attic: acknowledged\n", "")
    written = Acknowledgement.from_value(tree.entries[Path.parse("@.acknowledged.onewire.house.attic")].value)
    assert written is not None
    assert (written.opened, written.comment, written.author) == (T0, "a cable", "ann")
    resolved = kv("errors", "ack", "node.n1.store")
    assert resolved == Result(1, "", "kv: node.n1.store is resolved: there is nothing to acknowledge\n")


def test_watch(kv: Kv, tree: FakeClient) -> None:
    resolved = replace(ATTIC, resolved=T0 + timedelta(hours=2))

    def item(record: ErrorRecord) -> Change:
        return change("@.errors.onewire.house.attic", record.value())

    tree.items = (item(ATTIC), item(resolved), Uptodate(), item(CELLAR), item(resolved), change("@.errors.x.y", 3))
    result = kv("errors", "watch", "--format", "jsonl")
    assert [r["state"] for r in result.lines] == ["open", "open", "resolved"]
    assert result.code == 3
    assert [line.split()[1:3] for line in kv("errors", "watch", "--severity", "error").out.splitlines()] == [
        ["open", "error"],
        ["resolved", "error"],
    ]


def test_an_error_that_was_acknowledged_before_is_no_news(kv: Kv, tree: FakeClient) -> None:
    tree.items = (
        change("@.acknowledged.onewire.house.attic", KNOWN.value()),
        change("@.errors.onewire.house.attic", ATTIC.value()),
        change("@.errors.onewire.house.cellar", CELLAR.value()),
        Uptodate(),
        change("@.errors.onewire.house.attic", replace(ATTIC, count=4).value()),
    )
    rows = kv("errors", "watch", "--format", "jsonl").lines
    assert [(r["error"], r["state"]) for r in rows] == [
        ("onewire.house.cellar", "open"),
        ("onewire.house.attic", "known"),
    ]
    assert kv("errors", "watch").out.splitlines()[-1].endswith("no answer (ann: a cable)")


def test_an_acknowledgement_shows_when_it_comes():
    place, board = Path.parse("@.errors.onewire.house.attic"), Board(Severity.WARNING)

    def told(value: object) -> str | None:
        trouble = board.acknowledgement(place, value)
        return trouble and trouble.state

    assert told(KNOWN.value()) is None, "of a record that is not there"
    assert told(None) is None
    board.record(place, ATTIC.value())
    assert told(replace(KNOWN, opened=T0 - timedelta(days=1)).value()) is None, "of an earlier trouble"
    assert told(KNOWN.value()) == "known"
    assert told(replace(KNOWN, comment="new cable").value()) is None
    assert told(None) == "open"
    board.record(place, replace(ATTIC, resolved=T0).value())
    assert told(KNOWN.value()) is None
    info = Path.parse("@.errors.onewire.house.cellar")
    board.record(info, replace(ATTIC, severity=Severity.INFO).value())
    assert board.acknowledgement(info, KNOWN.value()) is None, "not as bad as asked for"
