"""conflicts list, show, resolve."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvnode.client import ABSENT
from kvnode.core.path import Path
from tests.cli.conftest import Result
from tests.cli.fake import INC, OTHER, FakeClient, reading, sibling

Kv = Callable[..., Result]
PATH = "home.target"


@pytest.fixture
def conflict(fake: FakeClient) -> FakeClient:
    """Two values and a delete side by side, and a path with one value."""
    others = (sibling(PATH, 18), sibling(PATH, ABSENT, 2))
    return fake.put(reading(PATH, 21, conflict=True, others=others), reading("plain", 1))


def test_list(kv: Kv, conflict: FakeClient) -> None:
    (row,) = kv("conflicts", "list", "--format", "jsonl").lines
    assert row["path"] == PATH
    assert [(s["dot"], s.get("value"), s.get("deleted")) for s in row["siblings"]] == [
        (f"{INC}:1", 21, None),
        (f"{OTHER}:1", 18, None),
        (f"{OTHER}:2", None, True),
    ]
    assert set(row["siblings"][0]) == {"dot", "value", "time", "author", "node"}
    assert kv("conflicts", "list", "--format", "json").json == [row]
    lines = kv("conflicts", "list").out.splitlines()
    assert lines[0].split() == ["PATH", "VALUE", "DOT", "AGE", "AUTHOR"]
    assert lines[1].split()[:4] == [PATH, "reads", "21", f"{INC}:1"]
    assert lines[3].split()[:2] == ["(deleted)", f"{OTHER}:2"]


def test_no_conflicts(kv: Kv, fake: FakeClient) -> None:
    assert kv("conflicts", "list") == Result(0, "no conflicts\n", "")
    assert kv("conflicts", "list", "--format", "jsonl").out == ""


def test_show(kv: Kv, conflict: FakeClient) -> None:
    assert kv("conflicts", "show", PATH, "--format", "json").json["path"] == PATH
    assert "reads" in kv("conflicts", "show", PATH).out
    assert kv("conflicts", "show", "plain") == Result(1, "", "kv: no conflict at plain\n")
    assert kv("conflicts", "show", "none") == Result(1, "", "kv: no value at none\n")


@pytest.mark.parametrize(
    ("args", "value"),
    [
        (("--take", f"{OTHER}:1"), 18),
        (("--take", "a"), 21),
        (("--value", "20"), 20),
        (("--value", "20", "--string"), "20"),
    ],
)
def test_resolve_with_a_value(kv: Kv, conflict: FakeClient, args: tuple[str, ...], value: object) -> None:
    dots = conflict.entries[Path.parse(PATH)].dots
    assert kv("conflicts", "resolve", PATH, *args).code == 0
    name, path, written, options = conflict.calls[-1]
    assert (name, str(path), written) == ("set", PATH, value)
    assert options["expect"] == dots


@pytest.mark.parametrize("args", [("--delete",), ("--take", f"{OTHER}:2")])
def test_resolve_with_a_delete(kv: Kv, conflict: FakeClient, args: tuple[str, ...]) -> None:
    assert kv("conflicts", "resolve", PATH, *args).code == 0
    assert conflict.calls[-1][0] == "delete"
    assert conflict.calls[-1][2]["expect"]


def test_resolve_is_a_compare_and_set(kv: Kv, conflict: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    found = conflict.entries[Path.parse(PATH)]

    async def get(path: Path) -> object:
        conflict.put(reading(PATH, 99, 7))
        return found

    monkeypatch.setattr(conflict, "get", get)
    done = kv("conflicts", "resolve", PATH, "--value", "1")
    assert done.code == 4
    assert f"{INC}:7" in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "exactly one of"),
        (("--delete", "--value", "1"), "exactly one of"),
        (("--take", "zz"), "is none of the versions"),
        (("--take", "b"), "fits several of the versions"),
    ],
)
def test_what_cannot_be_resolved(kv: Kv, conflict: FakeClient, args: tuple[str, ...], says: str) -> None:
    done = kv("conflicts", "resolve", PATH, *args)
    assert done.code == 2
    assert says in done.err
    assert conflict.entries[Path.parse(PATH)].conflict


def test_no_conflict_to_resolve(kv: Kv, conflict: FakeClient) -> None:
    assert kv("conflicts", "resolve", "plain", "--value", "1") == Result(1, "", "kv: no conflict at plain\n")


def test_what_is_too_large_to_show(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading(PATH, 21, conflict=True, others=(sibling(PATH, None),), cut=True))
    (row,) = kv("conflicts", "list", "--format", "jsonl").lines
    assert row["siblings"][1]["cut"] is True
    assert "value" not in row["siblings"][1]
    assert "(too large to show)" in kv("conflicts", "show", PATH).out
    assert kv("conflicts", "resolve", PATH, "--take", "b").code != 0
    assert kv("conflicts", "resolve", PATH, "--take", "a").code == 0
