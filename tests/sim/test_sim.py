"""The laws on a fixed set of seeds, plans and scenarios; the simulator's own habits.

The seeds are fixed, so that every machine runs the same (``SIM_SEEDS`` changes how many); the long form is
``make sim SEEDS=1..5000``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kvnode.core import marks
from kvnode.testing.sim import Config, Plan, Report, Step, generate, parse, run, run_plan, shrink
from kvnode.testing.sim.faults import FAULTS
from kvnode.testing.sim.plan import HostPlan, hang_together
from kvnode.testing.sim.scenario import play
from kvnode.testing.sim.steps import KINDS

SEEDS = int(os.environ.get("SIM_SEEDS", "66"))
PARTS = 3
HERE = Path(__file__).parent
PLANS = sorted((HERE / "plans").glob("*.txt"))


def _failure(report: Report) -> str:
    small = shrink(report, budget=60)
    return "\n".join(
        [report.replay, *map(str, report.broken[:5]), f"shrunk to {len(small.plan.steps)} steps:", str(small.plan)]
    )


def _part(number: int) -> range:
    """The seeds of one part; parts may run side by side."""
    size = SEEDS // PARTS
    return range(1 + number * size, 1 + (number + 1) * size)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(1, PARTS))
def test_the_laws_hold_on_many_seeds(number: int) -> None:
    for seed in _part(number):
        report = run(seed)
        assert report.ok, _failure(report)


@pytest.mark.interpreted
@pytest.mark.timeout(300)
def test_the_laws_hold_and_every_rare_branch_is_taken() -> None:
    """The first seeds, the plans and the scenarios together."""
    hit: Counter[str] = Counter()
    for seed in _part(0):
        report = run(seed)
        assert report.ok, _failure(report)
        hit.update(report.marks)
    for file in PLANS:
        hit.update(run_plan(parse(file.read_text(encoding="utf-8"))).marks)
    marks.set_hook(lambda name: hit.update([name]))
    try:
        for file in sorted((HERE / "scenarios").glob("*.txt")):
            play(file.read_text(encoding="utf-8"))
    finally:
        marks.set_hook(None)
    assert sorted(marks.ALL - hit.keys()) == [], "rare branches that nothing took"


@pytest.mark.parametrize("file", PLANS, ids=lambda f: f.stem)
def test_plans_that_are_kept(file: Path) -> None:
    """Some once broke a law, others are the shortest way into a rare branch; each tells at its top."""
    report = run_plan(parse(file.read_text(encoding="utf-8")))
    assert report.ok, _failure(report)


@pytest.mark.parametrize("nodes", [(2, 2), (9, 12)])
def test_the_laws_hold_on_small_and_large_clusters(nodes: tuple[int, int]) -> None:
    for seed in range(1, 4):
        report = run(seed, Config(nodes=nodes))
        assert report.ok, _failure(report)


def test_the_laws_hold_with_many_partial_replicas() -> None:
    for seed in range(1, 4):
        report = run(seed, Config(nodes=(4, 6), partial=60))
        assert report.ok, _failure(report)
        assert any(host.view for host in report.plan.hosts)


def test_the_laws_hold_without_the_codec() -> None:
    for seed in range(1, 4):
        report = run(seed, Config(codec=False))
        assert report.ok, _failure(report)


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_every_kind_of_fault_alone(kind: str) -> None:
    report = run(1, Config(nodes=(3, 4), operations=(20, 30), faults=(3, 3), only=frozenset({kind})))
    assert report.ok, _failure(report)
    assert set(report.plan.faults) <= {kind}


def test_one_seed_is_one_trace() -> None:
    first, second = run(7), run(7)
    assert first.trace_hash == second.trace_hash
    assert first.events == second.events
    assert first.trace_hash != run(8).trace_hash


def test_the_trace_does_not_depend_on_hash_seeds() -> None:
    lines = set()
    for hash_seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-m", "kvnode.testing.sim", "--seeds", "1..6", "--hashes"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=HERE.parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        lines.add(done.stdout)
    assert len(lines) == 1


def test_plans_are_data() -> None:
    plan = generate(11)
    assert plan == generate(11)
    assert plan != generate(12)
    assert {s.kind for s in plan.steps} <= KINDS
    assert [s.at for s in plan.steps] == sorted(s.at for s in plan.steps)


def test_every_kind_of_step_and_fault_is_drawn() -> None:
    plans = [generate(seed) for seed in range(300)]
    assert {s.kind for plan in plans for s in plan.steps} == KINDS
    assert {kind for plan in plans for kind in plan.faults} == FAULTS.keys()
    assert all(hang_together({h.name: h.view for h in plan.hosts}, plan.edges) for plan in plans)
    sizes = {len(plan.hosts) for plan in plans}
    assert sizes >= set(range(2, 7))
    assert max(sizes) > 6
    assert len(generate(1, Config(nodes=(30, 30))).hosts) == 30


def test_without_steps_nothing_happens() -> None:
    plan = Plan(1, (HostPlan("A"), HostPlan("B")), (("A", "B"),), ())
    report = run_plan(plan, keep_trace=True)
    assert report.ok
    assert report.writes == 0
    assert report.trace


def test_a_write_whose_only_copy_is_destroyed_is_excused() -> None:
    """The checker itself: a core that drops such a write without a fault is not."""
    hosts = (HostPlan("A"), HostPlan("B"))
    steps = (
        Step(100, "backup", ("A",)),
        Step(200, "cut", ("A", "B", 10_000)),
        Step(300, "write", ("A", "p.x", "disk")),
        Step(1_000, "restore", ("A", 10)),
    )
    assert run_plan(Plan(1, hosts, (("A", "B"),), steps)).ok
