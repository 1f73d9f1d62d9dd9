"""Shrinking a plan: delta debugging (Zeller and Hildebrandt, 2002) over its steps, then over its hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .plan import Plan
from .run import Report, run_plan

Keep = Callable[[Report], bool]
"""Says of a run whether it still shows what matters."""


def shrink(report: Report, *, keep: Keep | None = None, budget: int = 400) -> Report:
    """The smallest plan found, within about `budget` runs, that still breaks one of the laws that `report` broke, or
    of which `keep` says yes.
    """
    laws = {b.law for b in report.broken}
    search = _Search(report, keep or (lambda got: bool({b.law for b in got.broken} & laws)), budget)
    search.drop_steps()
    search.drop_hosts()
    return search.best


class _Search:
    def __init__(self, report: Report, keep: Keep, budget: int) -> None:
        self.best = report
        self._keep: Final = keep
        self._left = budget

    def _try(self, plan: Plan) -> bool:
        """Run a smaller plan; whether it is the best now."""
        self._left -= 1
        got = run_plan(plan)
        if self._keep(got):
            self.best = got
            return True
        return False

    def drop_steps(self) -> None:
        """Leave out halves, then quarters, down to single steps."""
        size = max(len(self.best.plan.steps) // 2, 1)
        while self._left > 0:
            if self._without_some(size):
                size = max(min(size, len(self.best.plan.steps) // 2), 1)
            elif size == 1:
                return
            else:
                size = max(size // 2, 1)

    def _without_some(self, size: int) -> bool:
        plan = self.best.plan
        for start in range(0, len(plan.steps), size):
            if self._left > 0 and self._try(plan.with_steps(plan.steps[:start] + plan.steps[start + size :])):
                return True
        return False

    def drop_hosts(self) -> None:
        """Leave out hosts, as long as the others hang together."""
        for host in reversed(self.best.plan.hosts):
            plan = self.best.plan.without(host.name)
            if plan is not None:
                self._try(plan)
