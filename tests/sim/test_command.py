"""The command: what it prints, how it ends; and plans as texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvnode.testing.sim import PlanError, Step, generate, laws, parse
from kvnode.testing.sim import __main__ as command
from kvnode.testing.sim.world import World

main = command.main


def _plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each run break a law in which a client wrote."""

    def check(world: World) -> None:
        if world.performed["write"]:
            world.broken("lost", "planted")

    monkeypatch.setattr(laws, "check", check)


def test_seeds_tell_what_they_covered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "1..2", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    for part in ("2 seeds, ", "per hour: ", "operations: write ", "faults: ", "marks: ", "marks not hit: "):
        assert part in out
    assert "failed seeds: none" in out


def test_several_processes_find_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    covered = []
    for jobs in ("1", "2"):
        assert main(["--seeds", "1..3", "--jobs", jobs, "--operations", "15..20", "--faults", "0..2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        covered.append([line for line in lines if line.startswith(("operations:", "faults:", "marks:"))])
    assert covered[0] == covered[1]


def test_a_failing_seed_is_named_and_shrunk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _plant(monkeypatch)
    assert main(["--seeds", "3..4", "--jobs", "1"]) == 1
    out = capsys.readouterr().out
    assert "seed 3: BROKEN lost" in out
    assert "failed seeds: 3 4" in out
    assert "replay: python -m kvnode.testing.sim --seed " in out
    assert "shrunk to 1 steps" in out
    text = out.partition("--plan runs it:\n")[2].partition("  lost at ")[0]
    plan = parse(text)
    assert [step.kind for step in plan.steps] == ["write"]
    assert len(plan.hosts) == 2


def test_a_plan_runs_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.txt"
    file.write_text(
        "# one write\nseed 1 limits tiny\nhost A\nhost B\nedges A-B\n 100 write A x disk\n", encoding="utf-8"
    )
    assert main(["--plan", str(file), "--trace"]) == 0
    assert "100 step write A x disk" in capsys.readouterr().out
    _plant(monkeypatch)
    assert main(["--plan", str(file), "--no-shrink"]) == 1


def test_a_long_run_that_misses_a_mark_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "LONG", 1)
    assert main(["--seeds", "1..1", "--jobs", "1"]) == 1
    assert "BROKEN marks: " in capsys.readouterr().out


def test_one_seed_shows_its_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "5"]) == 0
    assert str(generate(5)) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--only", "cut,fly"], "unknown kinds of faults: fly; known: cut"),
        (["--seeds", "many"], "'many' is no range of numbers"),
        (["--plan", "no/such/file"], "no/such/file: "),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(argv: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as told:
        main(argv)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("seed", range(1, 30))
def test_a_plan_is_its_text(seed: int) -> None:
    plan = generate(seed).with_steps((*generate(seed).steps, Step(30_000, "clock", ("A", -5))))
    assert parse(str(plan)) == plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a plan begins with"),
        ("seed 1 limits tiny\nhost A tall", "line 2: host A tall: 'tall' tells nothing of a host"),
        ("seed 1 limits tiny\nhost A\nedges AB", "'AB' is no edge"),
        ("seed 1 limits tiny\nhost A\nsoon write A x disk", "line 3: soon write A x disk"),
        ("seed 1 limits tiny\nhost A\n100", "no host, edges or step"),
    ],
)
def test_a_text_that_is_no_plan(text: str, says: str) -> None:
    with pytest.raises(PlanError) as told:
        parse(text)
    assert says in str(told.value)
