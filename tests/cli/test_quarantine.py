"""quarantine list, show, restore, clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from kvnode.client import errors
from kvnode.client.inspection import SetAside
from kvnode.core.ticks import Dot
from tests.cli.conftest import Result
from tests.cli.fake import INC, OTHER, FakeClient, sibling

Kv = Callable[..., Result]
DOT = Dot(INC, 9)
WHEN = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class FakeQuarantine:
    """Stands for kvnode.client.inspection.Inspection."""

    rows: dict[int, SetAside]
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    answer: Dot | None = DOT
    fails: Exception | None = None

    async def quarantine(self) -> list[SetAside]:
        return list(self.rows.values())

    async def set_aside(self, number: int) -> SetAside:
        if number not in self.rows:
            raise errors.error("not_found", f"nothing is set aside under the number {number}")
        return self.rows[number]

    async def restore(self, number: int, **options: Any) -> Dot | None:
        self.calls.append(("restore", number, options))
        if self.fails:
            raise self.fails
        return self.answer

    async def discard(self, numbers: Sequence[int] | None) -> int:
        self.calls.append(("discard", numbers))
        return 2


@pytest.fixture
def aside(fake: FakeClient) -> FakeQuarantine:
    """Two versions, one of them with an ugly reason."""
    rows = {
        3: SetAside(3, sibling("home.x", {"a": 1}, 7), "b knows that it was superseded", WHEN),
        5: SetAside(5, sibling("home.y", "text", 8), "\x1b[31mred", WHEN),
    }
    fake.inspection = FakeQuarantine(rows)
    return fake.inspection


def test_list(kv: Kv, aside: FakeQuarantine) -> None:
    first, _ = kv("quarantine", "list", "--format", "jsonl").lines
    assert first == {
        "number": 3,
        "path": "home.x",
        "dot": f"{OTHER}:7",
        "value": {"a": 1},
        "time": first["time"],
        "author": "kv",
        "node": "b",
        "why": "b knows that it was superseded",
        "when": "2026-01-02T00:00:00.000Z",
    }
    lines = kv("quarantine", "list").out.splitlines()
    assert lines[0].split() == ["NUMBER", "PATH", "VALUE", "DOT", "WHEN", "WHY"]
    assert lines[1].split()[:2] == ["3", "home.x"]
    assert "\x1b" not in lines[2]


def test_nothing_is_set_aside(kv: Kv, aside: FakeQuarantine) -> None:
    aside.rows.clear()
    assert kv("quarantine", "list") == Result(0, "nothing is set aside\n", "")
    assert kv("quarantine", "list", "--format", "json").json == []


def test_show(kv: Kv, aside: FakeQuarantine) -> None:
    assert kv("quarantine", "show", "3", "--format", "json").json["value"] == {"a": 1}
    text = kv("quarantine", "show", "5").out
    assert text.endswith("\ntext\n")
    assert "because    \\x1b[31mred\n" in text
    assert kv("quarantine", "show", "4") == Result(1, "", "kv: nothing is set aside under the number 4\n")
    assert kv("quarantine", "show", "x").code == 2


def test_restore(kv: Kv, aside: FakeQuarantine) -> None:
    assert kv("quarantine", "restore", "5") == Result(0, f"home.y = text  ({INC}:9)\n", "")
    assert aside.calls == [("restore", 5, {"force": False, "ack": "disk", "timeout": 5.0})]
    got = kv("quarantine", "restore", "5", "--force", "--ack", "all", "--timeout", "2", "--format", "json")
    assert got.json == {"number": 5, "path": "home.y", "dot": f"{INC}:9"}
    assert aside.calls[-1] == ("restore", 5, {"force": True, "ack": "all", "timeout": 2.0})
    aside.answer = None
    assert kv("quarantine", "restore", "5").out == "home.y is text already; taken out of the quarantine\n"
    assert kv("quarantine", "restore", "5", "--format", "json").json["dot"] is None


def test_a_refused_restore(kv: Kv, aside: FakeQuarantine) -> None:
    aside.fails = errors.error("occupied", "home.y has another value now; --force writes over it")
    expected = "kv: home.y has another value now; --force writes over it\n"
    assert kv("quarantine", "restore", "5") == Result(4, "", expected)


def test_clear(kv: Kv, aside: FakeQuarantine) -> None:
    assert kv("quarantine", "clear", "3", "5") == Result(0, "2 dropped\n", "")
    assert kv("quarantine", "clear", "--all", "--format", "json").json == {"dropped": 2}
    assert aside.calls == [("discard", (3, 5)), ("discard", None)]
    for args in ((), ("3", "--all")):
        assert kv("quarantine", "clear", *args) == Result(2, "", "kv: give the numbers to drop, or --all\n")
