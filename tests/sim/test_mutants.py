"""Planted bugs: each breaks a law of the simulation, and what plants them notices when one does not apply."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from kvnode.core import marks, state
from kvnode.core.entry import Merged, Siblings, Version
from kvnode.core.forget import Forget
from kvnode.testing.sim import __main__ as command
from kvnode.testing.sim import laws, run
from kvnode.testing.sim.mutants import MUTANTS, Mutant, NotPlanted, Patch, catch, planted
from kvnode.testing.sim.mutants.hunting import TRACES, Run, races, trace
from kvnode.testing.sim.mutants.merging import merge_by_arrival

DOCS = Path(__file__).parents[2] / "docs" / "explanation" / "planted-bugs.md"
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


@pytest.mark.interpreted
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulation_catches(mutant: Mutant) -> None:
    outcome = catch(mutant)
    assert outcome.law is not None, f"survived {outcome.tries} runs: {mutant.about}"


@pytest.mark.parametrize("file", sorted(TRACES.iterdir()), ids=lambda file: file.stem)
def test_the_traces_hold_on_the_code_as_it_is(file: Path) -> None:
    assert trace(file.name)[0].do() == []


def test_the_races_hold_on_the_code_as_it_is() -> None:
    for one in races(5):
        assert one.do() == []


def test_the_documentation_lists_every_mutant() -> None:
    rows = [line.split("|") for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert {cells[1].strip().strip("`"): cells[2].strip() for cells in rows} == {m.name: m.about for m in MUTANTS}


# -- planting --------------------------------------------------------------------------------------------------


def merge_without_types(siblings, new):  # type: ignore[no-untyped-def]  # the point of it
    return merge_by_arrival(siblings, new)


def merge_with_a_default(siblings: Siblings, new: Version | None = None) -> Merged:
    raise AssertionError


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        (Patch(state, "merge_them", merge_by_arrival), "is no function any more"),
        (Patch(state, "SYSTEM", merge_by_arrival), "is no function any more"),
        (Patch(state, "merge", merge_without_types), "signature"),
        (Patch(state, "merge", merge_with_a_default), "signature"),
    ],
)
def test_what_does_not_fit_is_not_planted(patch: Patch, says: str) -> None:
    before = vars(state)["merge"]
    with pytest.raises(NotPlanted, match=says), planted((Patch(state, "merge", merge_by_arrival), patch)):
        raise AssertionError
    assert vars(state)["merge"] is before


@pytest.mark.interpreted
def test_the_code_is_as_before_afterwards() -> None:
    before, method = vars(state)["merge"], Forget.is_stable
    with planted(BY_NAME["merge-by-arrival"].patches + BY_NAME["stripped-too-early"].patches) as outcome:
        assert vars(state)["merge"] is not before
        run(1)
    assert (vars(state)["merge"], Forget.is_stable) == (before, method)
    assert outcome.calls["kvnode.core.state.merge"] > 0


def test_a_mutant_that_never_ran_is_not_caught() -> None:
    idle = Mutant("idle", BY_NAME["merge-by-arrival"].patches, [Run("nothing", lambda: [("law", "broken anyhow")])])
    with pytest.raises(NotPlanted, match="never executed"):
        catch(idle)


def test_a_mutant_that_fails_by_itself_is_not_caught() -> None:
    def merge(siblings: Siblings, new: Version) -> Merged:
        raise KeyError("a slip in the mutant, not a bug")

    with pytest.raises(NotPlanted, match="fails by itself"):
        catch(Mutant("slip", (Patch(state, "merge", merge),), BY_NAME["merge-by-arrival"].runs))


@pytest.mark.interpreted
def test_a_run_that_breaks_laws_anyhow_is_no_evidence() -> None:
    def broken() -> list[tuple[str, str]]:
        run(1)
        return [("law", "broken with and without it")]

    assert catch(Mutant("innocent", BY_NAME["stripped-too-early"].patches, [Run("run", broken)])).law is None


@pytest.mark.interpreted
def test_a_checker_that_relies_on_replaced_code_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def hit(name: str) -> None:
        """Does nothing."""

    def judge() -> list[tuple[str, str]]:
        laws.check(SimpleNamespace())  # type: ignore[arg-type]  # replaced below
        return []

    code = compile("def check(world):\n    marks.hit('strip')", "laws", "exec")
    space = {"__name__": laws.__name__, "marks": marks}
    exec(code, space)
    monkeypatch.setattr(laws, "check", space["check"])
    with pytest.raises(NotPlanted, match=r"laws\.check calls kvnode\.core\.marks\.hit"):
        catch(Mutant("shared", (Patch(marks, "hit", hit),), [Run("judge", judge)]))


# -- the command -----------------------------------------------------------------------------------------------


@pytest.mark.interpreted
def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--mutants", "acknowledged-before-persist"]) == 0
    head, row, total = capsys.readouterr().out.splitlines()
    assert head.split() == ["mutant", "caught", "by", "runs", "seconds", "in"]
    assert row.split()[:2] == ["acknowledged-before-persist", "ack"]
    assert total.startswith("1 mutants, 0 survived")


def test_the_command_knows_its_mutants() -> None:
    with pytest.raises(SystemExit, match="no such mutants: mutant-of-the-week; there are: acknowledged-before-persist"):
        command.main(["--mutants", "mutant-of-the-week"])
