"""Hunting mutants one by one, with a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .catalogue import MUTANTS
from .hunting import Mutant, catch

_ROW = "{:<36} {:<14} {:>4} {:>8}  {}"


def hunt(names: Sequence[str], say: Callable[[str], None]) -> bool:
    """Hunt the named mutants, or all; says whether each was caught. Raises KeyError for a name that is none."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    chosen: list[Mutant] = [known[name] for name in names or known]
    say(_ROW.format("mutant", "caught by", "runs", "seconds", "in"))
    survived, seconds = [], 0.0
    for mutant in chosen:
        outcome = catch(mutant)
        seconds += outcome.seconds
        say(_ROW.format(mutant.name, outcome.law or "-", outcome.tries, f"{outcome.seconds:.1f}", outcome.where or "-"))
        if outcome.law is None:
            survived.append(mutant.name)
    say(f"{len(chosen)} mutants, {len(survived)} survived, {seconds:.0f} s of CPU time")
    return not survived
