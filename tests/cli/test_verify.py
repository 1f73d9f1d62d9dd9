"""verify: what is printed for each result, and the exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kvnode.client import errors
from kvnode.client.inspect_protocol import Verified
from kvnode.core.path import Path
from tests.cli.conftest import Result
from tests.cli.fake import FakeClient

Kv = Callable[..., Result]


@dataclass
class FakeVerify:
    """Stands for kvnode.client.inspection.Inspection."""

    rows: list[Verified] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fails: Exception | None = None

    async def verify(self, path: Path, peer: str | None, wait_s: float) -> list[Verified]:
        self.calls.append((str(path), peer, wait_s))
        if self.fails:
            raise self.fails
        return self.rows


@pytest.fixture
def node(fake: FakeClient) -> FakeVerify:
    fake.inspection = FakeVerify()
    return fake.inspection


def test_equal(kv: Kv, node: FakeVerify) -> None:
    node.rows = [Verified("b", "equal")]
    got = kv("verify", "home", "--with", "b", "--wait", "0")
    assert (got.code, got.err) == (0, "")
    assert "b     holds the same" in got.out
    assert node.calls == [("home", "b", 0.0)]
    assert kv("verify").code == 0
    assert node.calls[-1] == (":", None, 10.0)


def test_no_peers(kv: Kv, node: FakeVerify) -> None:
    assert kv("verify") == Result(0, "a has no peers\n", "")
    assert kv("verify", "--format", "json").json == []


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (["equal", "behind"], 1),
        (["behind", "unlinked"], 3),
        (["silent", "equal"], 3),
        (["diverged", "silent", "behind"], 6),
        (["of a later version"], 70),
    ],
)
def test_the_exit_code_is_that_of_the_worst(kv: Kv, node: FakeVerify, results: list[str], code: int) -> None:
    node.rows = [Verified(f"n{at}", result) for at, result in enumerate(results)]
    assert kv("verify").code == code
    assert kv("verify", "--format", "jsonl").code == code


def test_paths_are_listed(kv: Kv, node: FakeVerify) -> None:
    node.rows = [Verified("b", "diverged", (("home", 1), ("x",)), 3, 0, 0), Verified("c", "behind", (("y",),), 1, 4, 5)]
    out = kv("verify").out
    assert "DIVERGED" in out
    assert "differing from b:\n  home.:1\n  x\n  and more\n" in out
    assert "4 to a, 5 to c" in out
    assert out.endswith("differing from c:\n  y\n")
    first, second = kv("verify", "--format", "jsonl").lines
    assert first == {
        "peer": "b",
        "result": "diverged",
        "paths": ["home.:1", "x"],
        "count": 3,
        "we_lack": 0,
        "they_lack": 0,
    }
    assert (second["we_lack"], second["they_lack"]) == (4, 5)


def test_an_older_node(kv: Kv, node: FakeVerify) -> None:
    node.fails = errors.error("too_old", "the node a is too old for 'verify'; upgrade it")
    assert kv("verify") == Result(4, "", "kv: the node a is too old for 'verify'; upgrade it\n")
