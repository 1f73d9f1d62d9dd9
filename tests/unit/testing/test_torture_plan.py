"""Plans of faults, and the command around them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.testing.processes import ProcessError
from kvnode.testing.torture import __main__ as command
from kvnode.testing.torture.checker import Violation
from kvnode.testing.torture.network import NetworkError
from kvnode.testing.torture.plan import make_plan
from kvnode.testing.torture.run import Config, Report

NODES = "abcdefg"


@given(seed=st.integers(0, 10_000), nodes=st.integers(2, 7), kills=st.integers(0, 60), seconds=st.floats(1, 400))
def test_a_plan_keeps_its_promises(seed: int, nodes: int, kills: int, seconds: float) -> None:
    names = NODES[:nodes]
    plan = make_plan(random.Random(seed), names, kills=kills, seconds=seconds)
    assert plan == make_plan(random.Random(seed), names, kills=kills, seconds=seconds)
    steps = [step for round in plan for step in round.steps]
    assert sum(step.what == "kill" for step in steps) == kills
    for round in plan:
        assert [step.at_s for step in round.steps] == sorted(step.at_s for step in round.steps)
        assert all(0 <= step.at_s <= round.length_s for step in round.steps)
        for name in names:
            life = [step.what for step in round.steps if step.node == name]
            assert "".join(word[0] for word in life) in ("sc", "ks" * (len(life) // 2)), (
                "each start ends a kill, in turn"
            )
    assert {host for step in steps for pair in step.cuts for host in pair} <= set(names)
    assert all(source != sink for step in steps for source, sink in step.cuts)


def test_a_long_plan_has_everything_in_it() -> None:
    plan = make_plan(random.Random(1), "abcde", kills=50, seconds=300)
    assert {step.what for round in plan for step in round.steps} == {"kill", "start", "stop", "cont", "block"}
    assert len({round.shape for round in plan}) == 8


@pytest.mark.parametrize("broken", [True, False])
def test_the_command(broken: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    seen: list[tuple[Config, Path]] = []

    async def torture(config: Config, folder: Path, say: Any) -> Report:
        seen.append((config, folder))
        say("so far, so good")
        found = [Violation("vanished", "x", "it is gone")] if broken else []
        status = {"conflicts": 0, "tombstones": 0, "entries": 1, "reports": []}
        return Report(config, "proxies", healing_s=[1.0], statuses={"a": status}, violations=found)

    monkeypatch.setattr(command, "torture", torture)
    monkeypatch.setattr(command.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "run"))
    assert command.main(["--kills", "3", "--minutes", "0.5", "--nodes", "4", "--seed", "7"]) == int(broken)
    config, folder = seen[0]
    assert (config.kills, config.seconds, config.nodes, config.seed) == (3, 30.0, 4, 7)
    assert folder.exists() == broken
    out = capsys.readouterr().out
    assert "so far, so good" in out
    assert f"{int(broken)} violations" in out
    assert ("vanished: x: it is gone" in out) == broken


@pytest.mark.parametrize(
    "failure",
    [NetworkError("not allowed"), ExceptionGroup("", [ExceptionGroup("", [ProcessError("not allowed")])])],
    ids=["alone", "in groups"],
)
def test_what_cannot_be_run_is_one_line(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    async def torture(config: Config, folder: Path, say: Any) -> Report:
        raise failure

    monkeypatch.setattr(command, "torture", torture)
    assert command.main(["--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().out.endswith(f"not allowed\nsee {tmp_path}\n")


def test_an_old_folder_is_refused(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert command.main(["--folder", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().out
