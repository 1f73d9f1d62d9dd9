"""Hunting a mutant: running it until a law is broken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from ..generate import Config, generate
from ..plan import parse
from ..races import race
from ..run import run_plan
from ..scenario import play
from .planting import NotPlanted, Patch, planted

TRACES: Final = Path(__file__).with_name("traces")
"""Scenarios (.txt) and plans (.plan) that hold on the code as it is."""
_CRASHED: Final = "no-crash"


Broken = list[tuple[str, str]]
"""Laws that were broken, with what was found."""


class Run(NamedTuple):
    """Something to be run, as often as one likes: what it is called, and how it is done."""

    name: str
    do: Callable[[], Broken]


def seeds(most: int, config: Config | None = None) -> list[Run]:
    """The simulator's first seeds, of the standard kind or of one in which a shape is common."""

    def simulate(seed: int) -> Broken:
        report = run_plan(generate(seed, config), most_broken=1)
        return [(b.law, b.text) for b in report.broken]

    return [Run(f"seed {seed}", partial(simulate, seed)) for seed in range(1, most + 1)]


def trace(name: str) -> list[Run]:
    """A scenario or plan, for what needs several things to happen in one order."""
    file = TRACES / name

    def stage() -> Broken:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".plan":
            return [(b.law, b.text) for b in run_plan(parse(text), most_broken=1).broken]
        found = play(text)
        return [("scenario", found)] if found else []

    return [Run(file.stem, stage)]


def races(most: int) -> list[Run]:
    """Clients that race at one driver."""
    return [Run(f"race {seed}", partial(_race, seed)) for seed in range(1, most + 1)]


def _race(seed: int) -> Broken:
    return [("cas", text) for text in race(seed)]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug: its name, what stands in the place of what, and where to look for it."""

    name: str
    patches: tuple[Patch, ...]
    runs: list[Run]

    @property
    def about(self) -> str:
        """The bug in a sentence."""
        return " ".join((self.patches[0].replacement.__doc__ or "").split())


class Outcome(NamedTuple):
    """What became of a mutant: the law that caught it (None: it survived), in which run, what was found, how many runs
    and how much CPU time (seconds) that took.
    """

    law: str | None
    where: str
    text: str
    tries: int
    seconds: float


def catch(mutant: Mutant) -> Outcome:
    """Run the mutant until it breaks a law in a run that breaks none without it. Raises NotPlanted if it did not apply,
    or fails by itself.
    """
    began = time.process_time()
    idle: list[str] = []
    for tries, run in enumerate(mutant.runs, 1):
        with planted(mutant.patches) as outcome:
            broken = run.do()
        outcome.check_laws()
        idle = outcome.idle if tries == 1 else [where for where in idle if where in outcome.idle]
        if not broken or outcome.idle:
            continue
        law, text = broken[0]
        if law == _CRASHED:
            raise NotPlanted(f"{mutant.name} fails by itself in {run.name}: {text}")
        if run.do():
            continue
        return Outcome(law, run.name, text, tries, time.process_time() - began)
    if idle:
        raise NotPlanted(f"{mutant.name}: never executed: {', '.join(idle)}")
    return Outcome(None, "", "", len(mutant.runs), time.process_time() - began)
