"""history, why, undo: what people and scripts read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kvnode.client import ABSENT, History, Recorded
from kvnode.client.items import Change
from kvnode.core.entry import Lease
from kvnode.core.path import Path
from kvnode.core.ticks import Dot
from tests.cli.conftest import Result
from tests.cli.fake import INC, OTHER, FakeClient, change, sibling

Kv = Callable[..., Result]

PATH = Path.parse("home.set")
TIME = "2026-01-01T00:00:00.122Z"


def recorded(value: object, tick: int, inc: str = INC, by: Dot | None = None, **after: int) -> Recorded:
    seen = {INC if name == "a" else OTHER: tick for name, tick in after.items()}
    return Recorded(sibling("home.set", value, tick, inc), seen, by)


def history(*current: Recorded, past: tuple[Recorded, ...] = (), **more: Any) -> History:
    reading: Change | None = change("home.set", current[0].version.value) if current else None
    fields: dict[str, Any] = {"policy": "newest", "keeps": (20, None), "more": False, "reading": reading} | more
    return History(PATH, current=current, past=past, **fields)


NOW = recorded(21, 7, a=6, b=3)
BEFORE = recorded(20, 3, OTHER, Dot(INC, 7))
DELETED = recorded(ABSENT, 2, OTHER, Dot(OTHER, 3))


def test_the_history_of_a_path(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW, past=(BEFORE, DELETED), more=True)
    lines = kv("history", "home.set").out.splitlines()
    assert lines[0].split() == ["WRITTEN", "VALUE", "NODE", "AUTHOR", "DOT"]
    assert lines[1].split()[1:] == ["now", "21", "a", "kv", f"{INC}:7"]
    assert lines[2].split()[1:] == ["20", "b", "kv", f"{OTHER}:3"]
    assert lines[3].split()[1:] == ["(deleted)", "b", "kv", f"{OTHER}:2"]
    assert lines[4] == "there is more: --limit"
    assert fake.calls[0][2] == {"limit": 20, "since": None}


def test_the_history_for_scripts(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW, past=(DELETED,))
    rows = kv("history", "home.set", "--format", "jsonl").lines
    who = {"time": TIME, "author": "kv"}
    after = {INC: 6, OTHER: 3}
    assert rows == [
        {"dot": f"{INC}:7", "value": 21, "node": "a", "after": after, "replaced_by": None} | who,
        {"dot": f"{OTHER}:2", "deleted": True, "node": "b", "after": {}, "replaced_by": f"{OTHER}:3"} | who,
    ]


def test_why_there_is_no_past(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW)
    assert kv("history", "home.set").out.splitlines()[-1] == "nothing of before is on record for home.set"
    fake.recalled = history(NOW, keeps=None)
    assert "no history is kept of home.set: an entry below @.history" in kv("history", "home.set").out


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("2026-01-31T12:30+00:00", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31).astimezone(UTC)),  # local time, as people mean it
    ],
)
def test_since_a_date(kv: Kv, fake: FakeClient, text: str, since: datetime) -> None:
    fake.recalled = history(NOW)
    assert kv("history", "home.set", "--since", text, "--limit", "3").code == 0
    assert fake.calls[0][2] == {"limit": 3, "since": since}


def test_since_so_long_ago(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW)
    kv("history", "home.set", "--since", "2h")
    assert 7_199 < (datetime.now(UTC) - fake.calls[0][2]["since"]).total_seconds() < 7_300
    assert "is no time; write how long ago" in kv("history", "home.set", "--since", "once").err


def test_why_a_value_is_as_it_is(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW, past=(BEFORE, DELETED))
    lines = kv("why", "home.set").out.splitlines()
    assert lines[0] == "home.set = 21"
    assert lines[1].startswith(f"  written   {TIME} (")
    assert lines[2:5] == ["  by        kv, at node a", f"  change    {INC}:7", "  knowing   a:6, b:3"]
    assert lines[5].startswith("  replaced  20  (")
    assert lines[5].endswith(f", kv at b, {OTHER}:3)")
    assert len(lines) == 6


def test_why_for_scripts(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW, past=(BEFORE, DELETED))
    row = kv("why", "home.set", "--format", "json").json
    assert (row["path"], row["value"], row["policy"], row["conflict"]) == ("home.set", 21, "newest", False)
    (version,) = row["versions"]
    assert (version["dot"], version["after"]) == (f"{INC}:7", {INC: 6, OTHER: 3})
    assert [older["value"] for older in version["replaces"]] == [20]


def test_why_with_siblings_names_the_policy(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW, recorded(ABSENT, 9, OTHER), policy="max")
    out = kv("why", "home.set").out
    assert "beside it, written by one who had not seen it: (deleted)\n" in out
    assert "  knowing   nothing before it, or only what every member has by now\n" in out
    assert out.endswith("  shown     by policy max: the greatest value\n")


def test_why_of_a_lease_and_of_a_delete(kv: Kv, fake: FakeClient) -> None:
    leased = Change(PATH, 1, Dot(INC, 7), 0, "kv", None, None, Lease("b", 60_000), stale=True, expired=True)
    fake.recalled = history(NOW, reading=leased)
    assert ", held by b\n" in kv("why", "home.set").out
    fake.recalled = history(DELETED)
    assert kv("why", "home.set").out.startswith("home.set deleted\n")
    fake.recalled = history(reading=None)
    done = kv("why", "home.set")
    assert (done.code, done.out) == (1, "")
    assert done.err == "kv: nothing is known of home.set here: no value, and no delete that is remembered\n"


def test_undo(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW, past=(BEFORE, DELETED))
    assert kv("undo", "home.set").out == f"home.set = 20, as in {OTHER}:3  ({INC}:101)\n"
    row = {"path": "home.set", "dot": f"{INC}:102", "undone_to": f"{OTHER}:2"}
    assert kv("undo", "home.set", "--to", f"{OTHER}:2", "--format", "json").json == row
    assert kv("undo", "home.set", "--to", f"{OTHER}:2").out.startswith("home.set deleted, as in ")
    assert fake.calls[0][3] == {"ack": "disk", "timeout": 5.0}


def test_undo_without_a_history(kv: Kv, fake: FakeClient) -> None:
    fake.recalled = history(NOW, keeps=None)
    why = "kv: no history of home.set: no pattern below @.history asks to keep any\n"
    assert kv("undo", "home.set") == Result(1, "", why)
    fake.recalled = history(NOW, DELETED)
    assert kv("undo", "home.set").code == 4
    assert kv("undo", "home.set", "--to", f"{INC}:99").code == 1
