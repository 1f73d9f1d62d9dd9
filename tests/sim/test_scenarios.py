"""The traces of the replication contract, section 8, and the interpreter that plays them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvnode.testing.sim.scenario import play

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


def test_every_trace_has_its_scenario() -> None:
    assert [int(f.name[:2]) for f in FILES] == list(range(1, len(FILES) + 1))
    assert len(FILES) >= 12


@pytest.mark.parametrize(
    "file",
    [pytest.param(f, marks=[pytest.mark.interpreted] * ("snapshot" in f.read_text(encoding="utf-8"))) for f in FILES],
    ids=[f.stem for f in FILES],
)
def test_trace(file: Path) -> None:
    assert play(file.read_text(encoding="utf-8")) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nodes A\nexpect A x = one", "line 2: expect A x = one: A has nothing"),
        ("nodes A B\nwrite A x one\nexpect B x = one", "B has nothing"),
        ("nodes A B\nmesh A B\nwrite A x one\nexpect equal", "A has A~"),
        ("nodes A\nwrite A x one\ndelete A x\nexpect A x = one", "A has nothing"),
        ("nodes A\nwrite B x one", "there is no node B"),
        ("nodes A\nstop A\nwrite A x one", "A is down"),
        ("nodes A\nfly A", "no such command"),
        ("nodes A\nwrite A", "wrong arguments"),
        ("nodes A\nexpect A y tombstone", "no such expectation"),
        ("nodes A\nrefused A x one if absent", "it was taken"),
        ("nodes A\nwrite A x one\nexpect A tombstone x", "it has"),
        ("nodes A B\nlink A B\ncut A C", "no such link"),
    ],
)
def test_what_does_not_hold_is_told(text: str, says: str) -> None:
    found = play(text)
    assert found is not None
    assert says in found
