"""What faults really do: each effect is shown by some run, so that a fault that has none is noticed."""

from __future__ import annotations

from collections import Counter

import pytest

from kvnode.testing.sim import Config, run
from kvnode.testing.sim import __main__ as command
from kvnode.testing.sim.happened import ALL

LARGE = {"more than twelve nodes", "link between partial replicas"}


def test_every_effect_of_a_fault_is_shown() -> None:
    """Small clusters with many faults, and one large one with links between partial replicas."""
    shown: Counter[str] = Counter()
    small = Config(nodes=(5, 6), operations=(10, 20), faults=(12, 16), span_ms=10_000)
    for seed in range(1, 60):
        shown.update(run(seed, small).happened)
        if shown.keys() >= ALL - LARGE:
            break
    shown.update(run(13, Config(nodes=(13, 13), operations=(3, 3), faults=(0, 0), span_ms=1_000)).happened)
    assert sorted(ALL - shown.keys()) == []
    assert sorted(shown.keys() - ALL) == [], "list them in happened.py"


def test_seeds_tell_what_faults_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--seeds", "1..2", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    for part in ("nodes: ", "what they did: ", "what they did not: "):
        assert part in out


def test_a_long_run_in_which_a_fault_did_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "LONG", 2)
    monkeypatch.setattr("kvnode.testing.sim.coverage.ALL", frozenset())  # no marks are missed
    assert command.main(["--seeds", "1..2", "--jobs", "1"]) == 1
    assert "BROKEN faults: 2 seeds should show all that faults do" in capsys.readouterr().out
