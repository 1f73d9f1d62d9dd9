"""Shrinking a failing plan: delta debugging (Zeller and Hildebrandt, 2002) over its steps."""

from __future__ import annotations

from collections.abc import Callable

from .plan import Plan, Step, connected
from .run import Report, run_plan


def shrink(report: Report, *, budget: int = 400, tell: Callable[[str], None] = lambda text: None) -> Report:
    """The smallest plan found, within `budget` runs, that breaks one of the laws that `report` broke."""
    laws = {b.law for b in report.broken}
    best = report
    spent = 0

    def fails(steps: tuple[Step, ...]) -> Report | None:
        nonlocal spent
        spent += 1
        got = run_plan(report.plan.with_steps(steps))
        return got if {b.law for b in got.broken} & laws else None

    size = max(len(best.plan.steps) // 2, 1)
    while spent < budget:
        steps = best.plan.steps
        smaller = _try_without(steps, size, fails, lambda: spent >= budget)
        if smaller is not None:
            best = smaller
            tell(f"{len(best.plan.steps)} steps left after {spent} runs")
            size = max(min(size, len(best.plan.steps) // 2), 1)
        elif size == 1:
            break
        else:
            size = max(size // 2, 1)
    return _with_fewer_hosts(best, laws)


def _try_without(
    steps: tuple[Step, ...], size: int, fails: Callable[[tuple[Step, ...]], Report | None], over: Callable[[], bool]
) -> Report | None:
    for start in range(0, len(steps), size):
        if over():
            return None
        got = fails(steps[:start] + steps[start + size :])
        if got is not None:
            return got
    return None


def _with_fewer_hosts(report: Report, laws: set[str]) -> Report:
    """Leave out hosts, as long as the law stays broken and the graph connected."""
    best = report
    for host in reversed(report.plan.hosts):
        plan = best.plan
        hosts = tuple(h for h in plan.hosts if h.name != host.name)
        edges = tuple(e for e in plan.edges if host.name not in e)
        everybody, full = [h.name for h in hosts], [h.name for h in hosts if h.view is None]
        if len(full) < 2 or not connected(full, edges) or not connected(everybody, edges):
            continue
        got = run_plan(Plan(plan.seed, hosts, edges, plan.steps, plan.limits, plan.codec))
        if {b.law for b in got.broken} & laws:
            best = got
    return best


def as_text(plan: Plan) -> str:
    """A plan for people: the world, then the steps."""
    hosts = ", ".join(
        f"{h.name}(clock {h.clock_ms:+} ms, sync {h.sync_ms} ms{', partial' if h.view else ''})" for h in plan.hosts
    )
    edges = " ".join(f"{a}-{b}" for a, b in plan.edges)
    steps = "\n".join(f"  {s}" for s in plan.steps)
    return f"seed {plan.seed}, limits {plan.limits}\nhosts {hosts}\nedges {edges}\n{steps}"
