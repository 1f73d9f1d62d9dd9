"""kv partitions: the reports as people and scripts read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.cli.conftest import Result
from tests.cli.fake import INC, OTHER, WALL_MS, FakeClient, reading

Kv = Callable[..., Result]

REPORT: dict[str, Any] = {
    "from": WALL_MS,
    "seconds": 75,
    "here": ["a", "c"],
    "there": ["b"],
    "wrote_here": {"a": 3, "c": 1},
    "wrote_there": {},
    "complete": False,
    "conflicts": 2,
    "paths": [
        {
            "path": "home.limit",
            "policy": "max",
            "shows": f"{INC}:3",
            "versions": [{"dot": f"{INC}:3", "deleted": False}, {"dot": f"{OTHER}:9", "deleted": True}],
        }
    ],
}
ID = f"a.:{WALL_MS}"


def _put(fake: FakeClient) -> None:
    fake.put(
        reading(f"@.status.partition.{ID}", REPORT),
        reading("@.status.partition.b.:5", REPORT | {"from": 5, "seconds": 90_000}),
        reading("@.status.partition.b.note", "no report"),
    )


def test_the_list(kv: Kv, fake: FakeClient) -> None:
    assert kv("partitions", "list").out.endswith("no partitions\n")
    _put(fake)
    _, first, second = kv("partitions", "list").out.splitlines()
    assert first.split()[1:5] == ["1", "day,", "1:00:00", "a,"]
    assert second.split()[-7:] == ["a,", "c", "b", "4", "0", "2", ID]
    assert "1 min 15 s" in second
    rows = kv("partitions", "list", "--format", "jsonl").lines
    assert [row["id"] for row in rows] == ["b.:5", ID]
    assert rows[1] == {"id": ID, "from": "2026-01-01T00:00:00.123Z"} | {k: v for k, v in REPORT.items() if k != "from"}


def test_one_of_them(kv: Kv, fake: FakeClient) -> None:
    _put(fake)
    assert kv("partitions", "show", ID).out.splitlines() == [
        "began      2026-01-01T00:00:00.123Z, lasted 1 min 15 s",
        "here       a, c; wrote 3 at a, 1 at c",
        "away       b; wrote nothing",
        "conflicts  2",
        f"  home.limit shows {INC}:3 by policy max (the greatest value)",
        f"    beside it {OTHER}:9",
        "  and 1 more, see kv conflicts list",
        "when this was written, not everything had been exchanged yet",
    ]
    assert kv("partitions", "show", ID, "--format", "json").json["there"] == ["b"]
    assert kv("partitions", "show", "x").err == "kv: no partition is called x; kv partitions list names them\n"
