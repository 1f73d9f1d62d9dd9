"""diff NODE NODE: what is printed, and the exit code. (What is compared has tests of its own.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from kvnode.cli import session
from kvnode.client import ABSENT, comparing, errors
from kvnode.client.comparing import Comparison, Difference
from kvnode.core.path import Path
from tests.cli.conftest import Result
from tests.cli.fake import INC, OTHER, FakeClient, sibling

Kv = Callable[..., Result]


@dataclass
class Canned:
    """What the comparison finds."""

    rows: list[Difference] = field(default_factory=list)
    more: bool = False
    nodes: dict[str, str] = field(default_factory=lambda: {"h:1": "a", "h:2": "b"})
    fails: Exception | None = None
    asked: list[tuple[Path, int]] = field(default_factory=list)


@pytest.fixture
def canned(fake: FakeClient, monkeypatch: pytest.MonkeyPatch) -> Canned:
    found = Canned()

    @asynccontextmanager
    async def open_client(address: str, timeout_s: float) -> AsyncIterator[Any]:
        if found.fails:
            raise ExceptionGroup("as task groups do", [found.fails])
        client = FakeClient()
        client.node, client.inspection = found.nodes[address], object()
        yield client

    async def compare(one: Any, other: Any, path: Path, most: int) -> Comparison:
        found.asked.append((path, most))
        return Comparison([], found.more, False)

    async def differences(*_: Any) -> AsyncIterator[Difference]:
        for row in found.rows:
            yield row

    monkeypatch.setattr(session, "open_client", open_client)
    monkeypatch.setattr(comparing, "compare", compare)
    monkeypatch.setattr(comparing, "differences", differences)
    return found


def rows() -> list[Difference]:
    one, other = sibling("x", 1, 3, INC), sibling("x", ABSENT, 4)
    return [
        Difference(Path.parse("x"), ((one,), (other,)), (True, False), False),
        Difference(Path.parse("y"), ((sibling("y", "v", 5),), ()), (False, False), True),
    ]


def test_equal(kv: Kv, canned: Canned) -> None:
    assert kv("diff", "h:1", "h:2") == Result(0, "a and b hold the same\n", "")
    assert kv("diff", "h:1", "h:2", "home.x", "--limit", "7").out == "a and b hold the same at and below home.x\n"
    assert canned.asked == [(Path.parse(":"), 1_000), (Path.parse("home.x"), 7)]
    assert kv("diff", "h:1", "h:2", "--format", "json") == Result(0, "[]\n", "")


def test_different(kv: Kv, canned: Canned) -> None:
    canned.rows = rows()
    got = kv("diff", "h:1", "h:2")
    assert (got.code, got.err) == (1, "")
    lines = [line.split() for line in got.out.splitlines()]
    assert lines[0] == ["PATH", "NODE", "VALUE", "DOT", "AGE", "AUTHOR"]
    assert lines[1][:4] == ["x", "a", "1", f"{INC}:3"]
    assert " ".join(lines[1]).endswith("kv has not heard of the other's yet")
    assert lines[2][:3] == ["b", "(deleted)", f"{OTHER}:4"]
    assert lines[3][:3] == ["y", "a", "v"]
    assert lines[3][-1] == "diverged"
    assert lines[4][:2] == ["b", "(nothing)"]


def test_for_machines(kv: Kv, canned: Canned) -> None:
    canned.rows = rows()
    got = kv("diff", "h:1", "h:2", "--format", "jsonl")
    assert got.code == 1
    x, y = got.lines
    assert (x["path"], x["diverged"], y["diverged"]) == ("x", False, True)
    assert [(n["node"], n["unheard"], len(n["versions"])) for n in x["nodes"]] == [("a", True, 1), ("b", False, 1)]
    assert x["nodes"][0]["versions"][0]["value"] == 1
    assert x["nodes"][1]["versions"][0]["deleted"]
    assert [n["versions"] == [] for n in y["nodes"]] == [False, True]


def test_there_are_more(kv: Kv, canned: Canned) -> None:
    canned.rows, canned.more = rows(), True
    assert kv("diff", "h:1", "h:2").out.endswith("there are more than these 2: --limit shows more\n")


def test_two_nodes_of_one_name_are_told_apart_by_address(kv: Kv, canned: Canned) -> None:
    canned.nodes = {"h:1": "a", "h:2": "a"}
    assert kv("diff", "h:1", "h:2").out == "h:1 and h:2 hold the same\n"


@pytest.mark.parametrize(
    "error", [errors.unavailable("h:1: refused"), errors.error("too_old", "upgrade it"), TimeoutError()]
)
def test_trouble_is_exit_code_2(kv: Kv, canned: Canned, error: Exception) -> None:
    canned.fails = error
    got = kv("diff", "h:1", "h:2")
    assert (got.code, got.out) == (2, "")
    assert got.err.startswith("kv: ")


def test_two_nodes_are_needed(kv: Kv, canned: Canned) -> None:
    assert kv("diff", "h:1").code == 2
